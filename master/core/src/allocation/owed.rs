//! What guarantees that are not met owe to claims with shapes: which of their entries are served before all others, and which
//! claims have nothing to do with it.
//!
//! An entry is served first while an instance of it holds something that its role lacks of what it is guaranteed; every other
//! one waits for its turn among all. Where a thousand frameworks of a role want nothing that the role lacks, they are not
//! passed over one by one in each run: they are left out until they want something else, or the role lacks something that
//! they want.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Allocator;
use super::amounts::Amounts;
use super::claims::Turns;
use super::limits::{CHECKS_PER_STEP, CLAIMS_PER_STEP};
use super::tree::{Order, Tree};

/// A role that guarantees speak of, and names.
type Of = (u32, u64);

/// Claims that are left out while a role, which guarantees speak of, lacks none of these names.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    claims: BTreeMap<Of, BTreeSet<u32>>,
    /// The same roles and names, for each of the roles and for those above it.
    beneath: BTreeSet<(u32, Of)>,
    /// Roles of which something had changed when the piece of work began that is under way, and that are not looked at yet.
    changed: BTreeSet<u32>,
    /// One of them, and how far those beneath it have been looked at.
    looked_to: Option<(u32, Option<Of>)>,
}

impl LeftOut {
    fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    fn insert(&mut self, of: Of, claim: u32, tree: &Tree) {
        let claims = self.claims.entry(of).or_default();
        if claims.is_empty() {
            let with_above = tree.with_above(of.0);
            self.beneath.extend(with_above.map(|role| (role, of)));
        }
        claims.insert(claim);
    }

    fn remove(&mut self, of: Of, claim: u32, tree: &Tree) {
        if let Some(claims) = self.claims.get_mut(&of) {
            claims.remove(&claim);
            if claims.is_empty() {
                self.claims.remove(&of);
                for role in tree.with_above(of.0) {
                    self.beneath.remove(&(role, of));
                }
            }
        }
    }

    /// The next one at or beneath a role.
    fn next(&self, role: u32, after: Option<Of>) -> Option<Of> {
        let from = match after {
            Some(of) => Bound::Excluded((role, of)),
            None => Bound::Included((role, (0, 0))),
        };
        let mut next = self.beneath.range((from, Bound::Unbounded));
        next.next()
            .filter(|(of_role, _)| *of_role == role)
            .map(|(_, of)| *of)
    }
}

impl Allocator {
    /// How many instances of an entry it takes to have all of an amount that they have any of.
    pub(super) fn instances_to(&self, number: u32, amounts: &Amounts) -> u32 {
        let Some(need) = &self.entry(number).need else {
            return 0;
        };
        let one = need.all_charged(1);
        let parts = one.iter().filter(|(_, milli)| *milli > 0);
        let most = parts.map(|(name, milli)| amounts.get(name).div_ceil(milli));
        u32::try_from(most.max().unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// Whether a claim wants something that its role lacks of what it is guaranteed, and so is served before all that do not;
    /// and how many entries were looked at for that.
    pub(super) fn is_owed(&self, claim: u32) -> (bool, usize) {
        let found = self.claim(claim);
        let lacking = self.tree.unmet(found.role_node).names();
        if lacking == 0 || !found.open_any.is_empty() {
            return (lacking != 0, 0);
        }
        // It wants nothing but what it was left out with.
        if found
            .left_out
            .is_some_and(|(_, wanted)| wanted & lacking == 0)
        {
            return (false, 0);
        }
        let mut open = found.open_shaped.iter();
        let is_owed = open.any(|entry| self.names_needed(*entry) & lacking != 0);
        (is_owed, found.open_shaped.len() - open.len())
    }

    /// Whether an entry needs something that its role lacks of what it is guaranteed.
    pub(super) fn is_entry_owed(&self, number: u32) -> bool {
        let entry = self.entry(number);
        let lacking = self.tree.unmet(self.claim(entry.claim).role_node);
        match entry.is_any() {
            true => !lacking.is_zero(),
            false => self.names_needed(number) & lacking.names() != 0,
        }
    }

    /// Leaves the entry that a claim is at for the pass for everybody.
    pub(super) fn pass_over_entry(&mut self, claim: u32) {
        self.steps = self.steps.saturating_add(1);
        let Some(Some(found)) = self.claims.get_mut(claim as usize) else {
            return;
        };
        found.turns.at += 1;
        found.turns.of = None;
        if !std::mem::replace(&mut found.turns.is_passed_over, true) {
            self.passed_over.push(claim);
        }
    }

    /// All that guarantees owe to a claim has had its turn in the pass for them, where its role lacks this.
    pub(super) fn pass_over(&mut self, claim: u32, unmet: &Amounts) {
        let found = self.claim(claim);
        let (node, is_begun) = (found.node, found.turns.is_begun);
        if is_begun || !self.leave_out(claim, unmet) {
            let [any, _] = self.tree.takes_part(node);
            self.tree.set_takes_part(node, any, false);
        }
    }

    /// Claims of which something was passed over begin anew, for everybody; false: the steps are used up before.
    pub(super) fn take_in_again(&mut self, steps_max: u32) -> bool {
        while let Some(claim) = self.passed_over.pop() {
            if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
                found.turns = Turns::default();
                let (node, is_open) = (found.node, !found.open_shaped.is_empty());
                let [any, _] = self.tree.takes_part(node);
                self.tree.set_takes_part(node, any, is_open);
            }
            self.steps = self.steps.saturating_add(1);
            if self.steps >= steps_max && !self.passed_over.is_empty() {
                return false;
            }
        }
        true
    }

    // ---- claims that have nothing to do with what a role lacks

    /// Leaves a claim out of what is served for guarantees until its role, which lacks this, lacks something that it wants.
    /// False: it does already.
    fn leave_out(&mut self, claim: u32, unmet: &Amounts) -> bool {
        let names = self.names_wanted(claim);
        let found = self.claim(claim);
        if names & unmet.names() != 0 || found.left_out.is_some() {
            return false;
        }
        let (node, of) = (found.node, (self.tree.guard_of(found.role_node), names));
        self.count_steps(found.open_shaped.len() / CHECKS_PER_STEP);
        if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
            found.left_out = Some(of);
        }
        self.left_out.insert(of, claim, &self.tree);
        self.tree.notes_needs(true);
        self.tree.set_left_out(node, true);
        true
    }

    /// The names that what a claim wants with shapes needs something of.
    fn names_wanted(&self, claim: u32) -> u64 {
        let open = self.claim(claim).open_shaped.iter();
        open.fold(0, |names, entry| names | self.names_needed(*entry))
    }

    /// The names that an entry with a shape needs something of.
    fn names_needed(&self, number: u32) -> u64 {
        let need = self.entry(number).need.as_ref();
        need.map_or(0, |need| need.all_charged(1).names())
    }

    /// A claim that was left out is looked at again: it wants something else, or its role lacks something that it wants.
    pub(super) fn let_in(&mut self, claim: u32) {
        if self.left_out.is_empty() {
            return;
        }
        if let Some(Some(found)) = self.claims.get_mut(claim as usize)
            && let Some(of) = found.left_out.take()
        {
            let node = found.node;
            self.left_out.remove(of, claim, &self.tree);
            self.tree.set_left_out(node, false);
            self.tree.notes_needs(!self.left_out.is_empty());
        }
    }

    /// What guarantees speak of has changed, or what names mean.
    pub(super) fn let_all_in(&mut self) {
        let all: Vec<u32> = self.left_out.claims.values().flatten().copied().collect();
        all.into_iter().for_each(|claim| self.let_in(claim));
    }

    /// A piece of work begins: it lets those in to whom something is owed by now. What changes while it looks for them belongs to
    /// the next one: where there are more of them than a run looks at, tasks that end all the time would keep it from being done.
    pub(super) fn begin_to_let_in(&mut self) {
        let mut changed = self.tree.take_changed_needs();
        self.left_out.changed.append(&mut changed);
    }

    /// Lets claims in whose role has come to lack something that they want; false: the steps are used up before. Those are looked
    /// at where what guarantees need has changed, or beneath.
    pub(super) fn let_owed_in(&mut self, steps_max: u32) -> bool {
        if self.left_out.is_empty() {
            self.left_out.changed.clear();
        }
        if self.left_out.is_empty() || self.tree.required().is_none() {
            return true;
        }
        let mut looks = 0;
        loop {
            let under_way = self.left_out.looked_to.take();
            let next = under_way.or_else(|| Some((self.left_out.changed.pop_first()?, None)));
            let Some((role, after)) = next else {
                self.count_steps(looks / CLAIMS_PER_STEP);
                return true;
            };
            looks += 1;
            let Some(of) = self.left_out.next(role, after) else {
                continue;
            };
            let is_done = !self.is_lacking(of) || self.let_all_of_in(of, steps_max);
            let to = if is_done { Some(of) } else { after };
            self.left_out.looked_to = Some((role, to));
            let looked = u32::try_from(looks / CLAIMS_PER_STEP).unwrap_or(u32::MAX);
            if !is_done || self.steps.saturating_add(looked) >= steps_max.max(1) {
                self.count_steps(looks / CLAIMS_PER_STEP);
                return false;
            }
        }
    }

    /// Whether a role lacks any of these names, and is served for that.
    fn is_lacking(&self, (role, names): Of) -> bool {
        self.tree.is_served(role, Order::GuaranteedShaped)
            && self.tree.unmet(role).names() & names != 0
    }

    /// Lets all claims in that are left out while a role lacks none of these names; false: the steps are used up before.
    fn let_all_of_in(&mut self, of: Of, steps_max: u32) -> bool {
        while let Some(claims) = self.left_out.claims.get(&of) {
            let Some(claim) = claims.first().copied() else {
                break;
            };
            self.let_in(claim);
            self.steps = self.steps.saturating_add(1);
            if self.steps >= steps_max {
                return false;
            }
        }
        true
    }

    /// Whoever is left out is known to be, and wants nothing but what it was left out with.
    pub(super) fn check_left_out(&self) -> Result<(), String> {
        let mut known = 0;
        for (number, claim) in (0..).zip(&self.claims) {
            let Some(claim) = claim else { continue };
            let listed = claim.left_out.and_then(|of| self.left_out.claims.get(&of));
            let is_listed = listed.is_some_and(|claims| claims.contains(&number));
            known += usize::from(is_listed);
            let names = claim.left_out.map_or(u64::MAX, |(_, names)| names);
            if is_listed != claim.left_out.is_some()
                || is_listed != self.tree.is_left_out(claim.node)
                || self.names_wanted(number) & !names != 0
            {
                return Err(format!("{} is left out wrongly", claim.framework));
            }
        }
        let left_out = &self.left_out;
        if known != left_out.claims.values().map(BTreeSet::len).sum::<usize>() {
            return Err("claims are left out that are gone".to_owned());
        }
        let looked_to = left_out.looked_to.map(|(role, _)| role);
        let is_looked_at = |role: u32| {
            let is_to_be = left_out.changed.contains(&role) || self.tree.has_changed_need(role);
            is_to_be || looked_to == Some(role)
        };
        for of in left_out.claims.keys().filter(|of| self.is_lacking(**of)) {
            if !self.tree.with_above(of.0).any(is_looked_at) {
                return Err("claims are left out that something is owed to".to_owned());
            }
        }
        let beneath = left_out.claims.keys().flat_map(|of| {
            let with_above = self.tree.with_above(of.0);
            with_above.map(|role| (role, *of))
        });
        if beneath.collect::<BTreeSet<_>>() != left_out.beneath {
            return Err("those that are left out are found by other roles".to_owned());
        }
        Ok(())
    }
}
