//! Kills of tasks of which not all launches are known yet: an agent of the log that has not come back in this term may run one.
//!
//! The wish is kept until none is awaited any more, and ends each launch that such an agent brings back: the first to come may
//! be an older one, that has ended already. Then, where nobody has brought any, the framework is told how the task stands, in
//! pieces, when its session has been told how things stand. The subtle thing: what is launched in this term under the same id is
//! not meant.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proffer_model::session::Event;
use proffer_model::{FrameworkId, Incarnation, Problem, Reason, TaskId, code};

use crate::core::Core;
use crate::effect::After;
use crate::limits::{KILLS_KEPT_MAX, KILLS_KEPT_RETRY, KILLS_KEPT_TOTAL_MAX};
use crate::task_table::{KillWish, TaskKey};

/// What is to be killed when it is known.
#[derive(Debug, Default)]
pub(crate) struct KillWishes {
    by_framework: BTreeMap<FrameworkId, BTreeMap<TaskId, Wish>>,
    len: usize,
    /// Frameworks that are to be told what is left of theirs, in turn.
    turns: VecDeque<FrameworkId>,
}

#[derive(Debug)]
struct Wish {
    grace: Option<Duration>,
    /// Whether the framework's session is to be told how the task stands, if it is never known.
    is_to_be_told: bool,
}

impl KillWishes {
    fn keep(&mut self, key: &TaskKey, grace: Option<Duration>, is_to_be_told: bool) {
        let of = self.by_framework.entry(key.0.clone()).or_default();
        if let Some(wish) = of.get_mut(&key.1) {
            wish.grace = grace;
            wish.is_to_be_told |= is_to_be_told;
            return;
        }
        let wish = Wish {
            grace,
            is_to_be_told,
        };
        of.insert(key.1.clone(), wish);
        self.len += 1;
    }

    fn take(&mut self, key: &TaskKey) -> Option<Wish> {
        let of = self.by_framework.get_mut(&key.0)?;
        let wish = of.remove(&key.1)?;
        self.len -= 1;
        if of.is_empty() {
            self.by_framework.remove(&key.0);
        }
        Some(wish)
    }

    fn first(&self, framework: &FrameworkId) -> Option<TaskId> {
        let of = self.by_framework.get(framework)?;
        of.keys().next().cloned()
    }

    fn get_mut(&mut self, key: &TaskKey) -> Option<&mut Wish> {
        self.by_framework.get_mut(&key.0)?.get_mut(&key.1)
    }

    /// Whether one more is kept.
    fn has_room_for(&self, key: &TaskKey) -> bool {
        let of = self.by_framework.get(&key.0);
        let is_full =
            self.len >= KILLS_KEPT_TOTAL_MAX || of.is_some_and(|of| of.len() >= KILLS_KEPT_MAX);
        !is_full || of.is_some_and(|of| of.contains_key(&key.1))
    }

    /// The task was launched in this term: what becomes of that is told.
    pub(crate) fn note_launched(&mut self, key: &TaskKey) {
        if let Some(wish) = self.get_mut(key) {
            wish.is_to_be_told = false;
        }
    }

    /// The framework is over.
    pub(crate) fn forget(&mut self, framework: &FrameworkId) {
        let of = self.by_framework.remove(framework).unwrap_or_default();
        self.len -= of.len();
        self.turns.retain(|other| other != framework);
    }

    /// Whether some are to be told.
    pub(crate) fn are_told(&self) -> bool {
        !self.turns.is_empty()
    }

    /// The frameworks that wish, and whether their wishes are counted.
    pub(crate) fn check(&self) -> (impl Iterator<Item = &FrameworkId>, bool) {
        let lens = self.by_framework.values().map(BTreeMap::len);
        let is_counted = self.len == lens.sum::<usize>();
        (self.by_framework.keys(), is_counted)
    }
}

impl Core {
    /// Keeps the wish to kill a task that does not live, as far as is known; nothing is kept when no agent is awaited. How one
    /// that is known stands is told by itself.
    pub(crate) fn keep_kill(
        &mut self,
        key: &TaskKey,
        grace: Option<Duration>,
        is_to_be_told: bool,
    ) -> Result<(), Problem> {
        if self.agents.awaited.is_empty() {
            return Ok(());
        }
        if !self.kill_wishes.has_room_for(key) {
            let message = "too many tasks are to be killed that agents have yet to bring back";
            return Err(Problem::new(code::SESSION_RATE_LIMITED, message)
                .hint("nothing of it was done; try again after the time that is given")
                .retry_after(KILLS_KEPT_RETRY));
        }
        let is_to_be_told = is_to_be_told && self.tasks.get(key).is_none();
        self.kill_wishes.keep(key, grace, is_to_be_told);
        Ok(())
    }

    /// The same for a task that is killed now: of its other launches, if there is room.
    pub(crate) fn keep_kill_of_others(&mut self, key: &TaskKey, grace: Option<Duration>) {
        if !self.agents.awaited.is_empty() && self.kill_wishes.has_room_for(key) {
            self.kill_wishes.keep(key, grace, false);
        }
    }

    /// A task of an agent that is back is in the table now: whoever wished its end has it. The wish stays, since another agent
    /// may bring back another launch.
    pub(crate) fn fulfil_kill(&mut self, key: &TaskKey, after: After) {
        let task = self.tasks.get(key);
        let Some(task) = task.filter(|task| self.is_of_earlier_term(task.incarnation)) else {
            return;
        };
        // Of an end that was kept before nothing more is told by itself.
        let is_silent = task.latest.is_terminal() && !task.is_awaited();
        if let Some(wish) = self.kill_wishes.get_mut(key) {
            wish.is_to_be_told &= is_silent;
            let grace = wish.grace;
            self.kill_after(key, grace, after);
        }
    }

    /// The framework's wish to end the launch that is in the table, if that lives.
    pub(crate) fn kill_wish_of(&self, key: &TaskKey) -> Option<KillWish> {
        let task = self.tasks.get(key)?;
        let wish = task.kill().filter(|_| !task.latest.is_terminal());
        wish.filter(|wish| wish.reason == Reason::KillRequested)
    }

    /// Another launch of a task has taken the place of one that was to be killed: by its id it was meant, too, unless it was
    /// launched since.
    pub(crate) fn carry_kill(&mut self, key: &TaskKey, wish: Option<KillWish>, after: After) {
        let task = self.tasks.get(key);
        let is_meant = task
            .is_some_and(|task| task.kill().is_none() && self.is_of_earlier_term(task.incarnation));
        if let Some(wish) = wish.filter(|_| is_meant) {
            self.kill_after(key, wish.grace, after);
        }
    }

    fn kill_after(&mut self, key: &TaskKey, grace: Option<Duration>, after: After) {
        let task = self.tasks.get_mut(key);
        if let Some(task) = task.filter(|task| !task.latest.is_terminal()) {
            let reason = Reason::KillRequested;
            task.set_kill(KillWish { grace, reason });
            self.repeat_kill(key, after);
        }
    }

    fn is_of_earlier_term(&self, incarnation: Incarnation) -> bool {
        incarnation < Incarnation::of(self.epoch, 0)
    }

    /// No agent is awaited any more: who wished to kill what nobody has brought is told how it stands, and all wishes go. Those
    /// of who has no session stay until there is one.
    pub(crate) fn begin_telling_kills(&mut self) {
        let wishing = self.kill_wishes.by_framework.keys();
        self.kill_wishes.turns = wishing.cloned().collect();
        if self.kill_wishes.are_told() {
            self.tell_on_later();
        }
    }

    /// The framework's session has been told how things stand.
    pub(crate) fn tell_kills_later(&mut self, framework: &FrameworkId) {
        let wishes = &mut self.kill_wishes;
        if self.agents.awaited.is_empty()
            && wishes.by_framework.contains_key(framework)
            && !wishes.turns.contains(framework)
        {
            wishes.turns.push_back(framework.clone());
            self.tell_on_later();
        }
    }

    /// Tells the next pieces, each framework in its turn. One without a session, or that is being told how things stand, has its
    /// turn at the end of that.
    pub(crate) fn continue_kill_wishes(&mut self, mut budget: usize) {
        while budget > 0
            && let Some(framework) = self.kill_wishes.turns.pop_front()
        {
            let session = self.frameworks.get(&framework).and_then(|it| it.session);
            let open = session.and_then(|session| self.sessions.open.get(&session));
            let (Some(session), Some(open)) = (session, open) else {
                continue;
            };
            if open.telling.is_catching_up() {
                continue;
            }
            let unknown = self.say_of_unknown(&framework);
            let after = self.turn.after_everything();
            while budget > 0
                && let Some(task) = self.kill_wishes.first(&framework)
            {
                budget -= 1;
                let key = (framework.clone(), task);
                let wish = self.kill_wishes.take(&key);
                if wish.is_some_and(|wish| wish.is_to_be_told)
                    && let Some(status) = self.status_of(&key, unknown.as_ref())
                {
                    self.send_session(session, Event::Updated(status), after);
                }
            }
            if self.kill_wishes.first(&framework).is_some() {
                self.kill_wishes.turns.push_back(framework);
            }
        }
    }
}
