//! Puts the parts together: token, listener, identity, session, driver, REST; and ends them.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use proffer_model::{FrameworkDescription, Problem, Secret, code};
use proffer_sdk::{ConnectOptions, Events, Framework};
use proffer_server::auth::{Guard, LocalToken};
use proffer_server::metrics::Metrics;
use proffer_server::notify::{self, Pulse, Report};
use proffer_server::{http, listen};
use proffer_services_core::core::{Core, Settings};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::driver::{Driver, LinkEvent, Wires};
use crate::identity::Identity;
use crate::limits::{EVENTS_WAITING_MAX, REQUESTS_WAITING_MAX};
use crate::master::{Master, SdkMaster};
use crate::metrics::Counters;
use crate::rest::{Api, Info, router};
use crate::store::Store;
use crate::stream::EventStream;
use crate::view::View;

/// Services that run.
#[derive(Debug)]
pub struct Running {
    /// Where the REST API is reached.
    pub listen: SocketAddr,
    view: Arc<View>,
    pulse: Pulse,
    driver: JoinHandle<Result<(), Problem>>,
    api: JoinHandle<()>,
}

/// Runs services until `shutdown`; an error when they cannot go on.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let running = start(config, shutdown.clone()).await?;
    tracing::info!(listen = %running.listen, "services runs");
    notify::serving(running.report(), shutdown);
    running.join().await?;
    Ok(())
}

/// Starts services on the current runtime. When this returns, the listener is bound; whether a master can be reached shows
/// later. Instances outlive it.
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, Problem> {
    let token = LocalToken::load_or_create(&config.token_file)?;
    let identity = Identity::open(&config.work_dir)?;
    let listener =
        listen::bind_plaintext(config.listen, "listen", config.insecure_allow_plaintext)?;
    let address = listener.local_addr().map_err(|error| {
        Problem::new(
            code::INTERNAL,
            format!("the listener has no address: {error}"),
        )
    })?;
    let masters = config.masters.iter().map(Secret::expose);
    let options = ConnectOptions {
        token: Some(token.secret().clone()),
        framework_id: identity.load()?,
        description: FrameworkDescription {
            name: config.name.clone(),
            roles: vec![config.role.clone()],
            failover_timeout: config.failover_timeout,
            mesos: None,
        },
        insecure_allow_plaintext: config.insecure_allow_plaintext,
        ..ConnectOptions::new(masters, &config.name, [config.role.clone()])
    };
    let (handle, events) = Framework::connect(options).map_err(as_named_here)?;
    let master = Arc::new(SdkMaster::new(handle));

    let metrics = Metrics::new("services", env!("CARGO_PKG_VERSION"));
    metrics.set_insecure_allow_unauthenticated(config.insecure_allow_unauthenticated);
    // Whatever ends the driver ends the server too, and the other way round.
    let ended = shutdown.child_token();
    let (link, link_received) = mpsc::channel(EVENTS_WAITING_MAX);
    let parts = assemble(
        &config,
        address,
        master,
        link_received,
        &metrics,
        identity,
        ended.clone(),
    )?;
    let (view, pulse) = (parts.view, parts.pulse);
    let driving = async move {
        let forwarding = forward(events, link);
        let driving = parts.driver.run(ended.clone());
        let result = tokio::select! {
            result = driving => result,
            never = forwarding.then(|()| std::future::pending()) => never,
        };
        if let Err(problem) = &result {
            tracing::error!(%problem, "services cannot go on");
        }
        ended.cancel();
        result
    };
    let guard = Guard::new(token, config.insecure_allow_unauthenticated);
    let router = parts.router.merge(metrics.router());
    let api = tokio::spawn(http::serve(listener, router, guard, parts.ended));
    Ok(Running {
        listen: address,
        view,
        pulse,
        driver: tokio::spawn(driving),
        api,
    })
}

impl Running {
    /// What the service manager hears of it.
    pub fn report(&self) -> Report {
        let view = Arc::clone(&self.view);
        let status = move || {
            let apps = view.app_count();
            match view.session() {
                (Some(framework), true) if view.is_loaded() => {
                    format!("connected as {framework}, keeps {apps} apps")
                }
                (_, true) => "connected, reads what it kept".to_owned(),
                (_, false) => format!("no master, {apps} apps run on"),
            }
        };
        Report {
            pulses: vec![self.pulse.clone()],
            status: Box::new(status),
        }
    }

    /// Waits until everything has ended: `Ok` after a shutdown, otherwise why services could not go on.
    pub async fn join(self) -> Result<(), Problem> {
        let unexpected = |_| {
            Problem::new(
                code::INTERNAL,
                "the driver of services has ended unexpectedly",
            )
        };
        let ended = self
            .driver
            .await
            .map_err(unexpected)
            .and_then(|ended| ended);
        // It ends with the driver; one that has panicked has said so.
        let _ = self.api.await;
        ended
    }
}

/// The driver and the REST API, wired to a master.
pub(crate) struct Parts<M> {
    pub(crate) driver: Driver<M>,
    pub(crate) router: axum::Router,
    pub(crate) view: Arc<View>,
    pub(crate) pulse: Pulse,
    pub(crate) ended: CancellationToken,
}

/// Wires everything to a master and its events.
pub(crate) fn assemble<M: Master>(
    config: &Config,
    address: SocketAddr,
    master: Arc<M>,
    link: mpsc::Receiver<LinkEvent>,
    metrics: &Metrics,
    identity: Identity,
    ended: CancellationToken,
) -> Result<Parts<M>, Problem> {
    let view = Arc::new(View::default());
    let stream = EventStream::new(config.role.to_string());
    let (requests, requests_received) = mpsc::channel(REQUESTS_WAITING_MAX);
    let settings = Settings {
        role: config.role.clone(),
        service_ports: config.service_ports,
        seed: seed()?,
    };
    let pulse = Pulse::default();
    let wires = Wires {
        master: master.clone(),
        link,
        requests: requests_received,
        view: view.clone(),
        stream: stream.clone(),
        counters: Counters::register(metrics, view.clone()),
        keep_id: Box::new(move |id| identity.keep(id)),
        pulse: pulse.clone(),
    };
    let store = Store::new(master.clone(), config.role.to_string());
    let info = Info {
        address: address.to_string(),
        port: address.port(),
        name: config.name.clone(),
        role: config.role.to_string(),
        masters: config.masters_shown.clone(),
        local_port_min: config.service_ports.begin,
        local_port_max: config.service_ports.end,
        failover_timeout_secs: config.failover_timeout.as_secs(),
    };
    let api = Api {
        requests,
        view: view.clone(),
        stream,
        explain: Arc::new(move |framework, demand| {
            let master = master.clone();
            async move { master.explain(&framework, &demand).await }.boxed()
        }),
        info: Arc::new(info),
        shutdown: ended.clone(),
    };
    Ok(Parts {
        driver: Driver::new(Core::new(settings), store, wires),
        router: router(api),
        view,
        pulse,
        ended,
    })
}

/// The option that the SDK calls `masters` is `master` here; which entry is at fault has been checked before.
fn as_named_here(problem: Problem) -> Problem {
    match problem.field.starts_with("masters") {
        true => problem.field("master"),
        false => problem,
    }
}

/// Hands the session's events to the driver; says so when none will come any more.
async fn forward(mut events: Events, link: mpsc::Sender<LinkEvent>) {
    let mut last = Problem::new(code::PEER_UNREACHABLE, "the session is over");
    while let Some(received) = events.next().await {
        if let proffer_sdk::session::Event::Closed(problem) = &received.event {
            last = problem.clone();
        }
        let event = LinkEvent::Told {
            sequence: received.sequence,
            event: received.event,
        };
        if link.send(event).await.is_err() {
            return;
        }
    }
    // It fails only when the driver has ended.
    let _ = link.send(LinkEvent::Over(with_remedy(last))).await;
}

/// What to do when the master does not take this framework any more.
fn with_remedy(problem: Problem) -> Problem {
    if problem.is(code::FRAMEWORK_COMPLETED) || problem.is(code::FRAMEWORK_UNKNOWN) {
        return problem.hint(
            "its apps are gone with it; to begin anew without them, remove the file framework-id in the work directory",
        );
    }
    if problem.is(code::SESSION_FENCED) {
        return problem.hint("another services process has taken over this framework; run one for each work directory");
    }
    problem
}

fn seed() -> Result<u128, Problem> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Problem::new(
            code::INTERNAL,
            format!("the system gives no random numbers: {error}"),
        )
    })?;
    Ok(u128::from_ne_bytes(bytes))
}
