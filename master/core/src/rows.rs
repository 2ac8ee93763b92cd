//! What is shown: the rows of the agents, frameworks and tasks that a step has touched, once each, as they are at its end.

use std::sync::Arc;

use proffer_model::{AgentId, FrameworkId};

use crate::core::Core;
use crate::effect::{AgentRow, Fact, FrameworkRow};

impl Core {
    /// Records the rows of all that was touched.
    pub(crate) fn record_rows(&mut self) {
        let touched = self.turn.take_touched();
        for id in &touched.agents {
            if let Some(row) = self.agent_row(id) {
                self.turn.record(row);
            }
        }
        for id in &touched.frameworks {
            if let Some(row) = self.framework_row(id) {
                self.turn.record(row);
            }
        }
        for task in self.tasks.take_touched() {
            self.turn.record(Fact::Task(task));
        }
    }

    fn agent_row(&self, id: &AgentId) -> Option<Fact> {
        let agent = self.agents.by_id.get(id)?;
        let entry = self.registry.agents.get(id)?;
        Some(Fact::Agent(Box::new(AgentRow {
            agent: id.clone(),
            description: Arc::clone(&entry.description),
            state: agent.state,
            unreachable_since_wall_ms: entry.unreachable_since_wall_ms,
            is_settled: agent.is_settled || !agent.is_recovered,
            total: agent.total.clone(),
            missing: agent.missing.clone(),
            is_deactivated: entry.is_deactivated,
            drain: entry.drain,
            drain_ends_wall_ms: self.drain_ends_wall_ms(id),
            used: agent.used.clone(),
            offered: agent.offered.clone(),
            tasks: agent.live_tasks,
        })))
    }

    fn framework_row(&self, id: &FrameworkId) -> Option<Fact> {
        let framework = self.frameworks.get(id)?;
        let entry = self.registry.frameworks.get(id)?;
        let mut used = proffer_model::Resources::new();
        for of_role in framework.used.values() {
            used.add(of_role);
        }
        Some(Fact::Framework(FrameworkRow {
            framework: id.clone(),
            description: entry.description.clone(),
            principal: entry.principal.clone(),
            is_connected: framework.session.is_some(),
            is_recovered: framework.is_recovered(),
            tasks: framework.live_tasks,
            offers: u64::try_from(framework.offers.len()).unwrap_or(u64::MAX),
            demand: self.allocator.wanted_in_all(id),
            used,
        }))
    }
}
