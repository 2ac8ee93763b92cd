//! What a master says of itself, in Mesos's words.

use std::sync::Arc;
use std::time::Duration;

use proffer_model::FrameworkId;
use proffer_proto::mesos::seconds_of;
use proffer_proto::mesos::v1::MasterInfo;

use super::super::registry::{Registry, SaidConstraints};
use crate::limits::{COMPLETED_FRAMEWORKS_MAX, ENDED_TASKS_MAX};
use crate::metrics::ClusterMetrics;

/// A master, and since when it is one.
#[derive(Clone, Debug)]
pub(super) struct Master {
    /// Where it is reached.
    pub(super) info: MasterInfo,
    /// The rest.
    pub(super) reign: MasterReign,
}

/// What a term of a master is to Mesos's tools.
#[derive(Clone, Debug)]
pub(crate) struct MasterReign {
    /// The cluster.
    pub(crate) cluster: String,
    /// Since when it runs, in milliseconds since 1970.
    pub(crate) started_wall_ms: u64,
    /// Since when it leads.
    pub(crate) elected_wall_ms: u64,
    /// How long an agent may be silent before it is unreachable.
    pub(crate) unreachable_after: Duration,
    /// What has been counted since it runs.
    pub(crate) counts: ClusterMetrics,
    /// Which frameworks have subscribed, and what they have said that is nowhere else.
    pub(crate) registry: Registry,
}

impl Master {
    /// Since when it runs, in seconds since 1970.
    pub(super) fn start_time(&self) -> f64 {
        seconds_of(self.reign.started_wall_ms)
    }

    /// Since when it leads.
    pub(super) fn elected_time(&self) -> f64 {
        seconds_of(self.reign.elected_wall_ms)
    }

    /// On which agents a framework wants to be offered something; none: it is not subscribed.
    pub(super) fn constraints(&self, framework: &FrameworkId) -> Option<Arc<SaidConstraints>> {
        self.reign.registry.constraints(framework.as_str())
    }

    /// What Mesos has flags for, in order.
    pub(super) fn flags(&self) -> Vec<(&'static str, String)> {
        let silence = self.reign.unreachable_after.as_secs();
        vec![
            ("agent_reregister_timeout", format!("{silence}secs")),
            ("allocator", "proffer".to_owned()),
            ("cluster", self.reign.cluster.clone()),
            ("hostname", self.info.hostname().to_owned()),
            (
                "max_completed_frameworks",
                COMPLETED_FRAMEWORKS_MAX.to_string(),
            ),
            (
                "max_completed_tasks_per_framework",
                ENDED_TASKS_MAX.to_string(),
            ),
            ("port", self.info.port.to_string()),
        ]
    }
}
