//! Agents of the log that are unreachable and have not said in this term what they run: which frameworks may have tasks there
//! of which nobody knows.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::AgentId;

/// Each with the greatest number of a framework that may have launched something there.
#[derive(Debug, Default)]
pub(crate) struct Unheard {
    by_id: BTreeMap<AgentId, u64>,
    by_number: BTreeSet<(u64, AgentId)>,
}

impl Unheard {
    /// Frameworks with greater numbers have nothing there.
    pub(crate) fn insert(&mut self, agent: &AgentId, frameworks: u64) {
        self.remove(agent);
        self.by_id.insert(agent.clone(), frameworks);
        self.by_number.insert((frameworks, agent.clone()));
    }

    /// It has said what it runs, or is no more.
    pub(crate) fn remove(&mut self, agent: &AgentId) {
        if let Some(frameworks) = self.by_id.remove(agent) {
            self.by_number.remove(&(frameworks, agent.clone()));
        }
    }

    /// Whether one of them may run a task of the framework with this number.
    pub(crate) fn may_run(&self, framework: u64) -> bool {
        let greatest = self.by_number.last();
        greatest.is_some_and(|(frameworks, _)| framework <= *frameworks)
    }

    /// All of them.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &AgentId> {
        self.by_id.keys()
    }
}
