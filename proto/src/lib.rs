//! The wire of Proffer: generated messages and services, and the only conversions between them and [`proffer_model`].
//!
//! Decoding is where input becomes trustworthy: `decode_*` functions check every field and answer a
//! [`proffer_model::Problem`] that names the path of the field at fault; `encode_*` functions cannot fail.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod agent_link;
mod backup;
mod codec;
mod demand;
mod domain;
mod executor;
mod executor_session;
mod fields;
mod found;
mod kept_volume;
mod leader;
mod limits;
pub mod mesos;
mod offer;
mod operation;
mod operator;
mod pattern;
mod problem;
mod quota;
mod record;
mod resources;
mod run;
mod session;
mod special;
mod task;
#[cfg(test)]
mod tests;

pub use agent_link::{
    decode_agent_description, decode_agent_volumes, decode_to_agent, decode_to_master,
    encode_agent_description, encode_agent_volumes, encode_to_agent, encode_to_master,
};
pub use backup::{
    BackupCounts, BackupHead, decode_backup_end, decode_backup_head, decode_backup_piece,
    encode_backup_end, encode_backup_head, encode_backup_pieces,
};
pub use codec::SmallCodec;
pub use demand::{decode_demand, decode_predicate, encode_demand, encode_predicate, has_patterns};
pub use domain::{decode_domain, encode_domain};
pub use executor::{decode_executor, encode_executor};
pub use executor_session::{
    decode_executor_call, decode_executor_event, encode_executor_call, encode_executor_event,
};
pub use kept_volume::{
    decode_kept_volume, decode_volume_list, encode_kept_volume, encode_volume_list,
};
pub use leader::{LEADER_HEADER, decode_leader, encode_leader};
pub use offer::{decode_offer, encode_fit, encode_offer};
pub use operation::decode_volume_change;
pub use operator::{decode_agent_state, decode_kill_task, encode_agent_state};
pub use pattern::{PatternError, Patterns, compile_pattern, decode_pattern};
pub use problem::{decode_problem, encode_problem, problem_of, status_of};
pub use quota::{decode_deadline, decode_quota, decode_weight, encode_drain, encode_quota};
pub use record::{decode_batch, decode_snapshot, encode_batch, encode_snapshot};
pub use resources::{
    decode_attributes, decode_limits, decode_quantities, decode_resources, encode_attributes,
    encode_limits, encode_quantities, encode_resources,
};
pub use run::{
    decode_agent_identity, decode_executor_run, decode_run, decode_status_entry,
    encode_agent_identity, encode_executor_run, encode_run, encode_status_entry,
};
pub use session::{decode_call, decode_event, encode_answered, encode_call, encode_event};
pub use special::{decode_reservation, encode_reservation};
pub use task::{
    decode_check, decode_port, decode_reason, decode_status, decode_task_spec, decode_task_state,
    encode_check, encode_port, encode_reason, encode_status, encode_task_spec, encode_task_state,
};

/// The public API and the agent link.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
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
        clippy::allow_attributes_without_reason,
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
        clippy::allow_attributes_without_reason,
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
