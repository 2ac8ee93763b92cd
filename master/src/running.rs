//! Puts a master together and takes it apart: token, listeners, store, term, core, servers, each on its threads.
//!
//! What can be wrong from outside is found before anything is changed: the listeners are bound before the epoch is
//! raised. The cluster listener has a runtime of its own, so that agents are heard however busy the API is.

use std::net::SocketAddr;
use std::thread;

use axum::Router;
use proffer_master_core::Core;
use proffer_master_core::effect::Effects;
use proffer_model::limits::MESSAGE_LEN_MAX;
use proffer_model::{ClusterId, Epoch, Problem, code};
use proffer_proto::{DESCRIPTORS, v1};
use proffer_server::auth::{Guard, LocalToken};
use proffer_server::http::{Limits, serve, serve_with};
use proffer_server::{clock, listen};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::config::Config;
use crate::driver::Driver;
use crate::grpc::agent_link::AgentLinkService;
use crate::grpc::operator::OperatorService;
use crate::grpc::session::SchedulerService;
use crate::grpc::state::StateService;
use crate::http::Pages;
use crate::inbox::{Inbox, Lanes, lanes};
use crate::limits::LINK_MESSAGE_LEN_MAX;
use crate::metrics::Metrics;
use crate::store::log::Log;
use crate::view::{Feed, View};
use crate::writer::Writer;

/// A master that leads.
#[derive(Debug)]
pub struct Running {
    /// The API's address.
    pub listen: SocketAddr,
    /// The address for agents.
    pub cluster_listen: SocketAddr,
    /// The cluster.
    pub cluster: ClusterId,
    /// The term.
    pub epoch: Epoch,
    parts: Parts,
}

#[derive(Debug)]
struct Parts {
    term: oneshot::Receiver<Result<(), Problem>>,
    links: oneshot::Receiver<()>,
    api: JoinHandle<()>,
}

/// Runs a master until `shutdown`; an error when its term ends otherwise.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let running = start(config, shutdown).await?;
    tracing::info!(
        listen = %running.listen,
        cluster_listen = %running.cluster_listen,
        cluster = %running.cluster,
        epoch = running.epoch.0,
        "the master leads"
    );
    running.join().await?;
    Ok(())
}

/// Starts a master on the current runtime. When this returns, it leads and its listeners are bound.
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, Problem> {
    let token = LocalToken::load_or_create(&config.token_file)?;
    let plaintext = config.insecure_allow_plaintext;
    let api = listen::bind_plaintext(config.listen, "listen", plaintext)?;
    let links = listen::bind_plaintext(config.cluster_listen, "cluster_listen", plaintext)?;
    let (listen, cluster_listen) = (address(&api)?, address(&links)?);

    let log = begin_term(&config).await?;
    let (cluster, epoch) = (log.cluster().clone(), log.epoch());
    let registry = proffer_server::metrics::Metrics::new("master", env!("CARGO_PKG_VERSION"));
    registry.set_insecure_allow_unauthenticated(config.insecure_allow_unauthenticated);
    let metrics = Metrics::new();
    metrics
        .epoch
        .set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
    registry.register(|registry| metrics.register(registry));
    let (view, feed) = crate::view::start(metrics.cluster.clone())?;
    let (inbox, lanes) = lanes();

    // Whatever ends the term ends the servers too; and if one of them cannot start, so does the term.
    let ended = shutdown.child_token();
    let unfinished = ended.clone().drop_guard();
    let term = Term {
        core: config.core,
        log,
        metrics,
        feed,
        lanes,
        ended: ended.clone(),
    };
    let term = term.start()?;
    let names = config
        .advertise
        .as_deref()
        .and_then(|name| name.rsplit_once(':'));
    let guard = Guard::new(token, config.insecure_allow_unauthenticated)
        .names(names.map(|(host, _)| host.to_owned()));
    let pages = Pages {
        cluster: cluster.clone(),
        epoch,
        advertise: config.advertise.unwrap_or_else(|| listen.to_string()),
        cluster_listen,
    };
    let links = serve_links(links, inbox.clone(), guard.clone(), ended.clone())?;
    let router = crate::http::router(&pages, &registry).merge(services(inbox, view, &pages).await?);
    let api = tokio::spawn(serve(api, router, guard, ended));
    unfinished.disarm();
    let parts = Parts { term, links, api };
    Ok(Running {
        listen,
        cluster_listen,
        cluster,
        epoch,
        parts,
    })
}

impl Running {
    /// Waits until the master has ended: `Ok` after a shutdown, otherwise why its term is over. Then the store is
    /// closed and may be opened again.
    pub async fn join(self) -> Result<(), Problem> {
        let Parts { term, links, api } = self.parts;
        let unexpected =
            |_| Problem::new(code::INTERNAL, "the master's core has ended unexpectedly");
        let ended = term.await.map_err(unexpected).and_then(|ended| ended);
        // Both end with the term; one that has panicked has said so.
        let _ = links.await;
        let _ = api.await;
        ended
    }
}

fn address(listener: &TcpListener) -> Result<SocketAddr, Problem> {
    let unknown = |error| {
        Problem::new(
            code::INTERNAL,
            format!("a listener has no address: {error}"),
        )
    };
    listener.local_addr().map_err(unknown)
}

async fn begin_term(config: &Config) -> Result<Log, Problem> {
    let store = config.store.clone();
    let begun = tokio::task::spawn_blocking(move || Log::begin_term(store.open()?));
    let unfinished = |error| {
        Problem::new(
            code::INTERNAL,
            format!("the store's task has ended: {error}"),
        )
    };
    Ok(begun.await.map_err(unfinished)??)
}

/// What the core's thread is made of.
struct Term {
    core: proffer_master_core::Config,
    log: Log,
    metrics: Metrics,
    feed: Feed,
    lanes: Lanes,
    ended: CancellationToken,
}

impl Term {
    /// Starts the core's thread; the answer is how the term has ended.
    fn start(self) -> Result<oneshot::Receiver<Result<(), Problem>>, Problem> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| Problem::new(code::INTERNAL, format!("no random bytes: {error}")))?;
        let runtime = runtime_of_one_thread()?;
        let (report, ended) = oneshot::channel();
        spawn("core", move || {
            // Also when the core panics, so that nothing goes on serving without it.
            let _guard = self.ended.clone().drop_guard();
            let _ = report.send(runtime.block_on(self.lead(seed)));
        })?;
        Ok(ended)
    }

    async fn lead(self, seed: [u8; 32]) -> Result<(), Problem> {
        let mut first = Effects::new();
        let core = Core::new(
            self.core,
            self.log.cluster().clone(),
            self.log.epoch(),
            seed,
            self.log.registry().clone(),
            clock::now(),
            &mut first,
        );
        let writer = Writer::start(self.log, self.metrics.writer)?;
        Driver::new(core, first, writer, self.feed, self.metrics.driver)?
            .run(self.lanes, self.ended)
            .await
    }
}

/// Serves agents on a thread of their own; the answer comes when that has ended.
fn serve_links(
    listener: TcpListener,
    inbox: Inbox,
    guard: Guard,
    ended: CancellationToken,
) -> Result<oneshot::Receiver<()>, Problem> {
    let immovable = |error| {
        Problem::new(
            code::INTERNAL,
            format!("a listener cannot be moved: {error}"),
        )
    };
    let listener = listener.into_std().map_err(immovable)?;
    let runtime = runtime_of_one_thread()?;
    let link = v1::agent_link_server::AgentLinkServer::new(AgentLinkService::new(inbox))
        .max_decoding_message_size(LINK_MESSAGE_LEN_MAX);
    let router = Routes::new(link).into_axum_router();
    let (report, done) = oneshot::channel();
    spawn("links", move || {
        runtime.block_on(async {
            match TcpListener::from_std(listener) {
                Ok(listener) => serve_with(listener, router, guard, Limits::cluster(), ended).await,
                Err(error) => tracing::error!(%error, "agents cannot be served"),
            }
        });
        let _ = report.send(());
    })?;
    Ok(done)
}

/// The gRPC services of the API listener.
async fn services(inbox: Inbox, view: View, pages: &Pages) -> Result<Router, Problem> {
    let scheduler = SchedulerService::new(inbox.clone(), pages.epoch);
    let state = StateService::new(inbox.clone());
    let operator = OperatorService::new(inbox, view, pages.cluster.clone(), pages.epoch);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| {
            Problem::new(
                code::INTERNAL,
                format!("reflection cannot be served: {error}"),
            )
        })?;
    // Whoever can ask is asking a leader: the listener ends with the term.
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_serving::<v1::scheduler_server::SchedulerServer<SchedulerService>>()
        .await;
    reporter
        .set_serving::<v1::framework_state_server::FrameworkStateServer<StateService>>()
        .await;
    reporter
        .set_serving::<v1::operator_server::OperatorServer<OperatorService>>()
        .await;
    Ok(Routes::new(
        v1::scheduler_server::SchedulerServer::new(scheduler)
            .max_decoding_message_size(MESSAGE_LEN_MAX),
    )
    .add_service(
        v1::framework_state_server::FrameworkStateServer::new(state)
            .max_decoding_message_size(MESSAGE_LEN_MAX),
    )
    .add_service(v1::operator_server::OperatorServer::new(operator))
    .add_service(health)
    .add_service(reflection)
    .into_axum_router())
}

fn runtime_of_one_thread() -> Result<tokio::runtime::Runtime, Problem> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::new(code::INTERNAL, format!("cannot start a runtime: {error}")))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Problem> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|error| Problem::new(code::INTERNAL, format!("cannot start a thread: {error}")))
}
