//! What a framework's own executor and its agent say to one another over the agent's socket.

use std::sync::Arc;
use std::time::Duration;

use crate::epoch::Incarnation;
use crate::id::{AgentId, ExecutorId, FrameworkId, TaskId};
use crate::problem::Problem;
use crate::task::{Exit, TaskSpec, TaskState};

/// What an executor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutorCall {
    /// First, and once in a session: what it runs, and what it has said that is not acknowledged.
    Subscribe(Subscription),
    /// What has become of a task.
    Update(ExecutorStatus),
    /// Bytes for its framework; at most once.
    Message(Vec<u8>),
}

/// How an executor begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// Statuses that are not acknowledged, in their order.
    pub unacknowledged: Vec<ExecutorStatus>,
    /// Tasks that it runs, and those of which it keeps such a status.
    pub tasks: Vec<(TaskId, Incarnation)>,
}

/// What an executor says of a task. It keeps it until it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorStatus {
    /// Which task.
    pub task: TaskId,
    /// Which launch.
    pub incarnation: Incarnation,
    /// Chosen by the executor: grows with each status of the launch, from 1.
    pub number: u64,
    /// STARTING, RUNNING, KILLING, FINISHED, FAILED, KILLED or ERROR.
    pub state: TaskState,
    /// For people.
    pub message: String,
    /// Whether it is healthy, if the executor knows.
    pub healthy: Option<bool>,
    /// How it ended, when it did and that is known.
    pub exit: Option<Exit>,
    /// Bytes for its framework.
    pub data: Vec<u8>,
}

/// What an agent tells an executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutorEvent {
    /// The agent knows the executor.
    Subscribed {
        /// Whose it is.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
        /// Where; absent before the agent has one.
        agent: Option<AgentId>,
        /// The agent's host.
        host: String,
        /// How often the agent is heard from at least.
        heartbeat_interval: Duration,
    },
    /// Start one task, or a group that stands or falls together.
    Launch(Vec<(Incarnation, Arc<TaskSpec>)>),
    /// End a task.
    Kill {
        /// Which.
        task: TaskId,
        /// Which launch.
        incarnation: Incarnation,
        /// How long it may take to tidy up. Absent: as long as the task itself says; only executors of Mesos's API are told so.
        grace: Option<Duration>,
    },
    /// All statuses of the launch up to this number are on the agent's disk.
    Acknowledged {
        /// Which task.
        task: TaskId,
        /// Which launch.
        incarnation: Incarnation,
        /// Up to which number of the executor's.
        number: u64,
    },
    /// Bytes of its framework; at most once.
    Message(Vec<u8>),
    /// End all tasks, say what became of them, and exit.
    Shutdown {
        /// From now to SIGKILL.
        grace: Duration,
    },
    /// The session ends after this.
    Closed(Problem),
    /// Nothing, but alive.
    Heartbeat,
}
