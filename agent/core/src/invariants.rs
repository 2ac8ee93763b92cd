//! What must hold after every step. Called by tests and simulations; it costs a pass over all tasks.

use proffer_model::Resources;

use crate::core::Core;
use crate::tasks::Phase;

impl Core {
    /// The first invariant that does not hold, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        let mut used = Resources::new();
        for (run, task) in &self.tasks {
            let latest = task.updates.latest();
            if (task.phase == Phase::Ended) != latest.state.is_terminal() {
                return Err(format!(
                    "run {run}: {:?} but said {}",
                    task.phase, latest.state
                ));
            }
            if task.phase == Phase::Running && task.pid.is_none() {
                return Err(format!("run {run}: running without a process"));
            }
            if task.phase == Phase::Killing && task.kill.is_none() {
                return Err(format!("run {run}: killing without a wish"));
            }
            let numbers = task.updates.unacknowledged().iter().map(|s| s.number);
            if !numbers.is_sorted() {
                return Err(format!("run {run}: statuses out of order"));
            }
            if self.run_of(&task.framework, &task.spec.id, task.incarnation) != Some(*run) {
                return Err(format!("run {run}: not in the index"));
            }
            if task.phase != Phase::Ended {
                used.add(&task.spec.resources);
            }
        }
        if used != self.used {
            return Err(format!("used is {} but adds up to {used}", self.used));
        }
        let indexed: usize = self.index.values().map(|runs| runs.len()).sum();
        if indexed != self.tasks.len() {
            return Err(format!(
                "{indexed} in the index, {} tasks",
                self.tasks.len()
            ));
        }
        Ok(())
    }
}
