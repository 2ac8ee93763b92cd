//! Mesos's v1 messages: what was written for Apache Mesos says these, to the master's Mesos endpoint and to the agent's.
//!
//! Only the adapters use them. Everything that is read here has all its required fields; the texts of the errors are
//! Mesos's, since they are for Mesos's clients.

mod canonical;
mod check;
mod container;
mod discovery;
mod executor;
mod group;
mod json;
mod labels;
mod launcher;
mod lenient;
mod number;
mod offer;
mod plan;
mod reconciliation;
mod required;
mod resources;
mod room;
mod status;
mod syntax;
mod task;
#[cfg(test)]
mod tests;
mod text;
mod wire;
mod wish;

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, MessageDescriptor};

pub(crate) use canonical::settled;
pub use discovery::encode_discovery;
pub use executor::{MesosExecutor, executor_mounts};
pub use group::decode_group;
pub use json::{read_json, write_json};
pub use labels::labels_of;
pub use launcher::Launcher;
pub use number::{duration_of, milli_of, seconds_of, value_of};
pub use offer::{
    NUMBER_OR_RANGES, agent_url, encode_attributes, encode_domain, encode_mesos_offer, number_of,
};
pub use reconciliation::{AgentStanding, NamedAgent, encode_mesos_answer};
pub use resources::{ResourceForm, decode_resources, encode_resources};
pub use status::{
    Capabilities, decode_mesos_state, encode_mesos_reason, encode_mesos_state, encode_mesos_status,
    encode_told_state, has_mesos_container, mesos_container_id, place_mesos_status, state_said,
    told_health,
};
pub use task::{MESOS_ROLE_VARIABLE, decode_task_info};
pub use text::resources_text;
pub use wish::{entry_of_any, least_of, refused_for};

/// The generated messages, with Mesos's names and numbers.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    rust_2018_idioms,
    reason = "generated code"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/mesos.v1.rs"));

    pub mod scheduler {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.scheduler.rs"));
    }
    pub mod executor {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.executor.rs"));
    }
    pub mod agent {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.agent.rs"));
    }
    pub mod master {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.master.rs"));
    }
    pub mod quota {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.quota.rs"));
    }
    pub mod allocator {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.allocator.rs"));
    }
    pub mod maintenance {
        include!(concat!(env!("OUT_DIR"), "/mesos.v1.maintenance.rs"));
    }
}

/// The files of Mesos's that these are of, as a compiler describes them.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/mesos.bin"));

/// A message of Mesos's that can be read and written.
pub trait Readable: Message + Name + Default + Send + 'static {}

impl<M: Message + Name + Default + Send + 'static> Readable for M {}

/// Reads a protobuf body. Beside what is no such message, one without a required field is refused, with Mesos's text.
pub fn read_protobuf<M: Message + Name + Default>(body: &[u8]) -> Result<M, String> {
    let refused = || format!("Failed to parse body into {} protobuf", M::NAME);
    let of = PLAN.find(&M::full_name()).ok_or_else(refused)?;
    if let Some(why) = room::too_many_entries(&PLAN, of, body) {
        return Err(format!("{}: {why}", refused()));
    }
    // First, because it knows how deep messages may be in one another.
    let read = M::decode(body).map_err(|_| refused())?;
    match wire::is_whole(&PLAN, of, body) {
        true => Ok(read),
        false => Err(refused()),
    }
}

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap_or_default());

static PLAN: LazyLock<plan::Plan> = LazyLock::new(|| plan::Plan::of(&POOL));

/// How a message looks; a test holds that there is one of each.
fn descriptor_of<M: Name>() -> Option<MessageDescriptor> {
    POOL.get_message_by_name(&M::full_name())
}
