//! Calls that had no answer when their session ended: the next one begins with those that may be made twice, under their
//! request ids, by which a master of the same term knows what it has done.
//!
//! An accept is not called again, because in another term nobody would know it from a second one: what became of it is told
//! by statuses. Neither is a message, which is delivered at most once.

use std::collections::BTreeMap;

use proffer_model::session::{Answer, Call};
use proffer_model::{Demand, Problem, Role, code};

use crate::handle::Reply;

/// A call that has no answer yet.
pub(crate) struct Waiting {
    /// Where the answer goes; none for calls that the SDK makes itself.
    pub(crate) reply: Option<Reply>,
    pub(crate) call: Call,
}

/// Those that are called again, by request id.
#[derive(Default)]
pub(crate) struct Unanswered(BTreeMap<u64, Waiting>);

impl Unanswered {
    /// Takes what waited in a session that has ended; what cannot be called again fails.
    pub(crate) fn of_session(waiting: BTreeMap<u64, Waiting>, why: &Problem) -> Self {
        let problem = &broken(why);
        let (again, lost): (BTreeMap<_, _>, BTreeMap<_, _>) = waiting
            .into_iter()
            .partition(|(_, it)| may_repeat(&it.call));
        let (again, too_late): (BTreeMap<_, _>, BTreeMap<_, _>) = again
            .into_iter()
            .partition(|(request, it)| !is_overtaken(*request, &it.call, &lost));
        for waiting in lost.into_values().chain(too_late.into_values()) {
            waiting.fail(problem);
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

    /// What is to be called now, in the order in which it was called before; not what the session asks anyway.
    pub(crate) fn take(
        &mut self,
        asks_of_all: bool,
    ) -> impl Iterator<Item = (u64, Waiting)> + use<> {
        let is_wanted = move |it: &Waiting| match (&it.reply, &it.call) {
            // Of which tasks the SDK asks, it finds out anew.
            (None, Call::Reconcile { tasks }) => tasks.is_empty() && !asks_of_all,
            (None, _) => true,
            (Some(reply), call) => is_to_be_done(call) || !reply.is_closed(),
        };
        let all = std::mem::take(&mut self.0).into_iter();
        all.filter(move |(_, it)| is_wanted(it))
    }
}

impl Waiting {
    /// Whether somebody waits for the answer who may call again.
    pub(crate) fn is_awaited(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    /// It is not called any more, for what it was to do is done.
    pub(crate) fn done(self) {
        // Whoever waits no longer does not need to know.
        if let Some(reply) = self.reply {
            drop(reply.send(Ok(Answer::Done)));
        }
    }

    fn fail(self, problem: &Problem) {
        if let Some(reply) = self.reply {
            drop(reply.send(Err(problem.clone())));
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

/// Whether a launch of unknown fate that was called later would be hit by the call in place of what it was meant for.
fn is_overtaken(request: u64, call: &Call, lost: &BTreeMap<u64, Waiting>) -> bool {
    let mut launched = lost
        .range(request..)
        .filter_map(|(_, it)| match &it.call {
            Call::Accept { operations, .. } => Some(operations),
            _ => None,
        })
        .flatten()
        .flat_map(|operation| operation.tasks());
    match call {
        Call::Kill { task, .. } | Call::UpdateTask { task, .. } => {
            launched.any(|spec| spec.id == *task)
        }
        Call::ShutdownExecutor { executor, .. } => launched.any(|spec| {
            let own = spec.executor.as_ref();
            own.is_some_and(|own| own.id == *executor)
        }),
        _ => false,
    }
}

fn broken(why: &Problem) -> Problem {
    let message = format!("the session ended before the answer: {}", why.message);
    Problem::new(code::PEER_UNREACHABLE, message)
        .hint("whether the call was carried out is told by statuses")
}
