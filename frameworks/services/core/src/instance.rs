//! Instances: one running copy of an app each, from the intent to launch it to its end. An instance has one task in its
//! life; a replacement is another instance.

use proffer_model::{AgentId, TaskId, TaskState, Time};

use crate::id::{AppId, InstanceId, Version};

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Kept, and its launch is on its way; nobody has confirmed it.
    Launching,
    /// The master or the agent has it.
    Staging,
    /// Its container is being made.
    Starting,
    /// It runs.
    Running,
    /// Somebody told it to end.
    Killing,
    /// Its agent is unreachable.
    Unreachable,
}

impl Phase {
    /// The phase that a state of its task means; none for the end.
    pub fn of(state: TaskState) -> Option<Self> {
        Some(match state {
            TaskState::Staging => Self::Staging,
            TaskState::Starting => Self::Starting,
            TaskState::Running => Self::Running,
            TaskState::Killing => Self::Killing,
            TaskState::Unreachable => Self::Unreachable,
            TaskState::Finished
            | TaskState::Failed
            | TaskState::Killed
            | TaskState::Error
            | TaskState::Dropped
            | TaskState::Lost => return None,
        })
    }

    /// The task state that is shown for it.
    pub fn shown(self) -> TaskState {
        match self {
            Self::Launching | Self::Staging => TaskState::Staging,
            Self::Starting => TaskState::Starting,
            Self::Running => TaskState::Running,
            Self::Killing => TaskState::Killing,
            Self::Unreachable => TaskState::Unreachable,
        }
    }
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its number.
    pub id: InstanceId,
    /// Of which app.
    pub app: AppId,
    /// Its task.
    pub task: TaskId,
    /// The app's version when it was launched.
    pub version: Version,
    /// The app's `last_config` when it was launched: which configuration it runs.
    pub config: Version,
    /// Whether it has health checks.
    pub has_checks: bool,
    /// Where it runs.
    pub agent: AgentId,
    /// The agent's host name.
    pub host: String,
    /// Where the agent's API is reached.
    pub address: String,
    /// Its host ports, by position of the port definitions.
    pub ports: Vec<u16>,
    /// Where it stands.
    pub phase: Phase,
    /// Whether the framework has decided that it shall end. Durable; never taken back.
    pub is_condemned: bool,
    /// When it was launched, in milliseconds since 1970 UTC.
    pub staged_wall_ms: u64,
    /// When it first ran, in milliseconds since 1970 UTC.
    pub started_wall_ms: Option<u64>,
    /// What its checks say. Not durable: the agent says it again.
    pub healthy: Option<bool>,
    /// Since when it is as healthy as it is, in milliseconds since 1970 UTC. Not durable.
    pub health_wall_ms: Option<u64>,
    /// Not durable.
    pub memory: Memory,
}

/// What is known of an instance in this run of the program only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Whether anybody has said where it stands since the program started. Until then it is not judged.
    pub is_confirmed: bool,
    /// Whether it came back from an unreachable agent after it had been given up.
    pub has_returned: bool,
    /// The largest number of its task's statuses.
    pub status_number: u64,
    /// Since when it is unreachable or on its way up.
    pub since: Time,
    /// In which session it was last said that its resources are wanted back, if they are.
    pub wanted_back_in: Option<u64>,
}

impl Memory {
    /// Whether its resources are wanted back: it is replaced, and ended when the replacement is healthy.
    pub fn is_wanted_back(&self) -> bool {
        self.wanted_back_in.is_some()
    }
}

impl Instance {
    /// The task state that is shown: who shall end is ending, so that nobody sends it work.
    pub fn shown(&self) -> TaskState {
        if self.is_condemned {
            TaskState::Killing
        } else {
            self.phase.shown()
        }
    }

    /// Whether it counts as healthy: running, and passing its checks if it has any.
    pub fn is_healthy(&self) -> bool {
        self.phase == Phase::Running && (!self.has_checks || self.healthy == Some(true))
    }
}
