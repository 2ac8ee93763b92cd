//! Metrics: one registry a role, `/metrics` in the OpenMetrics text format, and what every process tells about itself.
//!
//! Reading `/proc/self` happens at each scrape; what cannot be read is left out, never guessed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use proffer_model::{Problem, code};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::clock;
use crate::http::problem_response;

/// Clock ticks in a second, as Linux tells them to programs on every architecture.
const TICKS_PER_SEC: u64 = 100;

/// A shared registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    insecure: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// A registry with the process's own metrics and `proffer_build_info{version, role}`.
    pub fn new(role: &'static str, version: &'static str) -> Self {
        let mut registry = Registry::default();
        registry.register(
            "proffer_build",
            "What is running",
            Info::new(vec![("version", version), ("role", role)]),
        );
        let insecure = Gauge::default();
        registry.register(
            "proffer_insecure_allow_unauthenticated",
            "1 if calls from this host need no token",
            insecure.clone(),
        );
        registry.register_collector(Box::new(Process));
        Self {
            registry: Arc::new(Mutex::new(registry)),
            insecure,
        }
    }

    /// Sets `proffer_insecure_allow_unauthenticated`.
    pub fn set_insecure_allow_unauthenticated(&self, is_allowed: bool) {
        self.insecure.set(i64::from(is_allowed));
    }

    /// Registers a role's own metrics and hands on what `fill` makes of them. `fill` must not scrape.
    pub fn register<T>(&self, fill: impl FnOnce(&mut Registry) -> T) -> T {
        fill(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Everything, as OpenMetrics text.
    pub fn encode(&self) -> Result<String, Problem> {
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut page, &registry)
            .map_err(|_| Problem::new(code::INTERNAL, "the metrics cannot be written"))?;
        Ok(page)
    }

    /// `GET /metrics`.
    pub fn router(&self) -> Router {
        let metrics = self.clone();
        Router::new().route("/metrics", get(move || async move { metrics.answer() }))
    }

    fn answer(&self) -> Response {
        const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        match self.encode() {
            Ok(page) => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
            Err(problem) => problem_response(problem),
        }
    }
}

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let table = [
            (
                "process_start_time_seconds",
                "Start of the process, in Unix time",
                start_secs(),
            ),
            (
                "process_resident_memory_bytes",
                "Memory held in RAM",
                resident_bytes(),
            ),
            ("process_open_fds", "Open file descriptors", open_fds()),
        ];
        for (name, help, value) in table {
            let Some(value) = value.and_then(|value| i64::try_from(value).ok()) else {
                continue;
            };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn start_secs() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name may hold spaces and parentheses; the fields after its last ')' are plain, the first is number 3.
    let (_, fields) = stat.rsplit_once(')')?;
    let start_ticks: u64 = fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    let now = clock::now();
    let started_ms = start_ticks.checked_mul(1_000)?.checked_div(TICKS_PER_SEC)?;
    let age_ms = (now.mono_ns / 1_000_000).saturating_sub(started_ms);
    Some(now.wall_ms.saturating_sub(age_ms) / 1_000)
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

fn open_fds() -> Option<u64> {
    // One of them is the directory being read.
    let count = std::fs::read_dir("/proc/self/fd")
        .ok()?
        .count()
        .saturating_sub(1);
    u64::try_from(count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_about_the_process_and_the_build() {
        let metrics = Metrics::new("master", "0.1.0");
        metrics.set_insecure_allow_unauthenticated(true);
        let offers = Gauge::<i64>::default();
        metrics.register(|registry| {
            registry.register("master_offers_outstanding", "Offers", offers.clone())
        });
        offers.set(7);
        let page = metrics.encode().expect("a page");
        for line in [
            "proffer_build_info{version=\"0.1.0\",role=\"master\"} 1",
            "proffer_insecure_allow_unauthenticated 1",
            "master_offers_outstanding 7",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in {page}");
        }
        let value = |name: &str| -> u64 {
            let line = page
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")));
            line.and_then(|line| line.split(' ').nth(1))
                .expect(name)
                .parse()
                .expect(name)
        };
        let now_secs = clock::now().wall_ms / 1_000;
        let start = value("process_start_time_seconds");
        assert!(start <= now_secs + 1 && start + 3_600 > now_secs, "{start}");
        assert!(value("process_resident_memory_bytes") > 100_000);
        assert!(value("process_open_fds") >= 3);
        assert!(page.ends_with("# EOF\n"));
    }
}
