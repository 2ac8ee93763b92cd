//! Why entries are not offered anything, and how the roles stand, in pieces: whoever asks counts what he looks at, and goes
//! on later where he was. So an answer may be of several moments, and never keeps anybody waiting.

use std::collections::BTreeMap;
use std::ops::Bound;

use proffer_model::{AgentId, DemandId, FrameworkId, ResourceName, Role, Shape, Takes};

use super::Allocator;
use super::agents::{Agent, Known};
use super::amounts::Amounts;
use super::bundle::{Bundle, charged_of};
use super::claims::Together;
use super::limits::{CHECKS_PER_STEP, CLAIMS_PER_STEP, ROW_STEPS};
use super::part::passes;
use super::quota::RoleState;
use super::shape::Need;
use super::tree::Order;
use super::types::{Explanation, Lacking, Obstacle, RoleRow};
use super::visit::Cap;

/// What was found out of one entry so far.
#[derive(Debug)]
pub struct Inquiry {
    /// In which role.
    pub role: Role,
    /// Which entry.
    pub demand: DemandId,
    agents: BTreeMap<Obstacle, u32>,
    /// Of a gang: how many instances those agents have room for, by themselves, on which some of it would fit.
    room: u32,
    /// What quotas leave beside these; none: nothing was counted.
    left: Option<Amounts>,
    /// How many of those are where agents have the same of something, for each bound of the entry.
    beside: Vec<BTreeMap<Together, u32>>,
}

impl Inquiry {
    /// Nothing yet.
    pub fn new(role: Role, demand: DemandId) -> Self {
        Self {
            role,
            demand,
            agents: BTreeMap::new(),
            room: 0,
            left: None,
            beside: Vec::new(),
        }
    }

    /// One more agent fails by this.
    pub fn count(&mut self, obstacle: Obstacle) {
        let count = self.agents.entry(obstacle).or_default();
        *count = count.saturating_add(1);
    }
}

/// How many claims are before one in the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// For what it is owed by a guarantee: those that are owed something too, and are first by shares.
    pub owed: u32,
    /// For all else: those that are owed something, and those that are first by shares.
    pub others: u32,
}

impl Before {
    /// More of them were counted.
    pub fn add(&mut self, more: Self) {
        self.owed = self.owed.saturating_add(more.owed);
        self.others = self.others.saturating_add(more.others);
    }
}

/// A limit that leaves an entry too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppingLimit {
    /// Whose limit.
    pub role: Role,
    /// Of what.
    pub name: ResourceName,
    /// Whether that is because of what is kept for guarantees beneath the role.
    pub is_kept: bool,
}

/// Claims that are before one in the order, counted in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    /// How many of those that were looked at.
    pub before: Before,
    /// Where to go on.
    pub next: Option<usize>,
    /// What it took.
    pub steps: u32,
}

/// Entries of a framework as they are in this moment, to look at agents for.
#[derive(Debug)]
pub struct Look<'a> {
    allocator: &'a Allocator,
    entries: Vec<Option<Looked>>,
    caps: Vec<Cap>,
}

/// An entry that is looked at.
#[derive(Debug)]
struct Looked {
    number: u32,
    /// Which of the caps is its own: entries in one role have it together.
    cap: usize,
    steps: u32,
}

impl Look<'_> {
    /// The number of an agent that something could be offered of.
    pub fn find(&self, agent: &AgentId) -> Option<u32> {
        self.allocator.agents.find(agent)
    }

    /// What one instance of an entry needs.
    pub fn shape(&self, place: usize) -> Option<&Shape> {
        let looked = self.entries.get(place)?.as_ref()?;
        Some(&self.allocator.entry(looked.number).demand.shape)
    }

    /// The first thing that an agent fails by for one of the entries, by its place; none: the entry is gone. And how many steps
    /// that took. Of a gang it notes how many instances would fit.
    pub fn at(&self, agent: u32, place: usize, inquiry: &mut Inquiry) -> (Option<Obstacle>, u32) {
        let Some(Some(looked)) = self.entries.get(place) else {
            return (None, 1);
        };
        let found = self.allocator.agents.try_get(agent);
        let (Some(found), Some(cap)) = (found, self.caps.get(looked.cap)) else {
            return (None, 1);
        };
        let Some(known) = found.known.as_deref() else {
            return (None, 1);
        };
        let obstacle = self
            .allocator
            .obstacle(looked.number, agent, found, known, cap);
        let mut took = looked.steps;
        if let Obstacle::Turn | Obstacle::Window = obstacle {
            took = took.saturating_add(self.note_room(looked, (agent, found, known), inquiry));
        }
        (Some(obstacle), took)
    }

    /// Counts how many instances of a gang fit on an agent beside those that fit on others; the steps that it took.
    fn note_room(
        &self,
        looked: &Looked,
        (agent, found, known): (u32, &Agent, &Known),
        inquiry: &mut Inquiry,
    ) -> u32 {
        let entry = self.allocator.entry(looked.number);
        let gang = entry.demand.gang.min(entry.wanted());
        let (Some(need), Some(cap)) = (&entry.need, self.caps.get(looked.cap)) else {
            return 0;
        };
        if gang <= inquiry.room {
            return 0;
        }
        let names = &self.allocator.names;
        let left = inquiry.left.get_or_insert_with(|| {
            let mut allowed = Amounts::unbounded(names.len());
            cap.shrink(&mut allowed);
            allowed
        });
        let of = (&self.allocator.claim(entry.claim).role, entry.demand.takes);
        let most = u64::from(gang - inquiry.room);
        let times = need.times(&found.free, left, of, names, most);
        let mut fit = u32::try_from(times).unwrap_or(u32::MAX);
        if entry.has_bounds {
            inquiry
                .beside
                .resize_with(entry.together.len(), BTreeMap::new);
            let beside = &mut inquiry.beside;
            fit = entry.count_beside(beside, agent, &known.description, fit);
        }
        let taken = need.take(&found.free, left, of, names, u64::from(fit));
        if let Some(taken) = taken.filter(|_| fit > 0) {
            left.subtract(&taken.plain.plus(&charged_of(&taken.extra, names)));
        }
        inquiry.room = inquiry.room.saturating_add(fit);
        1 + fit
    }
}

impl Allocator {
    /// Every role after this one that has a weight, a quota, a reservation, a framework, or one beneath it that has; by path,
    /// each with how many steps it took.
    pub fn role_rows_after<'a>(
        &'a self,
        after: Option<&Role>,
    ) -> impl Iterator<Item = (RoleRow, u32)> + use<'a> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let roles = self.tree.roles.range::<Role, _>((from, Bound::Unbounded));
        roles.filter_map(|(role, node)| {
            let node = *node;
            let state = self.tree.state(node)?;
            let group = self.tree.group(node);
            let claims = group.map_or_else(Vec::new, |group| self.tree.claims_beneath(group));
            let looks = claims.len() / CLAIMS_PER_STEP;
            let claims = claims.into_iter().map(|claim| self.claim(claim));
            let is_told = |claim: &&super::Claim| {
                !claim.entries.is_empty() || !self.tree.node(claim.node).held.is_zero()
            };
            let frameworks = claims.filter(is_told).map(|claim| claim.framework.clone());
            let mut frameworks: Vec<_> = frameworks.collect();
            frameworks.sort();
            let guaranteed = state.quota.as_ref().map(|quota| quota.guarantees.clone());
            let row = RoleRow {
                role: role.clone(),
                share_billionths: self.tree.share_billionths(node),
                weight: self.tree.weight(node),
                quota: state.quota.clone(),
                held: self.names.quantities_of(&self.tree.node(node).held),
                guaranteed: guaranteed.unwrap_or_default(),
                consumed: self.names.quantities_of(&state.consumed()),
                reserved: self.names.quantities_of(&state.reserved),
                frameworks,
            };
            Some((row, ROW_STEPS.saturating_add(steps(looks))))
        })
    }

    /// The entries of a framework in a role after this one, by id, with how many of each are wanted and not on offer.
    pub fn entries_after<'a>(
        &'a self,
        framework: &FrameworkId,
        role: &Role,
        after: Option<&DemandId>,
    ) -> impl Iterator<Item = (&'a DemandId, u32)> + use<'a> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let claim = self.find_claim(framework, role);
        let all = claim.map(|claim| {
            let by_id = &self.claim(claim).by_id;
            by_id.range::<DemandId, _>((from, Bound::Unbounded))
        });
        let all = all.into_iter().flatten();
        all.map(|(id, entry)| (id, self.entry(*entry).wanted()))
    }

    /// How many of the claims from this number on that want something are before a framework's in the order, and the number to
    /// go on with, when the steps do not suffice. One step each, and more for those whose entries are looked at; at least one
    /// is looked at.
    pub fn claims_before(
        &self,
        framework: &FrameworkId,
        role: &Role,
        from: usize,
        steps_max: u32,
    ) -> Counted {
        let Some(own) = self.find_claim(framework, role) else {
            return Counted::default();
        };
        let node = self.claim(own).node;
        let mut counted = Counted::default();
        for (place, claim) in self.claims.iter().enumerate().skip(from) {
            if counted.steps >= steps_max.max(1) {
                counted.next = Some(place);
                break;
            }
            counted.steps = counted.steps.saturating_add(1);
            let Some(claim) = claim else { continue };
            let is_wanting = !(claim.open_any.is_empty() && claim.open_shaped.is_empty());
            let number = u32::try_from(place).ok();
            let Some(number) = number.filter(|number| is_wanting && *number != own) else {
                continue;
            };
            let is_first = self.tree.compare(claim.node, node).is_lt();
            let (is_owed, entries) = self.is_owed(number);
            let looks = steps(entries / CHECKS_PER_STEP);
            counted.steps = counted.steps.saturating_add(looks);
            counted.before.add(Before {
                owed: u32::from(is_owed && is_first),
                others: u32::from(is_owed || is_first),
            });
        }
        counted
    }

    /// Entries, to look at agents for.
    pub fn look_for_entries<'a>(
        &self,
        framework: &FrameworkId,
        entries: impl Iterator<Item = (&'a Role, &'a DemandId)>,
    ) -> Look<'_> {
        let mut caps = Vec::new();
        let mut last: Option<(u32, bool)> = None;
        let entries = entries.map(|(role, demand)| {
            let number = self.find_entry(framework, role, demand)?;
            let entry = self.entry(number);
            let of = (entry.claim, entry.is_any());
            if last.replace(of) != Some(of) {
                caps.push(self.cap_of(number));
            }
            let checks = entry.demand.predicates.len() + entry.demand.at_most.len();
            Some(Looked {
                number,
                cap: caps.len() - 1,
                steps: 1 + steps(checks / CHECKS_PER_STEP),
            })
        });
        Look {
            entries: entries.collect(),
            caps,
            allocator: self,
        }
    }

    /// What was found out of an entry, and how it stands; none: it is gone.
    pub fn explanation(
        &self,
        framework: &FrameworkId,
        inquiry: Inquiry,
        before: Before,
    ) -> Option<Explanation> {
        let number = self.find_entry(framework, &inquiry.role, &inquiry.demand)?;
        let entry = self.entry(number);
        let gang = entry.demand.gang.min(entry.wanted());
        let mut agents = inquiry.agents;
        // Whoever takes whatever there is starts with one.
        if gang > inquiry.room && !entry.is_any() {
            // Those that have some of it.
            let has_some = [Obstacle::Turn, Obstacle::Window];
            let some = has_some.iter().filter_map(|of| agents.remove(of));
            let some = some.fold(0, u32::saturating_add);
            let room = inquiry.room;
            agents.extend((some > 0).then_some((Obstacle::Gang { room, gang }, some)));
        }
        let room = self.cap_of(number).room;
        let room = room.unwrap_or_else(|| Amounts::unbounded(self.names.len()));
        let bounded = room.iter().filter(|(_, milli)| *milli != u64::MAX);
        let bounded: Vec<_> = bounded
            .filter_map(|(name, milli)| Some((self.names.name(name)?.clone(), milli)))
            .collect();
        Some(Explanation {
            wanted: entry.wanted(),
            offered: entry.offered,
            agents,
            share_billionths: self.tree.share_billionths(self.claim(entry.claim).node),
            claims_before: match self.is_entry_owed(number) {
                true => before.owed,
                false => before.others,
            },
            headroom: bounded.iter().cloned().collect(),
            bounded: bounded.into_iter().map(|(name, _)| name).collect(),
        })
    }

    /// All of it at once.
    #[cfg(test)]
    pub fn role_rows(&self) -> Vec<RoleRow> {
        self.role_rows_after(None).map(|(row, _)| row).collect()
    }

    /// All of it at once.
    #[cfg(test)]
    pub fn explain(
        &self,
        framework: &FrameworkId,
        role: &Role,
        demand: &DemandId,
    ) -> Option<Explanation> {
        let mut inquiry = Inquiry::new(role.clone(), demand.clone());
        let look = self.look_for_entries(framework, std::iter::once((role, demand)));
        for (agent, _, _) in self.agents.iter() {
            let obstacle = look.at(agent, 0, &mut inquiry).0;
            obstacle.into_iter().for_each(|of| inquiry.count(of));
        }
        let before = self.claims_before(framework, role, 0, u32::MAX).before;
        self.explanation(framework, inquiry, before)
    }

    fn cap_of(&self, number: u32) -> Cap {
        let entry = self.entry(number);
        let order = match entry.is_any() {
            true => Order::Any,
            false => Order::Shaped,
        };
        self.cap(self.claim(entry.claim).role_node, order)
    }

    /// The first thing that an agent fails by.
    fn obstacle(
        &self,
        number: u32,
        agent: u32,
        found: &Agent,
        known: &Known,
        cap: &Cap,
    ) -> Obstacle {
        let entry = self.entry(number);
        if !found.is_active {
            return Obstacle::AgentInactive;
        }
        let role = &self.claim(entry.claim).role;
        if let Some(place) = entry.failed_predicate(&known.description, role) {
            return Obstacle::Predicate(place);
        }
        if let Some(need) = &entry.need
            && let Some(lacking) = self.lacking(number, need, &known.total)
        {
            return Obstacle::TooSmall(lacking);
        }
        if self.is_free_refused(number, found) {
            return Obstacle::Excluded;
        }
        let (allowed, place) = entry.allowance(agent, &known.description);
        if allowed == 0 {
            return Obstacle::AtMost(place);
        }
        if found.free.is_empty() {
            return Obstacle::NothingFree;
        }
        let is_kept = match entry.is_any() {
            true => self.is_kept_for_another(agent, entry.claim),
            false => self.is_kept_for_another_entry(agent, number),
        };
        if is_kept {
            return Obstacle::Earmarked;
        }
        let obstacle = match &entry.need {
            Some(need) => self.obstacle_to_shape(number, need, found, cap),
            None => self.obstacle_to_any(number, found, cap),
        };
        match obstacle {
            Obstacle::Turn if self.is_closed(entry.claim) => Obstacle::Window,
            obstacle => obstacle,
        }
    }

    /// What there is too little of for one instance, reservations that the role may use counted.
    fn lacking(&self, number: u32, need: &Need, there: &Bundle) -> Option<Lacking> {
        let entry = self.entry(number);
        let of = (&self.claim(entry.claim).role, entry.demand.takes);
        need.first_missing(there, of, &self.names)
    }

    fn obstacle_to_shape(&self, number: u32, need: &Need, found: &Agent, cap: &Cap) -> Obstacle {
        if let Some(lacking) = self.lacking(number, need, &found.free) {
            return Obstacle::NotFree(lacking);
        }
        let all = need.all_charged(self.charged_at_once(number));
        let by = |bound: &Option<Amounts>| {
            let mut parts = all.iter();
            let bound = bound.as_ref()?;
            let lacking = parts.find(|(name, milli)| bound.get(*name) < *milli);
            lacking.map(|(name, _)| name)
        };
        self.bound_by(number, by(&cap.room), by(&cap.surplus))
            .unwrap_or(Obstacle::Turn)
    }

    /// How many instances must be within what quotas leave. Reservations may do without that, so that it is not all of a gang
    /// then.
    fn charged_at_once(&self, number: u32) -> u64 {
        let entry = self.entry(number);
        let role = self.claim(entry.claim).role_node;
        match self.tree.is_reserved_for(role) {
            true => 1,
            false => u64::from(entry.demand.gang.min(entry.wanted()).max(1)),
        }
    }

    /// How much of a resource must be within what quotas leave at the least.
    fn least_needed(&self, number: u32, name: usize) -> u64 {
        match &self.entry(number).need {
            Some(need) => need.all_charged(self.charged_at_once(number)).get(name),
            None => {
                let least = self.least_of(number).iter().map(|least| least.get(name));
                least.filter(|milli| *milli > 0).min().unwrap_or(1)
            }
        }
    }

    /// A limit that would leave an entry too little, were limits these; of this resource, or else of another that it needs.
    /// None: they would leave enough.
    pub fn stopping_limit(
        &self,
        framework: &FrameworkId,
        (role, demand): (&Role, &DemandId),
        name: &ResourceName,
        limit: impl Fn(&Role, &ResourceName) -> Option<u64>,
    ) -> Option<StoppingLimit> {
        let number = self.find_entry(framework, role, demand)?;
        let of = self.claim(self.entry(number).claim).role_node;
        let first = self.names.find(name)?;
        let others = self.charged_names(number).into_iter();
        let mut all = std::iter::once(first).chain(others.filter(|other| *other != first));
        all.find_map(|number_of_name| {
            let name = self.names.name(number_of_name)?;
            let limit = |state: &RoleState| limit(state.role.as_ref()?, name);
            let least = self.tree.least_room(of, number_of_name, limit)?;
            let is_stopping = least.left < self.least_needed(number, number_of_name);
            let role = self.tree.state(least.of)?.role.clone()?;
            is_stopping.then(|| StoppingLimit {
                role,
                name: name.clone(),
                is_kept: least.is_kept,
            })
        })
    }

    /// What limits must leave some of for an entry, whatever else they leave.
    fn charged_names(&self, number: u32) -> Vec<usize> {
        let claim = self.claim(self.entry(number).claim);
        let all = match &self.entry(number).need {
            Some(need) => need.all_charged(1),
            // Of reservations it may have what no limit counts.
            None if self.tree.is_reserved_for(claim.role_node) => return Vec::new(),
            None => match self.least_of(number) {
                [only] => only.clone(),
                _ => return Vec::new(),
            },
        };
        let names = all.iter().filter(|(_, milli)| *milli > 0);
        names.map(|(name, _)| name).collect()
    }

    /// Looks at what would be granted, and then at what stands in its way.
    fn obstacle_to_any(&self, number: u32, found: &Agent, cap: &Cap) -> Obstacle {
        let (entry, least) = (self.entry(number), self.least_of(number));
        let part = |bounds: &[&Option<Amounts>]| {
            let mut allowed = Amounts::unbounded(self.names.len());
            let bounds = bounds.iter().filter_map(|bound| bound.as_ref());
            bounds.for_each(|bound| allowed.shrink_to(bound));
            self.part((entry, entry.demand.takes), found, Order::Any, &allowed)
        };
        let whole = part(&[]);
        if !whole.is_enough(least) {
            return self.obstacle_to_whole(number, found);
        }
        let chopped = part(&[&cap.room, &cap.surplus]);
        if !chopped.is_enough(least) {
            let [by_room, by_surplus] = [&cap.room, &cap.surplus].map(|bound| part(&[bound]));
            // Where none of the two is enough to stand in the way, both are.
            let is_by_any = !by_room.is_enough(least) || !by_surplus.is_enough(least);
            let [by_room, by_surplus] = [by_room, by_surplus].map(|part| {
                let is_meant = !is_by_any || !part.is_enough(least);
                is_meant.then(|| part.first_less(&whole)).flatten()
            });
            return self
                .bound_by(number, by_room, by_surplus)
                .unwrap_or(Obstacle::BelowLeast);
        }
        let exclusions = found.exclusions.as_ref();
        let is_refused = exclusions.is_some_and(|exclusions| {
            exclusions.refuse(number, entry.stamp, self.now, &chopped.bundle)
        });
        match is_refused {
            true => Obstacle::Excluded,
            false => Obstacle::Turn,
        }
    }

    /// Why what the role and the entry may have of an agent, whatever quotas leave, is too little.
    fn obstacle_to_whole(&self, number: u32, found: &Agent) -> Obstacle {
        let (entry, least) = (self.entry(number), self.least_of(number));
        let everything = Takes {
            revocable: true,
            shared: true,
            refined: true,
        };
        let allowed = Amounts::unbounded(self.names.len());
        let of_role = self.part((entry, everything), found, Order::Any, &allowed);
        let is_there = passes(least, &found.free_all(), !found.free.extra.is_empty());
        match (of_role.is_enough(least), is_there) {
            (true, _) => Obstacle::NotTaken,
            (false, true) => Obstacle::ReservedForOthers,
            (false, false) => Obstacle::BelowLeast,
        }
    }

    fn bound_by(
        &self,
        number: u32,
        by_room: Option<usize>,
        by_surplus: Option<usize>,
    ) -> Option<Obstacle> {
        if let Some(number_of_name) = by_room {
            let name = self.names.name(number_of_name)?.clone();
            let of = self.tree.find(&self.claim(self.entry(number).claim).role)?;
            let limit = |state: &RoleState| state.limit(number_of_name);
            let least = self.tree.least_room(of, number_of_name, limit)?;
            let role = self.tree.state(least.of)?.role.clone()?;
            return Some(match least.is_kept {
                true => Obstacle::LimitKept(role, name),
                false => Obstacle::Limit(role, name),
            });
        }
        let name = by_surplus.and_then(|name| self.names.name(name))?;
        Some(Obstacle::HeldBack(name.clone()))
    }
}

fn steps(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
