//! Sessions: the numbered events of a framework's connection, what of them is acknowledged, and which call goes where.
//!
//! Only active sessions stand in the table. A session whose first call does not make it active is closed at once; calls
//! of closed ones that are still on their way are ignored.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::session::{Answer, Call, Event};
use proffer_model::{
    FrameworkId, Generation, Incarnation, Principal, Problem, Status, TaskId, code,
};

use crate::core::Core;
use crate::effect::{After, Effect, Fact};
use crate::event::SessionId;
use crate::tasks::TaskKey;

/// An active session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) framework: FrameworkId,
    pub(crate) generation: Generation,
    /// Of the last event.
    sequence: u64,
    /// By sequence: the launches whose oldest queued status an event was. Per task in the order of its queue.
    outstanding: BTreeMap<u64, (TaskId, Incarnation)>,
}

/// All active sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    pub(crate) open: BTreeMap<SessionId, Session>,
    closing: BTreeSet<SessionId>,
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
            match call {
                Call::Subscribe {
                    framework,
                    description,
                    stand_by: _,
                    resume: _,
                } => {
                    self.on_subscribe(session, principal, request, framework, description);
                }
                _ => {
                    let problem =
                        Problem::new(code::SESSION_ORDER, "the session is not subscribed")
                            .hint("make Subscribe the first call of a session");
                    self.refuse_session(session, request, problem);
                }
            }
            return;
        };
        let framework = open.framework.clone();
        match call {
            Call::Acknowledge { sequence } => self.on_acknowledge(session, &framework, sequence),
            Call::Teardown => self.on_teardown(session, request, &framework),
            call => {
                let (answer, after) = self.answer(&framework, call);
                self.send_answer_after(session, request, answer, after);
            }
        }
    }

    pub(crate) fn on_call_malformed(&mut self, session: SessionId, request: u64, problem: Problem) {
        if self.sessions.closing.contains(&session) {
            return;
        }
        if self.sessions.open.contains_key(&session) {
            self.send_answer(session, request, Answer::Refused(problem));
        } else {
            self.refuse_session(session, request, problem);
        }
    }

    pub(crate) fn on_session_closed(&mut self, session: SessionId) {
        self.sessions.closing.remove(&session);
        if let Some(closed) = self.sessions.open.remove(&session) {
            self.on_framework_disconnected(&closed.framework);
        }
    }

    /// Makes a session the active one of its framework.
    pub(crate) fn open_session(
        &mut self,
        session: SessionId,
        framework: FrameworkId,
    ) -> Generation {
        let generation = self.ids.generation();
        let open = Session {
            framework,
            generation,
            sequence: 0,
            outstanding: BTreeMap::new(),
        };
        self.sessions.open.insert(session, open);
        generation
    }

    /// Ends an active session after telling it why.
    pub(crate) fn close_session(&mut self, session: SessionId, problem: Problem, after: After) {
        self.send_session(session, Event::Closed(problem), after);
        self.sessions.open.remove(&session);
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
        let events = [Event::Answered { request, answer }, Event::Closed(problem)];
        let after = self.turn.after_everything();
        for (sequence, event) in (1..).zip(events) {
            self.turn.push(Effect::SendSession {
                session,
                sequence,
                event,
                after,
            });
        }
        self.sessions.closing.insert(session);
        self.turn.push(Effect::CloseSession { session });
    }

    /// Sends an event under the session's next number.
    pub(crate) fn send_session(&mut self, session: SessionId, event: Event, after: After) {
        if let Some(open) = self.sessions.open.get_mut(&session) {
            open.sequence += 1;
            let sequence = open.sequence;
            self.turn.push(Effect::SendSession {
                session,
                sequence,
                event,
                after,
            });
        }
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

    fn send_answer_after(
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

    /// Sends the status that is next in its task's queue, and remembers that its acknowledgement is for that.
    pub(crate) fn send_status(
        &mut self,
        session: SessionId,
        task: &TaskId,
        incarnation: Incarnation,
        status: Status,
        after: After,
    ) {
        self.send_session(session, Event::Updated(status), after);
        if let Some(open) = self.sessions.open.get_mut(&session) {
            open.outstanding
                .insert(open.sequence, (task.clone(), incarnation));
        }
    }

    /// What was sent of a launch is not awaited any more: its queue begins anew.
    pub(crate) fn forget_outstanding(&mut self, key: &TaskKey, incarnation: Incarnation) {
        let session = self.frameworks.get(&key.0).and_then(|known| known.session);
        if let Some(open) = session.and_then(|session| self.sessions.open.get_mut(&session)) {
            open.outstanding
                .retain(|_, (task, of)| *task != key.1 || *of != incarnation);
        }
    }

    /// Says to every session that the master is there.
    pub(crate) fn beat_sessions(&mut self) {
        let sessions: Vec<SessionId> = self.sessions.open.keys().copied().collect();
        for session in sessions {
            self.send_session(session, Event::Heartbeat, After::Nothing);
        }
    }

    fn answer(&mut self, framework: &FrameworkId, call: Call) -> (Answer, After) {
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
                self.on_decline(framework, &offers, exclude_for);
                Answer::Done
            }
            Call::Kill { task, grace } => {
                self.on_kill(&(framework.clone(), task), grace);
                Answer::Done
            }
            Call::Reconcile { tasks } => {
                self.on_reconcile(framework, tasks);
                Answer::Done
            }
            Call::UpdateTask { .. } | Call::SendMessage { .. } | Call::ShutdownExecutor { .. } => {
                done(Err(Problem::new(
                    code::ROUTE_UNKNOWN,
                    "this master does not do that yet",
                )))
            }
            Call::Subscribe { .. } => done(Err(Problem::new(
                code::SESSION_ORDER,
                "the session is subscribed already",
            )
            .hint("open another session to subscribe anew"))),
            // Taken by the caller, because they have no answer, or one that waits.
            Call::Acknowledge { .. } | Call::Teardown => Answer::Done,
        };
        (answer, after)
    }

    /// Everything up to a sequence is kept; a greater one than was ever sent counts as the last.
    fn on_acknowledge(&mut self, session: SessionId, framework: &FrameworkId, sequence: u64) {
        let Some(open) = self.sessions.open.get_mut(&session) else {
            return;
        };
        let mut kept: BTreeMap<(TaskId, Incarnation), usize> = BTreeMap::new();
        while let Some(oldest) = open.outstanding.first_entry() {
            if *oldest.key() > sequence {
                break;
            }
            *kept.entry(oldest.remove()).or_default() += 1;
        }
        for ((task, incarnation), count) in kept {
            self.on_kept(&(framework.clone(), task), incarnation, count);
        }
    }
}
