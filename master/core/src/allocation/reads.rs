//! What others want to know of what is free, held and wanted; and the count from scratch.

use std::collections::BTreeMap;

use proffer_model::{AgentId, DemandId, FrameworkId, Quantities, ResourceName, Resources, Role};

use super::Allocator;
use super::amounts::Amounts;
use super::bundle::{self, Bundle, sums_of};
use super::claims::Entry;
use super::limits::ENTRIES_REFUSED_MAX;

impl Allocator {
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

    /// What counts against the quota of a role, with all beneath it: what is reserved for it, and what is held, in offers too,
    /// that is neither reserved nor revocable.
    pub fn consumed(&self, role: &Role) -> Quantities {
        let state = self.tree.find(role).and_then(|node| self.tree.state(node));
        let consumed = state.map(|state| self.names.quantities_of(&state.consumed()));
        consumed.unwrap_or_default()
    }

    /// Who holds copies of shared volumes of an agent.
    pub fn copies_held(&self, agent: &AgentId) -> BTreeMap<(FrameworkId, Role), Resources> {
        let number = self.agents.find(agent);
        let holdings = number.into_iter();
        let holdings = holdings.flat_map(|number| self.agents.get(number).holdings.iter());
        let copies = holdings.map(|holding| {
            let claim = self.claim(holding.claim);
            let of = (claim.framework.clone(), claim.role.clone());
            (of, holding.bundle.extra.shared())
        });
        copies.filter(|(_, copies)| !copies.is_empty()).collect()
    }

    /// The role whose limit leaves less than what quotas count more there when something that is held in a role, or beneath it,
    /// becomes something else, and of which resource.
    pub fn over_limit(
        &self,
        role: &Role,
        from: &Resources,
        to: &Resources,
    ) -> Option<(Role, ResourceName)> {
        let (from, to) = (
            Bundle::of_known(from, &self.names),
            Bundle::of_known(to, &self.names),
        );
        let counted = |bundle: &Bundle, here: &Role| {
            let reserved = bundle::reserved_within(&bundle.extra, here, &self.names);
            let charged = bundle::charged_of(&bundle.extra, &self.names);
            bundle.plain.plus(&charged).plus(&reserved)
        };
        let mut found = None;
        self.tree.each_room(self.tree.find(role)?, |node, left, _| {
            let state = self.tree.state(node);
            if let Some(here) = state.and_then(|state| state.role.as_ref()) {
                let more = counted(&to, here).minus(&counted(&from, here));
                let over = more.iter().find(|(name, milli)| *milli > left.get(*name));
                let name = over.and_then(|(name, _)| self.names.name(name));
                found = found
                    .take()
                    .or(name.map(|name| (here.clone(), name.clone())));
            }
        });
        found
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
            if agent.is_active {
                available.add(&agent.free.plain);
                available.add(&sums_of(&agent.free.extra, &mut names).charged);
            }
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
        self.check_holders()?;
        self.check_entries()?;
        self.check_bounded()?;
        self.check_needs()?;
        self.check_left_out()?;
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
        self.tree.check_order()
    }

    /// Claims know the agents of which they hold something.
    fn check_holders(&self) -> Result<(), String> {
        let mut holdings = 0;
        for (number, agent, known) in self.agents.iter() {
            for holding in agent.holdings.iter() {
                holdings += 1;
                let at = &self.claim(holding.claim).held_at;
                if at.get(holding.place as usize) != Some(&number) {
                    return Err(format!("who holds {} does not know it", known.id));
                }
            }
        }
        let known = self
            .claims
            .iter()
            .flatten()
            .map(|claim| claim.held_at.len());
        if known.sum::<usize>() != holdings {
            return Err("claims know agents of which they hold nothing".to_owned());
        }
        Ok(())
    }

    /// Entries with bounds are listed, and know how many are where agents have the same of something.
    fn check_bounded(&self) -> Result<(), String> {
        for (number, entry) in (0..).zip(&self.entries) {
            let Some(entry) = entry else { continue };
            if entry.has_bounds != self.bounded.contains(&number) {
                return Err(format!("{} is listed wrongly", entry.demand.id));
            }
            let mut counted = Entry::new(entry.claim, &entry.demand, entry.stamp, &self.names);
            for (agent, placed) in &entry.placed {
                if let Some(known) = &self.agents.get(*agent).known {
                    counted.count_together(*agent, &known.description, 0, placed.sum());
                }
            }
            if counted.together != entry.together {
                return Err(format!("{} counts its bounds wrongly", entry.demand.id));
            }
        }
        let is_gone = |number: &u32| !matches!(self.entries.get(*number as usize), Some(Some(_)));
        match self.bounded.iter().find(|number| is_gone(number)) {
            Some(_) => Err("an entry with bounds is gone".to_owned()),
            None => Ok(()),
        }
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

    /// What open entries with shapes need; and that whoever is shut out has nothing there that it could be given.
    fn check_needs(&self) -> Result<(), String> {
        let mut needs: BTreeMap<&Amounts, usize> = BTreeMap::new();
        let claims = self.claims.iter().flatten();
        for entry in claims.flat_map(|claim| &claim.open_shaped) {
            if let Some(need) = &self.entry(*entry).need {
                *needs.entry(&need.plain).or_default() += 1;
            }
        }
        if !self
            .needs
            .counts()
            .eq(needs.iter().map(|(need, entries)| (*need, *entries)))
        {
            return Err(format!("needed is {needs:?}, and {:?} is kept", self.needs));
        }
        // Those that have ended are noticed by the next run.
        if self.ends.is_due(self.now) {
            return Ok(());
        }
        for (agent, found, known) in self.agents.iter() {
            for (number, claim) in (0..).zip(&self.claims) {
                let Some(claim) = claim.as_ref().filter(|_| found.shut.has(number)) else {
                    continue;
                };
                let is_shaped = claim.open_any.is_empty() && !claim.open_shaped.is_empty();
                let is_few = claim.open_shaped.len() <= ENTRIES_REFUSED_MAX;
                let mut any = claim.open_any.iter();
                let is_any_refused = any.all(|entry| self.is_entry_refused(*entry, agent));
                if is_shaped && is_few && !self.is_refused(number, agent) || !is_any_refused {
                    return Err(format!(
                        "{} is shut out of {} wrongly",
                        claim.framework, known.id
                    ));
                }
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
