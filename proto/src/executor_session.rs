//! The session of a framework's executor with its agent.

use std::sync::Arc;

use proffer_model::executor::{ExecutorCall, ExecutorEvent, ExecutorStatus, Subscription};
use proffer_model::limits::{
    DURATION_MAX, ITEMS_PER_CALL_MAX, KILL_GRACE_DEFAULT, KILL_GRACE_MAX, STATUS_DATA_LEN_MAX,
    TEXT_LEN_MAX,
};
use proffer_model::{Exit, Incarnation, Problem, TaskId, TaskSpec, TaskState};

use crate::agent_link::decode_incarnation;
use crate::executor::{decode_bytes, decode_data};
use crate::fields::{
    clipped, decode_duration, decode_host, decode_id, decode_list, decode_optional_id, decode_text,
    encode_duration, invalid, required,
};
use crate::problem::{decode_problem, encode_problem};
use crate::task::{
    decode_task_spec_of_executor, decode_task_state, encode_task_spec_of_executor,
    encode_task_state,
};
use crate::v1;
use crate::v1::executor_call::Call;
use crate::v1::executor_event::Event;

/// What an executor says, for the wire.
pub fn encode_executor_call(call: &ExecutorCall) -> v1::ExecutorCall {
    let call = match call {
        ExecutorCall::Subscribe(subscription) => Call::Subscribe(v1::SubscribeExecutor {
            unacknowledged: subscription
                .unacknowledged
                .iter()
                .map(encode_status)
                .collect(),
            tasks: subscription.tasks.iter().map(encode_task).collect(),
        }),
        ExecutorCall::Update(status) => Call::Update(encode_status(status)),
        ExecutorCall::Message(data) => Call::Message(data.clone()),
    };
    v1::ExecutorCall { call: Some(call) }
}

/// What an executor says, from the wire.
pub fn decode_executor_call(call: v1::ExecutorCall) -> Result<ExecutorCall, Problem> {
    let (field, decoded) = match required(call.call, "call")? {
        Call::Subscribe(subscribe) => {
            let decoded = decode_subscription(subscribe);
            ("subscribe", decoded.map(ExecutorCall::Subscribe))
        }
        Call::Update(status) => ("update", decode_status(status).map(ExecutorCall::Update)),
        Call::Message(data) => {
            // The bytes are the field itself.
            let data = decode_data(data).map_err(|problem| problem.field(""));
            ("message", data.map(ExecutorCall::Message))
        }
    };
    decoded.map_err(|problem| problem.within(field))
}

/// What an agent tells an executor, for the wire. Carries secrets: only for executors.
pub fn encode_executor_event(event: &ExecutorEvent) -> v1::ExecutorEvent {
    let event = match event {
        ExecutorEvent::Subscribed {
            framework,
            executor,
            agent,
            host,
            heartbeat_interval,
        } => Event::Subscribed(v1::ExecutorSubscribed {
            framework_id: framework.to_string(),
            executor_id: executor.to_string(),
            agent_id: agent.as_ref().map(ToString::to_string).unwrap_or_default(),
            host: host.clone(),
            heartbeat_interval_ms: encode_duration(*heartbeat_interval),
        }),
        ExecutorEvent::Launch(tasks) => {
            let tasks = tasks
                .iter()
                .map(|(incarnation, spec)| v1::LaunchExecutorTask {
                    incarnation: incarnation.0,
                    spec: Some(encode_task_spec_of_executor(spec)),
                });
            Event::Launch(v1::LaunchExecutorTasks {
                tasks: tasks.collect(),
            })
        }
        ExecutorEvent::Kill {
            task,
            incarnation,
            grace,
        } => Event::Kill(v1::KillExecutorTask {
            task_id: task.to_string(),
            incarnation: incarnation.0,
            grace_ms: encode_duration(grace.unwrap_or(KILL_GRACE_DEFAULT)),
        }),
        ExecutorEvent::Acknowledged {
            task,
            incarnation,
            number,
        } => Event::Acknowledged(v1::ExecutorAcknowledged {
            task_id: task.to_string(),
            incarnation: incarnation.0,
            number: *number,
        }),
        ExecutorEvent::Message(data) => Event::Message(data.clone()),
        ExecutorEvent::Shutdown { grace } => Event::Shutdown(v1::ExecutorShutdown {
            grace_ms: encode_duration(*grace),
        }),
        ExecutorEvent::Closed(problem) => Event::Closed(encode_problem(problem)),
        ExecutorEvent::Heartbeat => Event::Heartbeat(v1::ExecutorHeartbeat {}),
    };
    v1::ExecutorEvent { event: Some(event) }
}

/// What an agent tells an executor, from the wire. The specs of its tasks come without an executor.
pub fn decode_executor_event(event: v1::ExecutorEvent) -> Result<ExecutorEvent, Problem> {
    let (field, decoded) = match required(event.event, "event")? {
        Event::Subscribed(subscribed) => ("subscribed", decode_subscribed(subscribed)),
        Event::Launch(launch) => {
            let tasks = decode_list(launch.tasks, "tasks", ITEMS_PER_CALL_MAX, decode_launch);
            ("launch", tasks.map(ExecutorEvent::Launch))
        }
        Event::Kill(kill) => ("kill", decode_kill(kill)),
        Event::Acknowledged(acknowledged) => ("acknowledged", decode_acknowledged(acknowledged)),
        Event::Message(data) => {
            let data = decode_data(data).map_err(|problem| problem.field(""));
            ("message", data.map(ExecutorEvent::Message))
        }
        Event::Shutdown(shutdown) => {
            let grace = decode_duration(shutdown.grace_ms, "grace_ms", KILL_GRACE_MAX);
            (
                "shutdown",
                grace.map(|grace| ExecutorEvent::Shutdown { grace }),
            )
        }
        Event::Closed(problem) => ("closed", Ok(ExecutorEvent::Closed(decode_problem(problem)))),
        Event::Heartbeat(v1::ExecutorHeartbeat {}) => ("heartbeat", Ok(ExecutorEvent::Heartbeat)),
    };
    decoded.map_err(|problem| problem.within(field))
}

fn encode_task((task, incarnation): &(TaskId, Incarnation)) -> v1::ExecutorTask {
    v1::ExecutorTask {
        task_id: task.to_string(),
        incarnation: incarnation.0,
    }
}

fn decode_task(task: v1::ExecutorTask) -> Result<(TaskId, Incarnation), Problem> {
    let id = decode_id(&task.task_id, "task_id")?;
    Ok((id, decode_incarnation(task.incarnation)?))
}

fn decode_subscription(subscribe: v1::SubscribeExecutor) -> Result<Subscription, Problem> {
    let most = ITEMS_PER_CALL_MAX;
    let statuses = subscribe.unacknowledged;
    Ok(Subscription {
        unacknowledged: decode_list(statuses, "unacknowledged", most, decode_status)?,
        tasks: decode_list(subscribe.tasks, "tasks", most, decode_task)?,
    })
}

fn encode_status(status: &ExecutorStatus) -> v1::ExecutorStatus {
    v1::ExecutorStatus {
        task_id: status.task.to_string(),
        incarnation: status.incarnation.0,
        number: status.number,
        state: encode_task_state(status.state).into(),
        message: clipped(&status.message, TEXT_LEN_MAX),
        healthy: status.healthy,
        exit: status.exit.map(|exit| match exit {
            Exit::Code(code) => v1::executor_status::Exit::ExitCode(code),
            Exit::Signal(signal) => v1::executor_status::Exit::ExitSignal(signal),
        }),
        data: status.data.clone(),
    }
}

fn decode_status(status: v1::ExecutorStatus) -> Result<ExecutorStatus, Problem> {
    let state = decode_task_state(status.state, "state")?;
    match state {
        TaskState::Starting
        | TaskState::Running
        | TaskState::Killing
        | TaskState::Finished
        | TaskState::Failed
        | TaskState::Killed
        | TaskState::Error => {}
        TaskState::Staging | TaskState::Unreachable | TaskState::Dropped | TaskState::Lost => {
            let message = format!("an executor cannot say that a task is {state}");
            return Err(invalid("state", message)
                .hint("say starting, running, killing, finished, failed, killed or error"));
        }
    }
    if status.number == 0 {
        let message = "the numbers of statuses begin with 1";
        return Err(invalid("number", message).hint("count the statuses of each launch from 1"));
    }
    Ok(ExecutorStatus {
        task: decode_id(&status.task_id, "task_id")?,
        incarnation: decode_incarnation(status.incarnation)?,
        number: status.number,
        state,
        message: decode_text(status.message, "message")?,
        healthy: status.healthy,
        exit: status.exit.map(|exit| match exit {
            v1::executor_status::Exit::ExitCode(code) => Exit::Code(code),
            v1::executor_status::Exit::ExitSignal(signal) => Exit::Signal(signal),
        }),
        data: decode_bytes(status.data, STATUS_DATA_LEN_MAX)?,
    })
}

fn decode_subscribed(subscribed: v1::ExecutorSubscribed) -> Result<ExecutorEvent, Problem> {
    let interval = subscribed.heartbeat_interval_ms;
    Ok(ExecutorEvent::Subscribed {
        framework: decode_id(&subscribed.framework_id, "framework_id")?,
        executor: decode_id(&subscribed.executor_id, "executor_id")?,
        agent: decode_optional_id(&subscribed.agent_id, "agent_id")?,
        host: decode_host(subscribed.host, "host")?,
        heartbeat_interval: decode_duration(interval, "heartbeat_interval_ms", DURATION_MAX)?,
    })
}

fn decode_launch(task: v1::LaunchExecutorTask) -> Result<(Incarnation, Arc<TaskSpec>), Problem> {
    let incarnation = decode_incarnation(task.incarnation)?;
    let spec = required(task.spec, "spec")?;
    let spec = decode_task_spec_of_executor(spec).map_err(|problem| problem.within("spec"))?;
    Ok((incarnation, Arc::new(spec)))
}

fn decode_kill(kill: v1::KillExecutorTask) -> Result<ExecutorEvent, Problem> {
    Ok(ExecutorEvent::Kill {
        task: decode_id(&kill.task_id, "task_id")?,
        incarnation: decode_incarnation(kill.incarnation)?,
        grace: Some(decode_duration(kill.grace_ms, "grace_ms", KILL_GRACE_MAX)?),
    })
}

fn decode_acknowledged(acknowledged: v1::ExecutorAcknowledged) -> Result<ExecutorEvent, Problem> {
    Ok(ExecutorEvent::Acknowledged {
        task: decode_id(&acknowledged.task_id, "task_id")?,
        incarnation: decode_incarnation(acknowledged.incarnation)?,
        number: acknowledged.number,
    })
}
