//! Calls that had no answer when their session ended: the next one begins with those that may be made twice, under their
//! request ids, by which a master of the same term knows what it has done.
//!
//! An accept is not called again, because in another term nobody would know it from a second one: what became of it is told
//! by statuses. Neither is a message, which is delivered at most once.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::session::{Answer, Call, Operation};
use proffer_model::{Demand, ExecutorId, Problem, Role, TaskId, TaskSpec, code};

use crate::handle::Reply;

/// A call that has no answer yet.
pub(crate) struct Waiting {
    /// Where the answer goes; none for calls that the SDK makes itself.
    pub(crate) reply: Option<Reply>,
    pub(crate) call: Call,
    /// Whether what it would hit was launched after it was called: it is not meant for that.
    pub(crate) is_overtaken: bool,
}

/// Those that are called again, by request id.
#[derive(Default)]
pub(crate) struct Unanswered(BTreeMap<u64, Waiting>);

impl Unanswered {
    /// Takes what waited in a session that has ended; what cannot be called again fails.
    pub(crate) fn of_session(waiting: BTreeMap<u64, Waiting>, why: &Problem) -> Self {
        let problem = &broken(why);
        let (mut again, mut later) = (BTreeMap::new(), Launches::default());
        for (request, it) in waiting.into_iter().rev() {
            later.add(request, launched_by(&it.call));
            let is_overtaken = it.is_overtaken || later.are_hit_by(request, &it.call);
            match may_repeat(&it.call) && !is_overtaken {
                true => drop(again.insert(request, it)),
                false => it.fail(problem),
            }
        }
        Self(again)
    }

    /// None is called again; `problem` says why.
    pub(crate) fn fail(&mut self, problem: &Problem) {
        for (_, waiting) in std::mem::take(&mut self.0) {
            match waiting.call {
                // That is what it was to come to.
                Call::Teardown if problem.is(code::FRAMEWORK_COMPLETED) => waiting.done(),
                _ => waiting.fail(&broken(problem)),
            }
        }
    }

    /// Who waits for the demand that the next session begins with in a role.
    pub(crate) fn take_demand(
        &mut self,
        role: &Role,
        is_latest: impl Fn(&Demand) -> bool,
    ) -> Option<Reply> {
        let mut reply = None;
        let of_role = self.0.extract_if(
            ..,
            |_, it| matches!(&it.call, Call::SetDemand(demand) if demand.role == *role),
        );
        for (_, waiting) in of_role {
            match &waiting.call {
                Call::SetDemand(demand) if is_latest(demand) => reply = waiting.reply,
                // A later one has said more.
                _ => waiting.done(),
            }
        }
        reply
    }

    /// What is to be called now, in the order in which it was called before.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (u64, Waiting)> + use<> {
        let is_wanted = |it: &Waiting| match (&it.reply, &it.call) {
            // Of which tasks the SDK asks, it finds out anew; and what is wanted is said already.
            (None, Call::Reconcile { .. } | Call::SetDemand(_)) => false,
            (None, _) => true,
            (Some(reply), call) => is_to_be_done(call) || !reply.is_closed(),
        };
        let all = std::mem::take(&mut self.0).into_iter();
        all.filter(move |(_, it)| is_wanted(it))
    }
}

/// Tasks and executors that are launched, and by which requests.
#[derive(Default)]
pub(crate) struct Launches {
    tasks: BTreeSet<(TaskId, u64)>,
    executors: BTreeSet<(ExecutorId, u64)>,
}

impl Launches {
    /// A request launches these.
    pub(crate) fn add<'a>(&mut self, request: u64, specs: impl Iterator<Item = &'a TaskSpec>) {
        for spec in specs {
            self.tasks.insert((spec.id.clone(), request));
            let executor = spec.executor.as_ref();
            self.executors
                .extend(executor.map(|own| (own.id.clone(), request)));
        }
    }

    /// The request launches these no more.
    pub(crate) fn remove<'a>(&mut self, request: u64, specs: impl Iterator<Item = &'a TaskSpec>) {
        for spec in specs {
            self.tasks.remove(&(spec.id.clone(), request));
            if let Some(own) = &spec.executor {
                self.executors.remove(&(own.id.clone(), request));
            }
        }
    }

    /// Whether a call would hit what a later request launches, in place of what it was meant for.
    pub(crate) fn are_hit_by(&self, request: u64, call: &Call) -> bool {
        match call {
            Call::Kill { task, .. } | Call::UpdateTask { task, .. } => {
                has_later(&self.tasks, task, request)
            }
            Call::ShutdownExecutor { executor, .. } => {
                has_later(&self.executors, executor, request)
            }
            _ => false,
        }
    }
}

fn has_later<Id: Clone + Ord>(launched: &BTreeSet<(Id, u64)>, id: &Id, request: u64) -> bool {
    let mut later = launched.range((id.clone(), request.saturating_add(1))..);
    later.next().is_some_and(|(next, _)| next == id)
}

impl Waiting {
    /// A call that is about to be made.
    pub(crate) fn new(call: Call, reply: Option<Reply>) -> Self {
        Self {
            reply,
            call,
            is_overtaken: false,
        }
    }

    /// What it would hit was launched since, so it is not called again. A task is launched when the one before it under its id
    /// has ended: then that is killed.
    pub(crate) fn overtaken(self) {
        let message = "what the call names was launched anew while it was above the rate";
        match self.call {
            Call::Kill { .. } => self.done(),
            _ => self.fail(&Problem::new(code::SESSION_RATE_LIMITED, message)),
        }
    }

    /// Whether somebody waits for the answer who may call again.
    pub(crate) fn is_awaited(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    /// It is not called any more, for what it was to do is done.
    pub(crate) fn done(self) {
        if let Some(reply) = self.reply {
            reply.send(Ok(Answer::Done));
        }
    }

    fn fail(self, problem: &Problem) {
        if let Some(reply) = self.reply {
            reply.send(Err(problem.clone()));
        }
    }
}

/// Whether the next session begins with it.
pub(crate) fn may_repeat(call: &Call) -> bool {
    match call {
        Call::SetDemand(_)
        | Call::Decline { .. }
        | Call::Kill { .. }
        | Call::UpdateTask { .. }
        | Call::Reconcile { .. }
        | Call::ShutdownExecutor { .. }
        | Call::Teardown => true,
        Call::Subscribe { .. }
        | Call::Accept { .. }
        | Call::SendMessage { .. }
        | Call::Acknowledge { .. }
        | Call::AcknowledgeOne { .. } => false,
    }
}

/// Whether it ends or changes something, and so is to be done whether anybody waits to hear of it or not.
pub(crate) fn is_to_be_done(call: &Call) -> bool {
    match call {
        Call::Kill { .. }
        | Call::UpdateTask { .. }
        | Call::ShutdownExecutor { .. }
        | Call::Teardown => true,
        Call::Subscribe { .. }
        | Call::SetDemand(_)
        | Call::Accept { .. }
        | Call::Decline { .. }
        | Call::Reconcile { .. }
        | Call::SendMessage { .. }
        | Call::Acknowledge { .. }
        | Call::AcknowledgeOne { .. } => false,
    }
}

/// Whether it ends or changes what a launch may have begun.
pub(crate) fn may_hit(call: &Call) -> bool {
    matches!(
        call,
        Call::Kill { .. } | Call::UpdateTask { .. } | Call::ShutdownExecutor { .. }
    )
}

/// What a call is to launch.
pub(crate) fn launched_by(call: &Call) -> impl Iterator<Item = &TaskSpec> {
    let operations = match call {
        Call::Accept { operations, .. } => operations.as_slice(),
        _ => &[],
    };
    operations.iter().flat_map(Operation::tasks)
}

fn broken(why: &Problem) -> Problem {
    let message = format!("the session ended before the answer: {}", why.message);
    Problem::new(code::PEER_UNREACHABLE, message)
        .hint("whether the call was carried out is told by statuses")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::task;

    #[test]
    fn a_call_hits_what_a_later_request_launches_and_nothing_that_was_launched_before() {
        let kill = |id: &str| Call::Kill {
            task: task(id),
            grace: None,
        };
        let tasks = [("a", 2), ("b", 2), ("b", 9)].map(|(id, by)| (task(id), by));
        let launches = Launches {
            tasks: tasks.into(),
            executors: BTreeSet::new(),
        };
        for (request, id, is_hit) in [
            (1, "a", true),
            (2, "a", false),
            (3, "a", false),
            (3, "b", true),
            (9, "b", false),
            (1, "c", false),
        ] {
            assert_eq!(
                launches.are_hit_by(request, &kill(id)),
                is_hit,
                "{request} {id}"
            );
        }
    }
}
