//! A stream between a framework and a core that the test plays.

use std::time::Duration;

use proffer_master_core::effect::After;
use proffer_master_core::event::Seq;
use proffer_model::session::{Answer, Event as Told};
use proffer_model::{Epoch, FrameworkId, Generation, Problem, code};
use proffer_proto::mesos::read_json;
use proffer_proto::mesos::v1::scheduler::{Call as Spoken, OfferConstraints, call, event};
use proffer_proto::mesos::v1::{self, FrameworkInfo};

use super::super::constraints::Limits;
use super::super::intent::Intent;
use super::super::pace::Rates;
use super::super::registry::{Found, Owner};
use super::*;
use crate::inbox::{Lanes, lanes};
use crate::limits::SESSION_CALLS_BYTES_MAX;
use crate::metrics::ClusterMetrics;
use crate::outbox::Peers;
use crate::tenure::Tenure;
use crate::view;
use crate::waiting::Waiting;

/// What the framework and the core have of a stream.
struct Stage {
    /// Keeps the lanes open.
    _inbox: Inbox,
    lanes: Lanes,
    sessions: Peers<SessionId, Numbered>,
    events: mpsc::Receiver<Event>,
    calls: mpsc::Sender<Asked>,
    /// Of what has come to the core.
    loads: Vec<Load>,
    _losses: broadcast::Sender<AgentId>,
}

/// What has come to the core.
#[derive(Debug, PartialEq)]
enum Heard {
    Opened(SessionId),
    Called(SessionId, Call),
    Closed(SessionId),
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(30), future).await;
    waited.unwrap_or_else(|_| panic!("{what} did not come"))
}

fn framework() -> FrameworkId {
    FrameworkId::new("f").expect("an id")
}

fn subscribed() -> Told {
    Told::Subscribed {
        framework: framework(),
        cluster: "c".parse().expect("an id"),
        epoch: Epoch(1),
        generation: Generation(1),
        heartbeat_interval: Duration::from_secs(1),
        is_resumed: false,
    }
}

fn message() -> Told {
    Told::Message {
        agent: AgentId::new("a").expect("an id"),
        executor: "e".parse().expect("an id"),
        data: Vec::new(),
    }
}

fn info() -> FrameworkInfo {
    FrameworkInfo {
        name: "f".to_owned(),
        ..FrameworkInfo::default()
    }
}

fn spoken(kind: call::Type) -> Spoken {
    Spoken {
        r#type: Some(kind.into()),
        ..Spoken::default()
    }
}

fn reconcile(count: usize) -> Asked {
    let task = |number| call::reconcile::Task {
        task_id: v1::TaskId {
            value: format!("t{number}"),
        },
        agent_id: None,
    };
    let call = Spoken {
        reconcile: Some(call::Reconcile {
            tasks: (0..count).map(task).collect(),
        }),
        ..spoken(call::Type::Reconcile)
    };
    Asked::new(call, None)
}

impl Stage {
    /// A stream of a framework that may make so many calls in a second, and its first session.
    async fn start(rate: u64) -> (Self, SessionId) {
        let (mut stage, stream, first) = Self::set(rate).await;
        tokio::spawn(stream.run(first));
        let session = stage.opened().await;
        (stage, session)
    }

    /// The same, with a stream that does not run yet, and the call that it begins with.
    async fn set(rate: u64) -> (Self, Stream, Call) {
        let (inbox, lanes) = lanes(Tenure::forever());
        let principal = Principal::new("local").expect("a name");
        let owner = Owner::of(&principal, &info());
        let intent = Intent::of(info(), principal.clone()).expect("good");
        let begun = Subscription::begin(intent, v1::MasterInfo::default(), None);
        let (subscription, first) = begun.expect("good");
        let rates = Rates {
            calls: rate,
            operations: rate,
        };
        let (events, told) = mpsc::channel(MESOS_EVENTS_MAX);
        let (caller, calls) = mpsc::channel(MESOS_CALLS_MAX);
        let (losses, lost) = broadcast::channel(1);
        let (view, feed) = view::start(ClusterMetrics::default()).expect("a view");
        feed.finish();
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await;
        let stream = Stream {
            subscription,
            inbox: inbox.clone(),
            principal,
            registry: Registry::default(),
            id: "s".to_owned(),
            losses: lost,
            addresses: Addresses::new(view),
            pace: Pace::new(rates),
            calls_at_once: rates.at_once(1_000),
            events,
            calls,
            caller: Line::new(caller.clone(), Waiting::default(), owner),
            _place: place.expect("a place"),
        };
        let stage = Self {
            _inbox: inbox,
            lanes,
            sessions: Peers::new(),
            events: told,
            calls: caller,
            loads: Vec::new(),
            _losses: losses,
        };
        (stage, stream, first)
    }

    /// The next that comes to the core.
    async fn heard(&mut self) -> Heard {
        while self.lanes.turn.sessions.is_empty() {
            soon("a call", self.lanes.fill(true)).await;
        }
        let mut input = self.lanes.turn.sessions.remove(0);
        if let SessionInput::Heavy { load, called } = input {
            self.loads.push(load);
            input = *called;
        }
        match input {
            SessionInput::Opened { session, outbox } => {
                self.sessions.open(session, outbox);
                Heard::Opened(session)
            }
            SessionInput::Called { session, call, .. } => {
                Heard::Called(session, call.expect("readable"))
            }
            SessionInput::Closed { session } => Heard::Closed(session),
            other => panic!("{other:?}"),
        }
    }

    /// A session that is opened and asks to subscribe.
    async fn opened(&mut self) -> SessionId {
        let Heard::Opened(session) = self.heard().await else {
            panic!("it opens a session")
        };
        let Heard::Called(of, Call::Subscribe { .. }) = self.heard().await else {
            panic!("it subscribes")
        };
        assert_eq!(of, session);
        session
    }

    fn tell(&mut self, session: SessionId, told: Told) {
        self.sessions.send(session, (0, told), After::Nothing);
        self.sessions.flush(Seq::default());
    }

    fn close(&mut self, session: SessionId) {
        self.sessions.close(session);
        self.sessions.flush(Seq::default());
    }

    async fn event(&mut self) -> event::Type {
        let event = soon("an event", self.events.recv()).await;
        event.expect("it is open").r#type()
    }

    /// Subscribes it, and tells it that there are no tasks.
    async fn welcome(&mut self, session: SessionId) {
        self.tell(session, subscribed());
        self.tell(session, Told::SnapshotEnded);
        assert_eq!(self.event().await, event::Type::Subscribed);
        assert_eq!(self.event().await, event::Type::Heartbeat);
        let demand = self.heard().await;
        assert!(matches!(demand, Heard::Called(_, Call::SetDemand(_))));
    }

    /// The stream has done all that it can do by now: all is on this thread.
    async fn settles() {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn calls_that_wait_for_their_turn_hold_back_no_event() {
    let (mut stage, session) = Stage::start(1).await;
    stage.welcome(session).await;
    stage.calls.send(reconcile(200_000)).await.expect("open");
    stage.heard().await;
    stage.tell(session, message());
    assert_eq!(stage.event().await, event::Type::Message);
    let mut gone = 1;
    while let Ok(Heard::Called(..)) =
        tokio::time::timeout(Duration::from_millis(10), stage.heard()).await
    {
        gone += 1;
    }
    assert!(gone < 15, "{gone} of 20 that go one a second");
}

#[tokio::test]
async fn a_reconciliation_that_there_was_no_room_for_holds_back_no_other_call() {
    let (mut stage, session) = Stage::start(100_000).await;
    stage.welcome(session).await;
    stage.calls.send(reconcile(1)).await.expect("open");
    assert!(matches!(
        stage.heard().await,
        Heard::Called(_, Call::Reconcile { .. })
    ));
    let refuse = |stage: &mut Stage, request, wait| {
        let full = Problem::new(code::SESSION_RATE_LIMITED, "too many").retry_after(wait);
        let answer = Answer::Refused(full);
        stage.tell(session, Told::Answered { request, answer });
    };
    // The demand was the first.
    refuse(&mut stage, 2, Duration::from_secs(2));
    Stage::settles().await;
    stage.calls.send(reconcile(2)).await.expect("open");
    let Heard::Called(_, Call::Reconcile { tasks }) = stage.heard().await else {
        panic!("the second")
    };
    assert_eq!(tasks.len(), 2);
    let Heard::Called(_, Call::Reconcile { tasks }) = stage.heard().await else {
        panic!("the first again")
    };
    assert_eq!(tasks.len(), 1);
    // Of so many that there is no room for no more are made.
    for request in 5..5 + u64::try_from(MESOS_RETRIES_MAX).expect("few") {
        stage.calls.send(reconcile(3)).await.expect("open");
        stage.heard().await;
        refuse(&mut stage, request, Duration::from_secs(3_600));
        Stage::settles().await;
    }
    stage.calls.send(reconcile(4)).await.expect("open");
    Stage::settles().await;
    assert_eq!(stage.calls.capacity(), MESOS_CALLS_MAX - 1);
}

#[tokio::test]
async fn a_call_that_was_let_in_is_made_though_its_framework_is_gone() {
    let kill = Spoken {
        kill: Some(call::Kill {
            task_id: v1::TaskId { value: "t".into() },
            ..call::Kill::default()
        }),
        ..spoken(call::Type::Kill)
    };
    for spoken in [spoken(call::Type::Teardown), kill] {
        let (mut stage, session) = Stage::start(1_000).await;
        stage.welcome(session).await;
        let calls = stage.calls.clone();
        let place = calls.reserve().await.expect("open");
        stage.events.close();
        while !stage.calls.is_closed() {
            tokio::task::yield_now().await;
        }
        let kind = spoken.r#type();
        place.send(Asked::new(spoken, None));
        // Also when there was no room for it at first.
        let full = Problem::new(code::SESSION_RATE_LIMITED, "too many");
        let full = Answer::Refused(full.retry_after(Duration::from_millis(5)));
        for (request, answer) in (2..).zip([full, Answer::Done]) {
            match (stage.heard().await, kind) {
                (Heard::Called(_, Call::Teardown), call::Type::Teardown) => {}
                (Heard::Called(_, Call::Kill { .. }), call::Type::Kill) => {}
                (heard, _) => panic!("{heard:?}"),
            }
            stage.tell(session, Told::Answered { request, answer });
        }
        assert_eq!(stage.heard().await, Heard::Closed(session));
    }
}

#[tokio::test]
async fn what_a_framework_says_of_its_offers_is_kept_as_long_as_its_stream() {
    let said = r#"{"role_constraints":{"*":{"groups":[{"attribute_constraints":[{"selector":
        {"attribute_name":"a"},"predicate":{"exists":{}}}]}]}}}"#;
    let limits: OfferConstraints = read_json(said.as_bytes()).expect("reads");
    let (mut stage, mut stream, first) = Stage::set(1_000).await;
    let intent = stream.subscription.intent.clone();
    stream.subscription.intent = intent.limited(&[], Limits::of(&limits)).expect("good");
    let registry = stream.registry.clone();
    tokio::spawn(stream.run(first));
    let session = stage.opened().await;
    stage.welcome(session).await;
    let shown = registry.constraints("f").map(|said| said.message());
    assert_eq!(shown, Some(limits));
    stage.events.close();
    assert_eq!(stage.heard().await, Heard::Closed(session));
    Stage::settles().await;
    assert!(registry.constraints("f").is_none(), "nobody holds it");
    let known = registry.find("f");
    assert!(matches!(known, Found::Disconnected(_)), "{known:?}");
}

#[tokio::test]
async fn the_bytes_of_a_call_are_counted_until_the_core_has_all_of_it() {
    let (mut stage, session) = Stage::start(1).await;
    stage.welcome(session).await;
    let waiting = Waiting::default();
    let mut asked = reconcile(1);
    asked.load = waiting.take(SESSION_CALLS_BYTES_MAX).expect("room");
    stage.calls.send(asked).await.expect("open");
    stage.calls.send(reconcile(1)).await.expect("open");
    for _ in 0..2 {
        assert!(matches!(stage.heard().await, Heard::Called(..)));
    }
    assert_eq!(stage.loads.len(), 1, "of one of them");
    waiting.take(1_000_000).expect_err("the core has it yet");
    stage.loads.clear();
    waiting.take(1_000_000).expect("nothing waits");
}

#[tokio::test]
async fn the_bytes_of_a_reconciliation_are_counted_while_it_waits_for_a_snapshot() {
    let (mut stage, session) = Stage::start(100_000).await;
    stage.tell(session, subscribed());
    assert_eq!(stage.event().await, event::Type::Subscribed);
    let waiting = Waiting::default();
    let mut asked = reconcile(1);
    asked.load = waiting.take(SESSION_CALLS_BYTES_MAX).expect("room");
    stage.calls.send(asked).await.expect("open");
    Stage::settles().await;
    assert_eq!(stage.calls.capacity(), MESOS_CALLS_MAX);
    waiting.take(1_000_000).expect_err("it waits");
    stage.tell(session, Told::SnapshotEnded);
    Stage::settles().await;
    waiting.take(1_000_000).expect("it does not any more");
}

#[tokio::test]
async fn so_many_reconciliations_wait_for_a_snapshot_and_no_more() {
    let (mut stage, session) = Stage::start(100_000).await;
    stage.tell(session, subscribed());
    assert_eq!(stage.event().await, event::Type::Subscribed);
    for _ in 0..MESOS_EVENTS_MAX + 10 {
        stage.calls.send(reconcile(1)).await.expect("open");
    }
    Stage::settles().await;
    assert_eq!(stage.calls.capacity(), MESOS_CALLS_MAX - 10);
    stage.tell(session, Told::SnapshotEnded);
    Stage::settles().await;
    assert_eq!(stage.calls.capacity(), MESOS_CALLS_MAX);
}

#[tokio::test]
async fn an_update_is_answered_when_it_is_done_and_loses_nothing_that_was_told_before() {
    let (mut stage, session) = Stage::start(1_000).await;
    stage.welcome(session).await;
    let update = call::UpdateFramework {
        framework_info: FrameworkInfo {
            id: Some(v1::FrameworkId {
                value: framework().to_string(),
            }),
            ..info()
        },
        ..call::UpdateFramework::default()
    };
    let call = Spoken {
        update_framework: Some(update),
        ..spoken(call::Type::UpdateFramework)
    };
    let (answer, mut answered) = oneshot::channel();
    let asked = Asked::new(call, Some(answer));
    stage.calls.send(asked).await.expect("open");
    let next = stage.opened().await;
    assert_eq!(stage.heard().await, Heard::Closed(session));
    Stage::settles().await;
    answered.try_recv().expect_err("it is not done yet");
    stage.tell(next, subscribed());
    stage.tell(session, message());
    stage.close(session);
    assert_eq!(stage.event().await, event::Type::Message);
    let answer = soon("an answer", answered).await;
    assert_eq!(answer.expect("an answer"), Ok(()));
}

#[tokio::test]
async fn a_beat_is_a_heartbeat_for_who_is_subscribed_however_much_else_is_told() {
    assert_eq!(MESOS_HEARTBEAT_INTERVAL, Duration::from_secs(15));
    let (_stage, mut stream, _) = Stage::set(1_000).await;
    let mut flow = Flow::default();
    let nothing = stream.decide(Next::Beat, &mut flow);
    assert!(nothing.is_some_and(|outs| outs.is_empty()) && flow.waiting.is_empty());
    let outs = stream.decide(
        Next::Arrival(Arrival::Message((1, subscribed()))),
        &mut flow,
    );
    let said = outs.iter().flatten().find_map(|out| match out {
        Out::Tell(event) => event.subscribed.as_ref(),
        _ => None,
    });
    let interval = said.expect("it is told").heartbeat_interval_seconds;
    assert_eq!(interval, Some(15.0));
    flow.waiting.clear();
    for _ in 0..3 {
        stream.decide(Next::Arrival(Arrival::Message((2, message()))), &mut flow);
        stream.decide(Next::Beat, &mut flow);
    }
    let told: Vec<event::Type> = flow.waiting.iter().map(Event::r#type).collect();
    assert_eq!(told, [event::Type::Heartbeat; 3]);
}
