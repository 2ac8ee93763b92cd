//! What must hold after every step. Called by tests and simulations; it costs a pass over all tasks.

use proffer_model::Resources;

use crate::core::Core;
use crate::executor::ExecutorPhase;
use crate::loads::Loads;
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
            if task.phase == Phase::Running && task.pid.is_none() && task.executor.is_none() {
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
        self.check_executors(&mut used)?;
        self.check_loads()?;
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

    fn check_loads(&self) -> Result<(), String> {
        let mut loads = Loads::default();
        for task in self.tasks.values() {
            loads.task_came(&task.spec);
            let waiting = task.word.waiting.as_ref();
            loads.said += task.updates.data_len() + waiting.map_or(0, |it| it.data.len());
        }
        let live = self.live_executors.values();
        let live = live.filter_map(|run| self.executors.get(run));
        live.for_each(|executor| loads.executor_came(&executor.spec));
        match loads == self.loads {
            true => Ok(()),
            false => Err(format!("{:?}, but they add up to {loads:?}", self.loads)),
        }
    }

    fn check_executors(&self, used: &mut Resources) -> Result<(), String> {
        let mut live = 0;
        for (run, executor) in &self.executors {
            let key = (executor.framework.clone(), executor.spec.id.clone());
            if executor.phase == ExecutorPhase::Ended {
                if executor.session.is_some() || executor.tasks.is_empty() {
                    return Err(format!("executor {run}: ended, but kept"));
                }
            } else if self.live_executors.get(&key) == Some(run) {
                used.add(&executor.spec.resources);
                live += 1;
            } else {
                return Err(format!("executor {run}: not in the index"));
            }
            for task_run in &executor.tasks {
                let task = self.tasks.get(task_run);
                let task = task.filter(|task| task.executor == Some(*run));
                let Some(task) = task else {
                    return Err(format!("executor {run}: {task_run} is not its task"));
                };
                if executor.phase == ExecutorPhase::Ended && task.phase != Phase::Ended {
                    return Err(format!("run {task_run}: outlives its executor"));
                }
            }
        }
        if live != self.live_executors.len() {
            return Err(format!("{live} executors live, not as many as indexed"));
        }
        Ok(())
    }
}
