//! Tasks: what is to be run, and what has become of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::discovery::Discovery;
use crate::epoch::Incarnation;
use crate::fetch::Fetch;
use crate::id::{AgentId, ExecutorId, TaskId, VolumeId};
use crate::image::ImageName;
use crate::resources::Resources;
use crate::secret::Secret;

/// What a framework wants run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSpec {
    /// Unique in its framework while live or unacknowledged.
    pub id: TaskId,
    /// For people.
    pub name: String,
    /// What it holds while it is not terminal.
    pub resources: Resources,
    /// What to run.
    pub command: Command,
    /// Its environment; values are secrets, hidden in every view.
    pub environment: BTreeMap<String, Secret>,
    /// The user to run as; the agent's default when absent.
    pub user: Option<String>,
    /// For discovery and people.
    pub labels: BTreeMap<String, String>,
    /// What it listens on; numbers are out of its resources.
    pub ports: Vec<Port>,
    /// How the agent finds out whether it is healthy; all must pass. Empty: running is healthy.
    pub checks: Vec<Check>,
    /// SIGTERM to SIGKILL.
    pub kill_grace: Duration,
    /// What it sees of the host; absent: all of it, as a process of the host.
    pub container: Option<Container>,
    /// The framework's own executor, which runs it; absent: the agent itself does. Then, and only then, the command is
    /// [`Command::Data`].
    pub executor: Option<std::sync::Arc<ExecutorSpec>>,
    /// Where it finds the persistent volumes that are among its resources.
    pub volumes: Vec<VolumeMount>,
    /// It is killed when it has run so long; absent: never.
    pub completion: Option<Duration>,
    /// What is put into its sandbox before it starts, in this order.
    pub fetch: Vec<Fetch>,
    /// As what it is to be found, besides its name, labels and ports; nothing but words for others.
    pub discovery: Option<std::sync::Arc<Discovery>>,
}

/// The variable in which Mesos's tasks find the id of the executor that they are in.
pub const MESOS_EXECUTOR_VARIABLE: &str = "MESOS_EXECUTOR_ID";

impl TaskSpec {
    /// The executor that a task of Mesos's groups is in for its framework, where that is the agent itself.
    pub fn group_executor(&self) -> Option<&str> {
        let said = self.environment.get(MESOS_EXECUTOR_VARIABLE)?.expose();
        let is_other = self.executor.is_none() && !said.is_empty() && said != self.id.as_str();
        is_other.then_some(said)
    }

    /// What others than its agent need to know of it: all but what is to be run, which may be large. It is none to launch.
    pub fn outline(&self) -> Self {
        let said = self.environment.get_key_value(MESOS_EXECUTOR_VARIABLE);
        let said = said.map(|(name, value)| (name.clone(), value.clone()));
        let command = match self.executor {
            Some(_) => Command::Data(Vec::new()),
            None => Command::Shell(":".to_owned()),
        };
        Self {
            name: self.name.clone(),
            environment: said.into_iter().collect(),
            user: self.user.clone(),
            labels: self.labels.clone(),
            ports: self.ports.clone(),
            kill_grace: self.kill_grace,
            container: self.container.clone(),
            executor: self.executor.clone(),
            volumes: self.volumes.clone(),
            completion: self.completion,
            discovery: self.discovery.clone(),
            ..Self::new(self.id.clone(), command, self.resources.clone())
        }
    }

    /// A task with nothing but what it must have; its name is its id. Set the other fields on it.
    pub fn new(id: TaskId, command: Command, resources: Resources) -> Self {
        Self {
            name: id.to_string(),
            id,
            resources,
            command,
            environment: BTreeMap::new(),
            user: None,
            labels: BTreeMap::new(),
            ports: Vec::new(),
            checks: Vec::new(),
            kill_grace: crate::limits::KILL_GRACE_DEFAULT,
            container: None,
            executor: None,
            volumes: Vec::new(),
            completion: None,
            fetch: Vec::new(),
            discovery: None,
        }
    }
}

/// A framework's program that runs tasks on an agent. Tasks of one framework that name the same id on one agent share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorSpec {
    /// Unique in its framework on an agent; the same id must always mean the same spec.
    pub id: ExecutorId,
    /// Held once, while it lives, besides what its tasks hold.
    pub resources: Resources,
    /// What to run: a shell line or a program.
    pub command: Command,
    /// Its environment; values are secrets, hidden in every view.
    pub environment: BTreeMap<String, Secret>,
    /// The user to run as; the agent's default when absent.
    pub user: Option<String>,
    /// From the word to end to SIGKILL.
    pub shutdown_grace: Duration,
    /// What is put into its sandbox before it starts, in this order.
    pub fetch: Vec<Fetch>,
    /// How it speaks with its agent.
    pub api: ExecutorApi,
    /// What one of Mesos's API is told of itself and its framework when it subscribes: an encoded
    /// `mesos.v1.executor.Event.Subscribed`. Empty of others.
    pub info: Vec<u8>,
    /// What counts instead of that where two specs are compared: an agent of an earlier version has kept it in another form, and
    /// knows it in that alone.
    pub info_compared: Option<Vec<u8>>,
}

impl ExecutorSpec {
    /// What is to be known of one that is no more: all but what it was given, which may be large.
    pub fn outline(&self) -> Self {
        Self {
            id: self.id.clone(),
            resources: self.resources.clone(),
            command: Command::Shell(":".to_owned()),
            environment: BTreeMap::new(),
            user: None,
            shutdown_grace: self.shutdown_grace,
            fetch: Vec::new(),
            api: self.api,
            info: Vec::new(),
            info_compared: None,
        }
    }
}

impl ExecutorSpec {
    /// Whether who names this one means that one, which lives. Of those of Mesos's API it is as there: neither the order of what
    /// is fetched nor what of it is kept for others makes it another one, nor the time that it has to end.
    pub fn means(&self, live: &Self) -> bool {
        let compared = |spec: &Self| {
            let mut fetch = spec.fetch.clone();
            fetch.iter_mut().for_each(|one| one.is_cached = false);
            fetch.sort();
            let info = spec.info_compared.as_ref().unwrap_or(&spec.info);
            Self {
                shutdown_grace: Duration::ZERO,
                fetch,
                info: info.clone(),
                info_compared: None,
                ..spec.clone()
            }
        };
        let is_of_mesos = self.api == ExecutorApi::MesosV1;
        self == live || is_of_mesos && compared(self) == compared(live)
    }
}

/// How an executor speaks with its agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutorApi {
    /// The `Executor` service on its unix socket; the data of its tasks is its own.
    #[default]
    Proffer,
    /// Mesos's v1 executor API over HTTP: the data of each task is its `mesos.v1.TaskInfo`, the data of each status the
    /// `mesos.v1.TaskStatus` that the executor sent.
    MesosV1,
}

/// Where a task finds a persistent volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    /// Which; among the task's resources.
    pub volume: VolumeId,
    /// Relative to its sandbox, or absolute in a container.
    pub path: String,
    /// Whether it may only read.
    pub is_read_only: bool,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A line for `/bin/sh -c`.
    Shell(String),
    /// A program, found on `PATH`, and its arguments; at least one element. Nothing of an image's entrypoint is run.
    Exec(Vec<String>),
    /// A program, and what it is given as its arguments, the first of which is what it is called. In a container it is called by
    /// its file.
    Named {
        /// Its file, found on `PATH`.
        program: String,
        /// At least one element.
        arguments: Vec<String>,
    },
    /// The image's entrypoint with these arguments; without any, with the image's own. Only with a container.
    Image(Vec<String>),
    /// Bytes that its executor understands. Only with an executor.
    Data(Vec<u8>),
}

/// A container of its own for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its root.
    pub image: Image,
    /// By whose rules what its image says is used.
    pub rules: ImageRules,
}

/// By whose rules what an image says about running it is used, where they differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageRules {
    /// Docker's: without a directory of the image's it begins at `/`; a task's arguments stand for the image's own.
    #[default]
    Docker,
    /// Those of Mesos's containerizer: without a directory of the image's it begins in its sandbox; without an entrypoint a
    /// task's arguments follow the first word of the image's own, which is the program.
    Mesos,
}

/// Where an image is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// An archive on the agent's host: what `docker save` writes, or an OCI layout in a tar. The path is absolute.
    Archive(String),
    /// By its name, which the agent finds an archive for in the directory that its operator keeps them in.
    Name(ImageName),
}

impl Image {
    /// Its path or its name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Archive(path) => path,
            Self::Name(name) => name.as_str(),
        }
    }
}

/// A port that a task listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name, may be empty.
    pub name: String,
    /// The number on the host.
    pub number: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// How to find out whether a task is healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is probed.
    pub kind: CheckKind,
    /// From start to the first probe.
    pub delay: Duration,
    /// From probe to probe.
    pub interval: Duration,
    /// How long a probe may take; longer counts as failed.
    pub timeout: Duration,
    /// From start; failures before this has passed, or before the first success, do not count.
    pub grace: Duration,
    /// The task is killed at this many failures in a row; 0: never.
    pub failures_max: u32,
    /// What it is answered is told whenever that changes, and says nothing of the task's health.
    pub is_observed: bool,
}

impl Check {
    /// What it probes, if what it is answered is told alone.
    pub fn observed(&self) -> Option<Probe> {
        self.is_observed.then_some(match self.kind {
            CheckKind::Http { .. } => Probe::Http,
            CheckKind::Tcp { .. } => Probe::Tcp,
            CheckKind::Command { .. } => Probe::Command,
        })
    }
}

/// How a check probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// By a GET.
    Http,
    /// By a connection.
    Tcp,
    /// By a command.
    Command,
}

/// What a check probes, on the task's own host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// A GET of `path` on this port; 200 to 399 is healthy, redirects are not followed.
    Http {
        /// The port.
        port: u16,
        /// The path, beginning with `/`.
        path: String,
    },
    /// A connection to this port.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A line for `/bin/sh -c`, run as the task runs: its user, environment, directory and container. 0 is healthy.
    Command {
        /// The line.
        shell: String,
    },
}

/// Where a task stands. Ordered: of two observations of one incarnation the greater wins, a terminal one is final. The
/// only way back is out of `Unreachable`, when the agent returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskState {
    /// Sent to the agent, or checkpointed there.
    Staging,
    /// Its container is being made.
    Starting,
    /// Its process runs.
    Running,
    /// It was told to end.
    Killing,
    /// Its agent is unreachable; it may still run.
    Unreachable,
    /// Ended by itself with 0.
    Finished,
    /// Ended by itself otherwise, or could not be started.
    Failed,
    /// Ended because it was told to.
    Killed,
    /// Refused: its spec is wrong.
    Error,
    /// Never started: the agent never got it. May be launched again.
    Dropped,
    /// Its agent says that it is no more, and nobody knows how it ended.
    Lost,
}

impl TaskState {
    /// All states, in order.
    pub const ALL: [Self; 11] = [
        Self::Staging,
        Self::Starting,
        Self::Running,
        Self::Killing,
        Self::Unreachable,
        Self::Finished,
        Self::Failed,
        Self::Killed,
        Self::Error,
        Self::Dropped,
        Self::Lost,
    ];

    /// Whether it is the end.
    pub fn is_terminal(self) -> bool {
        self >= Self::Finished
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Staging => "staging",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Killing => "killing",
            Self::Unreachable => "unreachable",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Error => "error",
            Self::Dropped => "dropped",
            Self::Lost => "lost",
        })
    }
}

/// Why a task is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing more to say.
    None,
    /// Its process ended.
    Exited,
    /// Its container could not be made.
    LaunchFailed,
    /// A check failed too often.
    CheckFailed,
    /// Its framework asked.
    KillRequested,
    /// Its framework was torn down or its failover timeout passed.
    FrameworkRemoved,
    /// Its agent is unreachable.
    AgentUnreachable,
    /// Its agent came back.
    AgentReturned,
    /// Its agent never got it.
    NeverDelivered,
    /// Its supervisor died, so how it ended is not known.
    SupervisorLost,
    /// Its host was restarted.
    HostRestarted,
    /// The answer to a reconciliation.
    Reconciled,
    /// Its health changed.
    HealthChanged,
    /// What an observed check is answered changed.
    CheckAnswered,
    /// It asked for more memory than it holds, and was killed by the kernel.
    OutOfMemory,
    /// Its image cannot be read, is not allowed, or is for another machine.
    ImageFailed,
    /// It ran as long as it may.
    DeadlinePassed,
    /// Its agent was to be empty, and the deadline for that passed.
    AgentDrained,
    /// Its executor ended before it did.
    ExecutorEnded,
    /// Another task of its group did not end well.
    GroupEnded,
    /// Its volume, or the place for it, cannot be had.
    VolumeFailed,
    /// What it needs in its sandbox could not be fetched.
    FetchFailed,
    /// An operator has said that its agent is gone.
    AgentGone,
    /// What its executor said along with its end was more than is taken, and is lost.
    TooLong,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Exited => "exited",
            Self::LaunchFailed => "launch_failed",
            Self::CheckFailed => "check_failed",
            Self::KillRequested => "kill_requested",
            Self::FrameworkRemoved => "framework_removed",
            Self::AgentUnreachable => "agent_unreachable",
            Self::AgentReturned => "agent_returned",
            Self::NeverDelivered => "never_delivered",
            Self::SupervisorLost => "supervisor_lost",
            Self::HostRestarted => "host_restarted",
            Self::Reconciled => "reconciled",
            Self::HealthChanged => "health_changed",
            Self::CheckAnswered => "check_answered",
            Self::OutOfMemory => "out_of_memory",
            Self::ImageFailed => "image_failed",
            Self::DeadlinePassed => "deadline_passed",
            Self::AgentDrained => "agent_drained",
            Self::ExecutorEnded => "executor_ended",
            Self::GroupEnded => "group_ended",
            Self::VolumeFailed => "volume_failed",
            Self::FetchFailed => "fetch_failed",
            Self::AgentGone => "agent_gone",
            Self::TooLong => "too_long",
        })
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What a check of a task said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckResult {
    /// Its place in the spec.
    pub check: u32,
    /// What it said; absent when there was no answer in time.
    pub answer: Option<CheckAnswer>,
    /// How it probes, if what it is answered is told alone, and is not the task's health.
    pub observed: Option<Probe>,
}

/// The answer to a probe of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckAnswer {
    /// The code of an HTTP answer.
    Http(u16),
    /// Whether a connection was made.
    Tcp(bool),
    /// How the command ended.
    Exit(i32),
}

/// One observation of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which task.
    pub task: TaskId,
    /// Which launch of it; 0 when the master knows none (a reconciliation of an unknown task).
    pub incarnation: Incarnation,
    /// Where, if anywhere.
    pub agent: Option<AgentId>,
    /// Grows by one with each status the agent makes for this incarnation, from 1; 0 for those that the master makes.
    pub number: u64,
    /// The state.
    pub state: TaskState,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// How it ended, when it did and that is known.
    pub exit: Option<Exit>,
    /// What the checks say; absent without checks or before their first result.
    pub healthy: Option<bool>,
    /// What each check said last, in the order of the spec; those without a result yet are left out, but for observed ones.
    pub checks: Vec<CheckResult>,
    /// What its executor says along with it. The master keeps none of it: what it tells anew has none.
    pub data: Vec<u8>,
    /// When, by the clock of whoever made it, in milliseconds since 1970 UTC.
    pub wall_ms: u64,
}
