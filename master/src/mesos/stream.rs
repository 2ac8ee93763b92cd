//! One subscription at work: between its session with the core, the calls that come for it, and what its connection takes.
//!
//! What the connection does not take waits, and while something waits nothing more is taken from the core, which has its own
//! limit for that and ends who is too slow.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use proffer_master_core::event::SessionId;
use proffer_model::Principal;
use proffer_model::session::Call;
use proffer_proto::mesos::v1::scheduler::Event;
use proffer_server::clock;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::events;
use super::registry::{Asked, Registry};
use super::subscription::{Out, Subscription};
use crate::inbox::{Inbox, Numbered, SessionInput};
use crate::limits::{
    MESOS_EVENTS_MAX, MESOS_HEARTBEAT_INTERVAL, SESSION_CALLS_MAX, SESSION_OUTBOX_LEN,
};
use crate::outbox::{Arrival, Mail, outbox};

/// A subscription with its surroundings.
pub(super) struct Stream {
    pub(super) subscription: Subscription,
    pub(super) inbox: Inbox,
    pub(super) principal: Principal,
    pub(super) registry: Registry,
    /// The stream's id, as the framework knows it.
    pub(super) id: String,
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
    permits: Arc<Semaphore>,
}

/// What comes next.
enum Next {
    Gone,
    Room,
    Arrival(Arrival<Numbered>),
    Asked(Asked),
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
            mail,
            permits: Arc::new(Semaphore::new(SESSION_CALLS_MAX)),
        };
        let opened = SessionInput::Opened {
            session: id,
            outbox,
        };
        self.inbox.sessions.send(opened).await.ok()?;
        self.ask(&session, 0, first).await?;
        Some(session)
    }

    async fn ask(&self, session: &Session, request: u64, call: Call) -> Option<()> {
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
        let mut waiting: VecDeque<Event> = VecDeque::new();
        let mut is_ending = false;
        loop {
            if is_ending && waiting.is_empty() {
                return;
            }
            let next = tokio::select! {
                biased;
                () = self.events.closed() => Next::Gone,
                room = self.events.reserve(), if !waiting.is_empty() => match room {
                    Ok(room) => {
                        waiting.pop_front().map(|event| room.send(event));
                        Next::Room
                    }
                    Err(_) => Next::Gone,
                },
                arrival = poll_fn(|context| session.mail.poll_next(context)), if waiting.is_empty() && !is_ending => {
                    Next::Arrival(arrival)
                }
                Some(asked) = self.calls.recv(), if waiting.len() < MESOS_EVENTS_MAX && !is_ending => Next::Asked(asked),
                _ = beat.tick() => Next::Beat,
                () = wait_until(self.subscription.updates.next_retry()) => Next::Time,
            };
            let now = clock::now();
            let outs = match next {
                Next::Gone => return,
                Next::Room => Vec::new(),
                Next::Arrival(Arrival::Message((sequence, told))) => {
                    if !self.inbox.tenure.holds() {
                        return;
                    }
                    self.subscription.on_told(now, sequence, told)
                }
                Next::Arrival(Arrival::End) => return,
                Next::Arrival(Arrival::Overrun) => {
                    let text = "The framework reads its events too slowly";
                    waiting.push_back(events::error(text));
                    vec![Out::End]
                }
                Next::Asked(asked) => self.on_asked(now, asked),
                Next::Beat => {
                    if self.subscription.framework.is_some() && waiting.len() < MESOS_EVENTS_MAX {
                        waiting.push_back(events::heartbeat());
                    }
                    Vec::new()
                }
                Next::Time => self.subscription.on_time(now),
            };
            for out in outs {
                match out {
                    Out::Ask(request, call) => {
                        if self.ask(session, request, call).await.is_none() {
                            return;
                        }
                    }
                    Out::Anew(call) => {
                        let closed = SessionInput::Closed {
                            session: session.id,
                        };
                        let Some(fresh) = self.open(call).await else {
                            return;
                        };
                        *session = fresh;
                        if self.inbox.sessions.send(closed).await.is_err() {
                            return;
                        }
                    }
                    Out::Tell(event) => waiting.push_back(*event),
                    Out::Entered(framework) => {
                        let framework = framework.as_str();
                        self.registry
                            .enter(framework, &self.id, self.caller.clone());
                    }
                    Out::Over(framework) => self.registry.forget(framework.as_str(), &self.id),
                    Out::End => is_ending = true,
                }
            }
        }
    }

    fn on_asked(&mut self, now: proffer_model::Time, asked: Asked) -> Vec<Out> {
        let Asked { call, answer } = asked;
        match answer {
            None => self.subscription.on_call(now, call),
            Some(answer) => {
                let (outs, result) = match self.subscription.on_update_framework(call) {
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
