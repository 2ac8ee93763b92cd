//! Frameworks: who they are, and when they are over.
//!
//! A framework outlives its sessions and the master. Which session speaks for it is decided in `subscriptions`. A framework without a session for its failover timeout is completed: its tasks are killed, its id is spent.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::registry::{FrameworkEntry, Operation};
use proffer_model::{AgentId, ExecutorId, FrameworkId, OfferId, Problem, Resources, Role, code};

use crate::answers::Answers;
use crate::core::Core;
use crate::demand::RoleDemand;
use crate::effect::{After, Effect, Fact, OfferEnd};
use crate::event::{Seq, SessionId, TimerKey, WatchId};
use crate::limits::{BATCHES_PENDING_MAX, FAILOVER_IN_NEW_TERM_MIN};
use crate::rates::Rates;
use crate::subscriptions::Speakers;
use crate::telling::Telling;
use crate::windows::OfferWindow;

/// What the master knows about a framework besides what stands in the registry.
#[derive(Debug, Default)]
pub(crate) struct Framework {
    pub(crate) session: Option<SessionId>,
    /// Sessions that wait until that one ends, the oldest first.
    pub(crate) standbys: BTreeSet<SessionId>,
    /// What it was told, while it has no session.
    pub(crate) telling: Telling,
    /// Who has spoken for it in this term.
    pub(crate) speakers: Speakers,
    /// When it is completed unless a session comes, by the monotonic clock.
    pub(crate) failover_at: Option<u64>,
    /// Since when it has no session, if it may make room for another framework, by the monotonic clock.
    pub(crate) absent_since: Option<u64>,
    /// When it is written down that it has no session, by the monotonic clock.
    pub(crate) away_at: Option<u64>,
    pub(crate) demands: BTreeMap<Role, RoleDemand>,
    pub(crate) offers: BTreeSet<OfferId>,
    /// How many offers it may have out while others wait.
    pub(crate) window: OfferWindow,
    /// What its tasks hold in each role; scalars alone.
    pub(crate) used: BTreeMap<Role, Resources>,
    /// Statuses in its tasks' queues.
    pub(crate) unacknowledged: usize,
    /// Bytes of what executors said along with them.
    pub(crate) unacknowledged_data: usize,
    /// Tasks that are not terminal.
    pub(crate) live_tasks: u64,
    /// Its executors, by where they live.
    pub(crate) executors: BTreeSet<(AgentId, ExecutorId)>,
    /// How much it may ask for.
    pub(crate) rates: Rates,
    /// What its session's calls were answered, and those without a session.
    pub(crate) answers: Answers,
    pub(crate) unary_answers: Answers,
    /// Of its state, by its active session's generation.
    pub(crate) watches: BTreeSet<WatchId>,
    /// Bytes of its state's keys and values.
    pub(crate) state_len: usize,
    /// The batch with its last change of state.
    pub(crate) state_in: Seq,
    /// It was there before this term, and has not been heard of in it.
    is_recovered: bool,
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
            is_recovered: true,
            ..Self::default()
        }
    }

    /// Whether it was there before this term, and has not been heard of in it.
    pub(crate) fn is_recovered(&self) -> bool {
        self.is_recovered && self.session.is_none()
    }
}

impl Core {
    /// The session of a framework is gone; it has its failover timeout to come back.
    pub(crate) fn on_framework_disconnected(&mut self, framework: &FrameworkId) {
        let Some(known) = self.frameworks.get_mut(framework) else {
            return;
        };
        known.session = None;
        known.is_recovered = false;
        self.end_offers_of_framework(framework, OfferEnd::Rescinded);
        self.sync_framework(framework, false);
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.demands.clear();
        }
        self.start_failover(framework);
        self.begin_absence(framework);
        self.turn.touch_framework(framework);
        self.sessions.unspoken.insert(framework.clone());
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
        let given = entry.description.failover_timeout;
        let is_mesos = entry.description.mesos.is_some();
        let timeout = match known.is_recovered && is_mesos {
            // It did not end its session: the leader ended.
            true => given.max(FAILOVER_IN_NEW_TERM_MIN),
            false => given,
        };
        let at = self.turn.now.after(timeout).mono_ns;
        known.failover_at = Some(at);
        self.set_timer_at(TimerKey::Failover(framework.clone()), at);
        self.may_make_room(framework);
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
        self.acknowledgements.forget_all(framework);
        let (left, data) = self.tasks.leave_to_agents(framework);
        self.count_data(framework, 0, data);
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
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.telling.give_up();
        }
        self.on_framework_disconnected(framework);
    }

    /// Refuses new writes while too many wait to become durable.
    pub(crate) fn check_store_keeps_up(&self) -> Result<(), Problem> {
        if self.turn.pending() > BATCHES_PENDING_MAX {
            let message = "too many changes wait to become durable";
            return Err(Problem::new(code::OVERLOADED, message).hint("try again in a second"));
        }
        Ok(())
    }

    /// Ends a framework for good: durable first, then its tasks are killed, in pieces where they are many. Its session, if any,
    /// is left to the caller.
    pub(crate) fn complete(&mut self, framework: &FrameworkId) {
        self.end_offers_of_framework(framework, OfferEnd::Rescinded);
        self.leave_place(framework);
        let seq = self.persist(Operation::CompleteFramework {
            framework: framework.clone(),
        });
        let after = self.turn.after(seq);
        self.close_standbys(framework, after);
        self.close_watches(framework, &completed(framework), after);
        self.forget_all_answers(framework);
        self.kill_wishes.forget(framework);
        let key = TimerKey::Failover(framework.clone());
        self.turn.push(Effect::CancelTimer { key });
        self.triggers.framework_is_back(framework);
        self.end_absence(framework);
        self.begin_ending(framework, after);
    }
}

/// There is no such framework.
pub(crate) fn unknown(id: &FrameworkId) -> Problem {
    Problem::new(
        code::FRAMEWORK_UNKNOWN,
        format!("there is no framework {id}"),
    )
    .hint("see how its id is spelt; to become a new framework, subscribe with create, or without an id")
}

/// The framework is over.
pub(crate) fn completed(id: &FrameworkId) -> Problem {
    Problem::new(
        code::FRAMEWORK_COMPLETED,
        format!("framework {id} is completed"),
    )
    .hint("subscribe under another id, or without one")
}
