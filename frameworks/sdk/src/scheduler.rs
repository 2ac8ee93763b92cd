//! For authors who would rather write handlers than a loop.
//!
//! One handler runs at a time, in the order of the events; an event is acknowledged when its handler has succeeded.

use std::future::{Future, ready};
use std::time::Duration;

use proffer_model::session::Event;
use proffer_model::{AgentId, ExecutorId, Offer, OfferId, Problem, Reason, Status, TaskId, code};
use tokio::time::{Instant, timeout_at};

use crate::events::{Events, Received};
use crate::framework::Framework;
use crate::handle::{Handle, Session};
use crate::options::ConnectOptions;

/// How long an agent is not offered again when nobody handles its offers.
const EXCLUDE_UNHANDLED: Duration = Duration::from_secs(60);

/// What an author decides. A handler that fails ends [`run`], unless it fails with `peer.unreachable`: then the session is
/// begun anew, and what was not acknowledged is told again. So it is with `session.fenced`, unless the master ends the session
/// for good.
pub trait Scheduler: Send {
    /// A session has begun; offers of an earlier one are void. The place to settle tasks ([`Handle::settle`]) and to say what
    /// is wanted.
    fn on_subscribed(
        &mut self,
        handle: &Handle,
        session: Session,
    ) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = (handle, session);
        ready(Ok(()))
    }

    /// Resources are offered. Unless this is written they are declined.
    fn on_offers(
        &mut self,
        handle: &Handle,
        offers: Vec<Offer>,
    ) -> impl Future<Output = Result<(), Problem>> + Send {
        async move {
            let ids: Vec<OfferId> = offers.into_iter().map(|offer| offer.id).collect();
            match ids.is_empty() {
                true => Ok(()),
                false => handle.decline(ids, EXCLUDE_UNHANDLED).await,
            }
        }
    }

    /// Offers stand no longer.
    fn on_rescinded(
        &mut self,
        handle: &Handle,
        offers: Vec<OfferId>,
    ) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = (handle, offers);
        ready(Ok(()))
    }

    /// A task has a new status, or the last one again. Keep what matters of it before returning: success acknowledges it.
    fn on_update(
        &mut self,
        handle: &Handle,
        status: Status,
    ) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = (handle, status);
        ready(Ok(()))
    }

    /// After a change of leader, this agent has said all that it runs. The SDK asks by itself about tasks whose fate is open.
    fn on_agent_settled(
        &mut self,
        handle: &Handle,
        agent: AgentId,
    ) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = (handle, agent);
        ready(Ok(()))
    }

    /// Resources are wanted back: at the deadline these tasks are killed with this reason, without one never. Start others
    /// elsewhere, or end them when it suits; what is not done is done at the deadline. Told again in each session; what was
    /// told last counts, and [`Reason::None`] says that they are not wanted back any more.
    fn on_reclaim(
        &mut self,
        handle: &Handle,
        tasks: Vec<TaskId>,
        reason: Reason,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = (handle, tasks, reason, deadline);
        ready(Ok(()))
    }

    /// Every task that the master knows has been told; what follows is new. Not in a session that resumes another.
    fn on_snapshot_ended(
        &mut self,
        handle: &Handle,
    ) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = handle;
        ready(Ok(()))
    }

    /// An executor of the framework says something; at most once.
    fn on_message(
        &mut self,
        handle: &Handle,
        agent: AgentId,
        executor: ExecutorId,
        data: Vec<u8>,
    ) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = (handle, agent, executor, data);
        ready(Ok(()))
    }

    /// An executor is no more; what became of its tasks comes as statuses. The text is for people.
    fn on_executor_ended(
        &mut self,
        handle: &Handle,
        agent: AgentId,
        executor: ExecutorId,
        message: String,
    ) -> impl Future<Output = Result<(), Problem>> + Send {
        let _ = (handle, agent, executor, message);
        ready(Ok(()))
    }

    /// Another program is active as this framework; when it ends, `on_subscribed` follows here. Nothing can be called yet.
    fn on_standing_by(&mut self) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// The session has ended; another one follows unless this was the last event.
    fn on_closed(&mut self, problem: &Problem) -> impl Future<Output = ()> + Send {
        let _ = problem;
        ready(())
    }
}

/// Connects and lets the scheduler handle what happens, until the framework is torn down, a handler fails, or the master
/// refuses the framework for good, also because it was over before this began (`framework.completed`).
pub async fn run(options: ConnectOptions, scheduler: impl Scheduler) -> Result<(), Problem> {
    let (handle, events) = Framework::connect(options)?;
    drive(&handle, events, scheduler).await
}

/// As [`run`], for a framework that is connected already: its author may use the handle elsewhere too.
pub async fn drive(
    handle: &Handle,
    mut events: Events,
    mut scheduler: impl Scheduler,
) -> Result<(), Problem> {
    let mut last = None;
    // Whether it was active as the framework, or stood by for it.
    let mut has_begun = false;
    // The session of which a handler could not keep something: nothing more of it is handled or acknowledged.
    let mut is_left = false;
    let mut fenced = None;
    while let Some(Received { sequence, event }) = next(handle, &mut events, &mut fenced).await {
        if let Event::Closed(problem) = event {
            scheduler.on_closed(&problem).await;
            last = Some(problem);
            continue;
        }
        if matches!(event, Event::Subscribed { .. } | Event::StandingBy { .. }) {
            has_begun = true;
            (is_left, fenced) = (false, None);
        }
        if is_left {
            continue;
        }
        let session = handle.session();
        match handle_event(handle, &mut scheduler, event).await {
            Ok(()) => handle.acknowledge(sequence),
            Err(problem) if problem.is(code::PEER_UNREACHABLE) => {
                is_left = true;
                if let Some(session) = session {
                    handle.leave(session);
                }
            }
            // Its end is on its way, and says whether another session may follow.
            Err(problem) if problem.is(code::SESSION_FENCED) => {
                is_left = true;
                fenced = session.map(|session| (Instant::now() + handle.call_timeout, session));
            }
            Err(problem) => return Err(problem),
        }
    }
    match last {
        Some(problem) if !(has_begun && problem.is(code::FRAMEWORK_COMPLETED)) => Err(problem),
        _ => Ok(()),
    }
}

/// The next event. A session that is not active, as the master has said, is left when its end does not come within the time of
/// a call.
async fn next(
    handle: &Handle,
    events: &mut Events,
    fenced: &mut Option<(Instant, Session)>,
) -> Option<Received> {
    if let Some((until, session)) = fenced {
        if let Ok(received) = timeout_at(*until, events.next()).await {
            return received;
        }
        handle.leave(session.clone());
        *fenced = None;
    }
    events.next().await
}

async fn handle_event(
    handle: &Handle,
    scheduler: &mut impl Scheduler,
    event: Event,
) -> Result<(), Problem> {
    match event {
        // A session that is over already needs no beginning; its end follows.
        Event::Subscribed { .. } => match handle.session() {
            Some(session) => scheduler.on_subscribed(handle, session).await,
            None => Ok(()),
        },
        Event::Offered(offers) => scheduler.on_offers(handle, offers).await,
        Event::Rescinded(offers) => scheduler.on_rescinded(handle, offers).await,
        Event::Updated(status) => scheduler.on_update(handle, status).await,
        Event::AgentSettled(agent) => scheduler.on_agent_settled(handle, agent).await,
        Event::SnapshotEnded => scheduler.on_snapshot_ended(handle).await,
        Event::Message {
            agent,
            executor,
            data,
        } => scheduler.on_message(handle, agent, executor, data).await,
        Event::ExecutorEnded {
            agent,
            executor,
            message,
        } => {
            let telling = scheduler.on_executor_ended(handle, agent, executor, message);
            telling.await
        }
        Event::Reclaim {
            tasks,
            reason,
            deadline,
        } => scheduler.on_reclaim(handle, tasks, reason, deadline).await,
        Event::StandingBy { .. } => {
            scheduler.on_standing_by().await;
            Ok(())
        }
        Event::Answered { .. } | Event::Heartbeat | Event::Closed(_) => Ok(()),
    }
}
