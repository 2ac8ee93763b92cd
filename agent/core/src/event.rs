//! All that can happen to an agent, in the past tense: decoded and validated before it gets here. Start reading the core
//! here, then `effect.rs`, then `core.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use proffer_model::executor::{ExecutorEvent, ExecutorStatus, Subscription};
use proffer_model::link::{Payer, ToAgent};
use proffer_model::{
    AgentId, CheckAnswer, ClusterId, Epoch, ExecutorSpec, Exit, FrameworkId, Incarnation, Reason,
    Status, TaskId, TaskSpec, TaskState, Time,
};

use crate::effect::{Entry, NewRun};

/// One connection to a master; numbered by the shell, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// One session of an executor; numbered by the shell, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// One launch on this agent, or one start of an executor, and its directory, `runs/<16 hex>`; drawn by the core, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The number of a checkpoint; grows by one from 1 within a life of the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// What a timer is for. Setting a timer that is set moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKey {
    /// Says to the leader that the agent is there, and looks at the leader's silence.
    Heartbeat,
    /// Sends a task's unacknowledged statuses again.
    Resend(RunId),
    /// A task has been told to end and its grace is over.
    Grace(RunId),
    /// A check is due, by its place in the spec.
    Check(RunId, usize),
    /// A task has run as long as it may.
    Completion(RunId),
    /// An executor has had its time to subscribe; of one that has ended: to be heard to the end.
    Executor(RunId),
    /// The oldest garbage has been kept long enough.
    Garbage,
}

/// Who the agent is, kept in the file `agent`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its id; absent until it first registers.
    pub agent: Option<AgentId>,
    /// The cluster that gave it.
    pub cluster: Option<ClusterId>,
    /// The greatest epoch that it has obeyed.
    pub epoch: Epoch,
    /// The host's boot id when this was written.
    pub boot: String,
    /// Links that it has opened.
    pub links: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The checkpoints were read and compared with what is really there. First, and once.
    Recovered {
        /// Who the agent is.
        identity: Identity,
        /// The host's boot id now.
        boot: String,
        /// All runs, in any order.
        runs: Vec<RecoveredRun>,
        /// All starts of executors, in any order.
        executors: Vec<RecoveredExecutor>,
    },
    /// A connection to a master is open; it has heard nothing yet.
    LinkOpened(LinkId),
    /// The master said something.
    LinkMessage {
        /// The connection.
        link: LinkId,
        /// What it said.
        message: ToAgent,
    },
    /// The connection ended.
    LinkClosed(LinkId),
    /// Every checkpoint up to this one is durable.
    Persisted(Seq),
    /// A container's process runs.
    ContainerStarted {
        /// Which.
        run: RunId,
        /// Its process.
        pid: u32,
    },
    /// A container could not be made; nothing of it is left.
    ContainerFailed {
        /// Which.
        run: RunId,
        /// Because of its image, of a volume, or of anything else.
        reason: Reason,
        /// Why, for people.
        message: String,
    },
    /// A container's process ended; nothing of it is left.
    ContainerExited {
        /// Which.
        run: RunId,
        /// How.
        ended: Ended,
    },
    /// A container's supervisor died, so how its process ended is not known; nothing of it is left.
    SupervisorLost {
        /// Which.
        run: RunId,
    },
    /// A check was made.
    CheckFinished {
        /// Of which run.
        run: RunId,
        /// Its place in the spec.
        check: usize,
        /// Nothing when it passed, otherwise why not, for people.
        failure: Option<String>,
        /// What the task answered; absent when it did not in time.
        answer: Option<CheckAnswer>,
    },
    /// An executor that has shown its token has begun a session.
    ExecutorSubscribed {
        /// Which executor.
        run: RunId,
        /// The session.
        session: SessionId,
        /// What it runs.
        subscription: Subscription,
    },
    /// An executor has said what has become of a task.
    ExecutorSaid {
        /// Which executor.
        run: RunId,
        /// In which session.
        session: SessionId,
        /// What.
        status: ExecutorStatus,
    },
    /// An executor has bytes for its framework.
    ExecutorMessage {
        /// Which executor.
        run: RunId,
        /// In which session.
        session: SessionId,
        /// The bytes.
        data: Vec<u8>,
    },
    /// The volumes of a task are in its executor's sandbox.
    VolumesMounted {
        /// The task's run.
        run: RunId,
        /// Why they are not, for people.
        failure: Option<String>,
    },
    /// An executor was not told something, because too much waits for it: in this session it is told nothing any more. It
    /// goes on until the executor has read what waits; until then it is heard.
    ExecutorUntold {
        /// In which session.
        session: SessionId,
        /// What it was not told.
        event: Box<ExecutorEvent>,
    },
    /// A session of an executor has ended.
    ExecutorLeft {
        /// Which executor.
        run: RunId,
        /// Which session.
        session: SessionId,
    },
    /// A timer that was set has come.
    TimerFired(TimerKey),
}

/// How a container's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// Whether the kernel killed it, or another process of its container, for want of memory.
    pub is_out_of_memory: bool,
}

impl From<Exit> for Ended {
    fn from(exit: Exit) -> Self {
        Self {
            exit,
            is_out_of_memory: false,
        }
    }
}

/// A run directory as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredRun {
    /// Which.
    pub run: RunId,
    /// Whose.
    pub framework: FrameworkId,
    /// Which launch.
    pub incarnation: Incarnation,
    /// What.
    pub spec: TaskSpec,
    /// Who pays.
    pub payer: Option<Payer>,
    /// The group that it was launched in: its first task.
    pub group: Option<(TaskId, Incarnation)>,
    /// The start of the executor that it is in.
    pub executor: Option<RunId>,
    /// The greatest number of its executor's that was taken.
    pub said: u64,
    /// When it was first said to run; monotonic time 0 where that was not kept.
    pub running_since: Option<Time>,
    /// Every status that was made, in order; at least one.
    pub statuses: Vec<Status>,
    /// All statuses up to this number are acknowledged.
    pub acknowledged: u64,
    /// The latest wish to end it: grace and reason.
    pub kill: Option<(Duration, Reason)>,
    /// What is really there.
    pub found: Found,
}

impl RecoveredRun {
    /// A launch as it was made.
    pub fn new(made: NewRun) -> Self {
        Self {
            run: made.run,
            framework: made.framework,
            incarnation: made.incarnation,
            spec: (*made.spec).clone(),
            payer: made.payer,
            group: made.group,
            executor: made.executor,
            said: 0,
            running_since: None,
            statuses: vec![made.status],
            acknowledged: 0,
            kill: None,
            found: Found::NeverStarted,
        }
    }

    /// Takes in a line of its file `statuses`.
    pub fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Made {
                status,
                said,
                boot_ns,
            } => {
                if status.state == TaskState::Running && self.running_since.is_none() {
                    self.running_since = Some(Time {
                        mono_ns: boot_ns,
                        wall_ms: status.wall_ms,
                    });
                }
                self.said = self.said.max(said);
                self.statuses.push(status);
            }
            Entry::Acknowledged(number) => self.acknowledged = number,
            Entry::Kill { grace, reason } => self.kill = Some((grace, reason)),
            Entry::Changed { labels, grace } => {
                if let Some(labels) = labels {
                    self.spec.labels = labels;
                }
                self.spec.kill_grace = grace.unwrap_or(self.spec.kill_grace);
            }
        }
    }
}

/// The run directory of an executor as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredExecutor {
    /// Which.
    pub run: RunId,
    /// Whose.
    pub framework: FrameworkId,
    /// What.
    pub spec: ExecutorSpec,
    /// Who pays.
    pub payer: Option<Payer>,
    /// The wish to end it: grace and reason.
    pub end: Option<(Duration, Reason)>,
    /// The launches that it was told of and may still have, where that is kept; none only if it was never told of any.
    pub told: Option<BTreeSet<(TaskId, Incarnation)>>,
    /// What is really there.
    pub found: Found,
}

/// What is really there of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was never started, and no earlier attempt can start it any more.
    NeverStarted,
    /// Its supervisor answers.
    Running {
        /// The task's process.
        pid: u32,
    },
    /// Its supervisor left word that it could not be started.
    Failed {
        /// Why, for people.
        message: String,
    },
    /// Its supervisor left word how it ended.
    Exited(Ended),
    /// Its supervisor is gone and left no word.
    SupervisorLost,
}
