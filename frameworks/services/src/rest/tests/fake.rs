//! A master in memory, and services wired to it without sockets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures::future::BoxFuture;
use proffer_model::session::{Answer, Call, Event, LaunchResult, Operation, OperationResult};
use proffer_model::{
    AgentId, Attributes, ClusterId, Demand, DemandId, Epoch, Fit, FrameworkId, Generation,
    Incarnation, Offer, OfferId, Principal, Problem, Reason, Role, StateKey, Status, TaskId,
    TaskState, code,
};
use proffer_server::auth::LOCAL;
use proffer_server::metrics::Metrics;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config::{Config, Options};
use crate::driver::LinkEvent;
use crate::identity::Identity;
use crate::master::{AgentObstacle, Kept, Master};
use crate::running::assemble;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(super) struct FakeMaster {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    values: BTreeMap<StateKey, (Vec<u8>, u64)>,
    is_broken: bool,
    calls: Vec<Call>,
    tasks: BTreeMap<TaskId, TaskState>,
    demand: Option<Demand>,
    version: u64,
}

impl FakeMaster {
    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.inner.lock().unwrap())
    }

    pub(super) fn set_broken(&self, is_broken: bool) {
        self.with(|inner| inner.is_broken = is_broken);
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.with(|inner| inner.calls.clone())
    }

    /// Another process writes.
    pub(super) fn overwrite(&self, key: &str) {
        self.with(|inner| {
            inner
                .values
                .insert(StateKey::new(key).unwrap(), (b"{}".to_vec(), u64::MAX))
        });
    }

    fn check(&self) -> Result<(), Problem> {
        match self.with(|inner| inner.is_broken) {
            true => Err(Problem::new(code::PEER_UNREACHABLE, "broken")),
            false => Ok(()),
        }
    }

    fn answer(&self, call: Call) -> Answer {
        let answer = self.with(|inner| {
            inner.calls.push(call.clone());
            match call {
                Call::Accept { operations, .. } => {
                    let mut results = Vec::new();
                    for launch in operations.iter().flat_map(Operation::tasks) {
                        inner.tasks.insert(launch.id.clone(), TaskState::Staging);
                        results.push(OperationResult::Launched(LaunchResult {
                            task: launch.id.clone(),
                            outcome: Ok(Incarnation(1)),
                        }));
                    }
                    Answer::Accepted(results)
                }
                Call::SetDemand(demand) => {
                    inner.demand = Some(demand);
                    Answer::Done
                }
                _ => Answer::Done,
            }
        });
        self.changed.notify_one();
        answer
    }
}

impl Master for FakeMaster {
    async fn send(&self, call: Call) -> BoxFuture<'static, Answer> {
        let answer = self.answer(call);
        Box::pin(async { answer })
    }

    async fn list(&self) -> Result<Vec<Kept>, Problem> {
        self.check()?;
        let kept = |(key, (value, version)): (&StateKey, &(Vec<u8>, u64))| Kept {
            key: key.clone(),
            value: value.clone(),
            version: *version,
        };
        Ok(self.with(|inner| inner.values.iter().map(kept).collect()))
    }

    async fn get(&self, key: &StateKey) -> Result<Option<Kept>, Problem> {
        Ok(self.list().await?.into_iter().find(|kept| kept.key == *key))
    }

    async fn put(&self, key: &StateKey, value: &[u8], expected: u64) -> Result<u64, Problem> {
        self.check()?;
        self.with(|inner| {
            if inner.values.get(key).map_or(0, |(_, version)| *version) != expected {
                return Err(Problem::new(code::STATE_VERSION, "another version"));
            }
            inner.version += 1;
            inner
                .values
                .insert(key.clone(), (value.to_vec(), inner.version));
            Ok(inner.version)
        })
    }

    async fn delete(&self, key: &StateKey, expected: u64) -> Result<(), Problem> {
        self.check()?;
        self.with(|inner| match inner.values.get(key) {
            Some((_, version)) if *version == expected => {
                inner.values.remove(key);
                Ok(())
            }
            _ => Err(Problem::new(code::STATE_VERSION, "another version")),
        })
    }

    async fn explain(&self, _: &FrameworkId, _: &DemandId) -> Result<Vec<AgentObstacle>, Problem> {
        Ok(vec![AgentObstacle {
            reason: "insufficient_cpus".into(),
            message: "less than 0.1 cpus".into(),
            agents: 1,
        }])
    }
}

/// An answer.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) text: String,
}

impl Answered {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// Services that run on a master in memory.
pub(super) struct Services {
    pub(super) master: Arc<FakeMaster>,
    router: Router,
    link: mpsc::Sender<LinkEvent>,
    driver: JoinHandle<Result<(), Problem>>,
    shutdown: CancellationToken,
    _work_dir: tempfile::TempDir,
}

impl Services {
    pub(super) async fn start() -> Self {
        Self::on(Arc::new(FakeMaster::default())).await
    }

    async fn on(master: Arc<FakeMaster>) -> Self {
        let services = Self::wired_to(master);
        services.open_session().await;
        services
            .eventually("/v2/apps", |body| body["apps"].is_array())
            .await;
        services
    }

    pub(super) async fn start_without_session() -> Self {
        Self::wired_to(Arc::new(FakeMaster::default()))
    }

    fn wired_to(master: Arc<FakeMaster>) -> Self {
        let work_dir = tempfile::tempdir().unwrap();
        let options = Options {
            token_file: Some("/none".into()),
            ..Options::default()
        };
        let config = Config::from_options(options).unwrap();
        let identity = Identity::open(work_dir.path()).unwrap();
        let (link, received) = mpsc::channel(100);
        let shutdown = CancellationToken::new();
        let metrics = Metrics::new("services", "0");
        let parts = assemble(
            &config,
            config.listen,
            master.clone(),
            received,
            &metrics,
            identity,
            shutdown.clone(),
        )
        .unwrap();
        let driver = tokio::spawn(parts.driver.run(shutdown.clone()));
        Self {
            master,
            router: parts.router,
            link,
            driver,
            shutdown,
            _work_dir: work_dir,
        }
    }

    /// The program ends and starts again on the same master.
    pub(super) async fn restart(self) -> Self {
        self.shutdown.cancel();
        self.driver.await.unwrap().unwrap();
        self.master.with(|inner| inner.calls.clear());
        Self::on(self.master).await
    }

    pub(super) async fn ended(&mut self) -> Result<(), Problem> {
        tokio::time::timeout(PATIENCE, &mut self.driver)
            .await
            .expect("it ends")
            .unwrap()
    }

    async fn tell(&self, event: Event) {
        self.link
            .send(LinkEvent::Told { sequence: 1, event })
            .await
            .unwrap();
    }

    pub(super) async fn open_session(&self) {
        self.tell(Event::Subscribed {
            framework: FrameworkId::new("framework").unwrap(),
            cluster: ClusterId::new("cluster").unwrap(),
            epoch: Epoch(1),
            generation: Generation(1),
            heartbeat_interval: Duration::from_secs(1),
            is_resumed: false,
        })
        .await;
    }

    pub(super) async fn lose_session(&self) {
        self.tell(Event::Closed(Problem::new(code::PEER_UNREACHABLE, "gone")))
            .await;
        self.eventually("/health", |body| body["session_active"] == false)
            .await;
    }

    /// Offers what is wanted, and lets it run.
    pub(super) async fn launch_all(&self) {
        self.until(|inner| {
            inner
                .demand
                .as_ref()
                .is_some_and(|demand| !demand.entries.is_empty())
        })
        .await;
        let demand = self.master.with(|inner| inner.demand.clone()).unwrap();
        let fits = demand
            .entries
            .iter()
            .map(|entry| Fit {
                demand: entry.id.clone(),
                count: entry.count,
            })
            .collect();
        self.tell(Event::Offered(vec![Offer {
            id: OfferId::new("offer").unwrap(),
            role: Role::new("*").unwrap(),
            agent: AgentId::new("agent").unwrap(),
            host: "localhost".into(),
            address: "127.0.0.1:5051".into(),
            attributes: Attributes::default(),
            domain: None,
            resources: "cpus:4;mem:4096;ports:[31000-31999]".parse().unwrap(),
            fits,
            expires_after: Duration::from_secs(5),
        }]))
        .await;
        self.until(|inner| !inner.tasks.is_empty()).await;
        let kept = self
            .kept_keys()
            .iter()
            .filter(|key| key.starts_with("instance/"))
            .count();
        assert_eq!(
            kept,
            self.master.with(|inner| inner.tasks.len()),
            "kept before they are launched"
        );
        self.report_all(TaskState::Running).await;
        let wanted = self.master.with(|inner| inner.tasks.len());
        self.eventually("/v2/tasks?status=running", |body| {
            body["tasks"].as_array().map(Vec::len) == Some(wanted)
        })
        .await;
    }

    /// Says of every task that it is in this state.
    pub(super) async fn report_all(&self, state: TaskState) {
        let tasks: Vec<TaskId> = self
            .master
            .with(|inner| inner.tasks.keys().cloned().collect());
        for task in tasks {
            self.tell(Event::Updated(Status {
                task,
                incarnation: Incarnation(1),
                agent: None,
                number: 1,
                state,
                reason: Reason::None,
                message: String::new(),
                exit: None,
                healthy: None,
                checks: Vec::new(),
                wall_ms: 1_700_000_000_000,
                data: Vec::new(),
            }))
            .await;
        }
    }

    /// Ends every task once all have been told to end.
    pub(super) async fn end_all_killed(&self) {
        self.until(|inner| {
            let kills = inner
                .calls
                .iter()
                .filter(|call| matches!(call, Call::Kill { .. }))
                .count();
            kills >= inner.tasks.len()
        })
        .await;
        self.report_all(TaskState::Killed).await;
        self.eventually("/v2/apps", |body| body["apps"] == Value::Array(Vec::new()))
            .await;
    }

    async fn until(&self, test: impl Fn(&Inner) -> bool) {
        let waiting = async {
            while !self.master.with(|inner| test(inner)) {
                self.master.changed.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("it happens");
    }

    /// Reads until the answer passes.
    pub(super) async fn eventually(&self, path: &str, test: impl Fn(&Value) -> bool) {
        let asking = async {
            while !test(&self.get(path).await.body) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect(path);
    }

    pub(super) fn kept_keys(&self) -> Vec<String> {
        self.master
            .with(|inner| inner.values.keys().map(ToString::to_string).collect())
    }

    pub(super) async fn task_ids(&self) -> Vec<String> {
        let tasks = self.get("/v2/tasks").await.body;
        tasks["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["id"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(super) async fn get(&self, path: &str) -> Answered {
        self.call(Method::GET, path, Value::Null).await
    }

    pub(super) async fn call(&self, method: Method, path: &str, body: Value) -> Answered {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.raw(method, path, &body).await
    }

    pub(super) async fn raw(&self, method: Method, path: &str, body: impl AsRef<[u8]>) -> Answered {
        let response = self.send(method, path, body.as_ref()).await;
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 10_000_000).await.unwrap();
        Answered {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    pub(super) async fn follow(&self, path: &str) -> BodyDataStream {
        self.send(Method::GET, path, b"")
            .await
            .into_body()
            .into_data_stream()
    }

    async fn send(&self, method: Method, path: &str, body: &[u8]) -> axum::response::Response {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .extension(Principal::new(LOCAL).unwrap())
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }
}
