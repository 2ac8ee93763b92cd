//! One port for REST (HTTP/1.1) and gRPC (HTTP/2 with prior knowledge), and what REST handlers share: problems as answers,
//! JSON as input.
//!
//! The order of a request: limits of its connection, the guard, limits of its body, the router. Every refusal is a
//! problem in the caller's own form.

mod ending;
mod intake;
mod path;
mod problem;
mod serve;
mod silence;
mod socket;

pub use intake::{Body, Json, decode_json};
pub use problem::{
    Refused, is_grpc, problem_response, refuse, status_of, unknown_method, unknown_route,
    with_problem,
};
pub use serve::{Ends, Limits, serve, serve_with};
pub use silence::Connection;
