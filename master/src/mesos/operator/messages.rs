//! The rows of a snapshot as Mesos's messages, for the calls of the operator API.

use proffer_master_core::allocation::RoleRow;
use proffer_master_core::effect::{AgentRow, ExecutorRow, TaskRow};
use proffer_model::{FrameworkId, Resources, Role, Status, Weight};
use proffer_proto::mesos::v1::master::Response;
use proffer_proto::mesos::v1::master::response::{
    GetAgents, GetExecutors, GetFrameworks, GetMaster, GetQuota, GetRoles, GetState, GetTasks,
    GetWeights, get_agents, get_executors, get_frameworks,
};
use proffer_proto::mesos::v1::quota::quota_config::{GuaranteesEntry, LimitsEntry};
use proffer_proto::mesos::v1::quota::{QuotaConfig, QuotaInfo, QuotaStatus};
use proffer_proto::mesos::v1::value::{self, Scalar};
use proffer_proto::mesos::v1::{
    self, AgentInfo, DiscoveryInfo, DrainConfig, DrainInfo, DrainState, DurationInfo, ExecutorInfo,
    Offer, Resource, Task, TimeInfo, WeightInfo, agent_info, resource,
};
use proffer_proto::mesos::{
    ResourceForm, agent_url, encode_attributes, encode_discovery, encode_domain,
    encode_mesos_status, encode_resources, labels_of, value_of,
};

use super::super::http::VERSION;
use super::master::Master;
use super::seen::{
    Framework, Seen, Standing, executor_name, executor_of, executors_on, grace_of, ip_of,
    is_active, port_of, state_of, tasks,
};
use super::state::{AWARE, offered};
use crate::view::Snapshot;

type Kind = v1::master::response::Type;

/// An answer of this kind, to be filled.
pub(super) fn response(kind: Kind) -> Response {
    Response {
        r#type: Some(kind.into()),
        ..Response::default()
    }
}

/// Agents.
pub(super) fn get_agents(seen: &Seen<'_>, master: &Master) -> GetAgents {
    GetAgents {
        agents: seen.agents().map(|row| agent(row, master)).collect(),
        recovered_agents: seen.recovered_agents().map(agent_info).collect(),
    }
}

/// An agent.
pub(super) fn agent(row: &AgentRow, master: &Master) -> get_agents::Agent {
    use agent_info::capability::Type;
    let all = [
        Type::MultiRole,
        Type::HierarchicalRole,
        Type::ReservationRefinement,
        Type::AgentDraining,
    ];
    let capability = |r#type: Type| agent_info::Capability {
        r#type: Some(r#type.into()),
    };
    let drain = row.drain.as_ref();
    get_agents::Agent {
        agent_info: agent_info(row),
        active: is_active(row),
        deactivated: Some(row.is_deactivated || drain.is_some()),
        version: VERSION.to_owned(),
        pid: Some(super::seen::pid_of(row)),
        registered_time: Some(time(master.reign.elected_wall_ms)),
        total_resources: refined(&row.total, None),
        allocated_resources: refined(&row.used, None),
        offered_resources: refined(&row.offered, None),
        capabilities: all.map(capability).into(),
        drain_info: drain.map(|drain| DrainInfo {
            state: match drain.is_drained && row.tasks == 0 {
                true => DrainState::Drained.into(),
                false => DrainState::Draining.into(),
            },
            config: DrainConfig {
                max_grace_period: grace_of(drain).map(|grace| DurationInfo {
                    nanoseconds: i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX),
                }),
                mark_gone: Some(drain.marks_gone),
            },
        }),
        estimated_drain_start_time: drain.map(|drain| time(drain.since_wall_ms)),
        ..get_agents::Agent::default()
    }
}

fn agent_info(row: &AgentRow) -> AgentInfo {
    AgentInfo {
        hostname: row.description.host.clone(),
        port: Some(port_of(row).into()),
        resources: refined(&row.description.resources, None),
        attributes: encode_attributes(&row.description.attributes),
        id: Some(v1::AgentId {
            value: row.agent.to_string(),
        }),
        domain: row.description.domain.as_ref().map(encode_domain),
    }
}

/// Frameworks.
pub(super) fn get_frameworks(seen: &Seen<'_>, master: &Master) -> GetFrameworks {
    let encode = |of: Framework<'_>| framework(&of, seen.snapshot, master);
    GetFrameworks {
        frameworks: seen.frameworks().map(encode).collect(),
        completed_frameworks: seen.completed_frameworks().map(encode).collect(),
        recovered_frameworks: Vec::new(),
    }
}

/// A framework.
pub(super) fn framework(
    of: &Framework<'_>,
    snapshot: &Snapshot,
    master: &Master,
) -> get_frameworks::Framework {
    let is_connected = of.row.is_some_and(|row| row.is_connected);
    let used = of.row.map(|row| refined(&row.used, None));
    let constraints = master.constraints(of.id);
    let constraints = constraints.map(|said| said.message());
    let completed = of.completed;
    let registered = of.row.map(|_| master.reign.elected_wall_ms);
    let registered = registered.or(completed.map(|it| it.registered_wall_ms));
    get_frameworks::Framework {
        framework_info: of.info.clone(),
        active: is_connected,
        connected: is_connected,
        recovered: of.row.is_some_and(|row| row.is_recovered),
        registered_time: registered.map(time),
        unregistered_time: completed.map(|it| time(it.unregistered_wall_ms)),
        offers: of.offers.iter().map(|row| offer(row, snapshot)).collect(),
        allocated_resources: used.unwrap_or_default(),
        offered_resources: refined(&offered(of), None),
        offer_constraints: Some(constraints.unwrap_or_default()),
        ..get_frameworks::Framework::default()
    }
}

fn offer(row: &proffer_master_core::effect::OfferRow, snapshot: &Snapshot) -> Offer {
    let agent = snapshot.agents.get(&row.agent);
    let description = agent.map(|agent| &agent.description);
    Offer {
        id: v1::OfferId {
            value: row.offer.to_string(),
        },
        framework_id: id_of(&row.framework),
        agent_id: v1::AgentId {
            value: row.agent.to_string(),
        },
        hostname: description.map(|it| it.host.clone()).unwrap_or_default(),
        url: description.and_then(|it| agent_url(&it.host, &it.address)),
        resources: refined(&row.resources, Some(&row.role)),
        attributes: description
            .map(|it| encode_attributes(&it.attributes))
            .unwrap_or_default(),
        allocation_info: Some(resource::AllocationInfo {
            role: Some(row.role.to_string()),
        }),
        domain: description.and_then(|it| it.domain.as_ref().map(encode_domain)),
        executor_ids: executors_on(snapshot, &row.agent, &row.framework),
        ..Offer::default()
    }
}

/// Executors that live.
pub(super) fn get_executors(snapshot: &Snapshot) -> GetExecutors {
    let encode = |row: &ExecutorRow| get_executors::Executor {
        executor_info: ExecutorInfo {
            r#type: Some(v1::executor_info::Type::Custom.into()),
            executor_id: v1::ExecutorId {
                value: row.executor.to_string(),
            },
            framework_id: Some(id_of(&row.framework)),
            resources: refined(&row.resources, Some(&row.role)),
            ..ExecutorInfo::default()
        },
        agent_id: v1::AgentId {
            value: row.agent.to_string(),
        },
    };
    let rows = snapshot.executors.iter();
    GetExecutors {
        executors: rows.map(|row| encode(row)).collect(),
        orphan_executors: Vec::new(),
    }
}

/// Tasks.
pub(super) fn get_tasks(snapshot: &Snapshot) -> GetTasks {
    let mut all = GetTasks::default();
    for row in tasks(snapshot) {
        let list = match Standing::of(row) {
            Standing::Live => &mut all.tasks,
            Standing::Unreachable => &mut all.unreachable_tasks,
            Standing::Completed => &mut all.completed_tasks,
        };
        list.push(task(row, snapshot));
    }
    all
}

/// A task with its latest status.
pub(super) fn task(row: &TaskRow, snapshot: &Snapshot) -> Task {
    let status = status(row, snapshot);
    Task {
        statuses: vec![status.clone()],
        state: status.state,
        status_update_state: Some(status.state),
        ..task_outline(row)
    }
}

/// A task before anything was heard of it.
pub(super) fn task_outline(row: &TaskRow) -> Task {
    let outline = &row.outline;
    Task {
        name: row.name().to_owned(),
        task_id: v1::TaskId {
            value: row.task.to_string(),
        },
        framework_id: id_of(&row.framework),
        executor_id: executor_name(row).map(|name| v1::ExecutorId {
            value: name.to_owned(),
        }),
        agent_id: v1::AgentId {
            value: row.agent.to_string(),
        },
        state: v1::TaskState::TaskStaging.into(),
        resources: refined(&outline.resources, Some(&outline.role)),
        labels: labels_of(&outline.labels),
        discovery: discovery(row),
        ..Task::default()
    }
}

/// What was last heard of a task.
pub(super) fn status(row: &TaskRow, snapshot: &Snapshot) -> v1::TaskStatus {
    let told = Status {
        state: state_of(row),
        ..row.status()
    };
    let mut status = encode_mesos_status(&told, AWARE, None);
    executor_of(row).name(&mut status, row.told.number > 0);
    let agent = snapshot.agents.get(&row.agent);
    let ip = agent.and_then(|agent| ip_of(agent));
    if let (Some(container), Some(ip)) = (&mut status.container_status, ip)
        && container.network_infos.is_empty()
    {
        let address = v1::network_info::IpAddress {
            ip_address: Some(ip.to_string()),
            ..v1::network_info::IpAddress::default()
        };
        container.network_infos.push(v1::NetworkInfo {
            ip_addresses: vec![address],
            ..v1::NetworkInfo::default()
        });
    }
    status
}

fn discovery(row: &TaskRow) -> Option<DiscoveryInfo> {
    let outline = &row.outline;
    encode_discovery(outline.discovery.as_deref(), row.name(), &outline.ports)
}

/// All of these in one.
pub(super) fn get_state(snapshot: &Snapshot, master: &Master) -> GetState {
    let seen = Seen::new(snapshot);
    GetState {
        get_tasks: Some(get_tasks(snapshot)),
        get_executors: Some(get_executors(snapshot)),
        get_frameworks: Some(get_frameworks(&seen, master)),
        get_agents: Some(get_agents(&seen, master)),
    }
}

/// Roles.
pub(super) fn get_roles(rows: &[RoleRow]) -> GetRoles {
    let encode = |row: &RoleRow| v1::Role {
        name: row.role.to_string(),
        weight: weight_of(row.weight),
        frameworks: row.frameworks.iter().map(id_of).collect(),
        resources: row
            .held
            .iter()
            .map(|(name, milli)| scalar_resource(name.as_str(), milli))
            .collect(),
    };
    GetRoles {
        roles: rows.iter().map(encode).collect(),
    }
}

/// Weights that are not the common one.
pub(super) fn get_weights(rows: &[RoleRow]) -> GetWeights {
    let set = rows.iter().filter(|row| row.weight != Weight::default());
    let encode = |row: &RoleRow| WeightInfo {
        weight: weight_of(row.weight),
        role: Some(row.role.to_string()),
    };
    GetWeights {
        weight_infos: set.map(encode).collect(),
    }
}

/// A weight as Mesos writes it.
pub(super) fn weight_of(weight: Weight) -> f64 {
    value_of(weight.0.into())
}

/// Quotas, in the old form, which has guarantees alone, and in the new one.
pub(super) fn get_quota(rows: &[RoleRow]) -> GetQuota {
    let mut status = QuotaStatus::default();
    for row in rows {
        let Some(quota) = &row.quota else { continue };
        status.infos.push(QuotaInfo {
            role: Some(row.role.to_string()),
            principal: None,
            guarantee: quota
                .guarantees
                .iter()
                .map(|(name, milli)| scalar_resource(name.as_str(), milli))
                .collect(),
        });
        let scalar = |milli| Scalar {
            value: value_of(milli),
        };
        let guarantees = quota.guarantees.iter();
        let guarantees = guarantees.map(|(name, milli)| GuaranteesEntry {
            key: Some(name.to_string()),
            value: Some(scalar(milli)),
        });
        let limits = quota.limits.iter().map(|(name, milli)| LimitsEntry {
            key: Some(name.to_string()),
            value: Some(scalar(milli)),
        });
        status.configs.push(QuotaConfig {
            role: row.role.to_string(),
            guarantees: guarantees.collect(),
            limits: limits.collect(),
        });
    }
    GetQuota { status }
}

/// The leader.
pub(super) fn get_master(master: &Master) -> GetMaster {
    GetMaster {
        master_info: Some(master.info.clone()),
        start_time: Some(master.start_time()),
        elected_time: Some(master.elected_time()),
    }
}

fn scalar_resource(name: &str, milli: u64) -> Resource {
    Resource {
        name: name.to_owned(),
        r#type: value::Type::Scalar.into(),
        scalar: Some(Scalar {
            value: value_of(milli),
        }),
        ..Resource::default()
    }
}

/// In the newer form, which has all reservations, as the operator API of Mesos has them.
fn refined(resources: &Resources, allocated_to: Option<&Role>) -> Vec<Resource> {
    let form = ResourceForm {
        allocated_to: allocated_to.cloned(),
        is_refined: true,
    };
    encode_resources(resources, &form)
}

fn id_of(id: &FrameworkId) -> v1::FrameworkId {
    v1::FrameworkId {
        value: id.to_string(),
    }
}

fn time(wall_ms: u64) -> TimeInfo {
    let nanoseconds = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    TimeInfo {
        nanoseconds: nanoseconds.saturating_mul(1_000_000),
    }
}
