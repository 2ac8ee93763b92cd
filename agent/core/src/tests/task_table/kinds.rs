//! A name for everything that can happen to an agent. Each list and the match that it is made of are one: a kind that is
//! added does not compile before it has a name here, and its name has no row in the table before it is driven.

use proffer_model::TaskState;
use proffer_model::link::ToAgent;

use crate::tasks::Phase;
use crate::{Event, Found, TimerKey};

macro_rules! kinds {
    ($all:ident, $name:ident($type:ty) { $($pattern:pat => $kind:literal),+ $(,)? }) => {
        const $all: &[&str] = &[$($kind),+];

        fn $name(of: &$type) -> &'static str {
            match of { $($pattern => $kind),+ }
        }
    };
}

kinds!(EVENTS, event(Event) {
    Event::Recovered { .. } => "recovered",
    Event::LinkOpened(_) => "link opened",
    Event::LinkMessage { .. } => "link message",
    Event::LinkClosed(_) => "link closed",
    Event::Persisted(_) => "persisted",
    Event::ContainerStarted { .. } => "container started",
    Event::ContainerFailed { .. } => "container failed",
    Event::ContainerExited { .. } => "container exited",
    Event::SupervisorLost { .. } => "supervisor lost",
    Event::CheckFinished { .. } => "check finished",
    Event::ExecutorSubscribed { .. } => "executor subscribed",
    Event::ExecutorSaid { .. } => "executor said",
    Event::ExecutorMessage { .. } => "executor message",
    Event::ExecutorUntold { .. } => "executor untold",
    Event::VolumesMounted { .. } => "volumes mounted",
    Event::ExecutorLeft { .. } => "executor left",
    Event::TimerFired(_) => "timer fired",
});

kinds!(MESSAGES, message(ToAgent) {
    ToAgent::Welcome { .. } => "welcome",
    ToAgent::Refused(_) => "refused",
    ToAgent::Launch { .. } => "launch",
    ToAgent::Kill { .. } => "kill",
    ToAgent::Acknowledge { .. } => "acknowledge",
    ToAgent::Heartbeat { .. } => "heartbeat of a master",
    ToAgent::LaunchGroup { .. } => "launch group",
    ToAgent::UpdateTask { .. } => "update task",
    ToAgent::Message { .. } => "message",
    ToAgent::ShutdownExecutor { .. } => "shutdown executor",
    ToAgent::Volumes { .. } => "volumes",
});

kinds!(TIMERS, timer(TimerKey) {
    TimerKey::Heartbeat => "heartbeat",
    TimerKey::Resend(_) => "resend",
    TimerKey::Grace(_) => "grace",
    TimerKey::Check(..) => "check",
    TimerKey::Completion(_) => "completion",
    TimerKey::Executor(_) => "executor",
    TimerKey::Garbage => "garbage",
});

kinds!(FOUND, found(Found) {
    Found::NeverStarted => "never started",
    Found::Running { .. } => "running",
    Found::Failed { .. } => "failed",
    Found::Exited(_) => "exited",
    Found::SupervisorLost => "lost its supervisor",
});

kinds!(PHASES, phase(Phase) {
    Phase::Recording => "re",
    Phase::Starting => "st",
    Phase::Running => "ru",
    Phase::Killing => "ki",
    Phase::Ended => "en",
});

/// All that can happen.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    [EVENTS, MESSAGES, TIMERS, FOUND]
        .into_iter()
        .flatten()
        .copied()
}

/// All phases.
pub(super) fn phases() -> impl Iterator<Item = &'static str> {
    PHASES.iter().copied()
}

/// What happens in an event.
pub(super) fn of(happened: &Event) -> Vec<&'static str> {
    let mut kinds = vec![event(happened)];
    match happened {
        Event::LinkMessage { message: said, .. } => kinds.push(message(said)),
        Event::TimerFired(key) => kinds.push(timer(key)),
        Event::Recovered { runs, .. } => {
            kinds.extend(runs.iter().map(|run| found(&run.found)));
        }
        _ => {}
    }
    kinds
}

/// Where a task stands; of one that has ended, how.
pub(super) fn stands(at: Phase, said: TaskState) -> &'static str {
    match (at, said) {
        (Phase::Ended, TaskState::Finished) => "fi",
        (Phase::Ended, TaskState::Failed) => "fa",
        (Phase::Ended, TaskState::Killed) => "kd",
        (Phase::Ended, TaskState::Error) => "er",
        (Phase::Ended, TaskState::Lost) => "lo",
        (at, _) => phase(&at),
    }
}

/// The name of a phase.
pub(super) fn name(at: Phase) -> &'static str {
    phase(&at)
}
