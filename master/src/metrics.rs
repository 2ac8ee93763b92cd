//! What the master measures, by name. Cluster figures are counted from facts by the view, the rest where it happens.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use proffer_model::Epoch;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::writer::WriterMetrics;

/// All of them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Of the driver.
    pub(crate) driver: DriverMetrics,
    /// Of the store.
    pub(crate) writer: WriterMetrics,
    /// Of the cluster.
    pub(crate) cluster: ClusterMetrics,
    /// Of leadership.
    pub(crate) leadership: LeadershipMetrics,
}

/// A label `state`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct State {
    /// Its value.
    pub(crate) state: String,
}

/// A label `how`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct How {
    /// Its value.
    pub(crate) how: &'static str,
}

/// A label `code`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Code {
    /// Its value; codes are a closed list.
    pub(crate) code: String,
}

/// A label `lane`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lane {
    lane: &'static str,
}

/// What the driver measures.
#[derive(Clone, Debug)]
pub(crate) struct DriverMetrics {
    step_seconds: Histogram,
    inbox: Family<Lane, Gauge>,
    lease: Seconds,
}

impl DriverMetrics {
    /// A step took so long.
    pub(crate) fn stepped(&self, took: Duration) {
        self.step_seconds.observe(took.as_secs_f64());
    }

    /// The lease on leadership holds for so long yet; for ever, if `None`.
    pub(crate) fn lease_left(&self, left: Option<Duration>) {
        self.lease
            .set(left.map_or(f64::INFINITY, |left| left.as_secs_f64()));
    }

    /// So many messages of agents, calls of sessions and unary calls wait.
    pub(crate) fn inbox_len(&self, lens: [usize; 3]) {
        for (lane, len) in ["agents", "sessions", "requests"].into_iter().zip(lens) {
            self.inbox
                .get_or_create(&Lane { lane })
                .set(i64::try_from(len).unwrap_or(i64::MAX));
        }
    }
}

/// A gauge in seconds.
type Seconds = Gauge<f64, AtomicU64>;

/// Of leadership, through all terms.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeadershipMetrics {
    epoch: Gauge,
    leading: Gauge,
    terms: Counter,
    losses: Counter,
    lease: Seconds,
}

impl LeadershipMetrics {
    /// A term has begun.
    pub(crate) fn begun(&self, epoch: Epoch) {
        self.epoch.set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
        self.leading.set(1);
        self.terms.inc();
    }

    /// It has ended, and this master stands by.
    pub(crate) fn ended(&self) {
        self.leading.set(0);
    }

    /// It has ended against this master's will. Its threads have ended too.
    pub(crate) fn lost(&self) {
        self.losses.inc();
        self.lease.set(0.0);
    }

    fn register(&self, registry: &mut Registry) {
        let help = "The leadership term, or the last one";
        registry.register("master_epoch", help, self.epoch.clone());
        let help = "1 if this master leads, 0 if it stands by";
        registry.register("master_leading", help, self.leading.clone());
        registry.register("master_terms", "Terms begun", self.terms.clone());
        let help = "Terms that ended otherwise than by a shutdown";
        registry.register("master_leadership_losses", help, self.losses.clone());
        let help = "How long the lease on leadership holds yet";
        registry.register("master_lease_remaining_seconds", help, self.lease.clone());
    }
}

/// How an agent registers that came without an id.
pub(crate) const NEW: &str = "new";
/// How any other does.
pub(crate) const AGAIN: &str = "again";
/// How an agent is lost of which nothing is heard.
pub(crate) const UNREACHABLE: &str = "unreachable";
/// How one is that an operator has marked gone.
pub(crate) const GONE: &str = "gone";

/// What is counted from facts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterMetrics {
    /// Agents by state.
    pub(crate) agents: Family<State, Gauge>,
    /// Registrations of agents, by how they came.
    pub(crate) registrations: Family<How, Counter>,
    /// Agents that were declared lost, by how.
    pub(crate) losses: Family<How, Counter>,
    /// Frameworks by whether they have a session.
    pub(crate) frameworks: Family<State, Gauge>,
    /// Tasks by state, those that have ended as far as the view keeps them.
    pub(crate) tasks: Family<State, Gauge>,
    /// Offers that stand.
    pub(crate) offers_outstanding: Gauge,
    /// Offers that were sent.
    pub(crate) offers_sent: Counter,
    /// Offers that ended without being accepted, by how.
    pub(crate) offers_ended: Family<How, Counter>,
    /// Tasks that were accepted for launch.
    pub(crate) launches: Counter,
    /// Calls that were refused, by code.
    pub(crate) calls_refused: Family<Code, Counter>,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let leadership = LeadershipMetrics::default();
        Self {
            driver: DriverMetrics {
                // From 1 µs to 1 s; a step should stay below 1 ms.
                step_seconds: Histogram::new(exponential_buckets(1e-6, 4.0, 11)),
                inbox: Family::default(),
                lease: leadership.lease.clone(),
            },
            writer: WriterMetrics {
                // From 0.1 ms to 26 s; an append waits for the disk.
                append_seconds: Histogram::new(exponential_buckets(1e-4, 4.0, 10)),
                log_entries: Gauge::default(),
            },
            cluster: ClusterMetrics::default(),
            leadership,
        }
    }

    /// Makes them known.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let steps = self.driver.step_seconds.clone();
        registry.register("master_step_seconds", "One step of the core", steps);
        let help = "What waits for the core, by lane";
        registry.register("master_inbox_len", help, self.driver.inbox.clone());
        let appends = self.writer.append_seconds.clone();
        registry.register(
            "master_store_append_seconds",
            "One append to the log",
            appends,
        );
        let help = "Entries in the log since its snapshot";
        registry.register("master_log_entries", help, self.writer.log_entries.clone());
        self.leadership.register(registry);
        self.cluster.register(registry);
    }
}

impl ClusterMetrics {
    /// Of a term that is over nothing stands; what was counted stays counted.
    pub(crate) fn forget(&self) {
        self.agents.clear();
        self.frameworks.clear();
        self.tasks.clear();
        self.offers_outstanding.set(0);
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("master_agents", "Agents by state", self.agents.clone());
        let help = "Registrations of agents, by how they came";
        registry.register("master_registrations", help, self.registrations.clone());
        let help = "Agents that were declared lost, by how";
        registry.register("master_agent_losses", help, self.losses.clone());
        let help = "Frameworks by whether they have a session";
        registry.register("master_frameworks", help, self.frameworks.clone());
        registry.register("master_tasks", "Tasks by state", self.tasks.clone());
        let outstanding = self.offers_outstanding.clone();
        registry.register(
            "master_offers_outstanding",
            "Offers that stand",
            outstanding,
        );
        registry.register(
            "master_offers_sent",
            "Offers that were sent",
            self.offers_sent.clone(),
        );
        let help = "Offers that ended without being accepted, by how";
        registry.register("master_offers_ended", help, self.offers_ended.clone());
        registry.register(
            "master_launches",
            "Tasks accepted for launch",
            self.launches.clone(),
        );
        let help = "Calls that were refused, by code";
        registry.register("master_calls_refused", help, self.calls_refused.clone());
    }
}
