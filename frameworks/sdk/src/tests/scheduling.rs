//! A scheduler of handlers alone.

use std::time::Duration;

use proffer_model::session::{Answer, Call, Event};
use proffer_model::{Offer, OfferId, Problem, Reason, Resources, Status, TaskId, code};

use super::{options, task, updated};
use crate::testing::{FakeMaster, within};
use crate::{Handle, Scheduler, Session, run};

/// Ends the framework when the second task runs.
#[derive(Default)]
struct Two {
    running: u32,
    sessions: u32,
}

impl Scheduler for Two {
    async fn on_subscribed(&mut self, _: &Handle, session: Session) -> Result<(), Problem> {
        self.sessions += 1;
        assert_eq!(session.generation.0, u64::from(self.sessions));
        Ok(())
    }

    async fn on_update(&mut self, handle: &Handle, _: Status) -> Result<(), Problem> {
        self.running += 1;
        match self.running {
            2 => handle.teardown().await,
            _ => Ok(()),
        }
    }
}

/// Ends what is wanted back, and the framework when nothing is any more.
struct Giving;

impl Scheduler for Giving {
    async fn on_reclaim(
        &mut self,
        handle: &Handle,
        tasks: Vec<TaskId>,
        reason: Reason,
        deadline: Option<Duration>,
    ) -> Result<(), Problem> {
        if reason == Reason::None {
            return handle.teardown().await;
        }
        assert_eq!(deadline, Some(Duration::from_secs(60)));
        for task in tasks {
            handle.kill(task, deadline).await?;
        }
        Ok(())
    }
}

/// Fails at the first status.
struct Failing;

impl Scheduler for Failing {
    async fn on_update(&mut self, _: &Handle, status: Status) -> Result<(), Problem> {
        let message = format!("{} is too much", status.task);
        Err(Problem::new(code::INTERNAL, message))
    }
}

fn offer(id: &str) -> Offer {
    Offer {
        id: OfferId::new(id).unwrap(),
        role: super::role(),
        agent: proffer_model::AgentId::new("a").unwrap(),
        host: "h".into(),
        address: "h:1".into(),
        attributes: Default::default(),
        domain: None,
        resources: Resources::new(),
        fits: vec![],
        expires_after: Duration::from_secs(5),
    }
}

#[tokio::test]
async fn handlers_run_in_order_over_sessions_until_the_framework_is_torn_down() {
    let mut master = FakeMaster::start().await;
    let running = tokio::spawn(run(options(&[master.address]), Two::default()));
    let mut session = master.subscribed(1, 1).await;
    let (_, call) = session.call().await;
    assert!(matches!(call, Call::Acknowledge { .. }), "{call:?}");
    let sent = session.send(updated("a")).await;
    let (_, call) = session.call().await;
    assert_eq!(call, Call::Acknowledge { sequence: sent });
    drop(session);

    let mut session = master.subscribed(1, 2).await;
    session.send(updated("b")).await;
    let request = loop {
        match session.call().await {
            (request, Call::Teardown) => break request,
            (_, Call::Acknowledge { .. } | Call::Reconcile { .. }) => {}
            (_, call) => panic!("{call:?}"),
        }
    };
    session.answer(request, Answer::Done).await;
    let completed = Problem::new(code::FRAMEWORK_COMPLETED, "torn down");
    session.send(Event::Closed(completed)).await;
    within(running).await.expect("no panic").expect("torn down");
}

#[tokio::test]
async fn what_is_wanted_back_comes_to_its_handler() {
    let mut master = FakeMaster::start().await;
    let running = tokio::spawn(run(options(&[master.address]), Giving));
    let mut session = master.subscribed(1, 1).await;
    for reason in [Reason::AgentDrained, Reason::None] {
        let deadline = (reason != Reason::None).then_some(Duration::from_secs(60));
        let tasks = vec![task("a")];
        session
            .send(Event::Reclaim {
                tasks,
                reason,
                deadline,
            })
            .await;
        let request = loop {
            match session.call().await {
                (request, Call::Kill { task: of, .. }) => {
                    assert_eq!((of, reason), (task("a"), Reason::AgentDrained));
                    break request;
                }
                (request, Call::Teardown) => break request,
                (_, Call::Acknowledge { .. }) => {}
                (_, call) => panic!("{call:?}"),
            }
        };
        session.answer(request, Answer::Done).await;
    }
    let completed = Problem::new(code::FRAMEWORK_COMPLETED, "torn down");
    session.send(Event::Closed(completed)).await;
    within(running).await.expect("no panic").expect("torn down");
}

#[tokio::test]
async fn offers_that_nobody_handles_are_declined_and_a_failing_handler_ends_the_run() {
    let mut master = FakeMaster::start().await;
    let running = tokio::spawn(run(options(&[master.address]), Failing));
    let mut session = master.subscribed(1, 1).await;
    session
        .send(Event::Offered(vec![offer("o1"), offer("o2")]))
        .await;
    let request = loop {
        match session.call().await {
            (request, Call::Decline { offers, .. }) => {
                assert_eq!(offers.len(), 2);
                assert_eq!(session.called_in, Some(proffer_model::Epoch(1)));
                break request;
            }
            (_, Call::Acknowledge { .. }) => {}
            (_, call) => panic!("{call:?}"),
        }
    };
    session.answer(request, Answer::Done).await;
    session.send(updated("a")).await;
    let problem = within(running).await.expect("no panic").expect_err("fails");
    assert!(problem.message.contains(task("a").as_str()), "{problem}");
    session.gone().await;
}

#[tokio::test]
async fn a_framework_that_was_over_before_is_refused_and_not_done() {
    struct Nothing;
    impl Scheduler for Nothing {}
    let over = Problem::new(code::FRAMEWORK_COMPLETED, "torn down");
    let master = FakeMaster::start_refusing(over).await;
    let ran = within(crate::run(master.options("mine"), Nothing)).await;
    assert!(ran.expect_err("it was over").is(code::FRAMEWORK_COMPLETED));
}
