//! A master for the unit tests of schedulers: it listens on this host and does only what the test tells it.
//!
//! ```
//! use proffer_sdk::model::{Command, Problem, TaskId, TaskSpec, TaskState};
//! use proffer_sdk::session::Event;
//! use proffer_sdk::testing::{FakeMaster, within};
//! use proffer_sdk::Framework;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Problem> {
//! let mut master = FakeMaster::start().await;
//! let (handle, mut events) = Framework::connect(master.options("mine"))?;
//! // What is to be tested: it launches a task in whatever it is offered.
//! let running = tokio::spawn(async move {
//!     while let Some(received) = events.next().await {
//!         if let Event::Offered(offers) = received.event {
//!             let task = TaskSpec::new(TaskId::new("task-1")?, Command::Shell("true".to_owned()), "cpus:1".parse()?);
//!             handle.launch(vec![offers[0].id.clone()], vec![task]).await?;
//!         }
//!     }
//!     Ok::<(), Problem>(())
//! });
//! // The test: what is offered is used, and what becomes of the task is told.
//! let mut session = master.active().await;
//! session.offer("cpus:4;mem:1024", "work", 1).await;
//! let tasks = session.launches().await;
//! assert_eq!(tasks[0].id.as_str(), "task-1");
//! session.tell(&tasks[0].id, TaskState::Finished).await;
//! session.complete().await;
//! within(running).await.expect("no panic")?;
//! # Ok(())
//! # }
//! ```
//!
//! Sessions break when they are dropped, and their calls of the state are fenced then, or once they are told their end; the next [`FakeMaster::active`] is how the scheduler comes back.
//! [`FakeSession::asked`] and [`FakeSession::tell_unknown`] play what is asked and said of tasks whose fate is open.
//!
//! Its durable state is whole and outlives sessions. Whatever the test waits for comes within ten seconds, or fails it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what goes wrong here fails the test that uses it"
)]

mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use proffer_model::session::{Answer, Call, Event};
use proffer_model::{
    AgentId, Attributes, ClusterId, DemandId, Epoch, Fit, FrameworkId, Generation, Incarnation,
    LaunchResult, Offer, OfferId, Operation, OperationResult, Problem, Reason, Resources, Role,
    Secret, Status as TaskStatus, TaskId, TaskSpec, TaskState, code,
};
use proffer_proto::v1::framework_state_server::FrameworkStateServer;
use proffer_proto::v1::leadership_server::{Leadership, LeadershipServer};
use proffer_proto::v1::scheduler_server::{Scheduler, SchedulerServer};
use proffer_proto::{decode_call, encode_event, status_of, v1};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, WatchStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use crate::ConnectOptions;
use state::StateService;
pub use state::StateTable;

/// What a test waits for comes within this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits, but no longer than ten seconds.
#[track_caller]
pub fn within<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| panic!("waited in vain at {place}"))
    }
}

/// The master; as many sessions as come, one after the other.
#[derive(Debug)]
pub struct FakeMaster {
    /// Where it listens.
    pub address: SocketAddr,
    sessions: mpsc::Receiver<FakeSession>,
    /// What it keeps for frameworks.
    pub state: Arc<Mutex<StateTable>>,
    generation: u64,
    says: watch::Sender<v1::WatchLeadershipResponse>,
    _server: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

impl FakeMaster {
    /// A master that leads.
    pub async fn start() -> Self {
        Self::start_with(None, Some(true)).await
    }

    /// How to connect here, in every role.
    pub fn options(&self, name: &str) -> ConnectOptions {
        let every = Role::new("*").expect("a role");
        let mut options = ConnectOptions::new([self.address.to_string()], name, [every]);
        options.token = Some(Secret::new("0".repeat(64)));
        options
    }

    /// The next session, subscribed in term 1 and told that there are no tasks.
    pub async fn active(&mut self) -> FakeSession {
        self.generation += 1;
        self.state.lock().unwrap().generation = self.generation;
        let mut session = self.subscribed(1, self.generation).await;
        session.send(Event::SnapshotEnded).await;
        session
    }

    /// A master that stands by until the test says otherwise.
    pub async fn start_standing_by() -> Self {
        Self::start_with(None, Some(false)).await
    }

    /// A master that refuses every session with this.
    pub async fn start_refusing(problem: Problem) -> Self {
        Self::start_with(Some(problem), Some(true)).await
    }

    /// A master that leads, and does not say whether it does.
    #[cfg(test)]
    pub(crate) async fn start_evasive() -> Self {
        Self::start_with(None, None).await
    }

    async fn start_with(refusal: Option<Problem>, is_leading: Option<bool>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sender, sessions) = mpsc::channel(16);
        let state = Arc::new(Mutex::new(StateTable::default()));
        let scheduler = SchedulerService {
            sessions: sender,
            state: Arc::clone(&state),
            refusal,
        };
        let says = watch::Sender::new(standing(address, (is_leading == Some(true)).then_some(1)));
        let serving = tonic::transport::Server::builder()
            .add_service(SchedulerServer::new(scheduler))
            .add_service(FrameworkStateServer::new(StateService::new(state.clone())))
            .add_optional_service(
                is_leading.map(|_| LeadershipServer::new(LeadershipService(says.clone()))),
            )
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self {
            address,
            sessions,
            state,
            generation: 0,
            says,
            _server: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// From now on it says that it leads, in this term.
    pub fn leads(&self, epoch: u64) {
        self.says.send_replace(standing(self.address, Some(epoch)));
    }

    /// From now on it says that it stands by.
    pub fn stands_by(&self) {
        self.says.send_replace(standing(self.address, None));
    }

    /// The next session that is opened.
    pub async fn session(&mut self) -> FakeSession {
        within(self.sessions.recv())
            .await
            .expect("the server lives")
    }

    /// The next session, subscribed as framework `f` of cluster `c`, with rare heartbeats.
    pub async fn subscribed(&mut self, epoch: u64, generation: u64) -> FakeSession {
        let mut session = self.session().await;
        session.accept(epoch, generation, PATIENCE).await;
        session
    }
}

/// What a master says of itself.
fn standing(address: SocketAddr, epoch: Option<u64>) -> v1::WatchLeadershipResponse {
    let own = v1::Leader {
        id: address.to_string(),
        address: address.to_string(),
        cluster_address: address.to_string(),
        version: "0".to_owned(),
    };
    v1::WatchLeadershipResponse {
        is_leading: epoch.is_some(),
        leader: epoch.map(|_| own),
        epoch: epoch.unwrap_or_default(),
        cluster_id: epoch.map(|_| "c".to_owned()).unwrap_or_default(),
    }
}

struct LeadershipService(watch::Sender<v1::WatchLeadershipResponse>);

#[tonic::async_trait]
impl Leadership for LeadershipService {
    type WatchStream = BoxStream<'static, Result<v1::WatchLeadershipResponse, Status>>;

    async fn watch(
        &self,
        _: Request<v1::WatchLeadershipRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let answers = WatchStream::new(self.0.subscribe()).map(Ok);
        Ok(Response::new(answers.boxed()))
    }
}

/// One session of a framework.
#[derive(Debug)]
pub struct FakeSession {
    /// The header that came with it.
    pub authorization: Option<String>,
    calls: Streaming<v1::SessionCall>,
    events: mpsc::Sender<Result<v1::SessionEvent, Status>>,
    state: Arc<Mutex<StateTable>>,
    /// Of its calls of the state, once it is active.
    generation: u64,
    epoch: Epoch,
    sequence: u64,
    /// The framework id that the subscription named.
    pub framework: Option<FrameworkId>,
    /// The term that the last call was meant for.
    pub called_in: Option<Epoch>,
    /// Ids and numbers that were given last.
    given: Given,
}

#[derive(Debug, Default)]
struct Given {
    offers: u64,
    statuses: u64,
    incarnations: std::collections::BTreeMap<TaskId, Incarnation>,
}

impl FakeSession {
    /// Reads the subscription and accepts it.
    pub async fn accept(&mut self, epoch: u64, generation: u64, heartbeat: Duration) {
        let (request, call) = self.call().await;
        let Call::Subscribe { framework, .. } = call else {
            panic!("the first call is {call:?}");
        };
        self.framework = framework;
        self.begin(request, epoch, generation, (heartbeat, false))
            .await;
    }

    /// Makes it active, after its subscription was read.
    pub async fn subscribed(&mut self, request: u64, epoch: u64, generation: u64) {
        let heartbeat = (PATIENCE, false);
        self.begin(request, epoch, generation, heartbeat).await;
    }

    /// As `subscribed`, going on where an earlier session was.
    pub async fn resumed(&mut self, request: u64, epoch: u64, generation: u64) {
        self.begin(request, epoch, generation, (PATIENCE, true))
            .await;
    }

    async fn begin(
        &mut self,
        request: u64,
        epoch: u64,
        generation: u64,
        (heartbeat, is_resumed): (Duration, bool),
    ) {
        (self.epoch, self.generation) = (Epoch(epoch), generation);
        self.answer(request, Answer::Done).await;
        self.send(Event::Subscribed {
            framework: FrameworkId::new("f").unwrap(),
            cluster: ClusterId::new("c").unwrap(),
            epoch: self.epoch,
            generation: Generation(generation),
            heartbeat_interval: heartbeat,
            is_resumed,
        })
        .await;
    }

    /// The next call.
    pub async fn call(&mut self) -> (u64, Call) {
        let call = within(self.calls.message()).await.expect("no error");
        let call = call.expect("the session is open");
        self.called_in = call.epoch.map(Epoch);
        decode_call(call).expect("a good call")
    }

    /// The next call, or none when the framework has gone.
    pub async fn call_if_any(&mut self) -> Option<(u64, Call)> {
        let call = within(self.calls.message()).await.ok().flatten()?;
        Some(decode_call(call).expect("a good call"))
    }

    /// The sequence of the last event.
    pub fn sent(&self) -> u64 {
        self.sequence
    }

    /// Waits until the framework has gone. One that is updated goes when its next session has begun.
    pub async fn gone(mut self) {
        within(async { while let Ok(Some(_)) = self.calls.message().await {} }).await;
    }

    /// Its calls of the state are fenced from now on: as the master does it, before the word of its end has come.
    pub fn fence(&self) {
        if let Ok(mut table) = self.state.lock()
            && table.generation == self.generation
        {
            table.generation = 0;
            table.fence();
        }
    }

    /// Sends an event; its sequence is the answer.
    pub async fn send(&mut self, event: Event) -> u64 {
        if matches!(event, Event::Closed(_)) {
            self.fence();
        }
        self.sequence += 1;
        let event = encode_event(self.sequence, self.epoch, &event);
        within(self.events.send(Ok(event)))
            .await
            .expect("the framework is there");
        self.sequence
    }

    /// Says something that this version may not know; without an event, one of a kind that it does not.
    #[cfg(test)]
    pub(crate) async fn say(&mut self, event: Option<v1::session_event::Event>) {
        self.sequence += 1;
        let event = v1::SessionEvent {
            sequence: self.sequence,
            epoch: self.epoch.0,
            event,
        };
        within(self.events.send(Ok(event)))
            .await
            .expect("the framework is there");
    }

    /// Sends an event of another epoch.
    pub async fn send_of(&mut self, epoch: u64, event: Event) {
        self.epoch = Epoch(epoch);
        self.send(event).await;
    }

    /// The next call that fits, with its request id; those before it are answered with Done.
    pub async fn call_that(&mut self, fits: impl Fn(&Call) -> bool) -> (u64, Call) {
        loop {
            let (request, call) = self.call().await;
            if fits(&call) {
                return (request, call);
            }
            match call {
                Call::Accept { .. } => panic!("an accept comes first: {call:?}"),
                Call::Acknowledge { .. } | Call::AcknowledgeOne { .. } => {}
                _ => self.answer(request, Answer::Done).await,
            }
        }
    }

    /// Offers resources of `agent-1`, such as `cpus:4;mem:1024`, as fitting an entry of the demand so many times.
    pub async fn offer(&mut self, resources: &str, demand: &str, count: u32) -> Offer {
        self.given.offers += 1;
        let offer = Offer {
            id: OfferId::new(&format!("offer-{}", self.given.offers)).unwrap(),
            role: Role::new("*").unwrap(),
            agent: AgentId::new("agent-1").unwrap(),
            host: "agent-1".to_owned(),
            address: "agent-1:5051".to_owned(),
            attributes: Attributes::default(),
            domain: None,
            resources: resources.parse::<Resources>().expect("resources"),
            fits: vec![Fit {
                demand: DemandId::new(demand).unwrap(),
                count,
            }],
            expires_after: Duration::from_secs(60),
        };
        self.send(Event::Offered(vec![offer.clone()])).await;
        offer
    }

    /// The tasks of the next accept, which is answered: all of them are taken.
    pub async fn launches(&mut self) -> Vec<TaskSpec> {
        let is_accept = |call: &Call| matches!(call, Call::Accept { .. });
        let (request, call) = self.call_that(is_accept).await;
        let Call::Accept { operations, .. } = call else {
            panic!("an accept: {call:?}");
        };
        let (mut results, mut specs) = (Vec::new(), Vec::new());
        for operation in operations {
            results.push(match operation {
                Operation::Launch(spec) => {
                    let result = self.launched(&spec);
                    specs.push(*spec);
                    OperationResult::Launched(result)
                }
                Operation::LaunchGroup(group) => {
                    let launched = group.iter().map(|spec| self.launched(spec)).collect();
                    specs.extend(group);
                    OperationResult::LaunchedGroup(launched)
                }
                _ => OperationResult::Done,
            });
        }
        self.answer(request, Answer::Accepted(results)).await;
        specs
    }

    fn launched(&mut self, spec: &TaskSpec) -> LaunchResult {
        let launches = &mut self.given.incarnations;
        let incarnation = launches.values().max().map_or(1, |last| last.0 + 1);
        launches.insert(spec.id.clone(), Incarnation(incarnation));
        LaunchResult {
            task: spec.id.clone(),
            outcome: Ok(Incarnation(incarnation)),
        }
    }

    /// Tells a status of the task's last launch in this session, of the first one without; its sequence is the answer.
    pub async fn tell(&mut self, task: &TaskId, state: TaskState) -> u64 {
        self.given.statuses += 1;
        let launch = self.given.incarnations.get(task);
        let incarnation = launch.copied().unwrap_or(Incarnation(1));
        let status = status(task, incarnation, self.given.statuses, state);
        self.send(Event::Updated(status)).await
    }

    /// Answers what became of a task that the master does not know: `Lost` when no agent does either, `Unreachable` when one
    /// that cannot be reached may run it. Its sequence is the answer.
    pub async fn tell_unknown(&mut self, task: &TaskId, state: TaskState) -> u64 {
        let status = TaskStatus {
            reason: Reason::Reconciled,
            ..status(task, Incarnation::default(), 0, state)
        };
        self.send(Event::Updated(status)).await
    }

    /// Waits until it is asked what became of tasks by name, and answers that the statuses come. Which it was asked about.
    pub async fn asked(&mut self) -> Vec<TaskId> {
        let names = |call: &Call| matches!(call, Call::Reconcile { tasks } if !tasks.is_empty());
        let (request, call) = self.call_that(names).await;
        self.answer(request, Answer::Done).await;
        match call {
            Call::Reconcile { tasks } => tasks,
            other => panic!("a question: {other:?}"),
        }
    }

    /// Waits until everything up to this sequence is acknowledged.
    pub async fn acknowledged(&mut self, upto: u64) {
        let is_it =
            |call: &Call| matches!(call, Call::Acknowledge { sequence } if *sequence >= upto);
        self.call_that(is_it).await;
    }

    /// Waits for the teardown, and completes the framework.
    pub async fn finish(&mut self) {
        let is_teardown = |call: &Call| matches!(call, Call::Teardown);
        let (request, _) = self.call_that(is_teardown).await;
        self.answer(request, Answer::Done).await;
        self.complete().await;
    }

    /// Says that the framework is over.
    pub async fn complete(&mut self) {
        let completed = Problem::new(code::FRAMEWORK_COMPLETED, "the test says so");
        self.send(Event::Closed(completed)).await;
    }

    /// Answers a call.
    pub async fn answer(&mut self, request: u64, answer: Answer) {
        self.send(Event::Answered { request, answer }).await;
    }
}

impl Drop for FakeSession {
    fn drop(&mut self) {
        self.fence();
    }
}

fn status(task: &TaskId, incarnation: Incarnation, number: u64, state: TaskState) -> TaskStatus {
    TaskStatus {
        task: task.clone(),
        incarnation,
        agent: None,
        number,
        state,
        reason: Reason::None,
        message: String::new(),
        exit: None,
        healthy: None,
        checks: Vec::new(),
        data: Vec::new(),
        wall_ms: 0,
    }
}

struct SchedulerService {
    sessions: mpsc::Sender<FakeSession>,
    state: Arc<Mutex<StateTable>>,
    refusal: Option<Problem>,
}

#[tonic::async_trait]
impl Scheduler for SchedulerService {
    type SessionStream = ReceiverStream<Result<v1::SessionEvent, Status>>;

    async fn call(
        &self,
        _: Request<v1::CallRequest>,
    ) -> Result<Response<v1::CallResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionCall>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if let Some(problem) = &self.refusal {
            return Err(status_of(problem.clone()));
        }
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let (events, received) = mpsc::channel(16);
        let session = FakeSession {
            authorization,
            calls: request.into_inner(),
            events,
            state: Arc::clone(&self.state),
            generation: 0,
            epoch: Epoch(0),
            sequence: 0,
            framework: None,
            called_in: None,
            given: Given::default(),
        };
        // A test that looks no longer lets the session end.
        let _ = self.sessions.send(session).await;
        Ok(Response::new(ReceiverStream::new(received)))
    }
}
