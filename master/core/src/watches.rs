//! Watches of a framework's state: what is there, then each change, in order, until the generation ends.
//!
//! What is there is told in pieces, by key. A change of a key that was not come to yet is not told on its own: the key's
//! value is told when its turn comes. Nothing is told before it is durable.

use std::ops::Bound;
use std::sync::Arc;

use proffer_model::{FrameworkId, Generation, Principal, Problem, StateKey, code};

use crate::core::Core;
use crate::effect::{After, Effect, Fact, StateChange};
use crate::event::{TimerKey, WatchId};
use crate::limits::{SNAPSHOT_STEP_INTERVAL, WATCH_STEP_LEN, WATCHES_MAX};

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
            .and_then(|()| self.judge_watches(framework));
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
        let mut budget = WATCH_STEP_LEN;
        if !self.tell_watch_piece(watch, &mut budget) {
            self.watches_behind.push_back(watch);
            self.set_watch_timer();
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
            if !self.tell_watch_piece(watch, &mut budget) {
                self.watches_behind.push_back(watch);
            }
        }
        if !self.watches_behind.is_empty() {
            self.set_watch_timer();
        }
    }

    fn set_watch_timer(&mut self) {
        let next = self.turn.now.after(SNAPSHOT_STEP_INTERVAL).mono_ns;
        self.set_timer_at(TimerKey::Watches, next);
    }

    /// Tells some keys. Answers whether nothing is left.
    fn tell_watch_piece(&mut self, watch: WatchId, budget: &mut usize) -> bool {
        let Some(of) = self.watches.get_mut(&watch) else {
            return true;
        };
        let Some(reached) = of.catching_up.take() else {
            return true;
        };
        let (entry, known) = (
            self.registry.frameworks.get(&of.framework),
            self.frameworks.get(&of.framework),
        );
        let after = known.map_or(After::Nothing, |known| self.turn.after(known.state_in));
        let first = reached.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let state = entry.into_iter().flat_map(|entry| {
            let rest = (first, Bound::Unbounded);
            entry.state.range::<StateKey, _>(rest)
        });
        of.catching_up = Some(reached.clone());
        for (key, stored) in state {
            if *budget == 0 {
                return false;
            }
            let len = KEY_COST + key.as_str().len() + stored.value.len();
            *budget = budget.saturating_sub(len);
            of.catching_up = Some(Some(key.clone()));
            if !key.as_str().starts_with(&of.prefix) {
                continue;
            }
            self.turn.push(Effect::SendWatch {
                watch,
                change: StateChange::Put {
                    key: key.clone(),
                    value: Arc::clone(&stored.value),
                    version: stored.version,
                },
                after,
            });
        }
        of.catching_up = None;
        self.turn.push(Effect::SendWatch {
            watch,
            change: StateChange::UpToDate,
            after,
        });
        true
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
