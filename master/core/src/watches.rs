//! Watches of a framework's state: what is there, then each change, in order, until the generation ends.
//!
//! What is there is told in pieces, by key. A change of a key that was not come to yet is not told on its own: the key's
//! value is told when its turn comes. Nothing is told before it is durable. The next piece waits until the one before is being
//! read, so that who reads slowly is told all of it, however much there is. It counts for the rates of its framework, as a
//! list does.

use std::ops::Bound;
use std::sync::Arc;

use proffer_model::{FrameworkId, Generation, Principal, Problem, StateKey, code};

use crate::core::Core;
use crate::effect::{After, Effect, Fact, StateChange};
use crate::event::{TimerKey, WatchId};
use crate::limits::{SNAPSHOT_STEP_INTERVAL, WATCH_STEP_LEN, WATCHES_MAX};
use crate::state::worth_of;

/// What a key counts besides its bytes.
const KEY_COST: usize = 1024;

/// One watch.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) framework: FrameworkId,
    prefix: String,
    /// What was there at first is told up to this key; none when all is.
    catching_up: Option<Option<StateKey>>,
}

impl Watch {
    fn wants(&self, key: &StateKey) -> bool {
        let is_told = match &self.catching_up {
            None => true,
            Some(reached) => reached.as_ref().is_some_and(|reached| key <= reached),
        };
        is_told && key.as_str().starts_with(&self.prefix)
    }
}

/// What a watch is told at once of what is there.
#[derive(Default)]
struct Piece {
    keys: u64,
    /// Bytes of keys and values.
    len: usize,
    last: Option<StateKey>,
}

impl Piece {
    fn add(&mut self, key: &StateKey, len: usize) {
        self.keys += 1;
        self.len += len;
        self.last = Some(key.clone());
    }

    /// In operations, as a list of the same.
    fn worth(&self) -> u64 {
        self.keys.saturating_add(worth_of(self.len))
    }
}

impl Core {
    pub(crate) fn on_watch_opened(
        &mut self,
        watch: WatchId,
        principal: &Principal,
        framework: &FrameworkId,
        generation: Generation,
        prefix: String,
    ) {
        let judged = self
            .judge_caller(principal, framework, generation)
            .and_then(|()| self.judge_watches(framework))
            .and_then(|()| self.admit_call(framework))
            .and_then(|()| self.admit_count(framework, 1));
        if let Err(problem) = judged {
            let framework = Some(framework.clone());
            let refused = problem.clone();
            self.turn.record(Fact::CallRefused {
                framework,
                problem: refused,
            });
            let after = self.turn.after_everything();
            self.turn.push(Effect::CloseWatch {
                watch,
                problem,
                after,
            });
            return;
        }
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.watches.insert(watch);
        }
        let framework = framework.clone();
        let begins = Watch {
            framework,
            prefix,
            catching_up: Some(None),
        };
        self.watches.insert(watch, begins);
        self.tell_on_soon(watch);
    }

    /// What it was told last of what was there at first is being read.
    pub(crate) fn on_watch_taken(&mut self, watch: WatchId) {
        let of = self.watches.get(&watch);
        let is_behind = of.is_some_and(|of| of.catching_up.is_some());
        if is_behind && !self.watches_behind.contains(&watch) {
            self.tell_on_soon(watch);
        }
    }

    pub(crate) fn on_watch_closed(&mut self, watch: WatchId) {
        self.watches_behind.retain(|behind| *behind != watch);
        let Some(ended) = self.watches.remove(&watch) else {
            return;
        };
        if let Some(known) = self.frameworks.get_mut(&ended.framework) {
            known.watches.remove(&watch);
        }
    }

    /// The generation that they belong to is over.
    pub(crate) fn close_watches(
        &mut self,
        framework: &FrameworkId,
        problem: &Problem,
        after: After,
    ) {
        let Some(known) = self.frameworks.get_mut(framework) else {
            return;
        };
        for watch in std::mem::take(&mut known.watches) {
            self.on_watch_closed(watch);
            self.turn.push(Effect::CloseWatch {
                watch,
                problem: problem.clone(),
                after,
            });
        }
    }

    /// Whether anyone would hear of a change.
    pub(crate) fn is_watched(&self, framework: &FrameworkId) -> bool {
        let known = self.frameworks.get(framework);
        known.is_some_and(|known| !known.watches.is_empty())
    }

    /// A key has changed: its version and value, or nothing where it is gone.
    pub(crate) fn tell_watches(&mut self, framework: &FrameworkId, change: &StateChange) {
        let Some(known) = self.frameworks.get(framework) else {
            return;
        };
        let after = self.turn.after(known.state_in);
        let key = match change {
            StateChange::Put { key, .. } | StateChange::Deleted { key } => key,
            StateChange::UpToDate => return,
        };
        for watch in &known.watches {
            let wants = self.watches.get(watch).is_some_and(|of| of.wants(key));
            if wants {
                self.turn.push(Effect::SendWatch {
                    watch: *watch,
                    change: change.clone(),
                    asks_on: false,
                    after,
                });
            }
        }
    }

    /// Tells on what was there at first, each watch in its turn.
    pub(crate) fn continue_watches(&mut self) {
        let mut budget = WATCH_STEP_LEN;
        while budget > 0
            && let Some(watch) = self.watches_behind.pop_front()
        {
            self.tell_watch_piece(watch, &mut budget);
        }
        if !self.watches_behind.is_empty() {
            self.set_watch_timer();
        }
    }

    /// Tells a watch its next piece, in its turn.
    fn tell_on_soon(&mut self, watch: WatchId) {
        if self.watches_behind.is_empty() {
            self.set_watch_timer();
        }
        self.watches_behind.push_back(watch);
    }

    fn set_watch_timer(&mut self) {
        let next = self.turn.now.after(SNAPSHOT_STEP_INTERVAL).mono_ns;
        self.set_timer_at(TimerKey::Watches, next);
    }

    /// Tells some keys, one at least; when that one is taken, the watch is told on.
    fn tell_watch_piece(&mut self, watch: WatchId, budget: &mut usize) {
        let Some(of) = self.watches.get_mut(&watch) else {
            return;
        };
        let Some(reached) = of.catching_up.take() else {
            return;
        };
        let (entry, known) = (
            self.registry.frameworks.get(&of.framework),
            self.frameworks.get(&of.framework),
        );
        let after = known.map_or(After::Nothing, |known| self.turn.after(known.state_in));
        let from = match reached.as_ref().map(StateKey::as_str) {
            Some(reached) => Bound::Excluded(reached),
            None => Bound::Included(of.prefix.as_str()),
        };
        let state = entry.into_iter().flat_map(|entry| {
            let rest = entry.state.range::<str, _>((from, Bound::Unbounded));
            rest.take_while(|(key, _)| key.as_str().starts_with(&of.prefix))
        });
        let mut told = Piece::default();
        let mut is_whole = true;
        for (key, stored) in state {
            if *budget == 0 {
                is_whole = false;
                break;
            }
            let len = key.as_str().len() + stored.value.len();
            *budget = budget.saturating_sub(KEY_COST + len);
            let change = StateChange::Put {
                key: key.clone(),
                value: Arc::clone(&stored.value),
                version: stored.version,
            };
            self.turn.push(Effect::SendWatch {
                watch,
                change,
                asks_on: told.keys == 0,
                after,
            });
            told.add(key, len);
        }
        let framework = of.framework.clone();
        let worth = told.worth();
        if is_whole {
            self.turn.push(Effect::SendWatch {
                watch,
                change: StateChange::UpToDate,
                asks_on: false,
                after,
            });
        } else {
            of.catching_up = Some(told.last.or(reached));
        }
        self.charge_operations(&framework, worth);
    }

    fn judge_watches(&self, framework: &FrameworkId) -> Result<(), Problem> {
        let known = self.frameworks.get(framework);
        if known.is_some_and(|known| known.watches.len() >= WATCHES_MAX) {
            let message = format!("{WATCHES_MAX} watches of the framework's state are open");
            return Err(Problem::new(code::OVERLOADED, message).hint("end some of them"));
        }
        Ok(())
    }
}
