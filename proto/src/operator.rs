//! What operators see, as far as it is a value of the model.
//!
//! The rows are put together by the master's shell, from parts that have their own encoders.

use proffer_model::{AgentState, Problem};

use crate::fields::unknown_value;
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
