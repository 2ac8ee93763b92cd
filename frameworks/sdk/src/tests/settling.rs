//! Launches that are not made twice: what is settled, what is asked, what is refused here.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use proffer_model::session::{Answer, Call, Event, LaunchResult, Operation, OperationResult};
use proffer_model::{
    AgentId, FrameworkId, Incarnation, Offer, OfferId, Problem, Status, TaskId, TaskState, code,
};
use tracing::field::Field;
use tracing::{Level, Metadata, span};

use super::calling::spec;
use super::{connect, next, options, task, updated};
use crate::testing::{FakeMaster, within};
use crate::{Framework, Handle, Scheduler, run};

fn accept(ids: &[&str]) -> Call {
    let launches = ids.iter().map(|id| Operation::launch(spec(id)));
    Call::Accept {
        offers: vec![OfferId::new("o").unwrap()],
        operations: launches.collect(),
    }
}

/// Launches `t` at every offer until it has ended, and writes down what happens.
#[derive(Default)]
struct Author(Vec<String>);

impl Scheduler for &mut Author {
    async fn on_offers(&mut self, handle: &Handle, offers: Vec<Offer>) -> Result<(), Problem> {
        let offers = offers.into_iter().map(|offer| offer.id).collect();
        for launch in handle.launch(offers, vec![spec("t")]).await? {
            let outcome = launch.outcome.map_err(|problem| problem.code.to_string());
            self.0.push(format!("launched {outcome:?}"));
        }
        Ok(())
    }

    async fn on_update(&mut self, handle: &Handle, status: Status) -> Result<(), Problem> {
        self.0
            .push(format!("{} {}", status.state, status.incarnation.0));
        match status.state {
            TaskState::Finished => handle.teardown().await,
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_launch_with_an_offer_that_is_gone_is_refused_for_each_task_which_may_then_be_launched_again()
 {
    let mut master = FakeMaster::start().await;
    let (handle, _events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    within(handle.subscribed()).await.expect("a session");
    for _ in 0..2 {
        let handle = handle.clone();
        let launching = tokio::spawn(async move {
            let specs = ["a", "b"].map(spec).to_vec();
            handle.launch(vec![OfferId::new("o").unwrap()], specs).await
        });
        let (request, call) = session.call().await;
        let Call::Accept { operations, .. } = call else {
            panic!("an accept: {call:?}");
        };
        assert_eq!(operations.len(), 2);
        let gone = Problem::new(code::OFFER_GONE, "its agent is lost");
        session.answer(request, Answer::Refused(gone.clone())).await;
        let results = within(launching)
            .await
            .expect("no panic")
            .expect("answered");
        let told = results.into_iter().map(|it| (it.task, it.outcome));
        let told: Vec<_> = told.collect();
        assert_eq!(
            told,
            [(task("a"), Err(gone.clone())), (task("b"), Err(gone))]
        );
    }
}

#[tokio::test]
async fn a_launch_without_an_answer_is_not_repeated_before_its_fate_is_told() {
    let mut master = FakeMaster::start().await;
    let options = master.options("mine");
    let mut author = Author::default();
    let playing = async {
        let mut first = master.active().await;
        first.offer("cpus:4", "work", 1).await;
        let is_accept = |call: &Call| matches!(call, Call::Accept { .. });
        first.call_that(is_accept).await;
        drop(first);
        let mut second = master.active().await;
        second.offer("cpus:4", "work", 1).await;
        // The offer goes back with nothing launched.
        assert!(second.launches().await.is_empty());
        assert_eq!(second.asked().await, [task("t")]);
        second.tell_unknown(&task("t"), TaskState::Lost).await;
        second.offer("cpus:4", "work", 1).await;
        assert_eq!(second.launches().await.len(), 1);
        second.tell_unknown(&task("t"), TaskState::Lost).await;
        second.tell(&task("t"), TaskState::Finished).await;
        second.finish().await;
    };
    let (ran, ()) = tokio::join!(run(options, &mut author), playing);
    ran.expect("torn down");
    assert_eq!(
        author.0,
        [
            "launched Err(\"task.duplicate\")",
            "lost 0",
            "launched Ok(Incarnation(1))",
            "finished 1"
        ]
    );
}

#[tokio::test]
async fn ids_of_an_earlier_run_are_settled_and_those_that_are_open_are_refused() {
    let mut master = FakeMaster::start().await;
    let mut options = options(&[master.address]);
    options.framework_id = FrameworkId::new("f").ok();
    let (handle, mut events) = Framework::connect(options).expect("good options");
    let mut session = master.subscribed(1, 1).await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    let both = BTreeSet::from([task("a"), task("b")]);
    assert!(handle.settle(both.clone()).is_empty());
    assert_eq!(session.asked().await, [task("a"), task("b")]);
    session.tell_unknown(&task("a"), TaskState::Lost).await;
    session.send(updated("b")).await;
    let Event::Updated(lost) = next(&mut events).await else {
        panic!("a status");
    };
    assert_eq!((lost.task, lost.state), (task("a"), TaskState::Lost));
    assert_eq!(next(&mut events).await, updated("b"));
    assert_eq!(handle.settle(both), BTreeSet::from([task("a")]));
    // Of several launches those are made that may be; of an accept all or none.
    let problem = within(handle.call(accept(&["c", "b"]))).await;
    let problem = problem.expect_err("b runs");
    assert!(problem.is(code::TASK_DUPLICATE), "{problem}");
    // An id that is being settled may never have been launched.
    let may_run = "a launch of task b may run";
    assert!(problem.message.starts_with(may_run), "{problem}");
    let problem = within(handle.call(accept(&["c", "c"]))).await;
    assert!(problem.is_err_and(|it| it.is(code::TASK_DUPLICATE)));
    let launching = tokio::spawn(async move {
        let specs = ["b", "a", "c", "c"].map(spec).to_vec();
        handle.launch(vec![OfferId::new("o").unwrap()], specs).await
    });
    let launched: Vec<TaskId> = session
        .launches()
        .await
        .into_iter()
        .map(|it| it.id)
        .collect();
    assert_eq!(launched, [task("a"), task("c")]);
    let results = within(launching)
        .await
        .expect("no panic")
        .expect("answered");
    let outcomes = results
        .iter()
        .map(|it| (it.task.as_str(), it.outcome.is_ok()));
    let expected = [("b", false), ("a", true), ("c", true), ("c", false)];
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
}

/// Collects the texts of warnings.
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut |_: &Field, value: &dyn Debug| {
            self.0.lock().unwrap().push(format!("{value:?}"));
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn it_is_said_that_ids_wait_for_an_agent_that_is_unreachable() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let _guard = tracing::subscriber::set_default(Warnings(Arc::clone(&said)));
    let mut master = FakeMaster::start().await;
    let mut options = options(&[master.address]);
    options.framework_id = FrameworkId::new("f").ok();
    let (handle, mut events) = Framework::connect(options).expect("good options");
    let mut session = master.subscribed(1, 1).await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    handle.settle([task("a"), task("b")]);
    session.asked().await;
    session
        .tell_unknown(&task("a"), TaskState::Unreachable)
        .await;
    next(&mut events).await;
    for agent in ["a", "b"] {
        let settled = Event::AgentSettled(AgentId::new(agent).unwrap());
        session.send(settled.clone()).await;
        assert_eq!(next(&mut events).await, settled);
        session.asked().await;
    }
    drop(session);
    while !matches!(next(&mut events).await, Event::Closed(_)) {}
    let mut session = master.subscribed(1, 2).await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    session.send(Event::SnapshotEnded).await;
    next(&mut events).await;
    for _ in 0..2 {
        session.asked().await;
        let settled = Event::AgentSettled(AgentId::new("a").unwrap());
        session.send(settled.clone()).await;
        assert_eq!(next(&mut events).await, settled);
    }
    let text = "ids wait to be settled: an agent that may run them is unreachable";
    let mut said = said.lock().unwrap().clone();
    said.sort();
    said.retain(|line| line == "1" || line.contains("ids wait"));
    assert_eq!(said, ["1", text], "once, in two sessions");
}

#[tokio::test]
async fn it_asks_again_when_an_agent_has_settled_and_not_about_what_the_master_knows() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut first = master.active().await;
    within(handle.subscribed()).await.expect("a session");
    let launching = within(handle.call(accept(&["a", "b"])));
    let (launched, _) = tokio::join!(launching, first.launches());
    launched.expect("answered");
    first.tell(&task("a"), TaskState::Running).await;
    while !matches!(next(&mut events).await, Event::Updated(_)) {}
    drop(first);
    let mut second = master.session().await;
    second
        .accept(2, 2, std::time::Duration::from_secs(10))
        .await;
    while !matches!(next(&mut events).await, Event::Closed(_)) {}
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    // Of the one it says that it is there, of the other nothing.
    second.tell(&task("a"), TaskState::Staging).await;
    second.send(Event::SnapshotEnded).await;
    assert_eq!(next(&mut events).await, Event::SnapshotEnded, "no news");
    assert_eq!(second.asked().await, [task("b")]);
    let settled = Event::AgentSettled(AgentId::new("x").unwrap());
    second.send(settled.clone()).await;
    assert_eq!(next(&mut events).await, settled);
    assert_eq!(second.asked().await, [task("b")]);
    assert!(handle.settle([task("a"), task("b")]).is_empty());
}

#[tokio::test]
async fn an_end_that_its_author_did_not_keep_frees_nothing() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut first = master.active().await;
    for id in ["a", "b"] {
        first.tell(&task(id), TaskState::Failed).await;
    }
    let mut sequences = Vec::new();
    while sequences.len() < 2 {
        let received = within(events.next()).await.expect("a status");
        if matches!(received.event, Event::Updated(_)) {
            sequences.push(received.sequence);
        }
    }
    let both = BTreeSet::from([task("a"), task("b")]);
    assert_eq!(handle.settle(both.clone()), both);
    handle.acknowledge(sequences[0]);
    drop(first);
    let mut second = master.session().await;
    let (request, _) = second.call().await;
    second.resumed(request, 1, 2).await;
    while !matches!(next(&mut events).await, Event::Subscribed { .. }) {}
    assert_eq!(handle.settle(both.clone()), BTreeSet::from([task("a")]));
    assert_eq!(second.asked().await, [task("b")]);
    // The numbers of this session begin anew; the first is the other one's.
    for id in ["a", "b"] {
        second.tell(&task(id), TaskState::Failed).await;
    }
    let is_b = |event: &Event| matches!(event, Event::Updated(status) if status.task == task("b"));
    while !is_b(&next(&mut events).await) {}
    assert_eq!(handle.settle(both.clone()), both);
}

#[tokio::test]
async fn a_launch_that_never_left_may_be_made_again() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let problem = within(handle.call(accept(&["a"]))).await;
    assert!(problem.is_err_and(|it| it.is(code::PEER_UNREACHABLE)));
    let mut session = master.subscribed(1, 1).await;
    next(&mut events).await;
    assert_eq!(handle.settle([task("a")]).len(), 1);
    let pending = within(handle.send(accept(&["a"]))).await.expect("sent");
    let (request, _) = session.call().await;
    let refused = LaunchResult {
        task: task("a"),
        outcome: Err(Problem::new(code::OFFER_GONE, "gone")),
    };
    let results = vec![OperationResult::Launched(refused)];
    session.answer(request, Answer::Accepted(results)).await;
    within(pending).await.expect("answered");
    let pending = within(handle.send(accept(&["a"]))).await.expect("sent");
    let (request, _) = session.call().await;
    let refused = vec![OperationResult::Refused(Problem::new(
        code::OFFER_GONE,
        "gone",
    ))];
    session.answer(request, Answer::Accepted(refused)).await;
    within(pending).await.expect("answered");
    // Who does not wait for the answer is not forgotten.
    drop(within(handle.send(accept(&["a"]))).await.expect("sent"));
    let (request, _) = session.call().await;
    let launched = LaunchResult {
        task: task("a"),
        outcome: Ok(Incarnation(3)),
    };
    let results = vec![OperationResult::Launched(launched)];
    session.answer(request, Answer::Accepted(results)).await;
    session
        .send(Event::AgentSettled(AgentId::new("x").unwrap()))
        .await;
    next(&mut events).await;
    assert!(handle.settle([task("a")]).is_empty());
}

#[tokio::test]
async fn what_was_acknowledged_before_a_launch_comes_before_it() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.subscribed(1, 1).await;
    next(&mut events).await;
    for number in 1..=20 {
        let sent = session.send(updated(&format!("t{number}"))).await;
        let received = within(events.next()).await.expect("a status");
        handle.acknowledge(received.sequence);
        let launched = format!("l{number}");
        let pending = within(handle.send(accept(&[&launched]))).await;
        let (_, call) = session.call().await;
        assert_eq!(call, Call::Acknowledge { sequence: sent });
        let (_, call) = session.call().await;
        assert!(matches!(call, Call::Accept { .. }), "{call:?}");
        drop(pending);
    }
}
