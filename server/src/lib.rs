//! What every role's shell shares: the clock, configuration, listeners, one HTTP and gRPC server, authentication,
//! logs, metrics, shutdown, the service manager, a small HTTP client.
//!
//! No role's policy is here. Start reading at [`http::serve`] and [`auth::Guard`], the two things that stand between a
//! socket and a role.
#![forbid(unsafe_code)]

pub mod auth;
pub mod client;
pub mod clock;
pub mod config;
pub mod http;
pub mod limits;
pub mod listen;
pub mod log;
pub mod mesos_figures;
pub mod mesos_http;
pub mod mesos_logging;
pub mod metrics;
pub mod notify;
#[doc(hidden)]
pub mod parsers;
pub mod resources_json;
pub mod shutdown;
pub mod sse;
