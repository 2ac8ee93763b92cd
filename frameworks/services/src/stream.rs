//! The event stream `GET /v2/events`: Marathon's events as server-sent ones.
//!
//! Each event is written once, for all followers. Who falls too far behind is disconnected and reads everything anew, as
//! every client of Marathon does. Events carry no values of environments.

use std::sync::Arc;

use bytes::Bytes;
use proffer_model::TaskState;
use proffer_services_core::app::App;
use proffer_services_core::deployment::Deployment;
use proffer_services_core::effect::Notice;
use proffer_services_core::event::Origin;
use proffer_services_core::id::{AppId, format_wall};
use proffer_services_core::instance::Instance;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, broadcast};

use crate::json::write::{
    Environment, app_json, ip_addresses, object, plan_json, state_word, step_json,
};
use crate::limits::{EVENTS_BEHIND_MAX, FOLLOWERS_MAX};

/// An event as it goes over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// Its type, for filters.
    pub(crate) kind: &'static str,
    /// The whole frame.
    pub(crate) frame: Bytes,
}

/// Where events are published and followed.
#[derive(Clone)]
pub(crate) struct EventStream {
    sender: broadcast::Sender<Sent>,
    pub(crate) followers: Arc<Semaphore>,
    role: String,
}

impl EventStream {
    pub(crate) fn new(role: String) -> Self {
        let (sender, _) = broadcast::channel(EVENTS_BEHIND_MAX);
        Self {
            sender,
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            role,
        }
    }

    /// Follows from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Sent> {
        self.sender.subscribe()
    }

    /// Tells all followers.
    pub(crate) fn publish(&self, wall_ms: u64, notice: &Notice) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        for (kind, fields) in self.events_of(notice) {
            // It fails only when the last follower has just left.
            let _ = self.sender.send(frame(wall_ms, kind, fields));
        }
    }

    fn events_of(&self, notice: &Notice) -> Vec<(&'static str, Map<String, Value>)> {
        match notice {
            Notice::AppPosted { origin, app } => vec![("api_post_event", self.posted(origin, app))],
            Notice::AppTerminated(app) => vec![(
                "app_terminated_event",
                object(json!({"appId": app.as_str()})),
            )],
            Notice::TaskUpdated {
                instance,
                state,
                message,
            } => {
                vec![("status_update_event", updated(instance, *state, message))]
            }
            Notice::HealthChanged {
                instance,
                is_healthy,
            } => health_changed(instance, *is_healthy),
            Notice::DeploymentStarted { app, deployment } => {
                vec![("deployment_info", step(app, deployment))]
            }
            Notice::DeploymentSucceeded { app, deployment } => vec![
                ("deployment_step_success", step(app, deployment)),
                ("deployment_success", ended(app, deployment, None)),
            ],
            Notice::DeploymentFailed {
                app,
                deployment,
                reason,
            } => {
                vec![("deployment_failed", ended(app, deployment, Some(reason)))]
            }
        }
    }

    fn posted(&self, origin: &Origin, app: &App) -> Map<String, Value> {
        let definition = app_json(app, &self.role, Environment::Hidden);
        object(json!({"clientIp": origin.client, "uri": origin.uri, "appDefinition": definition}))
    }
}

/// The frame of one event.
pub(crate) fn frame(wall_ms: u64, kind: &'static str, mut fields: Map<String, Value>) -> Sent {
    fields.insert("eventType".into(), json!(kind));
    fields.insert("timestamp".into(), json!(format_wall(wall_ms)));
    let frame = format!("event: {kind}\r\ndata: {}\r\n\r\n", Value::Object(fields));
    Sent {
        kind,
        frame: Bytes::from(frame),
    }
}

fn updated(instance: &Instance, state: TaskState, message: &str) -> Map<String, Value> {
    object(json!({
        "slaveId": instance.agent.as_str(),
        "taskId": instance.task.as_str(),
        "taskStatus": state_word(state),
        "message": message,
        "appId": instance.app.as_str(),
        "host": instance.host,
        "ipAddresses": ip_addresses(&instance.address),
        "ports": instance.ports,
        "version": instance.version.to_string(),
    }))
}

fn health_changed(
    instance: &Instance,
    is_healthy: bool,
) -> Vec<(&'static str, Map<String, Value>)> {
    let id = instance.id.full(&instance.app);
    let version = instance.version.to_string();
    let older = json!({
        "appId": instance.app.as_str(), "taskId": instance.task.as_str(), "instanceId": id,
        "version": version, "alive": is_healthy,
    });
    let newer = json!({
        "instanceId": id, "runSpecId": instance.app.as_str(), "runSpecVersion": version, "healthy": is_healthy,
    });
    vec![
        ("health_status_changed_event", object(older)),
        ("instance_health_changed_event", object(newer)),
    ]
}

fn step(app: &AppId, deployment: &Deployment) -> Map<String, Value> {
    object(json!({"plan": plan_json(app, deployment), "currentStep": step_json(app, deployment)}))
}

fn ended(app: &AppId, deployment: &Deployment, reason: Option<&str>) -> Map<String, Value> {
    let mut map =
        object(json!({"id": deployment.id.to_string(), "plan": plan_json(app, deployment)}));
    if let Some(reason) = reason {
        map.insert("reason".into(), json!(reason));
    }
    map
}
