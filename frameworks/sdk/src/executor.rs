//! For authors of executors: programs that run tasks on an agent for their framework.
//!
//! An agent starts an executor when the first task comes that names it. [`run_executor`] keeps its session with the agent,
//! which breaks when the agent restarts: it subscribes again, with all that runs and all that is not acknowledged. What
//! its author writes is an [`Executor`]; what becomes of tasks is said with an [`Agent`], which any task may hold a clone
//! of.
//!
//! A status that is said is kept here until the agent has it on disk, so a process that ends must first have been heard:
//! [`Agent::leave`] ends [`run_executor`] when it has.

mod memory;

use std::future::{Future, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proffer_model::executor::ExecutorEvent;
use proffer_model::limits::{
    EXECUTOR_MESSAGE_LEN_MAX, KILL_GRACE_DEFAULT, MESSAGE_LEN_MAX, STATUS_DATA_LEN_MAX,
};
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
use memory::{Launch, Memory, Words};

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

    /// As [`Executor::on_kill`], which it calls unless it is written: for who runs several launches of one id beside each other,
    /// such as one that an agent has given up and a later one. `on_launch` has told the incarnations. KILLED then is that
    /// launch's.
    fn on_kill_launch(
        &mut self,
        agent: &Agent,
        task: TaskId,
        incarnation: Incarnation,
        grace: Duration,
    ) -> impl Future<Output = ()> + Send {
        let _ = incarnation;
        self.on_kill(agent, task, grace)
    }

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

impl Agent {
    /// Says what has become of a task; kept until the agent has it on disk, except that while sixteen statuses of a task wait
    /// for that, one that says more of the same state takes the place of the last. Of a task that has ended, nothing is said,
    /// nor is what leads backwards, nor states that are not an executor's to say: staging, unreachable, dropped and lost.
    pub fn update(&self, task: &TaskId, state: TaskState, message: &str) {
        self.report(task, state, Words::new(message));
    }

    /// As [`Agent::update`], with bytes for the framework, which finds them as `data` of the status. More than 1 MiB and 64 KiB are
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
        let words = Words::new(message);
        self.report(task, state, Words { data, ..words });
        Ok(())
    }

    /// As [`Agent::update`], with how its process ended.
    pub fn exited(&self, task: &TaskId, state: TaskState, exit: Exit, message: &str) {
        let (exit, words) = (Some(exit), Words::new(message));
        self.report(task, state, Words { exit, ..words });
    }

    /// Says whether a task that runs is healthy; until it is said anew, or its state changes, [`Agent::update`] leaves it so.
    pub fn healthy(&self, task: &TaskId, is_healthy: bool, message: &str) {
        let (healthy, words) = (Some(is_healthy), Words::new(message));
        self.report(task, TaskState::Running, Words { healthy, ..words });
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
        self.memory().send(data);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Ends [`run_executor`] once all that was said is acknowledged.
    pub fn leave(&self) {
        self.memory().is_leaving = true;
        self.0.changed.notify_one();
    }

    fn report(&self, task: &TaskId, state: TaskState, words: Words) {
        if !may_say(state) {
            // The agent would end each session that begins with it.
            tracing::error!(%task, %state, "an executor cannot say this of a task; it is left out");
            return;
        }
        let mut memory = self.memory();
        if let Some(launch) = memory.launch_of(task, state) {
            memory.say(&launch, state, words);
        }
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
        if agent.memory().may_leave() {
            return Ended::Done;
        }
        let has_untold = agent.memory().has_untold();
        let at = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
        // What comes is taken while there is much to say: the agent answers each status.
        let event = tokio::select! {
            event = events.message() => event,
            permit = calls.reserve(), if has_untold => {
                let Ok(permit) = permit else {
                    return Ended::Broken;
                };
                if let Some(call) = agent.memory().next_untold() {
                    permit.send(encode_executor_call(&call));
                }
                continue;
            }
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
fn launched(event: &v1::ExecutorEvent) -> Vec<Launch> {
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
fn cannot_read(agent: &Agent, launched: Vec<Launch>, problem: &Problem) {
    tracing::warn!(%problem, "skipped an event that cannot be read: a later version may have said it");
    let why = format!("the executor cannot read what it is to run: {problem}");
    for launch in launched {
        let mut memory = agent.memory();
        // An earlier launch of the task may run on.
        memory.launched(launch.clone());
        memory.say(&launch, TaskState::Error, Words::new(&why));
    }
}

async fn handle(executor: &mut impl Executor, agent: &Agent, event: ExecutorEvent) {
    match event {
        ExecutorEvent::Launch(tasks) => {
            for (incarnation, spec) in &tasks {
                agent.memory().launched((spec.id.clone(), *incarnation));
            }
            let tasks = tasks.into_iter();
            let tasks = tasks.map(|(incarnation, spec)| (incarnation, Arc::unwrap_or_clone(spec)));
            executor.on_launch(agent, tasks.collect()).await;
        }
        ExecutorEvent::Kill {
            task,
            incarnation,
            grace,
        } => {
            let launch = (task, incarnation);
            let is_told = agent.memory().is_to_end(&launch);
            if is_told {
                let (task, incarnation) = launch;
                let grace = grace.unwrap_or(KILL_GRACE_DEFAULT);
                let killing = executor.on_kill_launch(agent, task, incarnation, grace);
                killing.await;
            }
        }
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
    use proffer_model::executor::{ExecutorCall, ExecutorStatus};

    use super::*;

    /// One that runs a task `t`.
    fn running() -> (Agent, TaskId) {
        let agent = Agent(Arc::default());
        let task = TaskId::new("t").unwrap();
        agent.memory().launched((task.clone(), Incarnation(7)));
        (agent, task)
    }

    /// What a session is to be told.
    fn said(agent: &Agent) -> Vec<ExecutorCall> {
        std::iter::from_fn(|| agent.memory().next_untold()).collect()
    }

    fn statuses(agent: &Agent) -> Vec<ExecutorStatus> {
        let status = |call| match call {
            ExecutorCall::Update(status) => status,
            other => panic!("{other:?}"),
        };
        said(agent).into_iter().map(status).collect()
    }

    #[test]
    fn a_status_may_carry_bytes_and_too_many_are_refused() {
        let (agent, task) = running();
        let state = TaskState::Running;
        let most = vec![1; STATUS_DATA_LEN_MAX];
        agent.update_with_data(&task, state, "", most).unwrap();
        assert_eq!(statuses(&agent)[0].data.len(), STATUS_DATA_LEN_MAX);
        let more = vec![1; STATUS_DATA_LEN_MAX + 1];
        let problem = agent.update_with_data(&task, state, "", more).unwrap_err();
        assert!(problem.is(code::FIELD_TOO_LONG));
        assert!(statuses(&agent).is_empty());
    }

    #[test]
    fn a_task_that_cannot_be_read_has_failed_and_the_executor_goes_on() {
        // An earlier launch of it runs on, and says more.
        let (agent, task) = running();
        agent.update(&task, TaskState::Running, "");
        statuses(&agent);
        let tasks = vec![v1::LaunchExecutorTask {
            incarnation: 9,
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
        agent.update(&task, TaskState::Finished, "");
        let said = statuses(&agent);
        let told: Vec<_> = said
            .iter()
            .map(|it| (it.incarnation.0, it.number, it.state))
            .collect();
        let expected = [(9, 1, TaskState::Error), (7, 2, TaskState::Finished)];
        assert_eq!(told, expected);
        assert!(said[0].message.contains("field.missing"), "{said:?}");
    }

    #[test]
    fn what_the_agent_would_refuse_at_each_session_is_not_said() {
        let (agent, task) = running();
        agent.update(&task, TaskState::Lost, "not for an executor to say");
        agent.message(vec![1; EXECUTOR_MESSAGE_LEN_MAX]).unwrap();
        let problem = agent.message(vec![1; EXECUTOR_MESSAGE_LEN_MAX + 1]);
        assert!(problem.unwrap_err().is(code::FIELD_TOO_LONG));
        agent.update(&task, TaskState::Running, "");
        let said = said(&agent);
        assert!(
            matches!(&said[..], [ExecutorCall::Update(status), ExecutorCall::Message(_)]
                if status.number == 1),
            "{said:?}"
        );
    }

    /// Writes down which launches it is to end, and says at once that they are killed.
    struct Killed(Vec<u64>);

    impl Executor for Killed {
        async fn on_launch(&mut self, _: &Agent, _: Vec<(Incarnation, TaskSpec)>) {}

        async fn on_kill(&mut self, agent: &Agent, task: TaskId, _: Duration) {
            agent.update(&task, TaskState::Killed, "");
        }

        async fn on_kill_launch(
            &mut self,
            agent: &Agent,
            task: TaskId,
            incarnation: Incarnation,
            grace: Duration,
        ) {
            self.0.push(incarnation.0);
            self.on_kill(agent, task, grace).await;
        }
    }

    #[tokio::test]
    async fn what_is_killed_is_the_launch_that_is_to_end() {
        let (agent, task) = running();
        agent.memory().launched((task.clone(), Incarnation(9)));
        let mut executor = Killed(Vec::new());
        // Of one that has ended the author is not told while another one runs.
        for incarnation in [9, 9, 7, 7] {
            let event = ExecutorEvent::Kill {
                task: task.clone(),
                incarnation: Incarnation(incarnation),
                grace: Some(Duration::ZERO),
            };
            handle(&mut executor, &agent, event).await;
        }
        assert_eq!(executor.0, [9, 7, 7]);
        let said = statuses(&agent);
        let told: Vec<_> = said.iter().map(|it| (it.incarnation.0, it.state)).collect();
        let expected = [(9, TaskState::Killed), (7, TaskState::Killed)];
        assert_eq!(told, expected);
    }
}
