//! What the agent knows of one run. Data only; what happens to it is decided in `tasks.rs` and done in `core.rs`.

use std::sync::Arc;
use std::time::Duration;

use proffer_model::executor::ExecutorStatus;
use proffer_model::link::Payer;
use proffer_model::{FrameworkId, Incarnation, Reason, TaskId, TaskSpec, Time};

use crate::checks::Health;
use crate::event::{RunId, Seq};
use crate::tasks::Phase;
use crate::updates::Updates;

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) framework: FrameworkId,
    pub(crate) incarnation: Incarnation,
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) payer: Option<Payer>,
    pub(crate) phase: Phase,
    pub(crate) kill: Option<Kill>,
    pub(crate) updates: Updates,
    pub(crate) health: Health,
    /// Its process, while it is known to run.
    pub(crate) pid: Option<u32>,
    /// When it was first said to run; monotonic time 0 where that was not kept.
    pub(crate) running_since: Option<Time>,
    /// The group that it was launched in: its first task.
    pub(crate) group: Option<(TaskId, Incarnation)>,
    /// The start of the executor that it is in; absent when it has a process of its own.
    pub(crate) executor: Option<RunId>,
    /// What its executor has said.
    pub(crate) word: Word,
    /// Where its volumes stand, if it is in an executor.
    pub(crate) mounting: Mounting,
    /// The last checkpoint of this run: what is said of it may leave after that.
    pub(crate) seq: Seq,
}

/// Where the volumes of a task stand that its executor is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mounting {
    /// They are still to be put into its sandbox.
    #[default]
    Unasked,
    /// They are being put there.
    Asked,
    /// They are there, or cannot be.
    Done,
}

/// The wish to end a run.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    pub(crate) grace: Duration,
    pub(crate) reason: Reason,
    /// When SIGKILL follows; absent while there is nothing to signal.
    pub(crate) deadline: Option<Time>,
    /// Whoever asked has said how long it is to have; otherwise that is the task's own.
    pub(crate) is_given: bool,
    /// Somebody has asked for it. Otherwise its executor has said by itself that it ends it, and whoever asks is heard.
    pub(crate) is_asked: bool,
}

impl Task {
    /// Whether nobody has asked for its end yet.
    pub(crate) fn is_unasked(&self) -> bool {
        self.kill.as_ref().is_none_or(|kill| !kill.is_asked)
    }

    /// Whether it is ended when the time that it may run is over: it runs, and nobody has asked for its end yet.
    pub(crate) fn may_be_due(&self) -> bool {
        match self.phase {
            Phase::Killing => self.is_unasked(),
            phase => phase == Phase::Running,
        }
    }
}

/// What the executor of a run has said of it, and was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Word {
    /// The greatest number that was taken.
    pub(crate) taken: u64,
    /// What it said last of the task's health.
    pub(crate) healthy: Option<bool>,
    /// Said, but no change of state, while too many statuses wait for an acknowledgement; only the newest counts.
    pub(crate) waiting: Option<ExecutorStatus>,
    /// What it said along with the status that is being made.
    pub(crate) data: Vec<u8>,
    /// The executor was told to launch it, or may have been.
    pub(crate) is_sent: bool,
}

impl Word {
    /// What it said last of the task's health, told or not.
    pub(crate) fn healthy_last(&self) -> Option<bool> {
        let waiting = self.waiting.as_ref();
        waiting.map_or(self.healthy, |status| status.healthy)
    }

    /// Up to which number the executor need not say anything again: all before what waits was taken, or was replaced by it.
    pub(crate) fn heard(&self) -> u64 {
        let waiting = self.waiting.as_ref();
        let replaced = waiting.map_or(0, |status| status.number.saturating_sub(1));
        self.taken.max(replaced)
    }
}
