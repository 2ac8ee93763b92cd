//! For authors of executors: programs that run tasks on an agent for their framework.
//!
//! An agent starts an executor when the first task comes that names it. [`run_executor`] keeps its session with the agent,
//! which breaks when the agent restarts: it subscribes again, with all that runs and all that is not acknowledged. What
//! its author writes is an [`Executor`]; what becomes of tasks is said with an [`Agent`], which any task may hold a clone
//! of.
//!
//! A status that is said is kept here until the agent has it on disk, so a process that ends must first have been heard:
//! [`Agent::leave`] ends [`run_executor`] when it has.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proffer_model::executor::{ExecutorCall, ExecutorEvent, ExecutorStatus, Subscription};
use proffer_model::limits::{EXECUTOR_MESSAGE_LEN_MAX, MESSAGE_LEN_MAX, STATUS_DATA_LEN_MAX};
use proffer_model::{Exit, Incarnation, Kind, Problem, TaskId, TaskSpec, TaskState, code};
use proffer_proto::v1::executor_client::ExecutorClient;
use proffer_proto::{decode_executor_event, encode_executor_call, problem_of, v1};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};

use crate::framework::bearer;
use crate::limits::{EXECUTOR_CALLS_MAX, EXECUTOR_RETRY_INTERVAL};

/// What an author decides. One handler runs at a time, so one that takes long starts a task of its own.
pub trait Executor: Send {
    /// Start these: one task, or a group that stands or falls together. Say RUNNING of each, and later how it ended.
    fn on_launch(
        &mut self,
        agent: &Agent,
        tasks: Vec<(Incarnation, TaskSpec)>,
    ) -> impl Future<Output = ()> + Send;

    /// End a task, and say KILLED when it has. It may not be known, or have ended: then there is nothing to do.
    fn on_kill(
        &mut self,
        agent: &Agent,
        task: TaskId,
        grace: Duration,
    ) -> impl Future<Output = ()> + Send;

    /// The framework has sent bytes.
    fn on_message(&mut self, agent: &Agent, data: Vec<u8>) -> impl Future<Output = ()> + Send {
        let _ = (agent, data);
        ready(())
    }

    /// End all tasks and say what became of them: when this returns and all is acknowledged, [`run_executor`] ends.
    fn on_shutdown(&mut self, agent: &Agent, grace: Duration) -> impl Future<Output = ()> + Send {
        let _ = (agent, grace);
        ready(())
    }
}

/// What an executor says to its agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Agent(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    memory: Mutex<Memory>,
    changed: Notify,
}

/// What is not acknowledged, and what runs.
#[derive(Debug, Default)]
struct Memory {
    /// Tasks that have not ended, with the number of their last status.
    running: BTreeMap<(TaskId, Incarnation), u64>,
    unacknowledged: VecDeque<ExecutorStatus>,
    /// How many of them the session has been told.
    sent: usize,
    messages: VecDeque<Vec<u8>>,
    is_leaving: bool,
}

impl Agent {
    /// Says what has become of a task; kept until the agent has it on disk. Of a task that has ended, nothing is said, nor
    /// are states that are not an executor's to say: staging, unreachable, dropped and lost.
    pub fn update(&self, task: &TaskId, state: TaskState, message: &str) {
        self.report(task, state, message, (None, None), Vec::new());
    }

    /// As [`Agent::update`], with bytes for the framework, which finds them as `data` of the status. More than 64 KiB are
    /// refused (`field.too_long`), and nothing is said.
    pub fn update_with_data(
        &self,
        task: &TaskId,
        state: TaskState,
        message: &str,
        data: Vec<u8>,
    ) -> Result<(), Problem> {
        let len = data.len();
        if len > STATUS_DATA_LEN_MAX {
            let message = format!("the data has {len} bytes; the limit is {STATUS_DATA_LEN_MAX}");
            return Err(Problem::new(code::FIELD_TOO_LONG, message)
                .field("data")
                .hint("keep what is large in a file, and send its name"));
        }
        self.report(task, state, message, (None, None), data);
        Ok(())
    }

    /// As [`Agent::update`], with how its process ended.
    pub fn exited(&self, task: &TaskId, state: TaskState, exit: Exit, message: &str) {
        self.report(task, state, message, (None, Some(exit)), Vec::new());
    }

    /// Says whether a task that runs is healthy.
    pub fn healthy(&self, task: &TaskId, is_healthy: bool, message: &str) {
        let healthy = (Some(is_healthy), None);
        self.report(task, TaskState::Running, message, healthy, Vec::new());
    }

    /// Sends bytes to the framework; at most once. Without a session they are gone. More than 64 KiB are refused
    /// (`field.too_long`).
    pub fn message(&self, data: Vec<u8>) -> Result<(), Problem> {
        let len = data.len();
        if len > EXECUTOR_MESSAGE_LEN_MAX {
            let message =
                format!("the message has {len} bytes; the limit is {EXECUTOR_MESSAGE_LEN_MAX}");
            return Err(Problem::new(code::FIELD_TOO_LONG, message)
                .field("message")
                .hint("keep what is large in a file, and send its name"));
        }
        let mut memory = self.memory();
        if memory.messages.len() < EXECUTOR_CALLS_MAX {
            memory.messages.push_back(data);
        }
        drop(memory);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Ends [`run_executor`] once all that was said is acknowledged.
    pub fn leave(&self) {
        self.memory().is_leaving = true;
        self.0.changed.notify_one();
    }

    fn report(
        &self,
        task: &TaskId,
        state: TaskState,
        message: &str,
        (healthy, exit): (Option<bool>, Option<Exit>),
        data: Vec<u8>,
    ) {
        if !may_say(state) {
            // The agent would end each session that begins with it.
            tracing::error!(%task, %state, "an executor cannot say this of a task; it is left out");
            return;
        }
        let mut memory = self.memory();
        let mut running = memory.running.iter_mut();
        let Some((key, number)) = running.find(|(key, _)| key.0 == *task) else {
            return;
        };
        *number += 1;
        let status = ExecutorStatus {
            task: task.clone(),
            incarnation: key.1,
            number: *number,
            state,
            message: message.to_owned(),
            healthy,
            exit,
            data,
        };
        let key = key.clone();
        if state.is_terminal() {
            memory.running.remove(&key);
        }
        memory.unacknowledged.push_back(status);
        drop(memory);
        self.0.changed.notify_one();
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a state is an executor's to say.
fn may_say(state: TaskState) -> bool {
    match state {
        TaskState::Starting
        | TaskState::Running
        | TaskState::Killing
        | TaskState::Finished
        | TaskState::Failed
        | TaskState::Killed
        | TaskState::Error => true,
        TaskState::Staging | TaskState::Unreachable | TaskState::Dropped | TaskState::Lost => false,
    }
}

impl Memory {
    fn subscribe(&mut self) -> ExecutorCall {
        self.sent = self.unacknowledged.len();
        self.messages.clear();
        ExecutorCall::Subscribe(Subscription {
            unacknowledged: self.unacknowledged.iter().cloned().collect(),
            tasks: self.running.keys().cloned().collect(),
        })
    }

    /// What the session has not been told.
    fn unsent(&mut self) -> Vec<ExecutorCall> {
        let statuses = self.unacknowledged.iter().skip(self.sent).cloned();
        let mut calls: Vec<ExecutorCall> = statuses.map(ExecutorCall::Update).collect();
        self.sent = self.unacknowledged.len();
        calls.extend(self.messages.drain(..).map(ExecutorCall::Message));
        calls
    }

    fn acknowledge(&mut self, task: &TaskId, incarnation: Incarnation, number: u64) {
        let mut place = 0;
        let sent = self.sent;
        let mut gone = 0;
        self.unacknowledged.retain(|status| {
            let is_of_it = status.task == *task && status.incarnation == incarnation;
            let is_kept = !is_of_it || status.number > number;
            gone += usize::from(!is_kept && place < sent);
            place += 1;
            is_kept
        });
        self.sent -= gone;
    }

    fn may_leave(&self) -> bool {
        self.is_leaving && self.unacknowledged.is_empty()
    }
}

/// Where an executor finds its agent: what the agent has put into its environment.
#[derive(Clone, Debug)]
struct Place {
    socket: String,
    bearer: AsciiMetadataValue,
}

impl Place {
    fn of_environment() -> Result<Self, Problem> {
        let find = |name: &str| {
            std::env::var(name).map_err(|_| {
                let message = format!("{name} is not set");
                Problem::new(code::CONFIG_INVALID, message)
                    .hint("an executor is started by an agent, as part of a task")
            })
        };
        Ok(Self {
            socket: find("PROFFER_EXECUTOR_SOCKET")?,
            bearer: bearer(&find("PROFFER_EXECUTOR_TOKEN")?)?,
        })
    }
}

/// How a session ended.
enum Ended {
    /// The executor is done.
    Done,
    /// It broke: it is begun anew.
    Broken,
    /// The agent does not want it.
    Refused(Problem),
}

/// Runs an executor in the place that its agent has prepared, until it leaves or is shut down. The error is that it is in
/// no such place, or that the agent refuses it for good.
pub async fn run_executor(mut executor: impl Executor) -> Result<(), Problem> {
    let place = Place::of_environment()?;
    let agent = Agent(Arc::default());
    loop {
        let ended = match connect(&place, &agent).await {
            Ok((calls, events)) => converse(&mut executor, &agent, calls, events).await,
            Err(ended) => ended,
        };
        match ended {
            Ended::Done => return Ok(()),
            Ended::Refused(problem) => return Err(problem),
            Ended::Broken => sleep(EXECUTOR_RETRY_INTERVAL).await,
        }
    }
}

type Session = (mpsc::Sender<v1::ExecutorCall>, Streaming<v1::ExecutorEvent>);

async fn connect(place: &Place, agent: &Agent) -> Result<Session, Ended> {
    let endpoint = Endpoint::try_from(format!("unix://{}", place.socket));
    let endpoint = endpoint.map_err(|error| {
        let message = format!("PROFFER_EXECUTOR_SOCKET: {error}");
        Ended::Refused(Problem::new(code::CONFIG_INVALID, message))
    })?;
    // While the agent is away there is nobody there.
    let channel = endpoint.connect().await.map_err(|_| Ended::Broken)?;
    let (calls, outgoing) = mpsc::channel(EXECUTOR_CALLS_MAX);
    let subscribe = encode_executor_call(&agent.memory().subscribe());
    // The channel is new and has room.
    let _ = calls.try_send(subscribe);
    let mut request = Request::new(ReceiverStream::new(outgoing));
    let bearer = place.bearer.clone();
    request.metadata_mut().insert("authorization", bearer);
    let mut client = ExecutorClient::new(channel).max_decoding_message_size(MESSAGE_LEN_MAX);
    match client.session(request).await {
        Ok(answer) => Ok((calls, answer.into_inner())),
        Err(status) => match problem_of(&status) {
            problem if problem.is(code::AUTH_MISSING) || problem.is(code::AUTH_DENIED) => {
                Err(Ended::Refused(problem))
            }
            _ => Err(Ended::Broken),
        },
    }
}

async fn converse(
    executor: &mut impl Executor,
    agent: &Agent,
    calls: mpsc::Sender<v1::ExecutorCall>,
    mut events: Streaming<v1::ExecutorEvent>,
) -> Ended {
    let mut deadline: Option<Instant> = None;
    loop {
        for call in unsent(agent) {
            if calls.send(encode_executor_call(&call)).await.is_err() {
                return Ended::Broken;
            }
        }
        if agent.memory().may_leave() {
            return Ended::Done;
        }
        let at = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
        let event = tokio::select! {
            event = events.message() => event,
            () = agent.0.changed.notified() => continue,
            () = sleep_until(at), if deadline.is_some() => return Ended::Done,
        };
        let Ok(Some(event)) = event else {
            return Ended::Broken;
        };
        if event.event.is_none() {
            tracing::debug!("skipped an event of a kind not known");
            continue;
        }
        let named = launched(&event);
        match decode_executor_event(event) {
            // Another session would say the same, and be told the same.
            Ok(ExecutorEvent::Closed(problem))
                if problem.is(code::SESSION_FENCED) || problem.kind == Kind::Invalid =>
            {
                return Ended::Refused(problem);
            }
            Ok(ExecutorEvent::Closed(problem)) => {
                tracing::warn!(%problem, "the agent has closed the session");
                return Ended::Broken;
            }
            Ok(ExecutorEvent::Shutdown { grace }) => {
                deadline = Some(Instant::now() + grace);
                executor.on_shutdown(agent, grace).await;
                agent.leave();
            }
            Ok(event) => handle(executor, agent, event).await,
            Err(problem) => cannot_read(agent, named, &problem),
        }
    }
}

/// What an event launches.
fn launched(event: &v1::ExecutorEvent) -> Vec<(TaskId, Incarnation)> {
    let Some(v1::executor_event::Event::Launch(launch)) = &event.event else {
        return Vec::new();
    };
    let name = |task: &v1::LaunchExecutorTask| {
        let id = TaskId::new(&task.spec.as_ref()?.id).ok()?;
        Some((id, Incarnation(task.incarnation)))
    };
    launch.tasks.iter().filter_map(name).collect()
}

/// An event cannot be read, as one of a later version may be: tasks that it launches have failed, and everything goes on.
fn cannot_read(agent: &Agent, launched: Vec<(TaskId, Incarnation)>, problem: &Problem) {
    tracing::warn!(%problem, "skipped an event that cannot be read: a later version may have said it");
    for (task, incarnation) in launched {
        let key = (task.clone(), incarnation);
        agent.memory().running.insert(key, 0);
        let why = format!("the executor cannot read what it is to run: {problem}");
        agent.update(&task, TaskState::Error, &why);
    }
}

fn unsent(agent: &Agent) -> Vec<ExecutorCall> {
    agent.memory().unsent()
}

async fn handle(executor: &mut impl Executor, agent: &Agent, event: ExecutorEvent) {
    match event {
        ExecutorEvent::Launch(tasks) => {
            let known = tasks
                .iter()
                .map(|(incarnation, spec)| (spec.id.clone(), *incarnation));
            agent.memory().running.extend(known.map(|key| (key, 0)));
            executor.on_launch(agent, tasks).await;
        }
        ExecutorEvent::Kill { task, grace, .. } => executor.on_kill(agent, task, grace).await,
        ExecutorEvent::Acknowledged {
            task,
            incarnation,
            number,
        } => agent.memory().acknowledge(&task, incarnation, number),
        ExecutorEvent::Message(data) => executor.on_message(agent, data).await,
        ExecutorEvent::Subscribed { .. }
        | ExecutorEvent::Shutdown { .. }
        | ExecutorEvent::Closed(_)
        | ExecutorEvent::Heartbeat => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_kept_in_order_until_it_is_acknowledged() {
        let agent = Agent(Arc::default());
        let task = TaskId::new("t").unwrap();
        agent.update(&task, TaskState::Running, "of a task that is not known");
        assert!(agent.memory().unacknowledged.is_empty());
        let key = (task.clone(), Incarnation(7));
        agent.memory().running.insert(key.clone(), 0);
        agent.update(&task, TaskState::Running, "");
        assert_eq!(agent.memory().unsent().len(), 1);
        agent.update(&task, TaskState::Finished, "");
        agent.memory().acknowledge(&task, Incarnation(7), 1);
        assert_eq!(agent.memory().unsent().len(), 1, "the second, once");
        assert!(agent.memory().unsent().is_empty());
        // A new session hears all that is left, and of no task that has ended.
        match agent.memory().subscribe() {
            ExecutorCall::Subscribe(subscription) => {
                let numbers = subscription.unacknowledged.iter().map(|it| it.number);
                assert_eq!(numbers.collect::<Vec<_>>(), [2]);
                assert!(subscription.tasks.is_empty());
            }
            other => panic!("{other:?}"),
        }
        agent.leave();
        assert!(!agent.memory().may_leave());
        agent.memory().acknowledge(&task, Incarnation(7), 2);
        assert!(agent.memory().may_leave());
    }

    #[test]
    fn a_status_may_carry_bytes_and_too_many_are_refused() {
        let agent = Agent(Arc::default());
        let task = TaskId::new("t").unwrap();
        let key = (task.clone(), Incarnation(7));
        agent.memory().running.insert(key, 0);
        let state = TaskState::Running;
        let most = vec![1; STATUS_DATA_LEN_MAX];
        agent.update_with_data(&task, state, "", most).unwrap();
        match agent.memory().unsent().remove(0) {
            ExecutorCall::Update(status) => assert_eq!(status.data.len(), STATUS_DATA_LEN_MAX),
            other => panic!("{other:?}"),
        }
        let more = vec![1; STATUS_DATA_LEN_MAX + 1];
        let problem = agent.update_with_data(&task, state, "", more).unwrap_err();
        assert!(problem.is(code::FIELD_TOO_LONG));
        assert!(agent.memory().unsent().is_empty());
    }

    #[test]
    fn a_task_that_cannot_be_read_has_failed_and_the_executor_goes_on() {
        let agent = Agent(Arc::default());
        let tasks = vec![v1::LaunchExecutorTask {
            incarnation: 7,
            spec: Some(v1::TaskSpec {
                id: "t".to_owned(),
                ..v1::TaskSpec::default()
            }),
        }];
        let launch = v1::executor_event::Event::Launch(v1::LaunchExecutorTasks { tasks });
        let event = v1::ExecutorEvent {
            event: Some(launch),
        };
        let named = launched(&event);
        let problem = decode_executor_event(event).expect_err("it does not say what to run");
        cannot_read(&agent, named, &problem);
        let said = agent.memory().unsent();
        let [ExecutorCall::Update(status)] = &said[..] else {
            panic!("{said:?}")
        };
        assert_eq!((status.state, status.number), (TaskState::Error, 1));
        assert!(
            status.message.contains("field.missing"),
            "{}",
            status.message
        );
        assert!(agent.memory().running.is_empty());
    }

    #[test]
    fn what_the_agent_would_refuse_at_each_session_is_not_said() {
        let agent = Agent(Arc::default());
        let task = TaskId::new("t").unwrap();
        let key = (task.clone(), Incarnation(7));
        agent.memory().running.insert(key, 0);
        agent.update(&task, TaskState::Lost, "not for an executor to say");
        agent.message(vec![1; EXECUTOR_MESSAGE_LEN_MAX]).unwrap();
        let problem = agent.message(vec![1; EXECUTOR_MESSAGE_LEN_MAX + 1]);
        assert!(problem.unwrap_err().is(code::FIELD_TOO_LONG));
        agent.update(&task, TaskState::Running, "");
        let said = agent.memory().unsent();
        assert!(
            matches!(&said[..], [ExecutorCall::Update(status), ExecutorCall::Message(_)]
                if status.number == 1),
            "{said:?}"
        );
    }
}
