//! A term: everything that is created when leadership is won and dropped when it is lost. Nothing outlives it but the store.
//!
//! It is the core with its driver on a thread of their own, the store's thread, the view's thread, and the services
//! that speak to them. What serves connections stays (see `running.rs`); a term only hands it routers.

use std::sync::Arc;

use axum::Router;
use axum::middleware::map_response;
use axum::routing::get;
use proffer_master_core::Core;
use proffer_master_core::effect::Effects;
use proffer_model::limits::MESSAGE_LEN_MAX;
use proffer_model::{Problem, code};
use proffer_proto::v1;
use proffer_server::clock;
use proffer_server::http::{unknown_method, unknown_route};
use proffer_server::notify::Pulse;
use tokio::sync::oneshot;
use tonic::service::Routes;

use crate::background::Background;
use crate::body;
use crate::driver::Driver;
use crate::election::OpenStore;
use crate::grpc::agent_link::AgentLinkService;
use crate::grpc::operator::OperatorService;
use crate::grpc::session::SchedulerService;
use crate::grpc::state::StateService;
use crate::http;
use crate::inbox::{Inbox, Lanes, lanes};
use crate::limits::LINK_MESSAGE_LEN_MAX;
use crate::mesos::{Desk, Endpoint, Identity, MasterReign, Rates, Registry, operators};
use crate::metrics::Metrics;
use crate::running::{runtime_of_one_thread, spawn};
use crate::standing::{Reign, Standing};
use crate::store::log::Log;
use crate::tenure::{Tenure, lost};
use crate::view::{Feed, View};
use crate::writer::{Copies, Lane, Writer};

/// What every term of this process is made with.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    /// What the core decides by.
    pub(crate) core: proffer_master_core::Config,
    /// What is measured, over all terms.
    pub(crate) metrics: Metrics,
    /// How this master stands.
    pub(crate) standing: Arc<Standing>,
    /// What its driver answers while it leads.
    pub(crate) pulse: Pulse,
    /// Whether it serves Mesos's API.
    pub(crate) mesos_api: bool,
}

/// A term that has begun.
#[derive(Debug)]
pub(crate) struct Term {
    /// Its cluster and number.
    pub(crate) reign: Reign,
    /// While it may act.
    pub(crate) tenure: Tenure,
    /// What it serves on the API listener.
    pub(crate) api: Router,
    /// What it serves on the cluster listener.
    pub(crate) links: Router,
    ended: oneshot::Receiver<Result<(), Problem>>,
}

/// Why a term could not be begun.
#[derive(Debug)]
pub(crate) struct Failure {
    /// In words.
    pub(crate) problem: Problem,
    /// Whether trying again will end the same way until a human has acted.
    pub(crate) is_lasting: bool,
}

impl Failure {
    fn passing(problem: Problem) -> Self {
        let is_lasting = false;
        Self {
            problem,
            is_lasting,
        }
    }
}

impl Maker {
    /// Begins a term on this tenure, with the log of this store.
    pub(crate) async fn begin(&self, tenure: Tenure, open: OpenStore) -> Result<Term, Failure> {
        let log = begin_log(open).await?;
        if !tenure.holds() {
            return Err(Failure::passing(lost()));
        }
        self.assemble(tenure, log).map_err(Failure::passing)
    }

    fn assemble(&self, tenure: Tenure, log: Log) -> Result<Term, Problem> {
        let reign = Reign {
            cluster: log.cluster().clone(),
            epoch: log.epoch(),
        };
        let (view, feed) = crate::view::start(self.metrics.cluster.clone())?;
        let (inbox, lanes) = lanes(tenure.clone());
        let lane = Lane::new();
        let copies = lane.copies();
        // The threads end with the last of these, so if something cannot start, nothing stays.
        let unfinished = tenure.token().clone().drop_guard();
        let ended = Seat {
            core: self.core.clone(),
            log,
            lane,
            metrics: self.metrics.clone(),
            feed,
            lanes,
            tenure: tenure.clone(),
            pulse: self.pulse.clone(),
        }
        .start()?;
        unfinished.disarm();
        Ok(Term {
            api: self.api(&reign, &inbox, view, copies)?,
            links: links(inbox),
            reign,
            tenure,
            ended,
        })
    }

    fn api(
        &self,
        reign: &Reign,
        inbox: &Inbox,
        view: View,
        copies: Copies,
    ) -> Result<Router, Problem> {
        let background = Background::start()?;
        let scheduler = SchedulerService::new(inbox.clone(), reign.epoch, background.clone());
        let state = StateService::new(inbox.clone());
        let standing = Arc::clone(&self.standing);
        let operator = OperatorService::leading(
            standing,
            inbox.clone(),
            view.clone(),
            copies,
            reign.epoch,
            background.clone(),
        );
        let home = http::home(reign, self.standing.me());
        let mesos = match self.mesos_api {
            true => self.mesos(reign, inbox, view, background),
            false => Router::new(),
        };
        let router = Routes::new(
            v1::scheduler_server::SchedulerServer::new(scheduler)
                .max_decoding_message_size(MESSAGE_LEN_MAX),
        )
        .add_service(
            v1::framework_state_server::FrameworkStateServer::new(state)
                .max_decoding_message_size(MESSAGE_LEN_MAX),
        )
        .add_service(
            v1::operator_server::OperatorServer::new(operator)
                .max_decoding_message_size(MESSAGE_LEN_MAX),
        )
        .into_axum_router()
        .layer(map_response(body::count))
        .merge(mesos)
        .route("/", get(move || async move { http::text(home) }))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method);
        Ok(router)
    }

    /// What Mesos's frameworks and operators find.
    fn mesos(&self, reign: &Reign, inbox: &Inbox, view: View, background: Background) -> Router {
        let identity = Identity::new(self.standing.me().clone());
        let reign = MasterReign {
            cluster: reign.cluster.to_string(),
            started_wall_ms: self.standing.started_wall_ms(),
            elected_wall_ms: clock::now().wall_ms,
            unreachable_after: self.core.unreachable_after,
            counts: self.metrics.cluster.clone(),
            registry: Registry::default(),
        };
        let registry = reign.registry.clone();
        let rates = Rates {
            calls: self.core.calls_per_second,
            operations: self.core.operations_per_second,
        };
        let of_desk = identity.clone();
        let of_pages = background.clone();
        let desk = Desk::new(inbox.clone(), view.clone(), of_desk, reign, of_pages);
        let frameworks = Endpoint::new(inbox.clone(), view, identity, rates, registry, background);
        let frameworks = frameworks.router();
        frameworks.merge(operators(&desk))
    }
}

/// The service of the cluster listener.
fn links(inbox: Inbox) -> Router {
    let link = v1::agent_link_server::AgentLinkServer::new(AgentLinkService::new(inbox))
        .max_decoding_message_size(LINK_MESSAGE_LEN_MAX);
    Routes::new(link)
        .into_axum_router()
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method)
}

impl Term {
    /// Waits until all of its threads have ended and the store is closed: `Ok` after a shutdown, otherwise why it ended.
    pub(crate) async fn ended(self) -> Result<(), Problem> {
        let unexpected =
            |_| Problem::new(code::INTERNAL, "the master's core has ended unexpectedly");
        self.ended.await.map_err(unexpected).and_then(|ended| ended)
    }
}

async fn begin_log(open: OpenStore) -> Result<Log, Failure> {
    let begun = tokio::task::spawn_blocking(move || Log::begin_term(open()?)).await;
    match begun {
        Ok(begun) => begun.map_err(|error| Failure {
            is_lasting: error.is_lasting(),
            problem: error.into(),
        }),
        Err(error) => Err(Failure::passing(Problem::new(
            code::INTERNAL,
            format!("the store's task has ended: {error}"),
        ))),
    }
}

/// What the core's thread is made of.
struct Seat {
    core: proffer_master_core::Config,
    log: Log,
    lane: Lane,
    metrics: Metrics,
    feed: Feed,
    lanes: Lanes,
    tenure: Tenure,
    pulse: Pulse,
}

impl Seat {
    /// Starts the core's thread; the answer is how the term has ended.
    fn start(self) -> Result<oneshot::Receiver<Result<(), Problem>>, Problem> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| Problem::new(code::INTERNAL, format!("no random bytes: {error}")))?;
        let runtime = runtime_of_one_thread()?;
        let (report, ended) = oneshot::channel();
        spawn("core", move || {
            // Also when the core panics, so that nothing goes on serving without it.
            let _guard = self.tenure.token().clone().drop_guard();
            let ended = runtime.block_on(self.lead(seed));
            let _ = report.send(ended);
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
        let writer = Writer::start(self.log, self.lane, self.metrics.writer)?;
        Driver::new(core, writer, self.feed, self.metrics.driver, self.tenure)
            .run(first, self.lanes, self.pulse)
            .await
    }
}
