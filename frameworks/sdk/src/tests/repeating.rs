//! Calls that had no answer when their session ended: which are called again in the next, and which fail.

use std::sync::Arc;
use std::time::Duration;

use proffer_model::session::{Answer, Call, Event, LaunchResult, Operation, OperationResult};
use proffer_model::{
    AgentId, Command, DemandEntry, DemandId, ExecutorApi, ExecutorId, ExecutorSpec, Incarnation,
    OfferId, Problem, code,
};

use super::calling::spec;
use super::lasting::standing_by;
use super::{connect, next, role, task, updated};
use crate::handle::{Handle, PendingAnswer};
use crate::limits::EVENTS_QUEUED_MAX;
use crate::testing::{FakeMaster, FakeSession, within};

pub(super) fn kill(id: &str) -> Call {
    Call::Kill {
        task: task(id),
        grace: None,
    }
}

pub(super) fn accept(id: &str) -> Call {
    Call::Accept {
        offers: vec![OfferId::new("o").unwrap()],
        operations: vec![Operation::launch(spec(id))],
    }
}

/// Calls it, and answers with its request id when the master has it.
pub(super) async fn called(
    handle: &Handle,
    session: &mut FakeSession,
    call: Call,
) -> (u64, PendingAnswer) {
    let pending = within(handle.send(call.clone())).await.expect("sent");
    let (request, heard) = session.call().await;
    match (heard, call) {
        // The SDK gives it a number.
        (Call::SetDemand(_), Call::SetDemand(_)) => {}
        (heard, call) => assert_eq!(heard, call),
    }
    (request, pending)
}

#[tokio::test]
async fn what_may_be_done_twice_is_called_again_and_an_accept_is_not() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut first = master.subscribed(1, 1).await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    let decline = Call::Decline {
        offers: vec![OfferId::new("o").unwrap()],
        exclude_for: Duration::from_secs(5),
    };
    let reconcile = Call::Reconcile {
        tasks: vec![task("r")],
    };
    let again = [kill("a"), decline, reconcile, kill("b")];
    let mut waiting = Vec::new();
    for call in again.clone() {
        waiting.push(called(&handle, &mut first, call).await);
    }
    let wanted = DemandEntry::new(DemandId::new("work").unwrap(), 1, "cpus:1".parse().unwrap());
    let demanding = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.set_demand(role(), vec![wanted]).await })
    };
    let (request_of_demand, _) = first.call().await;
    // One of each that could do harm: `b` might be killed in its next launch.
    let message = Call::SendMessage {
        agent: AgentId::new("a").unwrap(),
        executor: ExecutorId::new("e").unwrap(),
        data: vec![1],
    };
    let mut lost = Vec::new();
    for call in [accept("b"), message] {
        lost.push(called(&handle, &mut first, call).await.1);
    }
    drop(first);
    lost.extend(waiting.pop().map(|(_, pending)| pending));
    for pending in lost {
        let problem = within(pending).await.expect_err("not called again");
        assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
    }
    let mut second = master.session().await;
    let (request, _) = second.call().await;
    second.resumed(request, 1, 2).await;
    let (request, call) = second.call().await;
    assert!(matches!(call, Call::SetDemand(_)), "{call:?}");
    assert!(request > request_of_demand, "it has another number");
    second.answer(request, Answer::Done).await;
    within(demanding).await.expect("no panic").expect("done");
    for ((request, pending), call) in waiting.into_iter().zip(again) {
        assert_eq!(second.call().await, (request, call));
        second.answer(request, Answer::Done).await;
        assert_eq!(within(pending).await, Ok(Answer::Done));
    }
    // Nothing else comes.
    let asked = called(&handle, &mut second, kill("c")).await.0;
    assert!(asked > request);
}

#[tokio::test]
async fn who_takes_no_events_while_the_session_ends_waits_for_no_later_one() {
    let mut master = FakeMaster::start().await;
    let (handle, _events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    within(handle.subscribed()).await.expect("a session");
    for _ in 0..=EVENTS_QUEUED_MAX {
        session.send(Event::Offered(vec![])).await;
    }
    let (_, pending) = called(&handle, &mut session, kill("a")).await;
    drop(session);
    // Their queue is full, so the end cannot be told, and nothing follows it.
    let problem = within(pending).await.expect_err("no session");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
}

#[tokio::test]
async fn a_teardown_whose_answer_was_lost_is_done_when_the_framework_is_over() {
    let mut master = FakeMaster::start().await;
    let (handle, _events) = connect(&[master.address]);
    let mut first = master.subscribed(1, 1).await;
    within(handle.subscribed()).await.expect("a session");
    let (_, teardown) = called(&handle, &mut first, Call::Teardown).await;
    let (_, killed) = called(&handle, &mut first, kill("a")).await;
    drop(first);
    let mut second = master.session().await;
    second.call().await;
    let over = Problem::new(code::FRAMEWORK_COMPLETED, "it is over");
    second.send(Event::Closed(over)).await;
    assert_eq!(within(teardown).await, Ok(Answer::Done));
    let problem = within(killed).await.expect_err("no session follows");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
}

#[tokio::test]
async fn what_was_called_before_another_program_was_active_is_not_called_again() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut first = master.subscribed(1, 1).await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    let (_, killed) = called(&handle, &mut first, kill("a")).await;
    drop(first);
    assert!(matches!(next(&mut events).await, Event::Closed(_)));
    let mut second = master.session().await;
    let (request, _) = second.call().await;
    second.send(standing_by()).await;
    second.resumed(request, 1, 2).await;
    let problem = within(killed).await.expect_err("not called again");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
    assert_eq!(next(&mut events).await, standing_by());
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    // The first that comes.
    called(&handle, &mut second, kill("b")).await;
}

#[tokio::test]
async fn nothing_is_called_again_where_a_session_cannot_be_resumed() {
    for (epoch, is_repeated) in [(1, false), (2, true)] {
        let mut master = FakeMaster::start().await;
        let (handle, mut events) = connect(&[master.address]);
        let mut first = master.subscribed(1, 1).await;
        assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
        first.send(updated("a")).await;
        handle.acknowledge(within(events.next()).await.expect("a").sequence);
        while !matches!(first.call().await, (_, Call::Acknowledge { .. })) {}
        let (_, pending) = called(&handle, &mut first, kill("a")).await;
        drop(first);
        // In the same term somebody else may have been active; another term has nobody's place.
        let mut second = master.subscribed(epoch, 2).await;
        let answered = tokio::spawn(pending);
        let (request, call) = second.call().await;
        assert_eq!(call == kill("a"), is_repeated, "{call:?}");
        second.answer(request, Answer::Done).await;
        let answer = within(answered).await.expect("no panic");
        assert_eq!(answer.is_ok(), is_repeated, "{answer:?}");
    }
}

#[tokio::test]
async fn what_was_answered_and_not_taken_is_asked_again_in_a_session_that_resumes() {
    for is_resumed in [true, false] {
        let mut master = FakeMaster::start().await;
        let (handle, mut events) = connect(&[master.address]);
        let mut first = master.subscribed(1, 1).await;
        within(handle.subscribed()).await.expect("a session");
        // Their queue is full: what follows waits in the session.
        for _ in 0..=EVENTS_QUEUED_MAX {
            first.send(Event::Offered(vec![])).await;
        }
        let tasks = vec![task("r")];
        let reconcile = Call::Reconcile {
            tasks: tasks.clone(),
        };
        let (request, pending) = called(&handle, &mut first, reconcile.clone()).await;
        first.send(updated("r")).await;
        first.answer(request, Answer::Done).await;
        assert_eq!(within(pending).await, Ok(Answer::Done));
        drop(first);
        within(handle.call(kill("x")))
            .await
            .expect_err("no session");
        loop {
            match next(&mut events).await {
                Event::Closed(_) => break,
                Event::Updated(status) => panic!("{status:?}"),
                _ => {}
            }
        }
        // Also when that session ends before it has answered.
        for _ in 0..2 {
            let mut session = master.session().await;
            let (request, _) = session.call().await;
            if !is_resumed {
                session.subscribed(request, 1, 2).await;
                // All are told anyway.
                while !matches!(next(&mut events).await, Event::Subscribed { .. }) {}
                called(&handle, &mut session, kill("b")).await;
                break;
            }
            session.resumed(request, 1, 2).await;
            assert_eq!(session.call().await.1, reconcile);
        }
        if !is_resumed {
            continue;
        }
        let mut session = master.session().await;
        let (request, _) = session.call().await;
        session.resumed(request, 1, 3).await;
        let (request, _) = session.call().await;
        session.send(updated("r")).await;
        session.answer(request, Answer::Done).await;
        while next(&mut events).await != updated("r") {}
        // It was told, and is not asked again.
        drop(session);
        let mut session = master.session().await;
        let (request, _) = session.call().await;
        session.resumed(request, 1, 4).await;
        while !matches!(next(&mut events).await, Event::Subscribed { .. }) {}
        called(&handle, &mut session, kill("b")).await;
    }
}

#[tokio::test]
async fn what_ends_or_changes_something_is_done_whoever_waits_for_it() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut first = master.subscribed(1, 1).await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    let update = Call::UpdateTask {
        task: task("b"),
        labels: None,
        grace: Some(Duration::from_secs(1)),
    };
    let shutdown = Call::ShutdownExecutor {
        agent: AgentId::new("a").unwrap(),
        executor: ExecutorId::new("e").unwrap(),
    };
    let calls = [kill("a"), update, shutdown];
    let mut requests = Vec::new();
    for call in calls.clone() {
        let (request, pending) = called(&handle, &mut first, call).await;
        drop(pending);
        requests.push(request);
    }
    // Above the rate nothing was done.
    for (request, call) in requests.iter().zip(&calls) {
        first
            .answer(*request, limited(Duration::from_millis(1)))
            .await;
        assert_eq!(first.call().await, (*request, call.clone()));
    }
    drop(first);
    let mut second = master.session().await;
    let (request, _) = second.call().await;
    second.resumed(request, 1, 2).await;
    for (request, call) in requests.into_iter().zip(calls) {
        assert_eq!(second.call().await, (request, call));
    }
}

pub(super) fn limited(wait: Duration) -> Answer {
    let problem = Problem::new(code::SESSION_RATE_LIMITED, "too often");
    Answer::Refused(problem.retry_after(wait))
}

fn of_executor(id: &str) -> ExecutorSpec {
    ExecutorSpec {
        id: ExecutorId::new(id).unwrap(),
        resources: "cpus:1".parse().unwrap(),
        command: Command::Shell("true".into()),
        environment: [].into(),
        user: None,
        shutdown_grace: Duration::from_secs(1),
        fetch: Vec::new(),
        api: ExecutorApi::default(),
        info: Vec::new(),
        info_compared: None,
    }
}

#[tokio::test]
async fn what_is_above_the_rate_does_not_hit_what_was_launched_since() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut first = master.subscribed(1, 1).await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    let update = Call::UpdateTask {
        task: task("a"),
        labels: None,
        grace: Some(Duration::from_secs(1)),
    };
    let shutdown = Call::ShutdownExecutor {
        agent: AgentId::new("agent").unwrap(),
        executor: ExecutorId::new("e").unwrap(),
    };
    let (request, kept) = called(&handle, &mut first, kill("a")).await;
    first
        .answer(request, limited(Duration::from_secs(20)))
        .await;
    let mut pending = Vec::new();
    for call in [kill("a"), update, shutdown, kill("refused")] {
        pending.push(called(&handle, &mut first, call).await);
    }
    let mut own = spec("own");
    own.executor = Some(Arc::new(of_executor("e")));
    own.command = Command::Data(Vec::new());
    let launches = [
        (spec("a"), Ok(Incarnation(2))),
        (own, Ok(Incarnation(1))),
        (
            spec("refused"),
            Err(Problem::new(code::TASK_DUPLICATE, "it runs")),
        ),
    ];
    let operations = launches
        .iter()
        .map(|(spec, _)| Operation::launch(spec.clone()));
    let accept = Call::Accept {
        offers: vec![OfferId::new("o").unwrap()],
        operations: operations.collect(),
    };
    let (request, launched) = called(&handle, &mut first, accept).await;
    let results = launches.into_iter().map(|(spec, outcome)| {
        let task = spec.id;
        OperationResult::Launched(LaunchResult { task, outcome })
    });
    first
        .answer(request, Answer::Accepted(results.collect()))
        .await;
    within(launched).await.expect("answered");
    for (request, _) in &pending {
        first.answer(*request, limited(Duration::ZERO)).await;
    }
    // What hits nothing that was launched comes again, and nothing else.
    let (request, call) = first.call().await;
    assert_eq!(call, kill("refused"));
    first.answer(request, Answer::Done).await;
    // The task that was to be killed had ended.
    for ((_, pending), is_done) in pending.into_iter().zip([true, false, false, true]) {
        match within(pending).await {
            Ok(_) => assert!(is_done),
            Err(problem) => assert!(!is_done && problem.is(code::SESSION_RATE_LIMITED)),
        }
    }

    drop(first);
    let problem = within(kept).await.expect_err("nor in a later session");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
    let mut second = master.session().await;
    let (request, _) = second.call().await;
    second.resumed(request, 1, 2).await;
    while !matches!(next(&mut events).await, Event::Subscribed { .. }) {}
    called(&handle, &mut second, kill("b")).await;
}

#[tokio::test]
async fn what_is_above_the_rate_waits_for_what_becomes_of_a_later_launch() {
    for is_taken in [true, false] {
        let mut master = FakeMaster::start().await;
        let (handle, mut events) = connect(&[master.address]);
        let mut session = master.subscribed(1, 1).await;
        assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
        let (request, killed) = called(&handle, &mut session, kill("a")).await;
        let (launch, launched) = called(&handle, &mut session, accept("a")).await;
        session.answer(request, limited(Duration::ZERO)).await;
        // It is not called before the launch is answered.
        let (other, pending) = called(&handle, &mut session, kill("b")).await;
        session.answer(other, Answer::Done).await;
        within(pending).await.expect("done");
        let outcome = match is_taken {
            true => Ok(Incarnation(1)),
            false => Err(Problem::new(code::TASK_DUPLICATE, "it runs")),
        };
        let result = LaunchResult {
            task: task("a"),
            outcome,
        };
        let results = vec![OperationResult::Launched(result)];
        session.answer(launch, Answer::Accepted(results)).await;
        within(launched).await.expect("answered");
        if !is_taken {
            assert_eq!(session.call().await, (request, kill("a")));
            session.answer(request, Answer::Done).await;
        }
        assert_eq!(within(killed).await, Ok(Answer::Done));
        called(&handle, &mut session, kill("c")).await;
    }
}

#[tokio::test]
async fn however_many_calls_wait_for_a_long_accept_others_are_made_meanwhile() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    let mut killed = Vec::new();
    for i in 0..1_000 {
        killed.push(called(&handle, &mut session, kill(&format!("t{i}"))).await);
    }
    let operations = (0..9_000).map(|i| Operation::launch(spec(&format!("t{i}"))));
    let accept = Call::Accept {
        offers: vec![OfferId::new("o").unwrap()],
        operations: operations.collect(),
    };
    let _launched = called(&handle, &mut session, accept).await;
    for (request, _) in &killed {
        session.answer(*request, limited(Duration::ZERO)).await;
    }
    within(async {
        for i in 0..1_000 {
            let other = kill(&format!("other{i}"));
            let (request, pending) = called(&handle, &mut session, other).await;
            session.answer(request, Answer::Done).await;
            pending.await.expect("done");
        }
    })
    .await;
}
