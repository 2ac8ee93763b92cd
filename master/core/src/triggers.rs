//! When to allocate: whatever changes what is free or wanted is a trigger. It acts in the same step as long as little was
//! done within the last few milliseconds; beyond that, those that follow are served together at their end. So one change is
//! served at once, and a burst costs a bounded share of the time. A slow sweep over everything repairs what a trigger missed.
//!
//! A new term waits until most of the agents and frameworks of the log are back, because the first to come back would
//! else get what others still hold a share in.

use std::collections::BTreeSet;
use std::time::Duration;

use proffer_model::{AgentId, FrameworkId, Time};

use crate::allocation::Scope;
use crate::core::Core;
use crate::event::TimerKey;
use crate::limits::{ALLOCATION_STEPS_AT_ONCE_MAX, ALLOCATION_STEPS_MAX};

/// What has changed since the last allocation, and when the next one is due.
#[derive(Debug)]
pub(crate) struct Triggers {
    is_changed: bool,
    is_sweep: bool,
    /// An allocation stopped because it had taken long enough, and goes on; whether it was one of everything.
    under_way: Option<bool>,
    /// What was done of late.
    window: Option<Window>,
    sweep_at: u64,
    /// When an exclusion ends, or something has waited long enough: the allocator knows where that is.
    look_at: u64,
    timer_at: Option<u64>,
    /// How much of an allocation one step does at most.
    pub(crate) steps_max: u32,
    /// How much is done at once before what has changed waits to be served together.
    pub(crate) at_once_max: u32,
    /// What a new term still waits for.
    recovery: Option<Recovery>,
}

/// A time in which what follows may be served together.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Time,
    /// When something was done in it last.
    last: Time,
    steps: u32,
}

/// Who is awaited before a new term offers.
#[derive(Debug)]
struct Recovery {
    agents: BTreeSet<AgentId>,
    frameworks: BTreeSet<FrameworkId>,
    agents_in_all: usize,
    frameworks_in_all: usize,
    until: u64,
}

impl Triggers {
    /// Waits for these, at most until then.
    pub(crate) fn new(
        agents: BTreeSet<AgentId>,
        frameworks: BTreeSet<FrameworkId>,
        until: u64,
    ) -> Self {
        let is_empty = agents.is_empty() && frameworks.is_empty();
        let recovery = Recovery {
            agents_in_all: agents.len(),
            frameworks_in_all: frameworks.len(),
            agents,
            frameworks,
            until,
        };
        Self {
            is_changed: false,
            is_sweep: true,
            under_way: None,
            window: None,
            sweep_at: 0,
            look_at: u64::MAX,
            timer_at: None,
            steps_max: ALLOCATION_STEPS_MAX,
            at_once_max: ALLOCATION_STEPS_AT_ONCE_MAX,
            recovery: (!is_empty).then_some(recovery),
        }
    }

    /// Something that the allocator was told may let it give more.
    pub(crate) fn changed(&mut self) {
        self.is_changed = true;
    }

    /// Everything is to be looked at.
    pub(crate) fn sweep(&mut self) {
        self.is_sweep = true;
    }

    pub(crate) fn agent_is_back(&mut self, agent: &AgentId) {
        if let Some(recovery) = &mut self.recovery {
            recovery.agents.remove(agent);
        }
    }

    pub(crate) fn framework_is_back(&mut self, framework: &FrameworkId) {
        if let Some(recovery) = &mut self.recovery {
            recovery.frameworks.remove(framework);
        }
    }

    /// Whether a new term still waits.
    pub(crate) fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// Until when what has changed waits to be served together with what follows.
    fn rest_until(&mut self, now: Time, coalesce: Duration) -> Option<u64> {
        let Window { began, last, steps } = self.window?;
        let is_spent = steps >= self.at_once_max;
        // A long allocation has a rest after it.
        let since = if is_spent { last } else { began };
        if now.since(since) >= coalesce {
            self.window = None;
            return None;
        }
        let is_new = self.under_way.is_none();
        (is_new && is_spent).then(|| since.after(coalesce).mono_ns)
    }

    /// So much was done.
    fn worked(&mut self, now: Time, steps: u32) {
        if steps > 0 {
            // Where nothing is wanted there was nothing to do: the first demand after it is served at once.
            let window = self.window.get_or_insert(Window {
                began: now,
                last: now,
                steps: 0,
            });
            window.last = now;
            window.steps = window.steps.saturating_add(steps);
        }
    }

    fn is_idle(&self) -> bool {
        !self.is_sweep && !self.is_changed && self.under_way.is_none()
    }
}

impl Recovery {
    fn is_over(&self, now: Time, percent: u64) -> bool {
        let are_back = |all: usize, awaited: usize| {
            let [all, awaited] = [all, awaited].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
            (all - awaited).saturating_mul(100) >= all.saturating_mul(percent)
        };
        now.mono_ns >= self.until
            || are_back(self.agents_in_all, self.agents.len())
                && are_back(self.frameworks_in_all, self.frameworks.len())
    }
}

impl Core {
    pub(crate) fn on_allocate_timer(&mut self) {
        self.triggers.timer_at = None;
    }

    /// Allocates if it is time, and sets the timer for the next time. Ends every step.
    pub(crate) fn allocate_if_due(&mut self) {
        let now = self.turn.now;
        if let Some(recovery) = &self.triggers.recovery {
            let until = recovery.until;
            if !recovery.is_over(now, self.config.recovery_percent) {
                self.set_allocate_timer(until);
                return;
            }
            self.triggers.recovery = None;
            self.triggers.is_sweep = true;
        }
        if now.mono_ns >= self.triggers.sweep_at {
            self.triggers.is_sweep = true;
        }
        if now.mono_ns >= self.triggers.look_at {
            self.triggers.is_changed = true;
        }
        if !self.triggers.is_idle() {
            let coalesce = self.config.allocation_coalesce;
            if let Some(until) = self.triggers.rest_until(now, coalesce) {
                self.set_allocate_timer(until);
                return;
            }
            self.allocate_now();
        }
        match self.triggers.under_way {
            Some(_) => self.set_allocate_timer(now.mono_ns),
            None => {
                let next = self.triggers.sweep_at.min(self.triggers.look_at);
                self.set_allocate_timer(next);
            }
        }
    }

    /// Gives what can be given, for so long as a step may take. What is left goes on in the next step.
    fn allocate_now(&mut self) {
        let now = self.turn.now;
        let triggers = &mut self.triggers;
        let is_sweep = triggers.under_way.unwrap_or(triggers.is_sweep);
        if is_sweep && triggers.under_way.is_none() {
            // What changes while it is under way may be where it has been already, and is looked at after it.
            triggers.is_changed = false;
        }
        let scope = match is_sweep {
            true => Scope::All,
            false => Scope::Changed,
        };
        let run = self.allocator.run(now, scope, triggers.steps_max);
        triggers.worked(now, run.steps);
        triggers.under_way = (!run.is_done).then_some(is_sweep);
        if run.is_done {
            if is_sweep {
                // What was opened by the sweep itself, because others have got what they waited for.
                triggers.is_changed = true;
                triggers.is_sweep = false;
                triggers.sweep_at = now.after(self.config.allocation_sweep).mono_ns;
            } else {
                triggers.is_changed = false;
            }
        }
        triggers.look_at = run.look_again_at.unwrap_or(u64::MAX);
        let offers = run.grants.iter();
        let offers = offers.filter_map(|grant| self.allocator.offer_of(grant));
        let offers = offers.collect();
        self.make_offers(offers);
    }

    fn set_allocate_timer(&mut self, at: u64) {
        if self.triggers.timer_at != Some(at) {
            self.triggers.timer_at = Some(at);
            self.set_timer_at(TimerKey::Allocate, at);
        }
    }
}
