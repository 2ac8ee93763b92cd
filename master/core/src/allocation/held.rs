//! What is held: taking from what is free, giving back, and the sums that follow.

use proffer_model::Resources;

use super::Allocator;
use super::amounts::Amounts;
use super::bundle::{self, Bundle, Sums, sums_of};
use super::tree::NONE;

impl Allocator {
    /// A claim holds more of an agent. `is_counted`: as one allocation more.
    pub(super) fn hold(&mut self, claim: u32, agent: u32, bundle: Bundle, is_counted: bool) {
        let sums = self.held_sums(claim, agent, &bundle, false);
        self.take_free(agent, &bundle);
        self.agents.get_mut(agent).holding(claim).add(&bundle);
        let node = self.claim(claim).node;
        if is_counted {
            self.tree.allocate(node, &sums.all, &sums.charged);
        } else {
            self.tree.enlarge(node, &sums.all, &sums.charged);
        }
    }

    /// All that is free goes to a claim: the same as [`Allocator::hold`], and nothing is copied.
    pub(super) fn hold_whole(&mut self, claim: u32, agent: u32) {
        let found = self.agents.get_mut(agent);
        let bundle = std::mem::take(&mut found.free);
        let node = self.claims[claim as usize]
            .as_ref()
            .map_or(NONE, |claim| claim.node);
        self.available.subtract(&bundle.plain);
        self.tree.allocate(node, &bundle.plain, &bundle.plain);
        let holding = found
            .holdings
            .iter_mut()
            .find(|holding| holding.claim == claim);
        match holding {
            Some(holding) => holding.bundle.add(&bundle),
            None => found
                .holdings
                .push(super::agents::Holding { claim, bundle }),
        }
        self.agents.reindex(agent);
    }

    /// A claim holds less of an agent; no more goes than it holds. Answers what went.
    pub(super) fn unhold(&mut self, claim: u32, agent: u32, bundle: &Bundle) -> Bundle {
        let holding = self.agents.get_mut(agent).holding(claim);
        let mut gone = bundle.clone();
        if !holding.contains(bundle) {
            let mut rest = holding.clone();
            rest.subtract(bundle);
            gone = holding.clone();
            gone.subtract(&rest);
        }
        holding.subtract(&gone);
        let sums = self.held_sums(claim, agent, &gone, true);
        let node = self.claim(claim).node;
        self.tree.release(node, &sums.all, &sums.charged);
        let found = self.agents.get_mut(agent);
        found.holdings.retain(|holding| !holding.bundle.is_empty());
        if found.is_overheld || !gone.extra.is_empty() {
            self.recount_free(agent);
        } else {
            found.free.plain.add(&gone.plain);
            self.available.add(&gone.plain);
            self.agents.reindex(agent);
        }
        gone
    }

    /// What a change of a holding changes of its claim's sums: shared volumes count once, however many copies are held.
    /// `is_done`: the holding has changed already, by taking `bundle` away.
    fn held_sums(&mut self, claim: u32, agent: u32, bundle: &Bundle, is_done: bool) -> Sums {
        let mut sums = Sums {
            all: bundle.plain.clone(),
            charged: bundle.plain.clone(),
        };
        if bundle.extra.special().next().is_none() {
            return sums;
        }
        let less = self.agents.get_mut(agent).holding(claim).extra.clone();
        let more = less.plus(&bundle.extra);
        debug_assert!(is_done || !bundle.is_empty());
        let (more, less) = (
            sums_of(&more, &mut self.names),
            sums_of(&less, &mut self.names),
        );
        sums.all.add(&more.all.minus(&less.all));
        sums.charged.add(&more.charged.minus(&less.charged));
        sums
    }

    fn take_free(&mut self, agent: u32, bundle: &Bundle) {
        let found = self.agents.get_mut(agent);
        let is_there = found.free.plain.contains(&bundle.plain);
        if !is_there || !bundle.extra.is_empty() {
            // What is about to be held is not yet: it is taken from the free by hand.
            let mut free = found.free.clone();
            found.is_overheld |=
                !is_there || !free.extra.contains(&bundle::exclusive(&bundle.extra));
            free.plain.subtract(&bundle.plain);
            free.extra.subtract(&bundle::exclusive(&bundle.extra));
            self.set_free(agent, free);
        } else {
            found.free.plain.subtract(&bundle.plain);
            self.available.subtract(&bundle.plain);
            self.agents.reindex(agent);
        }
    }

    /// Counts what is free from what there is and what is held.
    pub(super) fn recount_free(&mut self, agent: u32) {
        let found = self.agents.get(agent);
        let Some(known) = &found.known else { return };
        let mut held = Bundle::default();
        for holding in &found.holdings {
            held.plain.add(&holding.bundle.plain);
            bundle::add(&mut held.extra, &bundle::exclusive(&holding.bundle.extra));
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
        let found = self.agents.get_mut(agent);
        self.available.subtract(&found.free.plain);
        if let Some(sums) = &found.extra_sums {
            self.available.subtract(&sums.charged);
        }
        self.available.add(&free.plain);
        self.available.add(&sums.charged);
        found.is_common = is_common;
        found.extra_sums = (!sums.all.is_zero()).then(|| Box::new(sums));
        found.free = free;
        self.agents.reindex(agent);
    }

    /// More is free on an agent, or may be offered, than before.
    pub(super) fn on_more_free(&mut self, agent: u32) {
        self.is_more_free = true;
        let found = self.agents.get_mut(agent);
        if found
            .exclusions
            .as_ref()
            .is_some_and(|exclusions| exclusions.is_outgrown_by(&found.free))
        {
            found.shut.clear();
        }
        self.touch_agent(agent);
    }

    /// What there is of an agent has changed, with what is reserved of it.
    pub(super) fn set_total(&mut self, agent: u32, total: Bundle, resources: &Resources) {
        let all = total.all(&mut self.names);
        let reserved = bundle::reserved_of(resources, &mut self.names);
        let Some(known) = self.agents.get_mut(agent).known.as_mut() else {
            return;
        };
        let before = std::mem::replace(&mut known.all, all.clone());
        let reserved_before = std::mem::replace(&mut known.reserved, reserved.clone());
        known.total = total;
        self.tree.change_total(|sum| {
            sum.add(&all);
            sum.subtract(&before);
        });
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
        for entry in self.entries.iter_mut().flatten() {
            entry.compile(&self.names);
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
