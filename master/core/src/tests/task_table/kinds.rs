//! A name for everything that can happen. Each list and the match that it is made of are one: a kind that is added does not
//! compile before it has a name here, and its name has no row in the table before it is driven.

use proffer_model::TaskState;
use proffer_model::link::ToMaster;
use proffer_model::session::Call;

use crate::event::{Event, OperatorCall, StateCall, TimerKey};

macro_rules! kinds {
    ($all:ident, $name:ident($type:ty) { $($pattern:pat => $kind:literal),+ $(,)? }) => {
        const $all: &[&str] = &[$($kind),+];

        fn $name(of: &$type) -> &'static str {
            match of { $($pattern => $kind),+ }
        }
    };
}

kinds!(EVENTS, event(Event) {
    Event::LinkOpened { .. } => "link opened",
    Event::LinkMessage { .. } => "link message",
    Event::LinkClosed { .. } => "link closed",
    Event::CallReceived { .. } => "call received",
    Event::CallMalformed { .. } => "call malformed",
    Event::SessionClosed { .. } => "session closed",
    Event::StateRequested { .. } => "state requested",
    Event::FrameworkCalled { .. } => "framework called",
    Event::WatchOpened { .. } => "watch opened",
    Event::WatchTaken { .. } => "watch taken",
    Event::WatchClosed { .. } => "watch closed",
    Event::ExplainRequested { .. } => "explain requested",
    Event::OperatorRequested { .. } => "operator requested",
    Event::RolesRequested { .. } => "roles requested",
    Event::Persisted(_) => "persisted",
    Event::TimerFired(_) => "timer fired",
});

kinds!(MESSAGES, message(ToMaster) {
    ToMaster::Hello(_) => "hello",
    ToMaster::Updated { .. } => "updated",
    ToMaster::Heartbeat => "heartbeat of an agent",
    ToMaster::ExecutorChanged { .. } => "executor changed",
    ToMaster::Message { .. } => "message of an executor",
});

kinds!(CALLS, call(Call) {
    Call::Subscribe { .. } => "subscribe",
    Call::SetDemand(_) => "set demand",
    Call::Accept { .. } => "accept",
    Call::Decline { .. } => "decline",
    Call::Kill { .. } => "kill",
    Call::Acknowledge { .. } => "acknowledge",
    Call::AcknowledgeOne { .. } => "acknowledge one",
    Call::Reconcile { .. } => "reconcile",
    Call::Teardown => "teardown",
    Call::UpdateTask { .. } => "update task",
    Call::SendMessage { .. } => "send message",
    Call::ShutdownExecutor { .. } => "shutdown executor",
});

kinds!(STATE_CALLS, state_call(StateCall) {
    StateCall::Get { .. } => "get",
    StateCall::Put { .. } => "put",
    StateCall::Delete { .. } => "delete",
    StateCall::List { .. } => "list",
    StateCall::ListPage { .. } => "list a page",
});

kinds!(OPERATOR_CALLS, operator_call(OperatorCall) {
    OperatorCall::SetQuota { .. } => "set quota",
    OperatorCall::SetQuotas { .. } => "set quotas",
    OperatorCall::RemoveQuota { .. } => "remove quota",
    OperatorCall::SetWeight { .. } => "set weight",
    OperatorCall::RemoveWeight { .. } => "remove weight",
    OperatorCall::Operate { .. } => "operate",
    OperatorCall::ResizeVolume { .. } => "resize volume",
    OperatorCall::DeactivateAgent { .. } => "deactivate agent",
    OperatorCall::DrainAgent { .. } => "drain agent",
    OperatorCall::MarkAgentGone { .. } => "mark agent gone",
    OperatorCall::ReactivateAgent { .. } => "reactivate agent",
    OperatorCall::KillTask { .. } => "kill task",
    OperatorCall::TeardownFramework { .. } => "teardown framework",
});

kinds!(TIMERS, timer(TimerKey) {
    TimerKey::Silence => "silence",
    TimerKey::OfferExpiry => "offer expiry",
    TimerKey::Allocate => "allocate",
    TimerKey::Failover(_) => "failover",
    TimerKey::Heartbeat => "heartbeat",
    TimerKey::PortRest => "port rest",
    TimerKey::Drain => "drain",
    TimerKey::Reclaim => "reclaim",
    TimerKey::Telling => "telling",
    TimerKey::Demands => "demands",
    TimerKey::Watches => "watches",
    TimerKey::Questions => "questions",
    TimerKey::Forget => "forget",
});

kinds!(STATES, state(TaskState) {
    TaskState::Staging => "sg",
    TaskState::Starting => "st",
    TaskState::Running => "ru",
    TaskState::Killing => "ki",
    TaskState::Unreachable => "un",
    TaskState::Finished => "fi",
    TaskState::Failed => "fa",
    TaskState::Killed => "kd",
    TaskState::Error => "er",
    TaskState::Dropped => "dr",
    TaskState::Lost => "lo",
});

/// All that can happen.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let all = [EVENTS, MESSAGES, CALLS, STATE_CALLS, OPERATOR_CALLS, TIMERS];
    all.into_iter().flatten().copied()
}

/// What happens in an event.
pub(super) fn of(happened: &Event) -> Vec<&'static str> {
    let inner = match happened {
        Event::LinkMessage { message: said, .. } => Some(message(said)),
        Event::CallReceived { call: called, .. } => Some(call(called)),
        Event::FrameworkCalled { call: called, .. } => Some(call(called)),
        Event::StateRequested { call, .. } => Some(state_call(call)),
        Event::OperatorRequested { call, .. } => Some(operator_call(call)),
        Event::TimerFired(key) => Some(timer(key)),
        _ => None,
    };
    inner.into_iter().chain([event(happened)]).collect()
}

/// All states, by their names.
pub(super) fn states() -> Vec<(&'static str, TaskState)> {
    // The list of the model holds each.
    let named = TaskState::ALL.into_iter().map(|of| (state(&of), of));
    let named: Vec<_> = named.collect();
    assert!(named.iter().map(|(name, _)| name).eq(STATES), "all states");
    named
}
