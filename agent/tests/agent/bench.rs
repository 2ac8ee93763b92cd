//! The test's own master, and an agent that can be stopped and started over the same files.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proffer_agent::{Config, Options, Running};
use proffer_model::link::{AgentVolume, Hello, ToAgent, ToMaster};
use proffer_model::{
    AgentId, ClusterId, Command, Epoch, FrameworkId, Generation, Incarnation, Problem, Reason,
    Secret, Status, TaskId, TaskSpec, TaskState,
};
use proffer_proto::v1::agent_link_server::{AgentLink, AgentLinkServer};
use proffer_proto::{decode_to_master, encode_to_agent, v1};
use proffer_server::config::DurationText;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Streaming};

/// No single thing that a test waits for takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const EPOCH: Epoch = Epoch(1);

pub(crate) fn framework() -> FrameworkId {
    FrameworkId::new("f").unwrap()
}

/// A task that runs this line of shell.
pub(crate) fn shell(id: &str, line: &str) -> TaskSpec {
    TaskSpec {
        id: TaskId::new(id).unwrap(),
        name: id.to_owned(),
        resources: "cpus:0.1;mem:10".parse().unwrap(),
        command: Command::Shell(line.to_owned()),
        environment: BTreeMap::from([("SECRET".to_owned(), Secret::new("hush"))]),
        user: None,
        labels: BTreeMap::new(),
        ports: Vec::new(),
        checks: Vec::new(),
        kill_grace: Duration::from_secs(3),
        container: None,
        executor: None,
        volumes: Vec::new(),
        completion: None,
        fetch: Vec::new(),
        discovery: None,
    }
}

/// Files of one agent, and the master it connects to.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    master: SocketAddr,
    links: mpsc::Receiver<Link>,
    agent: Option<(Running, CancellationToken)>,
    pub(crate) supervisor: PathBuf,
    pub(crate) task_user: Option<String>,
    pub(crate) switch_user: Option<bool>,
    pub(crate) attributes: Option<&'static str>,
    pub(crate) keep_ended: Option<Duration>,
    pub(crate) executor_wait: Option<Duration>,
    pub(crate) mesos_api: Option<bool>,
    /// Whether tasks may fetch from this host.
    pub(crate) fetch_local: bool,
    /// Who may issue certificates of servers that tasks fetch from.
    pub(crate) fetch_roots: Option<PathBuf>,
    pub(crate) image_archives: Option<PathBuf>,
    /// Where every agent listens; otherwise where the kernel chooses.
    listen: Option<SocketAddr>,
    pub(crate) link: Option<Link>,
}

/// One connection of the agent.
pub(crate) struct Link {
    to_agent: mpsc::Sender<Result<v1::ToAgent, tonic::Status>>,
    from_agent: Streaming<v1::ToMaster>,
    pub(crate) hello: Option<Hello>,
}

#[derive(Debug)]
struct Service(mpsc::Sender<Link>);

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

#[tonic::async_trait]
impl AgentLink for Service {
    type LinkStream = ReceiverStream<Result<v1::ToAgent, tonic::Status>>;

    async fn link(
        &self,
        request: Request<Streaming<v1::ToMaster>>,
    ) -> Result<Response<Self::LinkStream>, tonic::Status> {
        let (to_agent, stream) = mpsc::channel(100);
        let link = Link {
            to_agent,
            from_agent: request.into_inner(),
            hello: None,
        };
        let _ = self.0.send(link).await;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Bench {
    /// A master, and no agent yet.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let master = listener.local_addr().unwrap();
        let (sender, links) = mpsc::channel(10);
        let service = AgentLinkServer::new(Service(sender));
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        Self {
            dir: tempfile::tempdir().unwrap(),
            master,
            links,
            agent: None,
            supervisor: env!("CARGO_BIN_EXE_proffer-supervise").into(),
            task_user: None,
            switch_user: None,
            attributes: None,
            keep_ended: None,
            executor_wait: None,
            mesos_api: None,
            fetch_local: true,
            fetch_roots: None,
            image_archives: None,
            listen: None,
            link: None,
        }
    }

    /// A master, and an agent that it has welcomed.
    pub(crate) async fn started() -> Self {
        let mut bench = Self::new().await;
        bench.start().await;
        bench
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn config(&self) -> Config {
        let options = Options {
            master: Some(vec![self.master.to_string()]),
            listen: self.listen.or_else(|| "127.0.0.1:0".parse().ok()),
            resources: Some("cpus:4;mem:1000;disk:1000".parse().unwrap()),
            work_dir: Some(self.path().join("work")),
            supervisor_program: Some(self.supervisor.clone()),
            task_user: self.task_user.clone(),
            switch_user: self.switch_user,
            attributes: self.attributes.map(|text| text.parse().unwrap()),
            keep_ended: self.keep_ended.map(DurationText),
            executor_wait: self.executor_wait.map(DurationText),
            mesos_api: self.mesos_api,
            insecure_fetch_local: Some(self.fetch_local),
            fetch_roots: self.fetch_roots.clone(),
            image_archives: self.image_archives.clone(),
            token_file: Some(self.path().join("token")),
            ..Options::default()
        };
        Config::from_options(options).unwrap()
    }

    pub(crate) async fn try_start(&mut self) -> Result<(), Problem> {
        let shutdown = CancellationToken::new();
        let running = proffer_agent::start(self.config(), shutdown.clone()).await?;
        self.agent = Some((running, shutdown));
        Ok(())
    }

    /// Starts the agent and welcomes it.
    pub(crate) async fn start(&mut self) {
        self.try_start().await.unwrap();
        let mut link = timeout(PATIENCE, self.links.recv()).await.unwrap().unwrap();
        match link.receive().await {
            ToMaster::Hello(hello) => link.hello = Some(hello),
            other => panic!("{other:?} before the hello"),
        }
        link.send(ToAgent::Welcome {
            agent: AgentId::new("a").unwrap(),
            cluster: ClusterId::new("c").unwrap(),
            epoch: EPOCH,
            generation: Generation(1),
            heartbeat_interval: Duration::from_secs(1),
        })
        .await;
        tokio::spawn(beat(link.to_agent.downgrade()));
        self.link = Some(link);
    }

    /// Ends the agent; its tasks run on.
    pub(crate) async fn stop(&mut self) {
        self.link = None;
        let (running, shutdown) = self.agent.take().unwrap();
        shutdown.cancel();
        timeout(PATIENCE, running.join()).await.unwrap().unwrap();
    }

    pub(crate) fn listen(&self) -> SocketAddr {
        self.agent.as_ref().unwrap().0.listen
    }

    /// The next agents listen where this one does, for those that go on calling there.
    pub(crate) fn keep_listen(&mut self) {
        self.listen = Some(self.listen());
    }

    pub(crate) fn hello(&self) -> &Hello {
        self.link.as_ref().unwrap().hello.as_ref().unwrap()
    }

    pub(crate) async fn launch(&mut self, incarnation: u64, spec: TaskSpec) {
        let link = self.link.as_mut().unwrap();
        link.send(ToAgent::Launch {
            epoch: EPOCH,
            framework: framework(),
            incarnation: Incarnation(incarnation),
            spec: Box::new(spec),
            payer: None,
        })
        .await;
    }

    /// Names the agent's volumes, with their numbers; all are of role `eng`.
    pub(crate) async fn name_volumes(&mut self, volumes: &[(&str, u64)]) {
        let volumes = volumes.iter().map(|(id, number)| AgentVolume {
            id: id.parse().unwrap(),
            role: "eng".parse().unwrap(),
            number: *number,
        });
        let volumes = volumes.collect();
        let link = self.link.as_mut().unwrap();
        let epoch = EPOCH;
        link.send(ToAgent::Volumes { epoch, volumes }).await;
    }

    pub(crate) async fn kill(&mut self, task: &str, incarnation: u64, grace: Duration) {
        let link = self.link.as_mut().unwrap();
        link.send(ToAgent::Kill {
            epoch: EPOCH,
            framework: framework(),
            task: TaskId::new(task).unwrap(),
            incarnation: Incarnation(incarnation),
            grace: Some(grace),
            reason: Reason::KillRequested,
        })
        .await;
    }

    pub(crate) async fn acknowledge(&mut self, status: &Status) {
        let link = self.link.as_mut().unwrap();
        link.send(ToAgent::Acknowledge {
            epoch: EPOCH,
            framework: framework(),
            task: status.task.clone(),
            incarnation: status.incarnation,
            number: status.number,
        })
        .await;
    }

    /// The next status that the agent sends.
    pub(crate) async fn status(&mut self) -> Status {
        loop {
            if let ToMaster::Updated { status, .. } = self.link.as_mut().unwrap().receive().await {
                return status;
            }
        }
    }

    /// The statuses up to the first with this state; each is acknowledged.
    pub(crate) async fn until(&mut self, state: TaskState) -> Vec<Status> {
        let mut statuses = Vec::new();
        loop {
            let status = self.status().await;
            self.acknowledge(&status).await;
            let is_last = status.state == state;
            assert!(is_last || !status.state.is_terminal(), "{status:?}");
            statuses.push(status);
            if is_last {
                return statuses;
            }
        }
    }

    /// The last status of the only task; each is acknowledged.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            let status = self.status().await;
            self.acknowledge(&status).await;
            if status.state.is_terminal() {
                return status;
            }
        }
    }

    /// Waits until the agent has taken in, and kept, all that it was told: a launch that cannot be is answered last.
    pub(crate) async fn settle(&mut self) {
        let large = TaskSpec {
            resources: "cpus:1000".parse().unwrap(),
            ..shell("settle", ":")
        };
        self.launch(u64::MAX, large).await;
        while self.status().await.task.as_str() != "settle" {}
    }

    /// The tasks that the agent said it has, when it connected.
    pub(crate) fn tasks(&self) -> Vec<String> {
        let tasks = self
            .hello()
            .tasks
            .iter()
            .map(|task| task.spec.id.to_string());
        tasks.filter(|id| id != "settle").collect()
    }

    /// The directories of all runs.
    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path().join("work/runs")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The directory of the only run.
    pub(crate) fn run(&self) -> PathBuf {
        let mut runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.remove(0)
    }

    /// The process of the only run.
    pub(crate) fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.run().join("pid")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("task "))
            .unwrap();
        line.split(' ').next().unwrap().parse().unwrap()
    }
}

impl Link {
    pub(crate) async fn send(&mut self, message: ToAgent) {
        self.to_agent
            .send(Ok(encode_to_agent(&message)))
            .await
            .unwrap();
    }

    pub(crate) async fn receive(&mut self) -> ToMaster {
        let message = timeout(PATIENCE, self.from_agent.message()).await;
        decode_to_master(message.unwrap().unwrap().unwrap()).unwrap()
    }
}

/// Says that the master is there for as long as the link is, so that a slow host does not end it.
async fn beat(to_agent: mpsc::WeakSender<Result<v1::ToAgent, tonic::Status>>) {
    let mut beats = tokio::time::interval(Duration::from_secs(1));
    loop {
        beats.tick().await;
        let Some(to_agent) = to_agent.upgrade() else {
            return;
        };
        let heartbeat = encode_to_agent(&ToAgent::Heartbeat { epoch: EPOCH });
        if to_agent.send(Ok(heartbeat)).await.is_err() {
            return;
        }
    }
}

/// Kills what a failed test has left, by its supervisors.
impl Drop for Bench {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.path().join("work/runs")) else {
            return;
        };
        for entry in entries.flatten() {
            let text = std::fs::read_to_string(entry.path().join("pid")).unwrap_or_default();
            for line in text.lines() {
                let pid = line.split(' ').nth(1).unwrap_or_default();
                let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let ours = self.path().to_str().unwrap_or_default().to_owned();
                let text = String::from_utf8_lossy(&[environ, command].concat()).into_owned();
                if text.contains(&ours) {
                    let _ = std::process::Command::new("kill")
                        .args(["-9", pid])
                        .status();
                }
            }
        }
    }
}

/// Whether there is such a process; one that only waits to be reaped is not.
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Waits until a file has this many lines.
pub(crate) async fn lines(path: &Path, count: usize) -> Vec<String> {
    let wait = async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.ends_with('\n') && text.lines().count() >= count {
                return text.lines().map(str::to_owned).collect();
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("{}", path.display()))
}
