//! The link between an agent and the leader.
//!
//! The envelope of what the leader says carries the epoch. A refusal has none to obey, so it is written as 0.

use std::collections::BTreeMap;
use std::sync::Arc;

use proffer_model::limits::{DURATION_MAX, ITEMS_PER_CALL_MAX, KILL_GRACE_MAX, TEXT_LEN_MAX};
use proffer_model::link::{AgentExecutor, AgentTask, AgentVolume, Hello, Payer, ToAgent, ToMaster};
use proffer_model::{
    AgentDescription, Epoch, ExecutorId, ExecutorSpec, FrameworkId, Generation, Incarnation,
    Problem, TaskSpec,
};

use crate::domain::{decode_domain, encode_domain};
use crate::executor::{decode_data, decode_executor, encode_executor};
use crate::fields::{
    clipped, decode_duration, decode_host, decode_id, decode_list, decode_optional_id, decode_text,
    encode_duration, missing, required,
};
use crate::problem::{decode_problem, encode_problem};
use crate::resources::{decode_attributes, decode_resources, encode_attributes, encode_resources};
use crate::task::{
    decode_labels, decode_reason, decode_status, decode_task_spec, decode_task_spec_of_executor,
    decode_task_state, encode_reason, encode_status, encode_task_spec,
    encode_task_spec_of_executor, encode_task_state,
};
use crate::v1;
use crate::v1::to_agent::Message as AgentMessage;
use crate::v1::to_master::Message as MasterMessage;

/// What an agent tells the leader, for the wire.
pub fn encode_to_master(message: &ToMaster) -> v1::ToMaster {
    let message = match message {
        ToMaster::Hello(hello) => MasterMessage::Hello(encode_hello(hello)),
        ToMaster::Updated {
            framework,
            status,
            latest,
        } => MasterMessage::Updated(v1::TaskUpdated {
            framework_id: framework.to_string(),
            status: Some(encode_status(status)),
            latest: encode_task_state(*latest).into(),
        }),
        ToMaster::Heartbeat => MasterMessage::Heartbeat(v1::LinkHeartbeat {}),
        ToMaster::ExecutorChanged {
            framework,
            executor,
            is_ended,
            message,
        } => MasterMessage::Executor(v1::ExecutorChanged {
            framework_id: framework.to_string(),
            executor_id: executor.to_string(),
            ended: *is_ended,
            message: clipped(message, TEXT_LEN_MAX),
        }),
        ToMaster::Message {
            framework,
            executor,
            data,
        } => MasterMessage::ExecutorMessage(encode_message(framework, executor, data)),
    };
    v1::ToMaster {
        message: Some(message),
    }
}

/// What an agent tells the leader, from the wire.
pub fn decode_to_master(message: v1::ToMaster) -> Result<ToMaster, Problem> {
    let (field, decoded) = match required(message.message, "message")? {
        MasterMessage::Hello(hello) => ("hello", decode_hello(hello).map(ToMaster::Hello)),
        MasterMessage::Updated(updated) => ("updated", decode_updated(updated)),
        MasterMessage::Heartbeat(v1::LinkHeartbeat {}) => ("heartbeat", Ok(ToMaster::Heartbeat)),
        MasterMessage::Executor(changed) => ("executor", decode_executor_changed(changed)),
        MasterMessage::ExecutorMessage(message) => {
            let decoded = decode_message(message);
            let decoded = decoded.map(|(framework, executor, data)| ToMaster::Message {
                framework,
                executor,
                data,
            });
            ("executor_message", decoded)
        }
    };
    decoded.map_err(|problem| problem.within(field))
}

/// What the leader tells an agent, for the wire.
pub fn encode_to_agent(message: &ToAgent) -> v1::ToAgent {
    let (epoch, message) = match message {
        ToAgent::Welcome {
            agent,
            cluster,
            epoch,
            generation,
            heartbeat_interval,
        } => {
            let welcome = v1::Welcome {
                agent_id: agent.to_string(),
                cluster_id: cluster.to_string(),
                generation: generation.0,
                heartbeat_interval_ms: encode_duration(*heartbeat_interval),
            };
            (*epoch, AgentMessage::Welcome(welcome))
        }
        ToAgent::Refused(problem) => (Epoch(0), AgentMessage::Refused(encode_problem(problem))),
        ToAgent::Heartbeat { epoch } => (*epoch, AgentMessage::Heartbeat(v1::LinkHeartbeat {})),
        ToAgent::Volumes { epoch, volumes } => {
            let volumes = encode_agent_volumes(volumes);
            (*epoch, AgentMessage::Volumes(volumes))
        }
        ToAgent::Message {
            epoch,
            framework,
            executor,
            data,
        } => {
            let message = encode_message(framework, executor, data);
            (*epoch, AgentMessage::ExecutorMessage(message))
        }
        ToAgent::ShutdownExecutor {
            epoch,
            framework,
            executor,
            reason,
        } => {
            let shutdown = v1::ShutdownAgentExecutor {
                framework_id: framework.to_string(),
                executor_id: executor.to_string(),
                reason: encode_reason(*reason).into(),
            };
            (*epoch, AgentMessage::ShutdownExecutor(shutdown))
        }
        ToAgent::Launch { epoch, .. }
        | ToAgent::LaunchGroup { epoch, .. }
        | ToAgent::Kill { epoch, .. }
        | ToAgent::Acknowledge { epoch, .. }
        | ToAgent::UpdateTask { epoch, .. } => {
            return v1::ToAgent {
                epoch: epoch.0,
                message: encode_task_order(message),
            };
        }
    };
    v1::ToAgent {
        epoch: epoch.0,
        message: Some(message),
    }
}

/// An order about tasks; nothing of anything else.
fn encode_task_order(message: &ToAgent) -> Option<AgentMessage> {
    Some(match message {
        ToAgent::Launch {
            epoch: _,
            framework,
            incarnation,
            spec,
            payer,
        } => AgentMessage::Launch(encode_launch(framework, *incarnation, spec, payer.as_ref())),
        ToAgent::LaunchGroup {
            epoch: _,
            framework,
            payer,
            tasks,
        } => AgentMessage::LaunchGroup(v1::LaunchGroupOfTasks {
            framework_id: framework.to_string(),
            payer: payer.as_ref().map(encode_payer),
            tasks: tasks.iter().map(encode_grouped).collect(),
        }),
        ToAgent::Kill {
            epoch: _,
            framework,
            task,
            incarnation,
            grace,
            reason,
        } => AgentMessage::Kill(v1::KillTask {
            framework_id: framework.to_string(),
            task_id: task.to_string(),
            incarnation: incarnation.0,
            grace_ms: grace.map(encode_duration),
            reason: encode_reason(*reason).into(),
        }),
        ToAgent::Acknowledge {
            epoch: _,
            framework,
            task,
            incarnation,
            number,
        } => AgentMessage::Acknowledge(v1::AcknowledgeStatus {
            framework_id: framework.to_string(),
            task_id: task.to_string(),
            incarnation: incarnation.0,
            number: *number,
        }),
        ToAgent::UpdateTask {
            epoch: _,
            framework,
            task,
            incarnation,
            labels,
            grace,
        } => AgentMessage::UpdateTask(v1::UpdateAgentTask {
            framework_id: framework.to_string(),
            task_id: task.to_string(),
            incarnation: incarnation.0,
            labels: labels.clone().map(|labels| v1::Labels { labels }),
            kill_grace_ms: grace.map(encode_duration),
        }),
        _ => return None,
    })
}

fn encode_launch(
    framework: &FrameworkId,
    incarnation: Incarnation,
    spec: &TaskSpec,
    payer: Option<&Payer>,
) -> v1::LaunchTask {
    v1::LaunchTask {
        framework_id: framework.to_string(),
        incarnation: incarnation.0,
        spec: Some(encode_task_spec(spec)),
        payer: payer.map(encode_payer),
    }
}

/// What the leader tells an agent, from the wire.
pub fn decode_to_agent(message: v1::ToAgent) -> Result<ToAgent, Problem> {
    let epoch = Epoch(message.epoch);
    let (field, decoded) = match required(message.message, "message")? {
        AgentMessage::Welcome(welcome) => ("welcome", decode_welcome(epoch, welcome)),
        AgentMessage::Refused(problem) => {
            ("refused", Ok(ToAgent::Refused(decode_problem(problem))))
        }
        AgentMessage::Launch(launch) => ("launch", decode_launch(epoch, launch)),
        AgentMessage::Kill(kill) => ("kill", decode_kill(epoch, kill)),
        AgentMessage::Acknowledge(acknowledge) => {
            ("acknowledge", decode_acknowledge(epoch, acknowledge))
        }
        AgentMessage::Heartbeat(v1::LinkHeartbeat {}) => {
            ("heartbeat", Ok(ToAgent::Heartbeat { epoch }))
        }
        AgentMessage::LaunchGroup(group) => ("launch_group", decode_launch_group(epoch, group)),
        AgentMessage::UpdateTask(update) => ("update_task", decode_update(epoch, update)),
        AgentMessage::ExecutorMessage(message) => {
            let decoded = decode_message(message);
            let decoded = decoded.map(|(framework, executor, data)| ToAgent::Message {
                epoch,
                framework,
                executor,
                data,
            });
            ("executor_message", decoded)
        }
        AgentMessage::ShutdownExecutor(shutdown) => {
            ("shutdown_executor", decode_shutdown(epoch, shutdown))
        }
        AgentMessage::Volumes(volumes) => ("volumes", decode_volumes(epoch, volumes)),
    };
    decoded.map_err(|problem| problem.within(field))
}

/// What an agent says of itself, for the wire.
pub fn encode_agent_description(description: &AgentDescription) -> v1::AgentDescription {
    v1::AgentDescription {
        host: description.host.clone(),
        address: description.address.clone(),
        resources: Some(encode_resources(&description.resources)),
        attributes: encode_attributes(&description.attributes),
        version: description.version.clone(),
        domain: description.domain.as_ref().map(encode_domain),
    }
}

/// What an agent says of itself, from the wire.
pub fn decode_agent_description(
    description: v1::AgentDescription,
) -> Result<AgentDescription, Problem> {
    let resources = required(description.resources, "resources")?;
    Ok(AgentDescription {
        host: decode_host(description.host, "host")?,
        address: decode_host(description.address, "address")?,
        resources: decode_resources(resources).map_err(|problem| problem.within("resources"))?,
        attributes: decode_attributes(description.attributes)?,
        domain: decode_domain(description.domain)?,
        version: decode_text(description.version, "version")?,
    })
}

/// The number of a launch, which is never 0.
pub(crate) fn decode_incarnation(number: u64) -> Result<Incarnation, Problem> {
    match number {
        0 => Err(missing("incarnation")),
        _ => Ok(Incarnation(number)),
    }
}

fn encode_hello(hello: &Hello) -> v1::Hello {
    let (agent, cluster) = (hello.agent.as_ref(), hello.cluster.as_ref());
    let mut specs = Specs::default();
    let tasks = hello.tasks.iter();
    let tasks = tasks.map(|task| encode_agent_task(task, specs.place(task.spec.executor.as_ref())));
    v1::Hello {
        agent_id: agent.map(ToString::to_string).unwrap_or_default(),
        cluster_id: cluster.map(ToString::to_string).unwrap_or_default(),
        epoch: hello.epoch.0,
        description: Some(encode_agent_description(&hello.description)),
        tasks: tasks.collect(),
        executors: hello.executors.iter().map(encode_agent_executor).collect(),
        number: hello.number,
        specs: specs.all.iter().map(|spec| encode_executor(spec)).collect(),
    }
}

/// The executors of an agent's tasks, each once: there may be a thousand tasks of one, and what it carries is large.
#[derive(Default)]
struct Specs<'a> {
    all: Vec<&'a Arc<ExecutorSpec>>,
    by_id: BTreeMap<&'a ExecutorId, Vec<u32>>,
}

impl<'a> Specs<'a> {
    /// Which one an executor is, counted from 1; 0 where there is none.
    fn place(&mut self, spec: Option<&'a Arc<ExecutorSpec>>) -> u32 {
        let Some(spec) = spec else { return 0 };
        let known = self.by_id.entry(&spec.id).or_default();
        let is_it = |place: &&u32| {
            let index = usize::try_from(**place).unwrap_or_default();
            let other = self.all.get(index.wrapping_sub(1));
            other.is_some_and(|other| Arc::ptr_eq(other, spec) || *other == spec)
        };
        if let Some(place) = known.iter().find(is_it) {
            return *place;
        }
        self.all.push(spec);
        // There are fewer than tasks.
        let place = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        known.push(place);
        place
    }
}

fn decode_hello(hello: v1::Hello) -> Result<Hello, Problem> {
    let description = required(hello.description, "description")?;
    let specs = decode_list(hello.specs, "specs", ITEMS_PER_CALL_MAX, |spec| {
        decode_executor(spec).map(Arc::new)
    })?;
    Ok(Hello {
        agent: decode_optional_id(&hello.agent_id, "agent_id")?,
        cluster: decode_optional_id(&hello.cluster_id, "cluster_id")?,
        epoch: Epoch(hello.epoch),
        description: decode_agent_description(description)
            .map_err(|problem| problem.within("description"))?,
        tasks: decode_list(hello.tasks, "tasks", ITEMS_PER_CALL_MAX, |task| {
            decode_agent_task(task, &specs)
        })?,
        executors: decode_list(
            hello.executors,
            "executors",
            ITEMS_PER_CALL_MAX,
            decode_agent_executor,
        )?,
        number: hello.number,
    })
}

/// `executor` says which of the hello's specs it is in.
fn encode_agent_task(task: &AgentTask, executor: u32) -> v1::AgentTask {
    v1::AgentTask {
        framework_id: task.framework.to_string(),
        spec: Some(encode_task_spec_of_executor(&task.spec)),
        incarnation: task.incarnation.0,
        status: Some(encode_status(&task.status)),
        acknowledged: task.acknowledged,
        payer: task.payer.as_ref().map(encode_payer),
        group: task
            .group
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        executor,
    }
}

fn encode_agent_executor(executor: &AgentExecutor) -> v1::AgentExecutor {
    v1::AgentExecutor {
        framework_id: executor.framework.to_string(),
        spec: Some(encode_executor(&executor.spec)),
        payer: executor.payer.as_ref().map(encode_payer),
    }
}

fn decode_agent_executor(executor: v1::AgentExecutor) -> Result<AgentExecutor, Problem> {
    let spec = decode_executor(required(executor.spec, "spec")?);
    Ok(AgentExecutor {
        framework: decode_id(&executor.framework_id, "framework_id")?,
        spec: Arc::new(spec.map_err(|problem| problem.within("spec"))?),
        payer: decode_payer(executor.payer)?,
    })
}

fn decode_executor_changed(changed: v1::ExecutorChanged) -> Result<ToMaster, Problem> {
    Ok(ToMaster::ExecutorChanged {
        framework: decode_id(&changed.framework_id, "framework_id")?,
        executor: decode_id(&changed.executor_id, "executor_id")?,
        is_ended: changed.ended,
        message: decode_text(changed.message, "message")?,
    })
}

fn encode_message(framework: &FrameworkId, executor: &ExecutorId, data: &[u8]) -> v1::AgentMessage {
    v1::AgentMessage {
        framework_id: framework.to_string(),
        executor_id: executor.to_string(),
        data: data.to_vec(),
    }
}

fn decode_message(
    message: v1::AgentMessage,
) -> Result<(FrameworkId, ExecutorId, Vec<u8>), Problem> {
    Ok((
        decode_id(&message.framework_id, "framework_id")?,
        decode_id(&message.executor_id, "executor_id")?,
        decode_data(message.data)?,
    ))
}

fn encode_grouped((incarnation, spec): &(Incarnation, TaskSpec)) -> v1::GroupedTask {
    v1::GroupedTask {
        incarnation: incarnation.0,
        spec: Some(encode_task_spec(spec)),
    }
}

fn decode_launch_group(epoch: Epoch, group: v1::LaunchGroupOfTasks) -> Result<ToAgent, Problem> {
    if group.tasks.is_empty() {
        return Err(missing("tasks"));
    }
    let decode = |task: v1::GroupedTask| {
        let spec = decode_task_spec(required(task.spec, "spec")?);
        let spec = spec.map_err(|problem| problem.within("spec"))?;
        Ok((decode_incarnation(task.incarnation)?, spec))
    };
    Ok(ToAgent::LaunchGroup {
        epoch,
        framework: decode_id(&group.framework_id, "framework_id")?,
        payer: decode_payer(group.payer)?,
        tasks: decode_list(group.tasks, "tasks", ITEMS_PER_CALL_MAX, decode)?,
    })
}

fn decode_update(epoch: Epoch, update: v1::UpdateAgentTask) -> Result<ToAgent, Problem> {
    let (labels, grace) = (update.labels, update.kill_grace_ms);
    Ok(ToAgent::UpdateTask {
        epoch,
        framework: decode_id(&update.framework_id, "framework_id")?,
        task: decode_id(&update.task_id, "task_id")?,
        incarnation: decode_incarnation(update.incarnation)?,
        labels: labels
            .map(|labels| decode_labels(labels.labels))
            .transpose()?,
        grace: grace
            .map(|ms| decode_duration(ms, "kill_grace_ms", KILL_GRACE_MAX))
            .transpose()?,
    })
}

fn decode_shutdown(epoch: Epoch, shutdown: v1::ShutdownAgentExecutor) -> Result<ToAgent, Problem> {
    Ok(ToAgent::ShutdownExecutor {
        epoch,
        framework: decode_id(&shutdown.framework_id, "framework_id")?,
        executor: decode_id(&shutdown.executor_id, "executor_id")?,
        reason: decode_reason(shutdown.reason, "reason")?,
    })
}

fn decode_volumes(epoch: Epoch, volumes: v1::AgentVolumes) -> Result<ToAgent, Problem> {
    let volumes = decode_agent_volumes(volumes)?;
    Ok(ToAgent::Volumes { epoch, volumes })
}

/// The volumes of an agent, for the wire and its file.
pub fn encode_agent_volumes(volumes: &[AgentVolume]) -> v1::AgentVolumes {
    v1::AgentVolumes {
        volumes: volumes.iter().map(encode_agent_volume).collect(),
    }
}

/// The volumes of an agent, from the wire.
pub fn decode_agent_volumes(volumes: v1::AgentVolumes) -> Result<Vec<AgentVolume>, Problem> {
    decode_list(
        volumes.volumes,
        "volumes",
        ITEMS_PER_CALL_MAX,
        decode_agent_volume,
    )
}

/// A volume of an agent, for the wire.
pub(crate) fn encode_agent_volume(volume: &AgentVolume) -> v1::AgentVolume {
    v1::AgentVolume {
        volume_id: volume.id.to_string(),
        role: volume.role.to_string(),
        number: volume.number,
    }
}

/// A volume of an agent, from the wire.
pub(crate) fn decode_agent_volume(volume: v1::AgentVolume) -> Result<AgentVolume, Problem> {
    Ok(AgentVolume {
        id: decode_id(&volume.volume_id, "volume_id")?,
        role: decode_id(&volume.role, "role")?,
        number: volume.number,
    })
}

/// Who pays, for the wire.
pub(crate) fn encode_payer(payer: &Payer) -> v1::Payer {
    let demand = payer.demand.as_ref();
    v1::Payer {
        role: payer.role.to_string(),
        demand_id: demand.map(ToString::to_string).unwrap_or_default(),
    }
}

/// Who pays, from the wire; what was written before it was kept has none.
pub(crate) fn decode_payer(payer: Option<v1::Payer>) -> Result<Option<Payer>, Problem> {
    let decode = |payer: v1::Payer| {
        Ok(Payer {
            role: decode_id(&payer.role, "role")?,
            demand: decode_optional_id(&payer.demand_id, "demand_id")?,
        })
    };
    let payer = payer.map(decode).transpose();
    payer.map_err(|problem: Problem| problem.within("payer"))
}

fn decode_agent_task(
    task: v1::AgentTask,
    specs: &[Arc<ExecutorSpec>],
) -> Result<AgentTask, Problem> {
    let (spec, status) = (
        required(task.spec, "spec")?,
        required(task.status, "status")?,
    );
    let decode = |spec: v1::TaskSpec| {
        if spec.executor.is_some() {
            // An agent of an earlier version says it with each task.
            return decode_task_spec(spec);
        }
        let mut spec = decode_task_spec_of_executor(spec)?;
        if let Some(before) = task.executor.checked_sub(1) {
            let place = usize::try_from(before).unwrap_or(usize::MAX);
            let executor = specs.get(place).cloned();
            spec.executor = Some(executor.ok_or_else(|| missing("executor"))?);
        }
        Ok(spec)
    };
    Ok(AgentTask {
        framework: decode_id(&task.framework_id, "framework_id")?,
        spec: decode(spec).map_err(|problem| problem.within("spec"))?,
        incarnation: decode_incarnation(task.incarnation)?,
        status: decode_status(status).map_err(|problem| problem.within("status"))?,
        acknowledged: task.acknowledged,
        payer: decode_payer(task.payer)?,
        group: decode_optional_id(&task.group, "group")?,
    })
}

fn decode_updated(updated: v1::TaskUpdated) -> Result<ToMaster, Problem> {
    let status = required(updated.status, "status")?;
    Ok(ToMaster::Updated {
        framework: decode_id(&updated.framework_id, "framework_id")?,
        status: decode_status(status).map_err(|problem| problem.within("status"))?,
        latest: decode_task_state(updated.latest, "latest")?,
    })
}

fn decode_welcome(epoch: Epoch, welcome: v1::Welcome) -> Result<ToAgent, Problem> {
    let interval_ms = welcome.heartbeat_interval_ms;
    if interval_ms == 0 {
        return Err(missing("heartbeat_interval_ms"));
    }
    Ok(ToAgent::Welcome {
        agent: decode_id(&welcome.agent_id, "agent_id")?,
        cluster: decode_id(&welcome.cluster_id, "cluster_id")?,
        epoch,
        generation: Generation(welcome.generation),
        heartbeat_interval: decode_duration(interval_ms, "heartbeat_interval_ms", DURATION_MAX)?,
    })
}

fn decode_launch(epoch: Epoch, launch: v1::LaunchTask) -> Result<ToAgent, Problem> {
    let spec = required(launch.spec, "spec")?;
    Ok(ToAgent::Launch {
        epoch,
        framework: decode_id(&launch.framework_id, "framework_id")?,
        incarnation: decode_incarnation(launch.incarnation)?,
        spec: Box::new(decode_task_spec(spec).map_err(|problem| problem.within("spec"))?),
        payer: decode_payer(launch.payer)?,
    })
}

fn decode_kill(epoch: Epoch, kill: v1::KillTask) -> Result<ToAgent, Problem> {
    let grace = kill.grace_ms;
    Ok(ToAgent::Kill {
        epoch,
        framework: decode_id(&kill.framework_id, "framework_id")?,
        task: decode_id(&kill.task_id, "task_id")?,
        incarnation: decode_incarnation(kill.incarnation)?,
        grace: grace
            .map(|ms| decode_duration(ms, "grace_ms", KILL_GRACE_MAX))
            .transpose()?,
        reason: decode_reason(kill.reason, "reason")?,
    })
}

fn decode_acknowledge(
    epoch: Epoch,
    acknowledge: v1::AcknowledgeStatus,
) -> Result<ToAgent, Problem> {
    Ok(ToAgent::Acknowledge {
        epoch,
        framework: decode_id(&acknowledge.framework_id, "framework_id")?,
        task: decode_id(&acknowledge.task_id, "task_id")?,
        incarnation: decode_incarnation(acknowledge.incarnation)?,
        number: acknowledge.number,
    })
}
