//! What the allocator is told: what of each agent it may give, who holds what, what operators have decided.
//!
//! Numbers and items (ports) that tasks hold or that rest are not there at all for it, and neither is what strays hold:
//! an agent may report tasks that overlap, and then what one of them gives up is still held by the other. All else it
//! knows as held. What tasks hold that their agent does not have any more as they hold it is not there either, in
//! whatever form it is there now.

use std::borrow::Cow;

use proffer_model::{
    AgentDescription, AgentId, AgentState, FrameworkId, Limits, Quota, Resources, Role, Weight,
};

use crate::amounts::{exclusive, strip_numbers};
use crate::core::Core;
use crate::task_table::TaskKey;

impl Core {
    /// Tells it how an agent is now.
    pub(crate) fn sync_agent(&mut self, agent: &AgentId) {
        let (Some(known), Some(entry)) = (
            self.agents.by_id.get(agent),
            self.registry.agents.get(agent),
        ) else {
            return;
        };
        self.triggers.changed();
        if known.state == AgentState::Unreachable {
            self.allocator.remove_agent(agent);
            return;
        }
        let mut total = known.total.clone();
        total.subtract(&known.used.non_scalars());
        strip_numbers(&mut total, &known.used);
        for stray in known.strays.values() {
            total.subtract(&exclusive(stray));
        }
        total.subtract(&known.displaced());
        for stray in known.stray_executors.values() {
            total.subtract(&exclusive(&stray.resources));
        }
        for (_, ports) in &known.resting {
            total.subtract(ports);
        }
        let is_active = known.state == AgentState::Connected
            && !entry.is_deactivated
            && entry.drain.is_none()
            && self.turn.is_durable(known.admitted_in);
        let described = match entry.made.is_empty() {
            true => Cow::Borrowed(&*entry.description),
            // What is reserved there now is asked for by predicates, also while tasks hold it.
            false => Cow::Owned(AgentDescription {
                resources: known.total.clone(),
                ..(*entry.description).clone()
            }),
        };
        self.allocator.add_agent(agent, &described, &total);
        self.allocator.set_agent_active(agent, is_active);
    }

    /// Tells it whether a task holds what it holds: while it is not terminal, on an agent that is not unreachable.
    pub(crate) fn sync_task(&mut self, key: &TaskKey) {
        let is_held = self.tasks.get(key).is_some_and(|task| {
            let agent = self.agents.by_id.get(task.agent());
            let is_there = agent.is_some_and(|agent| agent.state != AgentState::Unreachable);
            is_there && !task.latest.is_terminal()
        });
        self.set_held(key, is_held);
    }

    pub(crate) fn set_held(&mut self, key: &TaskKey, is_held: bool) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut task.is_held, is_held) == is_held {
            return;
        }
        let held = countable(task.resources());
        let (role, agent) = (task.role(), &task.row().agent);
        let allocator = &mut self.allocator;
        if is_held {
            allocator.allocate(&key.0, role, agent, &held);
        } else {
            allocator.release(&key.0, role, agent, &held);
        }
        match (&task.demand, is_held) {
            (Some(demand), true) => allocator.place(&key.0, role, demand, agent, 1),
            (Some(demand), false) => allocator.unplace(&key.0, role, demand, agent, 1),
            (None, _) => {}
        }
        self.triggers.changed();
    }

    /// Tells it of all tasks and executors of an agent.
    pub(crate) fn sync_tasks_of(&mut self, agent: &AgentId) {
        let known = self.agents.by_id.get(agent);
        let tasks: Vec<TaskKey> = known
            .into_iter()
            .flat_map(|known| known.tasks.iter().cloned())
            .collect();
        tasks.iter().for_each(|key| self.sync_task(key));
        self.sync_executors_of(agent);
    }

    /// Tells it that a framework wants nothing any more, or may be offered to again.
    pub(crate) fn sync_framework(&mut self, framework: &FrameworkId, is_active: bool) {
        let known = self.frameworks.get(framework);
        let roles = known.into_iter().flat_map(|known| known.demands.keys());
        let roles: Vec<Role> = roles.cloned().collect();
        for role in &roles {
            self.allocator.set_demand(framework, role, &[]);
        }
        self.allocator.set_framework_active(framework, is_active);
        self.triggers.changed();
    }

    /// Tells it the quota of a role. While agents of the log are still to come back, what a limited role holds there is not
    /// known: it may be all that they have.
    pub(crate) fn sync_quotas_of(&mut self, roles: &[Role]) {
        let may_be_held = self.agents.awaited.may_be_held(self.turn.now);
        let quotas = roles.iter().map(|role| {
            let mut quota: Option<Quota> = self.registry.quotas.get(role).cloned();
            if let (Some(quota), Some(may_be_held)) = (&mut quota, may_be_held) {
                let mut lowered = Limits::new();
                for (name, most) in quota.limits.iter() {
                    let rest = most.saturating_sub(may_be_held.get(name));
                    lowered.set(name.clone(), rest);
                }
                quota.limits = lowered;
            }
            (role, quota)
        });
        let quotas: Vec<_> = quotas.collect();
        let quotas = quotas.iter().map(|(role, quota)| (*role, quota.as_ref()));
        self.allocator.set_quotas(quotas);
        self.triggers.changed();
    }

    pub(crate) fn sync_quotas(&mut self) {
        let roles: Vec<Role> = self.registry.quotas.keys().cloned().collect();
        if !roles.is_empty() {
            self.sync_quotas_of(&roles);
        }
    }

    pub(crate) fn sync_weight(&mut self, role: &Role) {
        let weight = self.registry.weights.get(role).copied();
        let weight: Weight = weight.unwrap_or_default();
        self.allocator.set_weight(role, weight);
        self.triggers.sweep();
    }

    /// Limits leave more when agents that were awaited are back, or what may be held there counts no more. Looked at once in an
    /// interval of heartbeats, because to set all quotas goes through all roles that have one.
    pub(crate) fn count_awaited(&mut self) {
        if !self.agents.awaited.is_to_be_counted(self.turn.now) {
            return;
        }
        let quotas = self.registry.quotas.iter();
        let limited = quotas.filter(|(_, quota)| !quota.limits.is_empty());
        let limited: Vec<Role> = limited.map(|(role, _)| role.clone()).collect();
        if !limited.is_empty() {
            self.sync_quotas_of(&limited);
        }
    }

    /// An agent of the log is back, or is not awaited any more.
    pub(crate) fn await_no_more(&mut self, agent: &AgentId) {
        if self.agents.awaited.remove(agent) && self.agents.awaited.is_empty() {
            self.count_awaited();
            self.begin_telling_kills();
        }
    }
}

/// What of resources the allocator counts as held by tasks.
pub(crate) fn countable(resources: &Resources) -> Resources {
    resources.minus(&resources.non_scalars())
}
