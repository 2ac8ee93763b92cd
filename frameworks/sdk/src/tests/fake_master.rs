//! A master that does only what a test tells it: it hands each session to the test, which reads calls and sends events. Its
//! durable state is real enough to have versions and generations.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use proffer_model::session::{Answer, Call, Event};
use proffer_model::{ClusterId, Epoch, FrameworkId, Generation, Problem, code};
use proffer_proto::v1::framework_state_server::{FrameworkState, FrameworkStateServer};
use proffer_proto::v1::leadership_server::{Leadership, LeadershipServer};
use proffer_proto::v1::scheduler_server::{Scheduler, SchedulerServer};
use proffer_proto::{decode_call, encode_event, status_of, v1};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, WatchStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

/// What a test waits for comes within this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits, but not for ever.
#[track_caller]
pub(super) fn within<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| panic!("waited in vain at {place}"))
    }
}

pub(super) struct FakeMaster {
    pub(super) address: SocketAddr,
    sessions: mpsc::Receiver<FakeSession>,
    pub(super) state: Arc<Mutex<StateTable>>,
    says: watch::Sender<v1::WatchLeadershipResponse>,
    _server: AbortOnDropHandle<Result<(), tonic::transport::Error>>,
}

/// Keys with values and versions; calls of another generation than this are fenced.
#[derive(Default)]
pub(super) struct StateTable {
    pub(super) generation: u64,
    entries: BTreeMap<String, v1::StateEntry>,
    revision: u64,
}

impl FakeMaster {
    pub(super) async fn start() -> Self {
        Self::start_with(None, true).await
    }

    /// A master that stands by until the test says otherwise.
    pub(super) async fn start_standing_by() -> Self {
        Self::start_with(None, false).await
    }

    /// A master that refuses every session with this.
    pub(super) async fn start_refusing(problem: Problem) -> Self {
        Self::start_with(Some(problem), true).await
    }

    async fn start_with(refusal: Option<Problem>, is_leading: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sender, sessions) = mpsc::channel(16);
        let state = Arc::new(Mutex::new(StateTable::default()));
        let scheduler = SchedulerService {
            sessions: sender,
            refusal,
        };
        let says = watch::Sender::new(standing(address, is_leading.then_some(1)));
        let serving = tonic::transport::Server::builder()
            .add_service(SchedulerServer::new(scheduler))
            .add_service(FrameworkStateServer::new(StateService(state.clone())))
            .add_service(LeadershipServer::new(LeadershipService(says.clone())))
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self {
            address,
            sessions,
            state,
            says,
            _server: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// From now on it says that it leads, in this term.
    pub(super) fn leads(&self, epoch: u64) {
        self.says.send_replace(standing(self.address, Some(epoch)));
    }

    /// From now on it says that it stands by.
    pub(super) fn stands_by(&self) {
        self.says.send_replace(standing(self.address, None));
    }

    /// The next session that is opened.
    pub(super) async fn session(&mut self) -> FakeSession {
        within(self.sessions.recv())
            .await
            .expect("the server lives")
    }

    /// The next session, subscribed as framework `f` of cluster `c`, with rare heartbeats.
    pub(super) async fn subscribed(&mut self, epoch: u64, generation: u64) -> FakeSession {
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

pub(super) struct FakeSession {
    pub(super) authorization: Option<String>,
    calls: Streaming<v1::SessionCall>,
    events: mpsc::Sender<Result<v1::SessionEvent, Status>>,
    epoch: Epoch,
    sequence: u64,
    /// The framework id that the subscription named.
    pub(super) framework: Option<FrameworkId>,
}

impl FakeSession {
    /// Reads the subscription and accepts it.
    pub(super) async fn accept(&mut self, epoch: u64, generation: u64, heartbeat: Duration) {
        let (request, call) = self.call().await;
        let Call::Subscribe { framework, .. } = call else {
            panic!("the first call is {call:?}");
        };
        self.framework = framework;
        self.begin(request, epoch, generation, (heartbeat, false))
            .await;
    }

    /// Makes it active, after its subscription was read.
    pub(super) async fn subscribed(&mut self, request: u64, epoch: u64, generation: u64) {
        let heartbeat = (PATIENCE, false);
        self.begin(request, epoch, generation, heartbeat).await;
    }

    /// As `subscribed`, going on where an earlier session was.
    pub(super) async fn resumed(&mut self, request: u64, epoch: u64, generation: u64) {
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
        self.epoch = Epoch(epoch);
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
    pub(super) async fn call(&mut self) -> (u64, Call) {
        let call = within(self.calls.message()).await.expect("no error");
        decode_call(call.expect("the session is open")).expect("a good call")
    }

    /// The next call, or none when the framework has gone.
    pub(super) async fn call_if_any(&mut self) -> Option<(u64, Call)> {
        let call = within(self.calls.message()).await.ok().flatten()?;
        Some(decode_call(call).expect("a good call"))
    }

    /// The sequence of the last event.
    pub(super) fn sent(&self) -> u64 {
        self.sequence
    }

    /// Waits until the framework has gone.
    pub(super) async fn gone(mut self) {
        within(async { while let Ok(Some(_)) = self.calls.message().await {} }).await;
    }

    /// Sends an event; its sequence is the answer.
    pub(super) async fn send(&mut self, event: Event) -> u64 {
        self.sequence += 1;
        let event = encode_event(self.sequence, self.epoch, &event);
        within(self.events.send(Ok(event)))
            .await
            .expect("the framework is there");
        self.sequence
    }

    /// Sends an event of another epoch.
    pub(super) async fn send_of(&mut self, epoch: u64, event: Event) {
        self.epoch = Epoch(epoch);
        self.send(event).await;
    }

    pub(super) async fn answer(&mut self, request: u64, answer: Answer) {
        self.send(Event::Answered { request, answer }).await;
    }
}

struct SchedulerService {
    sessions: mpsc::Sender<FakeSession>,
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
            epoch: Epoch(0),
            sequence: 0,
            framework: None,
        };
        // A test that looks no longer lets the session end.
        let _ = self.sessions.send(session).await;
        Ok(Response::new(ReceiverStream::new(received)))
    }
}

struct StateService(Arc<Mutex<StateTable>>);

impl StateService {
    fn table(&self, generation: u64) -> Result<std::sync::MutexGuard<'_, StateTable>, Status> {
        let table = self.0.lock().unwrap();
        match table.generation == generation {
            true => Ok(table),
            false => Err(status_of(Problem::new(
                code::SESSION_FENCED,
                "an older generation",
            ))),
        }
    }
}

impl StateTable {
    fn check(&self, key: &str, expected: Option<u64>) -> Result<(), Status> {
        let version = self.entries.get(key).map_or(0, |entry| entry.version);
        match expected.is_none_or(|expected| expected == version) {
            true => Ok(()),
            false => Err(status_of(Problem::new(
                code::STATE_VERSION,
                "another version",
            ))),
        }
    }
}

#[tonic::async_trait]
impl FrameworkState for StateService {
    type WatchStream = ReceiverStream<Result<v1::WatchStateResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::WatchStateRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        use v1::watch_state_response::Change;
        let request = request.into_inner();
        drop(self.table(request.generation)?);
        // A change, and then the end of the generation.
        let (changes, received) = mpsc::channel(3);
        let gone = Change::Deleted(request.prefix + "a");
        for change in [Change::UpToDate(true), gone] {
            let change = Some(change);
            let _ = changes.try_send(Ok(v1::WatchStateResponse { change }));
        }
        let over = Problem::new(code::SESSION_FENCED, "another generation");
        let _ = changes.try_send(Err(status_of(over)));
        Ok(Response::new(ReceiverStream::new(received)))
    }

    async fn get(
        &self,
        request: Request<v1::GetStateRequest>,
    ) -> Result<Response<v1::GetStateResponse>, Status> {
        let request = request.into_inner();
        let table = self.table(request.generation)?;
        let entry = table.entries.get(&request.key).cloned();
        let unknown = || status_of(Problem::new(code::STATE_KEY_UNKNOWN, "no such key"));
        let entry = Some(entry.ok_or_else(unknown)?);
        Ok(Response::new(v1::GetStateResponse { entry }))
    }

    async fn put(
        &self,
        request: Request<v1::PutStateRequest>,
    ) -> Result<Response<v1::PutStateResponse>, Status> {
        let request = request.into_inner();
        let mut table = self.table(request.generation)?;
        table.check(&request.key, request.expected_version)?;
        table.revision += 1;
        let version = table.revision;
        let entry = v1::StateEntry {
            key: request.key.clone(),
            value: request.value,
            version,
        };
        table.entries.insert(request.key, entry);
        Ok(Response::new(v1::PutStateResponse { version }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteStateRequest>,
    ) -> Result<Response<v1::DeleteStateResponse>, Status> {
        let request = request.into_inner();
        let mut table = self.table(request.generation)?;
        table.check(&request.key, request.expected_version)?;
        table.entries.remove(&request.key);
        Ok(Response::new(v1::DeleteStateResponse {}))
    }

    async fn list(
        &self,
        request: Request<v1::ListStateRequest>,
    ) -> Result<Response<v1::ListStateResponse>, Status> {
        let request = request.into_inner();
        let table = self.table(request.generation)?;
        let entries = table.entries.values();
        let entries = entries
            .filter(|entry| entry.key.starts_with(&request.prefix))
            .cloned()
            .collect();
        Ok(Response::new(v1::ListStateResponse { entries }))
    }
}
