//! The `process` containerizer: a task is a process of this host in a directory of its own, under a supervisor.
//!
//! The agent only ever talks to supervisors. What it does when it starts a task, when it finds one at start-up and when
//! it loses a connection is the same: `attach.rs` finds out what is really there. No claim, lock or file of a run is
//! trusted to be there; a run that was never claimed is revoked before anyone says that it was never started.

mod attach;
mod launch;
mod mount;
mod placing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proffer_agent_core::{Ended, Event, Found, RunId, Signal};
use proffer_model::{
    AgentId, Container, ExecutorApi, ExecutorSpec, Fetch, FrameworkId, Reason, Role, TaskSpec,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::executors::Executors;
use crate::fetch::Fetcher;
use crate::inbox::Inbox;
use crate::limits::{IMAGE_LOADS_MAX, SIGNALS_MAX, START_PATIENCE, STARTS_MAX};
use crate::mesos::Mesos;
use crate::oci::{self, Containers};
use crate::process::attach::{Attached, Connection, attach};
use crate::supervisor::protocol::{self, READY, Said, kill_line};
use crate::volumes::Volumes;

pub(crate) use placing::{Place, Placing};

pub(crate) use launch::{
    Programs, SANDBOX_VARIABLE, TASK_VARIABLE, TaskUser, keep_launch, make_sandbox,
};

/// SIGTERM, as Linux numbers it everywhere.
const SIGTERM: i32 = 15;
/// SIGKILL, as Linux numbers it everywhere.
const SIGKILL: i32 = 9;

/// What is to be started.
#[derive(Clone, Debug)]
pub(crate) enum Program {
    /// A task.
    Task(Arc<TaskSpec>),
    /// An executor of a framework.
    Executor {
        /// Whose.
        framework: FrameworkId,
        /// What.
        spec: Arc<ExecutorSpec>,
        /// Where.
        agent: Option<AgentId>,
        /// In which role.
        role: Option<Role>,
    },
}

impl Program {
    fn fetches(&self) -> &[Fetch] {
        match self {
            Self::Task(spec) => &spec.fetch,
            Self::Executor { spec, .. } => &spec.fetch,
        }
    }

    fn user(&self) -> Option<&str> {
        match self {
            Self::Task(spec) => spec.user.as_deref(),
            Self::Executor { spec, .. } => spec.user.as_deref(),
        }
    }

    fn container(&self) -> Option<&Container> {
        match self {
            Self::Task(spec) => spec.container.as_ref(),
            Self::Executor { .. } => None,
        }
    }
}

/// All containers of this agent.
#[derive(Clone, Debug)]
pub(crate) struct Processes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runs_dir: PathBuf,
    programs: Programs,
    volumes: Volumes,
    fetcher: Fetcher,
    /// Or why this agent runs none.
    containers: Result<Arc<Containers>, String>,
    executors: Executors,
    inbox: Inbox,
    starts: Semaphore,
    loads: Semaphore,
    /// Where signals for the runs that are attached go.
    signals: Mutex<BTreeMap<RunId, mpsc::Sender<i32>>>,
    /// What ends the fetching of the runs that something is fetched for.
    fetching: Mutex<BTreeMap<RunId, CancellationToken>>,
    /// What is to be done in the sandboxes of executors.
    placings: Mutex<placing::Queues>,
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl Processes {
    /// None yet. `ended` ends the agent's part of all; the containers run on.
    pub(crate) fn new(
        runs_dir: PathBuf,
        (programs, volumes, fetcher): (Programs, Volumes, Fetcher),
        containers: Result<Containers, String>,
        mesos: Option<Mesos>,
        (inbox, ended): (Inbox, CancellationToken),
    ) -> Self {
        let of_executors = (inbox.clone(), ended.clone());
        let executors = Executors::new(runs_dir.clone(), mesos, of_executors);
        let shared = Shared {
            runs_dir,
            programs,
            volumes,
            fetcher,
            containers: containers.map(Arc::new),
            executors,
            inbox,
            starts: Semaphore::new(STARTS_MAX),
            loads: Semaphore::new(IMAGE_LOADS_MAX),
            signals: Mutex::new(BTreeMap::new()),
            fetching: Mutex::new(BTreeMap::new()),
            placings: Mutex::default(),
            tasks: TaskTracker::new(),
            ended,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Starts a container; what becomes of it comes as events.
    pub(crate) fn start(&self, run: RunId, program: Program) {
        let shared = self.shared.clone();
        if !program.fetches().is_empty() {
            // Before it may be told to end.
            shared.fetching().insert(run, CancellationToken::new());
        }
        self.spawn(async move { shared.start(run, &program).await });
    }

    /// Fetches nothing more for a run, if anything is on its way.
    pub(crate) fn stop_fetching(&self, run: RunId) {
        if let Some(ended) = self.shared.fetching().get(&run) {
            ended.cancel();
        }
    }

    /// Lets an executor that runs subscribe. When that cannot be, it is missed like one that does not want to.
    pub(crate) fn await_executor(
        &self,
        run: RunId,
        framework: &FrameworkId,
        spec: &Arc<ExecutorSpec>,
    ) {
        if let Err(why) = self.shared.executors.listen(run, framework, spec) {
            tracing::error!(%run, why, "an executor cannot subscribe");
        }
    }

    /// An executor is no more.
    pub(crate) fn leave_executor(&self, run: RunId) {
        self.shared.executors.leave(run);
    }

    /// These volumes are to be here, and no others.
    pub(crate) fn keep_volumes(&self, volumes: Vec<proffer_model::link::AgentVolume>) {
        self.shared.volumes.keep(volumes);
    }

    /// Finds out what is there of a run of an earlier life, and stays attached to it if it runs.
    pub(crate) async fn recover(&self, run: RunId) -> Found {
        match attach(&self.shared.run_dir(run)).await {
            Attached::Gone(found) => {
                self.shared.remove_root(run);
                found
            }
            Attached::Alive { pid, connection } => {
                let signals = self.shared.register(run);
                let shared = self.shared.clone();
                self.spawn(async move { shared.watch(run, connection, signals).await });
                Found::Running { pid }
            }
        }
    }

    /// Ends what is left of containers but of these, which are attached.
    pub(crate) async fn end_others(&self, alive: BTreeSet<RunId>) {
        if let Ok(containers) = self.shared.containers.clone() {
            // A panic there has been reported.
            let _ = tokio::task::spawn_blocking(move || containers.end_others(&alive)).await;
        }
    }

    /// What is there of a run of an earlier life of the host: nothing runs, but it may have left word.
    pub(crate) fn recover_after_boot(&self, run: RunId) -> Found {
        self.shared.remove_root(run);
        attach::read_exit(&self.shared.run_dir(run)).unwrap_or(Found::SupervisorLost)
    }

    /// Signals a container, if it is attached.
    pub(crate) fn signal(&self, run: RunId, signal: Signal) {
        let number = match signal {
            Signal::Terminate => SIGTERM,
            Signal::Kill => SIGKILL,
        };
        let signals = self
            .shared
            .signals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = signals.get(&run)
            && sender.try_send(number).is_err()
        {
            tracing::debug!(%run, number, "a signal is dropped: too many wait, or it has just ended");
        }
    }

    /// Waits until the agent's part of all has ended, after `ended`.
    pub(crate) async fn join(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        self.shared.executors.join().await;
        if let Ok(containers) = &self.shared.containers {
            containers.close();
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let ended = self.shared.ended.clone();
        self.shared.tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = work => {}
            }
        });
    }
}

impl Shared {
    fn run_dir(&self, run: RunId) -> PathBuf {
        self.runs_dir.join(run.to_string())
    }

    async fn start(&self, run: RunId, program: &Program) {
        let dir = self.run_dir(run);
        let ready = self.make_ready(run, &dir, program).await;
        self.fetching().remove(&run);
        let said = match ready {
            Ok(()) => {
                // The semaphore is never closed.
                let _permit = self.starts.acquire().await;
                let prepared = self.prepare(run, &dir, program);
                let begun = match prepared {
                    Ok(()) => self.supervise(&dir).await,
                    Err(message) => Err(message),
                };
                begun.map_err(|message| (Reason::LaunchFailed, message))
            }
            failed => failed,
        };
        // Whatever the supervisor said, what is there counts: another life's supervisor may have come first.
        match attach(&dir).await {
            Attached::Alive { pid, connection } => {
                let signals = self.register(run);
                self.tell(Event::ContainerStarted { run, pid }).await;
                self.watch(run, connection, signals).await;
            }
            Attached::Gone(Found::NeverStarted) => {
                let (reason, message) = said.err().unwrap_or_else(|| {
                    let message = "the supervisor ended before it began";
                    (Reason::LaunchFailed, message.to_owned())
                });
                self.tell(Event::ContainerFailed {
                    run,
                    reason,
                    message,
                })
                .await;
            }
            Attached::Gone(found) => self.tell_gone(run, found).await,
        }
    }

    /// Puts what it needs where it will look for it, which can take long.
    async fn make_ready(
        &self,
        run: RunId,
        dir: &Path,
        program: &Program,
    ) -> Result<(), (Reason, String)> {
        let container = program.container();
        if let (Program::Task(spec), Some(container)) = (program, container) {
            self.load(run, dir, spec, container).await?;
        } else if !program.fetches().is_empty() {
            let made = self.programs.make_sandbox(dir, program.user());
            made.map_err(|message| (Reason::LaunchFailed, message))?;
        }
        self.fetch(run, dir, program).await?;
        match program {
            // After what was fetched, of which nothing may take a volume's place.
            Program::Task(spec) if container.is_none() => self.mount(dir, spec).await,
            Program::Task(spec) => {
                let checked = oci::check_places(dir, spec);
                checked.map_err(|message| (Reason::VolumeFailed, message))
            }
            Program::Executor { spec, .. } if spec.api == ExecutorApi::MesosV1 => {
                self.mount_own(dir, spec).await
            }
            Program::Executor { .. } => Ok(()),
        }
    }

    /// Fetches what the program needs, unless it is told to end before.
    async fn fetch(
        &self,
        run: RunId,
        dir: &Path,
        program: &Program,
    ) -> Result<(), (Reason, String)> {
        let Some(ended) = self.fetching().get(&run).cloned() else {
            return Ok(());
        };
        let sandbox = dir.join(protocol::SANDBOX);
        let is_container = program.container().is_some();
        let fetch = self
            .fetcher
            .fetch(program.fetches(), &sandbox, is_container);
        let fetched = tokio::select! {
            () = ended.cancelled() => Err("ended before all was fetched".to_owned()),
            fetched = fetch => fetched.map_err(|why| format!("cannot fetch {why}")),
        };
        fetched.map_err(|message| (Reason::FetchFailed, message))
    }

    fn fetching(&self) -> MutexGuard<'_, BTreeMap<RunId, CancellationToken>> {
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes what a supervisor needs; what is loaded has been prepared.
    fn prepare(&self, run: RunId, dir: &Path, program: &Program) -> Result<(), String> {
        match program {
            Program::Task(spec) if spec.container.is_some() => Ok(()),
            Program::Task(spec) => self.programs.prepare(dir, spec),
            Program::Executor {
                framework,
                spec,
                agent,
                role,
            } => {
                let executor = (framework, &**spec);
                let place = (agent.as_ref(), role.as_ref());
                let found = self.executors.environment(dir, executor, place)?;
                self.programs.prepare_executor(dir, spec, found)?;
                // Before it is started, so that it finds it.
                self.executors.listen(run, framework, spec)
            }
        }
    }

    /// Prepares a container, which can take long: its image may have to be unpacked. Other starts do not wait for it.
    async fn load(
        &self,
        run: RunId,
        dir: &Path,
        spec: &TaskSpec,
        container: &Container,
    ) -> Result<(), (Reason, String)> {
        let containers = self.containers.clone().map_err(|why| {
            let message = format!("this agent runs no containers: {why}");
            (Reason::LaunchFailed, message)
        })?;
        // The semaphore is never closed.
        let _permit = self.loads.acquire().await;
        let (dir, spec, container) = (dir.to_owned(), spec.clone(), container.clone());
        let volumes = self.volumes.clone();
        let work = move || containers.prepare(run, &dir, &spec, &container, &volumes);
        let prepared = tokio::task::spawn_blocking(work).await;
        prepared.unwrap_or_else(|error| Err((Reason::ImageFailed, error.to_string())))
    }

    /// Gives a process its volumes, which can take long.
    async fn mount(&self, dir: &Path, spec: &TaskSpec) -> Result<(), (Reason, String)> {
        if spec.volumes.is_empty() {
            return Ok(());
        }
        let (programs, volumes) = (self.programs.clone(), self.volumes.clone());
        let (dir, spec) = (dir.to_owned(), spec.clone());
        let work = move || programs.mount(&dir, &spec, &volumes);
        let mounted = tokio::task::spawn_blocking(work).await;
        let mounted = mounted.unwrap_or_else(|error| Err(error.to_string()));
        mounted.map_err(|message| (Reason::VolumeFailed, message))
    }

    /// Gives an executor its own volumes, which can take long.
    async fn mount_own(&self, dir: &Path, of: &Arc<ExecutorSpec>) -> Result<(), (Reason, String)> {
        if of.resources.volumes().next().is_none() {
            return Ok(());
        }
        let (programs, volumes) = (self.programs.clone(), self.volumes.clone());
        let (dir, of) = (dir.to_owned(), of.clone());
        let work = move || programs.mount_own(&dir, &of, &volumes);
        let mounted = tokio::task::spawn_blocking(work).await;
        let mounted = mounted.unwrap_or_else(|error| Err(error.to_string()));
        mounted.map_err(|message| (Reason::VolumeFailed, message))
    }

    /// Starts the supervisor and waits until it listens, or has ended.
    async fn supervise(&self, dir: &Path) -> Result<(), String> {
        let program = &self.programs.supervisor;
        let mut child = Command::new(program)
            .args(["supervise", "--run-dir"])
            .arg(dir)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("the supervisor {}: {error}", program.display()))?;
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let limit = u64::try_from(READY.len()).unwrap_or(u64::MAX);
            let mut stdout = stdout.take(limit);
            let heard = timeout(START_PATIENCE, stdout.read_to_end(&mut said)).await;
            if heard.is_err() {
                let _ = child.kill().await;
                return Err("the supervisor did not answer in time".to_owned());
            }
        }
        // From here on nobody waits for it: the runtime reaps it when it ends.
        if said == READY {
            return Ok(());
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        Err(format!(
            "the supervisor ended with {status} before it began"
        ))
    }

    fn register(&self, run: RunId) -> mpsc::Receiver<i32> {
        let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.insert(run, sender);
        receiver
    }

    fn unregister(&self, run: RunId) {
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.remove(&run);
    }

    /// Passes signals on until the container is gone, and says how.
    async fn watch(&self, run: RunId, first: Connection, mut signals: mpsc::Receiver<i32>) {
        let mut connection = first;
        let found = loop {
            if let Some(found) = converse(&mut connection, &mut signals).await {
                break found;
            }
            // The connection ended without a word: the supervisor has, or it let this connection go.
            match attach(&self.run_dir(run)).await {
                Attached::Gone(found) => break found,
                Attached::Alive {
                    connection: next, ..
                } => connection = next,
            }
        };
        self.unregister(run);
        self.tell_gone(run, found).await;
    }

    async fn tell_gone(&self, run: RunId, found: Found) {
        let event = match found {
            Found::Exited(ended) => Event::ContainerExited { run, ended },
            Found::Failed { message } => Event::ContainerFailed {
                run,
                reason: Reason::LaunchFailed,
                message,
            },
            Found::SupervisorLost | Found::NeverStarted | Found::Running { .. } => {
                Event::SupervisorLost { run }
            }
        };
        self.tell(event).await;
        self.remove_root(run);
    }

    /// Of a container that has ended; nobody waits for it, and what this life does not get to the next one does.
    fn remove_root(&self, run: RunId) {
        let dir = self.run_dir(run);
        drop(tokio::task::spawn_blocking(move || oci::remove_root(&dir)));
    }

    async fn tell(&self, event: Event) {
        self.inbox.send(event).await;
    }
}

/// Passes signals on until the supervisor says how its task ended; nothing when the connection ends first.
async fn converse(connection: &mut Connection, signals: &mut mpsc::Receiver<i32>) -> Option<Found> {
    let mut is_out_of_memory = false;
    loop {
        tokio::select! {
            said = connection.next() => match said? {
                Said::OutOfMemory(_) => is_out_of_memory = true,
                Said::Exited(exit) => return Some(Found::Exited(Ended { exit, is_out_of_memory })),
                Said::Failed(message) => return Some(Found::Failed { message }),
                Said::Started(_) => {}
            },
            Some(number) = signals.recv() => {
                connection.stream().write_all(kill_line(number).as_bytes()).await.ok()?;
            }
        }
    }
}
