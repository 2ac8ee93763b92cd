//! Puts a master together and takes it apart: token, listeners, election, terms, each on its threads.
//!
//! The listeners and their connections are of the process; what answers on them is switched between a term and the
//! standby. What can be wrong from outside is found before anything is changed: the listeners are bound before a term
//! begins. The cluster listener has a runtime of its own, so that agents are heard however busy the API is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use axum::Router;
use proffer_leader::Lease;
use proffer_model::{Leader, Problem, code};
use proffer_proto::{DESCRIPTORS, v1};
use proffer_server::auth::{Guard, LocalToken};
use proffer_server::http::{Limits, serve_with};
use proffer_server::listen;
use proffer_server::notify::{self, Pulse, Report};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::campaign::Campaign;
use crate::config::Config;
use crate::election::Election;
use crate::grpc::leadership::LeadershipService;
use crate::grpc::operator::OperatorService;
use crate::grpc::session::SchedulerService;
use crate::grpc::state::StateService;
use crate::metrics::Metrics;
use crate::pass_on::Passer;
use crate::standing::Standing;
use crate::store::StoreUrl;
use crate::switch::Switch;
use crate::tenure::Tenure;
use crate::term::{Maker, Term};
use crate::{http, standby};

/// The services that only a leader serves.
const LEADERS_SERVICES: [&str; 3] = [
    v1::scheduler_server::SchedulerServer::<SchedulerService>::NAME,
    v1::framework_state_server::FrameworkStateServer::<StateService>::NAME,
    v1::operator_server::OperatorServer::<OperatorService>::NAME,
];

/// A master that serves.
#[derive(Debug)]
pub struct Running {
    /// The API's address.
    pub listen: SocketAddr,
    /// The address for agents.
    pub cluster_listen: SocketAddr,
    standing: Arc<Standing>,
    pulse: Pulse,
    campaign: JoinHandle<Result<(), Problem>>,
    links: oneshot::Receiver<()>,
    api: JoinHandle<()>,
}

/// Runs a master until `shutdown`; an error when it ends otherwise.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let running = start(config, shutdown.clone()).await?;
    notify::serving(running.report(), shutdown);
    running.join().await?;
    Ok(())
}

/// Starts a master on the current runtime. When this returns, its listeners serve; one that shares its store with nobody
/// leads then, and its end is the end of that term.
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, Problem> {
    start_in(config, None, shutdown).await
}

/// The same, standing in this election if there is one.
pub(crate) async fn start_in(
    config: Config,
    stand: Option<Stand>,
    shutdown: CancellationToken,
) -> Result<Running, Problem> {
    let token = LocalToken::load_or_create(&config.token_file)?;
    let plaintext = config.insecure_allow_plaintext;
    let api = listen::bind_plaintext(config.listen, "listen", plaintext)?;
    let links = listen::bind_plaintext(config.cluster_listen, "cluster_listen", plaintext)?;
    let (listen, cluster_listen) = (address(&api)?, address(&links)?);
    let me = config.leader(listen, cluster_listen)?;
    let stand = stand.or_else(|| crate::election::stand(&config));

    let registry = proffer_server::metrics::Metrics::new("master", env!("CARGO_PKG_VERSION"));
    registry.set_insecure_allow_unauthenticated(config.insecure_allow_unauthenticated);
    let metrics = Metrics::new();
    registry.register(|registry| metrics.register(registry));
    let guard = Guard::new(token, config.insecure_allow_unauthenticated);
    let guard = guard.names(host_names(&me)).names(&config.host_names);
    let messages = crate::mesos::LIBPROCESS_PATHS.into_iter();
    let guard = guard.leave_to_handlers(messages.filter(|_| config.mesos_api));
    let standing = Arc::new(Standing::new(me.clone()));
    let passer = Passer::new(Arc::clone(&standing), plaintext);
    let (services, routers) = services(&standing, passer, &registry, config.mesos_api).await?;

    // Whatever ends the campaign ends the servers too; and if one of them cannot start, so does the campaign.
    let ended = shutdown.child_token();
    let unfinished = ended.clone().drop_guard();
    let pulse = Pulse::default();
    let campaign = Campaign {
        maker: Maker {
            core: config.core.clone(),
            metrics,
            standing: Arc::clone(&standing),
            pulse: pulse.clone(),
            mesos_api: config.mesos_api,
        },
        services,
        shutdown: ended.clone(),
    };
    let life = match stand {
        None => Life::Alone(begin_alone(&campaign, config.store).await?),
        Some(stand) => Life::Standing(stand(me)?),
    };
    if let Life::Alone(term) = &life {
        campaign.take_up(term).await;
    }
    let links = serve_links(links, routers.cluster, guard.clone(), ended.clone())?;
    let api = tokio::spawn(serve_with(api, routers.api, guard, Limits::mesos(), ended));
    let campaign = tokio::spawn(live(campaign, life, unfinished));
    Ok(Running {
        listen,
        cluster_listen,
        standing,
        pulse,
        campaign,
        links,
        api,
    })
}

/// Begins to stand as this master.
pub(crate) type Stand = Box<dyn FnOnce(Leader) -> Result<Box<dyn Election>, Problem> + Send>;

/// How a master comes to lead.
enum Life {
    /// Nobody else has its store: it leads once, in this term.
    Alone(Term),
    /// Whenever it is elected.
    Standing(Box<dyn Election>),
}

/// Lives to the end; `Ok` after a shutdown.
async fn live(campaign: Campaign, life: Life, _servers: DropGuard) -> Result<(), Problem> {
    match life {
        Life::Alone(term) => campaign.serve_out(term).await,
        Life::Standing(election) => {
            tokio::select! {
                () = campaign.run(election) => Ok(()),
                never = turn_between_terms(&campaign.maker) => never,
            }
        }
    }
}

/// Answers whether the master turns while no term's driver does.
async fn turn_between_terms(maker: &Maker) -> ! {
    let mut status = maker.standing.watch();
    loop {
        // It fails only without a sender, which the standing is.
        let _ = status.wait_for(|status| status.reign.is_none()).await;
        tokio::select! {
            _ = status.wait_for(|status| status.reign.is_some()) => {}
            never = maker.pulse.answering() => never,
        }
    }
}

async fn begin_alone(campaign: &Campaign, store: StoreUrl) -> Result<Term, Problem> {
    let tenure = Tenure::new(Lease::forever(), campaign.shutdown.child_token());
    let begun = campaign.maker.begin(tenure, Box::new(move || store.open()));
    begun.await.map_err(|failure| failure.problem)
}

impl Running {
    /// What the service manager hears of it.
    pub fn report(&self) -> Report {
        let standing = Arc::clone(&self.standing);
        Report {
            pulses: vec![self.pulse.clone()],
            status: Box::new(move || standing.now().to_string()),
        }
    }

    /// Waits until the master has ended: `Ok` after a shutdown, otherwise why its only term is over. Then the store is
    /// closed and may be opened again.
    pub async fn join(self) -> Result<(), Problem> {
        let unexpected = |error| {
            let message = format!("the master's campaign has ended: {error}");
            Problem::new(code::INTERNAL, message)
        };
        let ended = self.campaign.await.map_err(unexpected);
        // Both end with the campaign; one that has panicked has said so.
        let _ = self.links.await;
        let _ = self.api.await;
        ended.and_then(|ended| ended)
    }
}

/// What serves terms.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    api: Switch,
    cluster: Switch,
    health: HealthReporter,
}

impl Services {
    /// This term takes the calls.
    pub(crate) async fn lead(&self, term: &Term) {
        self.api.lead(term.tenure.clone(), term.api.clone());
        self.cluster.lead(term.tenure.clone(), term.links.clone());
        self.report(ServingStatus::Serving).await;
    }

    /// No term does.
    pub(crate) async fn stand_by(&self) {
        self.api.stand_by();
        self.cluster.stand_by();
        self.report(ServingStatus::NotServing).await;
    }

    async fn report(&self, status: ServingStatus) {
        for name in LEADERS_SERVICES {
            self.health.set_service_status(name, status).await;
        }
    }
}

/// What the listeners serve through all terms.
struct Routers {
    api: Router,
    cluster: Router,
}

async fn services(
    standing: &Arc<Standing>,
    passer: Passer,
    registry: &proffer_server::metrics::Metrics,
    mesos_api: bool,
) -> Result<(Services, Routers), Problem> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let services = Services {
        api: Switch::new(standby::api(passer, Arc::clone(standing), mesos_api)),
        cluster: Switch::new(standby::cluster(Arc::clone(standing))),
        health,
    };
    services.stand_by().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| {
            let message = format!("reflection cannot be served: {error}");
            Problem::new(code::INTERNAL, message)
        })?;
    let leadership = LeadershipService::new(Arc::clone(standing));
    let leadership = v1::leadership_server::LeadershipServer::new(leadership);
    let operator = OperatorService::standing(Arc::clone(standing));
    let operator = v1::operator_server::OperatorServer::new(operator);
    let mesos = match mesos_api {
        true => crate::mesos::everywhere(Arc::clone(standing)),
        false => Router::new(),
    };
    let api = Routes::new(leadership.clone())
        .add_service(health_service)
        .add_service(reflection)
        .into_axum_router()
        // Whoever asks a master how it stands means that one.
        .route_service("/proffer.v1.Operator/GetMaster", operator)
        .merge(http::router(Arc::clone(standing), registry))
        .merge(mesos)
        .merge(services.api.router());
    let cluster = Routes::new(leadership)
        .into_axum_router()
        .merge(services.cluster.router());
    Ok((services, Routers { api, cluster }))
}

/// Serves agents on a thread of their own; the answer comes when that has ended.
fn serve_links(
    listener: TcpListener,
    router: Router,
    guard: Guard,
    ended: CancellationToken,
) -> Result<oneshot::Receiver<()>, Problem> {
    let immovable = |error| {
        let message = format!("a listener cannot be moved: {error}");
        Problem::new(code::INTERNAL, message)
    };
    let listener = listener.into_std().map_err(immovable)?;
    let runtime = runtime_of_one_thread()?;
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

fn address(listener: &TcpListener) -> Result<SocketAddr, Problem> {
    let unknown = |error| {
        let message = format!("a listener has no address: {error}");
        Problem::new(code::INTERNAL, message)
    };
    listener.local_addr().map_err(unknown)
}

/// The names by which others call this master.
fn host_names(me: &Leader) -> impl Iterator<Item = &str> {
    let addresses = [&me.address, &me.cluster_address].into_iter();
    addresses.filter_map(|address| Some(address.rsplit_once(':')?.0))
}

/// A runtime for a thread of its own.
pub(crate) fn runtime_of_one_thread() -> Result<tokio::runtime::Runtime, Problem> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::new(code::INTERNAL, format!("cannot start a runtime: {error}")))
}

/// Starts a thread.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Problem> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|error| Problem::new(code::INTERNAL, format!("cannot start a thread: {error}")))
}
