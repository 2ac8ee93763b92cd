//! Puts an agent together and takes it apart: token, listener, work directory, recovery, core, link, servers.
//!
//! What can be wrong from outside is found before anything is changed. When an agent ends, its containers run on.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse as _;
use axum::routing::any;
use proffer_agent_core::{Core, Event, Found, Settings};
use proffer_leader::Finder;
use proffer_model::{AgentDescription, AgentId, Problem, code};
use proffer_proto::v1::tasks_server::TasksServer;
use proffer_server::auth::{Guard, LocalToken};
use proffer_server::clock;
use proffer_server::http::{Limits, serve_with};
use proffer_server::listen;
use proffer_server::notify::{self, Pulse, Report};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::checkpoint::{Checkpoints, Writer};
use crate::config::Config;
use crate::driver::Driver;
use crate::fetch::{Fetcher, Rules};
use crate::host;
use crate::inbox::{Inbox, inbox};
use crate::limits::MESOS_EXECUTOR_CALL_LEN_MAX;
use crate::link::Linker;
use crate::logs::TasksService;
use crate::mesos::{self, Mesos, Pages};
use crate::metrics::Metrics;
use crate::oci::Containers;
use crate::probe::{Commands, Prober};
use crate::process::{Processes, Programs};
use crate::record::Recorder;
use crate::view::View;
use crate::volumes::Volumes;

/// An agent that runs.
#[derive(Debug)]
pub struct Running {
    /// The API's address.
    pub listen: SocketAddr,
    view: View,
    pulse: Pulse,
    parts: [JoinHandle<()>; 3],
}

/// Runs an agent until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let running = start(config, shutdown.clone()).await?;
    tracing::info!(listen = %running.listen, "the agent runs");
    notify::serving(running.report(), shutdown);
    running.join().await?;
    Ok(())
}

/// Starts an agent on the current runtime. When this returns, its tasks are recovered and its listener is bound; it may
/// not have found a master yet.
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, Problem> {
    let plaintext = config.insecure_allow_plaintext;
    let listener = listen::bind_plaintext(config.listen, "listen", plaintext)?;
    let listen = listener.local_addr().map_err(|error| {
        Problem::new(
            code::INTERNAL,
            format!("a listener has no address: {error}"),
        )
    })?;
    let user = config.task_user.as_deref();
    let programs = Programs::new(config.supervisor_program.clone(), user, config.switch_user)?;
    let checkpoints = Checkpoints::open(&config.work_dir)?;
    programs.check_reach(&checkpoints.runs_dir())?;
    // After the work directory, which others may pass through: the token's would be closed to them, and is often above it.
    let token = LocalToken::load_or_create(&config.token_file)?;
    let run_as_root = programs.run_as_root();
    let description = describe(&config, listen)?;
    announce(&description, run_as_root);

    let registry = proffer_server::metrics::Metrics::new("agent", env!("CARGO_PKG_VERSION"));
    registry.set_insecure_allow_unauthenticated(config.insecure_allow_unauthenticated);
    let mut metrics = Metrics::default();
    registry.register(|registry| metrics = Metrics::new(registry));

    // Whatever ends one part ends all.
    let ended = shutdown.child_token();
    let view = View::default();
    let (inbox, inputs) = inbox();
    let runs_dir = checkpoints.runs_dir();
    let commands = Commands::new(runs_dir.clone(), &programs.supervisor);
    let containers = containers(&config, &runs_dir, &programs);
    let no_containers = containers.as_ref().err().cloned();
    let signals = (inbox.clone(), ended.clone());
    let programs = with_places(programs, &config, &runs_dir, &description)?;
    let mesos = mesos(&config, &runs_dir, (listen, &description), &signals);
    let executors = mesos_router(mesos.as_ref(), &runs_dir, (&view, &description));
    let processes = Processes::new(runs_dir.clone(), programs, containers, mesos, signals);
    let recovered = recover(&checkpoints, &processes).await?;
    let settings = settings(&config, &description)?;
    let prober = Prober::new(&description.host, commands, inbox.clone(), ended.clone());
    let recorder = Recorder::new(view.clone(), metrics);
    let linker = linker(&config, &token, inbox, recorder.clone())?;
    let writer = Writer::start(checkpoints)?;
    let mut driver = Driver::new(Core::new(settings), writer, processes, prober, recorder);
    // Before anything is answered: a Mesos executor that is told that nobody knows it gives up.
    driver.recover(recovered).await;

    let guard = guard(&config, token);
    let tasks = TasksServer::new(TasksService::new(runs_dir, view.clone(), ended.clone()));
    let router = pages(view.clone(), linker.finder(), run_as_root, no_containers)
        .merge(registry.router())
        .merge(executors)
        .merge(Routes::new(tasks).into_axum_router());
    let pulse = Pulse::default();
    let driver = driver.run(inputs, pulse.clone(), ended.clone());
    let driver = guarded(driver, ended.clone());
    let parts = [
        tokio::spawn(driver),
        tokio::spawn(linker.run(ended.clone())),
        tokio::spawn(serve_api(listener, router, guard, ended)),
    ];
    Ok(Running {
        listen,
        view,
        pulse,
        parts,
    })
}

fn linker(
    config: &Config,
    token: &LocalToken,
    inbox: Inbox,
    recorder: Recorder,
) -> Result<Linker, Problem> {
    let (masters, plaintext) = (config.masters.clone(), config.insecure_allow_plaintext);
    Linker::new(masters, plaintext, token, inbox, recorder)
}

fn settings(config: &Config, description: &AgentDescription) -> Result<Settings, Problem> {
    Ok(Settings {
        seed: seed()?,
        garbage_delay: config.keep_ended,
        executor_wait: config.executor_wait,
        description: description.clone(),
    })
}

/// Lets in who has the token, under the name by which others reach this agent.
fn guard(config: &Config, token: LocalToken) -> Guard {
    let advertised = config.advertise.as_deref();
    let name = advertised.and_then(|text| text.rsplit_once(':'));
    Guard::new(token, config.insecure_allow_unauthenticated)
        .names(name.map(|(host, _)| host.to_owned()))
        // Executors have tokens of their own.
        .leave_to_handlers(mesos::PATHS.into_iter().filter(|_| config.mesos_api))
}

/// Where executors that were written for Mesos call, if the operator wants them to.
fn mesos(
    config: &Config,
    runs_dir: &Path,
    (listen, description): (SocketAddr, &AgentDescription),
    signals: &(Inbox, CancellationToken),
) -> Option<Mesos> {
    config.mesos_api.then(|| {
        let listen = (listen, config.insecure_allow_unauthenticated);
        let (runs_dir, description) = (runs_dir.to_owned(), description.clone());
        Mesos::new(runs_dir, listen, description, signals.clone())
    })
}

/// What executors and tools that were written for Mesos call, if the operator wants them to.
fn mesos_router(
    mesos: Option<&Mesos>,
    runs_dir: &Path,
    (view, description): (&View, &AgentDescription),
) -> Router {
    let Some(mesos) = mesos else {
        return Router::new();
    };
    let pages = Pages {
        view: view.clone(),
        description: description.clone(),
        runs_dir: runs_dir.to_owned(),
        started: clock::now(),
    };
    pages.router().merge(mesos.router())
}

/// What it takes to run containers, or why this agent runs none, which is no reason not to run processes.
fn containers(config: &Config, runs_dir: &Path, programs: &Programs) -> Result<Containers, String> {
    let work_dir = runs_dir.parent().unwrap_or(runs_dir);
    let containers = Containers::open(config, work_dir, runs_dir, programs);
    if let Err(why) = &containers {
        tracing::info!(why, "this agent runs no containers");
    }
    containers
}

/// The volumes that are kept, and what fetches, beside the programs of the tasks that they are for.
fn with_places(
    programs: Programs,
    config: &Config,
    runs_dir: &Path,
    description: &AgentDescription,
) -> Result<(Programs, Volumes, Fetcher), Problem> {
    let work_dir = runs_dir.parent().unwrap_or(runs_dir);
    let volumes = Volumes::open(work_dir, &description.resources, config.keep_ended)?;
    let rules = Rules {
        allow_local: config.insecure_fetch_local,
        roots: config.fetch_roots.clone(),
        cache_len_max: config.fetch_cache_len_max,
    };
    if config.insecure_fetch_local {
        tracing::warn!("tasks may fetch from this host and its link (insecure_fetch_local)");
    }
    let fetcher = Fetcher::open(work_dir, programs.fetch.clone(), rules)?;
    Ok((programs, volumes, fetcher))
}

/// Says what the agent offers, and how dangerously.
fn announce(description: &AgentDescription, run_as_root: bool) {
    if run_as_root {
        tracing::warn!(
            "tasks that name no user run as root: set task_user, or run the agent as another user"
        );
    }
    tracing::info!(
        host = description.host,
        resources = %description.resources,
        attributes = %description.attributes,
        "this agent offers"
    );
}

impl Running {
    /// As which the agent is registered with a leader, if it is.
    pub fn agent(&self) -> Option<AgentId> {
        self.view.agent()
    }

    /// What the service manager hears of it.
    pub fn report(&self) -> Report {
        let view = self.view.clone();
        let status = move || {
            let tasks = view.live();
            match view.agent() {
                Some(agent) => format!("registered as {agent}, {tasks} tasks run"),
                None => format!("no master knows it yet, {tasks} tasks run"),
            }
        };
        Report {
            pulses: vec![self.pulse.clone()],
            status: Box::new(status),
        }
    }

    /// Waits until the agent has ended, after `shutdown`; an error when it ended otherwise. Its tasks run on, and its
    /// work directory is free.
    pub async fn join(self) -> Result<(), Problem> {
        let mut result = Ok(());
        for part in self.parts {
            if part.await.is_err() {
                result = Err(
                    Problem::new(code::INTERNAL, "the agent has ended unexpectedly")
                        .hint("its tasks run on; start it again, and report the lines before this"),
                );
            }
        }
        result
    }
}

/// Ends all when this part ends, also by a panic.
async fn guarded(part: impl Future<Output = ()>, ended: CancellationToken) {
    let _guard = ended.drop_guard();
    part.await;
}

async fn serve_api(listener: TcpListener, router: Router, guard: Guard, ended: CancellationToken) {
    let limits = Limits {
        body_len_max: MESOS_EXECUTOR_CALL_LEN_MAX,
        ..Limits::mesos()
    };
    serve_with(listener, router, guard, limits, ended).await;
}

/// What the agent says of itself.
fn describe(config: &Config, listen: SocketAddr) -> Result<AgentDescription, Problem> {
    let host = match &config.host {
        Some(host) => host.clone(),
        None if listen.ip().to_canonical().is_loopback() => listen.ip().to_string(),
        None => host::name()?,
    };
    let resources = match &config.resources {
        Some(resources) => resources.clone(),
        None => host::resources(&config.work_dir)?,
    };
    Ok(AgentDescription {
        host,
        address: config
            .advertise
            .clone()
            .unwrap_or_else(|| listen.to_string()),
        resources,
        attributes: config.attributes.clone(),
        domain: config.domain.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Reads the checkpoints and finds out what is really there.
async fn recover(checkpoints: &Checkpoints, processes: &Processes) -> Result<Event, Problem> {
    let identity = checkpoints.read_identity()?;
    let boot = host::boot_id()?;
    let (mut runs, mut executors) = checkpoints.read_runs()?;
    let is_same_boot = identity.boot.is_empty() || identity.boot == boot;
    // A task of an executor has no process that the agent knows.
    let own = runs.iter_mut().filter(|run| run.executor.is_none());
    let found = own.map(|run| (run.run, &mut run.found));
    let of_executors = executors.iter_mut().map(|it| (it.run, &mut it.found));
    let mut alive = BTreeSet::new();
    for (run, found) in found.chain(of_executors) {
        *found = if is_same_boot {
            processes.recover(run).await
        } else {
            processes.recover_after_boot(run)
        };
        if matches!(found, Found::Running { .. }) {
            alive.insert(run);
        }
    }
    processes.end_others(alive).await;
    Ok(Event::Recovered {
        identity,
        boot,
        runs,
        executors,
    })
}

fn seed() -> Result<u64, Problem> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| Problem::new(code::INTERNAL, format!("no random bytes: {error}")))?;
    Ok(u64::from_le_bytes(bytes))
}

/// `/health`: whether a leader knows the agent, and which or why none, and what an operator should not overlook.
fn pages(view: View, finder: Finder, run_as_root: bool, no_containers: Option<String>) -> Router {
    let health = move || {
        let (view, finder) = (view.clone(), finder.clone());
        let no_containers = no_containers.clone();
        async move {
            let agent = view.agent();
            let body = serde_json::json!({
                "registered": agent.is_some(),
                "agent_id": agent.as_ref().map(AgentId::as_str),
                "master": view.master(),
                "trouble": finder.trouble(),
                "tasks": view.live(),
                "tasks_run_as_root": run_as_root,
                "containers": no_containers.is_none(),
                "containers_trouble": no_containers,
                "version": env!("CARGO_PKG_VERSION"),
            });
            (
                [(header::CONTENT_TYPE, "application/json")],
                body.to_string(),
            )
                .into_response()
        }
    };
    Router::new().route("/health", any(health))
}
