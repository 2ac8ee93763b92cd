//! What readers see of the tasks: rows by run, from the core's facts. As bounded as the core's tasks and garbage are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proffer_agent_core::{RunId, TaskRow};
use proffer_model::{AgentId, FrameworkId, Incarnation, TaskId};

/// Shared by the driver, which writes, and the services, which read.
#[derive(Clone, Debug, Default)]
pub(crate) struct View(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<RunId, TaskRow>,
    agent: Option<AgentId>,
    master: Option<String>,
}

impl View {
    /// Replaces a row.
    pub(crate) fn put(&self, row: TaskRow) {
        self.rows().rows.insert(row.run, row);
    }

    /// Removes a row.
    pub(crate) fn remove(&self, run: RunId) {
        self.rows().rows.remove(&run);
    }

    /// The agent is registered, or not.
    pub(crate) fn set_agent(&self, agent: Option<AgentId>) {
        self.rows().agent = agent;
    }

    /// As which the agent is registered, if it is.
    pub(crate) fn agent(&self) -> Option<AgentId> {
        self.rows().agent.clone()
    }

    /// The agent is linked to the master at this address, or to none.
    pub(crate) fn set_master(&self, master: Option<String>) {
        self.rows().master = master;
    }

    /// The address of the master that the agent is linked to, if it is.
    pub(crate) fn master(&self) -> Option<String> {
        self.rows().master.clone()
    }

    /// All of them.
    pub(crate) fn tasks(&self) -> Vec<TaskRow> {
        self.rows().rows.values().cloned().collect()
    }

    /// Tasks that have not ended.
    pub(crate) fn live(&self) -> usize {
        let rows = self.rows();
        rows.rows
            .values()
            .filter(|row| !row.status.state.is_terminal())
            .count()
    }

    /// The run of a launch, or of the latest of its task, and the run that its output is in.
    pub(crate) fn find(
        &self,
        framework: &FrameworkId,
        task: &TaskId,
        incarnation: Option<Incarnation>,
    ) -> Option<(RunId, RunId)> {
        let rows = self.rows();
        let of_task = rows
            .rows
            .values()
            .filter(|row| row.framework == *framework && row.status.task == *task);
        let wanted = of_task.filter(|row| incarnation.is_none_or(|it| it == row.incarnation));
        let latest = wanted.max_by_key(|row| row.incarnation)?;
        Some((latest.run, latest.output))
    }

    /// Whether a run has ended; one that is gone has.
    pub(crate) fn has_ended(&self, run: RunId) -> bool {
        let rows = self.rows();
        rows.rows
            .get(&run)
            .is_none_or(|row| row.status.state.is_terminal())
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
