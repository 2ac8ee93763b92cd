//! Calls and their answers, acknowledgements, durable state.

use std::time::Duration;

use proffer_model::limits::{STATE_VALUE_LEN_MAX, TEXT_LEN_MAX};
use proffer_model::session::{Answer, Call, Event, LaunchResult, Operation, OperationResult};
use proffer_model::{
    AgentId, Command, DemandEntry, DemandId, ExecutorId, FrameworkDescription, OfferId, Problem,
    Resources, Role, Secret, Shape, StateKey, TaskSpec, code,
};

use super::repeating::{called, kill};
use super::{connect, is_demand, next, options, role, task, updated, wanted};
use crate::limits::BACKLOG_PAUSE;
use crate::testing::{FakeMaster, within};
use crate::{ConnectOptions, Expected, Framework};

pub(super) fn spec(id: &str) -> TaskSpec {
    TaskSpec {
        id: task(id),
        name: String::new(),
        resources: "cpus:1".parse::<Resources>().unwrap(),
        command: Command::Shell("true".into()),
        environment: [].into(),
        user: None,
        labels: [].into(),
        ports: vec![],
        checks: vec![],
        kill_grace: Duration::from_secs(1),
        container: None,
        executor: None,
        volumes: Vec::new(),
        completion: None,
        fetch: Vec::new(),
        discovery: None,
    }
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    assert_eq!(session.authorization.as_deref(), Some("Bearer t0ken"));
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));

    let kill = handle.send(Call::Kill {
        task: task("a"),
        grace: None,
    });
    let kill = within(kill).await.expect("sent");
    let offers = vec![OfferId::new("o").unwrap()];
    let operations = vec![Operation::launch(spec("b"))];
    let accept = handle.send(Call::Accept { offers, operations });
    let accept = within(accept).await.expect("sent");
    let (kill_request, call) = session.call().await;
    assert!(matches!(call, Call::Kill { .. }), "{call:?}");
    let (accept_request, call) = session.call().await;
    assert!(matches!(call, Call::Accept { .. }), "{call:?}");

    let refused = Problem::new(code::OFFER_GONE, "gone");
    let result = LaunchResult {
        task: task("b"),
        outcome: Err(refused),
    };
    let accepted = Answer::Accepted(vec![OperationResult::Launched(result)]);
    session.answer(accept_request, accepted.clone()).await;
    assert_eq!(within(accept).await, Ok(accepted));
    let unknown = Problem::new(code::TASK_UNKNOWN, "no such task");
    let answer = Answer::Refused(unknown.clone());
    session.answer(kill_request, answer).await;
    assert_eq!(within(kill).await, Err(unknown));
}

#[tokio::test]
async fn a_call_without_an_answer_fails_in_time() {
    let mut master = FakeMaster::start().await;
    let mut options = options(&[master.address]);
    options.call_timeout = Duration::from_millis(30);
    let (handle, _events) = Framework::connect(options).expect("good options");
    let _session = master.subscribed(1, 1).await;
    within(handle.subscribed()).await.expect("a session");
    let problem = within(handle.teardown()).await.expect_err("no answer");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
}

#[tokio::test]
async fn a_call_that_is_too_long_is_refused_and_the_session_lives() {
    let mut master = FakeMaster::start().await;
    let (handle, _events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    within(handle.subscribed()).await.expect("a session");
    let long = |i| TaskSpec {
        name: "x".repeat(TEXT_LEN_MAX),
        ..spec(&format!("t{i}"))
    };
    let offers = vec![OfferId::new("o").unwrap()];
    let accepted = handle.launch(offers, (0..200).map(long).collect());
    let results = within(accepted).await.expect("answered");
    let problem = results[199].outcome.as_ref().expect_err("12 MiB");
    assert!(problem.is(code::FIELD_TOO_LONG), "{problem}");

    let reconciled = tokio::spawn(async move { handle.reconcile(vec![]).await });
    let (request, call) = session.call().await;
    assert!(matches!(call, Call::Reconcile { .. }), "{call:?}");
    session.answer(request, Answer::Done).await;
    within(reconciled).await.expect("no panic").expect("done");
}

#[tokio::test]
async fn what_the_sdk_does_itself_is_not_for_authors() {
    let mut master = FakeMaster::start().await;
    let (handle, _events) = connect(&[master.address]);
    let _session = master.subscribed(1, 1).await;
    let subscribe = Call::Subscribe {
        framework: None,
        description: FrameworkDescription {
            name: String::new(),
            roles: vec![role()],
            failover_timeout: Duration::ZERO,
            mesos: None,
        },
        stand_by: false,
        resume: None,
        create: false,
    };
    let problem = within(handle.call(subscribe)).await.expect_err("refused");
    assert!(problem.is(code::SESSION_ORDER), "{problem}");
}

#[tokio::test]
async fn events_are_acknowledged_when_the_author_says_so() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    next(&mut events).await;
    session.send(updated("a")).await;
    session.send(Event::Heartbeat).await;
    let sent = session.send(updated("b")).await;
    next(&mut events).await;
    let received = within(events.next()).await.expect("b");
    assert_eq!(received.event, updated("b"));
    handle.acknowledge(received.sequence);
    handle.acknowledge(received.sequence - 1);
    let (_, call) = session.call().await;
    assert_eq!(call, Call::Acknowledge { sequence: sent });
}

#[tokio::test]
async fn events_are_acknowledged_automatically_once_the_next_is_asked_for() {
    let mut master = FakeMaster::start().await;
    let mut options = options(&[master.address]);
    options.acknowledge_automatically = true;
    let (_handle, mut events) = Framework::connect(options).expect("good options");
    let mut session = master.subscribed(1, 1).await;
    let mut acknowledged = 0;
    let sent = session.send(updated("a")).await;
    next(&mut events).await;
    next(&mut events).await;
    let waiting = tokio::spawn(async move { events.next().await });
    while acknowledged < sent {
        let (_, call) = session.call().await;
        let Call::Acknowledge { sequence } = call else {
            panic!("{call:?}");
        };
        acknowledged = sequence;
    }
    assert_eq!(acknowledged, sent);
    waiting.abort();
}

#[tokio::test]
async fn an_author_who_awaits_an_answer_with_events_unread_gets_it() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    within(handle.subscribed()).await.expect("a session");
    let called = tokio::spawn(async move { handle.reconcile(vec![]).await });
    let (request, _) = session.call().await;
    let many = 2 * BACKLOG_PAUSE;
    for i in 0..many {
        session.send(updated(&format!("t{i}"))).await;
    }
    session.answer(request, Answer::Done).await;
    within(called).await.expect("no panic").expect("done");
    next(&mut events).await;
    for i in 0..many {
        assert_eq!(next(&mut events).await, updated(&format!("t{i}")));
    }
}

#[tokio::test]
async fn a_slow_author_slows_the_master_down() {
    let mut master = FakeMaster::start().await;
    let (_handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    // So long that what the connection itself takes is soon full.
    let long = || Event::Message {
        agent: AgentId::new("a").unwrap(),
        executor: ExecutorId::new("e").unwrap(),
        data: vec![0; 16 * 1024],
    };
    // Whoever reads on for ever is found by `within`.
    let flood = tokio::spawn(async move {
        let mut sent = 0;
        loop {
            let sending = tokio::time::timeout(Duration::from_millis(100), session.send(long()));
            match sending.await {
                Err(_) if sent > BACKLOG_PAUSE => return session,
                Err(_) => {}
                Ok(_) => sent += 1,
            }
        }
    });
    let _session = within(flood).await.expect("no panic");
    next(&mut events).await;
    assert_eq!(next(&mut events).await, long());
}

#[tokio::test]
async fn a_slow_author_gets_a_long_snapshot_in_one_session_whatever_the_sdk_asks_by_itself() {
    const TASKS: usize = 120_000;
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.active().await;
    within(handle.subscribed()).await.expect("a session");
    let (_, told) = wanted(&handle, &mut session, (role(), 1), Answer::Done).await;
    told.expect("taken");
    drop(session);
    while !matches!(next(&mut events).await, Event::Closed(_)) {}

    // What the SDK says again has no answer while all of that is told.
    let mut session = master.subscribed(1, 2).await;
    session.call_that(is_demand).await;
    let (is_slow, slow) = tokio::sync::oneshot::channel();
    let telling = tokio::spawn(async move {
        let mut is_slow = Some(is_slow);
        for i in 0..TASKS {
            let mut sending = Box::pin(session.send(updated(&format!("t{i}"))));
            if is_slow.is_none() {
                sending.await;
                continue;
            }
            // Whoever reads on for ever has read more than may wait before they stop.
            if tokio::time::timeout(Duration::from_millis(100), &mut sending)
                .await
                .is_err()
            {
                let _ = is_slow.take().map(|it| it.send(()));
                sending.await;
            }
        }
        session.send(Event::SnapshotEnded).await;
        session
    });
    within(slow)
        .await
        .expect("the master waits for who reads slowly");
    let mut told = 0;
    loop {
        match next(&mut events).await {
            Event::Updated(_) => told += 1,
            Event::SnapshotEnded => break,
            Event::Subscribed { .. } => {}
            event => panic!("{event:?}"),
        }
    }
    assert_eq!(told, TASKS);
    within(telling).await.expect("one session");
}

#[tokio::test]
async fn a_call_of_the_state_above_the_rate_is_made_again() {
    let mut master = FakeMaster::start().await;
    master.state.lock().unwrap().generation = 7;
    let (handle, _events) = connect(&[master.address]);
    let _session = master.subscribed(1, 7).await;
    within(handle.subscribed()).await.expect("a session");
    let (state, key) = (handle.state(), StateKey::new("a").unwrap());
    let refuse = |count: u32, wait: Duration| master.state.lock().unwrap().refused = (count, wait);
    refuse(3, Duration::from_millis(1));
    let written = within(state.put(&key, "one", Expected::Nothing)).await;
    written.expect("written");
    let stored = within(state.get(&key)).await.expect("read");
    assert_eq!(stored.map(|stored| stored.value), Some("one".into()));
    // Nobody waits longer than a call may take.
    refuse(1, Duration::from_secs(3_600));
    let problem = within(state.delete(&key, Expected::Anything)).await;
    let problem = problem.expect_err("too much");
    assert!(problem.is(code::SESSION_RATE_LIMITED), "{problem}");
}

#[tokio::test]
async fn state_is_kept_with_versions_and_fenced() {
    let mut master = FakeMaster::start().await;
    master.state.lock().unwrap().generation = 7;
    let (handle, _events) = connect(&[master.address]);
    let state = handle.state();
    let key = StateKey::new("apps/a").unwrap();
    let problem = within(state.get(&key)).await.expect_err("no session yet");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
    // Nothing is sent that cannot be kept; nobody needs to be there to say so.
    let long = vec![0; STATE_VALUE_LEN_MAX + 1];
    let problem = within(state.put(&key, long, Expected::Anything)).await;
    let problem = problem.expect_err("too long");
    assert!(problem.is(code::STATE_TOO_LARGE), "{problem}");
    assert_eq!(problem.field, "value");

    let _session = master.subscribed(1, 7).await;
    within(handle.subscribed()).await.expect("a session");
    assert_eq!(within(state.get(&key)).await, Ok(None));
    let written = within(state.put(&key, "one", Expected::Nothing)).await;
    let version = written.expect("written");
    let problem = within(state.put(&key, "two", Expected::Nothing))
        .await
        .expect_err("there is one");
    assert!(problem.is(code::STATE_VERSION), "{problem}");
    let written = within(state.put(&key, "two", Expected::Version(version))).await;
    assert!(written.expect("written") > version);
    let stored = within(state.get(&key)).await.expect("read").expect("there");
    assert_eq!(
        (&stored.key, stored.value.as_ref()),
        (&key, b"two".as_ref())
    );
    assert_eq!(within(state.list("apps/")).await, Ok(vec![stored]));
    assert_eq!(within(state.list("other/")).await, Ok(vec![]));
    within(state.delete(&key, Expected::Anything))
        .await
        .expect("deleted");
    assert_eq!(within(state.get(&key)).await, Ok(None));

    master.state.lock().unwrap().generation = 8;
    let problem = within(state.get(&key)).await.expect_err("fenced");
    assert!(problem.is(code::SESSION_FENCED), "{problem}");
}

#[tokio::test]
async fn a_list_holds_all_of_a_state_that_is_longer_than_an_answer() {
    let mut master = FakeMaster::start().await;
    let (handle, _events) = connect(&[master.address]);
    let _session = master.active().await;
    within(handle.subscribed()).await.expect("a session");
    let state = handle.state();
    let mut keys = Vec::new();
    for number in 10..30 {
        let key = StateKey::new(&format!("k/{number}")).unwrap();
        let value = vec![0; STATE_VALUE_LEN_MAX];
        let written = within(state.put(&key, value, Expected::Nothing)).await;
        written.expect("written");
        keys.push(key);
    }
    let listed = within(state.list("k/")).await.expect("all of it");
    let listed: Vec<_> = listed.into_iter().map(|stored| stored.key).collect();
    assert_eq!(listed, keys);
    assert_eq!(within(state.list("l/")).await, Ok(vec![]));
}

#[tokio::test]
async fn a_demand_that_is_wrong_is_not_repeated() {
    let mut master = FakeMaster::start().await;
    let (handle, _events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    within(handle.subscribed()).await.expect("a session");
    let entry = |id: &str| DemandEntry {
        id: DemandId::new(id).unwrap(),
        shape: Shape::Any { least: Vec::new() },
        count: 1,
        predicates: vec![],
        at_most: Vec::new(),
        gang: 0,
        priority: 0,
        takes: proffer_model::Takes::default(),
        excluded: vec![],
    };
    let setting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.set_demand(role(), vec![entry("e")]).await }
    });
    let (request, _) = session.call().await;
    let wrong = Problem::new(code::FIELD_INVALID, "wrong");
    session
        .answer(request, Answer::Refused(wrong.clone()))
        .await;
    assert_eq!(within(setting).await.expect("no panic"), Err(wrong));
    drop(session);

    let mut session = master.subscribed(1, 2).await;
    while handle.session().is_none_or(|now| now.generation.0 < 2) {
        within(handle.subscribed()).await.expect("a session");
        tokio::task::yield_now().await;
    }
    // The first that comes.
    called(&handle, &mut session, kill("a")).await;
}

#[tokio::test]
async fn a_refused_demand_leaves_what_was_wanted_before() {
    let mut master = FakeMaster::start().await;
    let (handle, _events) = connect(&[master.address]);
    let mut session = master.active().await;
    within(handle.subscribed()).await.expect("a session");
    let wrong = || Some(Problem::new(code::ID_INVALID, "wrong"));
    let busy = || Some(Problem::new(code::OVERLOADED, "too much"));
    let (mut last, mut demands) = (0, 0);
    for refused in [None, wrong(), None, busy(), wrong(), None, busy()] {
        demands += 1;
        let answer = refused.clone().map_or(Answer::Done, Answer::Refused);
        let (demand, told) = wanted(&handle, &mut session, (role(), demands), answer).await;
        assert_eq!(demand.entries[0].count, demands);
        assert!(demand.generation.0 > last, "{demand:?}");
        last = demand.generation.0;
        assert_eq!(told.err(), refused);
    }
    drop(session);

    let mut session = master.active().await;
    let (_, call) = session.call().await;
    let Call::SetDemand(demand) = call else {
        panic!("{call:?}");
    };
    assert_eq!(demand.entries[0].count, 6, "the last that was taken");
    assert!(demand.generation.0 > last, "{demand:?}");
}

#[tokio::test]
async fn what_a_new_session_refuses_for_the_moment_is_said_again_until_it_is_taken() {
    let mut master = FakeMaster::start().await;
    let (handle, _events) = connect(&[master.address]);
    let mut session = master.active().await;
    within(handle.subscribed()).await.expect("a session");
    let (_, told) = wanted(&handle, &mut session, (role(), 3), Answer::Done).await;
    told.expect("taken");
    drop(session);

    let mut session = master.active().await;
    let (mut requests, mut generations) = (Vec::new(), Vec::new());
    let wait = Duration::from_millis(1);
    for code in [
        code::SESSION_RATE_LIMITED,
        code::OVERLOADED,
        code::MASTER_NOT_LEADING,
        code::GENERATION_STALE,
    ] {
        let (request, call) = session.call_that(is_demand).await;
        let Call::SetDemand(demand) = call else {
            panic!("{call:?}");
        };
        assert_eq!(demand.entries[0].count, 3);
        requests.push(request);
        generations.push(demand.generation);
        let refused = Problem::new(code, "not now").retry_after(wait);
        session.answer(request, Answer::Refused(refused)).await;
    }
    assert!(requests.is_sorted_by(|a, b| a < b), "{requests:?}");
    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
    let (request, _) = session.call_that(is_demand).await;
    session.answer(request, Answer::Done).await;
}

#[tokio::test]
async fn wrong_options_are_named() {
    type Row = (&'static str, &'static str, fn(&mut ConnectOptions));
    let rows: &[Row] = &[
        ("config.invalid", "masters", |o| o.masters.clear()),
        ("config.invalid", "masters[0]", |o| {
            o.masters = vec!["nonsense".into()]
        }),
        ("config.invalid", "token", |o| {
            o.token = Some(Secret::new("a\nb"))
        }),
        ("field.missing", "subscribe.roles", |o| {
            o.description.roles.clear()
        }),
        ("field.invalid", "subscribe.roles[1]", |o| {
            o.description.roles.push(Role::new("web").unwrap());
        }),
        ("field.invalid", "subscribe.failover_timeout_ms", |o| {
            o.description.failover_timeout = Duration::MAX;
        }),
    ];
    for (code, field, change) in rows {
        let mut options = options(&["127.0.0.1:1".parse().unwrap()]);
        change(&mut options);
        let problem = Framework::connect(options).expect_err(field);
        let found = (problem.code.as_ref(), problem.field.as_str());
        assert_eq!(found, (*code, *field), "{problem}");
        assert!(!problem.to_string().contains("a\nb"), "{problem}");
    }
}
