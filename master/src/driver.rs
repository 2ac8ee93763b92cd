//! The driver: owns the core, hands it what happened, does what it says. The only file that knows both sides.
//!
//! A turn takes a bounded share of every lane, hands it to the core as one step, then performs the effects in their order. The
//! driver decides nothing about the cluster. It does decide when to stop taking calls: when the store or the view is
//! behind. A term ends with the first failure of the store, and with the loss of leadership, and the core with it: before
//! the effects of a turn are performed, the lease is looked at, so a process that stood still acts on nothing it had decided.

use std::time::{Duration, Instant};

use proffer_master_core::Core;
use proffer_master_core::effect::{Effect, Effects, Fact};
use proffer_master_core::event::{Event, LinkId, Seq, SessionId, WatchId};
use proffer_model::link::ToAgent;
use proffer_model::{Problem, Time};
use proffer_server::clock;
use proffer_server::notify::Pulse;

use crate::inbox::{Lanes, LinkInput, Numbered, Requests, SessionInput, Turn, Watched};
use crate::limits::{STALL_MIN, STALL_SETTLE, VIEW_RETRY_INTERVAL};
use crate::metrics::DriverMetrics;
use crate::outbox::Peers;
use crate::tenure::{Tenure, lost};
use crate::timers::Timers;
use crate::view::Feed;
use crate::writer::Writer;

/// The longest that the driver sleeps; coming much later than that means that the process stood still.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// One term.
pub(crate) struct Driver {
    core: Core,
    writer: Writer,
    feed: Feed,
    metrics: DriverMetrics,
    tenure: Tenure,
    links: Peers<LinkId, ToAgent>,
    sessions: Peers<SessionId, Numbered>,
    watches: Peers<WatchId, Watched>,
    requests: Requests,
    timers: Timers,
    /// Timers do not fire before this moment.
    timers_held_until_ns: u64,
    durable: Seq,
    /// The last batch that was given to the store.
    written: Seq,
    /// What the view has not been told yet.
    facts: Vec<Fact>,
}

impl Driver {
    /// Takes over a core that was just built.
    pub(crate) fn new(
        core: Core,
        writer: Writer,
        feed: Feed,
        metrics: DriverMetrics,
        tenure: Tenure,
    ) -> Self {
        Self {
            core,
            writer,
            feed,
            metrics,
            tenure,
            links: Peers::new(),
            sessions: Peers::new(),
            watches: Peers::new(),
            requests: Requests::default(),
            timers: Timers::default(),
            timers_held_until_ns: 0,
            durable: Seq::default(),
            written: Seq::default(),
            facts: Vec::new(),
        }
    }

    /// Runs the term, from what the core said when it was built, until it is ended, until leadership is lost, or until
    /// the store fails. Then nothing of it is left but what connections let go of by themselves.
    pub(crate) async fn run(
        mut self,
        first: Effects,
        mut lanes: Lanes,
        pulse: Pulse,
    ) -> Result<(), Problem> {
        let ended = match self.perform_all(clock::now(), first) {
            Ok(()) => self.turns(&mut lanes, &pulse).await,
            Err(problem) => Err(problem),
        };
        let Self {
            tenure,
            links,
            sessions,
            watches,
            requests,
            writer,
            feed,
            ..
        } = self;
        // First the connections, which learn it from their outboxes; the store may take a while.
        tenure.end();
        drop((lanes, links, sessions, watches, requests));
        writer.finish();
        feed.finish();
        ended
    }

    async fn turns(&mut self, lanes: &mut Lanes, pulse: &Pulse) -> Result<(), Problem> {
        let tenure = self.tenure.clone();
        let mut expected = clock::now().after(SLEEP_MAX);
        self.metrics.lease_left(tenure.lease().left(clock::now()));
        loop {
            let takes_calls = !self.writer.is_behind() && self.facts.is_empty();
            let mut persisted = None;
            let rest = self.rest(clock::now());
            tokio::select! {
                biased;
                () = tenure.lease().lost() => return Err(lost()),
                () = tenure.token().cancelled() => return Ok(()),
                progress = self.writer.progress() => persisted = Some(progress?),
                () = pulse.asked() => {}
                () = lanes.fill(takes_calls) => {}
                () = tokio::time::sleep(rest) => {}
            }
            lanes.top_up(takes_calls);
            let now = clock::now();
            self.hold_timers_after_a_stall(now, expected);
            expected = now.after(SLEEP_MAX);
            self.metrics.inbox_len(lanes.len());
            self.metrics.lease_left(tenure.lease().left(now));
            self.turn(now, persisted, &mut lanes.turn)?;
        }
    }

    /// How long nothing needs to be done unless something happens.
    fn rest(&self, now: Time) -> Duration {
        if !self.facts.is_empty() {
            return VIEW_RETRY_INTERVAL;
        }
        let next_ns = self
            .timers
            .next_ns()
            .map(|at| at.max(self.timers_held_until_ns));
        let wait = next_ns.map(|at| Duration::from_nanos(at.saturating_sub(now.mono_ns)));
        wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX)
    }

    /// After the process stood still (suspended, stopped, starved), what peers sent meanwhile waits unread in sockets.
    /// Hearing that they were silent before hearing them would condemn them for our own absence.
    fn hold_timers_after_a_stall(&mut self, now: Time, expected: Time) {
        let late = now.since(expected);
        if late >= STALL_MIN {
            self.timers_held_until_ns = now.after(STALL_SETTLE).mono_ns;
            let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                late_ms,
                "the master stood still; timers wait until its peers are heard"
            );
        }
    }

    /// Has the core take what a turn took, all in one step, then performs what it said.
    fn turn(&mut self, now: Time, persisted: Option<Seq>, turn: &mut Turn) -> Result<(), Problem> {
        let begun = Instant::now();
        if let Some(seq) = persisted {
            self.durable = seq;
            self.feed.durable(seq);
            self.core.take(now, Event::Persisted(seq));
        }
        for input in turn.links.drain(..) {
            let event = self.event_of_link(input);
            self.core.take(now, event);
        }
        if now.mono_ns >= self.timers_held_until_ns {
            while let Some(key) = self.timers.pop_due(now) {
                self.core.take(now, Event::TimerFired(key));
            }
        }
        for input in turn.sessions.drain(..) {
            if let Some(event) = self.event_of_session(input) {
                self.core.take(now, event);
            }
        }
        for request in turn.requests.drain(..) {
            let event = self.requests.begin(request);
            self.core.take(now, event);
        }
        let mut effects = Effects::new();
        self.core.end_step(&mut effects);
        self.metrics.stepped(begun.elapsed());
        self.perform_all(clock::now(), effects)
    }

    fn event_of_link(&mut self, input: LinkInput) -> Event {
        match input {
            LinkInput::Opened {
                link,
                hello,
                outbox,
            } => {
                self.links.open(link, outbox);
                let hello = *hello;
                Event::LinkOpened { link, hello }
            }
            LinkInput::Message { link, message } => Event::LinkMessage { link, message },
            LinkInput::Heavy {
                link,
                message,
                room,
            } => {
                drop(room);
                let message = *message;
                Event::LinkMessage { link, message }
            }
            LinkInput::Closed { link } => {
                self.links.remove(link);
                Event::LinkClosed { link }
            }
        }
    }

    fn event_of_session(&mut self, input: SessionInput) -> Option<Event> {
        Some(match input {
            SessionInput::Opened { session, outbox } => {
                self.sessions.open(session, outbox);
                return None;
            }
            SessionInput::Called {
                session,
                principal,
                request,
                call,
                permit,
            } => {
                drop(permit);
                match call {
                    Ok(call) => Event::CallReceived {
                        session,
                        principal,
                        request,
                        call,
                    },
                    Err(problem) => Event::CallMalformed {
                        session,
                        request,
                        problem,
                    },
                }
            }
            SessionInput::Heavy { load, called } => {
                drop(load);
                return self.event_of_session(*called);
            }
            SessionInput::Closed { session } => {
                self.sessions.remove(session);
                Event::SessionClosed { session }
            }
            SessionInput::WatchOpened {
                watch,
                principal,
                framework,
                generation,
                prefix,
                outbox,
            } => {
                self.watches.open(watch, outbox);
                Event::WatchOpened {
                    watch,
                    principal,
                    framework,
                    generation,
                    prefix,
                }
            }
            SessionInput::WatchTaken { watch } => Event::WatchTaken { watch },
            SessionInput::WatchClosed { watch } => {
                self.watches.remove(watch);
                Event::WatchClosed { watch }
            }
        })
    }

    /// Performs effects in their order; then the view is told, and only then the peers, so that who heard something
    /// finds it in the view.
    /// None of them is performed when leadership is lost at `now`, a moment after they were decided.
    fn perform_all(&mut self, now: Time, effects: Effects) -> Result<(), Problem> {
        if !self.tenure.lease().holds(now) {
            return Err(lost());
        }
        for effect in effects {
            self.perform(effect)?;
        }
        self.feed.tell(&mut self.facts, self.written)?;
        self.requests.flush(self.durable);
        // A peer that was cut off is told apart from one that left by its connection alone, which ends soon.
        for link in self.links.flush(self.durable) {
            tracing::warn!(
                link = link.0,
                "an agent reads too slowly and is disconnected"
            );
        }
        for session in self.sessions.flush(self.durable) {
            tracing::warn!(
                session = session.0,
                "a framework reads too slowly and is disconnected"
            );
        }
        for watch in self.watches.flush(self.durable) {
            tracing::warn!(
                watch = watch.0,
                "a watch of a framework's state reads too slowly and is ended"
            );
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) -> Result<(), Problem> {
        match effect {
            Effect::Persist { seq, operations } => {
                self.written = seq;
                self.writer.write(seq, operations)?;
            }
            Effect::SendSession {
                session,
                sequence,
                event,
                after,
            } => self.sessions.send(session, (sequence, event), after),
            Effect::CloseSession { session } => self.sessions.close(session),
            Effect::SendLink {
                link,
                message,
                after,
            } => self.links.send(link, message, after),
            Effect::CloseLink { link } => self.links.close(link),
            Effect::Reply {
                request,
                reply,
                after,
            } => self.requests.answer(request, reply, after, self.durable),
            Effect::SendWatch {
                watch,
                change,
                asks_on,
                after,
            } => {
                let what = Ok(change);
                self.watches.send(watch, Watched { what, asks_on }, after);
            }
            Effect::CloseWatch {
                watch,
                problem,
                after,
            } => {
                let ends = Watched {
                    what: Err(problem),
                    asks_on: false,
                };
                self.watches.send(watch, ends, after);
                self.watches.close(watch);
            }
            Effect::SetTimer { key, at } => self.timers.set(key, at),
            Effect::CancelTimer { key } => self.timers.cancel(&key),
            Effect::Record(fact) => self.facts.push(fact),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proffer_leader::Lease;
    use proffer_master_core::Config;
    use proffer_master_core::event::TimerKey;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::metrics::Metrics;
    use crate::outbox::Arrival;
    use crate::store::log::Log;
    use crate::store::memory::{Disk, MemoryStore};

    fn driver(lease: Lease) -> Driver {
        let store = MemoryStore::open(&Disk::default()).expect("a store");
        let log = Log::begin_term(Box::new(store)).expect("a term");
        let metrics = Metrics::new();
        let (_, feed) = crate::view::start(metrics.cluster).expect("a view");
        let (cluster, registry) = (log.cluster().clone(), log.registry().clone());
        let mut first = Effects::new();
        let config = Config::default();
        let core = Core::new(
            config,
            cluster,
            log.epoch(),
            [0; 32],
            registry,
            Time::default(),
            &mut first,
        );
        let writer =
            Writer::start(log, crate::writer::Lane::new(), metrics.writer).expect("a writer");
        let tenure = Tenure::new(lease, CancellationToken::new());
        let mut driver = Driver::new(core, writer, feed, metrics.driver, tenure);
        driver
            .perform_all(Time::default(), first)
            .expect("it leads");
        driver
    }

    #[test]
    fn after_a_stall_timers_wait_until_peers_could_be_heard() {
        let mut driver = driver(Lease::forever());
        let start = Time::default().after(Duration::from_secs(100));
        let is_set = |driver: &Driver| driver.timers.next_ns() == Some(start.mono_ns);
        for key in [
            TimerKey::Silence,
            TimerKey::Heartbeat,
            TimerKey::Allocate,
            TimerKey::OfferExpiry,
        ] {
            driver.timers.cancel(&key);
        }
        driver.timers.set(TimerKey::PortRest, start);
        let woken = start.after(Duration::from_secs(80));
        driver.hold_timers_after_a_stall(woken, start);
        driver
            .turn(woken, None, &mut Turn::default())
            .expect("a turn");
        assert!(is_set(&driver), "it does not fire yet");
        let settled = woken.after(STALL_SETTLE);
        assert!(driver.rest(woken) > Duration::ZERO);
        driver.hold_timers_after_a_stall(settled, settled);
        driver
            .turn(settled, None, &mut Turn::default())
            .expect("a turn");
        assert!(!is_set(&driver), "it has fired");
        driver.writer.finish();
    }

    #[test]
    fn a_master_that_stood_still_until_its_lease_ran_out_performs_nothing() {
        let start = Time::default();
        let lease = Lease::until(start.after(Duration::from_secs(3)));
        let mut driver = driver(lease.clone());
        let (outbox, mut mail) = crate::outbox::outbox(10);
        let session = SessionId(1);
        driver.sessions.open(session, outbox);
        let heartbeat = || {
            vec![Effect::SendSession {
                session,
                sequence: 1,
                event: proffer_model::session::Event::Heartbeat,
                after: proffer_master_core::effect::After::Nothing,
            }]
        };
        let last = start.after(Duration::from_millis(2_999));
        driver.perform_all(last, heartbeat()).expect("it holds");
        assert!(matches!(mail.take(), Some(Arrival::Message(_))));
        let woken = start.after(Duration::from_secs(20));
        let problem = driver.perform_all(woken, heartbeat()).expect_err("lost");
        assert!(
            problem.is(proffer_model::code::MASTER_NOT_LEADING),
            "{problem}"
        );
        assert_eq!(mail.take(), None, "nothing has left");
        assert!(driver.facts.is_empty(), "and nothing is told");
        driver.writer.finish();
    }

    #[tokio::test]
    async fn a_lost_lease_ends_the_term_at_once_and_closes_what_was_open() {
        let lease = Lease::forever();
        let mut driver = driver(lease.clone());
        let (outbox, mut mail) = crate::outbox::outbox(10);
        driver.sessions.open(SessionId(1), outbox);
        let tenure = driver.tenure.clone();
        let (inbox, lanes) = crate::inbox::lanes(tenure.clone());
        lease.lose();
        let problem = driver
            .run(Effects::new(), lanes, Pulse::default())
            .await
            .expect_err("lost");
        assert!(
            problem.is(proffer_model::code::MASTER_NOT_LEADING),
            "{problem}"
        );
        assert!(tenure.token().is_cancelled() && inbox.links.is_closed());
        assert_eq!(mail.take(), Some(Arrival::End));
    }
}
