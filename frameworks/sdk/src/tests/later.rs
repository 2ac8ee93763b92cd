//! A master of a later version: what it says and this version does not know breaks no session.

use proffer_model::session::{Answer, Call, Event};
use proffer_model::{Epoch, OfferId, TaskState, code};
use proffer_proto::{encode_offer, v1};
use v1::session_event::Event as Said;

use super::repeating::{accept, called, kill};
use super::{connect, next, options, status, task};
use crate::Framework;
use crate::limits::UNREADABLE_EXCLUDE_FOR;
use crate::testing::{FakeMaster, within};

fn of_state(state: i32) -> Option<Said> {
    Some(Said::Updated(v1::Status {
        task_id: "t".to_owned(),
        incarnation: 1,
        number: 1,
        state,
        ..v1::Status::default()
    }))
}

#[tokio::test]
async fn events_states_and_offers_of_a_later_version_break_no_session() {
    let mut master = FakeMaster::start().await;
    let mut options = options(&[master.address]);
    options.acknowledge_automatically = true;
    let (_handle, mut events) = Framework::connect(options).expect("good options");
    let mut session = master.session().await;
    let (request, _) = session.call().await;
    // While it subscribes, and after that.
    session.say(None).await;
    session.subscribed(request, 1, 1).await;
    let told = next(&mut events).await;
    let epoch = Epoch(1);
    assert!(
        matches!(told, Event::Subscribed { epoch: of, .. } if of == epoch),
        "{told:?}"
    );

    session.say(None).await;
    session.say(of_state(224)).await;
    let offers = vec![v1::Offer::default()];
    session
        .say(Some(Said::Offered(v1::Offered { offers })))
        .await;
    session.say(of_state(-7)).await;
    let last = session.send(status("t", 2, TaskState::Finished)).await;
    let Event::Updated(running) = next(&mut events).await else {
        panic!("a status")
    };
    assert_eq!(
        (running.state, &*running.message),
        (TaskState::Running, "state 224: ")
    );
    let Event::Updated(finished) = next(&mut events).await else {
        panic!("what cannot be read is skipped")
    };
    assert_eq!(
        (finished.task, finished.state),
        (task("t"), TaskState::Finished)
    );
    // Asking for the next one acknowledges, also what was skipped.
    let asking = tokio::spawn(async move { events.next().await });
    session.acknowledged(last).await;
    asking.abort();
}

#[tokio::test]
async fn an_end_that_is_not_known_frees_the_id() {
    let mut master = FakeMaster::start().await;
    let mut options = options(&[master.address]);
    options.acknowledge_automatically = true;
    let (handle, mut events) = Framework::connect(options).expect("good options");
    let mut session = master.active().await;
    next(&mut events).await;
    next(&mut events).await;
    session.say(of_state(v1::TaskState::Running.into())).await;
    next(&mut events).await;
    assert!(handle.settle([task("t")]).is_empty(), "it runs");
    session.say(of_state(600)).await;
    let Event::Updated(ended) = next(&mut events).await else {
        panic!("a status")
    };
    assert_eq!(
        (ended.state, &*ended.message),
        (TaskState::Lost, "state 600: ")
    );
    assert_eq!(handle.settle([task("t")]).len(), 1, "it has ended");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_a_problem_of_its_call_alone() {
    let mut master = FakeMaster::start().await;
    let (handle, mut events) = connect(&[master.address]);
    let mut session = master.active().await;
    assert!(matches!(next(&mut events).await, Event::Subscribed { .. }));
    let unreadable = |request_id| {
        let answer = None;
        Some(Said::Answered(v1::Answered { request_id, answer }))
    };
    let (request, pending) = called(&handle, &mut session, kill("a")).await;
    session.say(unreadable(request)).await;
    let problem = within(pending).await.expect_err("nobody knows");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
    // The session goes on.
    let (request, pending) = called(&handle, &mut session, kill("b")).await;
    session.answer(request, Answer::Done).await;
    assert_eq!(within(pending).await, Ok(Answer::Done));
    // What became of a launch is asked in another one.
    let (request, pending) = called(&handle, &mut session, accept("t")).await;
    session.say(unreadable(request)).await;
    within(pending).await.expect_err("nobody knows");
    assert!(handle.settle([task("t")]).is_empty(), "it may run");
    session.gone().await;
    let mut session = master.active().await;
    assert_eq!(session.asked().await, [task("t")]);
}

#[tokio::test]
async fn an_offer_that_cannot_be_read_is_given_back_and_the_others_are_told() {
    let mut master = FakeMaster::start().await;
    let (_handle, mut events) = connect(&[master.address]);
    let mut session = master.active().await;
    next(&mut events).await;
    next(&mut events).await;
    let good = session.offer("cpus:1", "work", 1).await;
    assert_eq!(next(&mut events).await, Event::Offered(vec![good.clone()]));
    let odd = v1::Offer {
        id: "odd".to_owned(),
        ..v1::Offer::default()
    };
    let offers = vec![odd, v1::Offer::default(), encode_offer(&good)];
    let offered = Said::Offered(v1::Offered { offers });
    session.say(Some(offered)).await;
    assert_eq!(next(&mut events).await, Event::Offered(vec![good]));
    let (_, call) = session
        .call_that(|call| matches!(call, Call::Decline { .. }))
        .await;
    let expected = Call::Decline {
        offers: vec![OfferId::new("odd").unwrap()],
        exclude_for: UNREADABLE_EXCLUDE_FOR,
    };
    assert_eq!(call, expected);
}
