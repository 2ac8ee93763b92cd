//! What can be measured of services: counts of what happened, and the tables as they are at each scrape.

use std::fmt;
use std::sync::Arc;

use proffer_server::metrics::Metrics;
use proffer_services_core::effect::Fact;
use proffer_services_core::instance::Phase;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::view::View;

/// Counts of facts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    instances_failed: Counter,
    launches_refused: Counter,
    unknown_tasks_killed: Counter,
    calls_refused: Counter,
}

impl Counters {
    /// Registers them, and the tables.
    pub(crate) fn register(metrics: &Metrics, view: Arc<View>) -> Self {
        let counters = Self::default();
        metrics.register(|registry| {
            for (name, help, counter) in [
                (
                    "services_instances_failed",
                    "Instances that ended by themselves",
                    &counters.instances_failed,
                ),
                (
                    "services_launches_refused",
                    "Launches that the master refused",
                    &counters.launches_refused,
                ),
                (
                    "services_unknown_tasks_killed",
                    "Tasks of no known instance",
                    &counters.unknown_tasks_killed,
                ),
                (
                    "services_calls_refused",
                    "Other calls that the master refused",
                    &counters.calls_refused,
                ),
            ] {
                registry.register(name, help, counter.clone());
            }
            registry.register_collector(Box::new(Tables(view)));
        });
        counters
    }

    /// Counts a fact.
    pub(crate) fn count(&self, fact: &Fact) {
        match fact {
            Fact::InstanceFailed { .. } => self.instances_failed.inc(),
            Fact::LaunchRefused { .. } => self.launches_refused.inc(),
            Fact::UnknownTaskKilled(_) => self.unknown_tasks_killed.inc(),
            Fact::CallRefused(_) => self.calls_refused.inc(),
            Fact::AppChanged(_)
            | Fact::AppRemoved(_)
            | Fact::InstanceChanged(_)
            | Fact::InstanceRemoved(_) => return,
        };
    }
}

/// Counts the tables at each scrape.
struct Tables(Arc<View>);

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tables")
    }
}

impl Collector for Tables {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let apps = self.0.apps();
        let (_, is_connected) = self.0.session();
        let (mut wanted, mut running, mut healthy, mut staged) = (0i64, 0i64, 0i64, 0i64);
        for row in &apps {
            wanted += i64::from(row.app.spec.instances);
            for instance in row
                .instances
                .iter()
                .filter(|instance| !instance.is_condemned)
            {
                running += i64::from(instance.phase == Phase::Running);
                healthy += i64::from(instance.is_healthy());
                staged += i64::from(instance.phase < Phase::Running);
            }
        }
        let deployments = apps
            .iter()
            .filter(|row| row.app.deployment.is_some())
            .count();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("services_apps", "Apps", count(apps.len())),
            (
                "services_deployments_active",
                "Deployments under way",
                count(deployments),
            ),
            (
                "services_instances_wanted",
                "Instances that apps ask for",
                wanted,
            ),
            (
                "services_instances_staged",
                "Instances that are launched and do not run yet",
                staged,
            ),
            ("services_instances_running", "Instances that run", running),
            (
                "services_instances_healthy",
                "Instances that run and pass their checks",
                healthy,
            ),
            (
                "services_session_active",
                "1 while there is a session with a master",
                i64::from(is_connected),
            ),
        ] {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
