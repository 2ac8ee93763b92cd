//! Executors of frameworks: which live on which agent, what they hold, and what is told of them.
//!
//! An executor lives from the first launch that names it until its agent says that it is no more. Its resources are held
//! once, out of the offers of that launch, besides what its tasks hold. The agent knows best: what it says when it
//! registers is so. Nothing is durable here.

use std::collections::BTreeSet;
use std::sync::Arc;

use proffer_model::link::{AgentExecutor, ToAgent};
use proffer_model::{
    AgentId, AgentState, ExecutorId, ExecutorSpec, FrameworkId, Problem, Reason, Role, code,
    session,
};

use crate::amounts::{exclusive, scalars_of};
use crate::core::Core;
use crate::effect::{After, ExecutorRow, Fact, OfferEnd};
use crate::ledger::countable;

/// An executor's name on an agent.
pub(crate) type ExecutorKey = (FrameworkId, ExecutorId);

/// An executor that lives on an agent, as far as is known.
#[derive(Debug)]
pub(crate) struct HeldExecutor {
    pub(crate) spec: Arc<ExecutorSpec>,
    /// Who pays.
    pub(crate) role: Role,
    /// Whether the allocator knows what it holds as held, and its framework is charged.
    pub(crate) is_held: bool,
    /// It was told to end; repeated when its agent registers anew.
    shutdown: Option<Reason>,
}

impl Core {
    /// What an executor would have to be given besides its task on this agent; nothing when it lives there.
    pub(crate) fn judge_executor(
        &self,
        framework: &FrameworkId,
        agent: &AgentId,
        spec: &ExecutorSpec,
    ) -> Result<bool, Problem> {
        let known = self.agents.by_id.get(agent);
        let key = (framework.clone(), spec.id.clone());
        let Some(live) = known.and_then(|known| known.executors.get(&key)) else {
            return Ok(true);
        };
        let id = &spec.id;
        let conflict = |message: String, hint: &str| {
            let problem = Problem::new(code::EXECUTOR_CONFLICT, message);
            Err(problem.field("executor").hint(hint))
        };
        if !spec.means(&live.spec) {
            let message = format!("executor {id} lives on agent {agent} with another spec");
            return conflict(message, "give another spec another id");
        }
        if live.shutdown.is_some() {
            let message = format!("executor {id} on agent {agent} was told to end");
            return conflict(message, "wait until it has ended, or give another id");
        }
        Ok(false)
    }

    /// The one spec that all tasks of a living executor share; a new one is held, out of an offer that is held already.
    pub(crate) fn share_executor(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        spec: Arc<ExecutorSpec>,
    ) -> Arc<ExecutorSpec> {
        let key = (framework.clone(), spec.id.clone());
        let known = self.agents.by_id.get(agent);
        if let Some(live) = known.and_then(|known| known.executors.get(&key)) {
            return live.spec.clone();
        }
        let numbers = spec.resources.non_scalars();
        self.allocator.release(framework, role, agent, &numbers);
        let shared = spec.resources.shared();
        if !shared.is_empty() {
            // The copy that was offered is there for whoever comes next, and goes back in the end.
            self.allocator.allocate(framework, role, agent, &shared);
        }
        let executor = HeldExecutor {
            spec: spec.clone(),
            role: role.clone(),
            is_held: true,
            shutdown: None,
        };
        self.charge_executor(framework, role, &spec, true);
        self.insert_executor(agent, key, executor);
        spec
    }

    /// An agent says that an executor was started, or is no more.
    pub(crate) fn on_executor_changed(
        &mut self,
        agent: &AgentId,
        key: ExecutorKey,
        is_ended: bool,
        message: String,
    ) {
        if is_ended {
            self.executor_ended(agent, &key, message, After::Nothing);
            return;
        }
        let known = self.agents.by_id.get(agent);
        let is_known = known.is_some_and(|it| {
            it.executors.contains_key(&key) || it.stray_executors.contains_key(&key)
        });
        if is_known {
            return;
        }
        // It had ended when the launch came that was meant for it, and was started anew.
        let tasks = known.into_iter().flat_map(|known| &known.tasks);
        let of_framework = tasks.filter(|task| task.0 == key.0);
        let mut tasks = of_framework.filter_map(|task| self.tasks.get(task));
        let found = tasks.find_map(|task| {
            let spec = task.executor.as_ref().filter(|spec| spec.id == key.1)?;
            let is_live = !task.latest.is_terminal();
            is_live.then(|| (spec.clone(), task.role().clone()))
        });
        if let Some((spec, role)) = found {
            self.adopt_executor(agent, key, spec, role);
            self.take_back_what_is_not_left(agent);
        }
    }

    /// What an executor held may have been offered while it was thought to be over.
    fn take_back_what_is_not_left(&mut self, agent: &AgentId) {
        let Some(known) = self.agents.by_id.get(agent) else {
            return;
        };
        let left = known.total.minus(&exclusive(&known.used));
        if !left.contains(&exclusive(&known.offered)) {
            self.end_offers_of_agent(agent, OfferEnd::Rescinded);
        }
    }

    /// Makes what an agent says when it registers and what is known one. What is used is counted by the caller.
    pub(crate) fn settle_executors(
        &mut self,
        agent: &AgentId,
        reported: Vec<AgentExecutor>,
        after: After,
    ) {
        let Some(known) = self.agents.by_id.get_mut(agent) else {
            return;
        };
        known.stray_executors.clear();
        let named: BTreeSet<ExecutorKey> = reported
            .iter()
            .map(|it| (it.framework.clone(), it.spec.id.clone()))
            .collect();
        let missing = known.executors.keys().filter(|key| !named.contains(*key));
        let missing: Vec<ExecutorKey> = missing.cloned().collect();
        for key in missing {
            let message = "its agent no longer knows it".to_owned();
            self.executor_ended(agent, &key, message, after);
        }
        for executor in reported {
            self.settle_executor(agent, executor, after);
        }
    }

    fn settle_executor(&mut self, agent: &AgentId, reported: AgentExecutor, after: After) {
        let key = (reported.framework, reported.spec.id.clone());
        let entry = self.registry.frameworks.get(&key.0);
        let Some(entry) = entry.filter(|_| self.frameworks.contains_key(&key.0)) else {
            // That its framework is over may not be durable yet.
            let after = after.max(self.turn.after_everything());
            self.stray_executor(agent, key, reported.spec, after);
            return;
        };
        let first = entry.description.roles.first().cloned();
        let role = reported.payer.map(|payer| payer.role).or(first);
        let known = self.agents.by_id.get(agent);
        let live = known.and_then(|known| known.executors.get(&key));
        let shutdown = live.and_then(|live| live.shutdown);
        if live.is_none_or(|live| *live.spec != *reported.spec)
            && let Some(role) = role
        {
            self.drop_executor(agent, &key);
            self.adopt_executor(agent, key.clone(), reported.spec, role);
        }
        if let Some(reason) = shutdown {
            self.tell_executor_to_end(agent, &key, reason, after);
        }
    }

    /// A framework's executors everywhere are nobody's from now on: they are ended, and counted until they are gone. What is used
    /// does not change by it.
    pub(crate) fn disown_executors(&mut self, framework: &FrameworkId, after: After) {
        let known = self.frameworks.get_mut(framework);
        let all = known.map(|known| std::mem::take(&mut known.executors));
        let mut agents = BTreeSet::new();
        for (agent, id) in all.into_iter().flatten() {
            let key = (framework.clone(), id);
            if let Some(executor) = self.drop_executor(&agent, &key) {
                self.stray_executor(&agent, key, executor.spec, after);
            }
            agents.insert(agent);
        }
        for agent in &agents {
            self.sync_agent(agent);
            self.turn.touch_agent(agent);
        }
    }

    /// The framework has bytes for an executor.
    pub(crate) fn on_send_message(
        &mut self,
        framework: &FrameworkId,
        agent: &AgentId,
        executor: ExecutorId,
        data: Vec<u8>,
    ) -> Result<(), Problem> {
        let key = (framework.clone(), executor);
        self.find_executor(agent, &key)?;
        if self
            .agents
            .by_id
            .get(agent)
            .is_none_or(|it| it.link.is_none())
        {
            let message = format!("agent {agent} is not connected");
            return Err(Problem::new(code::AGENT_AWAY, message)
                .field("agent_id")
                .hint("send the message again when the agent is back, if it still matters"));
        }
        let message = ToAgent::Message {
            epoch: self.epoch,
            framework: key.0,
            executor: key.1,
            data,
        };
        self.send_agent(agent, message, After::Nothing);
        Ok(())
    }

    /// The framework wants an executor to end, with its tasks.
    pub(crate) fn on_shutdown_executor(
        &mut self,
        framework: &FrameworkId,
        agent: &AgentId,
        executor: ExecutorId,
    ) -> Result<(), Problem> {
        let key = (framework.clone(), executor);
        self.find_executor(agent, &key)?;
        let reason = Reason::KillRequested;
        let known = self.agents.by_id.get_mut(agent);
        if let Some(live) = known.and_then(|known| known.executors.get_mut(&key)) {
            live.shutdown = Some(reason);
        }
        self.record_executor(agent, &key);
        self.tell_executor_to_end(agent, &key, reason, After::Nothing);
        Ok(())
    }

    /// The executors of an agent that is to be empty are ended when no task is left there.
    pub(crate) fn end_idle_executors(&mut self, agent: &AgentId) {
        let Some(known) = self.agents.by_id.get_mut(agent) else {
            return;
        };
        if !known.tasks.is_empty() {
            return;
        }
        let reason = Reason::AgentDrained;
        let idle = known.executors.iter_mut();
        let idle = idle.filter(|(_, executor)| executor.shutdown.is_none());
        let idle: Vec<ExecutorKey> = idle
            .map(|(key, executor)| {
                executor.shutdown = Some(reason);
                key.clone()
            })
            .collect();
        for key in &idle {
            self.record_executor(agent, key);
            self.tell_executor_to_end(agent, key, reason, After::Nothing);
        }
    }

    /// An executor has bytes for its framework; without a session they are gone.
    pub(crate) fn on_executor_message(&mut self, agent: &AgentId, key: ExecutorKey, data: Vec<u8>) {
        let (agent, executor) = (agent.clone(), key.1);
        let event = session::Event::Message {
            agent,
            executor,
            data,
        };
        self.tell(&key.0, event, After::Nothing);
    }

    /// Tells the allocator whether the executors of an agent hold what they hold: not on one that is unreachable.
    pub(crate) fn sync_executors_of(&mut self, agent: &AgentId) {
        let Some(known) = self.agents.by_id.get(agent) else {
            return;
        };
        let is_there = known.state != AgentState::Unreachable;
        let keys: Vec<ExecutorKey> = known.executors.keys().cloned().collect();
        for key in keys {
            self.set_executor_held(agent, &key, is_there);
        }
    }

    fn find_executor(&self, agent: &AgentId, key: &ExecutorKey) -> Result<(), Problem> {
        let Some(known) = self.agents.by_id.get(agent) else {
            let message = format!("there is no agent {agent}");
            return Err(Problem::new(code::AGENT_UNKNOWN, message)
                .field("agent_id")
                .hint("name the agent that a status of its tasks names"));
        };
        if known.executors.contains_key(key) {
            return Ok(());
        }
        let message = format!("the framework has no executor {} on agent {agent}", key.1);
        Err(Problem::new(code::EXECUTOR_UNKNOWN, message)
            .field("executor_id")
            .hint("an executor lives from its first task until it exits or is told to end"))
    }

    /// An executor is no more: what it held is free, and its framework is told.
    pub(crate) fn executor_ended(
        &mut self,
        agent: &AgentId,
        key: &ExecutorKey,
        message: String,
        after: After,
    ) {
        let known = self.agents.by_id.get_mut(agent);
        let stray = known.and_then(|known| known.stray_executors.remove(key));
        if let Some(spec) = stray {
            self.rest_ports(agent, &spec.resources);
            self.give_up_used(agent, &spec.resources);
            self.sync_agent(agent);
        }
        if let Some(executor) = self.drop_executor(agent, key) {
            self.rest_ports(agent, &executor.spec.resources);
            self.give_up_used(agent, &executor.spec.resources);
            let (agent, executor) = (agent.clone(), key.1.clone());
            let event = session::Event::ExecutorEnded {
                agent,
                executor,
                message,
            };
            self.tell(&key.0, event, after);
        }
    }

    fn adopt_executor(
        &mut self,
        agent: &AgentId,
        key: ExecutorKey,
        spec: Arc<ExecutorSpec>,
        role: Role,
    ) {
        let executor = HeldExecutor {
            spec,
            role,
            is_held: false,
            shutdown: None,
        };
        self.insert_executor(agent, key.clone(), executor);
        let known = self.agents.by_id.get(agent);
        let is_there = known.is_some_and(|known| known.state != AgentState::Unreachable);
        self.set_executor_held(agent, &key, is_there);
    }

    fn insert_executor(&mut self, agent: &AgentId, key: ExecutorKey, executor: HeldExecutor) {
        let has_numbers = !executor.spec.resources.non_scalars().is_empty();
        if let Some(known) = self.agents.by_id.get_mut(agent) {
            known.use_more(&executor.spec.resources);
            known.executors.insert(key.clone(), executor);
        }
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.executors.insert((agent.clone(), key.1.clone()));
        }
        self.record_executor(agent, &key);
        if has_numbers {
            self.sync_agent(agent);
        }
        self.turn.touch_agent(agent);
    }

    /// Takes an executor out of the table and every sum but what is used.
    fn drop_executor(&mut self, agent: &AgentId, key: &ExecutorKey) -> Option<HeldExecutor> {
        self.set_executor_held(agent, key, false);
        let known = self.agents.by_id.get_mut(agent)?;
        let dropped = known.executors.remove(key)?;
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.executors.remove(&(agent.clone(), key.1.clone()));
        }
        self.turn.record(Fact::ExecutorGone {
            agent: agent.clone(),
            framework: key.0.clone(),
            executor: key.1.clone(),
        });
        Some(dropped)
    }

    /// It is to be shown as it is now.
    fn record_executor(&mut self, agent: &AgentId, key: &ExecutorKey) {
        let known = self.agents.by_id.get(agent);
        if let Some(live) = known.and_then(|known| known.executors.get(key)) {
            let row = ExecutorRow {
                agent: agent.clone(),
                framework: key.0.clone(),
                executor: key.1.clone(),
                role: live.role.clone(),
                resources: live.spec.resources.clone(),
                is_ending: live.shutdown.is_some(),
            };
            self.turn.record(Fact::Executor(Arc::new(row)));
        }
    }

    /// Ends what is nobody's, and counts it until it is gone.
    fn stray_executor(
        &mut self,
        agent: &AgentId,
        key: ExecutorKey,
        spec: Arc<ExecutorSpec>,
        after: After,
    ) {
        self.tell_executor_to_end(agent, &key, Reason::FrameworkRemoved, after);
        if let Some(known) = self.agents.by_id.get_mut(agent) {
            known.stray_executors.insert(key, spec);
        }
    }

    fn tell_executor_to_end(
        &mut self,
        agent: &AgentId,
        key: &ExecutorKey,
        reason: Reason,
        after: After,
    ) {
        let message = ToAgent::ShutdownExecutor {
            epoch: self.epoch,
            framework: key.0.clone(),
            executor: key.1.clone(),
            reason,
        };
        self.send_agent(agent, message, after);
    }

    fn set_executor_held(&mut self, agent: &AgentId, key: &ExecutorKey, is_held: bool) {
        let known = self.agents.by_id.get_mut(agent);
        let Some(executor) = known.and_then(|known| known.executors.get_mut(key)) else {
            return;
        };
        if std::mem::replace(&mut executor.is_held, is_held) == is_held {
            return;
        }
        let held = countable(&executor.spec.resources);
        let (role, allocator) = (&executor.role, &mut self.allocator);
        if is_held {
            allocator.allocate(&key.0, role, agent, &held);
        } else {
            allocator.release(&key.0, role, agent, &held);
        }
        let (role, spec) = (executor.role.clone(), executor.spec.clone());
        self.charge_executor(&key.0, &role, &spec, is_held);
        self.triggers.changed();
    }

    /// Counts an executor among what its framework uses, or not any more.
    fn charge_executor(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        spec: &ExecutorSpec,
        is_held: bool,
    ) {
        if let Some(known) = self.frameworks.get_mut(framework) {
            let used = known.used.entry(role.clone()).or_default();
            let amount = scalars_of(&spec.resources);
            if is_held {
                used.add(&amount);
            } else {
                used.subtract(&amount);
            }
            self.turn.touch_framework(framework);
        }
    }
}
