//! Frameworks: who they are, which session speaks for them, and when they are over.
//!
//! A framework outlives its sessions and the master. The last session to subscribe is the active one; the one before is
//! fenced. A framework without a session for its failover timeout is completed: its tasks are killed, its id is spent.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::registry::{FrameworkEntry, Operation};
use proffer_model::session::{Answer, Event};
use proffer_model::{
    FrameworkDescription, FrameworkId, OfferId, Principal, Problem, Reason, Resources, Role,
    Status, TaskId, code,
};

use crate::core::Core;
use crate::demand::RoleDemand;
use crate::effect::{After, Effect, Fact, OfferEnd};
use crate::event::{Seq, SessionId, TimerKey};
use crate::limits::{BATCHES_PENDING_MAX, FRAMEWORKS_MAX};
use crate::tasks::TaskKey;
use crate::windows::OfferWindow;

/// What the master knows about a framework besides what stands in the registry.
#[derive(Debug, Default)]
pub(crate) struct Framework {
    pub(crate) session: Option<SessionId>,
    /// When it is completed unless a session comes, by the monotonic clock.
    pub(crate) failover_at: Option<u64>,
    pub(crate) demands: BTreeMap<Role, RoleDemand>,
    pub(crate) offers: BTreeSet<OfferId>,
    /// How many offers it may have out while others wait.
    pub(crate) window: OfferWindow,
    /// What its tasks hold in each role; scalars alone.
    pub(crate) used: BTreeMap<Role, Resources>,
    /// Statuses in its tasks' queues.
    pub(crate) unacknowledged: usize,
    /// Tasks that are not terminal.
    pub(crate) live_tasks: u64,
    /// Bytes of its state's keys and values.
    pub(crate) state_len: usize,
    /// The batch with its last change of state.
    pub(crate) state_in: Seq,
}

impl Framework {
    /// A framework of the log.
    pub(crate) fn recovered(entry: &FrameworkEntry) -> Self {
        let lens = entry
            .state
            .iter()
            .map(|(key, stored)| key.as_str().len() + stored.value.len());
        Self {
            state_len: lens.sum(),
            ..Self::default()
        }
    }
}

impl Core {
    pub(crate) fn on_subscribe(
        &mut self,
        session: SessionId,
        principal: Principal,
        request: u64,
        framework: Option<FrameworkId>,
        description: FrameworkDescription,
    ) {
        if let Err(problem) = self.judge_subscribe(&principal, framework.as_ref(), &description) {
            self.refuse_session(session, request, problem);
            return;
        }
        let is_new = framework.is_none();
        let framework = framework.unwrap_or_else(|| self.fresh_framework_id());
        let left = self.roles_left(&framework, &description);
        self.admit_framework(&framework, principal, description);
        self.fence(&framework);
        let after = self.turn.after_everything();
        let generation = self.open_session(session, framework.clone());
        self.sync_framework(&framework, true);
        let known = self.frameworks.entry(framework.clone()).or_default();
        for role in &left {
            self.allocator.leave_role(&framework, role);
        }
        known
            .used
            .retain(|role, used| !left.contains(role) || !used.is_empty());
        known.session = Some(session);
        known.demands.clear();
        if known.failover_at.take().is_some() {
            let key = TimerKey::Failover(framework.clone());
            self.turn.push(Effect::CancelTimer { key });
        }
        let subscribed = Event::Subscribed {
            framework: framework.clone(),
            cluster: self.cluster.clone(),
            epoch: self.epoch,
            generation,
            heartbeat_interval: self.config.heartbeat_interval,
            is_resumed: false,
        };
        self.send_session(session, subscribed, after);
        self.send_answer(session, request, Answer::Done);
        if !is_new {
            self.repeat_unacknowledged(session, &framework);
            self.repeat_reclaims(session, &framework);
            self.repeat_settled(session);
        }
        self.reset_window(&framework);
        self.triggers.framework_is_back(&framework);
        self.turn.touch_framework(&framework);
        self.turn
            .record(Fact::FrameworkSubscribed { framework, is_new });
    }

    /// The session of a framework is gone; it has its failover timeout to come back.
    pub(crate) fn on_framework_disconnected(&mut self, framework: &FrameworkId) {
        let Some(known) = self.frameworks.get_mut(framework) else {
            return;
        };
        known.session = None;
        self.end_offers_of_framework(framework, OfferEnd::Rescinded);
        self.sync_framework(framework, false);
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.demands.clear();
        }
        self.start_failover(framework);
        self.turn.touch_framework(framework);
        let framework = framework.clone();
        self.turn.record(Fact::FrameworkDisconnected { framework });
    }

    /// Sets the time until a framework without a session is completed.
    pub(crate) fn start_failover(&mut self, framework: &FrameworkId) {
        let (Some(known), Some(entry)) = (
            self.frameworks.get_mut(framework),
            self.registry.frameworks.get(framework),
        ) else {
            return;
        };
        let at = self
            .turn
            .now
            .after(entry.description.failover_timeout)
            .mono_ns;
        known.failover_at = Some(at);
        self.set_timer_at(TimerKey::Failover(framework.clone()), at);
    }

    /// A failover timer has come; it may have been cancelled or moved meanwhile.
    pub(crate) fn on_failover(&mut self, framework: &FrameworkId) {
        let at = self
            .frameworks
            .get(framework)
            .and_then(|known| known.failover_at);
        match at {
            Some(at) if at <= self.turn.now.mono_ns => self.complete(framework),
            Some(at) => self.set_timer_at(TimerKey::Failover(framework.clone()), at),
            None => {}
        }
    }

    pub(crate) fn on_teardown(
        &mut self,
        session: SessionId,
        request: u64,
        framework: &FrameworkId,
    ) {
        self.complete(framework);
        let after = self.turn.after_everything();
        let answer = Answer::Done;
        self.send_session(session, Event::Answered { request, answer }, after);
        let problem = completed(framework);
        self.close_session(session, problem, after);
    }

    /// Closes the session of a framework that does not acknowledge. What its agents will send again is given up, so that
    /// the next session begins with room.
    pub(crate) fn overload(&mut self, framework: &FrameworkId) {
        let Some(session) = self
            .frameworks
            .get(framework)
            .and_then(|known| known.session)
        else {
            return;
        };
        let left: usize = self
            .tasks
            .of_mut(framework)
            .map(|(_, task)| task.leave_to_agent())
            .sum();
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.unacknowledged = known.unacknowledged.saturating_sub(left);
        }
        let message = "too many statuses are not acknowledged";
        let hint = "acknowledge events as soon as they are kept, then connect again";
        let problem = Problem::new(code::SESSION_OVERLOADED, message).hint(hint);
        self.turn.record(Fact::CallRefused {
            framework: Some(framework.clone()),
            problem: problem.clone(),
        });
        self.close_session(session, problem, After::Nothing);
        self.on_framework_disconnected(framework);
    }

    fn judge_subscribe(
        &self,
        principal: &Principal,
        framework: Option<&FrameworkId>,
        description: &FrameworkDescription,
    ) -> Result<(), Problem> {
        if description.roles.is_empty() {
            let message = "the framework names no role";
            return Err(Problem::new(code::FIELD_MISSING, message)
                .field("roles")
                .hint("give at least one, such as *"));
        }
        let Some(id) = framework else {
            if self.frameworks.len() >= FRAMEWORKS_MAX {
                let message =
                    format!("there are {FRAMEWORKS_MAX} frameworks; the limit is reached");
                let hint = "tear down those that are not needed";
                return Err(Problem::new(code::OVERLOADED, message).hint(hint));
            }
            return self.check_store_keeps_up();
        };
        match self.registry.frameworks.get(id) {
            Some(entry) if entry.principal != *principal => {
                let message = format!("framework {id} is owned by another principal");
                let hint = "subscribe with the principal that made it";
                Err(Problem::new(code::FRAMEWORK_FOREIGN, message).hint(hint))
            }
            Some(_) => Ok(()),
            None if self.registry.completed.contains_key(id) => Err(completed(id)),
            None => Err(unknown(id)),
        }
    }

    /// Refuses new writes while too many wait to become durable.
    pub(crate) fn check_store_keeps_up(&self) -> Result<(), Problem> {
        if self.turn.pending() > BATCHES_PENDING_MAX {
            let message = "too many changes wait to become durable";
            return Err(Problem::new(code::OVERLOADED, message).hint("try again in a second"));
        }
        Ok(())
    }

    fn fresh_framework_id(&mut self) -> FrameworkId {
        loop {
            let id = self.ids.framework();
            let is_spent = self.registry.completed.contains_key(&id);
            if !is_spent && !self.frameworks.contains_key(&id) {
                return id;
            }
        }
    }

    /// Makes the framework durable as it is now.
    fn admit_framework(
        &mut self,
        framework: &FrameworkId,
        principal: Principal,
        description: FrameworkDescription,
    ) {
        let entry = self.registry.frameworks.get(framework);
        if entry.is_none_or(|entry| entry.description != description) {
            self.persist(Operation::AdmitFramework {
                framework: framework.clone(),
                principal,
                description,
            });
        }
    }

    /// The roles that it was in, or had something in, and is in no more: nothing is kept of them that is not held.
    fn roles_left(
        &self,
        framework: &FrameworkId,
        description: &FrameworkDescription,
    ) -> BTreeSet<Role> {
        let entry = self.registry.frameworks.get(framework);
        let before = entry.into_iter().flat_map(|entry| &entry.description.roles);
        let known = self.frameworks.get(framework);
        let had = known.into_iter().flat_map(|known| known.used.keys());
        let all = before.chain(had);
        all.filter(|role| !description.roles.contains(role))
            .cloned()
            .collect()
    }

    /// The session that spoke for the framework so far does not any more.
    fn fence(&mut self, framework: &FrameworkId) {
        let Some(old) = self
            .frameworks
            .get(framework)
            .and_then(|known| known.session)
        else {
            return;
        };
        let message = "another session of the framework has taken over";
        self.close_session(
            old,
            Problem::new(code::SESSION_FENCED, message),
            After::Nothing,
        );
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.session = None;
        }
        self.end_offers_of_framework(framework, OfferEnd::Rescinded);
        self.sync_framework(framework, false);
    }

    /// Sends again what earlier sessions have not acknowledged. It waits for whatever is being written, for it may rest on
    /// that.
    fn repeat_unacknowledged(&mut self, session: SessionId, framework: &FrameworkId) {
        let after = self.turn.after_everything();
        let queued: Vec<(TaskId, Status)> = self
            .tasks
            .of(framework)
            .flat_map(|(id, task)| task.queue.iter().map(|status| (id.clone(), status.clone())))
            .collect();
        for (task, status) in queued {
            self.send_status(session, &task, status.incarnation, status, after);
        }
    }

    /// Tells a session that came late which agents have settled in this term.
    fn repeat_settled(&mut self, session: SessionId) {
        let after = self.turn.after_everything();
        let agents = self.agents.by_id.iter();
        let settled: Vec<_> = agents
            .filter(|(_, agent)| agent.is_recovered && agent.is_settled)
            .map(|(id, _)| id.clone())
            .collect();
        for agent in settled {
            self.send_session(session, Event::AgentSettled(agent), after);
        }
    }

    /// Ends a framework for good: durable first, then its tasks are killed. Its session, if any, is left to the caller.
    fn complete(&mut self, framework: &FrameworkId) {
        self.end_offers_of_framework(framework, OfferEnd::Rescinded);
        let seq = self.persist(Operation::CompleteFramework {
            framework: framework.clone(),
        });
        let after = self.turn.after(seq);
        let tasks: Vec<TaskKey> = self
            .tasks
            .of(framework)
            .map(|(task, _)| (framework.clone(), task.clone()))
            .collect();
        for key in &tasks {
            self.disown(key, Reason::FrameworkRemoved, after);
        }
        self.frameworks.remove(framework);
        self.allocator.remove_framework(framework);
        let key = TimerKey::Failover(framework.clone());
        self.turn.push(Effect::CancelTimer { key });
        self.triggers.framework_is_back(framework);
        let framework = framework.clone();
        self.turn.record(Fact::FrameworkGone { framework });
    }
}

/// There is no such framework.
pub(crate) fn unknown(id: &FrameworkId) -> Problem {
    Problem::new(
        code::FRAMEWORK_UNKNOWN,
        format!("there is no framework {id}"),
    )
    .hint("subscribe without an id to become a new framework")
}

/// The framework is over.
pub(crate) fn completed(id: &FrameworkId) -> Problem {
    Problem::new(
        code::FRAMEWORK_COMPLETED,
        format!("framework {id} is completed"),
    )
    .hint("subscribe without an id to become a new framework")
}
