//! The promises, checked as they are kept or broken. They know only what can be seen from outside the cores.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::{Incarnation, Resources, Status, TaskId, TaskState};

use super::framework::Framework;

#[derive(Default)]
pub(super) struct Checks {
    started: BTreeSet<TaskId>,
    to_kill: BTreeSet<TaskId>,
    /// The newest status of each task, as its framework knows it.
    seen: BTreeMap<TaskId, Status>,
    /// What agents said, by number.
    told: BTreeMap<TaskId, BTreeMap<u64, Status>>,
}

impl Checks {
    /// A task is started at most once, and an agent never runs more than it has.
    pub(super) fn on_started<'a>(
        &mut self,
        task: &TaskId,
        host: usize,
        cpus: u64,
        live: impl Iterator<Item = &'a Resources>,
    ) -> Result<(), String> {
        if !self.started.insert(task.clone()) {
            return Err(format!("{task} is started twice"));
        }
        let mut used = Resources::new();
        let mut ports = 0;
        for resources in live {
            ports += resources.range_set("ports").count();
            used.add(resources);
        }
        if used.scalar("cpus") > 1_000 * cpus || used.range_set("ports").count() != ports {
            return Err(format!("agent {host} runs more than it has: {used}"));
        }
        if let Some(status) = self
            .seen
            .get(task)
            .filter(|status| status.state.is_terminal())
        {
            return Err(format!(
                "{task} is started after it was reported {}",
                status.state
            ));
        }
        Ok(())
    }

    /// The framework wants this task to end.
    pub(super) fn on_kill_wanted(&mut self, task: &TaskId) {
        self.to_kill.insert(task.clone());
    }

    /// Nothing ends a task that its framework wants to run.
    pub(super) fn on_signalled(&self, task: &TaskId) -> Result<(), String> {
        match self.to_kill.contains(task) {
            true => Ok(()),
            false => Err(format!("{task} is told to end, and its framework wants it")),
        }
    }

    /// States never move backwards, but out of unreachable; a terminal state is final. What was told already may be told
    /// again, word for word: answers whether the status was new.
    pub(super) fn on_status(&mut self, status: &Status) -> Result<bool, String> {
        let task = &status.task;
        let told = self.told.entry(task.clone()).or_default();
        if status.number > 0 {
            if let Some(before) = told.get(&status.number) {
                return match before == status {
                    true => Ok(false),
                    false => Err(format!(
                        "{task} #{} was {before:?} and is {status:?}",
                        status.number
                    )),
                };
            }
            if told
                .last_key_value()
                .is_some_and(|(last, _)| last + 1 != status.number)
            {
                return Err(format!(
                    "{task} #{} comes after {:?}",
                    status.number,
                    told.keys()
                ));
            }
            told.insert(status.number, status.clone());
        }
        if let Some(before) = self.seen.get(task) {
            let is_back = status.state < before.state && before.state != TaskState::Unreachable;
            let is_changed_end = before.state.is_terminal() && status.state != before.state;
            if is_back || is_changed_end {
                return Err(format!(
                    "{task} goes from {} to {}",
                    before.state, status.state
                ));
            }
        }
        if matches!(status.state, TaskState::Running | TaskState::Finished)
            && !self.started.contains(task)
        {
            return Err(format!(
                "{task} is reported {} and was never started",
                status.state
            ));
        }
        if status.state == TaskState::Lost
            && status.incarnation != Incarnation(0)
            && self.started.contains(task)
        {
            return Err(format!(
                "{task} is reported lost, and its end is on its host's disk"
            ));
        }
        self.seen.insert(task.clone(), status.clone());
        Ok(true)
    }

    /// Everything that ran was reported to its end.
    pub(super) fn at_end(&self, framework: &Framework) -> Result<(), String> {
        let open = self
            .started
            .iter()
            .find(|task| !self.seen.get(*task).is_some_and(|s| s.state.is_terminal()));
        match open {
            Some(task) => Err(format!("{task} ran and its end was never reported")),
            None => framework.at_end(),
        }
    }
}
