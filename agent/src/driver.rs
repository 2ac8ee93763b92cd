//! The one task that owns the core: inputs become events, effects become deeds. It knows both sides and decides nothing.
//!
//! What waits for a checkpoint waits here, in order. Heartbeats wait for nothing, so a slow disk does not look like a
//! dead agent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proffer_agent_core::{
    After, Core, Effect, Effects, Event, LinkId, RunId, Seq, SessionId, Signal,
};
use proffer_model::Time;
use proffer_model::executor::ExecutorEvent;
use proffer_model::link::ToMaster;
use proffer_server::clock;
use proffer_server::notify::Pulse;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::checkpoint::{Write, Writer};
use crate::executors::Subscriber;
use crate::inbox::{Input, Outbox};
use crate::limits::{OUTBOX_MESSAGES_MAX, WAITING_MAX};
use crate::probe::Prober;
use crate::process::{Place, Placing, Processes, Program};
use crate::record::Recorder;
use crate::timers::Timers;

/// How long the driver sleeps when no timer is set.
const IDLE: Duration = Duration::from_secs(3_600);

/// The core and all that it acts on.
#[derive(Debug)]
pub(crate) struct Driver {
    core: Core,
    writer: Writer,
    processes: Processes,
    prober: Prober,
    recorder: Recorder,
    timers: Timers,
    link: Option<(LinkId, Outbox)>,
    executors: BTreeMap<SessionId, Subscriber>,
    /// What executors were not told, until the core knows.
    untold: Vec<(SessionId, Box<ExecutorEvent>)>,
    /// What waits for a checkpoint, in order.
    waiting: VecDeque<(Seq, Deed)>,
    written: Seq,
    durable: Seq,
}

/// What can wait for a checkpoint.
#[derive(Debug)]
enum Deed {
    Send(LinkId, Box<ToMaster>),
    Signal(RunId, Signal),
    StopFetching(RunId),
    Executor(SessionId, Box<ExecutorEvent>),
    CloseExecutor(SessionId),
}

impl Driver {
    pub(crate) fn new(
        core: Core,
        writer: Writer,
        processes: Processes,
        prober: Prober,
        recorder: Recorder,
    ) -> Self {
        Self {
            core,
            writer,
            processes,
            prober,
            recorder,
            timers: Timers::default(),
            link: None,
            executors: BTreeMap::new(),
            untold: Vec::new(),
            waiting: VecDeque::new(),
            written: Seq(0),
            durable: Seq(0),
        }
    }

    /// Takes in what was recovered: then the executors that wait for the agent may call.
    pub(crate) async fn recover(&mut self, recovered: Event) {
        self.step(recovered).await;
    }

    /// Runs until `ended`. Then all parts of it have ended, and the containers run on.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Input>,
        pulse: Pulse,
        ended: CancellationToken,
    ) {
        loop {
            let wait = self.until_next_timer(clock::now());
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                Ok(()) = self.writer.durable.changed() => {
                    self.durable = *self.writer.durable.borrow_and_update();
                    self.recorder.unwritten(self.written.0 - self.durable.0);
                    self.step(Event::Persisted(self.durable)).await;
                    self.release();
                }
                () = pulse.asked() => {}
                () = sleep(wait) => {}
                Some(input) = inbox.recv() => self.take(input).await,
            }
            self.fire_timers().await;
            self.say_untold().await;
        }
        // Closed first: whoever waits to be heard must not wait for ever.
        drop(inbox);
        self.processes.join().await;
        self.prober.join().await;
        drop(self.writer.writes);
        while self.writer.durable.changed().await.is_ok() {}
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => {
                match *event {
                    Event::LinkClosed(link) => self.forget_link(link),
                    Event::ExecutorLeft { session, .. } => self.forget_executor(session),
                    _ => {}
                }
                self.step(*event).await;
            }
            // The room is given back when all of it is done.
            Input::Heavy(event, _room) => self.step(*event).await,
            Input::Link(link, outbox) => {
                self.link = Some((link, outbox));
                self.step(Event::LinkOpened(link)).await;
            }
            Input::Executor(session, subscriber, event) => {
                self.executors.insert(session, subscriber);
                self.step(*event).await;
            }
        }
    }

    async fn fire_timers(&mut self) {
        while let Some(key) = self.timers.pop_due(clock::now()) {
            self.step(Event::TimerFired(key)).await;
        }
    }

    async fn say_untold(&mut self) {
        for (session, event) in std::mem::take(&mut self.untold) {
            self.step(Event::ExecutorUntold { session, event }).await;
        }
    }

    fn until_next_timer(&self, now: Time) -> Duration {
        let next = self.timers.next_ns();
        next.map_or(IDLE, |at| {
            Duration::from_nanos(at.saturating_sub(now.mono_ns))
        })
    }

    async fn step(&mut self, event: Event) {
        let mut effects = Effects::new();
        self.core.step(clock::now(), event, &mut effects);
        for effect in effects {
            self.act(effect).await;
        }
    }

    async fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { seq, change } => {
                self.written = seq;
                self.write(Write::Change(seq, change)).await;
            }
            Effect::RemoveRun(run) => self.write(Write::Remove(run)).await,
            Effect::KeepVolumes(volumes) => self.processes.keep_volumes(volumes),
            Effect::Send {
                link,
                message,
                after,
            } => {
                self.when_durable(after, Deed::Send(link, Box::new(message)));
            }
            Effect::SignalContainer { run, signal, after } => {
                self.when_durable(after, Deed::Signal(run, signal));
            }
            Effect::StopFetching { run, after } => {
                self.when_durable(after, Deed::StopFetching(run));
            }
            Effect::CloseLink(link) => self.forget_link(link),
            Effect::StartContainer { run, spec } => {
                self.processes.start(run, Program::Task(spec));
            }
            effect @ (Effect::StartExecutor { .. }
            | Effect::AwaitExecutor { .. }
            | Effect::LeaveExecutor { .. }
            | Effect::MountVolumes { .. }
            | Effect::UnmountVolumes { .. }
            | Effect::SendExecutor { .. }
            | Effect::CloseExecutor { .. }) => self.act_for_executor(effect),
            Effect::RunCheck {
                run,
                check,
                kind,
                timeout,
            } => {
                self.prober.probe(run, check, kind, timeout);
            }
            Effect::SetTimer { key, at } => self.timers.set(key, at),
            Effect::CancelTimer(key) => self.timers.cancel(key),
            Effect::Record(fact) => self.recorder.record(fact),
        }
    }

    fn act_for_executor(&mut self, effect: Effect) {
        match effect {
            Effect::StartExecutor {
                run,
                framework,
                spec,
                agent,
                role,
            } => {
                let executor = Program::Executor {
                    framework,
                    spec,
                    agent,
                    role,
                };
                self.processes.start(run, executor);
            }
            Effect::AwaitExecutor {
                run,
                framework,
                spec,
            } => self.processes.await_executor(run, &framework, &spec),
            Effect::MountVolumes {
                run,
                executor,
                of,
                spec,
            } => {
                let what = Place::Mount(run);
                self.processes.place(executor, Placing { of, spec, what });
            }
            Effect::UnmountVolumes {
                executor,
                of,
                spec,
                volumes,
            } => {
                let what = Place::Unmount(volumes);
                self.processes.place(executor, Placing { of, spec, what });
            }
            Effect::LeaveExecutor { run } => self.processes.leave_executor(run),
            Effect::SendExecutor {
                session,
                event,
                after,
            } => self.when_durable(after, Deed::Executor(session, Box::new(event))),
            Effect::CloseExecutor { session } => {
                self.when_durable(After::Seq(Seq(0)), Deed::CloseExecutor(session));
            }
            _ => {}
        }
    }

    /// Waits while the disk is behind. The writer never waits for the driver, so this ends when the disk takes it.
    async fn write(&mut self, write: Write) {
        if self.writer.writes.send(write).await.is_err() {
            tracing::error!("the checkpoints' thread has ended");
        }
    }

    fn when_durable(&mut self, after: After, deed: Deed) {
        let seq = match after {
            // In order behind what waits.
            After::Seq(seq) if seq > self.durable || !self.waiting.is_empty() => seq,
            After::Seq(_) | After::Nothing => return self.perform(deed),
        };
        if self.waiting.len() >= WAITING_MAX {
            // A signal is repeated by the core; messages begin anew with the next link.
            return self.close_link();
        }
        self.waiting.push_back((seq, deed));
    }

    fn release(&mut self) {
        while let Some((_, deed)) = self.waiting.pop_front_if(|(seq, _)| *seq <= self.durable) {
            self.perform(deed);
        }
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Signal(run, signal) => self.processes.signal(run, signal),
            Deed::StopFetching(run) => self.processes.stop_fetching(run),
            Deed::CloseExecutor(session) => self.forget_executor(session),
            Deed::Executor(session, event) => {
                let untold = match self.executors.get(&session) {
                    Some(subscriber) => subscriber.send(*event).err(),
                    None => Some(event),
                };
                if let Some(event) = untold {
                    // It reads too slowly, or is gone: the next session begins with all that counts.
                    self.forget_executor(session);
                    self.untold.push((session, event));
                }
            }
            Deed::Send(link, message) => {
                let Some((_, outbox)) = self.link.as_ref().filter(|(id, _)| *id == link) else {
                    return;
                };
                let waiting = outbox.messages.max_capacity() - outbox.messages.capacity();
                if matches!(*message, ToMaster::Message { .. }) && waiting >= OUTBOX_MESSAGES_MAX {
                    tracing::debug!(
                        "a message of an executor is left out: the master reads slowly"
                    );
                    return;
                }
                if outbox.messages.try_send(*message).is_err() {
                    // The master reads too slowly, or is gone: the next link begins with all that counts.
                    self.close_link();
                }
            }
        }
    }

    /// Ends the link; the linker then says that it has ended.
    fn close_link(&mut self) {
        if let Some((_, outbox)) = self.link.take() {
            outbox.close.cancel();
            self.recorder.unlinked();
        }
    }

    fn forget_link(&mut self, link: LinkId) {
        if self.link.as_ref().is_some_and(|(id, _)| *id == link) {
            self.close_link();
        }
    }
    /// Ends a session of an executor; it then says that it has ended.
    fn forget_executor(&mut self, session: SessionId) {
        if let Some(subscriber) = self.executors.remove(&session) {
            subscriber.close();
        }
    }
}
