//! Claims with shapes take turns: the first in order takes as many instances of one entry as are fair on one agent, and then
//! the order is asked again.
//!
//! An entry that wants `r` more while `e` agents could take some gets at most ⌈r/e⌉ on one of them, so that instances spread;
//! or, when filling up is wanted, as many as fit on the fullest. To find `r` agents is enough: with as many, one on each is
//! fair. So a look through the index ends after `r` agents that fit, however many there are.

use std::collections::{BTreeMap, VecDeque};

use proffer_model::{Role, Takes};

use super::Allocator;
use super::agents::buckets_with;
use super::amounts::Amounts;
use super::claims::Gathering;
use super::limits::{EXPECTED_TOGETHER, FAR_LOOK_STEPS, SPECIAL_PER_STEP};
use super::run::{Granted, Merge, Pass, Source, Work};
use super::tree::{NONE, Order};
use super::types::Placement;
use super::visit::Cap;

/// What quotas leave for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Whatever there is.
    Any,
    /// What is reserved for its role, and what that lacks.
    Reserved,
    Nothing,
}

impl Allocator {
    /// The next claim with shapes takes its turn, or has nothing to take any more; false: the steps are used up before.
    pub(super) fn turn(&mut self, work: &mut Work, steps_max: u32) -> bool {
        let Some(claim) = self.next_shaped(work) else {
            return true;
        };
        // It stays the same until something is granted.
        let role = self.claim(claim).role_node;
        let unmet = (work.pass == Pass::Guaranteed).then(|| self.tree.unmet(role));
        loop {
            let found = self.claim(claim);
            let Some(entry) = found.open_shaped.get(found.turns.at).copied() else {
                self.end_of_entries(work, claim, unmet.as_ref());
                return true;
            };
            if self.steps >= steps_max {
                return false;
            }
            let most = match &unmet {
                Some(unmet) => self.instances_to(entry, unmet),
                None => u32::MAX,
            };
            if most == 0 {
                self.pass_over_entry(claim);
                continue;
            }
            let found = self.claim(claim);
            if found.turns.of != Some(entry) {
                self.begin_turns(work, claim);
                if !self.gather(work, claim, entry, steps_max) {
                    return false;
                }
                if self.are_shapes_over(work) {
                    return true;
                }
                continue;
            }
            let is_gang = self.entry(entry).demand.gang > 1;
            let granted_on = if is_gang {
                self.grant_gang(claim, entry, most).then_some(None)
            } else {
                self.grant_next(claim, entry, most).map(Some)
            };
            if let Some(agent) = granted_on {
                self.look_whether_it_serves(work, agent);
                self.settle_windows();
                return true;
            }
            self.end_of_queue(claim, entry);
        }
    }

    /// The claim with shapes that is next; when only a few look at the index, one of them.
    pub(super) fn next_shaped(&self, work: &Work) -> Option<u32> {
        if work.is_held_back {
            return None;
        }
        let order = work.pass.of_shaped();
        if let Some(serving) = &work.serving {
            return self.next_served(serving, order);
        }
        let (Some(few), Source::Index(_)) = (&work.few, &work.agents) else {
            return self.tree.first(order);
        };
        self.first_of(few, order)
    }

    /// Whether what guarantees need leaves nothing for whoever has not had its turn. Each of them would find it out by itself, and
    /// where thousands wait, that would be for each thing that comes back.
    fn are_shapes_over(&mut self, work: &mut Work) -> bool {
        let is_over = work.pass == Pass::Everybody && self.is_held_back && self.hold_back_shapes();
        // A gang looks at agents that are not listed.
        self.held_back.is_anywhere |= is_over && self.asking.gangs > 0;
        work.is_held_back |= is_over;
        is_over
    }

    /// All entries of a claim have had their turn; in the pass for guarantees those that are owed, of what this is.
    fn end_of_entries(&mut self, work: &Work, claim: u32, unmet: Option<&Amounts>) {
        match unmet {
            Some(unmet) if self.claim(claim).turns.is_passed_over => self.pass_over(claim, unmet),
            _ => {
                self.shut_out_of_refused(work, claim);
                self.exhaust(claim);
            }
        }
    }

    /// Nothing is left in the queue: once more when it has given something, else the next entry.
    fn end_of_queue(&mut self, claim: u32, entry: u32) {
        let is_wanted = self.entry(entry).wanted() > 0;
        let Some(Some(found)) = self.claims.get_mut(claim as usize) else {
            return;
        };
        // Once more also when agents may have gone since it was gathered.
        let is_torn = found.turns.gathered_at != self.losses && !found.turns.is_again;
        found.turns.is_again = is_torn;
        let is_progress = found.turns.is_progress || is_torn;
        found.turns.of = None;
        found.turns.is_progress = false;
        // An entry that wants nothing any more has left the list of the open ones by itself.
        if is_wanted && !is_progress {
            found.turns.at += 1;
            self.wait(entry);
        }
    }

    pub(super) fn exhaust(&mut self, claim: u32) {
        let node = self.claim(claim).node;
        let [any, _] = self.tree.takes_part(node);
        self.tree.set_takes_part(node, any, false);
        self.exhausted.push(claim);
    }

    /// Finds agents on which some of an entry would fit; false: the steps are used up before.
    fn gather(&mut self, work: &Work, claim: u32, number: u32, steps_max: u32) -> bool {
        let cap = self.cap(self.claim(claim).role_node, Order::Shaped);
        let begun = self.claims[claim as usize].as_mut();
        let begun = begun.and_then(|claim| claim.turns.look.take());
        let begun = begun.filter(|look| look.entry == number);
        let room = self.has_room(number, &cap);
        let mut look = match begun {
            Some(begun) => *begun,
            None => self.gathering(work, claim, number, room),
        };
        if let (0, Some(special)) = (look.seen, &look.special) {
            self.count_steps(special.len() / SPECIAL_PER_STEP);
        }
        // Where quotas leave nothing, nothing is gathered.
        let is_done = room == Room::Nothing
            || self.look_through(work, &mut look, &self.allowed(&cap), steps_max);
        if !is_done {
            if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
                found.turns.look = Some(Box::new(look));
            }
            return false;
        }
        self.steps = self.steps.saturating_add(1);
        if !self.end_look(look, room) {
            // Of a gang, with what has changed there may be enough: all are looked at.
            return self.gather(work, claim, number, steps_max);
        }
        true
    }

    /// A look for agents is at its end; false: others are to be looked at too.
    fn end_look(&mut self, look: Gathering, room: Room) -> bool {
        let entry = self.entry(look.entry);
        let (claim, gang) = (entry.claim, entry.demand.gang.min(entry.wanted()));
        // Others have moved meanwhile, and perhaps past the place where this look was: it is done again in the next run.
        let is_moved = look.version != self.agents.index.version;
        let is_all = look.buckets.is_some() || look.special.is_some();
        let is_torn = is_moved && is_all;
        if is_torn {
            self.touch_claim(claim);
        }
        // What is reserved, and what quotas leave, may have changed for it elsewhere.
        let role = self.claim(claim).role_node;
        let is_known = room == Room::Any && !is_torn && !self.tree.is_reserved_for(role);
        if let Some(entry) = self.entry_mut(look.entry) {
            let missing = if is_all { gang } else { entry.lacks };
            entry.lacks = missing.saturating_sub(look.room) * u32::from(is_known);
            if room != Room::Nothing && gang > 1 && !is_all && entry.lacks == 0 {
                return false;
            }
        }
        if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
            // A gang that does not fit is not tried.
            found.turns.queue = match look.room < gang {
                true => VecDeque::new(),
                false => look.found,
            };
            found.turns.of = Some(look.entry);
            found.turns.gathered_at = self.losses;
            found.turns.is_progress = false;
        }
        true
    }

    /// Begins to find agents.
    fn gathering(&self, work: &Work, claim: u32, number: u32, room: Room) -> Gathering {
        let entry = self.entry(number);
        // A gang may need agents that have not changed beside those that have.
        let is_gang_near = entry.demand.gang > 1 && entry.lacks == 0;
        let is_everywhere = is_gang_near || self.looks_everywhere(work, claim);
        let is_listed = !is_everywhere && matches!(work.agents, Source::List(..));
        let is_special = room == Room::Reserved && !is_listed;
        let special = is_special.then(|| self.agents.special().collect());
        let buckets = (!is_listed && !is_special).then(|| {
            let least = entry.need.as_ref().map(|need| &need.plain);
            let mut buckets: Vec<usize> =
                buckets_with(least.unwrap_or(&Amounts::default())).collect();
            buckets.retain(|bucket| !self.agents.bucket(*bucket).is_empty());
            if self.options.placement != Placement::BinPack {
                buckets.reverse();
            }
            buckets
        });
        let is_bounded_gang = entry.demand.gang > 1 && entry.has_bounds;
        Gathering {
            entry: number,
            buckets: buckets
                .filter(|_| is_everywhere)
                .or((!is_listed && !is_special).then(Vec::new)),
            special: special
                .filter(|_| is_everywhere)
                .or(is_special.then(Vec::new)),
            from: 0,
            seen: 0,
            version: self.agents.index.version,
            found: VecDeque::new(),
            room: 0,
            together: match is_bounded_gang {
                true => vec![BTreeMap::new(); entry.together.len()],
                false => Vec::new(),
            },
        }
    }

    /// Goes on with a look for agents; whether it is at its end: as many were found as are wanted, or all were looked at.
    fn look_through(
        &mut self,
        work: &Work,
        look: &mut Gathering,
        allowed: &Amounts,
        steps_max: u32,
    ) -> bool {
        let number = look.entry;
        let entry = self.entry(number);
        let wanted = usize::try_from(entry.wanted()).unwrap_or(usize::MAX);
        let most = match entry.demand.gang > 1 {
            true => entry.wanted(),
            false => 1,
        };
        while look.found.len() < wanted {
            let list = match (&look.special, &look.buckets, &work.agents) {
                (Some(special), ..) => special,
                (None, None, Source::List(list)) => &list.agents,
                (None, Some(buckets), _) => match buckets.last() {
                    Some(bucket) => self.agents.bucket(*bucket),
                    None => return true,
                },
                (None, None, Source::Index(_) | Source::Sweep(_)) => return true,
            };
            let is_drawn = look.buckets.is_some() || look.special.is_some();
            if look.seen == 0 && is_drawn && !list.is_empty() {
                look.from = self.random.below(list.len());
            }
            let Some(place) =
                (look.seen < list.len()).then(|| (look.from + look.seen) % list.len())
            else {
                match &mut look.buckets {
                    Some(buckets) => buckets.pop(),
                    None => return true,
                };
                look.seen = 0;
                continue;
            };
            if self.steps >= steps_max {
                return false;
            }
            let agent = list[place];
            if look.seen.is_multiple_of(EXPECTED_TOGETHER) {
                let soon = list.iter().skip(place).take(EXPECTED_TOGETHER);
                self.agents.expect(soon);
            }
            self.steps = self.steps.saturating_add(FAR_LOOK_STEPS);
            look.seen += 1;
            let times = self.times(number, agent, allowed, most);
            let times = self.times_beside(look, agent, times);
            if times > 0 {
                look.found.push_back(agent);
                look.room = look.room.saturating_add(times);
            }
        }
        true
    }

    /// Of so many instances on an agent, as many as the bounds of a gang leave room for beside those that were found.
    fn times_beside(&self, look: &mut Gathering, agent: u32, times: u32) -> u32 {
        let (entry, known) = (self.entry(look.entry), &self.agents.get(agent).known);
        match known {
            Some(known) if times > 0 && !look.together.is_empty() => {
                entry.count_beside(&mut look.together, agent, &known.description, times)
            }
            _ => times,
        }
    }

    /// What quotas leave for one instance, or for a gang; reservations may do without.
    fn has_room(&mut self, number: u32, cap: &Cap) -> Room {
        let entry = self.entry(number);
        let Some(need) = &entry.need else {
            return Room::Nothing;
        };
        let allowed = self.allowed(cap);
        let is_one_within = allowed.contains(&need.all_charged(1));
        let at_once = entry.demand.gang.clamp(1, entry.wanted().max(1));
        let least = need.all_charged(u64::from(at_once));
        let is_charged_within = allowed.contains(&need.charged(u64::from(at_once)));
        if allowed.contains(&least) {
            return Room::Any;
        }
        let role = self.claim(entry.claim).role_node;
        if cap.room.as_ref().is_some_and(|room| !room.contains(&least)) {
            self.tree.mark_bound(role);
        } else {
            let surplus = cap.surplus.clone().unwrap_or_default();
            self.hold_back(Some(role), &least, &surplus, true);
            // A gang looks at agents that are not listed.
            self.held_back.is_anywhere |= at_once > 1;
        }
        match is_charged_within && self.tree.is_reserved_for(role) {
            // A part of a gang may be within quotas.
            true if is_one_within => Room::Any,
            true => Room::Reserved,
            false => Room::Nothing,
        }
    }

    fn allowed(&self, cap: &Cap) -> Amounts {
        let mut allowed = Amounts::unbounded(self.names.len());
        cap.shrink(&mut allowed);
        allowed
    }

    /// How many instances of an entry an agent could take, at most so many.
    fn times(&self, number: u32, agent: u32, allowed: &Amounts, most: u32) -> u32 {
        let (Some(found), entry) = (self.agents.try_get(agent), self.entry(number)) else {
            return 0;
        };
        let (Some(known), Some(need)) = (&found.known, &entry.need) else {
            return 0;
        };
        let is_shut = found.concerns(entry.claim) && found.shut.has(entry.claim);
        if is_shut || !found.is_offerable() || self.is_kept_for_another_entry(agent, number) {
            return 0;
        }
        let most = match entry.has_bounds {
            true => most.min(entry.allowance(agent, &known.description).0),
            false => most,
        };
        let times = need.times(
            &found.free,
            allowed,
            self.taker(number),
            &self.names,
            u64::from(most),
        );
        if times == 0 {
            return 0;
        }
        if entry.has_predicates {
            let role = &self.claim(entry.claim).role;
            if entry.failed_predicate(&known.description, role).is_some() {
                return 0;
            }
        }
        if self.is_free_refused(number, found) {
            return 0;
        }
        u32::try_from(times).unwrap_or(u32::MAX)
    }

    fn taker(&self, number: u32) -> (&Role, Takes) {
        let entry = self.entry(number);
        (&self.claim(entry.claim).role, entry.demand.takes)
    }

    /// Grants some of an entry, at most so many, on the next agent of the queue that can take them; that one.
    fn grant_next(&mut self, claim: u32, number: u32, most: u32) -> Option<u32> {
        loop {
            let wanted = self.entry(number).wanted();
            let found = self.claims.get_mut(claim as usize)?.as_mut()?;
            let others = u32::try_from(found.turns.queue.len())
                .unwrap_or(u32::MAX)
                .max(1);
            let agent = found.turns.queue.pop_front()?;
            if wanted == 0 {
                return None;
            }
            let fair = match self.options.placement {
                Placement::Spread => wanted.div_ceil(others),
                Placement::BinPack => wanted,
            };
            self.steps = self.steps.saturating_add(1);
            if self.grant_shaped(number, agent, fair.min(most), true) > 0 {
                if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
                    found.turns.is_progress = true;
                }
                self.refresh(claim);
                return Some(agent);
            }
        }
    }

    /// Grants as many as fit, at most so many; how many that were.
    fn grant_shaped(&mut self, number: u32, agent: u32, most: u32, is_merged: bool) -> u32 {
        let entry = self.entry(number);
        let claim = entry.claim;
        let cap = self.cap(self.claim(claim).role_node, Order::Shaped);
        let allowed = self.allowed(&cap);
        let count = self.times(number, agent, &allowed, most);
        let taken = self
            .entry(number)
            .need
            .as_ref()
            .filter(|_| count > 0)
            .and_then(|need| {
                let free = &self.agents.get(agent).free;
                need.take(
                    free,
                    &allowed,
                    self.taker(number),
                    &self.names,
                    u64::from(count),
                )
            });
        let Some(bundle) = taken else { return 0 };
        self.hold(claim, agent, bundle.clone(), true);
        self.note(
            Granted::new(claim, agent, bundle, false, (number, count)),
            if is_merged {
                Merge::Often
            } else {
                Merge::Never
            },
        );
        self.count_offered(number, agent, count);
        count
    }

    /// Grants a gang on the agents of the queue, or nothing of it; beyond the gang itself, at most so many.
    fn grant_gang(&mut self, claim: u32, number: u32, most: u32) -> bool {
        let entry = self.entry(number);
        let gang = entry.demand.gang.min(entry.wanted());
        let wanted = entry.wanted().min(most.max(gang));
        let waited = (entry.waiting_since, entry.fruitless);
        let Some(Some(found)) = self.claims.get_mut(claim as usize) else {
            return false;
        };
        let queue: Vec<u32> = std::mem::take(&mut found.turns.queue).into();
        let before = self.granted.len();
        let mut missing = wanted;
        let mut is_more = true;
        while missing > 0 && std::mem::take(&mut is_more) {
            let mut others = u32::try_from(queue.len()).unwrap_or(u32::MAX);
            for agent in &queue {
                let fair = missing.div_ceil(others.max(1));
                others = others.saturating_sub(1);
                self.steps = self.steps.saturating_add(1);
                let count = self.grant_shaped(number, *agent, fair.min(missing), false);
                missing -= count;
                is_more |= count > 0;
            }
        }
        if gang > 0 && wanted - missing >= gang {
            if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
                found.turns.is_progress = true;
            }
            self.stop_waiting(number);
            self.refresh(claim);
            return true;
        }
        for undone in self.granted.split_off(before) {
            self.undo(undone);
        }
        if let Some(entry) = self.entry_mut(number) {
            (entry.waiting_since, entry.fruitless) = waited;
        }
        self.wait_again(number);
        self.refresh(claim);
        false
    }

    /// As if it had never been granted.
    fn undo(&mut self, granted: Granted) {
        let (number, count) = granted.fit;
        self.unhold(granted.claim, granted.agent, &granted.bundle);
        self.tree.uncount(self.claim(granted.claim).node);
        self.uncount_offer(granted.claim);
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        entry.offered = entry.offered.saturating_sub(count);
        self.change_placed_of(number, granted.agent, |placed| super::claims::Placed {
            offered: placed.offered.saturating_sub(count),
            ..placed
        });
        self.reopen(number);
    }

    /// Whether an agent is kept for an entry of another claim.
    pub(super) fn is_kept_for_another(&self, agent: u32, claim: u32) -> bool {
        let earmark = self.agents.get(agent).earmark;
        earmark != NONE
            && self.entry(earmark).claim != claim
            && !self.is_open_to_guarantees(earmark)
    }

    /// The same, or for another entry of the claim: what takes a shape waits for what is kept beside it.
    pub(super) fn is_kept_for_another_entry(&self, agent: u32, number: u32) -> bool {
        let earmark = self.agents.get(agent).earmark;
        earmark != NONE && earmark != number && !self.is_open_to_guarantees(earmark)
    }

    /// Whether what is kept for an entry goes to guarantees that are not met, which are being served: none speaks of it.
    fn is_open_to_guarantees(&self, earmark: u32) -> bool {
        let node = self.claim(self.entry(earmark).claim).node;
        self.serves_guarantees && !self.tree.node(node).is_guarded
    }
}
