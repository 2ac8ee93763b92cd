//! Agents that have changed, and the claims with shapes that one of them might serve.
//!
//! Where more is wanted than there is, hundreds of claims wait, and a task ends every few hundred microseconds: that all of
//! them look at each agent of which something comes back would take all the time. So nobody looks at agents on which nothing
//! that is wanted fits, and a claim that refuses all of the agents, or whose predicates they fail, does not look at them.

use std::collections::BTreeMap;

use super::Allocator;
use super::amounts::Amounts;
use super::bits::Bits;
use super::limits::{AGENTS_SERVING_MAX, ENTRIES_REFUSED_MAX, FEW_CLAIMS_MAX, NEEDS_COMPARED_MAX};
use super::run::{Pass, Work};
use super::tree::Order;

/// What one instance of an open entry with a shape needs of ordinary scalars, each once, and of how many entries.
#[derive(Debug, Default)]
pub(super) struct Needs(BTreeMap<Amounts, usize>);

impl Needs {
    pub(super) fn add(&mut self, need: &Amounts) {
        match self.0.get_mut(need) {
            Some(entries) => *entries += 1,
            None => {
                self.0.insert(need.clone(), 1);
            }
        }
    }

    pub(super) fn remove(&mut self, need: &Amounts) {
        if let Some(entries) = self.0.get_mut(need) {
            *entries -= 1;
            if *entries == 0 {
                self.0.remove(need);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether one of them might be met by so much. Where they are too many to be compared, it is said to be so.
    fn may_be_met_by(&self, free: &Amounts) -> bool {
        self.0.len() > NEEDS_COMPARED_MAX || self.0.keys().any(|need| free.contains(need))
    }

    /// How often each is counted.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&Amounts, usize)> {
        self.0.iter().map(|(need, entries)| (need, *entries))
    }
}

/// Of the agents of a list, those that may still serve a claim with shapes.
#[derive(Debug)]
pub(super) struct Serving {
    /// When there is none any more, nobody looks at the list.
    agents: Vec<u32>,
    /// Those of them that have something free of what guarantees still need. In the pass for guarantees nobody looks at the
    /// list when there is none.
    owing: Vec<u32>,
    /// None: all claims may be served.
    claims: Option<Vec<u32>>,
}

impl Allocator {
    /// What a list of agents that have changed may do for claims with shapes. None: it is not known; all are to look.
    pub(super) fn serving(&mut self, agents: &[u32]) -> Option<Serving> {
        if agents.len() > AGENTS_SERVING_MAX {
            return None;
        }
        let may_serve = agents
            .iter()
            .copied()
            .filter(|agent| self.may_serve(*agent));
        let agents: Vec<u32> = may_serve.collect();
        self.steps = self
            .steps
            .saturating_add(u32::try_from(agents.len()).unwrap_or(u32::MAX));
        let shut = || agents.iter().map(|agent| &self.agents.get(*agent).shut);
        let claims = self.live_shaped.few_not_in_all(shut, FEW_CLAIMS_MAX);
        Some(Serving {
            agents,
            owing: Vec::new(),
            claims,
        })
    }

    /// Finds out anew which of the agents that serve have something free of what guarantees still need: what that is may have
    /// changed between two runs. They are few, so that it is counted as nothing.
    pub(super) fn look_what_is_owed(&self, work: &mut Work) {
        if let Some(serving) = work
            .serving
            .as_mut()
            .filter(|_| work.pass == Pass::Guaranteed)
        {
            serving.owing.clone_from(&serving.agents);
            serving.owing.retain(|agent| self.may_be_owed(*agent));
        }
    }

    /// Whether an agent has something free of what guarantees still need.
    fn may_be_owed(&self, agent: u32) -> bool {
        let lacking = self.tree.required().map_or(0, Amounts::names);
        let found = self.agents.try_get(agent).filter(|_| lacking != 0);
        found.is_some_and(|found| found.free_all().names() & lacking != 0)
    }

    /// Whether what guarantees that are not met need leaves too little for any entry with a shape; then it is held back from all
    /// of them. Where something is reserved it is not known.
    pub(super) fn hold_back_shapes(&mut self) -> bool {
        let root = self.tree.root_state();
        let is_reserved = root.is_some_and(|root| !root.reserved.is_zero());
        let Some(surplus) = self.surplus().filter(|_| !is_reserved) else {
            return false;
        };
        if self.needs.may_be_met_by(&surplus) {
            return false;
        }
        let needs = std::mem::take(&mut self.needs);
        for (need, _) in needs.counts() {
            self.hold_back(None, need, &surplus, true);
        }
        self.needs = needs;
        true
    }

    /// Whether something that is wanted might fit on an agent.
    fn may_serve(&self, agent: u32) -> bool {
        let found = self.agents.try_get(agent);
        found.is_some_and(|found| {
            found.is_offerable()
                && match &found.extra_sums {
                    None => self.needs.may_be_met_by(&found.free.plain),
                    Some(_) => self.needs.may_be_met_by(&found.free_all()),
                }
        })
    }

    /// Something was granted on an agent, or on any of several when none is named: whether it still serves.
    pub(super) fn look_whether_it_serves(&self, work: &mut Work, agent: Option<u32>) {
        let Some(serving) = &mut work.serving else {
            return;
        };
        match agent {
            Some(agent) if self.may_serve(agent) => {}
            Some(agent) => serving.agents.retain(|other| *other != agent),
            None => serving.agents.retain(|agent| self.may_serve(*agent)),
        }
        serving.owing.retain(|owing| {
            agent.is_some_and(|agent| agent != *owing)
                || (self.may_be_owed(*owing) && self.may_serve(*owing))
        });
    }

    /// The claim with shapes that is next at the agents that serve.
    pub(super) fn next_served(&self, serving: &Serving, order: Order) -> Option<u32> {
        match &serving.claims {
            _ if serving.agents.is_empty() => None,
            _ if serving.owing.is_empty() && order.is_guaranteed() => None,
            Some(claims) => self.first_of(claims, order),
            None => self.tree.first(order),
        }
    }

    /// Notes that a claim has begun to take turns.
    pub(super) fn begin_turns(&mut self, work: &mut Work, claim: u32) {
        if let Some(Some(found)) = self.claims.get_mut(claim as usize)
            && !std::mem::replace(&mut found.turns.is_begun, true)
        {
            work.begun.push(claim);
        }
    }

    /// Claims that had begun when no agent served any more, or nothing was left beside guarantees, have come to the end of
    /// their turns; false: the steps are used up before.
    pub(super) fn end_turns(&mut self, work: &mut Work, steps_max: u32) -> bool {
        while let Some(claim) = work.begun.pop() {
            if self.steps >= steps_max {
                work.begun.push(claim);
                return false;
            }
            let found = self.claims.get(claim as usize).and_then(Option::as_ref);
            let Some(found) = found.filter(|found| self.tree.is_in(found.node, Order::Shaped))
            else {
                continue;
            };
            let left = found.open_shaped.iter().skip(found.turns.at).copied();
            let left: Vec<u32> = left.collect();
            let entries = u32::try_from(left.len()).unwrap_or(u32::MAX);
            self.steps = self.steps.saturating_add(entries.max(1));
            for entry in left {
                self.wait(entry);
            }
            self.exhaust(claim);
        }
        true
    }

    /// A claim has looked at all that serve: it is shut out of those that it refuses, or whose predicates they fail.
    pub(super) fn shut_out_of_refused(&mut self, work: &Work, claim: u32) {
        let Some(serving) = &work.serving else {
            return;
        };
        for agent in serving.agents.clone() {
            self.steps = self.steps.saturating_add(1);
            if self.claim(claim).open_any.is_empty() && self.is_refused(claim, agent) {
                self.shut(claim, agent);
            }
        }
    }

    /// Whether all that a claim wants that has a shape is excluded from an agent, or fails a predicate there. Of a claim that wants
    /// many things it is not found out.
    pub(super) fn is_refused(&self, claim: u32, agent: u32) -> bool {
        let open = &self.claim(claim).open_shaped;
        (1..=ENTRIES_REFUSED_MAX).contains(&open.len())
            && open
                .iter()
                .all(|entry| self.is_entry_refused(*entry, agent))
    }

    /// Whether an entry is excluded from an agent, or fails a predicate there.
    pub(super) fn is_entry_refused(&self, number: u32, agent: u32) -> bool {
        let (entry, found) = (self.entry(number), self.agents.get(agent));
        let Some(known) = found.known.as_ref() else {
            return false;
        };
        self.is_free_refused(number, found)
            || entry.has_predicates
                && entry
                    .failed_predicate(&known.description, &self.claim(entry.claim).role)
                    .is_some()
    }

    /// A claim wants something that it did not want, or is shut out of agents no more: whatever is being looked at, it takes
    /// part.
    pub(super) fn open_serving(&mut self) {
        if let Some(serving) = self.work.as_mut().and_then(|work| work.serving.as_mut()) {
            serving.claims = None;
        }
    }
}

impl Bits {
    /// What is in it and not in all of the others, when that are few.
    fn few_not_in_all<'a, I: Iterator<Item = &'a Self>>(
        &self,
        others: impl Fn() -> I,
        most: usize,
    ) -> Option<Vec<u32>> {
        let mut few = Vec::new();
        for (index, word) in self.words().filter(|(_, word)| *word != 0) {
            let in_all = others().fold(u64::MAX, |all, other| all & other.word(index));
            let mut left = word & !in_all;
            while left != 0 {
                if few.len() == most {
                    return None;
                }
                few.push(index * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        Some(few)
    }
}
