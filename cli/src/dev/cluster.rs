//! The roles in one process: started one after the other as each needs the one before, ended in the opposite order.
//!
//! Each is the same code as its own program, with the same checks; only its options are made here instead of read. HAProxy
//! is nobody's child: it is found again by its directory.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;

use proffer_discovery::haproxy::Haproxy;
use proffer_model::{Problem, RangeSet, ResourceName, Resources, code};
use proffer_server::config::ResourcesText;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::dev::data_dir::DataDir;
use crate::dev::ports::Ports;
use crate::dev::ready::once_ready;
use crate::limits::DEV_PART_STOP_TIMEOUT;
use crate::services_client::ServicesClient;

/// The agent's work directory.
pub(crate) const AGENT_DIR: &str = "agent";
const DISCOVERY_DIR: &str = "discovery";

/// What a `dev` is made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) data: &'a DataDir,
    pub(crate) ports: &'a Ports,
    pub(crate) has_haproxy: bool,
    pub(crate) insecure_allow_unauthenticated: bool,
    pub(crate) insecure_fetch_local: bool,
    pub(crate) image_archives: Option<&'a Path>,
}

/// The roles as they run.
#[derive(Debug)]
pub(crate) struct Cluster {
    master: Part,
    agent: Part,
    services: Part,
    discovery: Part,
}

/// One role. Ends when its token is cancelled.
#[derive(Debug)]
struct Part {
    name: &'static str,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Problem>>,
}

impl Cluster {
    /// Starts everything; what has started already ends again when a later part cannot start. `shutdown` only cuts the
    /// waiting short.
    pub(crate) async fn start(
        setting: &Setting<'_>,
        services_client: &ServicesClient,
        shutdown: &CancellationToken,
    ) -> Result<Self, Problem> {
        let starting = CancellationToken::new();
        let guard = starting.clone().drop_guard();
        let master = start_master(setting, starting.child_token()).await?;
        let agent = start_agent(setting, starting.child_token()).await?;
        let services = start_services(setting, starting.child_token()).await?;
        // The sidecar would complain of services that do not know their apps yet.
        tokio::select! {
            ready = once_ready(|| services_client.ready()) => ready?,
            () = shutdown.cancelled() => {}
        }
        let discovery = start_discovery(setting, starting.child_token()).await?;
        guard.disarm();
        Ok(Self {
            master,
            agent,
            services,
            discovery,
        })
    }
}

async fn start_master(setting: &Setting<'_>, shutdown: CancellationToken) -> Result<Part, Problem> {
    let options = proffer_master::Options {
        listen: Some(Ports::on_loopback(setting.ports.master)),
        cluster_listen: Some(Ports::on_loopback(setting.ports.cluster)),
        store: Some(format!("file:{}", setting.data.join("master").display()).parse()?),
        insecure_allow_unauthenticated: Some(setting.insecure_allow_unauthenticated),
        ..proffer_master::Options::default()
    };
    let config = proffer_master::Config::from_options(options)?;
    let running = proffer_master::start(config, shutdown.clone()).await?;
    Ok(Part::new("master", shutdown, running.join()))
}

/// As seen from where the program was started.
fn absolute(dir: &Path) -> Result<PathBuf, Problem> {
    std::path::absolute(dir).map_err(|error| {
        let message = format!("{} is not a directory: {error}", dir.display());
        Problem::new(code::CONFIG_INVALID, message).field("image_archives")
    })
}

async fn start_agent(setting: &Setting<'_>, shutdown: CancellationToken) -> Result<Part, Problem> {
    let work_dir = setting.data.join(AGENT_DIR);
    let options = proffer_agent::Options {
        master: Some(vec![Ports::on_loopback(setting.ports.cluster).to_string()]),
        listen: Some(Ports::on_loopback(setting.ports.agent)),
        resources: Some(ResourcesText(resources(setting.data, setting.ports)?)),
        work_dir: Some(work_dir),
        insecure_allow_unauthenticated: Some(setting.insecure_allow_unauthenticated),
        insecure_fetch_local: Some(setting.insecure_fetch_local),
        image_archives: setting.image_archives.map(absolute).transpose()?,
        ..proffer_agent::Options::default()
    };
    let config = proffer_agent::Config::from_options(options)?;
    let running = proffer_agent::start(config, shutdown.clone()).await?;
    Ok(Part::new("agent", shutdown, running.join()))
}

/// What this host has, with the ports of this `dev`.
fn resources(data: &DataDir, ports: &Ports) -> Result<Resources, Problem> {
    let host = proffer_agent::host_resources(&data.join(""))?;
    let mut own = Resources::new();
    for (name, milli) in host.quantities().iter() {
        own.insert_scalar(name.clone(), milli)?;
    }
    let numbers = RangeSet::from_numbers(ports.host.clone().map(u64::from));
    own.insert_ranges(ResourceName::new("ports")?, numbers)?;
    Ok(own)
}

async fn start_services(
    setting: &Setting<'_>,
    shutdown: CancellationToken,
) -> Result<Part, Problem> {
    let options = proffer_services::Options {
        master: Some(vec![Ports::on_loopback(setting.ports.master).to_string()]),
        listen: Some(Ports::on_loopback(setting.ports.services)),
        work_dir: Some(setting.data.join("services")),
        local_port_min: Some(*setting.ports.service.start()),
        local_port_max: Some(*setting.ports.service.end()),
        insecure_allow_unauthenticated: Some(setting.insecure_allow_unauthenticated),
        ..proffer_services::Options::default()
    };
    let config = proffer_services::Config::from_options(options)?;
    let running = proffer_services::start(config, shutdown.clone()).await?;
    Ok(Part::new("services", shutdown, running.join()))
}

async fn start_discovery(
    setting: &Setting<'_>,
    shutdown: CancellationToken,
) -> Result<Part, Problem> {
    let mut config = discovery_config(setting.data, setting.ports, setting.has_haproxy)?;
    config.insecure_allow_unauthenticated = setting.insecure_allow_unauthenticated;
    let running = proffer_discovery::start(config, shutdown.clone()).await?;
    Ok(Part::new("discovery", shutdown, async move {
        running.join().await;
        Ok(())
    }))
}

fn discovery_config(
    data: &DataDir,
    ports: &Ports,
    has_haproxy: bool,
) -> Result<proffer_discovery::Config, Problem> {
    let options = proffer_discovery::Options {
        services: Some(vec![format!(
            "http://{}",
            Ports::on_loopback(ports.services)
        )]),
        listen: Some(Ports::on_loopback(ports.discovery)),
        work_dir: Some(data.join(DISCOVERY_DIR)),
        run_haproxy: Some(has_haproxy),
        ..proffer_discovery::Options::default()
    };
    let mut config = proffer_discovery::Config::from_options(options)?;
    config.stop_haproxy_on_exit = true;
    Ok(config)
}

/// Whether there is a HAProxy to run.
pub(crate) fn is_haproxy_installed() -> bool {
    proffer_discovery::find_haproxy(None).is_some()
}

/// Whether an earlier `dev` has left a HAProxy that goes on.
pub(crate) async fn is_haproxy_left(data: &DataDir, ports: &Ports) -> Result<bool, Problem> {
    Ok(haproxy(data, ports)?.running().await.is_some())
}

/// Ends the HAProxy of this directory, if one runs.
pub(crate) async fn stop_haproxy(data: &DataDir, ports: &Ports) -> Result<(), Problem> {
    haproxy(data, ports)?.stop().await
}

fn haproxy(data: &DataDir, ports: &Ports) -> Result<Haproxy, Problem> {
    let config = discovery_config(data, ports, true)?;
    Ok(Haproxy {
        program: config.haproxy.clone(),
        control: config.control.clone(),
        config_file: config.haproxy_config.clone(),
        master_socket: config.socket_dir().join("haproxy-master.sock"),
        work_dir: config.work_dir,
    })
}

impl Part {
    fn new(
        name: &'static str,
        shutdown: CancellationToken,
        join: impl Future<Output = Result<(), Problem>> + Send + 'static,
    ) -> Self {
        Self {
            name,
            shutdown,
            task: tokio::spawn(join),
        }
    }

    /// Ends it and waits a moment.
    async fn end(&mut self) {
        self.shutdown.cancel();
        if self.task.is_finished() {
            return;
        }
        match tokio::time::timeout(DEV_PART_STOP_TIMEOUT, &mut self.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(problem))) => {
                tracing::warn!(part = self.name, %problem, "a part ended with a problem")
            }
            Ok(Err(error)) => tracing::error!(part = self.name, %error, "a part panicked"),
            Err(_) => tracing::warn!(part = self.name, "a part does not end"),
        }
    }
}

impl Cluster {
    /// The problem with which the first part ended that nobody had asked to end.
    pub(crate) async fn ended(&mut self) -> Problem {
        poll_fn(|context| {
            for part in [
                &mut self.master,
                &mut self.agent,
                &mut self.services,
                &mut self.discovery,
            ] {
                if let Poll::Ready(ended) = Pin::new(&mut part.task).poll(context) {
                    return Poll::Ready(why(part.name, ended));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Ends the sidecar alone, so that it does not start HAProxy again.
    pub(crate) async fn end_discovery(&mut self) {
        self.discovery.end().await;
    }

    /// Ends the roles, those that need others first.
    pub(crate) async fn end(mut self) {
        for part in [
            &mut self.discovery,
            &mut self.services,
            &mut self.agent,
            &mut self.master,
        ] {
            part.end().await;
        }
    }
}

fn why(name: &str, ended: Result<Result<(), Problem>, tokio::task::JoinError>) -> Problem {
    match ended {
        Ok(Err(problem)) => problem,
        Ok(Ok(())) => Problem::new(code::INTERNAL, format!("{name} has ended by itself")),
        Err(error) => Problem::new(code::INTERNAL, format!("{name} has ended: {error}")),
    }
}
