//! When to allocate: whatever changes what is free or wanted is a trigger. The first acts in the same step; those that
//! follow within a few milliseconds are served together; a slow sweep over everything repairs what a trigger missed.
//!
//! A new term waits until most of the agents and frameworks of the log are back, because the first to come back would
//! else get what others still hold a share in.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::{AgentId, AgentState, FrameworkId, Resources, Role, Time};

use crate::allocator::{Candidate, Claim, Input, Plan, allocate};
use crate::core::Core;
use crate::event::TimerKey;

/// What has changed since the last allocation, and when the next one is due.
#[derive(Debug)]
pub(crate) struct Triggers {
    agents: BTreeSet<AgentId>,
    claims: BTreeSet<(FrameworkId, Role)>,
    is_sweep: bool,
    last_at: Option<Time>,
    sweep_at: u64,
    timer_at: Option<u64>,
    /// What a new term still waits for.
    recovery: Option<Recovery>,
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
            agents: BTreeSet::new(),
            claims: BTreeSet::new(),
            is_sweep: true,
            last_at: None,
            sweep_at: 0,
            timer_at: None,
            recovery: (!is_empty).then_some(recovery),
        }
    }

    /// More or less of this agent may be offered.
    pub(crate) fn agent_changed(&mut self, agent: &AgentId) {
        if !self.agents.contains(agent) {
            self.agents.insert(agent.clone());
        }
    }

    /// More or something else is wanted.
    pub(crate) fn claim_changed(&mut self, framework: &FrameworkId, role: &Role) {
        self.claims.insert((framework.clone(), role.clone()));
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

    fn is_idle(&self) -> bool {
        !self.is_sweep && self.agents.is_empty() && self.claims.is_empty()
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
        if !self.triggers.is_idle() {
            let coalesce = self.config.allocation_coalesce;
            let last = self.triggers.last_at;
            if let Some(last) = last.filter(|last| now.since(*last) < coalesce) {
                self.set_allocate_timer(last.after(coalesce).mono_ns);
                return;
            }
            self.allocate_now();
        }
        self.set_allocate_timer(self.triggers.sweep_at);
    }

    fn allocate_now(&mut self) {
        let now = self.turn.now;
        if self.triggers.is_sweep {
            self.triggers.sweep_at = now.after(self.config.allocation_sweep).mono_ns;
        }
        let claims = self.claims();
        let is_wanted = !claims.is_empty();
        let plan = if is_wanted {
            allocate(self.allocation_input(claims))
        } else {
            Plan::default()
        };
        if is_wanted {
            // Where nothing is wanted there was nothing to do: the first demand after it is served at once.
            self.triggers.last_at = Some(now);
        }
        self.triggers.is_sweep = false;
        self.triggers.agents.clear();
        self.triggers.claims.clear();
        if let Some(at) = plan.look_again_at {
            self.triggers.sweep_at = self.triggers.sweep_at.min(at);
        }
        self.make_offers(plan.grants);
    }

    /// What is wanted and not on offer.
    fn claims(&self) -> Vec<Claim<'_>> {
        let mut claims = Vec::new();
        for (id, framework) in &self.frameworks {
            if framework.session.is_none() {
                continue;
            }
            for (role, demand) in &framework.demands {
                let entries = demand.entries.iter().filter(|entry| entry.wanted() > 0);
                let entries: Vec<_> = entries.collect();
                if entries.is_empty() {
                    continue;
                }
                let usage = framework.usage.get(role);
                let key = (id.clone(), role.clone());
                claims.push(Claim {
                    framework: id,
                    role,
                    entries,
                    held: usage
                        .map(|of| of.used.plus(&of.offered))
                        .unwrap_or_default(),
                    granted: usage.map_or(0, |usage| usage.granted),
                    is_changed: self.triggers.is_sweep || self.triggers.claims.contains(&key),
                });
            }
        }
        claims
    }

    /// What the allocator looks at. Agents that have not changed are only needed by claims that have.
    fn allocation_input<'a>(&'a self, claims: Vec<Claim<'a>>) -> Input<'a> {
        let mut held_by_role: BTreeMap<&Role, Resources> = BTreeMap::new();
        for framework in self.frameworks.values() {
            for (role, usage) in &framework.usage {
                let held = held_by_role.entry(role).or_default();
                held.add(&usage.used);
                held.add(&usage.offered);
            }
        }
        let needs_all = claims.iter().any(|claim| claim.is_changed);
        let agents: Vec<&AgentId> = if needs_all {
            self.agents.by_id.keys().collect()
        } else {
            self.triggers.agents.iter().collect()
        };
        Input {
            now: self.turn.now,
            pool: self.pool(),
            held_by_role,
            candidates: agents
                .into_iter()
                .filter_map(|id| self.candidate(id))
                .collect(),
            claims,
        }
    }

    /// An agent, if anything may be offered of it.
    fn candidate<'a>(&'a self, id: &'a AgentId) -> Option<Candidate<'a>> {
        let agent = self.agents.by_id.get(id)?;
        let is_there = agent.state == AgentState::Connected && self.is_available(id);
        if !is_there || !self.turn.is_durable(agent.admitted_in) {
            return None;
        }
        let free = self.free(id);
        if free.is_empty() {
            return None;
        }
        Some(Candidate {
            id,
            description: self.description(id)?,
            free,
            unused: self.unused(id)?,
            is_changed: self.triggers.is_sweep || self.triggers.agents.contains(id),
        })
    }

    fn set_allocate_timer(&mut self, at: u64) {
        if self.triggers.timer_at != Some(at) {
            self.triggers.timer_at = Some(at);
            self.set_timer_at(TimerKey::Allocate, at);
        }
    }
}
