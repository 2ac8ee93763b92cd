//! How a session is kept: finding the leader, beginning anew, refusing what is older, ending for good.

use std::time::Duration;

use proffer_model::session::{Answer, Call, Event};
use proffer_model::{DemandEntry, DemandId, Epoch, FrameworkId, Problem, Shape, TaskState, code};

use super::repeating::{called, kill};
use super::{connect, next, options, role, status, task, updated};
use crate::Framework;
use crate::testing::{FakeMaster, within};

fn entry() -> DemandEntry {
    DemandEntry {
        id: DemandId::new("e").unwrap(),
        shape: Shape::Any { least: Vec::new() },
        count: 3,
        predicates: vec![],
        at_most: Vec::new(),
        gang: 0,
        priority: 0,
        takes: proffer_model::Takes::default(),
        excluded: vec![],
    }
}

#[tokio::test]
async fn a_broken_session_is_begun_anew_with_everything_that_counts() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let problem = within(handle.set_demand(role(), vec![entry()]))
        .await
        .expect_err("no session yet");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");

    let mut session = master.subscribed(1, 1).await;
    assert_eq!(session.framework, None);
    let (_, call) = session.call().await;
    let Call::SetDemand(first) = call else {
        panic!("{call:?}");
    };
    assert_eq!(first.entries, [entry()]);
    next(&mut events).await;
    let waiting = handle.send(Call::Kill {
        task: task("a"),
        grace: None,
    });
    let waiting = within(waiting).await.expect("sent");
    let (_, killed) = session.call().await;
    drop(session);
    assert!(matches!(next(&mut events).await, Event::Closed(_)));

    let mut session = master.subscribed(2, 5).await;
    assert_eq!(session.framework, FrameworkId::new("f").ok());
    let (_, call) = session.call().await;
    let Call::SetDemand(second) = call else {
        panic!("{call:?}");
    };
    assert_eq!(second.entries, first.entries);
    assert!(second.generation > first.generation);
    let (request, call) = session.call().await;
    assert_eq!(call, killed);
    session.answer(request, Answer::Done).await;
    assert_eq!(within(waiting).await, Ok(Answer::Done));
    let subscribed = next(&mut events).await;
    assert!(
        matches!(
            subscribed,
            Event::Subscribed {
                epoch: Epoch(2),
                ..
            }
        ),
        "{subscribed:?}"
    );
    let active = within(handle.subscribed()).await.expect("a session");
    assert_eq!((active.epoch, active.generation.0), (Epoch(2), 5));
}

#[tokio::test]
async fn a_framework_that_was_kept_is_taken_up_and_told_of_its_tasks_unasked() {
    let mut master = FakeMaster::start().await;
    let mut options = options(&[master.address]);
    options.framework_id = FrameworkId::new("f").ok();
    let (handle, _events) = Framework::connect(options).expect("good options");
    let mut session = master.subscribed(1, 1).await;
    assert_eq!(session.framework, FrameworkId::new("f").ok());
    within(handle.subscribed()).await.expect("a session");
    // The first that comes.
    called(&handle, &mut session, kill("a")).await;
}

#[tokio::test]
async fn acknowledgements_of_an_earlier_session_acknowledge_nothing() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    next(&mut events).await;
    session.send(updated("a")).await;
    let early = within(events.next()).await.expect("a").sequence;
    drop(session);
    assert!(matches!(next(&mut events).await, Event::Closed(_)));

    let mut session = master.subscribed(1, 2).await;
    session.call().await;
    next(&mut events).await;
    handle.acknowledge(early);
    let sent = session.send(updated("b")).await;
    let late = within(events.next()).await.expect("b").sequence;
    assert!(late > early);
    handle.acknowledge(late);
    let (_, call) = session.call().await;
    assert_eq!(call, Call::Acknowledge { sequence: sent });
}

#[tokio::test]
async fn no_task_goes_backwards_when_statuses_come_again() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    next(&mut events).await;
    for (number, state) in [(1, TaskState::Starting), (2, TaskState::Running)] {
        session.send(status("a", number, state)).await;
        assert_eq!(next(&mut events).await, status("a", number, state));
    }
    drop(session);
    assert!(matches!(next(&mut events).await, Event::Closed(_)));

    let mut session = master.subscribed(1, 2).await;
    session.call().await;
    next(&mut events).await;
    let skipped = session.send(status("a", 1, TaskState::Starting)).await;
    // The newest was never acknowledged.
    session.send(status("a", 2, TaskState::Running)).await;
    assert_eq!(next(&mut events).await, status("a", 2, TaskState::Running));
    let (_, call) = session.call().await;
    assert_eq!(call, Call::Acknowledge { sequence: skipped });
    session.send(status("a", 3, TaskState::Failed)).await;
    let ended = within(events.next()).await.expect("ended");
    assert_eq!(ended.event, status("a", 3, TaskState::Failed));
    session.send(status("a", 0, TaskState::Running)).await;
    session.send(updated("b")).await;
    assert_eq!(next(&mut events).await, updated("b"));
    let (_, call) = session.call().await;
    let kill = Call::Kill {
        task: task("a"),
        grace: None,
    };
    assert_eq!(call, kill);
    handle.acknowledge(ended.sequence);
    session.call().await;
}

#[tokio::test]
async fn a_master_of_an_earlier_epoch_is_refused_until_another_leads() {
    let mut stale = FakeMaster::start().await;
    stale.leads(5);
    let mut leader = FakeMaster::start_standing_by().await;
    let (_handle, mut events) = connect(&[stale.address, leader.address]);
    let session = stale.subscribed(5, 1).await;
    next(&mut events).await;
    drop(session);
    assert!(matches!(next(&mut events).await, Event::Closed(_)));

    let session = stale.subscribed(4, 2).await;
    session.gone().await;
    leader.leads(6);
    let mut session = leader.subscribed(6, 3).await;
    assert!(matches!(
        next(&mut events).await,
        Event::Subscribed {
            epoch: Epoch(6),
            ..
        }
    ));
    session.send_of(5, updated("a")).await;
    let closed = next(&mut events).await;
    assert!(
        matches!(&closed, Event::Closed(p) if p.is(code::EPOCH_STALE)),
        "{closed:?}"
    );
}

#[tokio::test]
async fn a_master_that_is_silent_is_left() {
    let mut master = FakeMaster::start().await;
    let (_handle, mut events) = connect(&[master.address]);
    let mut session = master.session().await;
    session.accept(1, 1, Duration::from_millis(20)).await;
    next(&mut events).await;
    let closed = next(&mut events).await;
    assert!(
        matches!(&closed, Event::Closed(p) if p.is(code::PEER_UNREACHABLE)),
        "{closed:?}"
    );
    session.gone().await;
    master.subscribed(1, 2).await;
}

#[tokio::test]
async fn a_refusal_that_would_come_again_is_final() {
    for code in [
        code::SESSION_FENCED,
        code::FRAMEWORK_COMPLETED,
        code::FRAMEWORK_FOREIGN,
        code::FRAMEWORK_UNKNOWN,
        code::AUTH_DENIED,
        code::AUTH_MISSING,
        code::FIELD_INVALID,
    ] {
        let problem = Problem::new(code, "no").hint("do not come again");
        // As a status, as the answer to the subscription, and later, as the end of a session.
        let master = FakeMaster::start_refusing(problem.clone()).await;
        let (handle, mut events) = connect(&[master.address]);
        assert_eq!(next(&mut events).await, Event::Closed(problem.clone()));
        assert_eq!(within(events.next()).await, None);
        within(handle.subscribed()).await.expect_err("over");
        within(handle.teardown()).await.expect_err("over");

        let mut master = FakeMaster::start().await;
        let (_handle, mut events) = connect(&[master.address]);
        let mut session = master.session().await;
        let (request, _) = session.call().await;
        session
            .answer(request, Answer::Refused(problem.clone()))
            .await;
        assert_eq!(next(&mut events).await, Event::Closed(problem.clone()));
        assert_eq!(within(events.next()).await, None);

        let (_handle, mut events) = connect(&[master.address]);
        let mut session = master.subscribed(1, 1).await;
        next(&mut events).await;
        session.send(Event::Closed(problem.clone())).await;
        assert_eq!(next(&mut events).await, Event::Closed(problem));
        assert_eq!(within(events.next()).await, None);
    }
}

#[tokio::test]
async fn a_refusal_that_may_pass_is_not_final() {
    let mut master = FakeMaster::start().await;
    let (_handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    next(&mut events).await;
    let problem = Problem::new(code::SESSION_OVERLOADED, "too slow");
    session.send(Event::Closed(problem.clone())).await;
    assert_eq!(next(&mut events).await, Event::Closed(problem));
    let _session = master.subscribed(1, 2).await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
}

#[tokio::test]
async fn dropping_the_events_ends_the_session() {
    let mut master = FakeMaster::start().await;
    let (handle, events) = connect(&[master.address]);
    let session = master.subscribed(1, 1).await;
    within(handle.subscribed()).await.expect("a session");
    drop(events);
    session.gone().await;
    let problem = within(handle.teardown()).await.expect_err("over");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
}
