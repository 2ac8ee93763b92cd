//! Calls: what a framework asks for, in its session or without one, each judged, done once, and answered.

use proffer_model::session::{Answer, Call, Event};
use proffer_model::{FrameworkId, Principal, Problem, code};

use crate::answers::{Recall, Scope, mistaken, outline};
use crate::core::Core;
use crate::effect::{After, Effect, Fact, Reply};
use crate::event::{RequestId, SessionId};
use crate::frameworks::{completed, unknown};
use crate::reconciliation::Asker;

impl Core {
    /// A call of an active session that is to be answered.
    pub(crate) fn on_session_call(
        &mut self,
        session: SessionId,
        framework: &FrameworkId,
        request: u64,
        call: Call,
    ) {
        let under_way = self.replacements.recall(session, request, &call);
        if under_way == Some(true) {
            return;
        }
        let asker = Asker::Session(session);
        let admitted = self.admit_call(framework);
        let admitted = admitted.and_then(|()| self.admit_operations(framework, &asker, &call));
        // What is above the rate is not looked at any further.
        let recalled = admitted.map(|()| self.recall(framework, Scope::Session, request, &call));
        let (answer, after) = match recalled {
            Err(problem) => (Answer::Refused(problem), After::Nothing),
            Ok(_) if under_way.is_some() => (Answer::Refused(mistaken(request)), After::Nothing),
            Ok(Recall::Repeated(answer)) => (answer, self.turn.after_everything()),
            Ok(Recall::Vain) => {
                if let Call::Kill { task, .. } = call {
                    self.say_how_it_stands(&(framework.clone(), task));
                }
                (Answer::Done, self.turn.after_everything())
            }
            Ok(Recall::Mistaken) => (Answer::Refused(mistaken(request)), After::Nothing),
            Ok(Recall::New) if matches!(call, Call::Teardown) => {
                self.end_framework(framework, Some((session, request)));
                return;
            }
            Ok(Recall::New) => {
                let Some(call) = self.begin_long(session, framework, request, call) else {
                    return;
                };
                let is_vain = self.kills_nothing(framework, &call);
                let kept = outline(&call);
                let (answer, after) = self.answer(framework, call);
                match kept {
                    Some(call) if is_vain && answer == Answer::Done => {
                        self.remember_vain(framework, Scope::Session, request, call);
                    }
                    kept => self.remember(framework, Scope::Session, request, kept, &answer),
                }
                (answer, after)
            }
        };
        self.send_answer_after(session, request, answer, after);
    }

    /// Whether a call is a Kill of what is not live. Its answer is how the task stands, which is said anew to whoever calls again,
    /// since the status of an answer is not kept for those who were not there.
    fn kills_nothing(&self, framework: &FrameworkId, call: &Call) -> bool {
        let Call::Kill { task, .. } = call else {
            return false;
        };
        let task = self.tasks.get(&(framework.clone(), task.clone()));
        task.is_none_or(|task| task.latest.is_terminal())
    }

    /// Begins what may take many steps, and is answered when it is done. Answers any other call.
    fn begin_long(
        &mut self,
        session: SessionId,
        framework: &FrameworkId,
        request: u64,
        call: Call,
    ) -> Option<Call> {
        match call {
            Call::Reconcile { tasks } => {
                let asker = Asker::Session(session);
                self.on_reconcile(&asker, framework, request, tasks);
                None
            }
            Call::SetDemand(demand)
                if !self.is_short_demand(framework, &demand)
                    && self.judge_demand(framework, &demand).is_ok() =>
            {
                self.replace_demand(session, framework, request, demand);
                None
            }
            call => Some(call),
        }
    }

    /// A call without a session.
    pub(crate) fn on_framework_called(
        &mut self,
        request: RequestId,
        principal: &Principal,
        framework: &FrameworkId,
        number: u64,
        call: Call,
    ) {
        let asker = Asker::Script(framework.clone());
        let reply = self
            .judge_owner(principal, framework)
            .and_then(|()| judge_unary(&call))
            .and_then(|()| self.admit_call(framework))
            .and_then(|()| self.admit_operations(framework, &asker, &call))
            .and_then(|()| self.answer_unary(request, framework, number, call));
        if let Some(reply) = reply.transpose() {
            self.reply_to_script(framework, request, reply);
        }
    }

    pub(crate) fn reply_to_script(
        &mut self,
        framework: &FrameworkId,
        request: RequestId,
        reply: Result<Reply, Problem>,
    ) {
        if let Err(problem) = &reply {
            let (framework, problem) = (Some(framework.clone()), problem.clone());
            self.turn.record(Fact::CallRefused { framework, problem });
        }
        let after = self.turn.after_everything();
        self.turn.push(Effect::Reply {
            request,
            reply,
            after,
        });
    }

    /// Only who made a framework may speak for it.
    pub(crate) fn judge_owner(
        &self,
        principal: &Principal,
        framework: &FrameworkId,
    ) -> Result<(), Problem> {
        match self.registry.frameworks.get(framework) {
            Some(entry) if entry.principal == *principal => Ok(()),
            Some(_) => {
                let message = format!("framework {framework} is owned by another principal");
                Err(Problem::new(code::FRAMEWORK_FOREIGN, message).field("framework_id"))
            }
            None if self.registry.completed.contains_key(framework) => {
                let problem = completed(framework).field("framework_id");
                Err(problem.hint("nothing is left to do for it; subscribe under another id"))
            }
            None => Err(unknown(framework).field("framework_id")),
        }
    }

    /// Ends a framework and all its sessions; the one that asked is answered first.
    pub(crate) fn end_framework(
        &mut self,
        framework: &FrameworkId,
        asked: Option<(SessionId, u64)>,
    ) {
        let known = self.frameworks.get(framework);
        let session = known.and_then(|known| known.session);
        self.complete(framework);
        let after = self.turn.after_everything();
        if let Some((session, request)) = asked {
            let answer = Answer::Done;
            self.send_session(session, Event::Answered { request, answer }, after);
        }
        if let Some(session) = session {
            self.close_session(session, completed(framework), after);
        }
    }

    /// The reply; none when it comes later.
    fn answer_unary(
        &mut self,
        request: RequestId,
        framework: &FrameworkId,
        number: u64,
        call: Call,
    ) -> Result<Option<Reply>, Problem> {
        let mut statuses = Vec::new();
        let answer = match (self.recall(framework, Scope::Unary, number, &call), call) {
            (Recall::Repeated(answer), _) => answer,
            (Recall::Vain, call) => {
                if let Call::Kill { task, .. } = call {
                    statuses.extend(self.how_it_stands(&(framework.clone(), task)));
                }
                Answer::Done
            }
            (Recall::Mistaken, _) => return Err(mistaken(number).within("call")),
            (Recall::New, Call::Teardown) => {
                self.end_framework(framework, None);
                Answer::Done
            }
            (Recall::New, Call::Reconcile { tasks }) => {
                self.judge_all(framework, &tasks)?;
                let asker = Asker::Script(framework.clone());
                self.on_reconcile(&asker, framework, request.0, tasks);
                return Ok(None);
            }
            (Recall::New, Call::Kill { task, grace }) => {
                let kept = Call::Kill {
                    task: task.clone(),
                    grace,
                };
                let key = (framework.clone(), task);
                if self.kill(&key, grace) {
                    self.remember(framework, Scope::Unary, number, Some(kept), &Answer::Done);
                } else {
                    self.keep_kill(&key, grace, false)?;
                    self.remember_vain(framework, Scope::Unary, number, kept);
                    statuses.extend(self.how_it_stands(&key));
                }
                Answer::Done
            }
            (Recall::New, call) => {
                let kept = outline(&call);
                let (answer, _) = self.answer(framework, call);
                self.remember(framework, Scope::Unary, number, kept, &answer);
                answer
            }
        };
        match answer {
            Answer::Done | Answer::Accepted(_) => Ok(Some(Reply::Called(statuses))),
            Answer::Refused(problem) => Err(problem.inside("call")),
        }
    }
}

/// Calls that only a session makes.
fn judge_unary(call: &Call) -> Result<(), Problem> {
    match call {
        Call::Subscribe { .. }
        | Call::SetDemand(_)
        | Call::Accept { .. }
        | Call::Decline { .. }
        | Call::Acknowledge { .. }
        | Call::AcknowledgeOne { .. } => {}
        Call::Kill { .. }
        | Call::Reconcile { .. }
        | Call::Teardown
        | Call::UpdateTask { .. }
        | Call::SendMessage { .. }
        | Call::ShutdownExecutor { .. } => return Ok(()),
    }
    Err(
        Problem::new(code::SESSION_ORDER, "only a session calls this")
            .field(format!("call.{}", call.name()))
            .hint("open a session with Scheduler.Session"),
    )
}
