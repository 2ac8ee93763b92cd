//! How an author calls: any number of clones, each call with its typed answer.
//!
//! A call is never silently dropped: it is answered, refused by the master, or fails with `peer.unreachable` when there is
//! no session, when the session breaks first, or when the answer takes too long. In the last two cases it is not known
//! whether the call was carried out; the author decides, with what the statuses of the next session say. What does no harm
//! when it is done twice (all but accepts and messages) does not fail when the session breaks: the next one begins with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use proffer_leader::Term;
use proffer_model::session::{Answer, Call, LaunchResult, Operation, OperationResult};
use proffer_model::time::format_duration;
use proffer_model::{
    AgentId, ClusterId, Demand, DemandEntry, Epoch, ExecutorId, FrameworkDescription, FrameworkId,
    Generation, OfferId, Problem, Role, TaskId, TaskSpec, code,
};
use proffer_proto::{decode_call, encode_call};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use crate::ledger::{Ledger, taken};
use crate::state::State;

/// The session that is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who we are; to be kept for [`crate::ConnectOptions::framework_id`].
    pub framework: FrameworkId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The leader's term.
    pub epoch: Epoch,
    /// The number of this activation.
    pub generation: Generation,
    /// The leader's address.
    pub master: String,
}

impl Session {
    /// In which it is active.
    pub(crate) fn term(&self) -> Term {
        Term {
            cluster: self.cluster.clone(),
            epoch: self.epoch,
        }
    }
}

/// A session and how it is reached.
#[derive(Clone)]
pub(crate) struct Active {
    pub(crate) session: Session,
    pub(crate) channel: Channel,
    pub(crate) bearer: Option<AsciiMetadataValue>,
}

impl Active {
    /// A request of its own beside the session.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(bearer) = &self.bearer {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", bearer.clone());
        }
        request
    }
}

/// The connection to the leader that the session goes over, for calls that the SDK has no words for.
#[derive(Clone)]
pub struct Connection(Active);

impl Connection {
    /// For a client of any of the master's services.
    pub fn channel(&self) -> Channel {
        self.0.channel.clone()
    }

    /// A request that is authenticated as the session is.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        self.0.request(message)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.0.session).finish()
    }
}

/// Where the answer to a call goes.
pub(crate) struct Reply {
    answer: oneshot::Sender<Result<Answer, Problem>>,
    /// Nobody waits for longer.
    pub(crate) until: Instant,
}

impl Reply {
    pub(crate) fn send(self, answer: Result<Answer, Problem>) {
        // Whoever waits no longer does not need to know.
        let _ = self.answer.send(answer);
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.answer.is_closed()
    }
}

/// A call on its way to the session.
pub(crate) struct Request {
    pub(crate) call: Call,
    pub(crate) reply: Reply,
}

impl Request {
    /// It is not called.
    pub(crate) fn refuse(self, ledger: &Ledger, problem: Problem) {
        let answer = Err(problem);
        ledger.answered(&self.call, &answer);
        self.reply.send(answer);
    }
}

/// Calls the master. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) left: Arc<watch::Sender<Option<Session>>>,
    pub(crate) active: watch::Receiver<Option<Active>>,
    /// What the framework says of itself.
    pub(crate) description: Arc<watch::Sender<FrameworkDescription>>,
    pub(crate) call_timeout: Duration,
}

impl Handle {
    /// Calls and waits for the answer, which is never `Refused`: a refusal is the error.
    pub async fn call(&self, call: Call) -> Result<Answer, Problem> {
        self.send(call).await?.await
    }

    /// Calls without waiting for the answer: calls leave in the order of their `send`s. The future that is returned waits;
    /// dropping it does not take the call back.
    pub async fn send(&self, call: Call) -> Result<PendingAnswer, Problem> {
        match call {
            Call::Subscribe { .. } => {
                let message = "the SDK subscribes by itself";
                return Err(Problem::new(code::SESSION_ORDER, message)
                    .hint("give the description to Framework::connect"));
            }
            Call::AcknowledgeOne { .. } => {
                let message = "the SDK acknowledges what was told in its order";
                return Err(Problem::new(code::SESSION_ORDER, message)
                    .hint("acknowledge the sequence up to which all is kept"));
            }
            Call::Acknowledge { sequence } => {
                self.acknowledge(sequence);
                return Ok(PendingAnswer(Box::pin(async { Ok(Answer::Done) })));
            }
            _ => {}
        }
        // What is entered as called leaves: nothing is waited for in between.
        let permit = self.requests.reserve().await.map_err(|_| over())?;
        self.ledger.calling(&call)?;
        Ok(self.leave_with(permit, call))
    }

    fn leave_with(&self, permit: mpsc::Permit<'_, Request>, call: Call) -> PendingAnswer {
        let (sender, answer) = oneshot::channel();
        let call_timeout = self.call_timeout;
        let until = Instant::now() + call_timeout;
        let reply = Reply {
            answer: sender,
            until,
        };
        permit.send(Request { call, reply });
        PendingAnswer(Box::pin(async move {
            match timeout(call_timeout, answer).await {
                Ok(answered) => answered.unwrap_or_else(|_| Err(over())),
                Err(_) => Err(unanswered(call_timeout)),
            }
        }))
    }

    /// Replaces what is wanted in a role; no entries: nothing is offered any more. When it is refused, what was wanted before
    /// still is.
    ///
    /// The master counts each launch down from the entry that it was offered for, and nothing up again: with a count of 1,
    /// nothing more is offered after one launch. To want another one, say it anew.
    ///
    /// The SDK gives the demand its generation, keeps it as it was said, and sends it again at the beginning of each later
    /// session, even when this call failed with `peer.unreachable`: what was launched meanwhile is wanted again there, until
    /// the author says after `Subscribed` what is wanted by then.
    pub async fn set_demand(&self, role: Role, entries: Vec<DemandEntry>) -> Result<(), Problem> {
        let generation = Generation::default();
        let demand = Demand {
            role,
            generation,
            entries,
        };
        self.done(Call::SetDemand(demand)).await
    }

    /// Launches tasks with offers of one agent and one role; what they leave of them goes back. A result for each task, in
    /// order: its incarnation, or why it is refused, which all of them are with `offer.gone` when an offer does not stand any
    /// more. What becomes of those that are not comes as statuses, also when this fails, which it does with
    /// `peer.unreachable` alone.
    ///
    /// A task whose end was not told since it was launched, or whose fate is open, is refused with `task.duplicate` without
    /// asking the master; the others are launched all the same.
    pub async fn launch(
        &self,
        offers: Vec<OfferId>,
        tasks: Vec<TaskSpec>,
    ) -> Result<Vec<LaunchResult>, Problem> {
        let permit = self.requests.reserve().await.map_err(|_| over())?;
        let may = self.ledger.launching(&tasks);
        let ids: Vec<TaskId> = tasks.iter().map(|spec| spec.id.clone()).collect();
        let launches = tasks.into_iter().zip(&may).filter(|(_, may)| **may);
        let operations = launches.map(|(spec, _)| Operation::launch(spec)).collect();
        let pending = self.leave_with(permit, Call::Accept { offers, operations });
        let mut results = match pending.await {
            Ok(Answer::Accepted(results)) => Ok(results.into_iter()),
            Ok(other) => Err(unexpected(&other)),
            Err(problem) if problem.is(code::PEER_UNREACHABLE) => return Err(problem),
            Err(problem) => Err(problem),
        };
        let outcomes = ids.into_iter().zip(may).map(|(task, may)| match may {
            true => match &mut results {
                Ok(results) => result_of(task, results.next()),
                Err(problem) => LaunchResult {
                    outcome: Err(problem.clone()),
                    task,
                },
            },
            false => LaunchResult {
                outcome: Err(taken(&task)),
                task,
            },
        });
        Ok(outcomes.collect())
    }

    /// Does operations, one after the other, with offers of one agent and one role: launches, groups of launches that
    /// stand or fall together, reservations, volumes. A result for each, in order; what one makes, the next may use. Fails
    /// with `task.duplicate`, and does nothing, when a task may not be launched yet, as [`Self::launch`] says: the offers
    /// stay the framework's until they are declined or expire.
    pub async fn accept(
        &self,
        offers: Vec<OfferId>,
        operations: Vec<Operation>,
    ) -> Result<Vec<OperationResult>, Problem> {
        match self.call(Call::Accept { offers, operations }).await? {
            Answer::Accepted(results) => Ok(results),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives offers back; their agent is not offered again for a while, for what the offers fitted.
    pub async fn decline(
        &self,
        offers: Vec<OfferId>,
        exclude_for: Duration,
    ) -> Result<(), Problem> {
        self.done(Call::Decline {
            offers,
            exclude_for,
        })
        .await
    }

    /// Ends a task: SIGTERM, and SIGKILL after `grace` or the task's own time. How it ended is a status.
    pub async fn kill(&self, task: TaskId, grace: Option<Duration>) -> Result<(), Problem> {
        self.done(Call::Kill { task, grace }).await
    }

    /// Which of these tasks may be launched now; to be called before ids are launched that an earlier run of the program, or
    /// another process, may have launched. What became of the others the SDK asks the master until it knows: that comes as
    /// statuses, `Lost` with incarnation 0 when no agent knows them. After a change of leader it takes until the agents are
    /// back. A task that was told to have ended is free, also to be launched again; where another run of the program may have
    /// launched it since that end, once nobody knows of a later launch: then the end is told again.
    ///
    /// An id that nobody can have launched needs none of this and would only wait, `Unreachable` as long as an agent that
    /// cannot be reached may run it.
    pub fn settle(&self, tasks: impl IntoIterator<Item = TaskId>) -> BTreeSet<TaskId> {
        self.ledger.settle(tasks)
    }

    /// Asks for the statuses of these tasks, or of all when empty; they come as events. Seldom needed: the SDK asks by itself
    /// about whatever [`Self::settle`] was asked, and about launches whose session ended before the answer.
    pub async fn reconcile(&self, tasks: Vec<TaskId>) -> Result<(), Problem> {
        self.done(Call::Reconcile { tasks }).await
    }

    /// Ends the framework: its tasks are killed, its id is spent, its state is gone.
    pub async fn teardown(&self) -> Result<(), Problem> {
        self.done(Call::Teardown).await
    }

    /// Says that all events up to this one are kept. Never waits; a smaller sequence than before changes nothing.
    pub fn acknowledge(&self, sequence: u64) {
        self.ledger.acknowledge(sequence);
    }

    /// Leaves this session, if it is still the active one, and begins another: what was not acknowledged is told again. For
    /// whoever could not keep what they were told.
    pub fn leave(&self, session: Session) {
        self.left.send_replace(Some(session));
    }

    /// Changes what the framework says of itself: its name, its roles, its failover timeout. The session ends, and the next one
    /// begins with it where this one was; a program that stands by does not become active in between. When a master has taken
    /// it, nothing is wanted any more in roles that it leaves. Nothing happens when nothing changes. A master that refuses it
    /// is asked for what was before, and its refusal is told as `Closed`. Without a session it is said when there is one.
    ///
    /// The error is about a field, and then nothing is changed.
    pub fn update(&self, description: FrameworkDescription) -> Result<(), Problem> {
        decode_call(encode_call(
            0,
            &Call::Subscribe {
                framework: None,
                description: description.clone(),
                stand_by: false,
                resume: None,
                create: false,
            },
        ))?;
        self.description.send_if_modified(|last| {
            let is_new = *last != description;
            *last = description;
            is_new
        });
        Ok(())
    }

    /// Changes a task that runs, without restarting it: all of its labels, or its time from SIGTERM to SIGKILL.
    pub async fn update_task(
        &self,
        task: TaskId,
        labels: Option<BTreeMap<String, String>>,
        grace: Option<Duration>,
    ) -> Result<(), Problem> {
        self.done(Call::UpdateTask {
            task,
            labels,
            grace,
        })
        .await
    }

    /// Sends at most 64 KiB to an executor, which gets it at most once: have it answer what matters.
    pub async fn send_message(
        &self,
        agent: AgentId,
        executor: ExecutorId,
        data: Vec<u8>,
    ) -> Result<(), Problem> {
        self.done(Call::SendMessage {
            agent,
            executor,
            data,
        })
        .await
    }

    /// Asks an executor to end, with its tasks.
    pub async fn shutdown_executor(
        &self,
        agent: AgentId,
        executor: ExecutorId,
    ) -> Result<(), Problem> {
        self.done(Call::ShutdownExecutor { agent, executor }).await
    }

    /// The durable state that the master keeps for the framework.
    pub fn state(&self) -> State {
        State::new(self.active.clone(), self.call_timeout)
    }

    /// The connection to the leader; fails with `peer.unreachable` while no session is active.
    pub fn connection(&self) -> Result<Connection, Problem> {
        let active = self.active.borrow().clone();
        active.map(Connection).ok_or_else(no_session)
    }

    /// The session that is active now, if any.
    pub fn session(&self) -> Option<Session> {
        let active = self.active.borrow();
        active.as_ref().map(|active| active.session.clone())
    }

    /// Waits until a session is active. Fails when none will be: after the last event.
    pub async fn subscribed(&self) -> Result<Session, Problem> {
        let mut active = self.active.clone();
        let active = active.wait_for(Option::is_some).await.map_err(|_| over())?;
        active
            .as_ref()
            .map(|active| active.session.clone())
            .ok_or_else(over)
    }

    async fn done(&self, call: Call) -> Result<(), Problem> {
        match self.call(call).await? {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.session();
        f.debug_struct("Handle").field("session", &session).finish()
    }
}

/// Waits for the answer to a call.
pub struct PendingAnswer(BoxFuture<'static, Result<Answer, Problem>>);

impl Future for PendingAnswer {
    type Output = Result<Answer, Problem>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for PendingAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingAnswer")
    }
}

/// What became of one launch, of what its operation was answered.
fn result_of(task: TaskId, result: Option<OperationResult>) -> LaunchResult {
    let outcome = match result {
        Some(OperationResult::Launched(launch)) => return launch,
        Some(OperationResult::Refused(problem)) => Err(problem),
        Some(OperationResult::LaunchedGroup(_) | OperationResult::Done) | None => {
            Err(unexpected(&Answer::Done))
        }
    };
    LaunchResult { task, outcome }
}

/// There is no session at the moment.
pub(crate) fn no_session() -> Problem {
    Problem::new(code::PEER_UNREACHABLE, "no session is active")
        .hint("wait for Subscribed and call again")
}

fn over() -> Problem {
    Problem::new(code::PEER_UNREACHABLE, "the session is over for good")
        .hint("connect anew, if the last Closed allows it")
}

fn unanswered(waited: Duration) -> Problem {
    let message = format!("no answer within {}", format_duration(waited));
    Problem::new(code::PEER_UNREACHABLE, message)
        .hint("whether the call was carried out is not known; look at the statuses, or reconcile")
}

fn unexpected(answer: &Answer) -> Problem {
    let what = match answer {
        Answer::Done => "done",
        Answer::Accepted(_) => "accepted",
        Answer::Refused(_) => "refused",
    };
    Problem::new(
        code::INTERNAL,
        format!("the master answered {what:?}, which does not fit the call"),
    )
}
