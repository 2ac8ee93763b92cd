//! The one task that owns the core: takes in what happens, carries out what is decided. No policy here.
//!
//! Events are handled in batches. All that a batch keeps is written together, and only then do its calls, facts, notices and
//! replies leave, in order. While that is being written, events of the session are taken in but not handled.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use proffer_model::session::{self, Answer, Call};
use proffer_model::{FrameworkId, Problem, Reason, Time};
use proffer_server::clock;
use proffer_server::notify::Pulse;
use proffer_services_core::core::Core;
use proffer_services_core::effect::{ApiAnswer, Effect, Fact, Notice, Refusal, Write};
use proffer_services_core::event::{ApiCall, CallId, Event, Origin, RequestId, TimerKey};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::limits::{BATCH_LEN_MAX, CALLS_WAITING_MAX, EVENTS_WAITING_MAX};
use crate::master::Master;
use crate::metrics::Counters;
use crate::store::Store;
use crate::stream::EventStream;
use crate::view::View;

/// What a session tells.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// Something happened in the session; `Subscribed` and `Closed` are its ends.
    Told {
        /// What to acknowledge.
        sequence: u64,
        /// What happened.
        event: session::Event,
    },
    /// There will be no session any more, and why.
    Over(Problem),
}

/// A request of the REST API.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    pub(crate) origin: Origin,
    pub(crate) call: ApiCall,
    pub(crate) reply: oneshot::Sender<Result<ApiAnswer, Refusal>>,
}

/// Keeps the framework's id when it is first told.
pub(crate) type KeepId = Box<dyn Fn(&FrameworkId) -> Result<(), Problem> + Send>;

/// Where everything comes from and goes to.
pub(crate) struct Wires<M> {
    pub(crate) master: Arc<M>,
    pub(crate) link: mpsc::Receiver<LinkEvent>,
    pub(crate) requests: mpsc::Receiver<ApiRequest>,
    pub(crate) view: Arc<View>,
    pub(crate) stream: EventStream,
    pub(crate) counters: Counters,
    pub(crate) keep_id: KeepId,
    pub(crate) pulse: Pulse,
}

/// The driver.
pub(crate) struct Driver<M> {
    core: Core,
    store: Store<M>,
    wires: Wires<M>,
    is_loaded: bool,
    /// Raised when a session ends: calls decided before are dropped.
    session_number: u64,
    taken: VecDeque<LinkEvent>,
    timers: BTreeMap<TimerKey, Time>,
    replies: BTreeMap<RequestId, oneshot::Sender<Result<ApiAnswer, Refusal>>>,
    next_request: u64,
    answers: FuturesUnordered<BoxFuture<'static, (CallId, Answer)>>,
}

impl<M: Master> Driver<M> {
    pub(crate) fn new(core: Core, store: Store<M>, wires: Wires<M>) -> Self {
        Self {
            core,
            store,
            wires,
            is_loaded: false,
            session_number: 0,
            taken: VecDeque::new(),
            timers: BTreeMap::new(),
            replies: BTreeMap::new(),
            next_request: 0,
            answers: FuturesUnordered::new(),
        }
    }

    /// Runs until shutdown. The error says why it cannot go on: the state is another's or cannot be read, the framework is
    /// over.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Problem> {
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ended = self.run_on() => ended,
        }
    }

    async fn run_on(&mut self) -> Result<(), Problem> {
        loop {
            let mut effects = Vec::new();
            tokio::select! {
                event = next_event(&mut self.taken, &mut self.wires.link) => self.on_link(event, &mut effects).await?,
                Some(request) = self.wires.requests.recv() => self.on_request(request, &mut effects),
                Some((call, answer)) = self.answers.next(), if !self.answers.is_empty() => {
                    self.step(Event::Answered { call, answer }, &mut effects);
                }
                () = self.wires.pulse.asked() => {}
                () = sleep_until(self.timers.values().min().copied()) => {}
            }
            self.fire_timers(&mut effects);
            self.take_what_waits(&mut effects).await?;
            self.carry_out(effects).await?;
        }
    }

    /// Fills the batch with what is there already.
    async fn take_what_waits(&mut self, effects: &mut Vec<Effect>) -> Result<(), Problem> {
        for _ in 0..BATCH_LEN_MAX {
            if let Some(event) = self.taken.pop_front() {
                self.on_link(event, effects).await?;
            } else if let Ok(event) = self.wires.link.try_recv() {
                self.on_link(event, effects).await?;
            } else if let Ok(request) = self.wires.requests.try_recv() {
                self.on_request(request, effects);
            } else {
                break;
            }
        }
        Ok(())
    }

    fn step(&mut self, event: Event, effects: &mut Vec<Effect>) {
        self.core.step(clock::now(), event, effects);
    }

    async fn on_link(
        &mut self,
        event: LinkEvent,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Problem> {
        let (sequence, event) = match event {
            LinkEvent::Told { sequence, event } => (sequence, event),
            LinkEvent::Over(problem) => return Err(problem),
        };
        match event {
            session::Event::Subscribed { framework, .. } => {
                self.on_subscribed(framework, effects).await?
            }
            session::Event::Closed(problem) => {
                // The SDK warns of it.
                tracing::debug!(%problem, "the session with the master ended");
                self.session_number += 1;
                self.wires.view.set_session(None);
                self.step(Event::SessionLost, effects);
            }
            session::Event::Offered(offers) => self.step(Event::Offered(offers), effects),
            session::Event::Rescinded(offers) => self.step(Event::Rescinded(offers), effects),
            session::Event::Updated(status) => {
                self.step(Event::Updated { sequence, status }, effects)
            }
            session::Event::AgentSettled(agent) => self.step(Event::AgentSettled(agent), effects),
            session::Event::Reclaim {
                tasks,
                reason,
                deadline: _,
            } => {
                // Replacing begins at once, so how long there is does not matter.
                let is_wanted = reason != Reason::None;
                self.step(Event::Reclaimed { tasks, is_wanted }, effects);
            }
            // Services have no executors.
            session::Event::Answered { .. }
            | session::Event::Heartbeat
            | session::Event::StandingBy { .. }
            | session::Event::SnapshotEnded
            | session::Event::Message { .. }
            | session::Event::ExecutorEnded { .. } => {}
        }
        Ok(())
    }

    async fn on_subscribed(
        &mut self,
        framework: FrameworkId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Problem> {
        (self.wires.keep_id)(&framework)?;
        if !self.is_loaded {
            let records = self
                .wires
                .meanwhile(&mut self.taken, &mut self.session_number, self.store.load())
                .await?;
            tracing::info!(records = records.len(), framework_id = %framework, "state read");
            self.is_loaded = true;
            self.step(Event::Loaded(records), effects);
        }
        self.wires.view.set_session(Some(framework.clone()));
        self.step(Event::SessionOpened { framework }, effects);
        Ok(())
    }

    fn on_request(&mut self, request: ApiRequest, effects: &mut Vec<Effect>) {
        // Who has been told that it took too long must not have it done later.
        if request.reply.is_closed() {
            return;
        }
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.replies.insert(id, request.reply);
        let event = Event::ApiCalled {
            request: id,
            origin: request.origin,
            call: request.call,
        };
        self.step(event, effects);
    }

    fn fire_timers(&mut self, effects: &mut Vec<Effect>) {
        let now = clock::now();
        let is_due = |(_, at): &(&TimerKey, &Time)| at.mono_ns <= now.mono_ns;
        let due: Vec<TimerKey> = self
            .timers
            .iter()
            .filter(is_due)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.timers.remove(&key);
            self.core.step(now, Event::TimerFired(key), effects);
        }
    }

    /// Writes what is to be kept, then does the rest in order.
    async fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), Problem> {
        let session_number = self.session_number;
        let mut writes = BTreeMap::new();
        let mut rest = Vec::with_capacity(effects.len());
        for effect in effects {
            match effect {
                Effect::Persist(changes) => {
                    writes.extend(
                        changes
                            .into_iter()
                            .map(|write| (WriteKey::of(&write), write)),
                    );
                }
                Effect::SetTimer { key, at } => {
                    self.timers.insert(key, at);
                }
                other => rest.push(other),
            }
        }
        if !writes.is_empty() {
            let writes: Vec<Write> = writes.into_values().collect();
            self.wires
                .meanwhile(
                    &mut self.taken,
                    &mut self.session_number,
                    self.store.write(&writes),
                )
                .await?;
        }
        for effect in rest {
            match effect {
                Effect::Call { id, call } => {
                    if session_number == self.session_number {
                        self.call(id, call).await;
                    }
                }
                Effect::Reply { request, reply } => {
                    if let Some(waiting) = self.replies.remove(&request) {
                        // Who waits no longer was told that the outcome is not known.
                        let _ = waiting.send(reply);
                    }
                }
                Effect::Publish(notice) => {
                    log_notice(&notice);
                    self.wires.stream.publish(clock::now().wall_ms, &notice);
                }
                Effect::Record(fact) => {
                    self.wires.counters.count(&fact);
                    log_fact(&fact);
                    self.wires.view.apply(&fact);
                }
                Effect::Persist(_) | Effect::SetTimer { .. } => {}
            }
        }
        if self.is_loaded && !self.wires.view.is_loaded() {
            self.wires.view.set_loaded();
        }
        Ok(())
    }

    async fn call(&mut self, id: Option<CallId>, call: Call) {
        let answer = self.wires.master.send(call).await;
        if let Some(id) = id
            && self.answers.len() < CALLS_WAITING_MAX
        {
            self.answers
                .push(Box::pin(async move { (id, answer.await) }));
        }
    }
}

impl<M> Wires<M> {
    /// Works on the state, and takes in what the session tells meanwhile, so that it does not wait for us.
    async fn meanwhile<T>(
        &mut self,
        taken: &mut VecDeque<LinkEvent>,
        session_number: &mut u64,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(event) = self.link.recv(), if taken.len() < EVENTS_WAITING_MAX => {
                    match &event {
                        LinkEvent::Over(problem) => return Err(problem.clone()),
                        LinkEvent::Told { event: session::Event::Closed(_), .. } => {
                            *session_number += 1;
                            self.view.set_session(None);
                        }
                        LinkEvent::Told { .. } => {}
                    }
                    taken.push_back(event);
                }
            }
        }
    }
}

/// Of several changes of one key in a batch the last one counts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum WriteKey {
    App(proffer_services_core::id::AppId),
    Instance(proffer_services_core::id::InstanceId),
}

impl WriteKey {
    fn of(write: &Write) -> Self {
        use proffer_services_core::event::Record;
        match write {
            Write::Put(Record::App(app)) => Self::App(app.spec.id.clone()),
            Write::Put(Record::Instance(instance)) => Self::Instance(instance.id),
            Write::DeleteApp(id) => Self::App(id.clone()),
            Write::DeleteInstance(id) => Self::Instance(*id),
        }
    }
}

async fn next_event(
    taken: &mut VecDeque<LinkEvent>,
    link: &mut mpsc::Receiver<LinkEvent>,
) -> LinkEvent {
    if let Some(event) = taken.pop_front() {
        return event;
    }
    match link.recv().await {
        Some(event) => event,
        // The sender says `Over` before it goes; without a sender there is nothing more to hear.
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Time>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock::now())).await,
        None => std::future::pending().await,
    }
}

fn log_notice(notice: &Notice) {
    match notice {
        Notice::DeploymentStarted { app, deployment } => {
            tracing::info!(app = %app, deployment = %deployment.id, kind = ?deployment.kind, "deployment started");
        }
        Notice::DeploymentSucceeded { app, deployment } => {
            tracing::info!(app = %app, deployment = %deployment.id, "deployment succeeded");
        }
        Notice::DeploymentFailed {
            app,
            deployment,
            reason,
        } => {
            tracing::info!(app = %app, deployment = %deployment.id, reason, "deployment given up");
        }
        Notice::AppPosted { .. }
        | Notice::AppTerminated(_)
        | Notice::TaskUpdated { .. }
        | Notice::HealthChanged { .. } => {}
    }
}

fn log_fact(fact: &Fact) {
    match fact {
        Fact::InstanceFailed { instance, message } => {
            tracing::info!(task_id = %instance.task, host = %instance.host, why = ?message, "instance ended by itself");
        }
        Fact::LaunchRefused { app, problem } => {
            tracing::info!(app = %app, %problem, "launch refused")
        }
        Fact::UnknownTaskKilled(task) => {
            tracing::warn!(task_id = %task, "task that nobody here knows is killed")
        }
        Fact::CallRefused(problem) => tracing::warn!(%problem, "the master refused a call"),
        Fact::AppChanged(_)
        | Fact::AppRemoved(_)
        | Fact::InstanceChanged(_)
        | Fact::InstanceRemoved(_) => {}
    }
}
