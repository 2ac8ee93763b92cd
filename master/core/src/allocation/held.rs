//! What is held: taking from what is free, giving back, and the sums that follow.

use proffer_model::Resources;

use super::Allocator;
use super::amounts::{Amounts, Names};
use super::bundle::{self, Bundle, Sums, sums_of};
use super::extra::Extra;
use super::tree::NONE;

impl Allocator {
    /// A claim holds more of an agent. `is_counted`: as one allocation more.
    pub(super) fn hold(&mut self, claim: u32, agent: u32, bundle: Bundle, is_counted: bool) {
        let before = self.agents.get(agent).holdings.of(claim);
        let sums = sums_between(before.map(|held| &held.extra), &bundle, &mut self.names);
        self.take_free(agent, &bundle);
        let node = self.claim(claim).node;
        match (is_counted, &sums) {
            (true, Some(sums)) => self.tree.allocate(node, &sums.all, &sums.charged),
            (true, None) => self.tree.allocate(node, &bundle.plain, &bundle.plain),
            (false, Some(sums)) => self.tree.enlarge(node, &sums.all, &sums.charged),
            (false, None) => self.tree.enlarge(node, &bundle.plain, &bundle.plain),
        }
        self.give(claim, agent, bundle);
    }

    /// Puts it among what is held of the agent, and the agent among those of the claim.
    fn give(&mut self, claim: u32, agent: u32, bundle: Bundle) {
        let holdings = &mut self.agents.get_mut(agent).holdings;
        if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
            let place = u32::try_from(found.held_at.len()).unwrap_or(NONE);
            if holdings.give(claim, bundle, place) {
                found.held_at.push(agent);
            }
        }
    }

    /// A claim holds nothing of an agent any more, which stood at this place: the last of its list comes there.
    fn leave_agent(&mut self, claim: u32, place: u32) {
        let Some(Some(found)) = self.claims.get_mut(claim as usize) else {
            return;
        };
        found.held_at.swap_remove(place as usize);
        if let Some(moved) = found.held_at.get(place as usize) {
            self.agents.get_mut(*moved).holdings.set_place(claim, place);
        }
    }

    /// All that is free goes to a claim: the same as [`Allocator::hold`], and only what it answers is copied: what went.
    pub(super) fn hold_whole(&mut self, claim: u32, agent: u32) -> Bundle {
        let node = self.claims[claim as usize]
            .as_ref()
            .map_or(NONE, |claim| claim.node);
        let bundle = std::mem::take(&mut self.agents.get_mut(agent).free);
        self.give(claim, agent, bundle.clone());
        self.available.subtract(&bundle.plain);
        self.tree.allocate(node, &bundle.plain, &bundle.plain);
        self.agents.reindex(agent);
        bundle
    }

    /// A claim holds less of an agent; no more goes than it holds. Answers what went.
    pub(super) fn unhold(&mut self, claim: u32, agent: u32, bundle: &Bundle) -> Bundle {
        let holdings = &mut self.agents.get_mut(agent).holdings;
        let place = holdings.place(claim);
        let Some(gone) = holdings.take_back(claim, bundle) else {
            return Bundle::default();
        };
        if let Some(place) = place.filter(|_| holdings.of(claim).is_none()) {
            self.leave_agent(claim, place);
        }
        let left = self.agents.get(agent).holdings.of(claim);
        let sums = sums_between(left.map(|held| &held.extra), &gone, &mut self.names);
        let node = self.claim(claim).node;
        match &sums {
            Some(sums) => self.tree.release(node, &sums.all, &sums.charged),
            None => self.tree.release(node, &gone.plain, &gone.plain),
        }
        let found = self.agents.get_mut(agent);
        if found.is_overheld || !bundle::is_common(&gone.extra) {
            self.recount_free(agent);
        } else {
            found.free.add(&gone);
            if found.is_active {
                self.available.add(&gone.plain);
            }
            self.agents.reindex(agent);
        }
        gone
    }

    fn take_free(&mut self, agent: u32, bundle: &Bundle) {
        let found = self.agents.get_mut(agent);
        let is_there = found.free.plain.contains(&bundle.plain);
        let is_common =
            bundle::is_common(&bundle.extra) && found.free.extra.contains(&bundle.extra);
        if !is_there || !is_common {
            // What is about to be held is not yet: it is taken from the free by hand.
            let exclusive = bundle::exclusive(&bundle.extra);
            let mut free = found.free.clone();
            found.is_overheld |= !is_there || !free.extra.contains(&exclusive);
            free.plain.subtract(&bundle.plain);
            free.extra.subtract(&exclusive);
            self.set_free(agent, free);
        } else {
            found.free.subtract(bundle);
            if found.is_active {
                self.available.subtract(&bundle.plain);
            }
            self.agents.reindex(agent);
        }
    }

    /// Counts what is free from what there is and what is held.
    pub(super) fn recount_free(&mut self, agent: u32) {
        let found = self.agents.get(agent);
        let Some(known) = &found.known else { return };
        let mut held = Bundle::default();
        for holding in found.holdings.iter() {
            held.plain.add(&holding.bundle.plain);
            held.extra.add(&bundle::exclusive(&holding.bundle.extra));
        }
        let mut free = known.total.clone();
        let is_overheld = !free.contains(&held);
        free.subtract(&held);
        self.agents.get_mut(agent).is_overheld = is_overheld;
        self.set_free(agent, free);
    }

    fn set_free(&mut self, agent: u32, free: Bundle) {
        let sums = sums_of(&free.extra, &mut self.names);
        let is_common = bundle::is_common(&free.extra);
        let is_special = bundle::is_special(&free.extra);
        let found = self.agents.get_mut(agent);
        let before = found.available();
        found.is_common = is_common;
        found.is_special = is_special;
        found.extra_sums = (!sums.all.is_zero()).then(|| Box::new(sums));
        found.free = free;
        let after = found.available();
        self.available.add(&after);
        self.available.subtract(&before);
        self.agents.reindex(agent);
    }

    /// More is free on an agent, or may be offered, than before.
    pub(super) fn on_more_free(&mut self, agent: u32) {
        self.is_more_free = true;
        let (now, entries) = (self.now, &self.entries);
        let found = self.agents.get_mut(agent);
        if !found.shut.is_empty()
            && let Some(exclusions) = found.exclusions.as_mut()
        {
            let of = |entry: u32| entries.get(entry as usize).and_then(Option::as_ref);
            let stands = |entry, stamp, until| {
                until > now && of(entry).is_some_and(|entry| entry.stamp == stamp)
            };
            for entry in exclusions.outgrown_by(&found.free, stands) {
                if let Some(entry) = of(entry) {
                    found.shut.unset(entry.claim);
                }
            }
        }
        self.touch_agent(agent);
    }

    /// What there is of an agent has changed, with what is reserved of it.
    pub(super) fn set_total(&mut self, agent: u32, total: Bundle, resources: &Resources) {
        let mut total = total;
        if total.extra == self.usual_extra {
            total.extra.clone_from(&self.usual_extra);
        } else {
            self.usual_extra.clone_from(&total.extra);
        }
        let all = total.all(&mut self.names);
        let reserved = bundle::reserved_of(resources, &mut self.names);
        self.largest.grow_to(&all);
        self.losses += 1;
        let Some(known) = self.agents.get_mut(agent).known.as_mut() else {
            return;
        };
        let before = std::mem::replace(&mut known.all, all.clone());
        let reserved_before = std::mem::replace(&mut known.reserved, reserved.clone());
        known.total = total;
        // To count the shares of all anew costs as much as there are roles and frameworks: not for ports that come and go.
        if all != before {
            self.tree.change_total(|sum| {
                sum.add(&all);
                sum.subtract(&before);
            });
        }
        if reserved != reserved_before {
            self.change_reserved(&reserved, &reserved_before);
        }
        self.recount_free(agent);
    }

    pub(super) fn change_reserved(
        &mut self,
        more: &[(proffer_model::Role, Amounts)],
        less: &[(proffer_model::Role, Amounts)],
    ) {
        for (role, amounts) in more {
            self.tree
                .set_reserved(role, |reserved| reserved.add(amounts));
        }
        for (role, amounts) in less {
            self.tree
                .set_reserved(role, |reserved| reserved.subtract(amounts));
            // The role itself may be gone with its last reservation.
            let mut above = Some(role.clone());
            while let Some(here) = above {
                if let Some(node) = self.tree.find(&here) {
                    self.on_less_held(node);
                    break;
                }
                above = here.parent();
            }
        }
    }

    /// What a role holds has become less: claims that its limits, or those above it, stood in the way of may go on.
    pub(super) fn on_less_held(&mut self, role: u32) {
        self.is_more_free = true;
        for bound in self.tree.take_bound(role) {
            for claim in self.tree.claims_beneath(bound) {
                self.touch_claim(claim);
            }
        }
    }

    /// There are new names: what is said in numbers is said again.
    pub(super) fn on_new_names(&mut self) {
        if self.names.len() == self.names_known {
            return;
        }
        self.names_known = self.names.len();
        self.needs.clear();
        self.let_all_in();
        for entry in self.entries.iter_mut().flatten() {
            entry.compile(&self.names);
            if let (true, Some(need)) = (entry.is_needed, &entry.need) {
                self.needs.add(&need.plain);
            }
        }
        let limited: Vec<_> = self.tree.roles().map(|(_, node)| node).collect();
        for node in limited {
            let limits = self
                .tree
                .state(node)
                .and_then(|state| state.quota.as_ref()?.limits.clone().into());
            if let Some(limits) = limits
                && !limits.is_empty()
            {
                let bounds = self.names.bounds_of(&limits);
                if let Some(state) = self.tree.state_mut(node) {
                    state.limits = Some(bounds);
                }
            }
        }
    }
}

/// What a bundle changes of its claim's sums, beside one whose extra the claim holds there too: shared volumes count once,
/// however many copies are held. None: the sums change by its vector alone.
fn sums_between(beside: Option<&Extra>, bundle: &Bundle, names: &mut Names) -> Option<Sums> {
    if bundle::is_common(&bundle.extra) {
        return None;
    }
    let less = beside.cloned().unwrap_or_default();
    let mut more = less.clone();
    more.add(&bundle.extra);
    let (more, less) = (sums_of(&more, names), sums_of(&less, names));
    Some(Sums {
        all: bundle.plain.plus(&more.all.minus(&less.all)),
        charged: bundle.plain.plus(&more.charged.minus(&less.charged)),
    })
}
