//! The sidecar's metrics.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::core::View;

/// How something ended.
#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
pub struct Ending {
    /// `ok`, or `failed`; of applies also how: `reloaded`, `changed`, ….
    pub result: String,
}

/// Counters and gauges; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    fetches: Family<Ending, Counter>,
    applies: Family<Ending, Counter>,
    services: Gauge,
    servers: Gauge,
    left_out: Gauge,
    settled: Gauge,
}

impl Metrics {
    /// Metrics in this registry.
    pub fn new(registry: &proffer_server::metrics::Metrics) -> Self {
        let metrics = Self::default();
        registry.register(|registry| {
            registry.register(
                "discovery_fetches",
                "App lists asked for",
                metrics.fetches.clone(),
            );
            registry.register(
                "discovery_applies",
                "Changes of HAProxy",
                metrics.applies.clone(),
            );
            registry.register(
                "discovery_services",
                "Service ports served",
                metrics.services.clone(),
            );
            registry.register(
                "discovery_servers",
                "Instances routed to",
                metrics.servers.clone(),
            );
            registry.register(
                "discovery_left_out",
                "Parts of apps not served",
                metrics.left_out.clone(),
            );
            registry.register(
                "discovery_settled",
                "1 if what is wanted is in force",
                metrics.settled.clone(),
            );
        });
        metrics
    }

    /// Counts a fetch.
    pub fn count_fetch(&self, is_ok: bool) {
        let result = if is_ok { "ok" } else { "failed" }.to_owned();
        self.fetches.get_or_create(&Ending { result }).inc();
    }

    /// Counts an apply by how it ended.
    pub fn count_apply(&self, result: &str) {
        self.applies
            .get_or_create(&Ending {
                result: result.to_owned(),
            })
            .inc();
    }

    /// Sets the gauges.
    pub fn show(&self, view: &View) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let servers = view
            .services
            .iter()
            .map(|service| service.servers.len())
            .sum();
        self.services.set(number(view.services.len()));
        self.servers.set(number(servers));
        self.left_out.set(number(view.left_out_count));
        self.settled.set(i64::from(view.is_settled));
    }
}
