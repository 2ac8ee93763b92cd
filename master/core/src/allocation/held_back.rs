//! What was not granted because it is held back for guarantees, and is looked at again when they are met.
//!
//! While a role lacks what it is guaranteed, each thing that comes back is held back from all others until the role has it. What
//! others could have had is on the agents that were looked at meanwhile, and nowhere else: those alone are looked at again, and
//! the few claims that looked at all agents by themselves. And only when what guarantees leave has become enough of something
//! of which it was too little: where one name is scarce, every task that ends leaves more of the others.

use std::collections::{BTreeMap, BTreeSet};

use super::Allocator;
use super::amounts::Amounts;
use super::limits::HELD_BACK_MAX;
use super::run::{Source, Work};

/// Where something was held back.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    /// Somebody looked at all agents, or at more than are remembered.
    pub(super) is_anywhere: bool,
    agents: BTreeSet<u32>,
    claims: BTreeSet<u32>,
    /// Of what there was too little, by its number, and how much beyond guarantees might be enough for somebody.
    enough: BTreeMap<usize, u64>,
}

impl Allocator {
    /// After a part of some work: remembers where it was, when something was held back meanwhile.
    pub(super) fn note_held_back(&mut self, work: &Work) {
        if !std::mem::take(&mut self.is_held_back) || self.held_back.is_anywhere {
            return;
        }
        let held_back = &mut self.held_back;
        match (&work.agents, &work.few) {
            (Source::List(list), _) if !work.is_all && list.agents.len() <= HELD_BACK_MAX => {
                held_back.agents.extend(&list.agents);
            }
            (Source::Index(_), Some(few)) => held_back.claims.extend(few),
            _ => held_back.is_anywhere = true,
        }
        let remembered = held_back.agents.len().max(held_back.claims.len());
        held_back.is_anywhere |= remembered > HELD_BACK_MAX;
    }

    /// Guarantees leave too little of what somebody might have: of each name, this much less than there would have to be. They
    /// leave so much to that one, of this role.
    pub(super) fn hold_back(
        &mut self,
        role: Option<u32>,
        wanted: &Amounts,
        left: &Amounts,
        is_whole: bool,
    ) {
        self.is_held_back = true;
        // What the role is owed itself becomes more when it holds less.
        if let Some(role) = role {
            self.tree.mark_owed(role, wanted.minus(left).names());
        }
        let surplus = self.surplus().unwrap_or_default();
        for (name, milli) in wanted.iter() {
            let lack = milli.saturating_sub(left.get(name));
            if lack == 0 {
                continue;
            }
            let lack = if is_whole { lack } else { 1 };
            let enough = surplus.get(name).saturating_add(lack);
            let known = self.held_back.enough.entry(name).or_insert(enough);
            *known = enough.min(*known);
        }
    }

    /// Whether guarantees leave so much that somebody from whom something was held back might have it.
    pub(super) fn is_held_back_no_more(&self) -> bool {
        let Some(surplus) = self.surplus() else {
            return true;
        };
        let mut enough = self.held_back.enough.iter();
        enough.any(|(name, enough)| surplus.get(*name) >= *enough)
    }

    /// Guarantees need less than is free: what was held back is looked at again.
    pub(super) fn touch_held_back(&mut self) {
        let held_back = std::mem::take(&mut self.held_back);
        if held_back.is_anywhere {
            return self.touch_everything();
        }
        for agent in held_back.agents {
            if self.agents.try_get(agent).is_some() {
                self.touch_agent(agent);
            }
        }
        for claim in held_back.claims {
            self.touch_claim(claim);
        }
    }
}
