//! Where the tasks of a framework run, and on which agents there are any.

use std::collections::BTreeMap;

use proffer_model::{AgentId, TaskId};
use proffer_proto::mesos::MesosExecutor;

/// A task that is not over.
#[derive(Debug)]
pub(super) struct Place {
    agent: AgentId,
    pub(super) executor: MesosExecutor,
    /// The number of the latest status of its agent, as far as it is known.
    pub(super) number: u64,
}

impl Place {
    pub(super) fn new(agent: AgentId, executor: MesosExecutor, number: u64) -> Self {
        Self {
            agent,
            executor,
            number,
        }
    }

    pub(super) fn agent(&self) -> &AgentId {
        &self.agent
    }
}

/// The tasks that are not over.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_task: BTreeMap<TaskId, Place>,
    /// How many are on each agent that has any.
    counts: BTreeMap<AgentId, usize>,
}

impl Places {
    pub(super) fn get(&self, task: &TaskId) -> Option<&Place> {
        self.by_task.get(task)
    }

    pub(super) fn len(&self) -> usize {
        self.by_task.len()
    }

    /// Whether any task is on this agent.
    pub(super) fn is_on(&self, agent: &AgentId) -> bool {
        self.counts.contains_key(agent)
    }

    /// A task is there, wherever it was before.
    pub(super) fn insert(&mut self, task: TaskId, place: Place) {
        self.enter(place.agent.clone());
        if let Some(before) = self.by_task.insert(task, place) {
            self.leave(&before.agent);
        }
    }

    pub(super) fn remove(&mut self, task: &TaskId) -> Option<Place> {
        let place = self.by_task.remove(task)?;
        self.leave(&place.agent);
        Some(place)
    }

    /// The place of a task that is on this agent now; in which executor is not known, unless it was before.
    pub(super) fn moved(&mut self, task: &TaskId, agent: &AgentId) -> &mut Place {
        let before = self.by_task.get(task).map(|place| &place.agent);
        if before != Some(agent) {
            let before = before.cloned();
            self.enter(agent.clone());
            before.iter().for_each(|before| self.leave(before));
        }
        let place = self.by_task.entry(task.clone());
        let place = place.or_insert_with(|| Place::new(agent.clone(), MesosExecutor::Unknown, 0));
        place.agent.clone_from(agent);
        place
    }

    fn enter(&mut self, agent: AgentId) {
        *self.counts.entry(agent).or_default() += 1;
    }

    fn leave(&mut self, agent: &AgentId) {
        match self.counts.get_mut(agent) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.counts.remove(agent)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_tasks_until_the_last_of_them_has_ended_or_is_elsewhere() {
        let agent = |at: usize| -> AgentId { format!("a{at}").parse().expect("an id") };
        let task = |at: usize| -> TaskId { format!("t{at}").parse().expect("an id") };
        let mut places = Places::default();
        let mut step = 7_usize;
        for _ in 0..5_000 {
            step = (step * 1_103 + 12_345) % 65_521;
            let (task, agent) = (task(step % 5), agent(step / 5 % 3));
            match step / 15 % 3 {
                0 => drop(places.remove(&task)),
                1 => drop(places.moved(&task, &agent)),
                _ => places.insert(task, Place::new(agent, MesosExecutor::Command, 0)),
            }
            let mut counts = BTreeMap::new();
            for place in places.by_task.values() {
                *counts.entry(place.agent.clone()).or_default() += 1;
            }
            assert_eq!(places.counts, counts);
        }
    }
}
