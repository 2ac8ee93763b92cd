//! Subscriptions: which session speaks for a framework, which ones wait for that, and how one follows the other.
//!
//! The last to subscribe is active and the one before is fenced, unless it only stands by: then it waits until the active
//! one ends. Each activation has a generation of its own. What a session begins with is the tail of what it has not kept,
//! if it can be told, or a snapshot.
//!
//! The subtle thing: request ids are of the program that speaks. One that resumes goes on with its own, and must not meet the
//! answers to another one's that was active in between.

use std::collections::{BTreeSet, VecDeque};

use proffer_model::registry::Operation;
use proffer_model::session::{Answer, Event, Resume};
use proffer_model::{FrameworkDescription, FrameworkId, Principal, Problem, Role, code};

use crate::core::Core;
use crate::effect::{After, Effect, Fact, OfferEnd};
use crate::event::{SessionId, TimerKey};
use crate::frameworks::{completed, unknown};
use crate::ids::is_given;
use crate::limits::{SPEAKERS_MAX, STANDBYS_MAX};

/// Where the framework's id stands in the call.
const ID: &str = "subscribe.framework_id";

/// Who subscribes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    /// The call's request id; answered when the session is active.
    pub(crate) request: u64,
    pub(crate) principal: Principal,
    pub(crate) description: FrameworkDescription,
    pub(crate) resume: Option<Resume>,
    pub(crate) create: bool,
}

/// A session that waits.
#[derive(Debug)]
pub(crate) struct StandBy {
    pub(crate) framework: FrameworkId,
    subscription: Subscription,
}

/// Which program has spoken for a framework since which sequence, as far as that can be told: who resumes was told what it
/// resumes at; everybody else is a new one.
#[derive(Debug, Default)]
pub(crate) struct Speakers {
    /// The last one stands last.
    since: VecDeque<(u64, u64)>,
    given: u64,
}

impl Speakers {
    /// Somebody speaks from this sequence on. Whether it is the one that has spoken last.
    fn goes_on(&mut self, from: u64, resumed_at: Option<u64>) -> bool {
        let mut back = self.since.iter().rev();
        let told = resumed_at.and_then(|at| back.find(|(since, _)| *since <= at));
        let told = told.map(|(_, speaker)| *speaker);
        let last = self.since.back().map(|(_, speaker)| *speaker);
        if told.is_some() && told == last {
            return true;
        }
        let speaker = told.unwrap_or_else(|| {
            self.given += 1;
            self.given
        });
        self.since.push_back((from, speaker));
        if self.since.len() > SPEAKERS_MAX {
            self.since.pop_front();
        }
        false
    }
}

impl Core {
    pub(crate) fn on_subscribe(
        &mut self,
        session: SessionId,
        framework: Option<FrameworkId>,
        subscription: Subscription,
        stand_by: bool,
    ) {
        let judged = self.judge_subscribe(&subscription, framework.as_ref());
        let admitted = judged.and_then(|()| self.admit_subscription(framework.as_ref()));
        if let Err(problem) = admitted {
            self.refuse_session(session, subscription.request, problem);
            return;
        }
        let known = framework.as_ref().and_then(|id| self.frameworks.get(id));
        let is_spoken_for = known.is_some_and(|known| known.session.is_some());
        match framework {
            Some(framework) if stand_by && is_spoken_for => {
                self.stand_by(session, framework, subscription);
            }
            None if stand_by => {
                let problem = Problem::new(code::FIELD_MISSING, "only a known framework stands by")
                    .field(ID)
                    .hint("give the id, one of your own choice with create");
                self.refuse_session(session, subscription.request, problem);
            }
            framework => {
                if let Err(problem) = self.judge_new(framework.as_ref(), &subscription.principal) {
                    self.refuse_session(session, subscription.request, problem);
                    return;
                }
                let framework = framework.unwrap_or_else(|| self.fresh_framework_id());
                self.activate(session, framework, subscription);
            }
        }
    }

    /// The sessions of frameworks that have lost their active one take its place, the oldest first.
    pub(crate) fn promote_standbys(&mut self) {
        for framework in std::mem::take(&mut self.sessions.unspoken) {
            let Some(known) = self.frameworks.get_mut(&framework) else {
                continue;
            };
            if known.session.is_some() {
                continue;
            }
            let next = known.standbys.pop_first();
            let next = next
                .and_then(|session| Some((session, self.sessions.standing_by.remove(&session)?)));
            if let Some((session, waited)) = next {
                self.activate(session, framework, waited.subscription);
            }
        }
    }

    /// A session stands by no more, if it did.
    pub(crate) fn forget_standby(&mut self, session: SessionId) {
        let Some(waited) = self.sessions.standing_by.remove(&session) else {
            return;
        };
        if let Some(known) = self.frameworks.get_mut(&waited.framework) {
            known.standbys.remove(&session);
        }
    }

    /// Ends all sessions that stand by for a framework that is over.
    pub(crate) fn close_standbys(&mut self, framework: &FrameworkId, after: After) {
        let known = self.frameworks.get_mut(framework);
        let standbys = known.map(|known| std::mem::take(&mut known.standbys));
        for session in standbys.into_iter().flatten() {
            self.close_session(session, completed(framework), after);
        }
    }

    fn stand_by(&mut self, session: SessionId, framework: FrameworkId, subscription: Subscription) {
        let after = self.turn.after_everything();
        let Some(known) = self.frameworks.get_mut(&framework) else {
            return;
        };
        if known.standbys.len() >= STANDBYS_MAX {
            let message = format!("{STANDBYS_MAX} sessions of the framework stand by already");
            let problem = Problem::new(code::OVERLOADED, message).hint("end some of them");
            self.refuse_session(session, subscription.request, problem);
            return;
        }
        known.standbys.insert(session);
        let told = Event::StandingBy {
            framework: framework.clone(),
            cluster: self.cluster.clone(),
            heartbeat_interval: self.config.heartbeat_interval,
        };
        let waits = StandBy {
            framework,
            subscription,
        };
        self.sessions.standing_by.insert(session, waits);
        self.send_session(session, told, after);
    }

    /// Makes a session the one that speaks for the framework.
    fn activate(&mut self, session: SessionId, framework: FrameworkId, subscription: Subscription) {
        let Subscription {
            request,
            principal,
            description,
            resume,
            create: _,
        } = subscription;
        let is_new = !self.frameworks.contains_key(&framework);
        let left = self.roles_left(&framework, &description);
        self.admit_framework(&framework, principal, description);
        self.fence(&framework);
        for role in &left {
            self.allocator.leave_role(&framework, role);
        }
        let known = self.frameworks.entry(framework.clone()).or_default();
        known
            .used
            .retain(|role, used| !left.contains(role) || !used.is_empty());
        known.session = Some(session);
        known.demands.clear();
        let telling = std::mem::take(&mut known.telling);
        if known.failover_at.take().is_some() {
            let key = TimerKey::Failover(framework.clone());
            self.turn.push(Effect::CancelTimer { key });
        }
        // Whoever resumes goes on with its request ids, even where there is a snapshot, unless another program has had its own
        // since.
        let of_term = resume.filter(|resume| resume.epoch == self.epoch);
        let from = telling.sequence.saturating_add(1);
        let speakers = &mut known.speakers;
        if !speakers.goes_on(from, of_term.map(|resume| resume.sequence)) {
            self.forget_answers(&framework);
        }
        let resumed_at = telling.can_resume(resume, self.epoch);
        let after = self.turn.after_everything();
        let generation = self.open_session(session, framework.clone(), telling);
        self.sync_framework(&framework, true);
        let subscribed = Event::Subscribed {
            framework: framework.clone(),
            cluster: self.cluster.clone(),
            epoch: self.epoch,
            generation,
            heartbeat_interval: self.config.heartbeat_interval,
            is_resumed: resumed_at.is_some(),
        };
        self.send_session(session, subscribed, after);
        self.send_answer(session, request, Answer::Done);
        match resumed_at {
            Some(sequence) => self.begin_tail(session, &framework, sequence),
            None => self.begin_snapshot(session),
        }
        self.reset_window(&framework);
        self.triggers.framework_is_back(&framework);
        self.end_absence(&framework);
        self.keep_place(&framework);
        self.turn.touch_framework(&framework);
        self.turn
            .record(Fact::FrameworkSubscribed { framework, is_new });
    }

    fn judge_subscribe(
        &self,
        subscription: &Subscription,
        framework: Option<&FrameworkId>,
    ) -> Result<(), Problem> {
        if subscription.description.roles.is_empty() {
            let message = "the framework names no role";
            return Err(Problem::new(code::FIELD_MISSING, message)
                .field("subscribe.roles")
                .hint("give at least one, such as *"));
        }
        let Some(id) = framework else {
            if subscription.create {
                let problem = Problem::new(code::FIELD_MISSING, "an id of one's own is missing");
                return Err(problem
                    .field(ID)
                    .hint("choose an id, such as my-batch, or leave create out"));
            }
            return Ok(());
        };
        match self.registry.frameworks.get(id) {
            Some(entry) if entry.principal != subscription.principal => {
                let message = format!("framework {id} is owned by another principal");
                let hint = "subscribe with the principal that made it";
                Err(Problem::new(code::FRAMEWORK_FOREIGN, message)
                    .field(ID)
                    .hint(hint))
            }
            Some(_) => Ok(()),
            None if self.registry.completed.contains_key(id) || self.endings.has(id) => {
                Err(completed(id).field(ID))
            }
            None if !subscription.create => Err(unknown(id).field(ID)),
            None if is_given(id) => {
                let message = format!("{id} has the shape of the ids that masters give");
                Err(Problem::new(code::ID_INVALID, message)
                    .field(ID)
                    .hint("choose an id that does not end as -f1-1 does"))
            }
            None => Ok(()),
        }
    }

    /// Whether there is room for the framework, if it is new.
    fn judge_new(
        &mut self,
        framework: Option<&FrameworkId>,
        principal: &Principal,
    ) -> Result<(), Problem> {
        if framework.is_some_and(|id| self.registry.frameworks.contains_key(id)) {
            return Ok(());
        }
        self.check_store_keeps_up()?;
        self.find_place(principal)
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
        if entry.is_none() {
            self.places.take(&principal);
        }
        if entry.is_none_or(|entry| entry.is_away || entry.description != description) {
            self.persist(Operation::AdmitFramework {
                framework: framework.clone(),
                principal,
                description,
                is_away: false,
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
        let problem = Problem::new(code::SESSION_FENCED, message);
        self.close_session(old, problem, After::Nothing);
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.session = None;
        }
        self.end_offers_of_framework(framework, OfferEnd::Rescinded);
        self.sync_framework(framework, false);
    }
}
