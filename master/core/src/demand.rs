//! Demand: what each framework wants in each role, what of it is on offer, and which agents it does not want for a while.
//!
//! What is on offer counts as not wanted any more, until the offer ends; what is launched counts down for good. The
//! allocator counts that, and keeps the exclusions.

use std::collections::BTreeMap;

use proffer_model::{
    Demand, DemandEntry, DemandId, FrameworkId, Generation, Problem, Resources, Shape, code,
};

use crate::amounts::fit;
use crate::core::Core;
use crate::limits::EXCLUSION_MAX;

/// All that a framework wants in one role. What of it is launched and on offer is the allocator's to count.
#[derive(Debug, Default)]
pub(crate) struct RoleDemand {
    pub(crate) generation: Generation,
    pub(crate) entries: Vec<DemandEntry>,
    by_id: BTreeMap<DemandId, usize>,
}

impl RoleDemand {
    /// One of the entries.
    pub(crate) fn entry(&self, id: &DemandId) -> Option<&DemandEntry> {
        self.by_id
            .get(id)
            .and_then(|index| self.entries.get(*index))
    }

    /// Which of these fits a task with such resources counts for: the first whose shape the task fills exactly in
    /// scalars, else the first that holds it, else the first.
    pub(crate) fn matching(&self, fits: &[DemandId], task: &Resources) -> Option<DemandId> {
        let shape = |id: &DemandId| {
            let entry = self
                .by_id
                .get(id)
                .and_then(|index| self.entries.get(*index));
            entry.map(|entry| &entry.shape)
        };
        let is_exact = |id: &&DemandId| matches!(shape(id), Some(Shape::Of { resources, .. }) if resources.quantities() == task.quantities());
        let is_held = |id: &&DemandId| shape(id).is_some_and(|shape| fit(shape, task, 1) > 0);
        let exact = fits.iter().find(is_exact);
        let found = exact
            .or_else(|| fits.iter().find(is_held))
            .or_else(|| fits.first());
        found.cloned()
    }
}

impl Core {
    /// Replaces the demand of one role.
    pub(crate) fn on_set_demand(
        &mut self,
        framework: &FrameworkId,
        demand: Demand,
    ) -> Result<(), Problem> {
        self.judge_demand(framework, &demand)?;
        let now = self.turn.now;
        let mut fresh = RoleDemand {
            generation: demand.generation,
            ..RoleDemand::default()
        };
        self.allocator
            .set_demand(framework, &demand.role, &demand.entries);
        let mut excluded = Vec::new();
        for entry in demand.entries {
            for exclusion in &entry.excluded {
                let until = now.after(exclusion.lasts.min(EXCLUSION_MAX)).mono_ns;
                let refused = self.unused(&exclusion.agent).unwrap_or_default();
                excluded.push((entry.id.clone(), exclusion.agent.clone(), refused, until));
            }
            fresh.by_id.insert(entry.id.clone(), fresh.entries.len());
            fresh.entries.push(entry);
        }
        let Some(known) = self.frameworks.get_mut(framework) else {
            return Ok(());
        };
        let mut offered: BTreeMap<&DemandId, u32> = BTreeMap::new();
        for offer in known.offers.iter() {
            let standing = self.offers.standing.get(offer);
            if let Some(standing) = standing.filter(|standing| standing.role == demand.role) {
                for fit in &standing.fits {
                    let count = offered.entry(&fit.demand).or_default();
                    *count = count.saturating_add(fit.count);
                }
            }
        }
        for id in fresh.entries.iter().map(|entry| &entry.id) {
            let offered = offered.get(id).copied().unwrap_or(0);
            self.allocator
                .set_offered(framework, &demand.role, id, offered);
        }
        known.demands.remove(&demand.role);
        if !fresh.entries.is_empty() || fresh.generation > Generation(0) {
            known.demands.insert(demand.role.clone(), fresh);
        }
        for (entry, agent, refused, until) in excluded {
            self.allocator
                .exclude(framework, &demand.role, &entry, &agent, &refused, until);
        }
        self.triggers.changed();
        self.turn.touch_framework(framework);
        Ok(())
    }

    fn judge_demand(&self, framework: &FrameworkId, demand: &Demand) -> Result<(), Problem> {
        let entry = self.registry.frameworks.get(framework);
        if !entry.is_some_and(|entry| entry.description.roles.contains(&demand.role)) {
            let message = format!("the framework has not subscribed with role {}", demand.role);
            return Err(Problem::new(code::FIELD_INVALID, message)
                .field("role")
                .hint("name the role when subscribing"));
        }
        let known = self.frameworks.get(framework);
        let last = known.and_then(|known| known.demands.get(&demand.role));
        if let Some(last) = last
            && demand.generation <= last.generation
        {
            let message = format!(
                "generation {} is not greater than {}, the last one",
                demand.generation, last.generation
            );
            return Err(Problem::new(code::GENERATION_STALE, message)
                .field("generation")
                .hint("raise the generation with each demand of the session"));
        }
        let mut seen = BTreeMap::new();
        for (i, entry) in demand.entries.iter().enumerate() {
            if let Some(first) = seen.insert(&entry.id, i) {
                let message = format!("{} is the id of entries[{first}] too", entry.id);
                return Err(Problem::new(code::FIELD_INVALID, message)
                    .field(format!("entries[{i}].id"))
                    .hint("give each entry of a demand an id of its own"));
            }
        }
        Ok(())
    }
}
