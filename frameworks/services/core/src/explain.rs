//! Why instances of an app are missing, in words. What only the master knows (which agents lack what) is added by the shell.

use std::sync::Arc;
use std::time::Duration;

use proffer_model::{DemandId, Time};

use crate::app::App;
use crate::core::Core;
use crate::deployment::DeploymentKind;
use crate::id::AppId;
use crate::instance::{Instance, Phase};

/// What is missing of an app and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The app.
    pub app: AppId,
    /// Instances wanted.
    pub wanted: u32,
    /// Instances that run.
    pub running: u32,
    /// Instances that run and pass their checks.
    pub healthy: u32,
    /// The entry of the demand that waits for offers, if one does.
    pub demand: Option<DemandId>,
    /// The reasons, the one that matters most first; empty when nothing is missing.
    pub reasons: Vec<Obstacle>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Stable: `session`, `backoff`, `offers`, `launching`, `unhealthy`, `unreachable`, `killing`, `deployment`, `adopting`.
    pub reason: &'static str,
    /// In words.
    pub message: String,
    /// How many instances it is about.
    pub instances: u32,
}

/// An app that has instances to launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueItem {
    /// The app.
    pub app: Arc<App>,
    /// How many.
    pub count: u32,
    /// How long launches wait after failures; zero: not.
    pub delay: Duration,
    /// Since when, in milliseconds since 1970 UTC.
    pub since_wall_ms: u64,
}

impl Core {
    /// What is missing of an app and why; none if there is no such app.
    pub(crate) fn explain(&self, now: Time, id: &AppId) -> Option<Explanation> {
        let entry = self.apps.get(id)?;
        let app = &entry.app;
        let instances: Vec<&Arc<Instance>> = self.instances_of(entry).collect();
        let count = |test: &dyn Fn(&Instance) -> bool| {
            u32::try_from(instances.iter().filter(|instance| test(instance)).count())
                .unwrap_or(u32::MAX)
        };
        let mut explanation = Explanation {
            app: id.clone(),
            wanted: app.spec.instances,
            running: count(&|i| i.phase == Phase::Running && !i.is_condemned),
            healthy: count(&|i| i.is_healthy() && !i.is_condemned),
            demand: entry.demand.as_ref().map(|demand| demand.id.clone()),
            reasons: Vec::new(),
        };
        let mut add = |reason: &'static str, instances: u32, message: String| {
            if instances > 0 {
                explanation.reasons.push(Obstacle {
                    reason,
                    message,
                    instances,
                });
            }
        };
        if self.session.is_none() {
            add(
                "session",
                app.spec.instances.max(1),
                "the master cannot be reached; what runs goes on running".into(),
            );
        }
        if let Some(until) = entry.backoff.waits_until(now) {
            let seconds = until.since(now).as_millis().div_ceil(1000);
            let failures = entry.backoff.failures();
            let last = app
                .last_failure
                .as_ref()
                .map_or_else(String::new, |failure| {
                    format!(
                        "; the last one, {} on {}: {}",
                        failure.state, failure.host, failure.message
                    )
                });
            add(
                "backoff",
                entry.missing.max(1),
                format!(
                    "launches wait {seconds} s more after {failures} instances ended by themselves{last}"
                ),
            );
        }
        if let Some(demand) = &entry.demand {
            add(
                "offers",
                demand.count,
                "no offer yet that holds what an instance needs".into(),
            );
        }
        add(
            "adopting",
            count(&|i| !i.memory.is_confirmed && !i.is_condemned),
            "the master has not said yet whether they still run".into(),
        );
        let is_coming =
            |i: &Instance| i.memory.is_confirmed && !i.is_condemned && i.phase < Phase::Running;
        add(
            "launching",
            count(&is_coming),
            "launched, and not running yet".into(),
        );
        let is_unhealthy =
            |i: &Instance| i.phase == Phase::Running && !i.is_condemned && !i.is_healthy();
        add(
            "unhealthy",
            count(&is_unhealthy),
            "running, and the health checks have not passed".into(),
        );
        add(
            "unreachable",
            count(&|i| i.phase == Phase::Unreachable),
            "their agent is unreachable".into(),
        );
        add(
            "killing",
            count(&|i| i.is_condemned || i.phase == Phase::Killing),
            "told to end, and not ended yet".into(),
        );
        if let Some(deployment) = &app.deployment {
            let what = match deployment.kind {
                DeploymentKind::Start => "the app is being started",
                DeploymentKind::Scale => "the app is being scaled",
                DeploymentKind::Replace => {
                    "instances are being replaced, within the limits of upgradeStrategy"
                }
                DeploymentKind::Stop => "the app is being removed",
            };
            add(
                "deployment",
                app.spec.instances.max(1),
                format!("{what} (deployment {})", deployment.id),
            );
        }
        Some(explanation)
    }

    /// The apps that have instances to launch.
    pub(crate) fn queue(&self, now: Time) -> Vec<QueueItem> {
        let waiting = self.apps.values().filter(|entry| entry.missing > 0);
        waiting
            .map(|entry| QueueItem {
                app: entry.app.clone(),
                count: entry.missing,
                delay: entry
                    .backoff
                    .waits_until(now)
                    .map_or(Duration::ZERO, |until| until.since(now)),
                since_wall_ms: entry.missing_since_wall_ms,
            })
            .collect()
    }
}
