//! What outlasts a session: standing by, resuming, calls that were above the rate, handlers that could not keep something.

use std::time::Duration;

use futures::FutureExt as _;
use proffer_model::session::{Answer, Call, Event, Resume};
use proffer_model::{
    AgentId, ClusterId, Epoch, ExecutorId, FrameworkDescription, FrameworkId, Generation, Problem,
    Role, Status, TaskState, code,
};

use super::repeating::{called, kill, limited};
use super::{connect, next, options, role, status, task, updated, wanted};
use crate::testing::{FakeMaster, FakeSession, within};
use crate::{ConnectOptions, Events, Expected, Framework, Handle, Scheduler, StateChange, run};

pub(super) fn standing_by() -> Event {
    Event::StandingBy {
        framework: FrameworkId::new("f").unwrap(),
        cluster: ClusterId::new("c").unwrap(),
        heartbeat_interval: Duration::from_secs(5),
    }
}

/// Of a framework of which several programs may run at once.
fn standing_by_at(master: &FakeMaster) -> ConnectOptions {
    let mut options = options(&[master.address]);
    options.framework_id = FrameworkId::new("f").ok();
    options.stand_by = true;
    options
}

async fn next_of(session: &mut FakeSession, wanted: impl Fn(&Call) -> bool) -> (u64, Call) {
    loop {
        let (request, call) = session.call().await;
        if wanted(&call) {
            return (request, call);
        }
        if !matches!(call, Call::Acknowledge { .. }) {
            session.answer(request, Answer::Done).await;
        }
    }
}

#[tokio::test]
async fn who_stands_by_waits_under_the_chosen_id_and_again_when_it_is_fenced() {
    let mut master = FakeMaster::start().await;
    let mut options = standing_by_at(&master);
    options.create = true;
    let (_handle, mut events) = Framework::connect(options).expect("good options");
    for generation in [1, 2] {
        let mut session = master.session().await;
        let (request, call) = session.call().await;
        let Call::Subscribe {
            framework,
            stand_by: true,
            create: true,
            ..
        } = call
        else {
            panic!("{call:?}");
        };
        assert_eq!(framework, FrameworkId::new("f").ok());
        session.send_of(3, standing_by()).await;
        assert_eq!(next(&mut events).await, standing_by());
        session.send(Event::Heartbeat).await;
        session.subscribed(request, 3, generation).await;
        assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
        let fenced = Problem::new(code::SESSION_FENCED, "another one");
        session.send(Event::Closed(fenced)).await;
        assert!(matches!(next(&mut events).await, Event::Closed(_)));
    }
    // And so on: it is not over.
    master.session().await;
}

#[tokio::test]
async fn standing_by_and_choosing_need_an_id() {
    for (create, stand_by) in [(true, false), (false, true)] {
        let mut options = options(&["127.0.0.1:1".parse().unwrap()]);
        (options.create, options.stand_by) = (create, stand_by);
        let problem = Framework::connect(options).expect_err("no id");
        assert_eq!(problem.field, "framework_id", "{problem}");
    }
}

#[tokio::test]
async fn a_session_resumes_at_what_was_acknowledged_and_uses_no_request_id_again() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(4, 1).await;
    next(&mut events).await;
    let kept = session.send(updated("a")).await;
    handle.acknowledge(within(events.next()).await.expect("a").sequence);
    next_of(&mut session, |call| {
        matches!(call, Call::Acknowledge { .. })
    })
    .await;
    let message = Call::SendMessage {
        agent: AgentId::new("a").unwrap(),
        executor: ExecutorId::new("e").unwrap(),
        data: vec![1],
    };
    let waiting = within(handle.send(message.clone())).await.expect("sent");
    let (used, _) = next_of(&mut session, |call| *call == message).await;
    session.send(updated("b")).await;
    drop(session);
    within(waiting).await.expect_err("the session broke");

    let mut session = master.session().await;
    let (request, call) = session.call().await;
    assert!(request > used, "{request} after {used}");
    let Call::Subscribe { resume, .. } = call else {
        panic!("{call:?}");
    };
    let expected = Resume {
        epoch: Epoch(4),
        sequence: kept,
    };
    assert_eq!(resume, Some(expected));
    session.resumed(request, 4, 2).await;
    while !matches!(next(&mut events).await, Event::Subscribed { .. }) {}
    let reconciled = within(handle.set_demand(role(), vec![]));
    let (answered, (request, call)) = tokio::join!(reconciled, async {
        let (request, call) = session.call().await;
        session.answer(request, Answer::Done).await;
        (request, call)
    });
    answered.expect("a session");
    assert!(request > used);
    assert!(
        matches!(call, Call::SetDemand(_)),
        "nothing is asked: {call:?}"
    );
}

#[tokio::test]
async fn a_master_that_is_subscribed_to_too_often_is_tried_again_when_it_says() {
    let mut master = FakeMaster::start().await;
    let (_handle, mut events) = connect(&[master.address]);
    let mut session = master.session().await;
    session.call().await;
    let wait = Duration::from_millis(700);
    let problem = Problem::new(code::SESSION_RATE_LIMITED, "too often").retry_after(wait);
    let begun = tokio::time::Instant::now();
    session.send(Event::Closed(problem)).await;
    let _session = master.subscribed(1, 1).await;
    assert!(begun.elapsed() >= wait, "{:?}", begun.elapsed());
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
}

#[tokio::test]
async fn a_call_above_the_rate_is_called_again_when_the_master_says() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    next(&mut events).await;
    let kill = within(handle.kill(task("a"), None));
    let playing = async {
        let (first, call) = session.call().await;
        let begun = tokio::time::Instant::now();
        session
            .answer(first, limited(Duration::from_millis(80)))
            .await;
        let again = session.call().await;
        assert_eq!(again, (first, call), "the same call");
        assert!(begun.elapsed() >= Duration::from_millis(80));
        session.answer(first, Answer::Done).await;
        session
    };
    let (killed, mut session) = tokio::join!(kill, playing);
    killed.expect("done in the end");
    let kill = within(handle.kill(task("a"), None));
    let (killed, ()) = tokio::join!(kill, async {
        let (request, _) = session.call().await;
        session
            .answer(request, limited(Duration::from_secs(99)))
            .await;
    });
    let problem = killed.expect_err("too long to wait");
    assert!(problem.is(code::SESSION_RATE_LIMITED), "{problem}");
}

#[tokio::test]
async fn the_time_of_a_call_decides_whether_what_is_above_the_rate_waits() {
    let mut master = FakeMaster::start().await;
    for (call_timeout, wait, is_called_again) in [(10, 11, false), (60, 59, true)] {
        let mut options = options(&[master.address]);
        options.call_timeout = Duration::from_secs(call_timeout);
        let (handle, mut events) = Framework::connect(options).expect("good options");
        let mut session = master.subscribed(1, 1).await;
        next(&mut events).await;
        let (request, killed) = called(&handle, &mut session, kill("a")).await;
        session
            .answer(request, limited(Duration::from_secs(wait)))
            .await;
        if !is_called_again {
            let problem = within(killed).await.expect_err("too long to wait");
            assert!(problem.is(code::SESSION_RATE_LIMITED), "{problem}");
            continue;
        }
        let (request, other) = called(&handle, &mut session, kill("b")).await;
        session.answer(request, Answer::Done).await;
        within(other).await.expect("done");
        assert!(killed.now_or_never().is_none(), "it waits");
    }
}

/// Cannot keep the first status when it is told for the first time.
struct Forgetful(u32);

impl Scheduler for Forgetful {
    async fn on_update(&mut self, handle: &Handle, status: Status) -> Result<(), Problem> {
        self.0 += 1;
        match self.0 {
            1 => Err(Problem::new(
                code::PEER_UNREACHABLE,
                "the author's database",
            )),
            _ if status.task == task("b") => handle.teardown().await,
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_past_a_handler_that_could_not_keep_it() {
    let mut master = FakeMaster::start().await;
    let running = tokio::spawn(run(options(&[master.address]), Forgetful(0)));
    let mut session = master.subscribed(1, 1).await;
    let beginning = session.sent();
    session.send(updated("a")).await;
    session.send(updated("b")).await;
    // It leaves, and has acknowledged nothing of both.
    while let Some((_, call)) = session.call_if_any().await {
        if let Call::Acknowledge { sequence } = call {
            assert!(sequence <= beginning, "{sequence}");
        }
    }
    let mut session = master.subscribed(1, 2).await;
    for id in ["a", "b"] {
        session.send(status(id, 1, TaskState::Running)).await;
    }
    let (request, _) = next_of(&mut session, |call| *call == Call::Teardown).await;
    session.answer(request, Answer::Done).await;
    let over = Problem::new(code::FRAMEWORK_COMPLETED, "torn down");
    session.send(Event::Closed(over)).await;
    within(running).await.expect("no panic").expect("torn down");
}

#[tokio::test]
async fn a_framework_is_updated_in_place_and_stays_as_it_was_when_that_is_refused() {
    let mut master = FakeMaster::start().await;
    let mut options = options(&[master.address]);
    let more = Role::new("more").unwrap();
    options.description.roles.push(more.clone());
    let first = options.description.clone();
    let (handle, mut events) = Framework::connect(options).expect("good options");
    let mut session = master.active().await;
    within(handle.subscribed()).await.expect("a session");
    for role in [role(), more.clone()] {
        let (_, told) = wanted(&handle, &mut session, (role, 1), Answer::Done).await;
        told.expect("wanted");
    }
    while next(&mut events).await != Event::SnapshotEnded {}
    handle.acknowledge(session.sent());
    let (_, call) = session.call().await;
    assert!(matches!(call, Call::Acknowledge { .. }), "{call:?}");
    let second = FrameworkDescription {
        name: "other".to_owned(),
        roles: vec![more.clone()],
        ..first.clone()
    };
    let wrong = FrameworkDescription {
        roles: vec![],
        ..first.clone()
    };
    handle.update(wrong).expect_err("it has no role");
    handle.update(first.clone()).expect("nothing new");
    handle.update(second.clone()).expect("good");

    assert!(matches!(next(&mut events).await, Event::Closed(_)));
    let described = |call: Call| match call {
        Call::Subscribe {
            description,
            resume,
            ..
        } => (description, resume.is_some()),
        call => panic!("{call:?}"),
    };
    let mut session = master.session().await;
    let (request, call) = session.call().await;
    assert_eq!(described(call), (second.clone(), true));
    session.resumed(request, 1, 2).await;
    let (request, call) = session.call().await;
    let Call::SetDemand(demand) = call else {
        panic!("{call:?}");
    };
    assert_eq!(demand.role.as_str(), "more", "and not of what it has left");
    session.answer(request, Answer::Done).await;
    while !matches!(next(&mut events).await, Event::Subscribed { .. }) {}
    // What was answered before it has been heard.
    let (request, pending) = called(&handle, &mut session, kill("a")).await;
    session.answer(request, Answer::Done).await;
    within(pending).await.expect("done");

    let third = FrameworkDescription {
        roles: vec![role()],
        ..first.clone()
    };
    handle.update(third.clone()).expect("good");
    assert!(matches!(next(&mut events).await, Event::Closed(_)));
    let mut session = master.session().await;
    assert_eq!(described(session.call().await.1).0, third);
    let forbidden = Problem::new(code::AUTH_DENIED, "not this role");
    session.send(Event::Closed(forbidden.clone())).await;
    assert_eq!(next(&mut events).await, Event::Closed(forbidden));
    let mut session = master.session().await;
    let (request, call) = session.call().await;
    assert_eq!(described(call).0, second);
    session.resumed(request, 1, 3).await;
    let (_, call) = session.call().await;
    let Call::SetDemand(demand) = call else {
        panic!("{call:?}");
    };
    assert_eq!(demand.role, more, "what was wanted still is");
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    // What was refused may be tried again.
    handle.update(third.clone()).expect("good");
    let mut session = master.session().await;
    assert_eq!(described(session.call().await.1).0, third);
}

#[tokio::test]
async fn nobody_who_stands_by_takes_the_place_of_a_framework_that_is_updated() {
    let mut master = FakeMaster::start().await;
    let options = standing_by_at(&master);
    let first = options.description.clone();
    let (handle, _events) = Framework::connect(options).expect("good options");
    let mut active = master.session().await;
    let (request, stands_by) = asked_to_stand_by(&mut active).await;
    assert!(stands_by, "it takes nobody's place");
    active.subscribed(request, 1, 1).await;
    within(handle.subscribed()).await.expect("a session");
    for (name, problem) in [
        ("second", None),
        ("third", Some(Problem::new(code::AUTH_DENIED, "not so"))),
    ] {
        let description = FrameworkDescription {
            name: name.to_owned(),
            ..first.clone()
        };
        handle.update(description).expect("good");
        let mut next = master.session().await;
        let (mut request, stands_by) = asked_to_stand_by(&mut next).await;
        assert!(!stands_by, "it goes on from its own session");
        if let Some(problem) = problem {
            next.send(Event::Closed(problem)).await;
            next = master.session().await;
            let (again, stands_by) = asked_to_stand_by(&mut next).await;
            assert!(!stands_by, "as it was");
            request = again;
        }
        let is_over = active.call_if_any().now_or_never();
        assert!(is_over.is_none(), "nobody stands by yet: {is_over:?}");
        next.subscribed(request, 1, 2).await;
        active.gone().await;
        active = next;
    }
    drop(active);
    let mut session = master.session().await;
    let (_, stands_by) = asked_to_stand_by(&mut session).await;
    assert!(stands_by, "another one may be active");
}

/// A framework that stands by, as it is active with a master in term 1.
async fn active_standby(
    master: &mut FakeMaster,
) -> (Handle, Events, FakeSession, FrameworkDescription) {
    let options = standing_by_at(master);
    let description = options.description.clone();
    let (handle, mut events) = Framework::connect(options).expect("good options");
    let active = master.subscribed(1, 1).await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    (handle, events, active, description)
}

/// The next session's request, and whether it is to stand by.
async fn asked_to_stand_by(session: &mut FakeSession) -> (u64, bool) {
    match session.call().await {
        (request, Call::Subscribe { stand_by, .. }) => (request, stand_by),
        (_, call) => panic!("{call:?}"),
    }
}

#[tokio::test]
async fn who_is_updated_does_not_stand_by_for_itself_where_the_master_does_not_say_its_term() {
    let mut master = FakeMaster::start_evasive().await;
    let (handle, mut events, mut active, mut description) = active_standby(&mut master).await;
    for term in [1, 2] {
        description.name = format!("updated in {term}");
        handle.update(description.clone()).expect("good");
        assert!(matches!(next(&mut events).await, Event::Closed(_)));
        let mut session = master.session().await;
        let (mut request, stands_by) = asked_to_stand_by(&mut session).await;
        assert!(stands_by, "it may be another master");
        session.send_of(term, standing_by()).await;
        if term == 1 {
            session = master.session().await;
            let (again, stands_by) = asked_to_stand_by(&mut session).await;
            assert!(!stands_by, "it is the one of its own session");
            request = again;
            session.subscribed(request, term, 2).await;
        } else {
            // Of this term its own session is not: somebody else is active.
            assert_eq!(next(&mut events).await, standing_by());
        }
        active.gone().await;
        if term == 2 {
            session.subscribed(request, term, 3).await;
        }
        assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
        active = session;
    }
}

#[tokio::test]
async fn who_is_updated_takes_nobodys_place_when_its_session_has_ended_while_it_waits() {
    let mut master = FakeMaster::start().await;
    let (handle, _events, active, mut description) = active_standby(&mut master).await;
    let mut active = Some(active);
    for has_ended in [false, true] {
        description.name = format!("has ended: {has_ended}");
        handle.update(description.clone()).expect("good");
        let mut session = master.session().await;
        assert!(!asked_to_stand_by(&mut session).await.1, "it holds its own");
        if has_ended {
            drop(active.take());
        }
        let limited = Problem::new(code::SESSION_RATE_LIMITED, "too often");
        let limited = limited.retry_after(Duration::from_secs(2));
        session.send(Event::Closed(limited)).await;
        let mut session = master.session().await;
        let (request, stands_by) = asked_to_stand_by(&mut session).await;
        assert_eq!(stands_by, has_ended);
        session.subscribed(request, 1, 2).await;
        within(handle.subscribed()).await.expect("a session");
        active = Some(session);
    }
}

#[tokio::test]
async fn what_is_updated_while_it_stands_by_is_said_when_it_is_active() {
    let mut master = FakeMaster::start().await;
    let options = standing_by_at(&master);
    let first = options.description.clone();
    let second = FrameworkDescription {
        name: "second".to_owned(),
        ..first.clone()
    };
    let (handle, mut events) = Framework::connect(options).expect("good options");
    let said = |call: Call| match call {
        Call::Subscribe { description, .. } => description,
        call => panic!("{call:?}"),
    };
    let mut session = master.session().await;
    let (request, call) = session.call().await;
    assert_eq!(said(call), first);
    session.send_of(1, standing_by()).await;
    assert_eq!(next(&mut events).await, standing_by());
    handle.update(second.clone()).expect("good");
    session.subscribed(request, 1, 1).await;
    let mut session = master.session().await;
    assert_eq!(said(session.call().await.1), second);
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_each_change() {
    use futures::StreamExt;
    use proffer_model::StateKey;
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    master.state.lock().unwrap().generation = 1;
    let _session = master.subscribed(1, 1).await;
    next(&mut events).await;
    assert_eq!(
        handle.session().expect("a session").generation,
        Generation(1)
    );
    let mut changes = within(handle.state().watch("kept/"))
        .await
        .expect("watched");
    let key = StateKey::new("kept/a").unwrap();
    let state = handle.state();
    state
        .put(&key, b"x".to_vec(), Expected::Nothing)
        .await
        .expect("put");
    state
        .delete(&key, Expected::Anything)
        .await
        .expect("deleted");
    {
        let mut table = master.state.lock().unwrap();
        table.generation = 2;
        table.fence();
    }
    let mut seen = Vec::new();
    while let Some(change) = within(changes.next()).await {
        seen.push(change);
    }
    assert_eq!(seen[0], Ok(StateChange::UpToDate));
    assert!(
        matches!(&seen[1], Ok(StateChange::Put(stored)) if stored.key == key),
        "{seen:?}"
    );
    drop(seen.remove(1));
    assert_eq!(seen[1], Ok(StateChange::Deleted(key)));
    let problem = seen[2].as_ref().expect_err("the generation is over");
    assert!(problem.is(code::SESSION_FENCED), "{problem}");
}
