//! Puts the parts together and starts them: alone (`proffer discovery`), inside `proffer dev`, or dry.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use proffer_model::{Problem, code};
use proffer_server::auth::{Guard, LocalToken};
use proffer_server::client::HttpClient;
use proffer_server::notify::{self, Pulse, Report};
use proffer_server::{http, listen, metrics};
use rustix::fs::FlockOperation;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::apply::Applier;
use crate::apps;
use crate::config::Config;
use crate::core::{Core, Setup, Snapshot, View};
use crate::driver::Driver;
use crate::feed::Feed;
use crate::haproxy::Control;
use crate::limits::{APP_LIST_BYTES_MAX, FETCH_TIMEOUT, STREAM_SILENCE_MAX};
use crate::metrics::Metrics;
use crate::model::{self, Routes, Rules, Service};
use crate::render::{Renderer, TEMPLATE};
use crate::status::{self, Page};

/// A sidecar that runs.
#[derive(Debug)]
pub struct Running {
    /// Where its API listens.
    pub address: SocketAddr,
    view: watch::Receiver<Arc<View>>,
    pulse: Pulse,
    handle: JoinHandle<()>,
}

impl Running {
    /// What it knows now; changes can be waited for.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// What the service manager hears of it.
    pub fn report(&self) -> Report {
        let view = self.view.clone();
        let status = move || status_line(&view.borrow());
        Report {
            pulses: vec![self.pulse.clone()],
            status: Box::new(status),
        }
    }

    /// Waits until it has ended after its shutdown. HAProxy goes on, unless `stop_haproxy_on_exit` is set.
    pub async fn join(self) {
        let _ = self.handle.await;
    }
}

/// Runs until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let running = start(config, shutdown.clone()).await?;
    notify::serving(running.report(), shutdown);
    running.join().await;
    Ok(())
}

/// Starts; the listener is bound and the work directory locked when this returns. A HAProxy that is missing or does not
/// start is no error here: it is told on `/v1/status` and tried again.
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, Problem> {
    let token = LocalToken::load_or_create(&config.token_file)?;
    make_dir(&config.work_dir, "work_dir")?;
    let socket_dir = config.socket_dir();
    make_dir(&socket_dir, "work_dir")?;
    let lock = lock(&config.work_dir)?;
    let listener =
        listen::bind_plaintext(config.listen, "listen", config.insecure_allow_plaintext)?;
    let address = listener.local_addr().map_err(|error| {
        Problem::new(
            code::INTERNAL,
            format!("the listener has no address: {error}"),
        )
    })?;
    let applier = Arc::new(applier(&config, &socket_dir)?);
    let feed = Arc::new(Feed::new(client(&config, &token), config.services.clone()));
    let registry = metrics::Metrics::new("discovery", env!("CARGO_PKG_VERSION"));
    registry.set_insecure_allow_unauthenticated(config.insecure_allow_unauthenticated);
    let seed = seed()?;
    let had_routes = applier.had_routes().await;
    let setup = Setup {
        rules: rules(&config, Some(address.port())),
        had_routes,
        can_change_servers: config.template == TEMPLATE,
        seed,
    };
    let (sender, view) = watch::channel(Arc::new(View::default()));
    let pulse = Pulse::default();
    let driver = Driver {
        core: Core::new(setup),
        feed: Arc::clone(&feed),
        applier: Arc::clone(&applier),
        view: sender,
        metrics: Metrics::new(&registry),
        seed: seed.rotate_left(16),
        pulse: pulse.clone(),
    };
    let page = Page {
        view: view.clone(),
        applier: Arc::clone(&applier),
        feed,
    };
    let router = status::router(page).merge(registry.router());
    let guard = Guard::new(token, config.insecure_allow_unauthenticated);
    tracing::info!(%address, work_dir = %config.work_dir.display(), "discovery has started");
    let handle = tokio::spawn(async move {
        tokio::join!(
            http::serve(listener, router, guard, shutdown.clone()),
            driver.run(shutdown)
        );
        let stops = config.stop_haproxy_on_exit && config.control == Control::Run;
        if stops && let Err(problem) = applier.haproxy.stop().await {
            tracing::warn!(%problem, "HAProxy could not be stopped");
        }
        // Held until here: nobody else may change HAProxy before.
        drop(lock);
    });
    Ok(Running {
        address,
        view,
        pulse,
        handle,
    })
}

fn status_line(view: &View) -> String {
    let haproxy = match (view.pid, &view.apply_problem) {
        (_, Some(problem)) => format!("; not in force: {}", problem.message),
        (Some(pid), None) => format!(" through HAProxy {pid}"),
        (None, None) => String::new(),
    };
    let source = match &view.source_problem {
        Some(problem) => format!("; services does not answer: {}", problem.message),
        None => String::new(),
    };
    format!("routes {} services{haproxy}{source}", view.services.len())
}

/// The configuration for what services says now, without touching anything.
pub async fn dry_run(config: &Config) -> Result<String, Problem> {
    let token = LocalToken::load(&config.token_file)?;
    let feed = Arc::new(Feed::new(client(config, &token), config.services.clone()));
    render_snapshot(&feed.fetch().await?, config)
}

/// The configuration for an app list, without touching anything. Host names in it are not resolved: their instances are left
/// out, so agents must be given by address.
pub fn render_apps(app_list: &[u8], config: &Config) -> Result<String, Problem> {
    let snapshot = Snapshot {
        apps: apps::decode(app_list)?,
        addresses: BTreeMap::new(),
    };
    render_snapshot(&snapshot, config)
}

fn render_snapshot(snapshot: &Snapshot, config: &Config) -> Result<String, Problem> {
    let routes: Routes = model::build(
        &snapshot.apps,
        &rules(config, None),
        &snapshot.addresses,
        &BTreeMap::new(),
    );
    let services: Vec<&Service> = routes.services.iter().collect();
    let settings = config.settings(&config.socket_dir());
    let rendered = Renderer::new(&config.template)?.render(&settings, &services)?;
    Ok(rendered.text)
}

fn rules(config: &Config, own_port: Option<u16>) -> Rules {
    let binds = [config.http_bind, config.stats_bind, Some(config.listen)];
    let ports = binds
        .into_iter()
        .flatten()
        .map(|bind| bind.port())
        .chain(own_port);
    Rules {
        filter: config.group.clone(),
        reserved: ports.collect(),
    }
}

fn applier(config: &Config, socket_dir: &Path) -> Result<Applier, Problem> {
    let settings = config.settings(socket_dir);
    let haproxy = config.haproxy_of(socket_dir);
    Ok(Applier {
        renderer: Renderer::new(&config.template)?,
        settings,
        haproxy,
    })
}

fn client(config: &Config, token: &LocalToken) -> HttpClient {
    HttpClient::new()
        .token(token)
        .insecure_allow_plaintext(config.insecure_allow_plaintext)
        .request_timeout(FETCH_TIMEOUT)
        .stream_idle_timeout(STREAM_SILENCE_MAX)
        .answer_len_max(APP_LIST_BYTES_MAX)
}

fn seed() -> Result<u64, Problem> {
    getrandom::u64()
        .map_err(|error| Problem::new(code::INTERNAL, format!("no random numbers: {error}")))
}

/// A directory of ours that nobody else can put anything into.
fn make_dir(path: &Path, key: &str) -> Result<(), Problem> {
    let failed = |why: String| {
        Problem::new(code::FILE_FAILED, format!("{}: {why}", path.display()))
            .field(key)
            .hint("choose a directory that this user may write to, with --work-dir")
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| failed(error.to_string()))?;
    let data = std::fs::symlink_metadata(path).map_err(|error| failed(error.to_string()))?;
    if !data.is_dir() || data.uid() != rustix::process::geteuid().as_raw() {
        return Err(failed("it is not a directory of this user".to_owned()));
    }
    if data.mode() & 0o022 != 0 {
        return Err(failed("others may write to it".to_owned()).hint("chmod go-w it"));
    }
    Ok(())
}

/// The lock that one sidecar a work directory holds, until it ends in whatever way.
fn lock(work_dir: &Path) -> Result<File, Problem> {
    let path = work_dir.join("lock");
    let failed = |error: std::io::Error| {
        Problem::new(code::FILE_FAILED, format!("{}: {error}", path.display())).field("work_dir")
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    match rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Problem::new(
            code::DIRECTORY_LOCKED,
            format!("another discovery works in {}", work_dir.display()),
        )
        .field("work_dir")
        .hint("stop it, or choose another directory with --work-dir")),
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests;
