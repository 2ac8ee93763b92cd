//! Sessions: what a framework calls, and what the master tells it.
//!
//! A call that cannot be decoded is refused as a whole; its request id stands outside the call, so the refusal can still
//! be answered to it.

use proffer_model::limits::{
    DURATION_MAX, FAILOVER_TIMEOUT_DEFAULT, FAILOVER_TIMEOUT_MAX, ITEMS_PER_CALL_MAX,
    KILL_GRACE_MAX, ROLES_MAX, TEXT_LEN_MAX,
};
use proffer_model::session::{Answer, Call, Event, Resume};
use proffer_model::{
    AgentId, Epoch, ExecutorId, FrameworkDescription, FrameworkId, Generation, Problem,
};

use crate::demand::{decode_demand, encode_demand};
use crate::executor::decode_data;
use crate::fields::{
    clipped, decode_duration, decode_id, decode_ids, decode_list, decode_optional_id, decode_text,
    encode_duration, missing, required,
};
use crate::offer::{decode_offer, encode_offer};
use crate::operation::{
    check_tasks, decode_operation, decode_operation_result, encode_operation,
    encode_operation_result,
};
use crate::problem::{decode_problem, encode_problem};
use crate::task::{decode_labels, decode_reason, decode_status, encode_reason, encode_status};
use crate::v1;
use crate::v1::answered::Answer as WireAnswer;
use crate::v1::session_call::Call as WireCall;
use crate::v1::session_event::Event as WireEvent;

/// A call with its request id, for the wire.
pub fn encode_call(request: u64, call: &Call) -> v1::SessionCall {
    let call = match call {
        Call::Subscribe {
            framework,
            description,
            stand_by,
            resume,
            create,
        } => WireCall::Subscribe(v1::Subscribe {
            stand_by: *stand_by,
            resume: resume.map(encode_resume),
            create: *create,
            ..encode_subscriber(framework.as_ref(), description)
        }),
        Call::SetDemand(demand) => WireCall::SetDemand(encode_demand(demand)),
        Call::Accept { offers, operations } => WireCall::Accept(v1::Accept {
            offer_ids: texts(offers),
            operations: operations.iter().map(encode_operation).collect(),
        }),
        Call::Decline {
            offers,
            exclude_for,
        } => WireCall::Decline(v1::Decline {
            offer_ids: texts(offers),
            exclude_for_ms: encode_duration(*exclude_for),
        }),
        Call::Kill { task, grace } => WireCall::Kill(v1::Kill {
            task_id: task.to_string(),
            grace_ms: grace.map(encode_duration),
        }),
        Call::Acknowledge { sequence } => encode_acknowledge(*sequence, false),
        Call::AcknowledgeOne { sequence } => encode_acknowledge(*sequence, true),
        Call::Reconcile { tasks } => WireCall::Reconcile(v1::Reconcile {
            task_ids: texts(tasks),
        }),
        Call::Teardown => WireCall::Teardown(v1::Teardown {}),
        Call::UpdateTask {
            task,
            labels,
            grace,
        } => WireCall::UpdateTask(v1::UpdateTask {
            task_id: task.to_string(),
            labels: labels.clone().map(|labels| v1::Labels { labels }),
            kill_grace_ms: grace.map(encode_duration),
        }),
        Call::SendMessage {
            agent,
            executor,
            data,
        } => WireCall::SendMessage(v1::SendMessage {
            agent_id: agent.to_string(),
            executor_id: executor.to_string(),
            data: data.clone(),
        }),
        Call::ShutdownExecutor { agent, executor } => {
            WireCall::ShutdownExecutor(v1::ShutdownExecutor {
                agent_id: agent.to_string(),
                executor_id: executor.to_string(),
            })
        }
    };
    v1::SessionCall {
        request_id: request,
        epoch: None,
        call: Some(call),
    }
}

fn encode_acknowledge(sequence: u64, one: bool) -> WireCall {
    WireCall::Acknowledge(v1::Acknowledge { sequence, one })
}

fn encode_resume(resume: Resume) -> v1::Resume {
    v1::Resume {
        epoch: resume.epoch.0,
        sequence: resume.sequence,
    }
}

/// Who subscribes, and nothing of how.
fn encode_subscriber(
    framework: Option<&FrameworkId>,
    description: &FrameworkDescription,
) -> v1::Subscribe {
    v1::Subscribe {
        framework_id: framework.map(ToString::to_string).unwrap_or_default(),
        name: description.name.clone(),
        roles: texts(&description.roles),
        failover_timeout_ms: Some(encode_duration(description.failover_timeout)),
        ..v1::Subscribe::default()
    }
}

/// A call from the wire, with its request id. On a problem the caller still has `request_id`, if it was read before.
pub fn decode_call(call: v1::SessionCall) -> Result<(u64, Call), Problem> {
    let request = call.request_id;
    let (field, decoded) = match required(call.call, "call")? {
        WireCall::Subscribe(subscribe) => ("subscribe", decode_subscribe(subscribe)),
        WireCall::SetDemand(demand) => ("set_demand", decode_demand(demand).map(Call::SetDemand)),
        WireCall::Accept(accept) => ("accept", decode_accept(accept)),
        WireCall::Decline(decline) => ("decline", decode_decline(decline)),
        WireCall::Kill(kill) => ("kill", decode_kill(kill)),
        WireCall::Acknowledge(acknowledge) => {
            let sequence = acknowledge.sequence;
            let call = match acknowledge.one {
                true => Call::AcknowledgeOne { sequence },
                false => Call::Acknowledge { sequence },
            };
            ("acknowledge", Ok(call))
        }
        WireCall::Reconcile(reconcile) => ("reconcile", decode_reconcile(reconcile)),
        WireCall::Teardown(v1::Teardown {}) => ("teardown", Ok(Call::Teardown)),
        WireCall::UpdateTask(update) => ("update_task", decode_update_task(update)),
        WireCall::SendMessage(message) => ("send_message", decode_send_message(message)),
        WireCall::ShutdownExecutor(shutdown) => ("shutdown_executor", decode_shutdown(shutdown)),
    };
    let call = decoded.map_err(|problem| problem.within(field))?;
    Ok((request, call))
}

/// An event with its sequence in the session and the term that sends it, for the wire. `Subscribed` names the term too;
/// it must be the same.
pub fn encode_event(sequence: u64, epoch: Epoch, event: &Event) -> v1::SessionEvent {
    let event = match event {
        Event::Subscribed {
            framework,
            cluster,
            epoch: _,
            generation,
            heartbeat_interval,
            is_resumed,
        } => WireEvent::Subscribed(v1::Subscribed {
            framework_id: framework.to_string(),
            cluster_id: cluster.to_string(),
            generation: generation.0,
            heartbeat_interval_ms: encode_duration(*heartbeat_interval),
            resumed: *is_resumed,
        }),
        Event::StandingBy {
            framework,
            cluster,
            heartbeat_interval,
        } => WireEvent::StandingBy(v1::StandingBy {
            framework_id: framework.to_string(),
            cluster_id: cluster.to_string(),
            heartbeat_interval_ms: encode_duration(*heartbeat_interval),
        }),
        Event::SnapshotEnded => WireEvent::SnapshotEnded(v1::SnapshotEnded {}),
        Event::Message {
            agent,
            executor,
            data,
        } => WireEvent::Message(encode_message(agent, executor, data)),
        Event::ExecutorEnded {
            agent,
            executor,
            message,
        } => WireEvent::ExecutorEnded(encode_executor_ended(agent, executor, message)),
        Event::Reclaim {
            tasks,
            reason,
            deadline,
        } => WireEvent::Reclaim(v1::Reclaim {
            task_ids: texts(tasks),
            reason: encode_reason(*reason).into(),
            deadline_ms: deadline.map(encode_duration),
        }),
        Event::Answered { request, answer } => {
            WireEvent::Answered(encode_answered(*request, answer))
        }
        Event::Offered(offers) => WireEvent::Offered(v1::Offered {
            offers: offers.iter().map(encode_offer).collect(),
        }),
        Event::Rescinded(offers) => WireEvent::Rescinded(v1::Rescinded {
            offer_ids: texts(offers),
        }),
        Event::Updated(status) => WireEvent::Updated(encode_status(status)),
        Event::AgentSettled(agent) => WireEvent::AgentSettled(v1::AgentSettled {
            agent_id: agent.to_string(),
        }),
        Event::Closed(problem) => WireEvent::Closed(encode_problem(problem)),
        Event::Heartbeat => WireEvent::Heartbeat(v1::Heartbeat {}),
    };
    v1::SessionEvent {
        sequence,
        epoch: epoch.0,
        event: Some(event),
    }
}

fn encode_executor_ended(
    agent: &AgentId,
    executor: &ExecutorId,
    message: &str,
) -> v1::ExecutorEnded {
    v1::ExecutorEnded {
        agent_id: agent.to_string(),
        executor_id: executor.to_string(),
        message: clipped(message, TEXT_LEN_MAX),
    }
}

fn encode_message(agent: &AgentId, executor: &ExecutorId, data: &[u8]) -> v1::ExecutorMessage {
    v1::ExecutorMessage {
        agent_id: agent.to_string(),
        executor_id: executor.to_string(),
        data: data.to_vec(),
    }
}

/// An event from the wire, with its sequence in the session and the term that sent it.
pub fn decode_event(event: v1::SessionEvent) -> Result<(u64, Epoch, Event), Problem> {
    let (sequence, epoch) = (event.sequence, Epoch(event.epoch));
    let (field, decoded) = match required(event.event, "event")? {
        WireEvent::Subscribed(subscribed) => ("subscribed", decode_subscribed(epoch, subscribed)),
        WireEvent::Answered(answered) => ("answered", decode_answered(answered)),
        WireEvent::Offered(offered) => {
            let offers = decode_list(offered.offers, "offers", ITEMS_PER_CALL_MAX, decode_offer);
            ("offered", offers.map(Event::Offered))
        }
        WireEvent::Rescinded(rescinded) => {
            let offers = decode_ids(rescinded.offer_ids, "offer_ids", ITEMS_PER_CALL_MAX);
            ("rescinded", offers.map(Event::Rescinded))
        }
        WireEvent::Updated(status) => ("updated", decode_status(status).map(Event::Updated)),
        WireEvent::AgentSettled(settled) => {
            let agent = decode_id(&settled.agent_id, "agent_id");
            ("agent_settled", agent.map(Event::AgentSettled))
        }
        WireEvent::Closed(problem) => ("closed", Ok(Event::Closed(decode_problem(problem)))),
        WireEvent::Heartbeat(v1::Heartbeat {}) => ("heartbeat", Ok(Event::Heartbeat)),
        WireEvent::StandingBy(standing) => ("standing_by", decode_standing_by(standing)),
        WireEvent::SnapshotEnded(v1::SnapshotEnded {}) => {
            ("snapshot_ended", Ok(Event::SnapshotEnded))
        }
        WireEvent::Message(message) => ("message", decode_message(message)),
        WireEvent::ExecutorEnded(ended) => ("executor_ended", decode_executor_ended(ended)),
        WireEvent::Reclaim(reclaim) => ("reclaim", decode_reclaim(reclaim)),
    };
    let event = decoded.map_err(|problem| problem.within(field))?;
    Ok((sequence, epoch, event))
}

/// Roles as a framework or a record of one gives them: at least one, none twice.
pub(crate) fn decode_framework_description(
    name: String,
    roles: Vec<String>,
    failover_timeout_ms: Option<u64>,
) -> Result<FrameworkDescription, Problem> {
    if roles.is_empty() {
        return Err(missing("roles").hint("give at least one role, such as *"));
    }
    let failover_timeout = match failover_timeout_ms {
        Some(ms) => decode_duration(ms, "failover_timeout_ms", FAILOVER_TIMEOUT_MAX)?,
        None => FAILOVER_TIMEOUT_DEFAULT,
    };
    Ok(FrameworkDescription {
        name: decode_text(name, "name")?,
        roles: decode_ids(roles, "roles", ROLES_MAX)?,
        failover_timeout,
        mesos: None,
    })
}

/// Ids as text.
pub(crate) fn texts<I: ToString>(ids: &[I]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn decode_subscribe(subscribe: v1::Subscribe) -> Result<Call, Problem> {
    Ok(Call::Subscribe {
        framework: decode_optional_id(&subscribe.framework_id, "framework_id")?,
        description: decode_framework_description(
            subscribe.name,
            subscribe.roles,
            subscribe.failover_timeout_ms,
        )?,
        stand_by: subscribe.stand_by,
        resume: subscribe.resume.map(|resume| Resume {
            epoch: Epoch(resume.epoch),
            sequence: resume.sequence,
        }),
        create: subscribe.create,
    })
}

fn decode_accept(accept: v1::Accept) -> Result<Call, Problem> {
    if accept.offer_ids.is_empty() {
        return Err(missing("offer_ids").hint("name the offers that the tasks are to run in"));
    }
    let offers = decode_ids(accept.offer_ids, "offer_ids", ITEMS_PER_CALL_MAX)?;
    let operations = decode_list(
        accept.operations,
        "operations",
        ITEMS_PER_CALL_MAX,
        decode_operation,
    )?;
    check_tasks(&operations)?;
    Ok(Call::Accept { offers, operations })
}

fn decode_decline(decline: v1::Decline) -> Result<Call, Problem> {
    if decline.offer_ids.is_empty() {
        return Err(missing("offer_ids").hint("name the offers that are not wanted"));
    }
    Ok(Call::Decline {
        offers: decode_ids(decline.offer_ids, "offer_ids", ITEMS_PER_CALL_MAX)?,
        exclude_for: decode_duration(decline.exclude_for_ms, "exclude_for_ms", DURATION_MAX)?,
    })
}

fn decode_kill(kill: v1::Kill) -> Result<Call, Problem> {
    let grace = kill.grace_ms;
    Ok(Call::Kill {
        task: decode_id(&kill.task_id, "task_id")?,
        grace: grace
            .map(|ms| decode_duration(ms, "grace_ms", KILL_GRACE_MAX))
            .transpose()?,
    })
}

fn decode_reconcile(reconcile: v1::Reconcile) -> Result<Call, Problem> {
    let tasks = decode_ids(reconcile.task_ids, "task_ids", ITEMS_PER_CALL_MAX)?;
    Ok(Call::Reconcile { tasks })
}

fn decode_subscribed(epoch: Epoch, subscribed: v1::Subscribed) -> Result<Event, Problem> {
    let interval_ms = subscribed.heartbeat_interval_ms;
    if interval_ms == 0 {
        return Err(missing("heartbeat_interval_ms"));
    }
    Ok(Event::Subscribed {
        framework: decode_id(&subscribed.framework_id, "framework_id")?,
        cluster: decode_id(&subscribed.cluster_id, "cluster_id")?,
        epoch,
        generation: Generation(subscribed.generation),
        heartbeat_interval: decode_duration(interval_ms, "heartbeat_interval_ms", DURATION_MAX)?,
        is_resumed: subscribed.resumed,
    })
}

fn decode_standing_by(standing: v1::StandingBy) -> Result<Event, Problem> {
    let interval_ms = standing.heartbeat_interval_ms;
    if interval_ms == 0 {
        return Err(missing("heartbeat_interval_ms"));
    }
    Ok(Event::StandingBy {
        framework: decode_id(&standing.framework_id, "framework_id")?,
        cluster: decode_id(&standing.cluster_id, "cluster_id")?,
        heartbeat_interval: decode_duration(interval_ms, "heartbeat_interval_ms", DURATION_MAX)?,
    })
}

fn decode_update_task(update: v1::UpdateTask) -> Result<Call, Problem> {
    let (labels, grace) = (update.labels, update.kill_grace_ms);
    Ok(Call::UpdateTask {
        task: decode_id(&update.task_id, "task_id")?,
        labels: labels
            .map(|labels| decode_labels(labels.labels))
            .transpose()?,
        grace: grace
            .map(|ms| decode_duration(ms, "kill_grace_ms", KILL_GRACE_MAX))
            .transpose()?,
    })
}

fn decode_send_message(message: v1::SendMessage) -> Result<Call, Problem> {
    Ok(Call::SendMessage {
        agent: decode_id(&message.agent_id, "agent_id")?,
        executor: decode_id(&message.executor_id, "executor_id")?,
        data: decode_data(message.data)?,
    })
}

fn decode_shutdown(shutdown: v1::ShutdownExecutor) -> Result<Call, Problem> {
    Ok(Call::ShutdownExecutor {
        agent: decode_id(&shutdown.agent_id, "agent_id")?,
        executor: decode_id(&shutdown.executor_id, "executor_id")?,
    })
}

fn decode_message(message: v1::ExecutorMessage) -> Result<Event, Problem> {
    Ok(Event::Message {
        agent: decode_id(&message.agent_id, "agent_id")?,
        executor: decode_id(&message.executor_id, "executor_id")?,
        data: decode_data(message.data)?,
    })
}

fn decode_executor_ended(ended: v1::ExecutorEnded) -> Result<Event, Problem> {
    Ok(Event::ExecutorEnded {
        agent: decode_id(&ended.agent_id, "agent_id")?,
        executor: decode_id(&ended.executor_id, "executor_id")?,
        message: decode_text(ended.message, "message")?,
    })
}

fn decode_reclaim(reclaim: v1::Reclaim) -> Result<Event, Problem> {
    let deadline = reclaim.deadline_ms;
    Ok(Event::Reclaim {
        tasks: decode_ids(reclaim.task_ids, "task_ids", ITEMS_PER_CALL_MAX)?,
        reason: decode_reason(reclaim.reason, "reason")?,
        deadline: deadline
            .map(|ms| decode_duration(ms, "deadline_ms", DURATION_MAX))
            .transpose()?,
    })
}

/// The answer to the call with this request id, for the wire.
pub fn encode_answered(request: u64, answer: &Answer) -> v1::Answered {
    v1::Answered {
        request_id: request,
        answer: Some(encode_answer(answer)),
    }
}

fn encode_answer(answer: &Answer) -> WireAnswer {
    match answer {
        Answer::Done => WireAnswer::Done(v1::Done {}),
        Answer::Accepted(results) => WireAnswer::Accepted(v1::Accepted {
            results: results.iter().map(encode_operation_result).collect(),
        }),
        Answer::Refused(problem) => WireAnswer::Refused(encode_problem(problem)),
    }
}

fn decode_answered(answered: v1::Answered) -> Result<Event, Problem> {
    let answer = match required(answered.answer, "answer")? {
        WireAnswer::Done(v1::Done {}) => Answer::Done,
        WireAnswer::Accepted(accepted) => {
            let decode = decode_operation_result;
            let results = decode_list(accepted.results, "results", ITEMS_PER_CALL_MAX, decode)
                .map_err(|problem| problem.within("accepted"))?;
            Answer::Accepted(results)
        }
        WireAnswer::Refused(problem) => Answer::Refused(decode_problem(problem)),
    };
    let request = answered.request_id;
    Ok(Event::Answered { request, answer })
}
