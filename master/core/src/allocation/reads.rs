//! What others want to know: roles, what is free and held, why an entry gets nothing; and the count from scratch.

use std::collections::BTreeMap;

use proffer_model::{AgentId, DemandId, FrameworkId, Quantities, Resources, Role};

use super::Allocator;
use super::agents::{Agent, Known};
use super::amounts::Amounts;
use super::bundle::{self, Bundle, sums_of};
use super::shape::Need;
use super::tree::Order;
use super::types::{Explanation, Obstacle, RoleRow};
use super::visit::Cap;

impl Allocator {
    /// Every role that has a weight, a quota, a reservation, a framework, or one beneath it that has; by path.
    pub fn role_rows(&self) -> Vec<RoleRow> {
        let mut frameworks: BTreeMap<&Role, Vec<FrameworkId>> = BTreeMap::new();
        for claim in self.claims.iter().flatten() {
            if !claim.entries.is_empty() || !self.tree.node(claim.node).held.is_zero() {
                frameworks
                    .entry(&claim.role)
                    .or_default()
                    .push(claim.framework.clone());
            }
        }
        let rows = self.tree.roles().filter_map(|(role, node)| {
            let state = self.tree.state(node)?;
            let mut frameworks = frameworks.remove(role).unwrap_or_default();
            frameworks.sort();
            let guaranteed = state.quota.as_ref().map(|quota| quota.guarantees.clone());
            Some(RoleRow {
                role: role.clone(),
                share_billionths: self.tree.share_billionths(node),
                weight: self.tree.weight(node),
                quota: state.quota.clone(),
                held: self.names.quantities_of(&self.tree.node(node).held),
                guaranteed: guaranteed.unwrap_or_default(),
                consumed: self.names.quantities_of(&state.consumed()),
                reserved: self.names.quantities_of(&state.reserved),
                frameworks,
            })
        });
        rows.collect()
    }

    /// What of an agent nobody holds.
    pub fn free(&self, agent: &AgentId) -> Resources {
        let found = self.agents.find(agent).map(|agent| self.agents.get(agent));
        found
            .map(|found| found.free.resources(&self.names))
            .unwrap_or_default()
    }

    /// What a framework holds in a role, offers included.
    pub fn held(&self, framework: &FrameworkId, role: &Role) -> Quantities {
        let claim = self.find_claim(framework, role);
        let held = claim.map(|claim| &self.tree.node(self.claim(claim).node).held);
        held.map(|held| self.names.quantities_of(held))
            .unwrap_or_default()
    }

    /// How many of an entry are wanted and neither launched nor on offer.
    pub fn wanted(&self, framework: &FrameworkId, role: &Role, entry: &DemandId) -> Option<u32> {
        let number = self.find_entry(framework, role, entry)?;
        Some(self.entry(number).wanted())
    }

    /// How many of an entry are in offers that stand.
    pub fn offered(&self, framework: &FrameworkId, role: &Role, entry: &DemandId) -> Option<u32> {
        let number = self.find_entry(framework, role, entry)?;
        Some(self.entry(number).offered)
    }

    /// How many a framework wants of all its entries together that are neither launched nor on offer.
    pub fn wanted_in_all(&self, framework: &FrameworkId) -> u64 {
        let claims = self.frameworks.get(framework);
        let claims = claims.into_iter().flat_map(|found| found.claims.values());
        let entries = claims.flat_map(|claim| &self.claim(*claim).entries);
        entries
            .map(|entry| u64::from(self.entry(*entry).wanted()))
            .fold(0, u64::saturating_add)
    }

    /// Why an entry is not offered anything: how many agents fail by what first. Looks at every agent.
    pub fn explain(
        &self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandId,
    ) -> Option<Explanation> {
        let number = self.find_entry(framework, role, entry)?;
        let entry = self.entry(number);
        let claim = self.claim(entry.claim);
        let order = if entry.is_any() {
            Order::Any
        } else {
            Order::Shaped
        };
        let cap = self.cap(claim.role_node, order);
        let mut agents: BTreeMap<Obstacle, u32> = BTreeMap::new();
        for (agent, found, known) in self.agents.iter() {
            let obstacle = self.obstacle(number, agent, found, known, &cap);
            let count = agents.entry(obstacle).or_default();
            *count = count.saturating_add(1);
        }
        let in_order = self.tree.claims_in_order();
        let before = in_order.iter().take_while(|other| **other != entry.claim);
        let before = before.filter(|other| {
            let other = self.claim(**other);
            !(other.open_any.is_empty() && other.open_shaped.is_empty())
        });
        let room = cap
            .room
            .unwrap_or_else(|| Amounts::unbounded(self.names.len()));
        let bounded = room.iter().filter(|(_, milli)| *milli != u64::MAX);
        let bounded: Vec<_> = bounded
            .filter_map(|(name, milli)| Some((self.names.name(name)?.clone(), milli)))
            .collect();
        Some(Explanation {
            wanted: entry.wanted(),
            offered: entry.offered,
            agents,
            is_active: claim.is_active,
            share_billionths: self.tree.share_billionths(claim.node),
            claims_before: u32::try_from(before.count()).unwrap_or(u32::MAX),
            headroom: bounded.iter().cloned().collect(),
            bounded: bounded.into_iter().map(|(name, _)| name).collect(),
        })
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
        if let Some(place) = entry.failed_predicate(&known.description) {
            return Obstacle::Predicate(place);
        }
        if let Some(need) = &entry.need
            && let Some(lacking) = self.lacking(number, need, &known.total)
        {
            return lacking.map_or(Obstacle::NothingFree, Obstacle::TooSmall);
        }
        let exclusions = found.exclusions.as_ref();
        if exclusions
            .is_some_and(|exclusions| exclusions.refuse(number, entry.stamp, self.now, &found.free))
        {
            return Obstacle::Excluded;
        }
        let (allowed, place) = entry.allowance(agent, &known.description);
        if allowed == 0 {
            return Obstacle::AtMost(place);
        }
        if found.free.is_empty() {
            return Obstacle::NothingFree;
        }
        if self.is_kept_for_another(agent, entry.claim) {
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

    /// What there is too little of for one instance; `Some(None)`: something that has no name.
    fn lacking(
        &self,
        number: u32,
        need: &Need,
        there: &Bundle,
    ) -> Option<Option<proffer_model::ResourceName>> {
        let free = Amounts::unbounded(self.names.len());
        let entry = self.entry(number);
        let of = (&self.claim(entry.claim).role, entry.demand.takes);
        if need.take(there, &free, of, &self.names, 1).is_some() {
            return None;
        }
        let name = need
            .first_missing(&there.plain)
            .and_then(|name| self.names.name(name));
        let exact = || need.exact.first_missing(&Resources::new()).is_none();
        let counted = need.counts.keys().next();
        let other = need.exact.iter().next().map(|(kind, _)| kind.name.clone());
        Some(
            name.cloned()
                .or_else(|| if exact() { counted.cloned() } else { other }),
        )
    }

    fn obstacle_to_shape(&self, number: u32, need: &Need, found: &Agent, cap: &Cap) -> Obstacle {
        if let Some(lacking) = self.lacking(number, need, &found.free) {
            return lacking.map_or(Obstacle::NothingFree, Obstacle::NotFree);
        }
        let by =
            |bound: &Option<Amounts>| bound.as_ref().and_then(|bound| need.first_missing(bound));
        self.bound_by(number, by(&cap.room), by(&cap.surplus))
            .unwrap_or(Obstacle::Turn)
    }

    fn obstacle_to_any(&self, number: u32, found: &Agent, cap: &Cap) -> Obstacle {
        let least = self.entry(number).least.as_ref().unwrap_or(&self.least);
        let is_enough =
            |all: &Amounts| least.is_empty() || least.iter().any(|least| all.contains(least));
        if !is_enough(&found.free_all()) {
            return Obstacle::BelowLeast;
        }
        let chopped = |bound: &Option<Amounts>| {
            let mut part = found.free.plain.clone();
            let bound = bound.as_ref()?;
            part.shrink_to(bound);
            let first = bound
                .iter()
                .find(|(name, milli)| found.free.plain.get(*name) > *milli);
            first.filter(|_| !is_enough(&part)).map(|(name, _)| name)
        };
        self.bound_by(number, chopped(&cap.room), chopped(&cap.surplus))
            .unwrap_or(Obstacle::Turn)
    }

    fn bound_by(
        &self,
        number: u32,
        by_room: Option<usize>,
        by_surplus: Option<usize>,
    ) -> Option<Obstacle> {
        if let Some(name) = by_room.and_then(|name| self.names.name(name)) {
            let role = self.limiting_role(number, name)?;
            return Some(Obstacle::Limit(role, name.clone()));
        }
        let name = by_surplus.and_then(|name| self.names.name(name))?;
        Some(Obstacle::HeldBack(name.clone()))
    }

    /// The role whose limit of this name leaves the least.
    fn limiting_role(&self, number: u32, name: &proffer_model::ResourceName) -> Option<Role> {
        let number_of_name = self.names.find(name)?;
        let mut role = Some(self.claim(self.entry(number).claim).role.clone());
        let mut found: Option<(u64, Role)> = None;
        while let Some(here) = role {
            let state = self.tree.find(&here).and_then(|node| self.tree.state(node));
            let room = state
                .and_then(|state| state.room())
                .map(|room| room.get(number_of_name));
            if let Some(room) =
                room.filter(|room| found.as_ref().is_none_or(|(least, _)| room < least))
            {
                found = Some((room, here.clone()));
            }
            role = here.parent();
        }
        found.map(|(_, role)| role)
    }

    // ---- the count from scratch

    /// Counts everything from scratch and compares it with the running sums. The error says what differs.
    pub fn check(&self) -> Result<(), String> {
        let mut total = Amounts::default();
        let mut available = Amounts::default();
        let mut held: BTreeMap<u32, (Amounts, Amounts)> = BTreeMap::new();
        let mut reserved: BTreeMap<Role, Amounts> = BTreeMap::new();
        let mut names = amounts_names(self);
        for (_, agent, known) in self.agents.iter() {
            total.add(&known.total.all(&mut names));
            available.add(&agent.free.plain);
            available.add(&sums_of(&agent.free.extra, &mut names).charged);
            for (role, amounts) in bundle::reserved_of(&known.total.extra, &mut names) {
                reserved.entry(role).or_default().add(&amounts);
            }
            let mut all = agent.free.clone();
            for holding in agent.holdings.iter() {
                let sums = sums_of(&holding.bundle.extra, &mut names);
                let of_claim = held.entry(holding.claim).or_default();
                of_claim.0.add(&holding.bundle.plain.plus(&sums.all));
                of_claim.1.add(&holding.bundle.plain.plus(&sums.charged));
                all.plain.add(&holding.bundle.plain);
                let exclusive = bundle::exclusive(&holding.bundle.extra);
                let numbers = all.extra.non_scalars();
                if numbers.minus(&exclusive.non_scalars()) != numbers {
                    return Err(format!("{} has {} free that is held", known.id, *exclusive));
                }
                all.extra.add(&exclusive);
            }
            if !agent.is_overheld && all != known.total {
                return Err(format!("{}: free and held are not its total", known.id));
            }
        }
        differs("the total", &total, &self.tree.total)?;
        differs("what is available", &available, &self.available)?;
        self.check_tree(&held, &reserved)?;
        self.check_entries()?;
        self.check_windows()
    }

    fn check_tree(
        &self,
        held: &BTreeMap<u32, (Amounts, Amounts)>,
        reserved: &BTreeMap<Role, Amounts>,
    ) -> Result<(), String> {
        let nothing = (Amounts::default(), Amounts::default());
        for (number, claim) in (0..).zip(&self.claims) {
            let Some(claim) = claim else { continue };
            let (all, _) = held.get(&number).unwrap_or(&nothing);
            differs(
                &format!("held by {}", claim.framework),
                all,
                &self.tree.node(claim.node).held,
            )?;
        }
        for (role, node) in self.tree.roles() {
            let Some(state) = self.tree.state(node) else {
                continue;
            };
            let mut charged = Amounts::default();
            for claim in self.tree.claims_beneath(node) {
                charged.add(&held.get(&claim).unwrap_or(&nothing).1);
            }
            differs(&format!("charged to {role}"), &charged, &state.charged)?;
            let beneath = reserved.iter().filter(|(of, _)| role.holds(of));
            let sum = beneath.fold(Amounts::default(), |sum, (_, amounts)| sum.plus(amounts));
            differs(&format!("reserved for {role}"), &sum, &state.reserved)?;
        }
        Ok(())
    }

    fn check_entries(&self) -> Result<(), String> {
        for (number, claim) in (0..).zip(&self.claims) {
            let Some(claim) = claim else { continue };
            for entry in &claim.entries {
                let entry = self.entry(*entry);
                let is_listed = claim
                    .open_any
                    .iter()
                    .chain(&claim.open_shaped)
                    .any(|open| std::ptr::eq(self.entry(*open), entry));
                let is_open = claim.is_active && !self.is_closed(number);
                if is_listed != (is_open && entry.wanted() > 0) {
                    return Err(format!("the entry {} is listed wrongly", entry.demand.id));
                }
            }
            let takes_part = self.tree.takes_part(claim.node);
            // In the middle of a run, some are left out for a while.
            if self.work.is_none()
                && takes_part != [!claim.open_any.is_empty(), !claim.open_shaped.is_empty()]
            {
                return Err(format!("{} takes part wrongly", claim.framework));
            }
        }
        Ok(())
    }
}

/// The same numbers for the same names.
fn amounts_names(of: &Allocator) -> super::amounts::Names {
    let mut names = super::amounts::Names::new();
    for number in 0..of.names.len() {
        if let Some(name) = of.names.name(number) {
            names.number(name);
        }
    }
    names
}

fn differs(what: &str, counted: &Amounts, kept: &Amounts) -> Result<(), String> {
    if counted == kept {
        return Ok(());
    }
    Err(format!("{what} is {counted:?}, and {kept:?} is kept"))
}
