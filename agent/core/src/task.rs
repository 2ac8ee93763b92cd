//! What the agent knows of one run. Data only; what happens to it is decided in `tasks.rs` and done in `core.rs`.

use std::sync::Arc;
use std::time::Duration;

use proffer_model::link::Payer;
use proffer_model::{FrameworkId, Incarnation, Reason, TaskSpec, Time};

use crate::checks::Health;
use crate::event::Seq;
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
    /// When it was first said to run, by the wall clock.
    pub(crate) running_since_ms: Option<u64>,
    /// The last checkpoint of this run: what is said of it may leave after that.
    pub(crate) seq: Seq,
}

/// The wish to end a run.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    pub(crate) grace: Duration,
    pub(crate) reason: Reason,
    /// When SIGKILL follows; absent while there is nothing to signal.
    pub(crate) deadline: Option<Time>,
}
