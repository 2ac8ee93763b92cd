//! Earmarks: an entry with a shape that has waited long keeps one agent from others, so that what its tasks leave adds up
//! there. Without them a large shape starves behind small ones that take every sliver as it becomes free.
//!
//! A gang keeps as many agents as all of it needs, or none; one gang at a time, since two that kept half of what they need each
//! would both wait for nothing. Each time that it was in vain it waits twice as long for the next.
//!
//! What is kept for somebody whom no guarantee speaks of is open to guarantees that are not met.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Allocator;
use super::agents::{Agent, Known};
use super::amounts::Amounts;
use super::claims::{Entry, Together};
use super::limits::{
    EARMARK_DOUBLINGS_MAX, EARMARK_LASTS, EARMARK_LOOK_STEPS, EARMARK_LOOKS_AT_ONCE_NS,
    EARMARK_STEP_NS, EARMARKED_BY_GANG_ONE_IN, EARMARKED_ONE_IN,
};
use super::tree::{NONE, Order};

/// A look at all agents for an entry, while it is not at its end.
#[derive(Debug)]
pub(super) struct Choosing {
    /// For which entry, that waits since when.
    of: (u32, u64),
    /// The agent that is looked at next; none: there are no more numbers.
    next: Option<u32>,
    /// Of those that were looked at, the ones that lack the least, by how much that is; of gangs with bounds all, since some may
    /// be of no use beside each other.
    least: BTreeSet<(u64, u32)>,
    /// Whether there were others.
    is_cut: bool,
    /// When all were looked at: the one of the least that was thought of last, and those that are to be kept.
    thought_of: Option<(u64, u32)>,
    kept: Kept,
    /// What it has cost.
    steps: u32,
}

/// Agents that are thought of as kept for an entry.
#[derive(Debug, Default)]
struct Kept {
    agents: Vec<u32>,
    /// How many instances would fit on them when they are empty.
    room: u32,
    /// How many of those would be where agents have the same of something.
    beside: Vec<BTreeMap<Together, u32>>,
}

/// How far a look has got.
enum Progress {
    Done(Choice),
    /// One of those that lacked the least is one of them no more: it begins again.
    Torn,
    /// The steps are used up.
    Unfinished,
}

/// What comes of it.
enum Choice {
    Agents(Vec<u32>),
    /// Enough are kept already, or quotas leave nothing.
    NotNow,
    /// It would fit on none that may be kept for it, or a gang not on enough of them.
    Nowhere,
}

impl Choosing {
    fn new(of: (u32, u64)) -> Self {
        Self {
            of,
            next: Some(0),
            least: BTreeSet::new(),
            is_cut: false,
            thought_of: None,
            kept: Kept::default(),
            steps: 0,
        }
    }
}

impl Kept {
    fn of(entry: &Entry) -> Self {
        Self {
            beside: vec![BTreeMap::new(); entry.together.len()],
            ..Self::default()
        }
    }
}

impl Allocator {
    /// Nothing was there for an entry: it waits from now on, if it did not before.
    pub(super) fn wait(&mut self, number: u32) {
        let (now, after) = (self.now, self.earmark_after());
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        if entry.waiting_since.is_none() && entry.earmarks.is_empty() && entry.wanted() > 0 {
            entry.waiting_since = Some(now);
            // One that stands there since it waited before is looked at in time.
            if entry.queued.is_none() {
                self.wait_until(now.saturating_add(after), number);
            }
        }
    }

    /// One that waits and has lost its place, as a gang that was granted in part and taken back, has another one.
    pub(super) fn wait_again(&mut self, number: u32) {
        let due = self.now.saturating_add(self.earmark_after());
        let is_lost = self.entry_mut(number).is_some_and(|entry| {
            entry.waiting_since.is_some() && entry.queued.is_none() && entry.earmarks.is_empty()
        });
        if is_lost {
            self.wait_until(due, number);
        }
    }

    /// Of those that are due together, the largest shape comes first: small ones take what becomes free anyway.
    fn wait_until(&mut self, due: u64, number: u32) {
        let need = self.entry(number).need.as_ref();
        let share = need.map_or(0, |need| self.tree.share_of(&need.plain));
        self.leave_queue(number);
        if let Some(entry) = self.entry_mut(number) {
            entry.queued = Some((due, share));
            self.waiting.insert((due, Reverse(share), number));
        }
    }

    /// An entry is due for nothing any more.
    pub(super) fn leave_queue(&mut self, number: u32) {
        let queued = self.entry_mut(number).and_then(|entry| entry.queued.take());
        if let Some((due, share)) = queued {
            self.waiting.remove(&(due, Reverse(share), number));
        }
    }

    /// An entry waits no more: it has got something, or asks for something else, or is gone.
    pub(super) fn stop_waiting(&mut self, number: u32) {
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        entry.waiting_since = None;
        self.end_earmarks(number);
    }

    fn end_earmarks(&mut self, number: u32) {
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        let (agents, is_gang) = (std::mem::take(&mut entry.earmarks), entry.demand.gang > 1);
        if agents.is_empty() {
            return;
        }
        for agent in &agents {
            self.agents.get_mut(*agent).earmark = NONE;
            self.touch_agent(*agent);
        }
        self.count_steps(agents.len());
        if is_gang {
            self.earmarked_gang = None;
        } else {
            self.earmarked = self.earmarked.saturating_sub(agents.len());
        }
        self.choose_anew(number);
    }

    pub(super) fn end_earmark(&mut self, agent: u32) {
        let earmark = std::mem::replace(&mut self.agents.get_mut(agent).earmark, NONE);
        if earmark == NONE {
            return;
        }
        let is_gang = self.entry(earmark).demand.gang > 1;
        self.earmarked = self.earmarked.saturating_sub(usize::from(!is_gang));
        if let Some(entry) = self.entry_mut(earmark) {
            entry.earmarks.retain(|kept| *kept != agent);
            if is_gang && entry.earmarks.is_empty() {
                self.earmarked_gang = None;
            }
        }
        self.choose_anew(earmark);
        self.touch_agent(agent);
    }

    /// It stands there for when the earmark would have ended. Where it waits still, another agent is chosen at once.
    fn choose_anew(&mut self, number: u32) {
        self.leave_queue(number);
        if self.entry(number).waiting_since.is_some() {
            self.wait_until(self.now, number);
        }
    }

    /// An agent has become another: it is kept no longer for an entry that would not fit there if it were empty.
    pub(super) fn look_whether_it_is_kept(&mut self, agent: u32) {
        let earmark = self.agents.get(agent).earmark;
        if earmark != NONE && self.is_lost(agent, earmark) {
            self.end_earmark(agent);
        }
        let number = self.choosing.as_ref().map(|look| look.of.0);
        let is_there = |number: &u32| matches!(self.entries.get(*number as usize), Some(Some(_)));
        if let Some(number) = number.filter(is_there)
            && self.is_lost(agent, number)
        {
            self.think_anew_without(agent);
        }
    }

    fn is_lost(&self, agent: u32, number: u32) -> bool {
        let found = self.agents.get(agent);
        let known = found.known.as_deref();
        known.is_some_and(|known| !self.could_fit(number, agent, found, known))
    }

    /// An agent that is thought of as kept for an entry cannot be: whatever was chosen beside it is chosen once more.
    pub(super) fn think_anew_without(&mut self, agent: u32) {
        if let Some(look) = &mut self.choosing
            && look.kept.agents.contains(&agent)
        {
            (look.thought_of, look.kept) = (None, Kept::default());
        }
    }

    /// How many entries stand among those that are due for an agent to be kept.
    #[cfg(test)]
    pub(super) fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    /// When there is an agent to be chosen next.
    pub(super) fn next_earmark(&self) -> Option<u64> {
        let due = self.waiting.first().map(|(due, ..)| *due);
        due.map(|due| due.max(self.choosing_rests_until()))
    }

    /// No look at all agents begins before. Where nothing fits anywhere, looks for those that wait would take all the time
    /// that there is.
    fn choosing_rests_until(&self) -> u64 {
        self.chosen_until.saturating_sub(EARMARK_LOOKS_AT_ONCE_NS)
    }

    /// Looks at all agents have cost so much more: time that is to pass before there are others.
    fn count_choosing(&mut self, steps: u32) {
        let cost = u64::from(steps).saturating_mul(EARMARK_STEP_NS);
        self.chosen_until = self.chosen_until.max(self.now).saturating_add(cost);
    }

    /// Chooses an agent for each entry that has waited long enough; false: the steps are used up before. Half of a run goes
    /// into it at most.
    pub(super) fn make_due_earmarks(&mut self, steps_max: u32) -> bool {
        let after = self.earmark_after();
        let steps_max = steps_max.min(self.steps.saturating_add((steps_max / 2).max(1)));
        while let Some(due) = self.waiting.first().copied()
            && due.0 <= self.now
            && (self.choosing.is_some() || self.choosing_rests_until() <= self.now)
        {
            if self.steps >= steps_max {
                return false;
            }
            let number = due.2;
            let since = self.waits_since(number);
            let waits_until = since.map(|since| since.saturating_add(after));
            let Some(since) = since.filter(|_| waits_until <= Some(self.now)) else {
                self.steps = self.steps.saturating_add(1);
                match waits_until {
                    // It got something meanwhile, and waits anew.
                    Some(until) => self.wait_until(until, number),
                    None if self.is_due(number) => self.leave_queue(number),
                    None => {}
                }
                continue;
            };
            let Some(chosen) = self.choose_agents(number, since, steps_max) else {
                return false;
            };
            self.steps = self.steps.saturating_add(1);
            match chosen {
                Choice::Agents(agents) => self.earmark(&agents, number),
                Choice::NotNow => self.wait_until(self.now.saturating_add(after), number),
                // A gang for which there are not enough agents keeps none.
                Choice::Nowhere if !self.entry(number).earmarks.is_empty() => {
                    self.keep_no_longer(number);
                }
                Choice::Nowhere => self.wait_longer(number),
            }
        }
        true
    }

    /// Never nothing: what waits anew is due later than now.
    fn earmark_after(&self) -> u64 {
        let after = u64::try_from(self.options.earmark_after.as_nanos());
        after.unwrap_or(u64::MAX).max(1)
    }

    fn is_due(&self, number: u32) -> bool {
        let queued = self.entry(number).queued;
        queued.is_some_and(|(due, _)| due <= self.now)
    }

    /// Since when an entry whose time has come waits for an agent; none: no more.
    fn waits_since(&mut self, number: u32) -> Option<u64> {
        let entry = self.entries.get(number as usize)?.as_ref()?;
        if !entry.earmarks.is_empty() && entry.earmarked_until <= self.now {
            self.keep_no_longer(number);
            return None;
        }
        // To look whether enough are kept costs as much as there are: not each time that the look for others is gone on with.
        let of = entry.waiting_since.map(|since| (number, since));
        let is_begun = of.is_some() && self.choosing.as_ref().map(|look| look.of) == of;
        if !entry.earmarks.is_empty() && !is_begun && self.has_enough_kept(number) {
            self.wait_until(self.entry(number).earmarked_until, number);
            return None;
        }
        let entry = self.entry(number);
        let is_active = self.claim(entry.claim).is_active;
        let since = entry
            .waiting_since
            .filter(|_| entry.wanted() > 0 && is_active);
        if let (None, Some(entry)) = (since, self.entry_mut(number)) {
            entry.waiting_since = None;
        }
        since
    }

    /// Agents were kept so long for nothing; perhaps others are better.
    fn keep_no_longer(&mut self, number: u32) {
        let is_gang = self.entry(number).demand.gang > 1;
        if let Some(entry) = self.entry_mut(number) {
            entry.waiting_since = None;
        }
        self.end_earmarks(number);
        self.leave_queue(number);
        self.wait(number);
        if is_gang {
            self.wait_longer(number);
        }
    }

    /// Each time that there is no agent for an entry it waits twice as long, so that what fits nowhere is not looked for all
    /// the time.
    fn wait_longer(&mut self, number: u32) {
        let after = self.earmark_after();
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        entry.fruitless = entry.fruitless.saturating_add(1);
        let times = 1 << entry.fruitless.min(EARMARK_DOUBLINGS_MAX);
        self.wait_until(self.now.saturating_add(after.saturating_mul(times)), number);
    }

    /// Keeps these agents for an entry, and no others.
    fn earmark(&mut self, agents: &[u32], number: u32) {
        let after = self.earmark_after();
        let ends = self.now.saturating_add(after.saturating_mul(EARMARK_LASTS));
        let entry = self.entry(number);
        let (is_gang, is_first) = (entry.demand.gang > 1, entry.earmarks.is_empty());
        self.end_earmarks(number);
        for agent in agents {
            self.agents.get_mut(*agent).earmark = number;
            self.touch_agent(*agent);
        }
        let Some(entry) = self.entry_mut(number) else {
            return;
        };
        entry.earmarks = agents.to_vec();
        if is_first {
            entry.earmarked_until = ends;
        }
        let until = entry.earmarked_until;
        if is_gang {
            self.earmarked_gang = Some(number);
        } else {
            entry.fruitless = 0;
            self.earmarked += 1;
        }
        self.count_steps(agents.len());
        self.wait_until(until, number);
    }

    /// How many instances of an entry are to be there together.
    fn at_once(&self, number: u32) -> u32 {
        let entry = self.entry(number);
        entry.demand.gang.min(entry.wanted()).max(1)
    }

    /// Thinks of an agent as kept for an entry beside others, when instances would fit there when it is empty.
    fn think_of(&self, number: u32, agent: u32, kept: &mut Kept) {
        let entry = self.entry(number);
        let known = self.agents.get(agent).known.as_deref();
        let (Some(known), Some(need)) = (known, &entry.need) else {
            return;
        };
        let of = (&self.claim(entry.claim).role, entry.demand.takes);
        let free = Amounts::unbounded(self.names.len());
        let most = u64::from(self.at_once(number));
        let times = need.times(&known.total, &free, of, &self.names, most);
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        let times = entry.count_beside(&mut kept.beside, agent, &known.description, times);
        if times > 0 {
            kept.agents.push(agent);
            kept.room = kept.room.saturating_add(times);
        }
    }

    /// Whether as many instances as an entry needs at once would fit on the agents that are kept for it when they are empty.
    fn has_enough_kept(&mut self, number: u32) -> bool {
        let entry = self.entry(number);
        let mut kept = Kept::of(entry);
        for agent in entry.earmarks.iter().take(self.kept_at_most(number)) {
            self.think_of(number, *agent, &mut kept);
        }
        self.count_steps(self.entry(number).earmarks.len());
        kept.room >= self.at_once(number)
    }

    /// How many agents may be kept for an entry.
    fn kept_at_most(&self, number: u32) -> usize {
        let gang = usize::try_from(self.entry(number).demand.gang).unwrap_or(usize::MAX);
        (self.agents.len() / EARMARKED_BY_GANG_ONE_IN).clamp(1, gang.max(1))
    }

    /// Whether agents may be kept for an entry: not more than one in ten for all that are no gangs, and for one gang at a time.
    fn may_keep_more(&self, number: u32) -> bool {
        if self.entry(number).demand.gang > 1 {
            return self.earmarked_gang.is_none_or(|gang| gang == number);
        }
        self.earmarked < (self.agents.len() / EARMARKED_ONE_IN).max(1)
    }

    /// The agents that lack the least of what one instance needs, of those that have enough when they are empty, as many as are
    /// enough; none: the steps are used up before that is known, and the look is gone on with.
    fn choose_agents(&mut self, number: u32, since: u64, steps_max: u32) -> Option<Choice> {
        let begun = self.choosing.take();
        if !self.may_keep_more(number) || !self.may_have_all(number) {
            return Some(Choice::NotNow);
        }
        let need = self.entry(number).need.as_ref();
        if !need.is_some_and(|need| self.largest.contains(&need.plain)) {
            return Some(Choice::Nowhere);
        }
        let of = (number, since);
        let mut look = begun
            .filter(|look| look.of == of)
            .unwrap_or(Choosing::new(of));
        loop {
            let progress = match self.find_least(&mut look, steps_max) {
                true => self.choose_of_least(&mut look, steps_max),
                false => Progress::Unfinished,
            };
            match progress {
                Progress::Done(choice) => {
                    self.count_choosing(look.steps);
                    return Some(choice);
                }
                Progress::Torn => {
                    self.count_choosing(look.steps);
                    look = Choosing::new(of);
                }
                Progress::Unfinished => {
                    self.choosing = Some(look);
                    return None;
                }
            }
        }
    }

    /// Goes on to look at all agents for those that lack the least; false: the steps are used up before.
    fn find_least(&mut self, look: &mut Choosing, steps_max: u32) -> bool {
        let number = look.of.0;
        let entry = self.entry(number);
        let most = match entry.demand.gang > 1 && entry.has_bounds {
            true => usize::MAX,
            false => self.kept_at_most(number),
        };
        while let Some(agent) = look
            .next
            .filter(|next| self.agents.try_get(*next).is_some())
        {
            if !self.may_look(look, steps_max) {
                return false;
            }
            if let Some(lack) = self.lack_on(agent, number) {
                look.least.insert((lack, agent));
            }
            if look.least.len() > most {
                look.least.pop_last();
                look.is_cut = true;
            }
            look.next = agent.checked_add(1);
        }
        true
    }

    /// Goes on to choose of those that lack the least as many as are enough. Agents go, and become others, while it lasts.
    fn choose_of_least(&mut self, look: &mut Choosing, steps_max: u32) -> Progress {
        let number = look.of.0;
        let (wanted, most) = (self.at_once(number), self.kept_at_most(number));
        if look.thought_of.is_none() {
            look.kept = Kept::of(self.entry(number));
        }
        while look.kept.room < wanted && look.kept.agents.len() < most {
            let after = look.thought_of.map_or(Bound::Unbounded, Bound::Excluded);
            let mut left = look.least.range((after, Bound::Unbounded));
            let Some(next) = left.next().copied() else {
                break;
            };
            if !self.may_look(look, steps_max) {
                return Progress::Unfinished;
            }
            if self.lack_on(next.1, number).is_some() {
                self.think_of(number, next.1, &mut look.kept);
            } else if look.is_cut {
                return Progress::Torn;
            }
            look.thought_of = Some(next);
        }
        Progress::Done(match look.kept.room >= wanted {
            true => Choice::Agents(std::mem::take(&mut look.kept.agents)),
            false => Choice::Nowhere,
        })
    }

    /// Counts a look at an agent; false: the steps are used up.
    fn may_look(&mut self, look: &mut Choosing, steps_max: u32) -> bool {
        if self.steps >= steps_max {
            return false;
        }
        self.steps = self.steps.saturating_add(EARMARK_LOOK_STEPS);
        look.steps = look.steps.saturating_add(EARMARK_LOOK_STEPS);
        true
    }

    /// Whether quotas leave room for one instance, or for the whole gang.
    fn may_have_all(&self, number: u32) -> bool {
        let entry = self.entry(number);
        let at_once = entry.demand.gang.clamp(1, entry.wanted().max(1));
        let cap = self.cap(self.claim(entry.claim).role_node, Order::Shaped);
        let mut allowed = Amounts::unbounded(self.names.len());
        cap.shrink(&mut allowed);
        let need = entry.need.as_ref();
        need.is_some_and(|need| allowed.contains(&need.all_charged(u64::from(at_once))))
    }

    /// What an agent lacks now of what one instance needs; none: it would not fit there if nobody held anything.
    fn lack_on(&self, agent: u32, number: u32) -> Option<u64> {
        let found = self.agents.try_get(agent)?;
        let known = found.known.as_deref()?;
        let need = self.entry(number).need.as_ref()?;
        let is_kept = found.earmark != NONE && found.earmark != number;
        (!is_kept && self.could_fit(number, agent, found, known))
            .then(|| lack(&need.plain, &found.free.plain))
    }

    /// Whether an instance would fit on an agent that is empty.
    fn could_fit(&self, number: u32, agent: u32, found: &Agent, known: &Known) -> bool {
        let entry = self.entry(number);
        let claim = self.claim(entry.claim);
        let Some(need) = &entry.need else {
            return false;
        };
        let free = Amounts::unbounded(self.names.len());
        found.is_active
            && need
                .take(
                    &known.total,
                    &free,
                    (&claim.role, entry.demand.takes),
                    &self.names,
                    1,
                )
                .is_some()
            && entry
                .failed_predicate(&known.description, &claim.role)
                .is_none()
            && entry.allowance(agent, &known.description).0 > 0
            && !self.is_free_refused(number, found)
    }
}

/// How much is missing, in thousandths of what is needed, of all names together.
fn lack(need: &Amounts, free: &Amounts) -> u64 {
    let parts = need.iter().filter(|(_, milli)| *milli > 0);
    let missing = parts
        .map(|(name, milli)| milli.saturating_sub(free.get(name)).saturating_mul(1_000) / milli);
    missing.fold(0, u64::saturating_add)
}
