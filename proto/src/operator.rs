//! What operators see, as far as it is a value of the model.
//!
//! The rows are put together by the master's shell, from parts that have their own encoders.

use std::time::Duration;

use proffer_model::limits::KILL_GRACE_MAX;
use proffer_model::{AgentState, FrameworkId, Problem, TaskId};

use crate::fields::{decode_duration, decode_id, unknown_value};
use crate::v1;

/// An agent's state for the wire.
pub fn encode_agent_state(state: AgentState) -> v1::AgentState {
    match state {
        AgentState::Recovering => v1::AgentState::Recovering,
        AgentState::Connected => v1::AgentState::Connected,
        AgentState::Suspect => v1::AgentState::Suspect,
        AgentState::Unreachable => v1::AgentState::Unreachable,
    }
}

/// An agent's state from the wire, as the enum's number.
pub fn decode_agent_state(number: i32, field: &str) -> Result<AgentState, Problem> {
    Ok(match v1::AgentState::try_from(number) {
        Ok(v1::AgentState::Recovering) => AgentState::Recovering,
        Ok(v1::AgentState::Connected) => AgentState::Connected,
        Ok(v1::AgentState::Suspect) => AgentState::Suspect,
        Ok(v1::AgentState::Unreachable) => AgentState::Unreachable,
        Ok(v1::AgentState::Unspecified) | Err(_) => return Err(unknown_value(field, number)),
    })
}

/// Which task is to end, and how long it may take from SIGTERM to SIGKILL.
pub fn decode_kill_task(
    kill: &v1::KillTaskRequest,
) -> Result<(FrameworkId, TaskId, Option<Duration>), Problem> {
    let grace = kill.grace_ms;
    let grace = grace.map(|ms| decode_duration(ms, "grace_ms", KILL_GRACE_MAX));
    Ok((
        decode_id(&kill.framework_id, "framework_id")?,
        decode_id(&kill.task_id, "task_id")?,
        grace.transpose()?,
    ))
}
