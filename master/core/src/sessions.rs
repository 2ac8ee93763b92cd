//! Sessions: the numbered events of a framework's connections, and which call goes where.
//!
//! A framework has at most one active session; others may stand by. What the active one is told is numbered; what others
//! are told (that they stand by, heartbeats, refusals) has the number 0, for it is no part of what a framework is told.
//! A session whose first call is refused is closed at once; calls of closed ones that are still on their way are ignored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proffer_model::session::{Answer, Call, Event};
use proffer_model::{FrameworkId, Generation, Principal, Problem, Time, code};

use crate::core::Core;
use crate::effect::{After, Effect, Fact};
use crate::event::SessionId;
use crate::limits::{HEARTBEAT_PARTS, LINK_HEARTBEATS};
use crate::subscriptions::{StandBy, Subscription};
use crate::telling::{Telling, UnreadMax};

/// An active session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) framework: FrameworkId,
    pub(crate) generation: Generation,
    /// What it was told, with its number.
    pub(crate) telling: Telling,
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// The active ones.
    pub(crate) open: BTreeMap<SessionId, Session>,
    /// Those that wait until the active one of their framework ends.
    pub(crate) standing_by: BTreeMap<SessionId, StandBy>,
    /// Told to end and not ended yet; what they still say is ignored.
    closing: BTreeSet<SessionId>,
    /// Those that are being told a snapshot or a tail, in turn.
    pub(crate) snapshots: VecDeque<SessionId>,
    /// Whether the timer for what is told in pieces is set, and when it last came.
    pub(crate) tells_on: bool,
    pub(crate) told_on_at: Option<Time>,
    /// Beyond it they are told slowly.
    pub(crate) unread_max: UnreadMax,
    /// Frameworks that have lost their active session in this step.
    pub(crate) unspoken: BTreeSet<FrameworkId>,
    /// Which part of all sessions and links is told next that the master is there.
    beat: u32,
}

impl Sessions {
    /// The part whose turn it is.
    pub(crate) fn next_beat(&mut self) -> u32 {
        self.beat = (self.beat + 1) % (HEARTBEAT_PARTS * LINK_HEARTBEATS);
        self.beat
    }
}

/// Whether it is the turn of the session or link of this number, when each has its turn once in so many parts.
pub(crate) fn is_turn_of(number: u64, part: u32, parts: u32) -> bool {
    number % u64::from(parts) == u64::from(part % parts)
}

impl Core {
    pub(crate) fn on_call(
        &mut self,
        session: SessionId,
        principal: Principal,
        request: u64,
        call: Call,
    ) {
        if self.sessions.closing.contains(&session) {
            return;
        }
        let Some(open) = self.sessions.open.get(&session) else {
            self.on_call_of_inactive(session, principal, request, call);
            return;
        };
        let framework = open.framework.clone();
        match call {
            Call::Acknowledge { sequence } => self.on_acknowledge(session, &framework, sequence),
            Call::AcknowledgeOne { sequence } => {
                self.on_acknowledge_one(session, &framework, sequence);
            }
            call => {
                if let Some(call) = self.hold_call(session, &framework, request, call) {
                    self.on_session_call(session, &framework, request, call);
                }
            }
        }
    }

    pub(crate) fn on_call_malformed(&mut self, session: SessionId, request: u64, problem: Problem) {
        if self.sessions.closing.contains(&session) {
            return;
        }
        let is_known = self.sessions.open.contains_key(&session)
            || self.sessions.standing_by.contains_key(&session);
        if is_known {
            self.send_answer(session, request, Answer::Refused(problem));
        } else {
            self.refuse_session(session, request, problem);
        }
    }

    pub(crate) fn on_session_closed(&mut self, session: SessionId) {
        self.sessions.closing.remove(&session);
        self.forget_standby(session);
        if let Some(framework) = self.end_session(session) {
            self.on_framework_disconnected(&framework);
        }
    }

    /// Makes a session the active one of its framework.
    pub(crate) fn open_session(
        &mut self,
        session: SessionId,
        framework: FrameworkId,
        telling: Telling,
    ) -> Generation {
        let generation = self.ids.generation();
        let open = Session {
            framework,
            generation,
            telling,
        };
        self.sessions.open.insert(session, open);
        generation
    }

    /// A session is active no more: what it was told stands with its framework, whose session it may still seem to be.
    pub(crate) fn end_session(&mut self, session: SessionId) -> Option<FrameworkId> {
        let ended = self.sessions.open.remove(&session)?;
        self.sessions.snapshots.retain(|told| *told != session);
        self.reconciliations.forget(session);
        self.forget_replacements(session);
        if let Some(known) = self.frameworks.get_mut(&ended.framework) {
            known.telling = ended.telling.pause();
        }
        let message = "the generation's session is over";
        let problem = Problem::new(code::SESSION_FENCED, message)
            .field("generation")
            .hint("watch anew with the generation of the active session");
        self.close_watches(&ended.framework, &problem, After::Nothing);
        Some(ended.framework)
    }

    /// Ends a session after telling it why.
    pub(crate) fn close_session(&mut self, session: SessionId, problem: Problem, after: After) {
        self.send_session(session, Event::Closed(problem), after);
        self.end_session(session);
        self.forget_standby(session);
        self.sessions.closing.insert(session);
        self.turn.push(Effect::CloseSession { session });
    }

    /// Refuses a session that never became active: its call is answered, then it is closed with the same problem. That its
    /// framework is over, for one, is not said before it is durable.
    pub(crate) fn refuse_session(&mut self, session: SessionId, request: u64, problem: Problem) {
        self.turn.record(Fact::CallRefused {
            framework: None,
            problem: problem.clone(),
        });
        let answer = Answer::Refused(problem.clone());
        let after = self.turn.after_everything();
        self.send_session(session, Event::Answered { request, answer }, after);
        self.close_session(session, problem, after);
    }

    /// Sends an event under the next number of what the framework is told; to a session that is not active, under none.
    pub(crate) fn send_session(&mut self, session: SessionId, event: Event, after: After) {
        if self.sessions.closing.contains(&session) {
            return;
        }
        let sequence = match self.sessions.open.get_mut(&session) {
            Some(open) => {
                open.telling.sequence += 1;
                open.telling.sequence
            }
            None => 0,
        };
        self.turn.push(Effect::SendSession {
            session,
            sequence,
            event,
            after,
        });
    }

    /// Sends to a framework, if it has a session.
    pub(crate) fn tell(&mut self, framework: &FrameworkId, event: Event, after: After) {
        if let Some(session) = self
            .frameworks
            .get(framework)
            .and_then(|known| known.session)
        {
            self.send_session(session, event, after);
        }
    }

    pub(crate) fn send_answer(&mut self, session: SessionId, request: u64, answer: Answer) {
        self.send_answer_after(session, request, answer, After::Nothing);
    }

    pub(crate) fn send_answer_after(
        &mut self,
        session: SessionId,
        request: u64,
        answer: Answer,
        after: After,
    ) {
        if let Answer::Refused(problem) = &answer {
            let framework = self
                .sessions
                .open
                .get(&session)
                .map(|open| open.framework.clone());
            let problem = problem.clone();
            self.turn.record(Fact::CallRefused { framework, problem });
        }
        self.send_session(session, Event::Answered { request, answer }, after);
    }

    /// Says to the sessions of this part that the master is there.
    pub(crate) fn beat_sessions(&mut self, part: u32) {
        let active = self.sessions.open.keys();
        let all = active.chain(self.sessions.standing_by.keys());
        let all = all.filter(|session| is_turn_of(session.0, part, HEARTBEAT_PARTS));
        let all: Vec<SessionId> = all.copied().collect();
        for session in all {
            self.send_session(session, Event::Heartbeat, After::Nothing);
        }
    }

    /// Only Subscribe makes a session active, or lets it stand by.
    fn on_call_of_inactive(
        &mut self,
        session: SessionId,
        principal: Principal,
        request: u64,
        call: Call,
    ) {
        if self.sessions.standing_by.contains_key(&session) {
            if !matches!(call, Call::Acknowledge { .. } | Call::AcknowledgeOne { .. }) {
                let problem = Problem::new(code::SESSION_ORDER, "the session stands by")
                    .field(call.name())
                    .hint("call when it has become active, which Subscribed says");
                self.send_answer(session, request, Answer::Refused(problem));
            }
            return;
        }
        let name = call.name();
        let Call::Subscribe {
            framework,
            description,
            stand_by,
            resume,
            create,
        } = call
        else {
            let problem = Problem::new(code::SESSION_ORDER, "the session is not subscribed")
                .field(name)
                .hint("make Subscribe the first call of a session");
            self.refuse_session(session, request, problem);
            return;
        };
        let subscription = Subscription {
            request,
            principal,
            description,
            resume,
            create,
        };
        self.on_subscribe(session, framework, subscription, stand_by);
    }

    /// Does a call and answers what must be durable before the answer may leave. A refusal names the field in the call.
    pub(crate) fn answer(&mut self, framework: &FrameworkId, call: Call) -> (Answer, After) {
        let name = call.name();
        let (answer, after) = self.perform(framework, call);
        let answer = match answer {
            Answer::Refused(problem) => Answer::Refused(problem.inside(name)),
            // Each of their results names its own.
            answer @ (Answer::Accepted(_) | Answer::Done) => answer,
        };
        (answer, after)
    }

    fn perform(&mut self, framework: &FrameworkId, call: Call) -> (Answer, After) {
        let mut after = After::Nothing;
        let done = |result: Result<(), Problem>| match result {
            Ok(()) => Answer::Done,
            Err(problem) => Answer::Refused(problem),
        };
        let answer = match call {
            Call::SetDemand(demand) => done(self.on_set_demand(framework, demand)),
            Call::Accept { offers, operations } => {
                match self.on_accept(framework, &offers, operations) {
                    Ok((results, made)) => {
                        after = made;
                        Answer::Accepted(results)
                    }
                    Err(problem) => Answer::Refused(problem),
                }
            }
            Call::Decline {
                offers,
                exclude_for,
            } => {
                self.on_decline(framework, offers, exclude_for);
                Answer::Done
            }
            Call::Kill { task, grace } => done(self.on_kill(&(framework.clone(), task), grace)),
            Call::UpdateTask {
                task,
                labels,
                grace,
            } => done(self.on_update_task(framework, &task, labels, grace)),
            Call::SendMessage {
                agent,
                executor,
                data,
            } => done(self.on_send_message(framework, &agent, executor, data)),
            Call::ShutdownExecutor { agent, executor } => {
                done(self.on_shutdown_executor(framework, &agent, executor))
            }
            Call::Subscribe { .. } => {
                let message = "the session is subscribed already";
                let problem = Problem::new(code::SESSION_ORDER, message);
                let problem = problem.hint("open another session to subscribe anew");
                Answer::Refused(problem.field("framework_id"))
            }
            // Taken by the caller: it has no answer, or a later one, or ends the framework.
            Call::Acknowledge { .. }
            | Call::AcknowledgeOne { .. }
            | Call::Reconcile { .. }
            | Call::Teardown => Answer::Done,
        };
        (answer, after)
    }
}
