//! What is said of a task that nobody knows to a framework that asks: it counts how the agent stands that it names.

use proffer_model::{AgentId, Reason, Status, TaskState};

use super::number::nanoseconds_of;
use super::status::{Capabilities, encode_mesos_status};
use super::v1;

/// How an agent stands that a framework names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentStanding {
    /// It is registered, and what it runs is known.
    Registered,
    /// It has not said in this term what it runs.
    Recovering,
    /// It is unreachable.
    Unreachable {
        /// Since when, wall milliseconds.
        since_wall_ms: u64,
    },
    /// An operator has marked it gone.
    Gone,
}

/// An agent as a framework names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAgent {
    /// The name, whether there is such an agent or not.
    pub name: String,
    /// How it stands, if there is.
    pub standing: Option<AgentStanding>,
}

/// The answer to a framework that asks how a task stands, and may have named the task's agent.
pub fn encode_mesos_answer(
    status: &Status,
    named: Option<&NamedAgent>,
    capabilities: Capabilities,
) -> v1::TaskStatus {
    let mut out = encode_mesos_status(status, capabilities, None);
    let Some(named) = named else {
        return out;
    };
    let is_named = |agent: &AgentId| *agent.as_str() == *named.name;
    if status.incarnation.0 == 0 && status.reason == Reason::Reconciled {
        let (state, text) = state_of_unknown(status, named);
        if capabilities.partition_aware {
            out.state = state.into();
        }
        out.message = Some(format!("Reconciliation: {text}"));
        out.agent_id = Some(v1::AgentId {
            value: named.name.clone(),
        });
    } else if status.state != TaskState::Unreachable || !status.agent.as_ref().is_some_and(is_named)
    {
        return out;
    }
    if let Some(AgentStanding::Unreachable { since_wall_ms }) = named.standing {
        out.unreachable_time = Some(v1::TimeInfo {
            nanoseconds: nanoseconds_of(since_wall_ms),
        });
    }
    out
}

fn state_of_unknown(status: &Status, named: &NamedAgent) -> (v1::TaskState, &'static str) {
    const GONE: (v1::TaskState, &str) = (v1::TaskState::TaskGone, "Task is unknown to the agent");
    const UNREACHABLE: (v1::TaskState, &str) =
        (v1::TaskState::TaskUnreachable, "Task is unreachable");
    match named.standing {
        Some(AgentStanding::Registered) => GONE,
        // It was so when the framework asked: by now some agent is unreachable, which may be this one, or none is.
        Some(AgentStanding::Recovering) if status.state == TaskState::Unreachable => UNREACHABLE,
        Some(AgentStanding::Recovering) => GONE,
        Some(AgentStanding::Unreachable { .. }) => UNREACHABLE,
        Some(AgentStanding::Gone) => (v1::TaskState::TaskGoneByOperator, "Task is gone"),
        None => (v1::TaskState::TaskUnknown, "Task is unknown"),
    }
}

#[cfg(test)]
mod tests {
    use proffer_model::Incarnation;

    use super::super::status::tests;
    use super::*;

    const AWARE: Capabilities = Capabilities {
        revocable: false,
        killing: false,
        gpus: false,
        shared: false,
        partition_aware: true,
        multi_role: false,
        refined: false,
    };

    fn status(state: TaskState, incarnation: u64) -> Status {
        let known = tests::status(state, Reason::Reconciled, 0);
        Status {
            incarnation: Incarnation(incarnation),
            agent: known.agent.filter(|_| incarnation > 0),
            ..known
        }
    }

    fn named(standing: Option<AgentStanding>) -> NamedAgent {
        NamedAgent {
            name: "a".to_owned(),
            standing,
        }
    }

    #[test]
    fn a_task_that_nobody_knows_stands_as_the_agent_that_is_named() {
        let away = AgentStanding::Unreachable {
            since_wall_ms: 1_000,
        };
        let (lost, unreachable) = (TaskState::Lost, TaskState::Unreachable);
        for (standing, state, told, text) in [
            (
                Some(AgentStanding::Registered),
                lost,
                "TASK_GONE",
                "Task is unknown to the agent",
            ),
            // Another agent is away.
            (
                Some(AgentStanding::Registered),
                unreachable,
                "TASK_GONE",
                "Task is unknown to the agent",
            ),
            (
                Some(AgentStanding::Recovering),
                lost,
                "TASK_GONE",
                "Task is unknown to the agent",
            ),
            (
                Some(AgentStanding::Recovering),
                unreachable,
                "TASK_UNREACHABLE",
                "Task is unreachable",
            ),
            (
                Some(away),
                unreachable,
                "TASK_UNREACHABLE",
                "Task is unreachable",
            ),
            (Some(away), lost, "TASK_UNREACHABLE", "Task is unreachable"),
            (
                Some(AgentStanding::Gone),
                unreachable,
                "TASK_GONE_BY_OPERATOR",
                "Task is gone",
            ),
            (None, lost, "TASK_UNKNOWN", "Task is unknown"),
        ] {
            let status = status(state, 0);
            let out = encode_mesos_answer(&status, Some(&named(standing)), AWARE);
            let said = (out.state().as_str_name(), out.message());
            assert_eq!(
                said,
                (told, format!("Reconciliation: {text}").as_str()),
                "{standing:?}"
            );
            let agent = out.agent_id.map(|agent| agent.value);
            assert_eq!(agent.as_deref(), Some("a"), "{standing:?}");
            let since = out.unreachable_time.map(|time| time.nanoseconds);
            assert_eq!(since, (standing == Some(away)).then_some(1_000_000_000));
            let old = encode_mesos_answer(&status, Some(&named(standing)), Capabilities::default());
            assert_eq!(old.state(), v1::TaskState::TaskLost, "{standing:?}");
        }
        let out = encode_mesos_answer(&status(unreachable, 0), None, AWARE);
        let said = (out.state(), out.message(), out.agent_id.clone());
        let text = "Reconciliation: Task is unknown";
        assert_eq!(said, (v1::TaskState::TaskUnknown, text, None));
    }

    #[test]
    fn a_task_that_is_known_stands_as_it_does_since_its_agent_is_away() {
        let away = Some(AgentStanding::Unreachable {
            since_wall_ms: 1_000,
        });
        let told = |state, name: &str| {
            let named = NamedAgent {
                name: name.to_owned(),
                ..named(away)
            };
            let out = encode_mesos_answer(&status(state, 1), Some(&named), AWARE);
            (out.state(), out.unreachable_time.is_some())
        };
        use v1::TaskState::{TaskRunning, TaskUnreachable};
        assert_eq!(told(TaskState::Unreachable, "a"), (TaskUnreachable, true));
        assert_eq!(told(TaskState::Unreachable, "b"), (TaskUnreachable, false));
        assert_eq!(told(TaskState::Running, "a"), (TaskRunning, false));
    }
}
