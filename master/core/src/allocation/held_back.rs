//! What was not granted because it is held back for guarantees, and is looked at again when they are met.
//!
//! While a role lacks what it is guaranteed, each thing that comes back is held back from all others until the role has it. What
//! others could have had is on the agents that were looked at meanwhile, and nowhere else: those alone are looked at again, and
//! the few claims that looked at all agents by themselves.

use std::collections::BTreeSet;

use super::Allocator;
use super::limits::HELD_BACK_MAX;
use super::run::{Source, Work};

/// Where something was held back.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    /// Somebody looked at all agents, or at more than are remembered.
    pub(super) is_anywhere: bool,
    agents: BTreeSet<u32>,
    claims: BTreeSet<u32>,
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
