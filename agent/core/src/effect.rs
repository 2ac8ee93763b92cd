//! All that an agent can do, in the imperative. An effect that promises something, or that cannot be taken back, says
//! what must be durable before it happens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proffer_model::executor::ExecutorEvent;
use proffer_model::link::{Payer, ToMaster};
use proffer_model::{
    AgentId, CheckKind, ClusterId, Epoch, ExecutorId, ExecutorSpec, FrameworkId, Incarnation,
    Problem, Reason, Role, Status, TaskId, TaskSpec, Time, VolumeMount,
};

use crate::event::{Identity, LinkId, RunId, Seq, SessionId, TimerKey};

/// What must be durable before an effect may happen. The shell keeps effects that wait in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum After {
    /// It may happen at once.
    Nothing,
    /// It may happen when this checkpoint is durable.
    Seq(Seq),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write a checkpoint; `Persisted` follows. They are in order and may be written together.
    Persist {
        /// Its number.
        seq: Seq,
        /// What changes.
        change: Change,
    },
    /// Send to the master at the other end.
    Send {
        /// Over which connection.
        link: LinkId,
        /// What.
        message: ToMaster,
        /// When it may leave.
        after: After,
    },
    /// End a connection; the shell then tries the next master.
    CloseLink(LinkId),
    /// Make the container and start the task; one of the `Container…` events follows.
    StartContainer {
        /// Which.
        run: RunId,
        /// What.
        spec: Arc<TaskSpec>,
    },
    /// Start an executor and let it subscribe; one of the `Container…` events follows.
    StartExecutor {
        /// Which.
        run: RunId,
        /// Whose.
        framework: FrameworkId,
        /// What.
        spec: Arc<ExecutorSpec>,
        /// Where.
        agent: Option<AgentId>,
        /// In which role, if that was said.
        role: Option<Role>,
    },
    /// Let an executor that was found running subscribe again.
    AwaitExecutor {
        /// Which.
        run: RunId,
        /// Whose.
        framework: FrameworkId,
        /// What.
        spec: Arc<ExecutorSpec>,
    },
    /// Put the volumes of a task into its executor's sandbox; `VolumesMounted` follows. That they are there is as good.
    MountVolumes {
        /// The task's run.
        run: RunId,
        /// The start of its executor.
        executor: RunId,
        /// The executor.
        of: Arc<ExecutorSpec>,
        /// The task.
        spec: Arc<TaskSpec>,
    },
    /// Take these volumes of a task out of its executor's sandbox, after what was asked for before.
    UnmountVolumes {
        /// The start of its executor.
        executor: RunId,
        /// The executor, whose own stay.
        of: Arc<ExecutorSpec>,
        /// The task.
        spec: Arc<TaskSpec>,
        /// Which of its volumes, and where.
        volumes: Vec<VolumeMount>,
    },
    /// Let an executor subscribe no more; sessions end.
    LeaveExecutor {
        /// Which.
        run: RunId,
    },
    /// Send to an executor. When it does not take it, its session ends and it comes back; messages are left out.
    SendExecutor {
        /// Over which session.
        session: SessionId,
        /// What.
        event: ExecutorEvent,
        /// When it may leave.
        after: After,
    },
    /// End a session after all that was sent.
    CloseExecutor {
        /// Which.
        session: SessionId,
    },
    /// Tell the container's process group to end.
    SignalContainer {
        /// Which.
        run: RunId,
        /// How.
        signal: Signal,
        /// When it may happen.
        after: After,
    },
    /// Fetch nothing more for a run that is to end before it has begun. `ContainerFailed` follows if something was on its way.
    StopFetching {
        /// Which.
        run: RunId,
        /// When it may happen.
        after: After,
    },
    /// Make a check; `CheckFinished` follows.
    RunCheck {
        /// Of which run.
        run: RunId,
        /// Its place in the spec.
        check: usize,
        /// What to probe.
        kind: CheckKind,
        /// How long it may take.
        timeout: Duration,
    },
    /// Set or move a timer.
    SetTimer {
        /// Which.
        key: TimerKey,
        /// To when, by the monotonic clock.
        at: Time,
    },
    /// Forget a timer; it may still fire, and then does no harm.
    CancelTimer(TimerKey),
    /// Remove a run's directory, after all checkpoints before this.
    RemoveRun(RunId),
    /// These persistent volumes are to be there, and no others. Happens before what comes after it.
    KeepVolumes(Vec<proffer_model::link::AgentVolume>),
    /// Make a fact known: to the view, the log, the metrics.
    Record(Fact),
}

/// A durable change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file `agent` is replaced.
    Identity(Identity),
    /// A run directory is made, with the task and its first status.
    Run(NewRun),
    /// The same for each task of a group: all are made or none.
    Group(Vec<NewRun>),
    /// A run directory is made for an executor.
    Executor {
        /// Its name.
        run: RunId,
        /// Whose.
        framework: FrameworkId,
        /// What.
        spec: Arc<ExecutorSpec>,
        /// Who pays.
        payer: Option<Payer>,
    },
    /// A line is appended to a run's file `statuses`.
    Entry {
        /// Whose.
        run: RunId,
        /// What.
        entry: Entry,
    },
}

/// A launch to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRun {
    /// The name of its directory.
    pub run: RunId,
    /// Whose.
    pub framework: FrameworkId,
    /// Which launch.
    pub incarnation: Incarnation,
    /// What.
    pub spec: Arc<TaskSpec>,
    /// Who pays.
    pub payer: Option<Payer>,
    /// The group that it is launched in: its first task.
    pub group: Option<(TaskId, Incarnation)>,
    /// The start of the executor that it is in; absent when it has a process of its own.
    pub executor: Option<RunId>,
    /// Its first status.
    pub status: Status,
}

/// A line of the file `statuses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A status was made.
    Made {
        /// Which.
        status: Status,
        /// The greatest number of its executor's that it rests on.
        said: u64,
        /// When, by the monotonic clock.
        boot_ns: u64,
    },
    /// All statuses up to this number are acknowledged.
    Acknowledged(u64),
    /// The task is to end; of an executor: it is to end with all its tasks.
    Kill {
        /// SIGTERM to SIGKILL.
        grace: Duration,
        /// Why.
        reason: Reason,
    },
    /// The task is changed without a restart; what is absent stays.
    Changed {
        /// All labels that it is to have.
        labels: Option<BTreeMap<String, String>>,
        /// SIGTERM to SIGKILL.
        grace: Option<Duration>,
    },
}

/// How a container is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// SIGTERM to its process group: it may tidy up.
    Terminate,
    /// SIGKILL to all of it.
    Kill,
}

/// Something that is now so. Rows replace the row with the same run in the view; the others are for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A task's row.
    Task(TaskRow),
    /// A run's directory is gone, and its row with it.
    RunRemoved(RunId),
    /// The checkpoints were read.
    Recovered {
        /// Tasks that run on.
        running: u64,
        /// Tasks that ended meanwhile.
        ended: u64,
        /// Tasks that had been accepted but not started, and are started now.
        started: u64,
    },
    /// The agent is registered.
    Registered {
        /// As which.
        agent: AgentId,
        /// In which cluster.
        cluster: ClusterId,
        /// In which term.
        epoch: Epoch,
    },
    /// A master does not want this agent, or this agent does not obey that master. Its tasks run on.
    Refused(Problem),
    /// An operator has said that this agent is gone: what it runs is ended.
    Gone(Problem),
    /// The leader was silent too long.
    LinkSilent,
    /// A launch was not new.
    LaunchRepeated {
        /// Whose.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// Which launch.
        incarnation: Incarnation,
    },
    /// A launch was refused.
    LaunchRefused {
        /// Whose.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// Why, for people.
        message: String,
    },
    /// An executor stands otherwise.
    Executor {
        /// Its directory.
        run: RunId,
        /// Whose.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
        /// How it stands.
        state: ExecutorState,
        /// Why, for people.
        message: String,
    },
    /// An executor broke a rule, and its session is closed.
    ExecutorRefused {
        /// Which.
        run: RunId,
        /// Why.
        problem: Problem,
    },
    /// A message, a change or a shutdown was about something that is not there.
    OrderIgnored {
        /// Whose.
        framework: FrameworkId,
        /// The task or executor.
        name: String,
    },
    /// A kill was about a launch that is not known, or no more.
    KillIgnored {
        /// Whose.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// Which launch.
        incarnation: Incarnation,
    },
    /// An acknowledgement was about a status that was never made.
    AcknowledgementIgnored {
        /// Whose.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// Up to which number.
        number: u64,
    },
    /// Statuses were sent again because nobody acknowledged them.
    StatusesResent {
        /// How many.
        count: u64,
    },
}

/// How an executor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExecutorState {
    /// Its process is being started.
    Starting,
    /// Its process runs, and it has no session.
    Running,
    /// It has a session.
    Subscribed,
    /// It was told to end.
    Ending,
    /// It is no more.
    Ended,
}

/// What is shown of a task. Its command and environment are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// Its directory.
    pub run: RunId,
    /// The directory with its output: its executor's, if it has one.
    pub output: RunId,
    /// Whose.
    pub framework: FrameworkId,
    /// Which launch.
    pub incarnation: Incarnation,
    /// The latest status.
    pub status: Status,
    /// Its process, while it runs.
    pub pid: Option<u32>,
    /// What it is to run; shared, because it is large.
    pub spec: Arc<TaskSpec>,
}

/// Effects in the order in which they are to be done.
pub type Effects = Vec<Effect>;
