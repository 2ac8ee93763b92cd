//! Earmarks: an entry with a shape that has waited long keeps one agent from others, so that what its tasks leave adds up
//! there. Without them a large shape starves behind small ones that take every sliver as it becomes free.

use std::cmp::Reverse;

use super::Allocator;
use super::agents::{Agent, Known};
use super::amounts::Amounts;
use super::limits::{EARMARK_LASTS, EARMARKED_ONE_IN};
use super::tree::{NONE, Order};

impl Allocator {
    /// Nothing was there for an entry: it waits from now on, if it did not before.
    pub(super) fn wait(&mut self, number: u32) {
        let (now, after) = (self.now, self.options.earmark_after);
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        if entry.waiting_since.is_none() && entry.earmark == NONE && entry.wanted() > 0 {
            entry.waiting_since = Some(now);
            let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
            self.wait_until(now.saturating_add(after), number);
        }
    }

    /// Of those that are due together, the largest shape comes first: small ones take what becomes free anyway.
    fn wait_until(&mut self, due: u64, number: u32) {
        let need = self.entry(number).need.as_ref();
        let share = need.map_or(0, |need| self.tree.share_of(&need.plain));
        self.waiting.insert((due, Reverse(share), number));
    }

    /// An entry waits no more: it has got something, or asks for something else, or is gone.
    pub(super) fn stop_waiting(&mut self, number: u32) {
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        entry.waiting_since = None;
        let agent = entry.earmark;
        if agent != NONE {
            self.end_earmark(agent);
        }
    }

    pub(super) fn end_earmark(&mut self, agent: u32) {
        let earmark = std::mem::replace(&mut self.agents.get_mut(agent).earmark, NONE);
        if earmark == NONE {
            return;
        }
        self.earmarked = self.earmarked.saturating_sub(1);
        if let Some(entry) = self.entry_mut(earmark) {
            entry.earmark = NONE;
        }
        self.touch_agent(agent);
    }

    pub(super) fn next_earmark(&self) -> Option<u64> {
        self.waiting.first().map(|(due, ..)| *due)
    }

    /// Chooses an agent for each entry that has waited long enough; false: the steps are used up before. To choose is to look
    /// at all agents, in one go.
    pub(super) fn make_due_earmarks(&mut self, steps_max: u32) -> bool {
        let after = u64::try_from(self.options.earmark_after.as_nanos()).unwrap_or(u64::MAX);
        while self
            .waiting
            .first()
            .is_some_and(|(due, ..)| *due <= self.now)
        {
            if self.steps >= steps_max {
                return false;
            }
            let Some((_, _, number)) = self.waiting.pop_first() else {
                break;
            };
            let Some(Some(entry)) = self.entries.get(number as usize) else {
                continue;
            };
            if entry.earmark != NONE {
                // It was kept so long for nothing; perhaps another agent is better.
                self.end_earmark(entry.earmark);
                self.wait(number);
                continue;
            }
            let is_active = self.claim(entry.claim).is_active;
            let Some(since) = entry
                .waiting_since
                .filter(|_| entry.wanted() > 0 && is_active)
            else {
                if let Some(entry) = self.entry_mut(number) {
                    entry.waiting_since = None;
                }
                continue;
            };
            if since.saturating_add(after) > self.now {
                // It got something meanwhile, and waits anew.
                self.wait_until(since.saturating_add(after), number);
                continue;
            }
            match self.choose_agent(number) {
                Some(agent) => self.earmark(agent, number),
                None => {
                    self.wait_until(self.now.saturating_add(after.max(1)), number);
                }
            }
        }
        true
    }

    fn earmark(&mut self, agent: u32, number: u32) {
        self.agents.get_mut(agent).earmark = number;
        if let Some(entry) = self.entry_mut(number) {
            entry.earmark = agent;
        }
        self.earmarked += 1;
        let after = u64::try_from(self.options.earmark_after.as_nanos()).unwrap_or(u64::MAX);
        let ends = self
            .now
            .saturating_add(after.max(1).saturating_mul(EARMARK_LASTS));
        self.wait_until(ends, number);
        self.touch_agent(agent);
    }

    /// The agent that lacks the least of what one instance needs, of those that have enough when they are empty.
    fn choose_agent(&mut self, number: u32) -> Option<u32> {
        self.steps = self
            .steps
            .saturating_add(u32::try_from(self.agents.len()).unwrap_or(u32::MAX));
        let most = (self.agents.len() / EARMARKED_ONE_IN).max(1);
        if self.earmarked >= most {
            return None;
        }
        let entry = self.entry(number);
        let need = entry.need.as_ref()?;
        let cap = self.cap(self.claim(entry.claim).role_node, Order::Shaped);
        let mut allowed = Amounts::unbounded(self.names.len());
        cap.shrink(&mut allowed);
        if !allowed.contains(&need.plain) {
            return None;
        }
        let fitting = self
            .agents
            .iter()
            .filter(|(agent, found, known)| self.would_fit(number, *agent, found, known));
        let lacking =
            fitting.map(|(agent, found, _)| (lack(&need.plain, &found.free.plain), agent));
        lacking.min().map(|(_, agent)| agent)
    }

    /// Whether an instance would fit on an agent that is empty.
    fn would_fit(&self, number: u32, agent: u32, found: &Agent, known: &Known) -> bool {
        let entry = self.entry(number);
        let claim = self.claim(entry.claim);
        let Some(need) = &entry.need else {
            return false;
        };
        let free = Amounts::unbounded(self.names.len());
        found.is_active
            && found.earmark == NONE
            && need
                .take(
                    &known.total,
                    &free,
                    (&claim.role, entry.demand.takes),
                    &self.names,
                    1,
                )
                .is_some()
            && entry.failed_predicate(&known.description).is_none()
            && entry.allowance(agent, &known.description).0 > 0
            && !found
                .exclusions
                .as_ref()
                .is_some_and(|of| of.refuse(number, entry.stamp, self.now, &found.free))
    }
}

/// How much is missing, in thousandths of what is needed, of all names together.
fn lack(need: &Amounts, free: &Amounts) -> u64 {
    let parts = need.iter().filter(|(_, milli)| *milli > 0);
    let missing = parts
        .map(|(name, milli)| milli.saturating_sub(free.get(name)).saturating_mul(1_000) / milli);
    missing.fold(0, u64::saturating_add)
}
