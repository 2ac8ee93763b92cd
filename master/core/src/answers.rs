//! Which calls were answered, and how: a call that is repeated with its request id gets the same answer and is done once.
//!
//! Of one framework the last few are remembered, for ten minutes. A repetition is known by its request id and by what makes
//! the call that one: another call under a used id is a mistake of the caller's, and not done.

use std::collections::{BTreeMap, VecDeque};

use proffer_model::session::{Answer, Call};
use proffer_model::{
    Demand, FrameworkId, Incarnation, Kind, LaunchResult, OperationResult, Problem, TaskId, code,
};

use crate::core::Core;
use crate::limits::{
    ANSWER_RESULTS_MAX, ANSWER_RESULTS_TOTAL_MAX, ANSWERS_MAX, ANSWERS_REMEMBERED_FOR,
};

/// Whose request ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of a session, and of what resumes it.
    Session,
    /// Those of calls without a session.
    Unary,
}

/// What was answered in one scope.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    by_request: BTreeMap<u64, Remembered>,
    /// The oldest first.
    order: VecDeque<u64>,
    results: usize,
}

#[derive(Debug)]
struct Remembered {
    /// Without what is long.
    call: Call,
    answer: Kept,
    at_ns: u64,
}

/// An answer in few bytes: what says that a hundred launches were good would else have room for a hundred problems.
#[derive(Debug)]
enum Kept {
    /// All operations were launches of one task each, and good.
    Launched(Box<[(TaskId, Incarnation)]>),
    /// A Kill of what was not live: how the task stands is said anew.
    Vain,
    Other(Answer),
}

impl From<&Answer> for Kept {
    fn from(answer: &Answer) -> Self {
        let launched = |result: &OperationResult| match result {
            OperationResult::Launched(LaunchResult {
                task,
                outcome: Ok(incarnation),
            }) => Some((task.clone(), *incarnation)),
            _ => None,
        };
        let all: Option<Box<[_]>> = match answer {
            Answer::Accepted(results) => results.iter().map(launched).collect(),
            Answer::Done | Answer::Refused(_) => None,
        };
        all.map_or_else(|| Self::Other(answer.clone()), Self::Launched)
    }
}

impl Kept {
    fn answer(&self) -> Answer {
        let launched = |(task, incarnation): &(TaskId, Incarnation)| {
            OperationResult::Launched(LaunchResult {
                task: task.clone(),
                outcome: Ok(*incarnation),
            })
        };
        match self {
            Self::Launched(all) => Answer::Accepted(all.iter().map(launched).collect()),
            Self::Vain => Answer::Done,
            Self::Other(answer) => answer.clone(),
        }
    }

    /// How many results are in it, and at least one.
    fn len(&self) -> usize {
        let len = match self {
            Self::Launched(all) => all.len(),
            Self::Other(Answer::Accepted(results)) => results
                .iter()
                .map(|result| result.launches().len().max(1))
                .sum(),
            Self::Vain | Self::Other(Answer::Done | Answer::Refused(_)) => 1,
        };
        len.max(1)
    }
}

/// What is known of a call that comes in.
#[derive(Debug)]
pub(crate) enum Recall {
    /// Nothing: it is to be done.
    New,
    /// It was done; this was the answer.
    Repeated(Answer),
    /// It was a Kill of what was not live.
    Vain,
    /// Another call had this request id.
    Mistaken,
}

impl Answers {
    fn recall(&self, now_ns: u64, request: u64, call: &Call) -> Recall {
        let is_kept = |of: &&Remembered| now_ns.saturating_sub(of.at_ns) < lasting_ns();
        let Some(known) = self.by_request.get(&request).filter(is_kept) else {
            return Recall::New;
        };
        match outline(call) {
            Some(outline) if outline != known.call => Recall::Mistaken,
            Some(_) if matches!(known.answer, Kept::Vain) => Recall::Vain,
            Some(_) => Recall::Repeated(known.answer.answer()),
            None => Recall::Mistaken,
        }
    }

    fn remember(&mut self, now_ns: u64, request: u64, call: Call, answer: Kept, most: usize) {
        self.results += answer.len();
        let remembered = Remembered {
            call,
            answer,
            at_ns: now_ns,
        };
        if let Some(old) = self.by_request.insert(request, remembered) {
            // One that was too old to count.
            self.results -= old.answer.len();
            self.order.retain(|other| *other != request);
        }
        self.order.push_back(request);
        while self.order.len() > 1
            && (self.order.len() > ANSWERS_MAX || self.results > most || self.is_old(now_ns))
        {
            self.forget_oldest();
        }
    }

    fn is_old(&self, now_ns: u64) -> bool {
        let oldest = self.order.front().and_then(|of| self.by_request.get(of));
        oldest.is_some_and(|of| now_ns.saturating_sub(of.at_ns) >= lasting_ns())
    }

    fn forget_oldest(&mut self) {
        let oldest = self.order.pop_front();
        if let Some(old) = oldest.and_then(|request| self.by_request.remove(&request)) {
            self.results -= old.answer.len();
        }
    }

    /// How many results are in it.
    pub(crate) fn results(&self) -> usize {
        self.results
    }
}

impl Core {
    /// What is known of a call with this request id; 0 is none.
    pub(crate) fn recall(
        &self,
        framework: &FrameworkId,
        scope: Scope,
        request: u64,
        call: &Call,
    ) -> Recall {
        match self.frameworks.get(framework) {
            Some(known) if request > 0 => {
                let answers = match scope {
                    Scope::Session => &known.answers,
                    Scope::Unary => &known.unary_answers,
                };
                answers.recall(self.turn.now.mono_ns, request, call)
            }
            _ => Recall::New,
        }
    }

    /// Remembers the answer to a call whose outline this is, unless it was refused only for now.
    pub(crate) fn remember(
        &mut self,
        framework: &FrameworkId,
        scope: Scope,
        request: u64,
        call: Option<Call>,
        answer: &Answer,
    ) {
        let is_for_now = match answer {
            Answer::Refused(problem) => {
                matches!(problem.kind, Kind::Exhausted | Kind::Unavailable)
            }
            Answer::Done | Answer::Accepted(_) => false,
        };
        if let Some(call) = call.filter(|_| !is_for_now) {
            self.keep(framework, scope, request, call, answer.into());
        }
    }

    /// Remembers a Kill of what was not live: repeated, it kills nothing that was launched meanwhile.
    pub(crate) fn remember_vain(
        &mut self,
        framework: &FrameworkId,
        scope: Scope,
        request: u64,
        call: Call,
    ) {
        self.keep(framework, scope, request, call, Kept::Vain);
    }

    fn keep(
        &mut self,
        framework: &FrameworkId,
        scope: Scope,
        request: u64,
        call: Call,
        answer: Kept,
    ) {
        let Some(known) = self.frameworks.get_mut(framework).filter(|_| request > 0) else {
            return;
        };
        let is_crowded = self.answer_results >= ANSWER_RESULTS_TOTAL_MAX;
        let most = if is_crowded { 1 } else { ANSWER_RESULTS_MAX };
        let answers = match scope {
            Scope::Session => &mut known.answers,
            Scope::Unary => &mut known.unary_answers,
        };
        self.answer_results -= answers.results();
        answers.remember(self.turn.now.mono_ns, request, call, answer, most);
        self.answer_results += answers.results();
    }

    /// The framework is over.
    pub(crate) fn forget_all_answers(&mut self, framework: &FrameworkId) {
        self.forget_answers(framework);
        if let Some(known) = self.frameworks.get_mut(framework) {
            self.answer_results -= known.unary_answers.results();
            known.unary_answers = Answers::default();
        }
    }

    /// A session that does not resume has request ids of its own.
    pub(crate) fn forget_answers(&mut self, framework: &FrameworkId) {
        if let Some(known) = self.frameworks.get_mut(framework) {
            self.answer_results -= known.answers.results();
            known.answers = Answers::default();
        }
    }
}

/// The problem of a request id that another call had.
pub(crate) fn mistaken(request: u64) -> Problem {
    let message = format!("request id {request} was another call's");
    Problem::new(code::FIELD_INVALID, message)
        .field("request_id")
        .hint("give each call a request id of its own; repeat one only with the same call")
}

/// What makes a call that one, without what is long; none of calls that are done anew each time, or end their framework.
pub(crate) fn outline(call: &Call) -> Option<Call> {
    match call {
        Call::Subscribe { .. }
        | Call::Acknowledge { .. }
        | Call::AcknowledgeOne { .. }
        | Call::Reconcile { .. }
        | Call::Teardown => None,
        Call::SetDemand(demand) => Some(Call::SetDemand(Demand {
            role: demand.role.clone(),
            generation: demand.generation,
            entries: Vec::new(),
        })),
        Call::Accept { offers, .. } => Some(Call::Accept {
            offers: offers.clone(),
            operations: Vec::new(),
        }),
        Call::SendMessage {
            agent, executor, ..
        } => Some(Call::SendMessage {
            agent: agent.clone(),
            executor: executor.clone(),
            data: Vec::new(),
        }),
        Call::Decline { .. }
        | Call::Kill { .. }
        | Call::UpdateTask { .. }
        | Call::ShutdownExecutor { .. } => Some(call.clone()),
    }
}

fn lasting_ns() -> u64 {
    u64::try_from(ANSWERS_REMEMBERED_FOR.as_nanos()).unwrap_or(u64::MAX)
}
