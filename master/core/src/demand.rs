//! Demand: what each framework wants in each role, what of it is on offer, and which agents it does not want for a while.
//!
//! What is on offer counts as not wanted any more, until the offer ends; what is launched counts down for good. An
//! exclusion that a decline made outlives a new demand as long as the entry asks for the same.

use std::collections::BTreeMap;

use proffer_model::{
    AgentId, Demand, DemandEntry, DemandId, FrameworkId, Generation, Problem, Resources, Role,
    Shape, Time, code,
};

use crate::amounts::fit;
use crate::core::Core;
use crate::limits::EXCLUSION_MAX;

/// All that a framework wants in one role.
#[derive(Debug, Default)]
pub(crate) struct RoleDemand {
    pub(crate) generation: Generation,
    pub(crate) entries: Vec<WantedEntry>,
    by_id: BTreeMap<DemandId, usize>,
}

/// One kind of thing wanted.
#[derive(Debug)]
pub(crate) struct WantedEntry {
    pub(crate) entry: DemandEntry,
    /// Wanted and not launched.
    pub(crate) remaining: u32,
    /// In offers that stand; may be more than remains, when the framework has lowered its demand.
    pub(crate) offered: u32,
    pub(crate) excluded: BTreeMap<AgentId, Excluded>,
}

/// An agent that is not wanted for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excluded {
    /// By the monotonic clock.
    pub(crate) until: u64,
    /// What was unused there; more than that ends the exclusion. Absent: the agent was not known.
    pub(crate) refused: Option<Resources>,
}

impl Excluded {
    /// Whether it still holds, with so much unused on the agent.
    pub(crate) fn holds(&self, now: Time, unused: &Resources) -> bool {
        let is_grown = self
            .refused
            .as_ref()
            .is_some_and(|refused| !refused.contains(unused));
        now.mono_ns < self.until && !is_grown
    }
}

impl WantedEntry {
    /// How many are to be offered.
    pub(crate) fn wanted(&self) -> u32 {
        self.remaining.saturating_sub(self.offered)
    }
}

impl RoleDemand {
    pub(crate) fn entry_mut(&mut self, id: &DemandId) -> Option<&mut WantedEntry> {
        let index = *self.by_id.get(id)?;
        self.entries.get_mut(index)
    }

    /// How many are to be offered, of all entries together.
    pub(crate) fn wanted(&self) -> u64 {
        self.entries
            .iter()
            .map(|entry| u64::from(entry.wanted()))
            .sum()
    }

    /// Which of these fits a task with such resources counts for: the first whose shape the task fills exactly in
    /// scalars, else the first that holds it, else the first.
    pub(crate) fn matching(&self, fits: &[DemandId], task: &Resources) -> Option<DemandId> {
        let shape = |id: &DemandId| {
            let entry = self
                .by_id
                .get(id)
                .and_then(|index| self.entries.get(*index));
            entry.map(|entry| &entry.entry.shape)
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
        for entry in demand.entries {
            let mut excluded = BTreeMap::new();
            for exclusion in &entry.excluded {
                let until = now.after(exclusion.lasts.min(EXCLUSION_MAX)).mono_ns;
                let refused = self.unused(&exclusion.agent);
                excluded.insert(exclusion.agent.clone(), Excluded { until, refused });
            }
            fresh.by_id.insert(entry.id.clone(), fresh.entries.len());
            fresh.entries.push(WantedEntry {
                remaining: entry.count,
                offered: 0,
                excluded,
                entry,
            });
        }
        let Some(known) = self.frameworks.get_mut(framework) else {
            return Ok(());
        };
        for offer in &known.offers {
            let standing = self.offers.standing.get(offer);
            if let Some(standing) = standing.filter(|standing| standing.role == demand.role)
                && let Some(entry) = fresh.entry_mut(&standing.fit.demand)
            {
                entry.offered = entry.offered.saturating_add(standing.fit.count);
            }
        }
        if let Some(old) = known.demands.remove(&demand.role) {
            keep_exclusions(old, &mut fresh, now);
        }
        if !fresh.entries.is_empty() || fresh.generation > Generation(0) {
            known.demands.insert(demand.role.clone(), fresh);
        }
        self.triggers.claim_changed(framework, &demand.role);
        self.turn.touch_framework(framework);
        Ok(())
    }

    /// Excludes an agent for an entry.
    pub(crate) fn exclude(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        demand: &DemandId,
        agent: &AgentId,
        until: u64,
    ) {
        let refused = self.unused(agent);
        let demands = self
            .frameworks
            .get_mut(framework)
            .map(|known| &mut known.demands);
        let entry = demands
            .and_then(|demands| demands.get_mut(role))
            .and_then(|of_role| of_role.entry_mut(demand));
        if let Some(entry) = entry {
            entry
                .excluded
                .insert(agent.clone(), Excluded { until, refused });
        }
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

/// What was declined stays declined, where the same is asked for; what the new demand says of an agent goes first.
fn keep_exclusions(old: RoleDemand, fresh: &mut RoleDemand, now: Time) {
    for was in old.entries {
        let Some(is) = fresh.entry_mut(&was.entry.id) else {
            continue;
        };
        if was.entry.shape == is.entry.shape && was.entry.predicates == is.entry.predicates {
            for (agent, excluded) in was.excluded {
                if excluded.until > now.mono_ns {
                    is.excluded.entry(agent).or_insert(excluded);
                }
            }
        }
    }
}
