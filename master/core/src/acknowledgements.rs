//! What frameworks have kept, and what the master therefore forgets: a few at once, many in pieces, between which others are
//! served. So are many offers declined.
//!
//! A framework's acknowledgements are done in their order. What would find less done than its framework has said waits for
//! their end: a launch under the id of a task whose end is acknowledged, with all calls after it, and whatever is told again.
//! Behind offers that are declined, calls about offers and demand wait.

use std::collections::{BTreeMap, VecDeque};

use proffer_model::session::{Answer, Call};
use proffer_model::{FrameworkId, OfferId, Problem, code};

use crate::core::Core;
use crate::event::SessionId;
use crate::limits::{
    CALLS_HELD_MAX, DECLINE_STEPS, RECONCILE_AT_ONCE_MAX, SNAPSHOT_STEP_INTERVAL,
    SNAPSHOT_TASKS_PER_STEP,
};
use crate::telling::Launch;

/// What is kept and not forgotten yet.
#[derive(Debug, Default)]
pub(crate) struct Acknowledgements {
    lines: BTreeMap<FrameworkId, Line>,
    /// Those of the lines, in turn.
    turns: VecDeque<FrameworkId>,
    /// When what is forgotten at once was last counted from, by the monotonic clock, and how much it was since.
    at_once: (u64, usize),
    /// A call is being done that has waited: what is left of it comes before what waits behind it.
    is_resumed: bool,
}

/// Of one framework, in its order.
#[derive(Debug, Default)]
struct Line {
    items: VecDeque<Item>,
    /// Statuses in it.
    kept: usize,
    calls: usize,
    declines: usize,
}

#[derive(Debug)]
enum Item {
    Kept(Kept),
    /// Offers, and until when their agents are excluded.
    Declined(std::vec::IntoIter<OfferId>, u64),
    Call {
        session: SessionId,
        request: u64,
        call: Call,
    },
}

/// Launches whose oldest queued statuses are kept, one for each status.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) first: VecDeque<Launch>,
    /// After those.
    pub(crate) rest: BTreeMap<u64, Launch>,
}

impl Kept {
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn next(&mut self) -> Option<Launch> {
        let first = self.first.pop_front();
        first.or_else(|| Some(self.rest.pop_first()?.1))
    }
}

impl Acknowledgements {
    /// Whether none are under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Whether what a framework has kept is not all forgotten yet.
    pub(crate) fn is_behind(&self, framework: &FrameworkId) -> bool {
        self.lines.contains_key(framework)
    }

    /// How many statuses that are queued for a framework it has kept already.
    pub(crate) fn kept(&self, framework: &FrameworkId) -> usize {
        self.lines.get(framework).map_or(0, |line| line.kept)
    }

    /// The queues of a framework's tasks are given up, or there is no such framework any more.
    pub(crate) fn forget_all(&mut self, framework: &FrameworkId) {
        if self.lines.remove(framework).is_some() {
            self.turns.retain(|other| other != framework);
        }
    }

    /// A launch's queue begins anew.
    pub(crate) fn forget(&mut self, framework: &FrameworkId, launch: &Launch) {
        let Some(line) = self.lines.get_mut(framework) else {
            return;
        };
        for item in &mut line.items {
            if let Item::Kept(kept) = item {
                kept.first.retain(|other| other != launch);
                kept.rest.retain(|_, other| other != launch);
            }
        }
        line.kept = line.launches().count();
    }

    /// What a framework has kept and is not forgotten.
    pub(crate) fn launches(&self, framework: &FrameworkId) -> impl Iterator<Item = &Launch> {
        let line = self.lines.get(framework).into_iter();
        line.flat_map(Line::launches)
    }

    /// Whether the counts are right and each line has its turn.
    pub(crate) fn check(&self) -> bool {
        let is_right = |line: &Line| {
            let items = line.items.iter();
            let calls = items.clone().filter(|it| matches!(it, Item::Call { .. }));
            let declines = items.filter(|it| matches!(it, Item::Declined(..)));
            (line.kept, line.calls, line.declines)
                == (line.launches().count(), calls.count(), declines.count())
        };
        let turns: std::collections::BTreeSet<_> = self.turns.iter().collect();
        turns.len() == self.turns.len()
            && turns.into_iter().eq(self.lines.keys())
            && self.lines.values().all(is_right)
    }

    /// Whether so many more may be forgotten within a step that others wait for.
    fn takes_at_once(&mut self, now_ns: u64, count: usize) -> bool {
        let interval_ns = u64::try_from(SNAPSHOT_STEP_INTERVAL.as_nanos()).unwrap_or(u64::MAX);
        let (since_ns, done) = &mut self.at_once;
        if now_ns.saturating_sub(*since_ns) >= interval_ns {
            (*since_ns, *done) = (now_ns, 0);
        }
        let takes = *done + count <= SNAPSHOT_TASKS_PER_STEP;
        if takes {
            *done += count;
        }
        takes
    }

    fn push(&mut self, framework: &FrameworkId, item: Item) {
        let line = match self.lines.get_mut(framework) {
            Some(line) => line,
            None => {
                self.turns.push_back(framework.clone());
                self.lines.entry(framework.clone()).or_default()
            }
        };
        match &item {
            Item::Kept(kept) => line.kept += kept.len(),
            Item::Declined(..) => line.declines += 1,
            Item::Call { .. } => line.calls += 1,
        }
        match self.is_resumed {
            true => line.items.push_front(item),
            false => line.items.push_back(item),
        }
    }
}

impl Line {
    fn launches(&self) -> impl Iterator<Item = &Launch> {
        self.items.iter().flat_map(|item| {
            let kept = match item {
                Item::Kept(kept) => Some(kept),
                Item::Declined(..) | Item::Call { .. } => None,
            };
            kept.into_iter()
                .flat_map(|kept| kept.first.iter().chain(kept.rest.values()))
        })
    }
}

impl Core {
    /// Everything up to a sequence is kept; a greater one than was ever sent counts as the last.
    pub(crate) fn on_acknowledge(
        &mut self,
        session: SessionId,
        framework: &FrameworkId,
        sequence: u64,
    ) {
        let Some(open) = self.sessions.open.get_mut(&session) else {
            return;
        };
        let mut kept = open.telling.keep(sequence, SNAPSHOT_TASKS_PER_STEP);
        let count = kept.len();
        if count == 0 {
            return;
        }
        let (now_ns, acknowledgements) = (self.turn.now.mono_ns, &mut self.acknowledgements);
        let is_behind = acknowledgements.is_behind(framework);
        if !is_behind && acknowledgements.takes_at_once(now_ns, count) {
            self.forget_kept(framework, &mut kept, count);
        } else {
            acknowledgements.push(framework, Item::Kept(kept));
            self.tell_on_later();
        }
    }

    /// The status of one event is kept, whatever was told before it.
    pub(crate) fn on_acknowledge_one(
        &mut self,
        session: SessionId,
        framework: &FrameworkId,
        sequence: u64,
    ) {
        let open = self.sessions.open.get_mut(&session);
        let kept = open.and_then(|open| open.telling.outstanding.remove(&sequence));
        if let Some((task, incarnation)) = kept {
            self.on_kept(&(framework.clone(), task), incarnation, 1);
        }
    }

    /// Forgets so many of what is kept at most, the oldest first. Answers how many that were.
    fn forget_kept(&mut self, framework: &FrameworkId, kept: &mut Kept, most: usize) -> usize {
        let mut counts: BTreeMap<Launch, usize> = BTreeMap::new();
        let mut done = 0;
        while done < most
            && let Some(launch) = kept.next()
        {
            *counts.entry(launch).or_default() += 1;
            done += 1;
        }
        for ((task, incarnation), count) in counts {
            self.on_kept(&(framework.clone(), task), incarnation, count);
        }
        done
    }

    /// The next pieces, each framework in its turn.
    pub(crate) fn continue_acknowledgements(&mut self, mut budget: usize) {
        while budget > 0
            && let Some(framework) = self.acknowledgements.turns.pop_front()
        {
            let Some(mut line) = self.acknowledgements.lines.remove(&framework) else {
                continue;
            };
            if !self.frameworks.contains_key(&framework) {
                continue;
            }
            let mut due = None;
            match line.items.pop_front() {
                None => {}
                Some(Item::Kept(mut kept)) => {
                    let most = budget.min(RECONCILE_AT_ONCE_MAX);
                    let done = self.forget_kept(&framework, &mut kept, most);
                    line.kept -= done;
                    budget -= done;
                    if kept.len() > 0 {
                        line.items.push_front(Item::Kept(kept));
                    }
                }
                Some(Item::Declined(mut offers, until)) => {
                    let most = (budget / DECLINE_STEPS).clamp(1, RECONCILE_AT_ONCE_MAX);
                    let piece: Vec<OfferId> = offers.by_ref().take(most).collect();
                    self.decline(&framework, &piece, until);
                    budget = budget.saturating_sub(piece.len() * DECLINE_STEPS);
                    match offers.len() > 0 {
                        true => line.items.push_front(Item::Declined(offers, until)),
                        false => line.declines -= 1,
                    }
                }
                Some(Item::Call {
                    session,
                    request,
                    call,
                }) => {
                    line.calls -= 1;
                    budget = budget.saturating_sub(1 + call.operations());
                    due = Some((session, request, call));
                }
            }
            if !line.items.is_empty() {
                self.acknowledgements.turns.push_back(framework.clone());
                self.acknowledgements.lines.insert(framework.clone(), line);
            }
            // Who is gone hears no answer, and calls again.
            if let Some((session, request, call)) = due
                && self.sessions.open.contains_key(&session)
            {
                self.acknowledgements.is_resumed = true;
                self.on_session_call(session, &framework, request, call);
                self.acknowledgements.is_resumed = false;
            }
        }
    }

    /// Gives offers back behind what is under way, in pieces.
    pub(crate) fn decline_later(
        &mut self,
        framework: &FrameworkId,
        offers: Vec<OfferId>,
        until: u64,
    ) {
        let declined = Item::Declined(offers.into_iter(), until);
        self.acknowledgements.push(framework, declined);
        self.tell_on_later();
    }

    /// Holds a call back that has to wait until what its framework has kept is forgotten, or offers that it has declined are
    /// given back. Answers any other call.
    pub(crate) fn hold_call(
        &mut self,
        session: SessionId,
        framework: &FrameworkId,
        request: u64,
        call: Call,
    ) -> Option<Call> {
        let Some(line) = self.acknowledgements.lines.get(framework) else {
            return Some(call);
        };
        let has_to_wait = || match &call {
            Call::Accept { .. } | Call::Decline { .. } | Call::SetDemand(_)
                if line.declines > 0 =>
            {
                true
            }
            Call::Accept { operations, .. } => {
                let mut launched = operations.iter().flat_map(|operation| operation.tasks());
                launched.any(|task| {
                    let key = (framework.clone(), task.id.clone());
                    self.tasks.get(&key).is_some()
                })
            }
            _ => false,
        };
        // What is above the rate is refused, and not looked at: to name many tasks is not free.
        if line.calls == 0 && (self.is_above_rate(framework) || !has_to_wait()) {
            return Some(call);
        }
        if line.calls < CALLS_HELD_MAX {
            let held = Item::Call {
                session,
                request,
                call,
            };
            self.acknowledgements.push(framework, held);
            return None;
        }
        let steps = u32::try_from(line.kept / SNAPSHOT_TASKS_PER_STEP + 1).unwrap_or(u32::MAX);
        let message = "too many calls wait until what was acknowledged before them is forgotten";
        let problem = Problem::new(code::SESSION_RATE_LIMITED, message)
            .hint("nothing of it was done; try again after the time that is given")
            .retry_after(SNAPSHOT_STEP_INTERVAL.saturating_mul(steps));
        self.send_answer(session, request, Answer::Refused(problem));
        None
    }
}
