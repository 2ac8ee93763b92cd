//! How the framework's state is kept: one key an app, one an instance; small JSON values that name their schema.
//!
//! An app is kept in the same form as the REST API writes it, and read back by the same reader, so what is kept is valid.
//! A newer schema than known is refused: an older program must not write over what it does not understand.

use std::sync::Arc;

use proffer_model::{AgentId, Problem, StateKey, TaskId, TaskState, code};
use proffer_services_core::app::{App, AppSpec, Failure};
use proffer_services_core::deployment::{Deployment, DeploymentKind, Previous};
use proffer_services_core::effect::Write;
use proffer_services_core::event::Record;
use proffer_services_core::id::{AppId, DeploymentId, InstanceId, Version};
use proffer_services_core::instance::{Instance, Memory, Phase};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::read::read_patch;
use super::write::{Environment, spec_json, state_word};

/// The schema that is written. Older ones are read for ever.
const SCHEMA: u32 = 1;

#[derive(Serialize, Deserialize)]
struct AppRecord {
    schema: u32,
    spec: Value,
    version_ms: u64,
    last_scaling_ms: u64,
    last_config_ms: u64,
    deployment: Option<DeploymentRecord>,
    last_failure: Option<FailureRecord>,
}

#[derive(Serialize, Deserialize)]
struct DeploymentRecord {
    id: String,
    kind: String,
    version_ms: u64,
    previous: Option<PreviousRecord>,
}

#[derive(Serialize, Deserialize)]
struct PreviousRecord {
    spec: Value,
    version_ms: u64,
    last_scaling_ms: u64,
    last_config_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct FailureRecord {
    task: String,
    host: String,
    agent: String,
    state: String,
    message: String,
    version_ms: u64,
    at_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct InstanceRecord {
    schema: u32,
    id: String,
    app: String,
    version_ms: u64,
    config_ms: u64,
    has_checks: bool,
    agent: String,
    host: String,
    address: String,
    ports: Vec<u16>,
    phase: String,
    is_condemned: bool,
    staged_ms: u64,
    started_ms: Option<u64>,
}

/// The phases that are kept and their words.
const PHASES: [(Phase, &str); 6] = [
    (Phase::Launching, "launching"),
    (Phase::Staging, "staging"),
    (Phase::Starting, "starting"),
    (Phase::Running, "running"),
    (Phase::Killing, "killing"),
    (Phase::Unreachable, "unreachable"),
];

const KINDS: [(DeploymentKind, &str); 4] = [
    (DeploymentKind::Start, "start"),
    (DeploymentKind::Scale, "scale"),
    (DeploymentKind::Replace, "replace"),
    (DeploymentKind::Stop, "stop"),
];

/// The key and the value of a change; no value deletes.
pub(crate) fn encode_write(
    write: &Write,
    role: &str,
) -> Result<(StateKey, Option<Vec<u8>>), Problem> {
    Ok(match write {
        Write::Put(Record::App(app)) => (app_key(&app.spec.id)?, Some(encode_app(app, role)?)),
        Write::Put(Record::Instance(instance)) => {
            (instance_key(instance.id)?, Some(encode_instance(instance)?))
        }
        Write::DeleteApp(id) => (app_key(id)?, None),
        Write::DeleteInstance(id) => (instance_key(*id)?, None),
    })
}

/// Reads one value of the state back.
pub(crate) fn decode_record(key: &StateKey, value: &[u8], role: &str) -> Result<Record, Problem> {
    let record = match key.as_str().split_once('/') {
        Some(("app", _)) => decode_app(value, role).map(|app| Record::App(Arc::new(app))),
        Some(("instance", _)) => {
            decode_instance(value).map(|instance| Record::Instance(Arc::new(instance)))
        }
        _ => Err(damaged("the key is of no known kind")),
    };
    record.map_err(|problem| problem.within(key))
}

fn app_key(id: &AppId) -> Result<StateKey, Problem> {
    StateKey::new(&format!("app/{}", id.flat()))
}

fn instance_key(id: InstanceId) -> Result<StateKey, Problem> {
    StateKey::new(&format!("instance/{id}"))
}

fn damaged(why: impl std::fmt::Display) -> Problem {
    Problem::new(
        code::STORE_FAILED,
        format!("the kept state cannot be read: {why}"),
    )
    .hint("run the version of services that wrote it, or a newer one")
}

fn to_bytes(record: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(record).map_err(|error| {
        Problem::new(
            code::INTERNAL,
            format!("a record cannot be written: {error}"),
        )
    })
}

fn check_schema(schema: u32) -> Result<(), Problem> {
    if schema > SCHEMA {
        return Err(damaged(format!(
            "it has the schema {schema}, newer than {SCHEMA}"
        )));
    }
    Ok(())
}

fn encode_app(app: &App, role: &str) -> Result<Vec<u8>, Problem> {
    let kept = |spec: &AppSpec| Value::Object(spec_json(spec, role, Environment::Shown));
    let deployment = app.deployment.as_ref().map(|deployment| DeploymentRecord {
        id: deployment.id.to_string(),
        kind: word_of(&KINDS, deployment.kind).to_owned(),
        version_ms: deployment.version.0,
        previous: deployment.previous.as_ref().map(|previous| PreviousRecord {
            spec: kept(&previous.spec),
            version_ms: previous.version.0,
            last_scaling_ms: previous.last_scaling.0,
            last_config_ms: previous.last_config.0,
        }),
    });
    let last_failure = app.last_failure.as_ref().map(|failure| FailureRecord {
        task: failure.task.clone(),
        host: failure.host.clone(),
        agent: failure.agent.clone(),
        state: state_word(failure.state).to_owned(),
        message: failure.message.clone(),
        version_ms: failure.version.0,
        at_ms: failure.wall_ms,
    });
    to_bytes(&AppRecord {
        schema: SCHEMA,
        spec: kept(&app.spec),
        version_ms: app.version.0,
        last_scaling_ms: app.last_scaling.0,
        last_config_ms: app.last_config.0,
        deployment,
        last_failure,
    })
}

fn decode_app(value: &[u8], role: &str) -> Result<App, Problem> {
    let record: AppRecord = serde_json::from_slice(value).map_err(damaged)?;
    check_schema(record.schema)?;
    let deployment = match record.deployment {
        None => None,
        Some(kept) => {
            let previous = kept.previous.map(|previous| {
                Ok::<_, Problem>(Box::new(Previous {
                    spec: decode_spec(previous.spec, role)?,
                    version: Version(previous.version_ms),
                    last_scaling: Version(previous.last_scaling_ms),
                    last_config: Version(previous.last_config_ms),
                }))
            });
            Some(Deployment {
                id: DeploymentId::parse(&kept.id)
                    .ok_or_else(|| damaged("a deployment has no id"))?,
                kind: of_word(&KINDS, &kept.kind)?,
                version: Version(kept.version_ms),
                previous: previous.transpose()?,
            })
        }
    };
    let last_failure = record.last_failure.map(|failure| {
        Ok::<_, Problem>(Failure {
            task: failure.task,
            host: failure.host,
            agent: failure.agent,
            state: TaskState::ALL
                .into_iter()
                .find(|state| state_word(*state) == failure.state)
                .ok_or_else(|| damaged("a state is unknown"))?,
            message: failure.message,
            version: Version(failure.version_ms),
            wall_ms: failure.at_ms,
        })
    });
    Ok(App {
        spec: decode_spec(record.spec, role)?,
        version: Version(record.version_ms),
        last_scaling: Version(record.last_scaling_ms),
        last_config: Version(record.last_config_ms),
        deployment,
        last_failure: last_failure.transpose()?,
    })
}

/// Reads a definition back. Its role is whatever the framework's is now.
fn decode_spec(mut value: Value, role: &str) -> Result<AppSpec, Problem> {
    if let Some(map) = value.as_object_mut() {
        map.remove("role");
    }
    let first = |problems: Vec<Problem>| {
        problems
            .into_iter()
            .next()
            .map_or_else(|| damaged("an app"), damaged)
    };
    let patch = read_patch(&value, role).map_err(first)?;
    let id = patch
        .id
        .clone()
        .ok_or_else(|| damaged("an app has no id"))?;
    patch.onto(id, None).map_err(first)
}

fn encode_instance(instance: &Instance) -> Result<Vec<u8>, Problem> {
    to_bytes(&InstanceRecord {
        schema: SCHEMA,
        id: instance.id.to_string(),
        app: instance.app.to_string(),
        version_ms: instance.version.0,
        config_ms: instance.config.0,
        has_checks: instance.has_checks,
        agent: instance.agent.to_string(),
        host: instance.host.clone(),
        address: instance.address.clone(),
        ports: instance.ports.clone(),
        phase: word_of(&PHASES, instance.phase).to_owned(),
        is_condemned: instance.is_condemned,
        staged_ms: instance.staged_wall_ms,
        started_ms: instance.started_wall_ms,
    })
}

fn decode_instance(value: &[u8]) -> Result<Instance, Problem> {
    let record: InstanceRecord = serde_json::from_slice(value).map_err(damaged)?;
    check_schema(record.schema)?;
    let id = InstanceId::parse(&record.id).ok_or_else(|| damaged("an instance has no id"))?;
    let app = AppId::new(&record.app)?;
    let task: TaskId = id.task(&app)?;
    Ok(Instance {
        id,
        app,
        task,
        version: Version(record.version_ms),
        config: Version(record.config_ms),
        has_checks: record.has_checks,
        agent: AgentId::new(&record.agent)?,
        host: record.host,
        address: record.address,
        ports: record.ports,
        phase: of_word(&PHASES, &record.phase)?,
        is_condemned: record.is_condemned,
        staged_wall_ms: record.staged_ms,
        started_wall_ms: record.started_ms,
        healthy: None,
        health_wall_ms: None,
        memory: Memory::default(),
    })
}

fn word_of<T: Copy + PartialEq>(table: &[(T, &'static str)], value: T) -> &'static str {
    table
        .iter()
        .find(|(other, _)| *other == value)
        .map_or("", |(_, word)| word)
}

fn of_word<T: Copy>(table: &[(T, &'static str)], word: &str) -> Result<T, Problem> {
    let found = table.iter().find(|(_, other)| *other == word);
    found
        .map(|(value, _)| *value)
        .ok_or_else(|| damaged(format!("{word:?} is unknown")))
}
