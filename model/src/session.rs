//! What a framework and the master say to one another over a session.
//!
//! Calls carry a request id and get one [`Answer`]; events carry a sequence, and one acknowledgement covers all up to it.
//! An acknowledgement says that the framework has *kept* what it was told; only then may the agent forget it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::demand::Demand;
use crate::epoch::{Epoch, Generation};
use crate::framework::FrameworkDescription;
use crate::id::{AgentId, ClusterId, ExecutorId, FrameworkId, OfferId, TaskId};
use crate::offer::Offer;
pub use crate::operation::{LaunchResult, Operation, OperationResult};
use crate::problem::Problem;
use crate::task::{Reason, Status};

/// What a framework asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// First call of a session: who it is. Without an id the master gives one.
    Subscribe {
        /// The id from an earlier session, to go on as the same framework.
        framework: Option<FrameworkId>,
        /// What it says of itself; replaces what it said before.
        description: FrameworkDescription,
        /// Whether it waits until the active session ends, instead of taking over from it.
        stand_by: bool,
        /// What was acknowledged last: in the same term only what came after it is told again.
        resume: Option<Resume>,
        /// Whether the id is the framework's own choice, to be registered when there is none of it yet.
        create: bool,
    },
    /// Replaces the demand of one role.
    SetDemand(Demand),
    /// Takes offers of one agent and one role and does operations with what they hold; what is left over goes back.
    Accept {
        /// The offers, all of one agent and one role.
        offers: Vec<OfferId>,
        /// What to do, one after the other; each is done or refused on its own.
        operations: Vec<Operation>,
    },
    /// Gives offers back, and does not want that agent for the entries they fitted for a while.
    Decline {
        /// The offers; unknown ones are ignored.
        offers: Vec<OfferId>,
        /// For how long.
        exclude_for: Duration,
    },
    /// Ends a task. Of a task already ended or unknown, the answer is a status.
    Kill {
        /// The task.
        task: TaskId,
        /// SIGTERM to SIGKILL; the task's own when absent.
        grace: Option<Duration>,
    },
    /// Everything up to this sequence is kept. Has no answer.
    Acknowledge {
        /// The sequence.
        sequence: u64,
    },
    /// This one status is kept, whatever came before it: for whoever keeps the statuses of many tasks independently. Of one
    /// task, the older status must be acknowledged first. Has no answer.
    AcknowledgeOne {
        /// The sequence of the event that told it.
        sequence: u64,
    },
    /// Asks for the status of these tasks, or of all when empty.
    Reconcile {
        /// The tasks.
        tasks: Vec<TaskId>,
    },
    /// Ends the framework: all its tasks are killed and its id is spent.
    Teardown,
    /// Changes a task that runs, without restarting it. What is absent stays.
    UpdateTask {
        /// The task.
        task: TaskId,
        /// All labels that it is to have.
        labels: Option<BTreeMap<String, String>>,
        /// SIGTERM to SIGKILL.
        grace: Option<Duration>,
    },
    /// Bytes for an executor; at most once.
    SendMessage {
        /// Where it runs.
        agent: AgentId,
        /// Which.
        executor: ExecutorId,
        /// The bytes.
        data: Vec<u8>,
    },
    /// Asks an executor to end, with its tasks.
    ShutdownExecutor {
        /// Where it runs.
        agent: AgentId,
        /// Which.
        executor: ExecutorId,
    },
}

impl Call {
    /// What it is called in the message that it comes in.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Subscribe { .. } => "subscribe",
            Self::SetDemand(_) => "set_demand",
            Self::Accept { .. } => "accept",
            Self::Decline { .. } => "decline",
            Self::Kill { .. } => "kill",
            Self::Acknowledge { .. } | Self::AcknowledgeOne { .. } => "acknowledge",
            Self::Reconcile { .. } => "reconcile",
            Self::Teardown => "teardown",
            Self::UpdateTask { .. } => "update_task",
            Self::SendMessage { .. } => "send_message",
            Self::ShutdownExecutor { .. } => "shutdown_executor",
        }
    }

    /// How many operations it counts as, against the rate of its framework: tasks of an accept, entries of a demand with the
    /// agents that they exclude, offers, tasks that are asked about. A Reconcile that names no tasks is of as many as there
    /// are, which the caller does not know. Acknowledgements are free: there are no more of them than there were statuses.
    pub fn operations(&self) -> usize {
        match self {
            Self::Accept { offers, operations } => {
                let tasks = operations.iter().map(|one| one.tasks().len().max(1));
                tasks.sum::<usize>().max(offers.len())
            }
            Self::SetDemand(demand) => demand.named(),
            Self::Decline { offers, .. } => offers.len(),
            Self::Reconcile { tasks } => tasks.len(),
            Self::Subscribe { .. }
            | Self::Kill { .. }
            | Self::Acknowledge { .. }
            | Self::AcknowledgeOne { .. }
            | Self::Teardown
            | Self::UpdateTask { .. }
            | Self::SendMessage { .. }
            | Self::ShutdownExecutor { .. } => 0,
        }
    }
}

/// What a framework acknowledged last, so that it is told only what came after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// In which term.
    pub epoch: Epoch,
    /// Up to which sequence.
    pub sequence: u64,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, under this epoch.
    Done,
    /// An accept: a result for each operation, in order.
    Accepted(Vec<OperationResult>),
    /// Refused; nothing of it was done.
    Refused(Problem),
}

/// What the master tells a framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The session is the active one.
    Subscribed {
        /// The framework's id, to be kept.
        framework: FrameworkId,
        /// The cluster.
        cluster: ClusterId,
        /// The term; a client refuses a smaller one than it has seen.
        epoch: Epoch,
        /// The number of this activation.
        generation: Generation,
        /// How often the master is heard from at least.
        heartbeat_interval: Duration,
        /// Whether the tail after what was acknowledged follows, and no snapshot.
        is_resumed: bool,
    },
    /// Instead of `Subscribed`, until the active session ends.
    StandingBy {
        /// The framework.
        framework: FrameworkId,
        /// The cluster.
        cluster: ClusterId,
        /// How often the master is heard from at least.
        heartbeat_interval: Duration,
    },
    /// After `Subscribed`, unless it is resumed: every task's status has been told, and what follows is new.
    SnapshotEnded,
    /// The answer to the call with that request id.
    Answered {
        /// The call's request id.
        request: u64,
        /// The answer.
        answer: Answer,
    },
    /// Resources that may be accepted.
    Offered(Vec<Offer>),
    /// Offers that stand no longer.
    Rescinded(Vec<OfferId>),
    /// A task's status.
    Updated(Status),
    /// After a change of leader: this agent has said all that it runs. What was launched there and is not among it was
    /// never started, is reported DROPPED before this, and may be launched again.
    AgentSettled(AgentId),
    /// Another session took over, the framework was torn down, or a rule was broken; the stream ends after this.
    Closed(Problem),
    /// Nothing, but alive.
    Heartbeat,
    /// Bytes of an executor; at most once.
    Message {
        /// Where it runs.
        agent: AgentId,
        /// Which.
        executor: ExecutorId,
        /// The bytes.
        data: Vec<u8>,
    },
    /// An executor is no more; its tasks' statuses come on their own.
    ExecutorEnded {
        /// Where it ran.
        agent: AgentId,
        /// Which.
        executor: ExecutorId,
        /// How, for people.
        message: String,
    },
    /// Resources are wanted back: at the deadline these tasks are killed, unless the framework ends them first. Told again to
    /// each session, and by each leader; what was told last counts.
    Reclaim {
        /// Which.
        tasks: Vec<TaskId>,
        /// Why; the reason of the statuses that follow. [`Reason::None`]: these are not wanted back any more.
        reason: Reason,
        /// From now; absent: they are never killed.
        deadline: Option<Duration>,
    },
}
