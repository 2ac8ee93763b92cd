//! How operations stand, for who asks.
//!
//! An operation is done or refused when it is called, and nothing is known of one later: what is said is said of its agent.

use std::collections::BTreeMap;

use proffer_model::AgentId;
use proffer_model::limits::ITEMS_PER_CALL_MAX;
use proffer_proto::mesos::AgentStanding;
use proffer_proto::mesos::v1::scheduler::call::{ReconcileOperations, reconcile_operations};
use proffer_proto::mesos::v1::{self, OperationState};

use super::events;
use super::subscription::{Out, tell};

/// The answers of RECONCILE_OPERATIONS, where these agents are known.
pub(super) fn reconcile(
    asked: Option<ReconcileOperations>,
    agents: &BTreeMap<AgentId, AgentStanding>,
) -> Vec<Out> {
    let asked = asked.unwrap_or_default().operations;
    let asked = asked.into_iter().take(ITEMS_PER_CALL_MAX);
    asked
        .map(|operation| tell(events::operation_told(answer(operation, agents))))
        .collect()
}

fn answer(
    asked: reconcile_operations::Operation,
    agents: &BTreeMap<AgentId, AgentStanding>,
) -> v1::OperationStatus {
    let known = asked.agent_id.as_ref().map(|agent| {
        let agent: Option<AgentId> = agent.value.parse().ok();
        agent.and_then(|agent| agents.get(&agent).copied())
    });
    let (state, text) = match known {
        None => (
            OperationState::OperationUnknown,
            "Operation is unknown and no 'agent_id' was provided",
        ),
        Some(None) => (
            OperationState::OperationUnknown,
            "Both operation and agent are unknown",
        ),
        Some(Some(AgentStanding::Registered)) => {
            (OperationState::OperationUnknown, "Operation is unknown")
        }
        Some(Some(AgentStanding::Recovering)) => (
            OperationState::OperationRecovering,
            "Agent is recovered but has not re-registered",
        ),
        Some(Some(AgentStanding::Unreachable { .. })) => {
            (OperationState::OperationUnreachable, "Agent is unreachable")
        }
        Some(Some(AgentStanding::Gone)) => (
            OperationState::OperationGoneByOperator,
            "Agent marked gone by operator",
        ),
    };
    v1::OperationStatus {
        operation_id: Some(asked.operation_id),
        state: state.into(),
        message: Some(format!("Reconciliation: {text}")),
        agent_id: asked.agent_id,
        resource_provider_id: asked.resource_provider_id,
        ..v1::OperationStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_stands_as_its_agent_does() {
        let agents = [
            ("there", AgentStanding::Registered),
            ("back", AgentStanding::Recovering),
            ("away", AgentStanding::Unreachable { since_wall_ms: 0 }),
            ("gone", AgentStanding::Gone),
        ];
        let agents = agents.map(|(id, state)| (id.parse().expect("an id"), state));
        let agents = BTreeMap::from(agents);
        let asked = |agent: Option<&str>| reconcile_operations::Operation {
            operation_id: v1::OperationId {
                value: "o".to_owned(),
            },
            agent_id: agent.map(|agent| v1::AgentId {
                value: agent.to_owned(),
            }),
            resource_provider_id: None,
        };
        for (agent, state, text) in [
            (
                None,
                "OPERATION_UNKNOWN",
                "Operation is unknown and no 'agent_id' was provided",
            ),
            (
                Some("nosuch"),
                "OPERATION_UNKNOWN",
                "Both operation and agent are unknown",
            ),
            (
                Some("no/such"),
                "OPERATION_UNKNOWN",
                "Both operation and agent are unknown",
            ),
            (Some("there"), "OPERATION_UNKNOWN", "Operation is unknown"),
            (
                Some("gone"),
                "OPERATION_GONE_BY_OPERATOR",
                "Agent marked gone by operator",
            ),
            (
                Some("back"),
                "OPERATION_RECOVERING",
                "Agent is recovered but has not re-registered",
            ),
            (
                Some("away"),
                "OPERATION_UNREACHABLE",
                "Agent is unreachable",
            ),
        ] {
            let status = answer(asked(agent), &agents);
            let told = (status.state().as_str_name(), status.message());
            assert_eq!(told, (state, format!("Reconciliation: {text}").as_str()));
            let of = status.agent_id.map(|agent| agent.value);
            assert_eq!(of.as_deref(), agent);
        }
    }

    #[test]
    fn a_call_is_answered_up_to_its_limit() {
        let operation = reconcile_operations::Operation::default();
        let asked = ReconcileOperations {
            operations: vec![operation; ITEMS_PER_CALL_MAX + 1],
        };
        let outs = reconcile(Some(asked), &BTreeMap::new());
        assert_eq!(outs.len(), ITEMS_PER_CALL_MAX);
        assert!(reconcile(None, &BTreeMap::new()).is_empty());
    }
}
