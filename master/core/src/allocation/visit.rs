//! An agent goes to claims that take whatever is free: the first in order that can have it takes all that it may have, what
//! is left goes to the next. Each claim is looked at once on an agent, in the order that was when the agent's turn came.

use proffer_model::{ResourceKind, Role};

use super::Allocator;
use super::agents::Agent;
use super::amounts::Amounts;
use super::bundle::{Bundle, is_charged};
use super::extra::Extra;
use super::limits::{CLAIMS_PER_STEP, SHUT_AT_MIN};
use super::part::{Part, passes};
use super::run::{Granted, Merge, Work};
use super::tree::Order;

/// What came of a look at a claim on an agent.
enum Look {
    Granted,
    /// Nothing here, as long as no more is free and the claim stays the same.
    Shut,
    /// Nothing here and now.
    NotHere,
    /// Nothing here and now for any claim of the role: quotas leave less of it than an offer holds.
    NotForRole,
    /// Nothing anywhere in this run, but for agents with something special.
    NotInRun,
}

/// Who might take any of what is free on an agent.
enum Takers {
    All,
    /// Claims at and beneath these roles, for which it is reserved.
    Beneath(Vec<u32>),
}

/// How much of what is neither reserved nor revocable a claim may have more.
#[derive(Clone, Debug)]
pub(super) struct Cap {
    /// By the limits of its role and those above; none: no limits.
    pub(super) room: Option<Amounts>,
    /// By what guarantees of others need; none: they need nothing.
    pub(super) surplus: Option<Amounts>,
}

impl Cap {
    pub(super) fn shrink(&self, amounts: &mut Amounts) {
        for bound in self.room.iter().chain(&self.surplus) {
            amounts.shrink_to(bound);
        }
    }

    fn allows(&self, amounts: &Amounts) -> bool {
        let mut bounds = self.room.iter().chain(&self.surplus);
        bounds.all(|bound| bound.contains(amounts))
    }
}

impl Allocator {
    /// `next` is the claim that was first in order before, when there was one.
    pub(super) fn visit(&mut self, work: &Work, agent: u32, next: Option<u32>, order: Order) {
        self.steps = self.steps.saturating_add(1);
        let Some(found) = self
            .agents
            .try_get(agent)
            .filter(|found| found.is_offerable())
        else {
            return;
        };
        if self.live.is_within(&found.shut) {
            return;
        }
        let mut takers = self.takers(agent, order);
        let back = self.parked_takers(agent, &takers, order);
        let mut next = next.filter(|_| back.is_empty());
        self.steps = self
            .steps
            .saturating_add(u32::try_from(back.len()).unwrap_or(u32::MAX));
        for claim in back {
            self.unpark(claim);
        }
        let mut tried = std::mem::take(&mut self.tried);
        let mut granted = std::mem::take(&mut self.served);
        let mut hidden = Vec::new();
        while let Some(claim) = self.next_of(work, &takers, next.take(), order) {
            self.steps = self.steps.saturating_add(1);
            match self.look(claim, agent, order) {
                Look::Granted => {
                    granted.push(claim);
                    takers = self.takers(agent, order);
                    if self.agents.get(agent).free.is_empty() {
                        break;
                    }
                    tried.push(claim);
                }
                Look::Shut if self.is_shut_whole(claim, agent) => {
                    self.shut(claim, agent);
                    self.parked.set(claim);
                }
                Look::Shut | Look::NotHere => tried.push(claim),
                Look::NotForRole => {
                    let node = self.claim(claim).node;
                    self.tree.set_hidden(node, true);
                    hidden.push(node);
                    continue;
                }
                Look::NotInRun => self.parked_in_run.push(claim),
            }
            let node = self.claim(claim).node;
            let [_, shaped] = self.tree.takes_part(node);
            self.tree.set_takes_part(node, false, shaped);
            self.settle_windows();
        }
        self.settle_windows();
        for node in hidden {
            self.tree.set_hidden(node, false);
        }
        for claim in granted.drain(..) {
            self.refresh(claim);
        }
        for claim in tried.drain(..) {
            self.unpark(claim);
        }
        (self.tried, self.served) = (tried, granted);
    }

    /// Whether a claim whose other entries are shut out of an agent has none with a shape that is not.
    fn is_shut_whole(&self, claim: u32, agent: u32) -> bool {
        self.claim(claim).open_shaped.is_empty() || self.is_refused(claim, agent)
    }

    /// Who might take any of what is free on an agent.
    fn takers(&self, agent: u32, order: Order) -> Takers {
        let found = self.agents.get(agent);
        if found.free.is_empty() {
            return Takers::Beneath(Vec::new());
        }
        if self.is_for_all(found) {
            return Takers::All;
        }
        self.takers_of(found, order, |_| true)
    }

    /// Who might take any of what is free on an agent that is special, and of these kinds.
    fn takers_of(
        &self,
        found: &Agent,
        order: Order,
        is_meant: impl Fn(&ResourceKind) -> bool,
    ) -> Takers {
        let special = found.free.extra.special().map(|(kind, _)| kind);
        let special = special.filter(|kind| is_meant(kind));
        let is_taken = |kind: &&ResourceKind| {
            let is_shared = self.asking.shared > 0 && found.shared_offered_in != self.number;
            (is_shared || !kind.is_shared) && (self.asking.revocable > 0 || !kind.is_revocable)
        };
        let mut roles: Vec<u32> = Vec::new();
        for kind in special.filter(is_taken) {
            match kind.reserved_to() {
                None => return Takers::All,
                Some(role) => roles.extend(self.tree.find(role)),
            }
        }
        roles.sort_unstable();
        roles.dedup();
        roles.retain(|role| self.tree.is_served(*role, order));
        Takers::Beneath(roles)
    }

    /// Of the claims that were left out, those that take part again on an agent.
    fn parked_takers(&mut self, agent: u32, takers: &Takers, order: Order) -> Vec<u32> {
        let found = self.agents.get(agent);
        let mut back = Vec::new();
        let special: Vec<u32>;
        let roles = match takers {
            Takers::Beneath(roles) => roles,
            Takers::All => {
                self.parked.take_without(&found.shut, &mut back);
                if !found.is_special || self.parked_in_run.is_empty() {
                    return back;
                }
                // What stood in the way of what quotas count does not stand in the way of what they do not.
                match self.takers_of(found, order, |kind| !is_charged(kind)) {
                    Takers::All => {
                        back.append(&mut self.parked_in_run);
                        return back;
                    }
                    Takers::Beneath(theirs) => {
                        special = theirs;
                        &special
                    }
                }
            }
        };
        if roles.is_empty() || (self.parked.is_empty() && self.parked_in_run.is_empty()) {
            return back;
        }
        let mut theirs: Vec<u32> = roles
            .iter()
            .flat_map(|role| self.tree.claims_beneath(*role))
            .collect();
        theirs.sort_unstable();
        let steps = theirs.len() / CLAIMS_PER_STEP;
        let is_back = |claim: &u32| self.parked.has(*claim) && !found.shut.has(*claim);
        back.extend(theirs.iter().copied().filter(is_back));
        self.parked_in_run.retain(|claim| {
            let is_theirs = theirs.binary_search(claim).is_ok();
            back.extend(is_theirs.then_some(*claim));
            !is_theirs
        });
        self.count_steps(steps);
        back
    }

    /// The claim that is next, of those that might take something; `next` is the first of all, when it is known.
    fn next_of(
        &self,
        work: &Work,
        takers: &Takers,
        next: Option<u32>,
        order: Order,
    ) -> Option<u32> {
        let roles = match takers {
            Takers::Beneath(roles) if work.few.is_none() => roles,
            Takers::Beneath(roles) if roles.is_empty() => return None,
            Takers::Beneath(_) | Takers::All => return next.or_else(|| self.next_any(work, order)),
        };
        let firsts = roles
            .iter()
            .filter_map(|role| self.tree.first_beneath(*role, order));
        firsts.min_by(|one, other| {
            self.tree
                .compare(self.claim(*one).node, self.claim(*other).node)
        })
    }

    /// Whether what is free on an agent and neither reserved nor anything else out of the ordinary is enough for an offer.
    fn is_for_all(&self, found: &Agent) -> bool {
        let (plain, is_rest) = (
            &found.free.plain,
            found.free.extra.ordinary().next().is_some(),
        );
        passes(&self.least, plain, is_rest)
            || (self.asking.own_least > 0 && (is_rest || !plain.is_zero()))
    }

    /// Notes that a claim can be offered nothing of an agent.
    pub(super) fn shut(&mut self, claim: u32, agent: u32) {
        let agents = self.agents.len();
        let found = self.agents.get_mut(agent);
        if found.shut.has(claim) {
            return;
        }
        found.shut.set(claim);
        found.note_concerned(claim);
        if let Some(Some(claim)) = self.claims.get_mut(claim as usize) {
            // Agents whose bits were cleared meanwhile are in it twice.
            if claim.shut_at.len() > 2 * agents + SHUT_AT_MIN {
                claim.shut_at.sort_unstable();
                claim.shut_at.dedup();
            }
            claim.shut_at.push(agent);
        }
    }

    fn look(&mut self, claim: u32, agent: u32, order: Order) -> Look {
        let found = self.agents.get(agent);
        if found.concerns(claim) && found.shut.has(claim) {
            return Look::Shut;
        }
        if self.is_kept_for_another(agent, claim) {
            return Look::NotHere;
        }
        let role = self.claim(claim).role_node;
        let mut cap = self.cap(role, order);
        if order == Order::Guaranteed && self.tree.unmet(role).is_zero() {
            return Look::NotInRun;
        }
        let mut is_granted = false;
        let mut is_shut = true;
        let mut is_nowhere = true;
        let mut place = 0;
        while let Some(entry) = self.claim(claim).open_any.get(place).copied() {
            match self.look_for(entry, agent, order, &cap) {
                // One entry may take what another does not.
                Look::Granted if !self.agents.get(agent).free.is_empty() => {
                    is_granted = true;
                    cap = self.cap(role, order);
                }
                Look::Granted => return Look::Granted,
                Look::Shut => is_nowhere = false,
                Look::NotHere => (is_shut, is_nowhere) = (false, false),
                // Whoever was granted something is put in order anew.
                Look::NotForRole if is_granted => return Look::Granted,
                Look::NotForRole => return Look::NotForRole,
                Look::NotInRun => is_shut = false,
            }
            // An entry that wants nothing any more has left the list by itself.
            if self.claim(claim).open_any.get(place) == Some(&entry) {
                place += 1;
            }
        }
        if is_granted {
            return Look::Granted;
        }
        match (is_shut, is_nowhere) {
            (true, _) => Look::Shut,
            (_, true) => Look::NotInRun,
            _ => Look::NotHere,
        }
    }

    /// What a claim may have more of what is neither reserved nor revocable.
    pub(super) fn cap(&self, role: u32, order: Order) -> Cap {
        let mut surplus = self.surplus();
        if let (true, Some(surplus)) = (order != Order::Any, &mut surplus) {
            surplus.add(&self.tree.unmet(role));
        }
        Cap {
            room: self.tree.room(role),
            surplus,
        }
    }

    /// Looks at an agent for one entry that takes whatever is free.
    fn look_for(&mut self, number: u32, agent: u32, order: Order, cap: &Cap) -> Look {
        let (found, entry) = (self.agents.get(agent), self.entry(number));
        let Some(known) = &found.known else {
            return Look::NotHere;
        };
        if entry.has_predicates {
            let role = &self.claim(entry.claim).role;
            if entry.failed_predicate(&known.description, role).is_some() {
                return Look::Shut;
            }
        }
        if entry.has_bounds && entry.allowance(agent, &known.description).0 == 0 {
            return Look::NotHere;
        }
        if found.concerns(entry.claim)
            && let Some(exclusions) = &found.exclusions
            && exclusions.refuse(number, entry.stamp, self.now, &found.free)
        {
            return Look::Shut;
        }
        if found.is_common && order == Order::Any && cap.allows(&found.free.plain) {
            if !passes(
                self.least_of(number),
                &found.free.plain,
                !found.free.extra.is_empty(),
            ) {
                return Look::NotHere;
            }
            self.grant_whole(number, agent);
            return Look::Granted;
        }
        self.look_for_part(number, agent, order, cap)
    }

    /// The same, where a part of what is free at most may go to the claim.
    fn look_for_part(&mut self, number: u32, agent: u32, order: Order, cap: &Cap) -> Look {
        let (found, entry) = (self.agents.get(agent), self.entry(number));
        let claim = self.claim(entry.claim);
        let (claim_number, role_node, is_common) = (entry.claim, claim.role_node, found.is_common);
        let mut takes = entry.demand.takes;
        takes.shared &= found.shared_offered_in != self.number;
        let mut allowed = Amounts::unbounded(self.names.len());
        cap.shrink(&mut allowed);
        // Whether all that anybody in the role may have here is counted by its quotas.
        let is_charged = is_common || self.is_all_charged(&found.free.extra, &claim.role);
        let part = self.part((entry, takes), found, order, &allowed);
        let is_chopped = part.bundle.plain != found.free.plain;
        if order == Order::Guaranteed && !self.is_progress(role_node, &part) {
            return match is_charged {
                true => Look::NotForRole,
                false => Look::NotHere,
            };
        }
        let is_enough = part.is_enough(self.least_of(number));
        let bundle = part.bundle;
        let is_nowhere = is_chopped && is_charged && !passes(self.least_of(number), &allowed, true);
        if is_chopped {
            self.note_bounds(role_node, agent, cap);
        }
        if !is_enough {
            // Claims that all take the same, and want as much at least, fail alike.
            let is_alike = is_charged && is_chopped && self.asking.own_least == 0;
            return match (is_nowhere, is_alike) {
                (true, _) => Look::NotInRun,
                (_, true) => Look::NotForRole,
                _ => Look::NotHere,
            };
        }
        let (found, entry) = (self.agents.get(agent), self.entry(number));
        if let Some(exclusions) = &found.exclusions
            && exclusions.refuse(number, entry.stamp, self.now, &bundle)
        {
            return Look::NotHere;
        }
        if super::bundle::has_shared(&bundle.extra) {
            self.agents.get_mut(agent).shared_offered_in = self.number;
        }
        self.hold(claim_number, agent, bundle.clone(), true);
        let is_alone = order == Order::Any && self.claim(claim_number).entries.len() == 1;
        let merge = if is_alone { Merge::Last } else { Merge::Often };
        self.note_any(number, agent, bundle, merge);
        Look::Granted
    }

    /// Whether quotas count all of an extra that anybody in a role might take.
    fn is_all_charged(&self, extra: &Extra, role: &Role) -> bool {
        extra.special().all(|(kind, _)| {
            is_charged(kind)
                || !kind.is_allocatable_to(role)
                || (kind.is_revocable && self.asking.revocable == 0)
        })
    }

    /// Whether a guarantee comes nearer by it.
    fn is_progress(&self, role: u32, part: &Part) -> bool {
        let mut unmet = self.tree.unmet(role);
        unmet.shrink_to(&part.counted());
        !unmet.is_zero()
    }

    /// Remembers what stood in the way, so that the claim is looked at again when it does no more.
    fn note_bounds(&mut self, role: u32, agent: u32, cap: &Cap) {
        let free = &self.agents.get(agent).free.plain;
        let by_room = cap.room.as_ref().is_some_and(|room| !room.contains(free));
        if let Some(surplus) = cap.surplus.as_ref().filter(|left| !left.contains(free)) {
            let free = free.clone();
            self.hold_back(Some(role), &free, surplus, false);
        }
        if by_room {
            self.tree.mark_bound(role);
        }
    }

    fn grant_whole(&mut self, number: u32, agent: u32) {
        let claim = self.entry(number).claim;
        let bundle = self.hold_whole(claim, agent);
        self.note_any(number, agent, bundle, Merge::Last);
    }

    fn note_any(&mut self, number: u32, agent: u32, bundle: Bundle, merge: Merge) {
        let claim = self.entry(number).claim;
        let granted = Granted::new(claim, agent, bundle, true, (number, 1));
        if self.note(granted, merge) {
            self.count_offered(number, agent, 1);
        }
    }

    /// More of an entry is on offer.
    pub(super) fn count_offered(&mut self, number: u32, agent: u32, count: u32) {
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        entry.offered = entry.offered.saturating_add(count);
        entry.waiting_since = None;
        entry.fruitless = 0;
        let is_wanted = entry.wanted() > 0;
        let (is_kept, is_any) = (!entry.earmarks.is_empty(), entry.is_any());
        let is_gang = entry.demand.gang > 1;
        let is_counted = !is_any || entry.has_bounds;
        if is_counted {
            self.change_placed_of(number, agent, |placed| super::claims::Placed {
                offered: placed.offered.saturating_add(count),
                ..placed
            });
        }
        // Of a gang all are kept until it has all.
        if is_kept && !is_gang {
            self.stop_waiting(number);
        }
        if !is_wanted {
            self.reopen(number);
        }
    }
}
