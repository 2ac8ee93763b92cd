//! The wire of Proffer: generated messages and services, and the only conversions between them and [`proffer_model`].
//!
//! Decoding is where input becomes trustworthy: `decode_*` functions check every field and answer a
//! [`proffer_model::Problem`] that names the path of the field at fault; `encode_*` functions cannot fail.
#![forbid(unsafe_code)]

mod agent_link;
mod demand;
mod fields;
mod problem;
mod record;
mod resources;
mod run;
mod session;
mod task;

/// The public API and the agent link.
#[allow(
    missing_docs,
    clippy::all,
    unreachable_pub,
    rust_2018_idioms,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("proffer.v1");
}

/// The master's durable log.
pub mod store {
    /// Its first version.
    #[allow(
        missing_docs,
        clippy::all,
        unreachable_pub,
        rust_2018_idioms,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("proffer.store.v1");
    }
}

/// The agent's files.
pub mod checkpoint {
    /// Their first version.
    #[allow(
        missing_docs,
        clippy::all,
        unreachable_pub,
        rust_2018_idioms,
        reason = "generated code"
    )]
    pub mod v1 {
        tonic::include_proto!("proffer.checkpoint.v1");
    }
}

/// The descriptors of everything, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
