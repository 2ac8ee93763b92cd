//! The master's durable log and its snapshots.
//!
//! Old records are read for ever; a record of a greater schema version, or of a kind that is not known, means that a newer
//! version wrote it: the reader must not lead, or it would act on less than was promised. Every failure here is
//! `store.failed`, with the path of the field in the entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use proffer_model::link::AgentVolume;
use proffer_model::registry::{
    AgentEntry, FrameworkEntry, Operation, Registry, StateEntry, VolumeNumbers,
};
use proffer_model::{
    AgentDescription, AgentId, Drain, Epoch, FrameworkDescription, FrameworkId, Principal, Problem,
    Quota, Resources, Role, StateKey, Weight, code,
};
use prost::Message;

use crate::agent_link::{
    decode_agent_description, decode_agent_volume, encode_agent_description, encode_agent_volume,
};
use crate::fields::{decode_id, encode_duration, required};
use crate::limits::STORE_SCHEMA;
use crate::quota::{decode_drain, decode_quota, decode_weight, encode_drain, encode_quota};
use crate::resources::{decode_resources, encode_resources};
use crate::session::{decode_framework_description, texts};
use crate::store::v1;
use crate::store::v1::record::Operation as WireOperation;

/// One entry of the log: a commit batch of this term.
pub fn encode_batch(epoch: Epoch, operations: &[Operation]) -> Vec<u8> {
    let batch = v1::Batch {
        epoch: epoch.0,
        records: operations.iter().map(encode_record).collect(),
    };
    batch.encode_to_vec()
}

/// Reads one entry of the log.
pub fn decode_batch(bytes: &[u8]) -> Result<(Epoch, Vec<Operation>), Problem> {
    let batch = v1::Batch::decode(bytes).map_err(|error| damaged(&error))?;
    let decode = |(i, record)| {
        decode_record(record).map_err(|problem| problem.within(format_args!("records[{i}]")))
    };
    let records = batch.records.into_iter().enumerate();
    let operations = records.map(decode).collect::<Result<_, _>>()?;
    Ok((Epoch(batch.epoch), operations))
}

/// All that the log adds up to.
pub fn encode_snapshot(registry: &Registry) -> Vec<u8> {
    let agents = registry.agents.iter();
    let agents = agents.map(|(id, entry)| encode_snapshot_agent(id, entry));
    let frameworks = registry.frameworks.iter().map(encode_framework);
    let completed = registry.completed.iter();
    let completed = completed.map(|(id, order)| v1::CompletedFramework {
        framework_id: id.to_string(),
        order: *order,
    });
    let mut snapshot = v1::Snapshot {
        schema: 0,
        agents: agents.collect(),
        frameworks: frameworks.collect(),
        completed: completed.collect(),
        completed_count: registry.completed_count,
        quotas: registry.quotas.iter().map(encode_set_quota).collect(),
        weights: registry.weights.iter().map(encode_set_weight).collect(),
        gone: registry.gone.iter().map(encode_mark_gone).collect(),
        framework_count: registry.framework_count,
    };
    snapshot.schema = schema_of_snapshot(&snapshot);
    snapshot.encode_to_vec()
}

pub(crate) fn encode_snapshot_agent(id: &AgentId, entry: &AgentEntry) -> v1::SnapshotAgent {
    v1::SnapshotAgent {
        agent_id: id.to_string(),
        description: Some(encode_agent_description(&entry.description)),
        // 0 says reachable; nothing became unreachable in the first millisecond of 1970.
        unreachable_since_wall_ms: entry.unreachable_since_wall_ms.map_or(0, |ms| ms.max(1)),
        made: (!entry.made.is_empty()).then(|| encode_resources(&entry.made)),
        is_deactivated: entry.is_deactivated,
        drain: entry.drain.as_ref().map(encode_drain),
        volumes: encode_volume_numbers(&entry.volumes),
        volume_number_last: entry.volumes.last,
        frameworks: entry.frameworks,
    }
}

/// Reads a snapshot.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Registry, Problem> {
    let snapshot = v1::Snapshot::decode(bytes).map_err(|error| damaged(&error))?;
    check_schema(snapshot.schema)?;
    decode_registry(snapshot).map_err(as_store_problem)
}

pub(crate) fn decode_registry(snapshot: v1::Snapshot) -> Result<Registry, Problem> {
    let mut registry = Registry {
        completed_count: snapshot.completed_count,
        framework_count: snapshot.framework_count,
        ..Registry::default()
    };
    for (i, agent) in snapshot.agents.into_iter().enumerate() {
        let within = |problem: Problem| problem.within(format_args!("agents[{i}]"));
        let (id, entry) = decode_snapshot_agent(agent).map_err(within)?;
        registry.agents.insert(id, entry);
    }
    for (i, framework) in snapshot.frameworks.into_iter().enumerate() {
        let (id, entry) = decode_framework(framework)
            .map_err(|problem| problem.within(format_args!("frameworks[{i}]")))?;
        registry.frameworks.insert(id, entry);
    }
    for (i, completed) in snapshot.completed.into_iter().enumerate() {
        let id = decode_id(&completed.framework_id, "framework_id")
            .map_err(|problem| problem.within(format_args!("completed[{i}]")))?;
        registry.completed.insert(id, completed.order);
    }
    for (i, set) in snapshot.quotas.into_iter().enumerate() {
        let (role, quota) =
            decode_set_quota(set).map_err(|problem| problem.within(format_args!("quotas[{i}]")))?;
        registry.quotas.insert(role, quota);
    }
    for (i, set) in snapshot.weights.into_iter().enumerate() {
        let (role, weight) = decode_set_weight(&set)
            .map_err(|problem| problem.within(format_args!("weights[{i}]")))?;
        registry.weights.insert(role, weight);
    }
    for (i, mark) in snapshot.gone.into_iter().enumerate() {
        let id = decode_id(&mark.agent_id, "agent_id")
            .map_err(|problem| problem.within(format_args!("gone[{i}]")))?;
        registry.gone.insert(id, mark.since_wall_ms);
    }
    Ok(registry)
}

fn decode_snapshot_agent(agent: v1::SnapshotAgent) -> Result<(AgentId, AgentEntry), Problem> {
    let since = agent.unreachable_since_wall_ms;
    let made = agent.made.map(decode_resources).transpose();
    let made = made
        .map_err(|problem| problem.within("made"))?
        .unwrap_or_default();
    let mut volumes = VolumeNumbers {
        numbers: BTreeMap::new(),
        last: agent.volume_number_last,
    };
    for volume in agent.volumes {
        let AgentVolume { id, role, number } = decode_agent_volume(volume)?;
        volumes.numbers.insert((role, id), number);
    }
    // Those of before there were numbers.
    volumes.follow(&made);
    let entry = AgentEntry {
        description: decode_agent(agent.description)?,
        unreachable_since_wall_ms: Some(since).filter(|ms| *ms > 0),
        frameworks: agent.frameworks,
        made,
        is_deactivated: agent.is_deactivated,
        drain: agent.drain.map(decode_drain).transpose()?,
        volumes,
    };
    Ok((decode_id(&agent.agent_id, "agent_id")?, entry))
}

fn encode_volume_numbers(volumes: &VolumeNumbers) -> Vec<crate::v1::AgentVolume> {
    let numbers = volumes.numbers.iter();
    let volumes = numbers.map(|((role, id), number)| AgentVolume {
        id: id.clone(),
        role: role.clone(),
        number: *number,
    });
    volumes.map(|volume| encode_agent_volume(&volume)).collect()
}

/// The smallest version whose readers understand all of it.
fn schema_of(operation: &Operation) -> u32 {
    match operation {
        Operation::AdmitAgent {
            volumes_after: 1.., ..
        }
        | Operation::MarkGone { .. }
        | Operation::ForgetAgent { .. } => 2,
        Operation::DrainAgent { drain, .. } if drain.marks_gone => 2,
        _ => 1,
    }
}

/// The same of a snapshot, or a piece of one.
pub(crate) fn schema_of_snapshot(snapshot: &v1::Snapshot) -> u32 {
    let mut drains = snapshot
        .agents
        .iter()
        .filter_map(|agent| agent.drain.as_ref());
    match !snapshot.gone.is_empty() || drains.any(|drain| drain.mark_gone) {
        true => 2,
        false => 1,
    }
}

fn encode_record(operation: &Operation) -> v1::Record {
    let schema = schema_of(operation);
    let operation = match operation {
        Operation::AdmitAgent {
            agent,
            description,
            volumes_after,
        } => encode_admit_agent(agent, description, *volumes_after),
        Operation::MarkUnreachable {
            agent,
            since_wall_ms,
            frameworks,
        } => encode_mark_unreachable(agent, *since_wall_ms, *frameworks),
        Operation::MarkReachable { agent } => {
            let agent_id = agent.to_string();
            WireOperation::MarkReachable(v1::MarkReachable { agent_id })
        }
        Operation::AdmitFramework {
            framework,
            principal,
            description,
            is_away,
        } => encode_admit_framework(framework, principal, description, *is_away),
        Operation::CompleteFramework { framework } => {
            let framework_id = framework.to_string();
            WireOperation::CompleteFramework(v1::CompleteFramework { framework_id })
        }
        Operation::PutState {
            framework,
            key,
            value,
        } => encode_put_state(framework, key, value),
        Operation::DeleteState { framework, key } => encode_delete_state(framework, key),
        Operation::ConvertAgent { agent, from, to } => encode_conversion(agent, from, to),
        Operation::DeactivateAgent { agent } => {
            let agent_id = agent.to_string();
            WireOperation::DeactivateAgent(v1::DeactivateAgent { agent_id })
        }
        Operation::DrainAgent { agent, drain } => encode_drain_agent(agent, drain),
        Operation::ReactivateAgent { agent } => {
            let agent_id = agent.to_string();
            WireOperation::ReactivateAgent(v1::ReactivateAgent { agent_id })
        }
        Operation::MarkGone {
            agent,
            since_wall_ms,
        } => WireOperation::MarkGone(encode_mark_gone((agent, since_wall_ms))),
        Operation::ForgetAgent { agent } => {
            let agent_id = agent.to_string();
            WireOperation::ForgetAgent(v1::ForgetAgent { agent_id })
        }
        Operation::SetQuota { role, quota } => {
            WireOperation::SetQuota(encode_set_quota((role, quota)))
        }
        Operation::RemoveQuota { role } => {
            let role = role.to_string();
            WireOperation::RemoveQuota(v1::RemoveQuota { role })
        }
        Operation::SetWeight { role, weight } => {
            WireOperation::SetWeight(encode_set_weight((role, weight)))
        }
        Operation::RemoveWeight { role } => encode_remove_weight(role),
    };
    v1::Record {
        schema,
        operation: Some(operation),
    }
}

fn encode_admit_framework(
    framework: &FrameworkId,
    principal: &Principal,
    description: &FrameworkDescription,
    is_away: bool,
) -> WireOperation {
    WireOperation::AdmitFramework(v1::AdmitFramework {
        is_away,
        ..encode_admission(framework, principal, description)
    })
}

fn encode_remove_weight(role: &Role) -> WireOperation {
    let role = role.to_string();
    WireOperation::RemoveWeight(v1::RemoveWeight { role })
}

fn encode_admit_agent(
    agent: &AgentId,
    description: &AgentDescription,
    volumes_after: u64,
) -> WireOperation {
    WireOperation::AdmitAgent(v1::AdmitAgent {
        agent_id: agent.to_string(),
        description: Some(encode_agent_description(description)),
        volumes_after,
    })
}

fn encode_mark_unreachable(
    agent: &AgentId,
    since_wall_ms: u64,
    frameworks: Option<u64>,
) -> WireOperation {
    WireOperation::MarkUnreachable(v1::MarkUnreachable {
        agent_id: agent.to_string(),
        since_wall_ms,
        frameworks,
    })
}

fn encode_drain_agent(agent: &AgentId, drain: &Drain) -> WireOperation {
    WireOperation::DrainAgent(v1::DrainAgent {
        agent_id: agent.to_string(),
        drain: Some(encode_drain(drain)),
    })
}

fn encode_put_state(framework: &FrameworkId, key: &StateKey, value: &[u8]) -> WireOperation {
    WireOperation::PutState(v1::PutState {
        framework_id: framework.to_string(),
        key: key.to_string(),
        value: value.to_vec(),
    })
}

fn encode_delete_state(framework: &FrameworkId, key: &StateKey) -> WireOperation {
    WireOperation::DeleteState(v1::DeleteState {
        framework_id: framework.to_string(),
        key: key.to_string(),
    })
}

fn encode_conversion(agent: &AgentId, from: &Resources, to: &Resources) -> WireOperation {
    WireOperation::ConvertAgent(v1::ConvertAgent {
        agent_id: agent.to_string(),
        from: Some(encode_resources(from)),
        to: Some(encode_resources(to)),
    })
}

pub(crate) fn encode_mark_gone((agent, since_wall_ms): (&AgentId, &u64)) -> v1::MarkGone {
    v1::MarkGone {
        agent_id: agent.to_string(),
        since_wall_ms: *since_wall_ms,
    }
}

pub(crate) fn encode_set_quota((role, quota): (&Role, &Quota)) -> v1::SetQuota {
    v1::SetQuota {
        role: role.to_string(),
        quota: Some(encode_quota(quota)),
    }
}

pub(crate) fn encode_set_weight((role, weight): (&Role, &Weight)) -> v1::SetWeight {
    v1::SetWeight {
        role: role.to_string(),
        weight_milli: weight.0,
    }
}

fn decode_record(record: v1::Record) -> Result<Operation, Problem> {
    check_schema(record.schema)?;
    let operation = record.operation.ok_or_else(|| {
        newer("the record is of a kind that this version does not know").field("operation")
    })?;
    let (field, decoded) = match operation {
        WireOperation::AdmitAgent(admit) => ("admit_agent", decode_admit_agent(admit)),
        WireOperation::MarkUnreachable(mark) => {
            ("mark_unreachable", decode_mark_unreachable(&mark))
        }
        WireOperation::MarkReachable(mark) => (
            "mark_reachable",
            of_agent(&mark.agent_id, |agent| Operation::MarkReachable { agent }),
        ),
        WireOperation::AdmitFramework(admit) => ("admit_framework", decode_admit_framework(admit)),
        WireOperation::CompleteFramework(complete) => {
            let framework = decode_id(&complete.framework_id, "framework_id");
            let operation = framework.map(|framework| Operation::CompleteFramework { framework });
            ("complete_framework", operation)
        }
        WireOperation::PutState(put) => ("put_state", decode_put_state(put)),
        WireOperation::DeleteState(delete) => ("delete_state", decode_delete_state(delete)),
        WireOperation::ConvertAgent(convert) => ("convert_agent", decode_conversion(convert)),
        WireOperation::DeactivateAgent(deactivate) => (
            "deactivate_agent",
            of_agent(&deactivate.agent_id, |agent| Operation::DeactivateAgent {
                agent,
            }),
        ),
        WireOperation::DrainAgent(drain) => ("drain_agent", decode_drain_agent(drain)),
        WireOperation::ReactivateAgent(reactivate) => (
            "reactivate_agent",
            of_agent(&reactivate.agent_id, |agent| Operation::ReactivateAgent {
                agent,
            }),
        ),
        WireOperation::MarkGone(mark) => ("mark_gone", decode_mark_gone(&mark)),
        WireOperation::ForgetAgent(forget) => (
            "forget_agent",
            of_agent(&forget.agent_id, |agent| Operation::ForgetAgent { agent }),
        ),
        WireOperation::SetQuota(set) => {
            let set = decode_set_quota(set);
            let operation = set.map(|(role, quota)| Operation::SetQuota { role, quota });
            ("set_quota", operation)
        }
        WireOperation::RemoveQuota(remove) => {
            let role = decode_id(&remove.role, "role");
            (
                "remove_quota",
                role.map(|role| Operation::RemoveQuota { role }),
            )
        }
        WireOperation::SetWeight(set) => {
            let set = decode_set_weight(&set);
            let operation = set.map(|(role, weight)| Operation::SetWeight { role, weight });
            ("set_weight", operation)
        }
        WireOperation::RemoveWeight(remove) => {
            let role = decode_id(&remove.role, "role");
            (
                "remove_weight",
                role.map(|role| Operation::RemoveWeight { role }),
            )
        }
    };
    decoded
        .map_err(|problem| problem.within(field))
        .map_err(as_store_problem)
}

fn of_agent(id: &str, operation: impl FnOnce(AgentId) -> Operation) -> Result<Operation, Problem> {
    decode_id(id, "agent_id").map(operation)
}

fn decode_mark_unreachable(mark: &v1::MarkUnreachable) -> Result<Operation, Problem> {
    of_agent(&mark.agent_id, |agent| Operation::MarkUnreachable {
        agent,
        since_wall_ms: mark.since_wall_ms,
        frameworks: mark.frameworks,
    })
}

fn decode_mark_gone(mark: &v1::MarkGone) -> Result<Operation, Problem> {
    let since_wall_ms = mark.since_wall_ms;
    of_agent(&mark.agent_id, |agent| Operation::MarkGone {
        agent,
        since_wall_ms,
    })
}

fn decode_admit_framework(admit: v1::AdmitFramework) -> Result<Operation, Problem> {
    let is_away = admit.is_away;
    let (framework, principal, description) = decode_admission(admit)?;
    Ok(Operation::AdmitFramework {
        framework,
        principal,
        description,
        is_away,
    })
}

fn decode_conversion(convert: v1::ConvertAgent) -> Result<Operation, Problem> {
    let decode = |resources, field: &str| {
        decode_resources(required(resources, field)?).map_err(|problem| problem.within(field))
    };
    Ok(Operation::ConvertAgent {
        agent: decode_id(&convert.agent_id, "agent_id")?,
        from: decode(convert.from, "from")?,
        to: decode(convert.to, "to")?,
    })
}

fn decode_drain_agent(drain: v1::DrainAgent) -> Result<Operation, Problem> {
    Ok(Operation::DrainAgent {
        agent: decode_id(&drain.agent_id, "agent_id")?,
        drain: decode_drain(required(drain.drain, "drain")?)?,
    })
}

fn decode_set_quota(set: v1::SetQuota) -> Result<(Role, Quota), Problem> {
    Ok((decode_id(&set.role, "role")?, decode_quota(set.quota)?))
}

fn decode_set_weight(set: &v1::SetWeight) -> Result<(Role, Weight), Problem> {
    let weight = decode_weight(set.weight_milli)?;
    Ok((decode_id(&set.role, "role")?, weight))
}

fn decode_admit_agent(admit: v1::AdmitAgent) -> Result<Operation, Problem> {
    Ok(Operation::AdmitAgent {
        agent: decode_id(&admit.agent_id, "agent_id")?,
        description: decode_agent(admit.description)?,
        volumes_after: admit.volumes_after,
    })
}

fn decode_put_state(put: v1::PutState) -> Result<Operation, Problem> {
    Ok(Operation::PutState {
        framework: decode_id(&put.framework_id, "framework_id")?,
        key: decode_id(&put.key, "key")?,
        value: put.value.into(),
    })
}

fn decode_delete_state(delete: v1::DeleteState) -> Result<Operation, Problem> {
    Ok(Operation::DeleteState {
        framework: decode_id(&delete.framework_id, "framework_id")?,
        key: decode_id(&delete.key, "key")?,
    })
}

fn decode_agent(
    description: Option<crate::v1::AgentDescription>,
) -> Result<Arc<proffer_model::AgentDescription>, Problem> {
    decode_agent_description(required(description, "description")?)
        .map(Arc::new)
        .map_err(|problem| problem.within("description"))
}

pub(crate) fn encode_admission_of(
    framework: &FrameworkId,
    entry: &FrameworkEntry,
) -> v1::AdmitFramework {
    v1::AdmitFramework {
        is_away: entry.is_away,
        ..encode_admission(framework, &entry.principal, &entry.description)
    }
}

fn encode_admission(
    framework: &FrameworkId,
    principal: &Principal,
    description: &FrameworkDescription,
) -> v1::AdmitFramework {
    v1::AdmitFramework {
        framework_id: framework.to_string(),
        principal: principal.to_string(),
        name: description.name.clone(),
        roles: texts(&description.roles),
        failover_timeout_ms: encode_duration(description.failover_timeout),
        mesos: description.mesos.as_deref().unwrap_or_default().to_vec(),
        is_away: false,
    }
}

fn decode_admission(
    admit: v1::AdmitFramework,
) -> Result<(FrameworkId, Principal, FrameworkDescription), Problem> {
    let timeout = Some(admit.failover_timeout_ms);
    let description = decode_framework_description(admit.name, admit.roles, timeout)?;
    Ok((
        decode_id(&admit.framework_id, "framework_id")?,
        decode_id(&admit.principal, "principal")?,
        FrameworkDescription {
            mesos: Some(admit.mesos.into()).filter(|info: &Arc<[u8]>| !info.is_empty()),
            ..description
        },
    ))
}

fn encode_framework((id, entry): (&FrameworkId, &FrameworkEntry)) -> v1::SnapshotFramework {
    let state = entry.state.iter().map(|(key, stored)| v1::SnapshotState {
        key: key.to_string(),
        value: stored.value.to_vec(),
        version: stored.version,
    });
    v1::SnapshotFramework {
        framework: Some(encode_admission_of(id, entry)),
        state: state.collect(),
        revision: entry.revision,
        number: entry.number,
    }
}

fn decode_framework(
    framework: v1::SnapshotFramework,
) -> Result<(FrameworkId, FrameworkEntry), Problem> {
    let admit = required(framework.framework, "framework")?;
    let is_away = admit.is_away;
    let (id, principal, description) =
        decode_admission(admit).map_err(|problem| problem.within("framework"))?;
    let mut state = BTreeMap::new();
    for (i, stored) in framework.state.into_iter().enumerate() {
        let key: StateKey = decode_id(&stored.key, "key")
            .map_err(|problem| problem.within(format_args!("state[{i}]")))?;
        let entry = StateEntry {
            value: stored.value.into(),
            version: stored.version,
        };
        state.insert(key, entry);
    }
    let entry = FrameworkEntry {
        principal,
        description,
        is_away,
        number: framework.number,
        state,
        revision: framework.revision,
    };
    Ok((id, entry))
}

fn check_schema(schema: u32) -> Result<(), Problem> {
    match schema {
        0 => Err(damaged(&"it has no schema version").field("schema")),
        schema if schema > STORE_SCHEMA => Err(newer(format!(
            "a newer version of proffer wrote schema version {schema}; this one knows {STORE_SCHEMA}"
        ))
        .field("schema")),
        _ => Ok(()),
    }
}

fn newer(message: impl Into<String>) -> Problem {
    Problem::new(code::STORE_FAILED, message)
        .hint("start the version that wrote it, or a later one")
}

fn damaged(why: &dyn std::fmt::Display) -> Problem {
    Problem::new(code::STORE_FAILED, format!("the entry is damaged: {why}"))
        .hint("restore the store from a backup")
}

fn as_store_problem(problem: Problem) -> Problem {
    let field = problem.field.clone();
    damaged(&problem.message).field(field)
}
