//! What an agent keeps on disk: enough to recognise its tasks after a crash. Intent is written before anything is done.
//!
//! The wire form is `proffer-proto`'s; where the files stand and how they are written safely is the agent's.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::epoch::{Epoch, Incarnation};
use crate::id::{AgentId, ClusterId, FrameworkId, TaskId};
use crate::link::Payer;
use crate::task::{ExecutorSpec, Reason, Status, TaskSpec};

/// Who the agent is, from registration to registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentIdentity {
    /// Its id; absent before it first registers.
    pub agent: Option<AgentId>,
    /// The cluster that gave it; absent with the id.
    pub cluster: Option<ClusterId>,
    /// The greatest epoch that it has obeyed.
    pub epoch: Epoch,
    /// The host's boot id: another one means that all containers are gone.
    pub boot_id: String,
    /// Links that it has opened.
    pub links: u64,
}

/// One launch, written before anything is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose.
    pub framework: FrameworkId,
    /// Which launch.
    pub incarnation: Incarnation,
    /// What.
    pub spec: TaskSpec,
    /// Who pays; absent where it was not kept yet.
    pub payer: Option<Payer>,
    /// The group that it was launched in: its first task.
    pub group: Option<(TaskId, Incarnation)>,
    /// The run of the executor that it is in; absent when it has a process of its own.
    pub executor: Option<u64>,
}

/// One start of a framework's executor, written before it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorRun {
    /// Whose.
    pub framework: FrameworkId,
    /// What.
    pub spec: ExecutorSpec,
    /// Who pays; absent where it is not known.
    pub payer: Option<Payer>,
}

/// One thing that is written about a run, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusEntry {
    /// The agent made this status.
    Made {
        /// Which.
        status: Status,
        /// The executor's own number of it; 0 when no executor made it.
        said: u64,
        /// When, in nanoseconds since the host was started; 0 where it was not kept.
        boot_ns: u64,
    },
    /// The framework has kept all statuses up to this number.
    Acknowledged(u64),
    /// The task was told to end.
    Kill {
        /// SIGTERM to SIGKILL.
        grace: Duration,
        /// Why.
        reason: Reason,
    },
    /// The task was changed without a restart; what is absent stayed.
    Changed {
        /// All labels that it has.
        labels: Option<BTreeMap<String, String>>,
        /// SIGTERM to SIGKILL.
        grace: Option<Duration>,
    },
}
