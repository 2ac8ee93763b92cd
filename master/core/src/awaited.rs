//! Agents of the log that are neither back in this term nor given up, and what may be held there that nobody knows of: a role
//! may hold all that such an agent has, which counts against its limits for a while. So no limit is passed when they come
//! back, unless one was started anew with less than its tasks hold; and one that is dead stops nobody who is far from his limit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::{AgentId, Quantities, Resources, Time};

/// The agents that are awaited.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    /// What each had when the term began that quotas count by who holds it.
    by_id: BTreeMap<AgentId, Quantities>,
    /// All of that.
    sum: Quantities,
    /// When they count no more, by the monotonic clock.
    until: u64,
    /// How many of them limits were lowered for last.
    counted: usize,
}

impl Awaited {
    /// Nobody; what those that are added may hold counts for so long.
    pub(crate) fn new(now: Time, lasts: Duration) -> Self {
        Self {
            until: now.after(lasts).mono_ns,
            ..Self::default()
        }
    }

    pub(crate) fn insert(&mut self, agent: AgentId, total: &Resources) {
        let may_hold = total.unreserved().non_revocable().quantities();
        self.sum.add(&may_hold);
        self.by_id.insert(agent, may_hold);
        self.counted = self.by_id.len();
    }

    /// Whether it was awaited.
    pub(crate) fn remove(&mut self, agent: &AgentId) -> bool {
        let removed = self.by_id.remove(agent);
        let removed = removed.inspect(|may_hold| self.sum.subtract(may_hold));
        removed.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &AgentId> {
        self.by_id.keys()
    }

    pub(crate) fn to_set(&self) -> BTreeSet<AgentId> {
        self.by_id.keys().cloned().collect()
    }

    /// What any role may hold on them that is not known, as long as that counts.
    pub(crate) fn may_be_held(&self, now: Time) -> Option<&Quantities> {
        (self.counting(now) > 0).then_some(&self.sum)
    }

    /// Whether limits were lowered for others than those that count now; they are lowered for these.
    pub(crate) fn is_to_be_counted(&mut self, now: Time) -> bool {
        let counting = self.counting(now);
        std::mem::replace(&mut self.counted, counting) != counting
    }

    /// How many of them count.
    fn counting(&self, now: Time) -> usize {
        match now.mono_ns < self.until {
            true => self.by_id.len(),
            false => 0,
        }
    }
}
