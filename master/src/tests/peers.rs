//! A master with port 0 and a token of its own, and those who talk to it.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use proffer_model::Problem;
use proffer_proto::v1;
use proffer_server::auth::LocalToken;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};
use v1::session_call::Call;
use v1::session_event::Event;

use crate::running::Stand;
use crate::{Config, Options, Running};

/// An address whose port the kernel chooses.
pub(super) const ANY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Waits for what must come, but not for ever.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(30), future).await;
    waited.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// A master, the place of its token, and what stops it.
#[derive(Debug)]
pub(super) struct Master {
    running: Running,
    shutdown: CancellationToken,
    token: LocalToken,
    _directory: Option<tempfile::TempDir>,
}

/// Adds the token to each call.
#[derive(Clone)]
pub(super) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authorized = InterceptedService<Channel, Bearer>;

impl Master {
    pub(super) async fn start(store: &str) -> Self {
        Self::try_start(store, ANY).await.expect("a master")
    }

    pub(super) async fn try_start(store: &str, listen: SocketAddr) -> Result<Self, Problem> {
        Self::start_with(Options {
            listen: Some(listen),
            store: Some(store.parse().expect("a store")),
            ..Options::default()
        })
        .await
    }

    /// One that does not serve Mesos's API.
    pub(super) async fn without_mesos() -> Self {
        let started = Self::start_with(Options {
            listen: Some(ANY),
            store: Some("memory".parse().expect("a store")),
            mesos_api: Some(false),
            ..Options::default()
        });
        started.await.expect("a master")
    }

    /// With everything else as it is said.
    pub(super) async fn start_with(options: Options) -> Result<Self, Problem> {
        let directory = tempfile::tempdir().expect("a directory");
        let token_file = directory.path().join("token");
        let config = Config::from_options(Options {
            cluster_listen: Some(ANY),
            token_file: Some(token_file.clone()),
            ..options
        })?;
        let shutdown = CancellationToken::new();
        let running = crate::start(config, shutdown.clone()).await?;
        Ok(Self {
            running,
            shutdown,
            token: LocalToken::load(&token_file).expect("a token"),
            _directory: Some(directory),
        })
    }

    /// One that stands for election.
    pub(super) async fn start_in(stand: Stand, token_file: &std::path::Path) -> Self {
        let config = Config::from_options(Options {
            listen: Some(ANY),
            cluster_listen: Some(ANY),
            store: Some("memory".parse().expect("a store")),
            token_file: Some(token_file.to_owned()),
            ..Options::default()
        });
        let shutdown = CancellationToken::new();
        let started =
            crate::running::start_in(config.expect("good"), Some(stand), shutdown.clone());
        Self {
            running: started.await.expect("a master"),
            shutdown,
            token: LocalToken::load(token_file).expect("a token"),
            _directory: None,
        }
    }

    /// Waits until it says itself that it leads; answers the term.
    pub(super) async fn comes_to_lead(&self) -> u64 {
        let mut watch = self.watch(self.listen()).await;
        loop {
            let answer = watch.next().await;
            if answer.is_leading {
                return answer.epoch;
            }
        }
    }

    /// Who leads, as the master at this address says.
    pub(super) async fn watch(&self, address: SocketAddr) -> Watch {
        let channel = self.channel(address).await;
        let mut client =
            v1::leadership_client::LeadershipClient::with_interceptor(channel, self.bearer());
        let opened = soon("a watch", client.watch(v1::WatchLeadershipRequest {})).await;
        Watch(opened.expect("a watch").into_inner())
    }

    pub(super) async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await.expect("a shutdown is no failure");
    }

    pub(super) async fn ended(self) -> Result<(), Problem> {
        soon("the end", self.running.join()).await
    }

    pub(super) fn listen(&self) -> SocketAddr {
        self.running.listen
    }

    pub(super) fn cluster_listen(&self) -> SocketAddr {
        self.running.cluster_listen
    }

    pub(super) async fn channel(&self, address: SocketAddr) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        soon("a connection", endpoint.connect())
            .await
            .expect("connected")
    }

    pub(super) fn bearer(&self) -> Bearer {
        let text = format!("Bearer {}", self.token.secret().expose());
        Bearer(text.parse().expect("a header"))
    }

    pub(super) async fn operator(&self) -> v1::operator_client::OperatorClient<Authorized> {
        let channel = self.channel(self.listen()).await;
        v1::operator_client::OperatorClient::with_interceptor(channel, self.bearer())
    }

    pub(super) async fn scheduler(&self) -> v1::scheduler_client::SchedulerClient<Authorized> {
        let channel = self.channel(self.listen()).await;
        v1::scheduler_client::SchedulerClient::with_interceptor(channel, self.bearer())
    }

    pub(super) async fn state(
        &self,
    ) -> v1::framework_state_client::FrameworkStateClient<Authorized> {
        let channel = self.channel(self.listen()).await;
        v1::framework_state_client::FrameworkStateClient::with_interceptor(channel, self.bearer())
    }

    pub(super) async fn health(&self) -> tonic_health::pb::health_client::HealthClient<Authorized> {
        let channel = self.channel(self.listen()).await;
        tonic_health::pb::health_client::HealthClient::with_interceptor(channel, self.bearer())
    }

    /// The names of the services that reflection tells.
    pub(super) async fn reflected(&self) -> Vec<String> {
        use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
        let channel = self.channel(self.listen()).await;
        let mut client = ServerReflectionClient::with_interceptor(channel, self.bearer());
        let asked = tonic_reflection::pb::v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let answers = client
            .server_reflection_info(tokio_stream::once(asked))
            .await;
        let answer = soon("an answer", answers.expect("open").get_mut().message()).await;
        match answer.expect("open").expect("an answer").message_response {
            Some(MessageResponse::ListServicesResponse(list)) => list
                .service
                .into_iter()
                .map(|service| service.name)
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    /// A page that needs no token.
    pub(super) async fn get(&self, path: &str) -> String {
        let answer = self.asked(&format!("GET {path}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// The answer to a request with this token and these further headers.
    pub(super) async fn asked_as_local(&self, request: &str, headers: &str) -> String {
        let headers = format!("{}{headers}", self.authorization());
        self.asked(request, &headers).await
    }

    /// The header that carries the token.
    pub(super) fn authorization(&self) -> String {
        let token = self.token.secret().expose();
        format!("Authorization: Bearer {token}\r\n")
    }

    async fn asked(&self, request: &str, headers: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut socket = tokio::net::TcpStream::connect(self.listen())
            .await
            .expect("connected");
        let host = self.listen();
        let request =
            format!("{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        soon("a page", socket.read_to_string(&mut answer))
            .await
            .expect("read");
        answer
    }
}

/// A stream that tells who leads.
pub(super) struct Watch(Streaming<v1::WatchLeadershipResponse>);

impl Watch {
    pub(super) async fn next(&mut self) -> v1::WatchLeadershipResponse {
        let next = soon("who leads", self.0.message()).await;
        next.expect("open").expect("an answer")
    }

    /// The next answer by which this master leads, or another, or nobody.
    pub(super) async fn until(&mut self, leader: Option<&Master>, is_leading: bool) -> u64 {
        loop {
            let answer = self.next().await;
            let address = answer.leader.map(|leader| leader.address);
            let expected = leader.map(|leader| leader.listen().to_string());
            if (address, answer.is_leading) == (expected, is_leading) {
                return answer.epoch;
            }
        }
    }
}

/// A framework with a task on an agent, just launched.
pub(super) struct Cast {
    pub(super) framework: Framework,
    pub(super) framework_id: String,
    pub(super) agent: Agent,
    pub(super) agent_id: String,
    pub(super) offer: v1::Offer,
    pub(super) incarnation: u64,
}

/// Subscribes a framework, registers an agent, launches a task.
pub(super) async fn launched(master: &Master, task_id: &str) -> Cast {
    let mut framework = Framework::connect(master).await;
    let framework_id = framework.subscribe("").await.framework_id;
    framework.demand_one_cpu("web").await;
    let mut agent = Agent::connect(master).await;
    let agent_id = agent.hello("", vec![]).await.agent_id;
    let offer = framework.offer().await;
    let incarnation = framework.launch(&offer, task_id).await;
    Cast {
        framework,
        framework_id,
        agent,
        agent_id,
        offer,
        incarnation,
    }
}

/// A framework's session.
pub(super) struct Framework {
    calls: mpsc::Sender<v1::SessionCall>,
    events: Streaming<v1::SessionEvent>,
    last_request: u64,
    demand_generation: u64,
}

/// To subscribe as this framework, or as a new one.
pub(super) fn subscribe(framework_id: &str) -> Call {
    Call::Subscribe(v1::Subscribe {
        framework_id: framework_id.into(),
        name: "web".into(),
        roles: vec!["*".into()],
        failover_timeout_ms: None,
        stand_by: false,
        resume: None,
        create: false,
    })
}

/// A task that wants one cpu.
pub(super) fn task(id: &str) -> v1::TaskSpec {
    v1::TaskSpec {
        id: id.into(),
        name: id.into(),
        resources: Some(cpus(1_000)),
        command: Some(v1::task_spec::Command::Shell("sleep 1000".into())),
        environment: [("PASSWORD".to_owned(), "canary".to_owned())].into(),
        ..v1::TaskSpec::default()
    }
}

pub(super) fn cpus(milli: u64) -> v1::Resources {
    let name = "cpus".to_owned();
    v1::Resources {
        scalars: vec![v1::Scalar { name, milli }],
        ..v1::Resources::default()
    }
}

impl Framework {
    pub(super) async fn connect(master: &Master) -> Self {
        let channel = master.channel(master.listen()).await;
        let mut client =
            v1::scheduler_client::SchedulerClient::with_interceptor(channel, master.bearer());
        let (calls, receiver) = mpsc::channel(100);
        let opened = soon("a session", client.session(ReceiverStream::new(receiver))).await;
        Self {
            calls,
            events: opened.expect("a session").into_inner(),
            last_request: 0,
            demand_generation: 0,
        }
    }

    pub(super) async fn call(&mut self, call: Call) -> u64 {
        self.send(None, call).await
    }

    /// Calls for this term; answers the request id.
    pub(super) async fn send(&mut self, epoch: Option<u64>, call: Call) -> u64 {
        self.last_request += 1;
        let request_id = self.last_request;
        let call = Some(call);
        self.calls
            .send(v1::SessionCall {
                request_id,
                epoch,
                call,
            })
            .await
            .expect("open");
        request_id
    }

    /// The first event that fits, with its sequence; those before it are skipped.
    pub(super) async fn wait_for(&mut self, fits: impl Fn(&Event) -> bool) -> (u64, Event) {
        loop {
            let event = soon("an event", self.events.message())
                .await
                .expect("open")
                .expect("an event");
            let (sequence, event) = (event.sequence, event.event.expect("an event"));
            if fits(&event) {
                return (sequence, event);
            }
        }
    }

    pub(super) async fn answer(&mut self, call: Call) -> v1::answered::Answer {
        let request = self.call(call).await;
        let is_answer =
            |event: &Event| matches!(event, Event::Answered(a) if a.request_id == request);
        match self.wait_for(is_answer).await.1 {
            Event::Answered(answered) => answered.answer.expect("an answer"),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn subscribe(&mut self, framework_id: &str) -> v1::Subscribed {
        self.call(subscribe(framework_id)).await;
        match self
            .wait_for(|event| matches!(event, Event::Subscribed(_)))
            .await
            .1
        {
            Event::Subscribed(subscribed) => subscribed,
            other => panic!("{other:?}"),
        }
    }

    /// The open session, and how it was subscribed.
    pub(super) async fn subscribed(mut self, framework_id: &str) -> (Self, v1::Subscribed) {
        let subscribed = self.subscribe(framework_id).await;
        (self, subscribed)
    }

    pub(super) async fn demand_one_cpu(&mut self, id: &str) {
        self.demand(id, 1_000).await;
    }

    /// Wants one instance of so many thousandths of a cpu.
    pub(super) async fn demand(&mut self, id: &str, milli: u64) {
        self.demand_where(id, milli, Vec::new()).await;
    }

    /// The same on an agent that passes the tests.
    pub(super) async fn demand_where(
        &mut self,
        id: &str,
        milli: u64,
        predicates: Vec<v1::Predicate>,
    ) {
        let entry = v1::DemandEntry {
            id: id.into(),
            shape: Some(v1::Shape {
                resources: Some(cpus(milli)),
                ..v1::Shape::default()
            }),
            count: 1,
            predicates,
            ..v1::DemandEntry::default()
        };
        self.demand_entry(entry).await;
    }

    /// Wants two instances of two cpus each.
    pub(super) async fn demand_two_of_two_cpus(&mut self, id: &str) {
        let entry = v1::DemandEntry {
            id: id.into(),
            shape: Some(v1::Shape {
                resources: Some(cpus(2_000)),
                ..v1::Shape::default()
            }),
            count: 2,
            ..v1::DemandEntry::default()
        };
        self.demand_entry(entry).await;
    }

    /// Wants an offer of whatever is free.
    pub(super) async fn demand_anything(&mut self) {
        let entry = v1::DemandEntry {
            id: "any".into(),
            count: 1,
            ..v1::DemandEntry::default()
        };
        self.demand_entry(entry).await;
    }

    async fn demand_entry(&mut self, entry: v1::DemandEntry) {
        self.demand_generation += 1;
        let demand = v1::SetDemand {
            role: "*".into(),
            generation: self.demand_generation,
            entries: vec![entry],
        };
        let answer = self.answer(Call::SetDemand(demand)).await;
        assert!(
            matches!(answer, v1::answered::Answer::Done(_)),
            "{answer:?}"
        );
    }

    pub(super) async fn refused(&mut self, call: Call) -> v1::Problem {
        match self.answer(call).await {
            v1::answered::Answer::Refused(problem) => problem,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn offer(&mut self) -> v1::Offer {
        match self
            .wait_for(|event| matches!(event, Event::Offered(_)))
            .await
            .1
        {
            Event::Offered(offered) => offered.offers.into_iter().next().expect("an offer"),
            other => panic!("{other:?}"),
        }
    }

    /// Launches a task in an offer; answers its incarnation.
    pub(super) async fn launch(&mut self, offer: &v1::Offer, id: &str) -> u64 {
        let accept = v1::Accept {
            offer_ids: vec![offer.id.clone()],
            operations: vec![launch(task(id))],
        };
        match self.answer(Call::Accept(accept)).await {
            v1::answered::Answer::Accepted(accepted) => match &accepted.results[0].result {
                Some(v1::operation_result::Result::Launched(launched)) => match launched.outcome {
                    Some(v1::launch_result::Outcome::Incarnation(incarnation)) => incarnation,
                    ref other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// How the session ends.
    pub(super) async fn end(mut self) -> Status {
        loop {
            match soon("the end", self.events.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a reason"),
                Err(status) => return status,
            }
        }
    }

    /// The next status that an agent made.
    pub(super) async fn status(&mut self) -> (u64, v1::Status) {
        match self
            .wait_for(|event| matches!(event, Event::Updated(status) if status.number > 0))
            .await
        {
            (sequence, Event::Updated(status)) => (sequence, status),
            (_, other) => panic!("{other:?}"),
        }
    }
}

/// An agent's link.
pub(super) struct Agent {
    messages: mpsc::Sender<v1::ToMaster>,
    opening: Option<JoinHandle<Result<Response<Streaming<v1::ToAgent>>, Status>>>,
    incoming: Option<Streaming<v1::ToAgent>>,
    /// Of the last message.
    pub(super) epoch: u64,
}

/// Where the agents of these tests stand.
pub(super) fn domain() -> v1::FaultDomain {
    v1::FaultDomain {
        region: "eu-1".into(),
        zone: "b".into(),
    }
}

/// A registration with four cpus.
pub(super) fn hello(agent_id: &str, tasks: Vec<v1::AgentTask>) -> v1::Hello {
    let description = v1::AgentDescription {
        host: "host-1".into(),
        address: "127.0.0.1:5051".into(),
        resources: Some(cpus(4_000)),
        version: "0".into(),
        domain: Some(domain()),
        ..v1::AgentDescription::default()
    };
    v1::Hello {
        agent_id: agent_id.into(),
        description: Some(description),
        tasks,
        ..v1::Hello::default()
    }
}

pub(super) fn status(task_id: &str, incarnation: u64, state: v1::TaskState) -> v1::Status {
    v1::Status {
        task_id: task_id.into(),
        incarnation,
        number: 1,
        state: state.into(),
        ..v1::Status::default()
    }
}

/// A task that an agent runs.
pub(super) fn running(
    framework_id: &str,
    task_id: &str,
    agent_id: &str,
    incarnation: u64,
) -> v1::AgentTask {
    let status = v1::Status {
        agent_id: agent_id.into(),
        ..status(task_id, incarnation, v1::TaskState::Running)
    };
    v1::AgentTask {
        framework_id: framework_id.into(),
        spec: Some(task(task_id)),
        incarnation,
        status: Some(status),
        acknowledged: 0,
        payer: None,
        group: String::new(),
        executor: 0,
    }
}

/// The operation that launches a task.
pub(super) fn launch(spec: v1::TaskSpec) -> v1::Operation {
    v1::Operation {
        operation: Some(v1::operation::Operation::Launch(spec)),
    }
}

impl Agent {
    pub(super) async fn connect(master: &Master) -> Self {
        let channel = master.channel(master.cluster_listen()).await;
        let mut client =
            v1::agent_link_client::AgentLinkClient::with_interceptor(channel, master.bearer());
        let (messages, receiver) = mpsc::channel(100);
        // The call is answered together with the master's first message.
        let opening = tokio::spawn(async move { client.link(ReceiverStream::new(receiver)).await });
        Self {
            messages,
            opening: Some(opening),
            incoming: None,
            epoch: 0,
        }
    }

    pub(super) async fn say(&mut self, message: v1::to_master::Message) {
        let message = Some(message);
        self.messages
            .send(v1::ToMaster { message })
            .await
            .expect("open");
    }

    pub(super) async fn hello(&mut self, agent_id: &str, tasks: Vec<v1::AgentTask>) -> v1::Welcome {
        self.say(v1::to_master::Message::Hello(hello(agent_id, tasks)))
            .await;
        let welcome = match self.next().await {
            v1::to_agent::Message::Welcome(welcome) => welcome,
            other => panic!("{other:?}"),
        };
        let answer = v1::to_master::Message::Heartbeat(v1::LinkHeartbeat {});
        self.say(answer).await;
        welcome
    }

    async fn message(&mut self) -> Result<Option<v1::ToAgent>, Status> {
        if let Some(opening) = &mut self.opening {
            let opened = opening.await.expect("no panic");
            self.opening = None;
            self.incoming = Some(opened?.into_inner());
        }
        self.incoming.as_mut().expect("open").message().await
    }

    /// The next message that is no heartbeat.
    pub(super) async fn next(&mut self) -> v1::to_agent::Message {
        loop {
            let message = soon("a message", self.message())
                .await
                .expect("open")
                .expect("a message");
            self.epoch = message.epoch;
            match message.message.expect("a message") {
                v1::to_agent::Message::Heartbeat(_) | v1::to_agent::Message::Volumes(_) => {}
                other => return other,
            }
        }
    }

    /// How the link ends.
    pub(super) async fn end(mut self) -> Status {
        loop {
            match soon("the end", self.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ended without a reason"),
                Err(status) => return status,
            }
        }
    }

    pub(super) async fn report(
        &mut self,
        framework_id: &str,
        task_id: &str,
        incarnation: u64,
        state: v1::TaskState,
    ) {
        self.report_numbered(framework_id, status(task_id, incarnation, state))
            .await;
    }

    /// Says a status with a number of its own.
    pub(super) async fn report_numbered(&mut self, framework_id: &str, status: v1::Status) {
        let updated = v1::TaskUpdated {
            framework_id: framework_id.into(),
            latest: status.state,
            status: Some(status),
        };
        self.say(v1::to_master::Message::Updated(updated)).await;
    }
}
