//! What an agent and the leader say to one another over the link. Every message carries the sender's epoch: the agent
//! persists a greater one before it obeys and refuses a smaller one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::AgentDescription;
use crate::epoch::{Epoch, Generation, Incarnation};
use crate::id::{AgentId, ClusterId, DemandId, ExecutorId, FrameworkId, Role, TaskId, VolumeId};
use crate::problem::Problem;
use crate::task::{ExecutorSpec, Reason, Status, TaskSpec};

/// What an agent tells the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToMaster {
    /// First message of a link: who it is and all that it runs.
    Hello(Hello),
    /// A new status; sent again until it is acknowledged, in order per task.
    Updated {
        /// Whose task.
        framework: FrameworkId,
        /// The status.
        status: Status,
        /// The task's latest state, which may be later than this status: the master frees by it.
        latest: crate::task::TaskState,
    },
    /// Nothing, but alive.
    Heartbeat,
    /// An executor was started, or is no more.
    ExecutorChanged {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
        /// Whether it is no more.
        is_ended: bool,
        /// How, for people.
        message: String,
    },
    /// Bytes of an executor for its framework; at most once.
    Message {
        /// Whose.
        framework: FrameworkId,
        /// Which executor's.
        executor: ExecutorId,
        /// The bytes.
        data: Vec<u8>,
    },
}

/// An agent's registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its id from an earlier registration.
    pub agent: Option<AgentId>,
    /// The cluster that gave it.
    pub cluster: Option<ClusterId>,
    /// The greatest epoch that it has obeyed.
    pub epoch: Epoch,
    /// What it says of itself.
    pub description: AgentDescription,
    /// Every task that is live, or whose last status is not acknowledged.
    pub tasks: Vec<AgentTask>,
    /// Every executor that lives.
    pub executors: Vec<AgentExecutor>,
    /// Grows with each link of the agent, also over its restarts: of two that arrive, the smaller is out of date. 0 of an
    /// agent that does not count yet.
    pub number: u64,
}

/// An executor as its agent knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentExecutor {
    /// Whose.
    pub framework: FrameworkId,
    /// What.
    pub spec: Arc<ExecutorSpec>,
    /// Who pays.
    pub payer: Option<Payer>,
}

/// A task as its agent knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentTask {
    /// Whose.
    pub framework: FrameworkId,
    /// What.
    pub spec: TaskSpec,
    /// Which launch.
    pub incarnation: Incarnation,
    /// The latest status.
    pub status: Status,
    /// All statuses up to this number are acknowledged; those after it are sent again once the agent is registered.
    pub acknowledged: u64,
    /// Who pays; absent of a launch that was checkpointed before agents kept it.
    pub payer: Option<Payer>,
    /// The first task of the group that it was launched in, if it was in one.
    pub group: Option<TaskId>,
}

/// Who pays for a launch. The agent keeps it for the next leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payer {
    /// The role.
    pub role: Role,
    /// The entry of the framework's demand that it was launched for, if it was for one.
    pub demand: Option<DemandId>,
}

/// What the leader tells an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToAgent {
    /// The agent is registered.
    Welcome {
        /// Its id, to be kept.
        agent: AgentId,
        /// The cluster, to be kept.
        cluster: ClusterId,
        /// The term, to be kept.
        epoch: Epoch,
        /// The number of this registration; a message with a smaller one is refused.
        generation: Generation,
        /// How often the agent must be heard from.
        heartbeat_interval: Duration,
    },
    /// The agent is not wanted; the link ends after this. Its tasks run on.
    Refused(Problem),
    /// Start this, unless an incarnation equal or greater is known.
    Launch {
        /// The term.
        epoch: Epoch,
        /// Whose.
        framework: FrameworkId,
        /// Which launch.
        incarnation: Incarnation,
        /// What.
        spec: Box<TaskSpec>,
        /// Who pays; absent from a leader of an earlier version.
        payer: Option<Payer>,
    },
    /// End this.
    Kill {
        /// The term.
        epoch: Epoch,
        /// Whose.
        framework: FrameworkId,
        /// Which task; its live incarnation.
        task: TaskId,
        /// Which launch.
        incarnation: Incarnation,
        /// SIGTERM to SIGKILL; the task's own when absent.
        grace: Option<Duration>,
        /// Why, for the statuses that follow.
        reason: crate::task::Reason,
    },
    /// The framework has kept all statuses of this incarnation up to this number.
    Acknowledge {
        /// The term.
        epoch: Epoch,
        /// Whose.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// Which launch.
        incarnation: Incarnation,
        /// Up to which number.
        number: u64,
    },
    /// Nothing, but alive.
    Heartbeat {
        /// The term.
        epoch: Epoch,
    },
    /// Start all of these, or none: where one cannot be, every one is answered with ERROR.
    LaunchGroup {
        /// The term.
        epoch: Epoch,
        /// Whose.
        framework: FrameworkId,
        /// Who pays.
        payer: Option<Payer>,
        /// In their order, each with its launch; the first one's id is the group's.
        tasks: Vec<(Incarnation, TaskSpec)>,
    },
    /// Change a task without restarting it; what is absent stays.
    UpdateTask {
        /// The term.
        epoch: Epoch,
        /// Whose.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// Which launch.
        incarnation: Incarnation,
        /// All labels that it is to have.
        labels: Option<BTreeMap<String, String>>,
        /// SIGTERM to SIGKILL.
        grace: Option<Duration>,
    },
    /// Bytes for an executor; at most once: those for an agent that is slow to read may be lost.
    Message {
        /// The term.
        epoch: Epoch,
        /// Whose.
        framework: FrameworkId,
        /// Which executor.
        executor: ExecutorId,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Ask an executor to end, with its tasks.
    ShutdownExecutor {
        /// The term.
        epoch: Epoch,
        /// Whose.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
        /// Why, for the statuses of its tasks.
        reason: Reason,
    },
    /// Every persistent volume that is to be on the agent; after `Welcome`, and after each change. What else is there is
    /// garbage.
    Volumes {
        /// The term.
        epoch: Epoch,
        /// All.
        volumes: Vec<AgentVolume>,
    },
}

/// A persistent volume of an agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentVolume {
    /// Unique on the agent within its role.
    pub id: VolumeId,
    /// Whose reservation it is made of.
    pub role: Role,
    /// Tells it from earlier volumes of the same id and role; never used again on the agent.
    pub number: u64,
}
