//! Why instances of an app are missing, in words. What only the master knows (which agents lack what) is added by the shell.

use std::sync::Arc;
use std::time::Duration;

use proffer_model::{DemandId, Time};

use crate::app::{App, Failure};
use crate::core::Core;
use crate::deployment::{Deployment, DeploymentKind};
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
    /// Stable: `session`, `backoff`, `failure`, `offers`, `launching`, `unhealthy`, `unreachable`, `killing`, `deployment`, `adopting`.
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

/// Whether an instance is of a kind.
type IsIt = fn(&Instance) -> bool;

/// What instances can be that are there and do not serve.
const INSTANCE_REASONS: [(&str, &str, IsIt); 5] = [
    (
        "adopting",
        "the master has not said yet whether they still run",
        |i| !i.memory.is_confirmed && !i.is_condemned,
    ),
    ("launching", "launched, and not running yet", |i| {
        i.memory.is_confirmed && !i.is_condemned && i.phase < Phase::Running
    }),
    (
        "unhealthy",
        "running, and the health checks have not passed",
        |i| i.phase == Phase::Running && !i.is_condemned && !i.is_healthy(),
    ),
    ("unreachable", "their agent is unreachable", |i| {
        i.phase == Phase::Unreachable
    }),
    ("killing", "told to end, and not ended yet", |i| {
        i.is_condemned || i.phase == Phase::Killing
    }),
];

impl Core {
    /// What is missing of an app and why; none if there is no such app.
    pub(crate) fn explain(&self, now: Time, id: &AppId) -> Option<Explanation> {
        let entry = self.apps.get(id)?;
        let app = &entry.app;
        let instances: Vec<&Instance> = self.instances_of(entry).map(|i| &**i).collect();
        let mut reasons = Vec::new();
        if self.session.is_none() {
            let message = "the master cannot be reached; what runs goes on running".to_owned();
            reasons.push(("session", app.spec.instances.max(1), message));
        }
        if let Some(until) = entry.backoff.waits_until(now) {
            let message = describe_backoff(app, entry.backoff.failures(), until.since(now));
            reasons.push(("backoff", entry.missing.max(1), message));
        } else if let Some(failure) = last_failure(app) {
            let is_good = |i: &Instance| i.is_healthy() && !i.is_condemned;
            let bad = app
                .spec
                .instances
                .saturating_sub(count(&instances, is_good));
            let message = format!("the last one ended without being asked: {failure}");
            reasons.push(("failure", bad, message));
        }
        if let Some(demand) = &entry.demand {
            let message = "no offer yet that holds what an instance needs".to_owned();
            reasons.push(("offers", demand.count, message));
        }
        for (reason, message, is_it) in INSTANCE_REASONS {
            reasons.push((reason, count(&instances, is_it), message.to_owned()));
        }
        if let Some(deployment) = &app.deployment {
            let message = describe_deployment(deployment);
            reasons.push(("deployment", app.spec.instances.max(1), message));
        }
        Some(Explanation {
            app: id.clone(),
            wanted: app.spec.instances,
            running: count(&instances, |i| i.phase == Phase::Running && !i.is_condemned),
            healthy: count(&instances, |i| i.is_healthy() && !i.is_condemned),
            demand: entry.demand.as_ref().map(|demand| demand.id.clone()),
            reasons: reasons
                .into_iter()
                .filter(|(_, instances, _)| *instances > 0)
                .map(|(reason, instances, message)| Obstacle {
                    reason,
                    message,
                    instances,
                })
                .collect(),
        })
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

fn count(instances: &[&Instance], is_it: IsIt) -> u32 {
    let count = instances.iter().filter(|instance| is_it(instance)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn describe_backoff(app: &App, failures: u32, left: Duration) -> String {
    let seconds = left.as_millis().div_ceil(1000);
    let ended = if failures == 1 {
        "an instance".to_owned()
    } else {
        format!("{failures} instances")
    };
    let last = last_failure(app).map_or_else(String::new, |last| format!("; the last one, {last}"));
    format!("launches wait {seconds} s more because {ended} ended without being asked{last}")
}

/// How the last instance of the present configuration that ended badly did so; nothing if none did.
fn last_failure(app: &App) -> Option<String> {
    let failure = app.last_failure.as_ref()?;
    (failure.version >= app.last_config).then(|| {
        let Failure {
            state,
            host,
            message,
            ..
        } = failure;
        format!("{state} on {host}: {message}")
    })
}

fn describe_deployment(deployment: &Deployment) -> String {
    let what = match deployment.kind {
        DeploymentKind::Start => "the app is being started",
        DeploymentKind::Scale => "the app is being scaled",
        DeploymentKind::Replace => {
            "instances are being replaced, within the limits of upgradeStrategy"
        }
        DeploymentKind::Stop => "the app is being removed",
    };
    format!("{what} (deployment {})", deployment.id)
}
