//! What an emulated agent does: the same core as a real one's, where every disk is at once durable, every container starts
//! at once, and every task has the fate that was drawn for it. No I/O: what is sent goes into a queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proffer_agent_core::limits::EXECUTOR_WAIT_DEFAULT;
use proffer_agent_core::{
    Change, Core, Effect, Effects, Event, Fact, Identity, LinkId, RunId, Settings, Signal, TimerKey,
};
use proffer_model::{AgentDescription, AgentId, Exit, Reason, TaskSpec, Time};
use std::time::Duration;

use super::Shared;
use super::fate::{Fate, mix};
use super::stream::Outgoing;
use crate::timers::Timers;

/// The process id of every emulated task: there is no process.
const NO_PROCESS: u32 = 0;
/// SIGTERM, SIGKILL.
const SIGNALS: (i32, i32) = (15, 9);

/// One agent without its connection.
#[derive(Debug)]
pub(super) struct Machine {
    core: Core,
    timers: Timers,
    shared: Arc<Shared>,
    /// What was drawn for runs that have not started.
    fates: BTreeMap<RunId, Fate>,
    running: BTreeMap<RunId, Running>,
    ends: BTreeSet<(u64, RunId)>,
    link: Option<(LinkId, Outgoing)>,
    links: u64,
    /// Whether the master has welcomed it on this link.
    is_registered: bool,
}

/// A task that would run if it were real.
#[derive(Debug)]
struct Running {
    spec: Arc<TaskSpec>,
    is_failure: bool,
    /// When it ends by itself.
    ends_at: Option<u64>,
}

impl Machine {
    pub(super) fn new(
        now: Time,
        shared: Arc<Shared>,
        agent: AgentId,
        description: AgentDescription,
    ) -> Self {
        let seed = agent
            .as_str()
            .bytes()
            .fold(shared.fates.seed, |hash, byte| mix(hash ^ u64::from(byte)));
        let mut machine = Self {
            core: Core::new(Settings {
                description,
                seed,
                garbage_delay: Duration::ZERO,
                executor_wait: EXECUTOR_WAIT_DEFAULT,
            }),
            timers: Timers::default(),
            shared,
            fates: BTreeMap::new(),
            running: BTreeMap::new(),
            ends: BTreeSet::new(),
            link: None,
            links: 0,
            is_registered: false,
        };
        let identity = Identity {
            agent: Some(agent),
            ..Identity::default()
        };
        let boot = String::new();
        let recovered = Event::Recovered {
            identity,
            boot,
            runs: Vec::new(),
            executors: Vec::new(),
        };
        machine.step(now, recovered);
        machine
    }

    /// A link begins; the queue then holds what is said first.
    pub(super) fn open(&mut self, now: Time, outgoing: Outgoing) -> LinkId {
        self.links += 1;
        let link = LinkId(self.links);
        self.link = Some((link, outgoing));
        self.step(now, Event::LinkOpened(link));
        link
    }

    /// A link is over.
    pub(super) fn close(&mut self, now: Time, link: LinkId) {
        self.leave();
        self.step(now, Event::LinkClosed(link));
    }

    /// Whether the link is open as far as this end wants it.
    pub(super) fn is_linked(&self) -> bool {
        self.link.is_some()
    }

    /// Whether the master has welcomed it on this link.
    pub(super) fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// When something is due, in nanoseconds of the monotonic clock.
    pub(super) fn next_ns(&self) -> Option<u64> {
        let end = self.ends.first().map(|(at, _)| *at);
        end.into_iter().chain(self.timers.next_ns()).min()
    }

    /// Does what is due.
    pub(super) fn pass(&mut self, now: Time) {
        while let Some((at, run)) = self.ends.first().copied()
            && at <= now.mono_ns
        {
            let failed = self.running.get(&run).is_some_and(|task| task.is_failure);
            let exit = Exit::Code(i32::from(failed));
            if let Some(event) = self.end(run, exit) {
                self.step(now, event);
            }
        }
        while let Some(key) = self.timers.pop_due(now) {
            self.step(now, Event::TimerFired(key));
        }
    }

    /// Takes in an event and all that follows from it at once.
    pub(super) fn step(&mut self, now: Time, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let mut effects = Effects::new();
            self.core.step(now, event, &mut effects);
            for effect in effects {
                events.extend(self.act(now, effect));
            }
        }
    }

    /// Does one thing; what comes of it at once is the answer. Emulated tasks write nothing.
    fn act(&mut self, now: Time, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Persist { seq, change } => {
                let runs = match change {
                    Change::Run(made) => vec![made],
                    Change::Group(runs) => runs,
                    Change::Identity(_) | Change::Executor { .. } | Change::Entry { .. } => {
                        Vec::new()
                    }
                };
                for made in runs {
                    let fate = self.shared.fates.of(&made.spec.id, made.incarnation);
                    self.fates.insert(made.run, fate);
                }
                return Some(Event::Persisted(seq));
            }
            Effect::Send { link, message, .. } => {
                if let Some((id, outgoing)) = &self.link
                    && *id == link
                    && !outgoing.push(&message)
                {
                    self.leave();
                }
            }
            Effect::CloseLink(link) => {
                if self.link.as_ref().is_some_and(|(id, _)| *id == link) {
                    self.leave();
                }
            }
            Effect::StartContainer { run, spec } => return Some(self.start(now, run, spec)),
            Effect::StartExecutor { run, .. } => {
                return Some(Event::ContainerFailed {
                    run,
                    reason: Reason::LaunchFailed,
                    message: "emulated agents run no executors".to_owned(),
                });
            }
            Effect::AwaitExecutor { .. }
            | Effect::KeepVolumes(_)
            | Effect::StopFetching { .. }
            | Effect::MountVolumes { .. }
            | Effect::UnmountVolumes { .. }
            | Effect::LeaveExecutor { .. }
            | Effect::SendExecutor { .. }
            | Effect::CloseExecutor { .. } => {}
            Effect::SignalContainer { run, signal, .. } => {
                let number = match signal {
                    Signal::Terminate => SIGNALS.0,
                    Signal::Kill => SIGNALS.1,
                };
                return self.end(run, Exit::Signal(number));
            }
            Effect::RunCheck { run, check, .. } => {
                return Some(Event::CheckFinished {
                    run,
                    check,
                    failure: None,
                    answer: None,
                });
            }
            Effect::SetTimer { key, at } => self.timers.set(key, at),
            Effect::CancelTimer(key) => self.timers.cancel(key),
            Effect::RemoveRun(run) => {
                self.fates.remove(&run);
                self.shared.counts.forgotten();
            }
            Effect::Record(fact) => self.record(fact),
        }
        None
    }

    fn start(&mut self, now: Time, run: RunId, spec: Arc<TaskSpec>) -> Event {
        let fate = self.fates.remove(&run);
        let ends_at = fate
            .and_then(|fate| fate.duration)
            .map(|duration| now.after(duration).mono_ns);
        self.ends.extend(ends_at.map(|at| (at, run)));
        let task = Running {
            spec,
            is_failure: fate.is_some_and(|fate| fate.is_failure),
            ends_at,
        };
        self.running.insert(run, task);
        self.shared.counts.started();
        Event::ContainerStarted {
            run,
            pid: NO_PROCESS,
        }
    }

    /// Ends a task, if it is there.
    fn end(&mut self, run: RunId, exit: Exit) -> Option<Event> {
        let task = self.running.remove(&run)?;
        if let Some(at) = task.ends_at {
            self.ends.remove(&(at, run));
        }
        self.shared.counts.ended(exit);
        if let Some(witness) = &self.shared.witness {
            witness.ended(&task.spec.id);
        }
        let ended = exit.into();
        Some(Event::ContainerExited { run, ended })
    }

    fn record(&mut self, fact: Fact) {
        match fact {
            Fact::Registered { .. } if !self.is_registered => {
                self.is_registered = true;
                self.shared.registered(true);
            }
            Fact::Refused(problem) | Fact::Gone(problem) => self.shared.refused(problem),
            Fact::StatusesResent { count } => self.shared.counts.resent(count),
            Fact::Registered { .. }
            | Fact::Task(_)
            | Fact::RunRemoved(_)
            | Fact::Recovered { .. }
            | Fact::LinkSilent
            | Fact::LaunchRepeated { .. }
            | Fact::LaunchRefused { .. }
            | Fact::Executor { .. }
            | Fact::ExecutorRefused { .. }
            | Fact::OrderIgnored { .. }
            | Fact::KillIgnored { .. }
            | Fact::AcknowledgementIgnored { .. } => {}
        }
    }

    /// Forgets the link.
    fn leave(&mut self) {
        if let Some((_, outgoing)) = self.link.take() {
            outgoing.close();
        }
        self.timers.cancel(TimerKey::Heartbeat);
        if std::mem::take(&mut self.is_registered) {
            self.shared.registered(false);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
