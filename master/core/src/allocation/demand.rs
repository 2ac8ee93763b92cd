//! Frameworks and what they want: claims come and go, entries are replaced, exclusions are made and ended.

use proffer_model::{
    AgentDescription, AgentId, DemandEntry, DemandId, FrameworkId, Resources, Role,
};

use super::bundle::Bundle;
use super::claims::{COMING, Claim, Entry, Placed, Turns, change_one};
use super::exclusions::{End, Exclusions};
use super::tree::NONE;
use super::{Allocator, Framework};

impl Allocator {
    // ---- frameworks

    /// Whether anything may be offered to a framework: not while it has no session. One that was not told of is active.
    /// Becoming inactive ends all its exclusions.
    pub fn set_framework_active(&mut self, framework: &FrameworkId, is_active: bool) {
        let found = self.framework_mut(framework);
        found.is_active = is_active;
        for claim in found.claims.values().copied().collect::<Vec<_>>() {
            if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
                found.is_active = is_active;
            }
            if !is_active {
                self.end_exclusions(claim);
                for entry in self.claim(claim).entries.clone() {
                    self.stop_waiting(entry);
                }
            }
            self.recount_open(claim);
            self.touch_claim(claim);
        }
    }

    /// A framework is gone, with its demand, its exclusions and all that it holds.
    pub fn remove_framework(&mut self, framework: &FrameworkId) {
        let Some(found) = self.frameworks.remove(framework) else {
            return;
        };
        for claim in found.claims.into_values() {
            self.remove_claim(claim);
        }
        self.windows.remove(found.window);
    }

    /// A framework is in a role no more: as if it had never been, unless it still holds something there.
    pub fn leave_role(&mut self, framework: &FrameworkId, role: &Role) {
        self.set_demand(framework, role, &[]);
        let Some(claim) = self.find_claim(framework, role) else {
            return;
        };
        if !self.claim(claim).held_at.is_empty() {
            return;
        }
        if let Some(found) = self.frameworks.get_mut(framework) {
            found.claims.remove(role);
        }
        self.remove_claim(claim);
    }

    fn remove_claim(&mut self, claim: u32) {
        self.set_wants(claim, false);
        self.end_exclusions(claim);
        for agent in self.claim(claim).held_at.clone() {
            let held = self.agents.get(agent).holdings.of(claim).cloned();
            self.unhold(claim, agent, &held.unwrap_or_default());
            self.on_more_free(agent);
        }
        let found = self.claim(claim);
        let (node, role) = (found.node, found.role_node);
        let entries: Vec<u32> = found.by_id.values().copied().collect();
        for entry in entries {
            self.remove_entry(entry);
        }
        self.let_in(claim);
        self.parked.unset(claim);
        self.live.unset(claim);
        self.live_shaped.unset(claim);
        self.on_less_held(role);
        self.tree.remove_claim(node);
        self.claims[claim as usize] = None;
        self.claims_vacant.push(claim);
    }

    pub(super) fn framework_mut(&mut self, framework: &FrameworkId) -> &mut Framework {
        let windows = &mut self.windows;
        let fresh = || Framework {
            is_active: true,
            claims: Default::default(),
            window: windows.insert(framework),
        };
        self.frameworks
            .entry(framework.clone())
            .or_insert_with(fresh)
    }

    /// The claim of a framework in a role, made when it is not there.
    pub(super) fn claim_of(&mut self, framework: &FrameworkId, role: &Role) -> u32 {
        if let Some(claim) = self.find_claim(framework, role) {
            return claim;
        }
        let claim = self.claims_vacant.pop().unwrap_or_else(|| {
            self.claims.push(None);
            u32::try_from(self.claims.len() - 1).unwrap_or(NONE)
        });
        let role_node = self.tree.role(role);
        let node = self.tree.add_claim(role_node, claim, framework.as_str());
        let found = self.framework_mut(framework);
        found.claims.insert(role.clone(), claim);
        let (is_active, window) = (found.is_active, found.window);
        self.claims[claim as usize] = Some(Claim {
            node,
            role_node,
            is_active,
            is_changed: false,
            window,
            wants: false,
            wanting: 0,
            open_any: Vec::new(),
            open_shaped: Vec::new(),
            entries: Vec::new(),
            turns: Turns::default(),
            framework: framework.clone(),
            role: role.clone(),
            by_id: Default::default(),
            coming: Vec::new(),
            shut_at: Vec::new(),
            held_at: Vec::new(),
            placed: Default::default(),
            left_out: None,
        });
        claim
    }

    // ---- demand

    /// Replaces what a framework wants in a role; nothing: nothing is offered. Exclusions of an entry are kept when the new
    /// one of its id asks for the same; what is on offer of it still counts. The `excluded` of entries are not read: pass
    /// them to [`Allocator::exclude`].
    pub fn set_demand(&mut self, framework: &FrameworkId, role: &Role, entries: &[DemandEntry]) {
        let claim = self.claim_of(framework, role);
        let before = self.claim(claim).by_id.clone();
        let mut fresh: Vec<(u32, usize, u32)> = Vec::with_capacity(entries.len());
        for (place, demand) in entries.iter().enumerate() {
            let old = before.get(&demand.id).copied();
            fresh.push((demand.priority, place, self.put_entry(claim, demand, old)));
        }
        fresh.sort_by_key(|(priority, place, _)| (std::cmp::Reverse(*priority), *place));
        let fresh: Vec<u32> = fresh.into_iter().map(|(.., entry)| entry).collect();
        let mut by_id = std::collections::BTreeMap::new();
        for (rank, number) in (0..).zip(&fresh) {
            if let Some(entry) = self.entry_mut(*number) {
                entry.rank = rank;
                by_id.insert(entry.demand.id.clone(), *number);
            }
        }
        for (_, gone) in before.iter().filter(|(id, _)| !by_id.contains_key(*id)) {
            self.remove_entry(*gone);
        }
        if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
            found.entries = fresh;
            found.by_id = by_id;
            found.coming = Vec::new();
            found.turns = Turns::default();
        }
        self.open_shut(claim);
        self.recount_open(claim);
        self.touch_claim(claim);
    }

    /// Makes an entry of a demand, in the place of one of the same id when there is one.
    pub(super) fn put_entry(&mut self, claim: u32, demand: &DemandEntry, old: Option<u32>) -> u32 {
        let mut fresh = Entry::new(claim, demand, 0, &self.names);
        let number = match old {
            Some(old) => {
                let before = self.entry(old);
                let (is_same, offered, stamp) = (
                    asks_the_same(&before.demand, demand),
                    before.offered,
                    before.stamp,
                );
                let (waiting, until) = (before.waiting_since, before.earmarked_until);
                let earmarks = before.earmarks.clone();
                fresh.queued = before.queued;
                fresh.offered = offered;
                fresh.stamp = stamp;
                let is_wanted = demand.count > offered;
                if is_same && before.demand.gang == demand.gang && is_wanted {
                    (fresh.earmarks, fresh.earmarked_until) = (earmarks, until);
                    fresh.waiting_since = waiting;
                    fresh.fruitless = before.fruitless;
                } else {
                    self.stop_waiting(old);
                    fresh.queued = self.entry(old).queued;
                }
                if !is_same {
                    fresh.stamp = self.next_stamp();
                }
                old
            }
            None => {
                fresh.stamp = self.next_stamp();
                self.entries_vacant.pop().unwrap_or_else(|| {
                    self.entries.push(None);
                    u32::try_from(self.entries.len() - 1).unwrap_or(NONE)
                })
            }
        };
        let gone = self.claims[claim as usize].as_mut();
        let gone = gone.and_then(|claim| claim.placed.remove(&demand.id));
        let before = old.and_then(|old| self.entry_mut(old));
        fresh.placed = match before {
            Some(before) => std::mem::take(&mut before.placed),
            None => gone.unwrap_or_default(),
        };
        if old.is_none() && !fresh.is_any() {
            fresh.offered = fresh.placed.values().map(|placed| placed.offered).sum();
        }
        self.asking.add(&fresh);
        match fresh.has_bounds {
            true => self.bounded.insert(number),
            false => self.bounded.remove(&number),
        };
        self.set_needed(number, false);
        if let Some(old) = self.entries[number as usize].replace(fresh) {
            self.asking.remove(&old);
        }
        self.recount_together(number);
        number
    }

    pub(super) fn remove_entry(&mut self, entry: u32) {
        self.set_needed(entry, false);
        self.stop_waiting(entry);
        self.leave_queue(entry);
        let Some(gone) = self.entries[entry as usize].take() else {
            return;
        };
        self.asking.remove(&gone);
        self.bounded.remove(&entry);
        self.entries_vacant.push(entry);
        if let (false, Some(Some(claim))) = (
            gone.placed.is_empty(),
            self.claims.get_mut(gone.claim as usize),
        ) {
            claim.placed.insert(gone.demand.id.clone(), gone.placed);
        }
    }

    fn next_stamp(&mut self) -> u32 {
        self.stamp = self.stamp.wrapping_add(1);
        self.stamp
    }

    pub(super) fn entry(&self, entry: u32) -> &Entry {
        match &self.entries[entry as usize] {
            Some(entry) => entry,
            None => unreachable!("numbers of entries are given by their table"),
        }
    }

    pub(super) fn entry_mut(&mut self, entry: u32) -> Option<&mut Entry> {
        self.entries.get_mut(entry as usize)?.as_mut()
    }

    pub(super) fn find_entry(
        &self,
        framework: &FrameworkId,
        role: &Role,
        id: &DemandId,
    ) -> Option<u32> {
        let claim = self.find_claim(framework, role)?;
        self.claim(claim).by_id.get(id).copied()
    }

    /// Finds out which entries of a claim want something, and so in which orders it takes part.
    pub(super) fn recount_open(&mut self, claim: u32) {
        let found = self.claim(claim);
        let is_active = found.is_active;
        let open = found
            .entries
            .iter()
            .copied()
            .filter(|entry| is_active && self.entry(*entry).wanted() > 0);
        let (mut any, mut shaped): (Vec<u32>, Vec<u32>) =
            open.partition(|entry| self.entry(*entry).is_any());
        self.set_wants(claim, !(any.is_empty() && shaped.is_empty()));
        if self.is_closed(claim) {
            self.recount_wanting(claim);
            (any, shaped) = Default::default();
        }
        let fresh = shaped.clone();
        let mut before = Vec::new();
        if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
            found.open_any = any;
            before = std::mem::replace(&mut found.open_shaped, shaped);
        }
        for (entries, is_open) in [(before, false), (fresh, true)] {
            for entry in entries {
                self.set_needed(entry, is_open);
            }
        }
        self.take_part(claim);
    }

    /// Counts the entries of a closed claim that want something, of which nothing else is known while it is.
    fn recount_wanting(&mut self, claim: u32) {
        let mut wanting = 0;
        let found = self.claim(claim);
        let is_active = found.is_active;
        for entry in found.entries.clone() {
            #[cfg(test)]
            {
                self.recounted += 1;
            }
            if let Some(entry) = self.entry_mut(entry) {
                entry.is_wanting = is_active && entry.wanted() > 0;
                wanting += u32::from(entry.is_wanting);
            }
        }
        if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
            found.wanting = wanting;
        }
    }

    /// The same of one entry that wants more or less than before.
    fn count_wanting(&mut self, claim: u32, number: u32) {
        let is_active = self.claim(claim).is_active;
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        let is_wanting = is_active && entry.wanted() > 0;
        let before = std::mem::replace(&mut entry.is_wanting, is_wanting);
        let Some(Some(found)) = self.claims.get_mut(claim as usize) else {
            return;
        };
        found.wanting = found.wanting + u32::from(is_wanting) - u32::from(before);
        let wants = found.wanting > 0;
        self.set_wants(claim, wants);
    }

    /// Counts what an entry with a shape needs while it is open.
    fn set_needed(&mut self, number: u32, is_needed: bool) {
        let Some(Some(entry)) = self.entries.get_mut(number as usize) else {
            return;
        };
        if std::mem::replace(&mut entry.is_needed, is_needed) == is_needed {
            return;
        }
        match &entry.need {
            Some(need) if is_needed => self.needs.add(&need.plain),
            Some(need) => self.needs.remove(&need.plain),
            None => {}
        }
    }

    /// One entry wants more or less than before. Whether it wants something by that and did not before.
    pub(super) fn reopen(&mut self, number: u32) -> bool {
        let entry = self.entry(number);
        let (claim, rank, is_wanted) = (entry.claim, entry.rank, entry.wanted() > 0);
        if rank == COMING {
            return false;
        }
        let (is_any, is_active) = (entry.is_any(), self.claim(claim).is_active);
        let is_one_of_several = self.claim(claim).entries.len() > 1;
        if self.is_closed(claim) {
            if is_wanted && is_one_of_several {
                self.open_shut(claim);
            }
            self.count_wanting(claim, number);
            return false;
        }
        let found = self.claim(claim);
        let open = if is_any {
            &found.open_any
        } else {
            &found.open_shaped
        };
        let place = open.binary_search_by_key(&rank, |entry| self.entry(*entry).rank);
        let Some(Some(found)) = self.claims.get_mut(claim as usize) else {
            return false;
        };
        let open = if is_any {
            &mut found.open_any
        } else {
            &mut found.open_shaped
        };
        match place {
            Ok(place) if !is_wanted => {
                open.remove(place);
            }
            Err(place) if is_wanted && is_active => open.insert(place, number),
            Ok(_) | Err(_) => return false,
        }
        let wants = !(found.open_any.is_empty() && found.open_shaped.is_empty());
        self.set_wants(claim, wants);
        // What shut the other entries out says nothing of this one.
        if is_wanted && is_one_of_several {
            self.open_shut(claim);
        }
        if !is_any {
            self.set_needed(number, is_wanted);
        }
        self.take_part(claim);
        is_wanted
    }

    /// A claim takes part in the orders in which it wants something, and is left out of none.
    fn take_part(&mut self, claim: u32) {
        let found = self.claim(claim);
        let (node, any, shaped) = (
            found.node,
            !found.open_any.is_empty(),
            !found.open_shaped.is_empty(),
        );
        if any {
            self.live.set(claim)
        } else {
            self.live.unset(claim)
        }
        if shaped {
            self.open_serving();
            self.live_shaped.set(claim)
        } else {
            self.live_shaped.unset(claim)
        }
        self.parked.unset(claim);
        self.let_in(claim);
        self.tree.set_takes_part(node, any, shaped);
        if let (false, Some(Some(found))) = (shaped, self.claims.get_mut(claim as usize)) {
            found.turns = Turns::default();
        }
    }

    /// What became of what an offer's fit held on an agent: so many were launched, so many are wanted again. For an entry of
    /// any shape an offer counts as one.
    pub fn count_down(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandId,
        agent: &AgentId,
        launched: u32,
        returned: u32,
    ) {
        let settled = launched.saturating_add(returned);
        let found = self.find_entry(framework, role, entry);
        let is_counted = found.is_none_or(|found| {
            let entry = self.entry(found);
            !entry.is_any() || entry.has_bounds || !entry.placed.is_empty()
        });
        let change = |placed: Placed| Placed {
            offered: placed.offered.saturating_sub(settled),
            launched: placed.launched.saturating_add(launched),
        };
        let is_unbound = match (found, self.agents.find(agent)) {
            (Some(found), Some(agent)) if is_counted => self.change_placed_of(found, agent, change),
            (None, _) => self.change_placed(framework, role, entry, agent, change),
            (Some(_), _) => false,
        };
        let Some(number) = found else { return };
        if let Some(entry) = self.entry_mut(number) {
            entry.offered = entry.offered.saturating_sub(settled);
            entry.remaining = entry.remaining.saturating_sub(launched);
            entry.lacks = 0;
        }
        let claim = self.entry(number).claim;
        let is_opened = self.reopen(number);
        // What came back is looked at with its agent. There is more elsewhere for an entry that wanted nothing before, and
        // for one whose bounds stand in its way no more; not for one that could have had it all the time.
        if returned > 0 && is_opened || is_unbound {
            self.touch_claim(claim);
        }
    }

    /// How many of an entry are in offers that stand: a demand that is replaced may say again what one before it said, or
    /// say it of another shape.
    pub fn set_offered(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandId,
        offered: u32,
    ) {
        let Some(number) = self.find_entry(framework, role, entry) else {
            return;
        };
        if let Some(entry) = self.entry_mut(number)
            && std::mem::replace(&mut entry.offered, offered) != offered
        {
            entry.lacks = 0;
            if entry.wanted() == 0 {
                self.stop_waiting(number);
            }
            self.reopen(number);
        }
    }

    // ---- where instances are

    /// So many tasks that were launched for an entry are there: found running.
    pub fn place(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandId,
        agent: &AgentId,
        count: u32,
    ) {
        self.claim_of(framework, role);
        self.change_placed(framework, role, entry, agent, |placed| Placed {
            launched: placed.launched.saturating_add(count),
            ..placed
        });
    }

    /// So many tasks that were launched for an entry have ended.
    pub fn unplace(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandId,
        agent: &AgentId,
        count: u32,
    ) {
        let is_unbound = self.change_placed(framework, role, entry, agent, |placed| Placed {
            launched: placed.launched.saturating_sub(count),
            ..placed
        });
        let Some(found) = self.find_entry(framework, role, entry) else {
            return;
        };
        if is_unbound {
            self.touch_claim(self.entry(found).claim);
            if let Some(entry) = self.entry_mut(found) {
                entry.lacks = 0;
            }
        }
        if let Some(agent) = self.agents.find(agent)
            && self.entry(found).has_bounds
        {
            self.touch_agent(agent);
        }
    }

    /// Whether bounds of the entry leave room on other agents by it, and did not before.
    fn change_placed(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandId,
        agent: &AgentId,
        change: impl Fn(Placed) -> Placed,
    ) -> bool {
        let (Some(claim), Some(agent)) =
            (self.find_claim(framework, role), self.agents.find(agent))
        else {
            return false;
        };
        if let Some(number) = self.claim(claim).by_id.get(entry).copied() {
            return self.change_placed_of(number, agent, change);
        }
        if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
            let gone = found.placed.entry(entry.clone()).or_default();
            change_one(gone, agent, change);
            if gone.is_empty() {
                found.placed.remove(entry);
            }
        }
        false
    }

    /// Changes how many of an entry are on an agent. Whether its bounds leave room on others by it, and did not before.
    pub(super) fn change_placed_of(
        &mut self,
        number: u32,
        agent: u32,
        change: impl Fn(Placed) -> Placed,
    ) -> bool {
        let Some(Some(entry)) = self.entries.get_mut(number as usize) else {
            return false;
        };
        let (before, after) = change_one(&mut entry.placed, agent, change);
        match (entry.has_bounds, &self.agents.get(agent).known) {
            (true, Some(known)) => {
                entry.count_together(agent, &known.description, before.sum(), after.sum())
            }
            _ => false,
        }
    }

    /// Counts anew how many of an entry are where agents have the same of something.
    fn recount_together(&mut self, number: u32) {
        let Some(Some(entry)) = self.entries.get_mut(number as usize) else {
            return;
        };
        for counts in &mut entry.together {
            counts.clear();
        }
        if !entry.has_bounds {
            return;
        }
        let placed = std::mem::take(&mut entry.placed);
        for (agent, placed) in &placed {
            if let Some(known) = &self.agents.get(*agent).known {
                entry.count_together(*agent, &known.description, 0, placed.sum());
            }
        }
        entry.placed = placed;
    }

    /// An agent says something else of itself than before: what of entries with bounds is there counts elsewhere.
    pub(super) fn move_placed(&mut self, agent: u32, before: &AgentDescription) {
        let Some(known) = &self.agents.get(agent).known else {
            return;
        };
        let mut moved = Vec::new();
        for number in &self.bounded {
            let Some(Some(entry)) = self.entries.get_mut(*number as usize) else {
                continue;
            };
            if let Some(count) = entry.placed.get(&agent).map(|placed| placed.sum()) {
                entry.count_together(agent, before, count, 0);
                entry.count_together(agent, &known.description, 0, count);
                moved.push(entry.claim);
            }
        }
        for claim in moved {
            self.touch_claim(claim);
        }
    }

    /// An agent is gone with what was placed there.
    pub(super) fn forget_placed(&mut self, agent: u32) {
        for claim in self.claims.iter_mut().flatten() {
            for placed in claim.placed.values_mut() {
                placed.remove(&agent);
            }
            claim.placed.retain(|_, placed| !placed.is_empty());
        }
        let Some(known) = &self.agents.get(agent).known else {
            return;
        };
        let mut bounded = Vec::new();
        for entry in self.entries.iter_mut().flatten() {
            let Some(placed) = entry.placed.remove(&agent) else {
                continue;
            };
            if entry.has_bounds {
                entry.count_together(agent, &known.description, placed.sum(), 0);
                bounded.push(entry.claim);
            }
        }
        for claim in bounded {
            self.touch_claim(claim);
        }
    }

    // ---- exclusions

    /// An entry does not want an agent until then, by the monotonic clock. An entry of any shape is not offered what
    /// `refused` contains. One with a shape is not offered anything there until more is free than `refused` and than is
    /// free now; `refused` is then best what no task holds. Call it after the release of what was refused.
    pub fn exclude(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandId,
        agent: &AgentId,
        refused: &Resources,
        until_mono_ns: u64,
    ) {
        let (Some(entry), Some(agent)) = (
            self.find_entry(framework, role, entry),
            self.agents.find(agent),
        ) else {
            return;
        };
        let found = self.entry(entry);
        let (stamp, is_any) = (found.stamp, found.is_any());
        let expected = &self.agents.get(agent).free.extra;
        let mut refused = Bundle::like(refused, &self.names, expected);
        if !is_any {
            let free = &self.agents.get(agent).free;
            refused.plain.grow_to(&free.plain);
            if !refused.extra.contains(&free.extra) {
                refused.extra = refused.extra.plus(&free.extra.minus(&refused.extra)).into();
            }
        }
        let claim = found.claim;
        let found = self.agents.get_mut(agent);
        // Claims with one entry are shut out at once; others when they are found to be.
        let is_shut = refused.contains(&found.free) && until_mono_ns > self.now;
        let of_agent = found
            .exclusions
            .get_or_insert_with(Box::<Exclusions>::default);
        of_agent.insert(entry, stamp, refused, (until_mono_ns, self.now));
        found.note_concerned(claim);
        let is_alone = self.claim(claim).entries == [entry];
        if is_shut && is_alone {
            self.shut(claim, agent);
        }
        let end = End {
            until: until_mono_ns,
            agent,
            entry,
            stamp,
        };
        let entries = &self.entries;
        self.ends.insert(end, |end| stands(entries, end));
    }

    /// Ends all exclusions of a framework in a role.
    pub fn clear_exclusions(&mut self, framework: &FrameworkId, role: &Role) {
        if let Some(claim) = self.find_claim(framework, role) {
            self.end_exclusions(claim);
            self.touch_claim(claim);
        }
    }

    pub(super) fn end_exclusions(&mut self, claim: u32) {
        for entry in self.claim(claim).entries.clone() {
            let stamp = self.next_stamp();
            if let Some(entry) = self.entry_mut(entry) {
                entry.stamp = stamp;
            }
        }
        self.open_shut(claim);
    }

    /// A claim is looked at again wherever it was shut out.
    pub(super) fn open_shut(&mut self, claim: u32) {
        let Some(Some(found)) = self.claims.get_mut(claim as usize) else {
            return;
        };
        let shut_at = std::mem::take(&mut found.shut_at);
        self.open_serving();
        for agent in shut_at {
            self.agents.get_mut(agent).shut.unset(claim);
        }
    }

    /// Exclusions that have ended by now: their agents are looked at again. False: the steps are used up before.
    pub(super) fn end_due_exclusions(&mut self, steps_max: u32) -> bool {
        while let Some(end) = self.ends.pop_until(self.now) {
            self.steps = self.steps.saturating_add(1);
            if self.agents.try_get(end.agent).is_none() {
                continue;
            }
            let found = self.agents.get_mut(end.agent);
            let (mut is_refused, now) = (false, self.now);
            if let Some(exclusions) = &mut found.exclusions {
                exclusions.end(end.entry, end.stamp, now);
                is_refused = exclusions.refuse(end.entry, end.stamp, now, &found.free);
            }
            // What else it has refused says the same.
            if !is_refused && stands(&self.entries, &end) {
                let claim = self.entry(end.entry).claim;
                self.agents.get_mut(end.agent).shut.unset(claim);
                self.touch_agent(end.agent);
            }
            if self.steps >= steps_max {
                return false;
            }
        }
        true
    }

    pub(super) fn next_end(&mut self) -> Option<u64> {
        let entries = &self.entries;
        self.ends.next(|end| stands(entries, end))
    }
}

/// Whether an exclusion has not ended otherwise.
fn stands(entries: &[Option<Entry>], end: &End) -> bool {
    let entry = entries.get(end.entry as usize).and_then(Option::as_ref);
    entry.is_some_and(|entry| entry.stamp == end.stamp)
}

/// Whether two entries differ in their number at most, so that what was said about the one holds for the other.
fn asks_the_same(one: &DemandEntry, other: &DemandEntry) -> bool {
    one.shape == other.shape
        && one.predicates == other.predicates
        && one.at_most == other.at_most
        && one.takes == other.takes
}
