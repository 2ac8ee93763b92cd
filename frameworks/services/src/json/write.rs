//! Apps, instances and deployments to Marathon's JSON, in the canonical form of Marathon 1.5 and later.

use std::net::SocketAddr;

use proffer_model::{Command, Fetch, TaskState};
use proffer_services_core::amount::format_parts;
use proffer_services_core::app::{App, AppSpec, Failure, KillSelection, Unreachable};
use proffer_services_core::container::AppContainer;
use proffer_services_core::deployment::Deployment;
use proffer_services_core::health::{CheckPort, HealthCheck};
use proffer_services_core::id::{AppId, format_wall};
use proffer_services_core::instance::{Instance, Phase};
use proffer_services_core::port::PortDefinition;
use serde_json::{Map, Number, Value, json};

/// Whether the values of the environment are written: to who asks for the definition, never into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Environment {
    /// They are.
    Shown,
    /// They are left out.
    Hidden,
}

/// The definition of an app.
pub(crate) fn spec_json(
    spec: &AppSpec,
    role: &str,
    environment: Environment,
) -> Map<String, Value> {
    let mut map = object(json!({
        "id": spec.id.as_str(),
        "cpus": decimal(spec.cpus_milli, 3),
        "mem": decimal(spec.mem_milli, 3),
        "disk": decimal(spec.disk_milli, 3),
        "gpus": 0,
        "instances": spec.instances,
        "labels": spec.labels,
        "portDefinitions": spec.ports.iter().map(port_json).collect::<Vec<_>>(),
        "requirePorts": spec.require_ports,
        "healthChecks": spec.health_checks.iter().map(health_check_json).collect::<Vec<_>>(),
        "upgradeStrategy": {
            "minimumHealthCapacity": decimal(u64::from(spec.upgrade.minimum_health.0), 6),
            "maximumOverCapacity": decimal(u64::from(spec.upgrade.maximum_over.0), 6),
        },
        "backoffSeconds": seconds(spec.backoff.initial),
        "backoffFactor": decimal(spec.backoff.factor_micro, 6),
        "maxLaunchDelaySeconds": seconds(spec.backoff.max),
        "killSelection": match spec.kill_selection {
            KillSelection::YoungestFirst => "YOUNGEST_FIRST",
            KillSelection::OldestFirst => "OLDEST_FIRST",
        },
        "unreachableStrategy": unreachable_json(spec.unreachable),
        "executor": "",
        "networks": [{"mode": "host"}],
        "role": role,
    }));
    match &spec.command {
        Command::Shell(line) => map.insert("cmd".into(), json!(line)),
        Command::Image(arguments) if arguments.is_empty() => None,
        Command::Data(_) | Command::Named { .. } => None,
        Command::Exec(arguments) | Command::Image(arguments) => {
            map.insert("args".into(), json!(arguments))
        }
    };
    if let Some(container) = &spec.container {
        map.insert("container".into(), container_json(container));
    }
    if environment == Environment::Shown {
        let env = spec
            .env
            .iter()
            .map(|(name, value)| (name.clone(), json!(value.expose())));
        map.insert("env".into(), Value::Object(env.collect()));
    }
    if !spec.fetch.is_empty() {
        let fetch = spec.fetch.iter().map(fetch_json).collect::<Vec<_>>();
        map.insert("fetch".into(), json!(fetch));
    }
    if let Some(user) = &spec.user {
        map.insert("user".into(), json!(user));
    }
    if let Some(grace) = spec.kill_grace {
        map.insert("taskKillGracePeriodSeconds".into(), seconds(grace));
    }
    map
}

fn fetch_json(fetch: &Fetch) -> Map<String, Value> {
    let mut map = object(json!({
        "uri": fetch.uri,
        "extract": fetch.is_extracted,
        "executable": fetch.is_executable,
        "cache": fetch.is_cached,
    }));
    for (name, text) in [("destPath", &fetch.output), ("sha256", &fetch.sha256)] {
        if let Some(text) = text {
            map.insert(name.into(), json!(text));
        }
    }
    map
}

/// An app: its definition and its versions.
pub(crate) fn app_json(app: &App, role: &str, environment: Environment) -> Map<String, Value> {
    let mut map = spec_json(&app.spec, role, environment);
    map.insert("version".into(), json!(app.version.to_string()));
    map.insert(
        "versionInfo".into(),
        json!({"lastScalingAt": app.last_scaling.to_string(), "lastConfigChangeAt": app.last_config.to_string()}),
    );
    map
}

/// How many instances are how far: `tasksStaged`, `tasksRunning`, `tasksHealthy`, `tasksUnhealthy`.
pub(crate) fn insert_counts<'a>(
    map: &mut Map<String, Value>,
    instances: impl Iterator<Item = &'a Instance>,
) {
    let (mut staged, mut running, mut healthy, mut unhealthy) = (0u64, 0u64, 0u64, 0u64);
    for instance in instances.filter(|instance| !instance.is_condemned) {
        match instance.phase {
            Phase::Launching | Phase::Staging | Phase::Starting => staged += 1,
            Phase::Running => {
                running += 1;
                healthy += u64::from(instance.has_checks && instance.healthy == Some(true));
                unhealthy += u64::from(instance.has_checks && instance.healthy == Some(false));
            }
            Phase::Killing | Phase::Unreachable => {}
        }
    }
    for (name, count) in [
        ("tasksStaged", staged),
        ("tasksRunning", running),
        ("tasksHealthy", healthy),
        ("tasksUnhealthy", unhealthy),
    ] {
        map.insert(name.into(), json!(count));
    }
}

/// An instance as a task, with the service ports of its app.
pub(crate) fn task_json(instance: &Instance, app: Option<&App>, role: &str) -> Value {
    let service_ports: Vec<u16> = app
        .map(|app| app.spec.ports.iter().map(|port| port.number).collect())
        .unwrap_or_default();
    let mut map = object(json!({
        "id": instance.task.as_str(),
        "appId": instance.app.as_str(),
        "host": instance.host,
        "slaveId": instance.agent.as_str(),
        "state": state_word(instance.shown()),
        "stagedAt": format_wall(instance.staged_wall_ms),
        "version": instance.version.to_string(),
        "ports": instance.ports,
        "servicePorts": service_ports,
        "ipAddresses": ip_addresses(&instance.address),
        "localVolumes": [],
        "role": role,
    }));
    if let Some(wall_ms) = instance.started_wall_ms {
        map.insert("startedAt".into(), json!(format_wall(wall_ms)));
    }
    if instance.has_checks
        && let Some(alive) = instance.healthy
    {
        let count = app.map_or(1, |app| app.spec.health_checks.len().max(1));
        map.insert(
            "healthCheckResults".into(),
            json!(vec![health_result(instance, alive); count]),
        );
    }
    Value::Object(map)
}

fn health_result(instance: &Instance, alive: bool) -> Value {
    let since = instance.health_wall_ms.map(format_wall);
    let (success, failure) = if alive { (since, None) } else { (None, since) };
    json!({
        "alive": alive,
        "consecutiveFailures": u8::from(!alive),
        "firstSuccess": success,
        "lastSuccess": success,
        "lastFailure": failure,
        "lastFailureCause": null,
        "instanceId": instance.id.full(&instance.app),
    })
}

/// Mesos's word for a state.
pub(crate) fn state_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Staging => "TASK_STAGING",
        TaskState::Starting => "TASK_STARTING",
        TaskState::Running => "TASK_RUNNING",
        TaskState::Killing => "TASK_KILLING",
        TaskState::Unreachable => "TASK_UNREACHABLE",
        TaskState::Finished => "TASK_FINISHED",
        TaskState::Failed => "TASK_FAILED",
        TaskState::Killed => "TASK_KILLED",
        TaskState::Error => "TASK_ERROR",
        TaskState::Dropped => "TASK_DROPPED",
        TaskState::Lost => "TASK_LOST",
    }
}

/// The host's address, where the agent gave one; names are not resolved.
pub(crate) fn ip_addresses(address: &str) -> Vec<Value> {
    let Ok(address) = address.parse::<SocketAddr>() else {
        return Vec::new();
    };
    let protocol = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    vec![json!({"ipAddress": address.ip().to_string(), "protocol": protocol})]
}

/// `lastTaskFailure`.
pub(crate) fn failure_json(app: &AppId, failure: &Failure) -> Value {
    json!({
        "appId": app.as_str(),
        "taskId": failure.task,
        "host": failure.host,
        "slaveId": failure.agent,
        "state": state_word(failure.state),
        "message": failure.message,
        "version": failure.version.to_string(),
        "timestamp": format_wall(failure.wall_ms),
    })
}

/// A deployment as `GET /v2/deployments` lists it.
pub(crate) fn deployment_json(app: &AppId, deployment: &Deployment) -> Value {
    let steps = steps_of(app, deployment);
    let current =
        deployment.kind.actions().last().map(
            |action| json!({"action": action, "app": app.as_str(), "readinessCheckResults": []}),
        );
    json!({
        "id": deployment.id.to_string(),
        "version": deployment.version.to_string(),
        "affectedApps": [app.as_str()],
        "affectedPods": [],
        "currentActions": current.into_iter().collect::<Vec<_>>(),
        "currentStep": steps.len(),
        "totalSteps": steps.len(),
        "steps": steps,
    })
}

/// A deployment's plan as events carry it.
pub(crate) fn plan_json(app: &AppId, deployment: &Deployment) -> Value {
    json!({
        "id": deployment.id.to_string(),
        "version": deployment.version.to_string(),
        "steps": steps_of(app, deployment),
    })
}

/// The step that is under way, as events carry it.
pub(crate) fn step_json(app: &AppId, deployment: &Deployment) -> Value {
    let actions: Vec<Value> = deployment
        .kind
        .actions()
        .last()
        .into_iter()
        .map(|action| json!({"action": action, "app": app.as_str()}))
        .collect();
    json!({"actions": actions})
}

fn steps_of(app: &AppId, deployment: &Deployment) -> Vec<Value> {
    let actions = deployment.kind.actions().iter();
    actions
        .map(|action| json!({"actions": [{"action": action, "app": app.as_str()}]}))
        .collect()
}

/// A container as Marathon 1.5 writes it: what was not asked for, too.
fn container_json(container: &AppContainer) -> Value {
    json!({
        "type": container.engine().word(),
        "docker": {
            "image": container.image(),
            "forcePullImage": false,
            "privileged": false,
            "parameters": [],
        },
        "volumes": [],
        "portMappings": [],
    })
}

fn port_json(port: &PortDefinition) -> Value {
    let mut map = object(
        json!({"port": port.number, "protocol": port.transport.word(), "labels": port.labels}),
    );
    if !port.name.is_empty() {
        map.insert("name".into(), json!(port.name));
    }
    Value::Object(map)
}

fn health_check_json(check: &HealthCheck) -> Value {
    let mut map = object(json!({
        "protocol": check.protocol.word(),
        "gracePeriodSeconds": check.grace.as_secs(),
        "intervalSeconds": check.interval.as_secs(),
        "timeoutSeconds": check.timeout.as_secs(),
        "delaySeconds": check.delay.as_secs(),
        "maxConsecutiveFailures": check.failures_max,
    }));
    if check.protocol.is_http() {
        map.insert("path".into(), json!(check.path));
    }
    if !check.protocol.has_port() {
        map.insert("command".into(), json!({"value": check.command}));
        return Value::Object(map);
    }
    match check.port {
        CheckPort::Index(index) => map.insert("portIndex".into(), json!(index)),
        CheckPort::Number(number) => map.insert("port".into(), json!(number)),
    };
    Value::Object(map)
}

fn unreachable_json(unreachable: Unreachable) -> Value {
    match unreachable {
        Unreachable::Wait => json!("disabled"),
        Unreachable::Replace {
            inactive_after,
            expunge_after,
        } => {
            json!({"inactiveAfterSeconds": inactive_after.as_secs(), "expungeAfterSeconds": expunge_after.as_secs()})
        }
    }
}

/// Parts of which `10^places` make one, as a number.
pub(crate) fn decimal(parts: u64, places: u32) -> Value {
    format_parts(parts, places)
        .parse::<Number>()
        .map_or(Value::Null, Value::Number)
}

fn seconds(duration: std::time::Duration) -> Value {
    decimal(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), 3)
}

/// The map of an object that was just written.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}
