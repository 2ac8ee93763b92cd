//! One subscription at work: between its session with the core, the calls that come for it, and what its connection takes.
//!
//! What the connection does not take waits, and while something waits nothing more is taken from the core, which has its own
//! limit for that and ends who is too slow. What is asked too fast waits too, and meanwhile events come and go.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use proffer_master_core::event::SessionId;
use proffer_model::session::{Call, Event as Told};
use proffer_model::{AgentId, Principal};
use proffer_proto::mesos::v1::scheduler::Event;
use proffer_server::clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::addresses::Addresses;
use super::events;
use super::pace::Pace;
use super::registry::{Asked, Line, Registry};
use super::subscription::{Out, Subscription, is_ending};
use crate::inbox::{Inbox, Numbered, SessionInput};
use crate::limits::{
    MESOS_AT_ONCE_MAX, MESOS_CALLS_MAX, MESOS_EVENTS_MAX, MESOS_HEARTBEAT_INTERVAL,
    MESOS_RETRIES_MAX, MESOS_UPDATE_INTERVAL, SESSION_OUTBOX_LEN,
};
use crate::outbox::{Arrival, Mail, outbox};
use crate::waiting::Load;

#[cfg(test)]
mod tests;

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
    /// Of agents.
    pub(super) addresses: Addresses,
    /// When its calls go to the core.
    pub(super) pace: Pace,
    /// How many of them at once.
    pub(super) calls_at_once: usize,
    /// To the connection.
    pub(super) events: mpsc::Sender<Event>,
    /// From the other connections.
    pub(super) calls: mpsc::Receiver<Asked>,
    /// The other end of that, for the registry.
    pub(super) caller: Line,
    /// Kept while it is open.
    pub(super) _place: OwnedSemaphorePermit,
}

/// A session with the core.
struct Session {
    id: SessionId,
    mail: Mail<Numbered>,
    /// Of the session whose place this one has taken: what that was told is heard to its end first.
    before: Option<Mail<Numbered>>,
    /// Of the mail; looked at also while none is taken.
    overrun: CancellationToken,
    permits: Arc<Semaphore>,
}

/// What goes to the core when its time has come.
enum Step {
    Call(u64, Call, Option<Load>),
    /// The session is over: another has taken its place.
    Close(SessionId),
}

/// A call that there was no room for in the core.
struct Retry {
    at: Instant,
    request: u64,
    call: Call,
    load: Option<Load>,
}

/// What is on its way, to the connection and to the core.
#[derive(Default)]
struct Flow {
    waiting: VecDeque<Event>,
    /// First in, first out; what came of one call, and of what was told since.
    steps: VecDeque<(Instant, Step)>,
    /// In no order, and in nobody's way until their time has come.
    retries: Vec<Retry>,
    /// Nothing comes after what waits, and that has time until then.
    ends_at: Option<Instant>,
    /// Of the call whose steps are being taken.
    load: Option<Load>,
    /// Of calls that wait in the subscription.
    kept: Vec<Load>,
    /// A call that waits until all before it is done, since its session ends with it.
    held: Option<Asked>,
    /// Who made that call, until the next session speaks for the framework.
    updating: Option<oneshot::Sender<Result<(), String>>>,
    /// When the last such call was made.
    updated_at: Option<Instant>,
}

impl Flow {
    /// It takes nothing more, and what waits has a while to be taken.
    fn end(&mut self) {
        self.ends_at = Some(Instant::now() + MESOS_HEARTBEAT_INTERVAL);
    }

    fn is_ending(&self) -> bool {
        self.ends_at.is_some()
    }

    /// The bytes of a call that is not on its way to the core yet are counted on.
    fn keep_load(&mut self, subscription: &Subscription) {
        let load = self.load.take();
        if subscription.reconciliations_held() > 0 {
            self.kept.extend(load);
        } else if self.steps.is_empty() {
            self.kept.clear();
        }
    }

    /// The connection takes what it can at once.
    fn hand_over(&mut self, events: &mpsc::Sender<Event>) {
        while !self.waiting.is_empty()
            && let Ok(room) = events.try_reserve()
            && let Some(event) = self.waiting.pop_front()
        {
            room.send(event);
        }
    }

    /// Whether nothing waits, for the connection, for the core or for its time.
    fn is_clear(&self) -> bool {
        self.waiting.is_empty()
            && self.steps.is_empty()
            && self.retries.is_empty()
            && self.held.is_none()
            && !self.is_ending()
    }

    /// Whether what is told is heard.
    fn hears(&self) -> bool {
        self.waiting.is_empty() && self.steps.len() < MESOS_CALLS_MAX && !self.is_ending()
    }

    /// Whether another call is taken.
    fn takes_calls(&self, subscription: &Subscription) -> bool {
        self.waiting.len() < MESOS_EVENTS_MAX
            && self.steps.is_empty()
            && self.retries.len() < MESOS_RETRIES_MAX
            && subscription.reconciliations_held() < MESOS_EVENTS_MAX
            && self.held.is_none()
            && !self.is_ending()
    }

    /// The call whose turn it is when nothing before it is under way any more.
    fn take_held(&mut self, subscription: &Subscription, session: &Session) -> Option<Asked> {
        let is_clear = !subscription.is_asking()
            && self.steps.is_empty()
            && self.updating.is_none()
            && session.before.is_none();
        self.held.take_if(|_| is_clear)
    }

    fn next_at(&self) -> Option<Instant> {
        self.steps.front().map(|(at, _)| *at)
    }

    fn retry_at(&self) -> Option<Instant> {
        self.retries.iter().map(|retry| retry.at).min()
    }

    /// The call whose time has come again.
    fn take_retry(&mut self) -> Option<Retry> {
        let due = self.retry_at()?;
        let place = self.retries.iter().position(|retry| retry.at == due)?;
        Some(self.retries.remove(place))
    }
}

/// What comes next.
enum Next {
    Gone,
    Room,
    Arrival(Arrival<Numbered>),
    /// Told to the session before.
    Before(Numbered),
    Asked(Asked),
    Held(Asked),
    /// The next call may go.
    Turn(OwnedSemaphorePermit),
    /// There may be room for a call again.
    Retry,
    Lost(AgentId),
    Beat,
    Time,
}

impl Stream {
    /// Lives until the framework goes, is sent away, or the term is over.
    pub(super) async fn run(mut self, first: Call) {
        let mut flow = Flow::default();
        let Some(mut session) = self.open(first, &mut flow).await else {
            return;
        };
        let tenure = self.inbox.tenure.clone();
        tokio::select! {
            _ = self.live(&mut session, &mut flow) => {}
            () = tenure.over() => {}
        }
        let closed = SessionInput::Closed {
            session: session.id,
        };
        // When the term is over, nobody needs to know.
        let _ = self.inbox.sessions.send(closed).await;
    }

    /// Opens a session with this as its first call; none when the term is over.
    async fn open(&mut self, first: Call, flow: &mut Flow) -> Option<Session> {
        let (outbox, mail) = outbox(SESSION_OUTBOX_LEN);
        let id = SessionId(self.inbox.next_id());
        let session = Session {
            id,
            overrun: mail.is_overrun.clone(),
            mail,
            before: None,
            permits: Arc::new(Semaphore::new(self.calls_at_once)),
        };
        let opened = SessionInput::Opened {
            session: id,
            outbox,
        };
        self.inbox.sessions.send(opened).await.ok()?;
        self.ask(&session, 0, first, flow).await?;
        Some(session)
    }

    /// The core is asked at once if it may be, and later else, after what waits already.
    async fn ask(
        &mut self,
        session: &Session,
        request: u64,
        call: Call,
        flow: &mut Flow,
    ) -> Option<()> {
        let known = self.subscription.updates.known();
        let wait = self.pace.wait(clock::now().mono_ns, &call, known);
        let permit = match flow.steps.is_empty() && wait.is_zero() {
            true => Arc::clone(&session.permits).try_acquire_owned().ok(),
            false => None,
        };
        match permit {
            Some(permit) => {
                let load = flow.load.clone();
                self.send(session, (request, call, load), permit).await
            }
            None => {
                let step = Step::Call(request, call, flow.load.clone());
                flow.steps.push_back((Instant::now() + wait, step));
                Some(())
            }
        }
    }

    /// Asks again, behind what waits already.
    async fn retry(&mut self, session: &Session, flow: &mut Flow) -> Option<()> {
        let Some(retry) = flow.take_retry() else {
            return Some(());
        };
        flow.load = retry.load;
        let asked = self.ask(session, retry.request, retry.call, flow).await;
        flow.load = None;
        asked
    }

    /// Does what waits, with the next call, as far as it needs no other permit.
    async fn go(
        &mut self,
        session: &Session,
        flow: &mut Flow,
        permit: OwnedSemaphorePermit,
    ) -> Option<()> {
        if let Some((_, Step::Call(request, call, load))) = flow
            .steps
            .pop_front_if(|(_, step)| matches!(step, Step::Call(..)))
        {
            let step = (request, call, load);
            self.send(session, step, permit).await?;
        }
        while let Some((_, Step::Close(before))) = flow
            .steps
            .pop_front_if(|(_, step)| matches!(step, Step::Close(_)))
        {
            let closed = SessionInput::Closed { session: before };
            self.inbox.sessions.send(closed).await.ok()?;
        }
        Some(())
    }

    async fn send(
        &self,
        session: &Session,
        (request, call, load): (u64, Call, Option<Load>),
        permit: OwnedSemaphorePermit,
    ) -> Option<()> {
        let called = SessionInput::Called {
            session: session.id,
            principal: self.principal.clone(),
            request,
            call: Ok(call),
            permit,
        };
        let input = SessionInput::heavy(load, called);
        self.inbox.sessions.send(input).await.ok()
    }

    /// None when the term is over.
    async fn live(&mut self, session: &mut Session, flow: &mut Flow) -> Option<()> {
        let first = Instant::now() + MESOS_HEARTBEAT_INTERVAL;
        let mut beat = interval_at(first, MESOS_HEARTBEAT_INTERVAL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut passed = 0;
        while !(flow.is_ending() && flow.waiting.is_empty()) {
            let at_once = match passed < MESOS_AT_ONCE_MAX {
                true => self.at_once(session, flow),
                false => None,
            };
            passed = at_once.as_ref().map_or(0, |_| passed + 1);
            let next = match at_once {
                Some(next) => {
                    consume_budget().await;
                    next
                }
                None => self.next(session, &mut beat, flow).await,
            };
            if let Next::Turn(permit) = next {
                self.go(session, flow, permit).await?;
                continue;
            }
            if let Next::Retry = next {
                self.retry(session, flow).await?;
                continue;
            }
            self.look_up(&next).await;
            let Some(outs) = self.decide(next, flow) else {
                return self.make_the_rest(session, flow).await;
            };
            for out in outs {
                self.perform(session, out, flow).await?;
            }
            flow.keep_load(&self.subscription);
            flow.hand_over(&self.events);
        }
        Some(())
    }

    /// Calls that were accepted are made, though nobody hears any more what comes of them: a framework that ends says
    /// TEARDOWN and closes its stream at once. Of what there was no room for only what ends something is asked again.
    async fn make_the_rest(&mut self, session: &mut Session, flow: &mut Flow) -> Option<()> {
        self.calls.close();
        flow.retries.retain(|retry| is_ending(&retry.call));
        let mut is_all = false;
        while !(is_all && flow.steps.is_empty() && !self.subscription.is_owing()) {
            let retry_at = flow.retry_at();
            let Session {
                before,
                mail,
                permits,
                ..
            } = session;
            tokio::select! {
                biased;
                permit = turn(flow.next_at(), permits) => {
                    self.go(session, flow, permit?).await?;
                }
                () = until(retry_at) => self.retry(session, flow).await?,
                asked = self.calls.recv(), if flow.steps.is_empty() && !is_all => {
                    let Some(Asked { call, agents, answer, load, .. }) = asked else {
                        is_all = true;
                        continue;
                    };
                    if answer.is_some() {
                        // Who subscribes no more updates nothing.
                        continue;
                    }
                    flow.load = load;
                    let outs = self.subscription.on_call(clock::now(), *call, &agents);
                    self.ask_all(session, outs, flow).await?;
                    flow.load = None;
                }
                next = poll_fn(|context| poll_told(before, mail, context)) => match next {
                    Next::Arrival(Arrival::End | Arrival::Overrun) => return Some(()),
                    Next::Arrival(Arrival::Message((sequence, told @ Told::Answered { .. }))) => {
                        let outs = self.subscription.on_told(clock::now(), sequence, told);
                        self.ask_all(session, outs, flow).await?;
                    }
                    _ => {}
                }
            }
        }
        Some(())
    }

    /// The core is asked what nobody needs to hear the answer of.
    async fn ask_all(
        &mut self,
        session: &mut Session,
        outs: Vec<Out>,
        flow: &mut Flow,
    ) -> Option<()> {
        for out in outs {
            match &out {
                Out::Ask(..) => self.perform(session, out, flow).await?,
                Out::AskLater(_, _, call) if is_ending(call) => {
                    self.perform(session, out, flow).await?;
                }
                _ => {}
            }
        }
        Some(())
    }

    /// What is there already where nothing else may come before it: most of what a busy framework is told and calls.
    fn at_once(&mut self, session: &mut Session, flow: &Flow) -> Option<Next> {
        if !flow.is_clear() {
            return None;
        }
        let Session { before, mail, .. } = session;
        let told = poll_fn(|context| poll_told(before, mail, context)).now_or_never();
        told.or_else(|| {
            let takes_calls = flow.takes_calls(&self.subscription);
            let asked = takes_calls.then(|| self.calls.try_recv().ok()).flatten();
            asked.map(Next::Asked)
        })
    }

    async fn next(&mut self, session: &mut Session, beat: &mut Interval, flow: &mut Flow) -> Next {
        let is_clear = flow.waiting.is_empty();
        let (hears, takes_calls) = (flow.hears(), flow.takes_calls(&self.subscription));
        if let Some(held) = flow.take_held(&self.subscription, session) {
            return Next::Held(held);
        }
        let (ends_at, next_at, retry_at) = (flow.ends_at, flow.next_at(), flow.retry_at());
        let retries_at = self.subscription.updates.next_retry().filter(|_| is_clear);
        let Session {
            before,
            mail,
            overrun,
            permits,
            ..
        } = session;
        tokio::select! {
            biased;
            () = self.events.closed() => Next::Gone,
            () = until(ends_at) => Next::Gone,
            // However much is told and called, it is heard that the master is there.
            _ = beat.tick() => Next::Beat,
            room = self.events.reserve(), if !is_clear => match room {
                Ok(room) => {
                    if let Some(event) = flow.waiting.pop_front() {
                        room.send(event);
                    }
                    Next::Room
                }
                Err(_) => Next::Gone,
            },
            () = overrun.cancelled(), if ends_at.is_none() => {
                Next::Arrival(Arrival::Overrun)
            }
            Some(permit) = turn(next_at, permits), if ends_at.is_none() => {
                Next::Turn(permit)
            }
            () = until(retry_at), if ends_at.is_none() => Next::Retry,
            next = poll_fn(|context| poll_told(before, mail, context)), if hears => next,
            Some(asked) = self.calls.recv(), if takes_calls => Next::Asked(asked),
            // Of those that it was too slow for it finds out when it reconciles.
            Ok(agent) = self.losses.recv(), if is_clear && ends_at.is_none() => Next::Lost(agent),
            // Whoever does not take what waits need not be told again.
            () = wait_until(retries_at) => Next::Time,
        }
    }

    /// What is told of a task may depend on its executor, which only who has launched it knows.
    async fn look_up(&mut self, next: &Next) {
        let (Next::Before((_, told)) | Next::Arrival(Arrival::Message((_, told)))) = next else {
            return;
        };
        let subscription = &mut self.subscription;
        if let (Told::Updated(status), Some(framework)) = (told, &subscription.framework)
            && subscription.updates.lacks_executor(status)
            && let Some((executor, number)) = self.addresses.executor(framework, status).await
        {
            subscription.updates.found(status, executor, number);
        }
    }

    /// What comes of it; none at the end.
    fn decide(&mut self, next: Next, flow: &mut Flow) -> Option<Vec<Out>> {
        let now = clock::now();
        match next {
            Next::Gone | Next::Arrival(Arrival::End) => None,
            Next::Room | Next::Turn(_) | Next::Retry => Some(Vec::new()),
            Next::Before((sequence, told)) => {
                let holds = self.inbox.tenure.holds();
                holds.then(|| self.subscription.on_told_before(now, sequence, told))
            }
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
            Next::Asked(asked) | Next::Held(asked) => Some(self.on_asked(now, asked, flow)),
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
            Out::Ask(request, call) => self.ask(session, request, call, flow).await?,
            Out::AskLater(wait, request, call) => {
                let (at, load) = (Instant::now() + wait, flow.load.clone());
                flow.retries.push(Retry {
                    at,
                    request,
                    call,
                    load,
                });
            }
            Out::Anew(call) => {
                // The core ends who subscribes more often than it lets anybody.
                if let Some(at) = flow.updated_at.replace(Instant::now()) {
                    sleep_until(at + MESOS_UPDATE_INTERVAL).await;
                    flow.updated_at = Some(Instant::now());
                }
                let framework = self.subscription.framework.as_ref();
                if framework.is_none_or(|it| !self.registry.holds(it.as_str(), &self.id)) {
                    // A later stream has taken over, and is not to be ended by what came before it.
                    flow.updating = None;
                    return Some(());
                }
                let next = self.open(call, flow).await?;
                let before = std::mem::replace(session, next);
                session.before = Some(before.mail);
                self.close(before.id, flow).await?;
            }
            Out::Tell(mut event) => {
                let framework = self.subscription.framework.as_ref();
                self.addresses.place(framework, &mut event).await;
                flow.waiting.push_back(*event);
            }
            Out::Entered(framework, generation) => {
                self.inbox.changed();
                let (framework, line) = (framework.as_str(), self.caller.clone());
                self.registry.enter(framework, &self.id, generation, line);
                let limits = &self.subscription.intent.limits;
                self.registry.constrain(framework, &self.id, limits);
                if let Some(answer) = flow.updating.take() {
                    // A caller that has gone away does not want to know.
                    let _ = answer.send(Ok(()));
                }
            }
            Out::Over(framework) => {
                self.inbox.changed();
                self.registry.forget(framework.as_str(), &self.id);
            }
            Out::End => flow.end(),
        }
        Some(())
    }

    /// Ends the session before, when the one that takes its place has subscribed.
    async fn close(&self, before: SessionId, flow: &mut Flow) -> Option<()> {
        if !flow.steps.is_empty() {
            let step = Step::Close(before);
            flow.steps.push_back((Instant::now(), step));
            return Some(());
        }
        let closed = SessionInput::Closed { session: before };
        self.inbox.sessions.send(closed).await.ok()
    }

    fn on_asked(&mut self, now: proffer_model::Time, asked: Asked, flow: &mut Flow) -> Vec<Out> {
        let Asked {
            call,
            agents,
            answer,
            load,
            limits,
        } = asked;
        flow.load = load;
        let Some(answer) = answer else {
            return self.subscription.on_call(now, *call, &agents);
        };
        match self.subscription.on_update_framework(*call, limits) {
            Ok(outs) => {
                flow.updating = Some(answer);
                outs
            }
            Err(text) => {
                // A caller that has gone away does not want to know.
                let _ = answer.send(Err(text));
                Vec::new()
            }
        }
    }
}

/// What the core tells next, and whether it is to the session before.
fn poll_told(
    before: &mut Option<Mail<Numbered>>,
    mail: &mut Mail<Numbered>,
    context: &mut Context<'_>,
) -> Poll<Next> {
    if let Some(told) = before {
        match ready!(told.poll_next(context)) {
            Arrival::Message(told) => return Poll::Ready(Next::Before(told)),
            Arrival::End | Arrival::Overrun => *before = None,
        }
    }
    mail.poll_next(context).map(Next::Arrival)
}

/// Waits until the next call may go; for ever without one.
async fn turn(at: Option<Instant>, permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    until(at).await;
    Arc::clone(permits).acquire_owned().await.ok()
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
