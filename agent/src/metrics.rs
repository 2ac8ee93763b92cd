//! What the agent measures, by name; counted from the core's facts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// All of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    /// Tasks that have not ended.
    pub(crate) tasks: Gauge,
    /// 1 while a leader knows the agent.
    pub(crate) registered: Gauge,
    /// 1 for the master that the agent is linked to.
    pub(crate) master: Family<[(&'static str, String); 1], Gauge>,
    /// The greatest epoch obeyed.
    pub(crate) epoch: Gauge,
    /// Statuses that were sent again.
    pub(crate) resends: Counter,
    /// Launches that were refused.
    pub(crate) refusals: Counter,
    /// Checkpoints that are being written.
    pub(crate) unwritten: Gauge,
}

impl Metrics {
    /// Registers all.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let gauges = [
            ("agent_tasks", "Tasks that have not ended", &metrics.tasks),
            (
                "agent_registered",
                "1 while a leader knows the agent",
                &metrics.registered,
            ),
            (
                "agent_epoch",
                "The greatest leadership term obeyed",
                &metrics.epoch,
            ),
            (
                "agent_checkpoints_unwritten",
                "Checkpoints being written",
                &metrics.unwritten,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "agent_master",
            "1 for the master that the agent is linked to",
            metrics.master.clone(),
        );
        let counters = [
            (
                "agent_update_resends",
                "Statuses sent again",
                &metrics.resends,
            ),
            (
                "agent_launches_refused",
                "Launches refused",
                &metrics.refusals,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    /// The agent is linked to this master and to no other.
    pub(crate) fn set_master(&self, master: Option<&str>) {
        self.master.clear();
        if let Some(address) = master {
            let label = [("address", address.to_owned())];
            self.master.get_or_create(&label).set(1);
        }
    }
}
