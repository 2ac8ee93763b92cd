//! One subscription at work: between its session with the core, the calls that come for it, and what its connection takes.
//!
//! What the connection does not take waits, and while something waits nothing more is taken from the core, which has its own
//! limit for that and ends who is too slow.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use proffer_master_core::event::SessionId;
use proffer_model::session::Call;
use proffer_model::{AgentId, Principal};
use proffer_proto::mesos::v1::scheduler::Event;
use proffer_server::clock;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::events;
use super::pace::Pace;
use super::registry::{Asked, Registry};
use super::subscription::{Out, Subscription};
use crate::inbox::{Inbox, Numbered, SessionInput};
use crate::limits::{MESOS_EVENTS_MAX, MESOS_HEARTBEAT_INTERVAL, SESSION_OUTBOX_LEN};
use crate::outbox::{Arrival, Mail, outbox};

/// A subscription with its surroundings.
pub(super) struct Stream {
    pub(super) subscription: Subscription,
    pub(super) inbox: Inbox,
    pub(super) principal: Principal,
    pub(super) registry: Registry,
    /// The stream's id, as the framework knows it.
    pub(super) id: String,
    /// Agents that are lost.
    pub(super) losses: broadcast::Receiver<AgentId>,
    /// When its calls go to the core.
    pub(super) pace: Pace,
    /// How many of them at once.
    pub(super) calls_at_once: usize,
    /// To the connection.
    pub(super) events: mpsc::Sender<Event>,
    /// From the other connections.
    pub(super) calls: mpsc::Receiver<Asked>,
    /// The other end of that, for the registry.
    pub(super) caller: mpsc::Sender<Asked>,
    /// Kept while it is open.
    pub(super) _place: tokio::sync::OwnedSemaphorePermit,
}

/// A session with the core.
struct Session {
    id: SessionId,
    mail: Mail<Numbered>,
    /// Of the mail; looked at also while none is taken.
    overrun: CancellationToken,
    permits: Arc<Semaphore>,
}

/// What is on its way to the connection.
#[derive(Default)]
struct Flow {
    waiting: VecDeque<Event>,
    /// Nothing comes after what waits, and that has time until then.
    ends_at: Option<Instant>,
    /// A call that waits until all ACCEPTs before it are answered, since their session ends with it.
    held: Option<Asked>,
}

impl Flow {
    /// It takes nothing more, and what waits has a while to be taken.
    fn end(&mut self) {
        self.ends_at = Some(Instant::now() + MESOS_HEARTBEAT_INTERVAL);
    }

    fn is_ending(&self) -> bool {
        self.ends_at.is_some()
    }
}

/// What comes next.
enum Next {
    Gone,
    Room,
    Arrival(Arrival<Numbered>),
    Asked(Asked),
    Held(Asked),
    Lost(AgentId),
    Beat,
    Time,
}

impl Stream {
    /// Lives until the framework goes, is sent away, or the term is over.
    pub(super) async fn run(mut self, first: Call) {
        let Some(mut session) = self.open(first).await else {
            return;
        };
        let tenure = self.inbox.tenure.clone();
        tokio::select! {
            () = self.live(&mut session) => {}
            () = tenure.over() => {}
        }
        let closed = SessionInput::Closed {
            session: session.id,
        };
        // When the term is over, nobody needs to know.
        let _ = self.inbox.sessions.send(closed).await;
    }

    /// Opens a session with this as its first call; none when the term is over.
    async fn open(&mut self, first: Call) -> Option<Session> {
        let (outbox, mail) = outbox(SESSION_OUTBOX_LEN);
        let id = SessionId(self.inbox.next_id());
        let session = Session {
            id,
            overrun: mail.is_overrun.clone(),
            mail,
            permits: Arc::new(Semaphore::new(self.calls_at_once)),
        };
        let opened = SessionInput::Opened {
            session: id,
            outbox,
        };
        self.inbox.sessions.send(opened).await.ok()?;
        self.ask(&session, 0, first).await?;
        Some(session)
    }

    async fn ask(&mut self, session: &Session, request: u64, call: Call) -> Option<()> {
        let wait = self.pace.wait(clock::now().mono_ns, &call);
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let permit = Arc::clone(&session.permits).acquire_owned().await.ok()?;
        let called = SessionInput::Called {
            session: session.id,
            principal: self.principal.clone(),
            request,
            call: Ok(call),
            permit,
        };
        self.inbox.sessions.send(called).await.ok()
    }

    async fn live(&mut self, session: &mut Session) {
        let first = Instant::now() + MESOS_HEARTBEAT_INTERVAL;
        let mut beat = interval_at(first, MESOS_HEARTBEAT_INTERVAL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut flow = Flow::default();
        while !(flow.is_ending() && flow.waiting.is_empty()) {
            let next = self.next(session, &mut beat, &mut flow).await;
            let Some(outs) = self.decide(next, &mut flow) else {
                return self.make_the_rest(session).await;
            };
            for out in outs {
                if self.perform(session, out, &mut flow).await.is_none() {
                    return;
                }
            }
        }
    }

    /// Calls that were accepted are made, though nobody hears any more what comes of them: a framework that ends says
    /// TEARDOWN and closes its stream at once.
    async fn make_the_rest(&mut self, session: &Session) {
        self.calls.close();
        while let Ok(asked) = self.calls.try_recv() {
            for out in self.on_asked(clock::now(), asked) {
                if let Out::Ask(request, call) = out
                    && self.ask(session, request, call).await.is_none()
                {
                    return;
                }
            }
        }
    }

    async fn next(&mut self, session: &mut Session, beat: &mut Interval, flow: &mut Flow) -> Next {
        let is_clear = flow.waiting.is_empty();
        let takes_calls =
            flow.waiting.len() < MESOS_EVENTS_MAX && !flow.is_ending() && flow.held.is_none();
        if self.subscription.accepts.is_empty()
            && let Some(held) = flow.held.take()
        {
            return Next::Held(held);
        }
        let ends_at = flow.ends_at;
        let retries_at = self.subscription.updates.next_retry().filter(|_| is_clear);
        tokio::select! {
            biased;
            () = self.events.closed() => Next::Gone,
            () = until(ends_at) => Next::Gone,
            room = self.events.reserve(), if !is_clear => match room {
                Ok(room) => {
                    if let Some(event) = flow.waiting.pop_front() {
                        room.send(event);
                    }
                    Next::Room
                }
                Err(_) => Next::Gone,
            },
            () = session.overrun.cancelled(), if ends_at.is_none() => {
                Next::Arrival(Arrival::Overrun)
            }
            arrival = poll_fn(|context| session.mail.poll_next(context)), if is_clear && ends_at.is_none() => {
                Next::Arrival(arrival)
            }
            Some(asked) = self.calls.recv(), if takes_calls => Next::Asked(asked),
            // Of those that it was too slow for it finds out when it reconciles.
            Ok(agent) = self.losses.recv(), if is_clear && ends_at.is_none() => Next::Lost(agent),
            _ = beat.tick() => Next::Beat,
            // Whoever does not take what waits need not be told again.
            () = wait_until(retries_at) => Next::Time,
        }
    }

    /// What comes of it; none at the end.
    fn decide(&mut self, next: Next, flow: &mut Flow) -> Option<Vec<Out>> {
        let now = clock::now();
        match next {
            Next::Gone | Next::Arrival(Arrival::End) => None,
            Next::Room => Some(Vec::new()),
            Next::Arrival(Arrival::Message((sequence, told))) => {
                let holds = self.inbox.tenure.holds();
                holds.then(|| self.subscription.on_told(now, sequence, told))
            }
            Next::Arrival(Arrival::Overrun) => {
                let text = "The framework reads its events too slowly";
                flow.waiting.clear();
                flow.waiting.push_back(events::error(text));
                Some(vec![Out::End])
            }
            Next::Asked(asked) if asked.answer.is_some() => {
                flow.held = Some(asked);
                Some(Vec::new())
            }
            Next::Asked(asked) | Next::Held(asked) => Some(self.on_asked(now, asked)),
            Next::Lost(agent) => Some(self.subscription.on_agent_lost(&agent)),
            Next::Beat => {
                if self.subscription.framework.is_some() && flow.waiting.len() < MESOS_EVENTS_MAX {
                    flow.waiting.push_back(events::heartbeat());
                }
                Some(Vec::new())
            }
            Next::Time => Some(self.subscription.on_time(now)),
        }
    }

    /// None when the term is over.
    async fn perform(&mut self, session: &mut Session, out: Out, flow: &mut Flow) -> Option<()> {
        match out {
            Out::Ask(request, call) => self.ask(session, request, call).await?,
            Out::Anew(call) => {
                let framework = self.subscription.framework.as_ref();
                if framework.is_none_or(|it| !self.registry.holds(it.as_str(), &self.id)) {
                    // A later stream has taken over, and is not to be ended by what came before it.
                    return Some(());
                }
                let closed = SessionInput::Closed {
                    session: session.id,
                };
                *session = self.open(call).await?;
                self.inbox.sessions.send(closed).await.ok()?;
            }
            Out::Tell(event) => flow.waiting.push_back(*event),
            Out::Entered(framework, generation) => {
                let (framework, calls) = (framework.as_str(), self.caller.clone());
                self.registry.enter(framework, &self.id, generation, calls);
            }
            Out::Over(framework) => self.registry.forget(framework.as_str(), &self.id),
            Out::End => flow.end(),
        }
        Some(())
    }

    fn on_asked(&mut self, now: proffer_model::Time, asked: Asked) -> Vec<Out> {
        let Asked { call, answer } = asked;
        match answer {
            None => self.subscription.on_call(now, *call),
            Some(answer) => {
                let (outs, result) = match self.subscription.on_update_framework(*call) {
                    Ok(outs) => (outs, Ok(())),
                    Err(text) => (Vec::new(), Err(text)),
                };
                // A caller that has gone away does not want to know.
                let _ = answer.send(result);
                outs
            }
        }
    }
}

/// Waits until a moment; for ever without one.
async fn until(moment: Option<Instant>) {
    match moment {
        None => std::future::pending().await,
        Some(moment) => sleep_until(moment).await,
    }
}

/// Waits until a moment of the monotonic clock; for ever without one.
async fn wait_until(mono_ns: Option<u64>) {
    match mono_ns {
        None => std::future::pending().await,
        Some(at) => {
            sleep(Duration::from_nanos(
                at.saturating_sub(clock::now().mono_ns),
            ))
            .await
        }
    }
}
