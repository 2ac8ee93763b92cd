//! What a Mesos executor is told of itself when it subscribes: the master says it, the agent keeps it and hands it on.

use prost::Message as _;

use super::v1::executor::event::Subscribed;
use super::v1::{AgentInfo, ExecutorInfo, FrameworkInfo};

/// The `info` of an executor's spec. Of the framework there is what executors read: id, name and user, so that nothing
/// else of it, when it changes, makes another executor of this one.
pub fn encode_executor_info(executor: &ExecutorInfo, framework: &FrameworkInfo) -> Vec<u8> {
    let subscribed = Subscribed {
        executor_info: executor.clone(),
        framework_info: FrameworkInfo {
            user: framework.user.clone(),
            name: framework.name.clone(),
            id: framework.id.clone(),
            ..FrameworkInfo::default()
        },
        // The agent's own to say.
        agent_info: AgentInfo::default(),
        container_id: None,
    };
    subscribed.encode_to_vec()
}
