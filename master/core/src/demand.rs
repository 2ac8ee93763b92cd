//! Demand: what each framework wants in each role, what of it is on offer, and which agents it does not want for a while.
//!
//! What is on offer counts as not wanted any more, until the offer ends; what is launched counts down for good. The
//! allocator counts that, and keeps the exclusions.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use proffer_model::{
    Demand, DemandEntry, DemandId, FrameworkId, Generation, Problem, Resources, Role, Shape, code,
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

impl RoleDemand {
    /// One without entries yet.
    pub(crate) fn of(generation: Generation) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }

    /// Adds an entry; refuses one whose id another one has.
    pub(crate) fn push(&mut self, entry: DemandEntry) -> Result<(), Problem> {
        let place = self.entries.len();
        match self.by_id.entry(entry.id.clone()) {
            Slot::Vacant(slot) => {
                slot.insert(place);
                self.entries.push(entry);
                Ok(())
            }
            Slot::Occupied(first) => {
                let message = format!("{} is the id of entries[{}] too", entry.id, first.get());
                Err(Problem::new(code::FIELD_INVALID, message)
                    .field(format!("entries[{place}].id"))
                    .hint("give each entry of a demand an id of its own"))
            }
        }
    }

    /// Forgets one of its entries; whether there was one.
    pub(crate) fn forget_one(&mut self) -> bool {
        let entry = self.entries.pop();
        self.by_id.pop_last().is_some() || entry.is_some()
    }
}

impl Core {
    /// Replaces the demand of one role in this step.
    pub(crate) fn on_set_demand(
        &mut self,
        framework: &FrameworkId,
        demand: Demand,
    ) -> Result<(), Problem> {
        self.judge_demand(framework, &demand)?;
        let mut fresh = RoleDemand::of(demand.generation);
        for entry in demand.entries {
            fresh.push(entry)?;
        }
        // One that is under way says less than this one.
        self.end_replacement(framework, &demand.role);
        self.allocator
            .set_demand(framework, &demand.role, &fresh.entries);
        for entry in &fresh.entries {
            self.exclude_as_asked(framework, &demand.role, entry);
        }
        self.put_in_force(framework, demand.role, fresh);
        Ok(())
    }

    /// What the allocator was told is what the framework wants in a role. Answers what it wanted before.
    pub(crate) fn put_in_force(
        &mut self,
        framework: &FrameworkId,
        role: Role,
        fresh: RoleDemand,
    ) -> Option<RoleDemand> {
        let known = self.frameworks.get_mut(framework)?;
        let mut offered: BTreeMap<&DemandId, u32> = BTreeMap::new();
        for offer in known.offers.iter() {
            let standing = self.offers.standing.get(offer);
            if let Some(standing) = standing.filter(|standing| standing.role == role) {
                for fit in &standing.fits {
                    let count = offered.entry(&fit.demand).or_default();
                    *count = count.saturating_add(fit.count);
                }
            }
        }
        for (id, offered) in offered {
            self.allocator.set_offered(framework, &role, id, offered);
        }
        let gone = known.demands.remove(&role);
        if !fresh.entries.is_empty() || fresh.generation > Generation(0) {
            known.demands.insert(role, fresh);
        }
        self.triggers.changed();
        self.turn.touch_framework(framework);
        gone
    }

    /// An entry does not want some agents for a while.
    pub(crate) fn exclude_as_asked(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandEntry,
    ) {
        let now = self.turn.now;
        for exclusion in &entry.excluded {
            let until = now.after(exclusion.lasts.min(EXCLUSION_MAX)).mono_ns;
            let refused = self.unused(&exclusion.agent).unwrap_or_default();
            self.allocator.exclude(
                framework,
                role,
                &entry.id,
                &exclusion.agent,
                &refused,
                until,
            );
        }
    }

    pub(crate) fn judge_demand(
        &self,
        framework: &FrameworkId,
        demand: &Demand,
    ) -> Result<(), Problem> {
        let entry = self.registry.frameworks.get(framework);
        if !entry.is_some_and(|entry| entry.description.roles.contains(&demand.role)) {
            let message = format!("the framework has not subscribed with role {}", demand.role);
            return Err(Problem::new(code::FIELD_INVALID, message)
                .field("role")
                .hint("name the role when subscribing"));
        }
        let known = self.frameworks.get(framework);
        let last = known.and_then(|known| known.demands.get(&demand.role));
        let last = last.map(|last| last.generation);
        let last = last.max(self.replacements.generation(framework, &demand.role));
        if let Some(last) = last
            && demand.generation <= last
        {
            let message = format!(
                "generation {} is not greater than {last}, the last one",
                demand.generation
            );
            return Err(Problem::new(code::GENERATION_STALE, message)
                .field("generation")
                .hint("raise the generation with each demand of the session"));
        }
        Ok(())
    }
}
