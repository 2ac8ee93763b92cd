//! A scheduler of handlers alone.

use std::sync::Arc;
use std::time::Duration;

use proffer_model::session::{Answer, Call, Event};
use proffer_model::{
    FrameworkId, Offer, OfferId, Problem, Reason, Resources, StateKey, Status, TaskId, code,
};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::{options, task, updated};
use crate::testing::{FakeMaster, within};
use crate::{Expected, Handle, Scheduler, Session, run};

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
            (_, Call::Acknowledge { .. }) => {}
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

/// Keeps something at each status when the test says so, and ends the framework when that has succeeded.
struct Keeper {
    go_on: Arc<Notify>,
    told: mpsc::Sender<Option<Problem>>,
}

impl Scheduler for Keeper {
    async fn on_update(&mut self, handle: &Handle, _: Status) -> Result<(), Problem> {
        self.go_on.notified().await;
        let key = StateKey::new("kept")?;
        let kept = handle.state().put(&key, "x", Expected::Anything).await;
        drop(self.told.send(kept.clone().err()).await);
        kept?;
        handle.teardown().await
    }

    async fn on_standing_by(&mut self) {
        drop(self.told.send(None).await);
    }
}

#[tokio::test]
async fn who_was_fenced_hears_that_it_stands_by() {
    let mut master = FakeMaster::start().await;
    let mut options = master.options("mine");
    options.framework_id = FrameworkId::new("f").ok();
    options.stand_by = true;
    let (go_on, (told, mut heard)) = (Arc::new(Notify::new()), mpsc::channel(1));
    let keeper = Keeper {
        go_on: Arc::clone(&go_on),
        told,
    };
    let _running = AbortOnDropHandle::new(tokio::spawn(run(options, keeper)));
    let mut session = master.active().await;
    session.send(updated("a")).await;
    session.fence();
    go_on.notify_one();
    assert!(matches!(within(heard.recv()).await, Some(Some(_))));
    let fenced = Problem::new(code::SESSION_FENCED, "another program is active");
    session.send(Event::Closed(fenced)).await;
    let mut session = master.session().await;
    let standing = Event::StandingBy {
        framework: FrameworkId::new("f").unwrap(),
        cluster: "c".parse().unwrap(),
        heartbeat_interval: Duration::from_secs(1),
    };
    session.send(standing).await;
    assert_eq!(within(heard.recv()).await, Some(None));
}

#[tokio::test]
async fn a_fenced_state_ends_the_session_and_what_the_master_says_of_that_decides() {
    let fenced = || Problem::new(code::SESSION_FENCED, "another program is active");
    let cases = [
        (false, None),
        (true, None),
        (true, Some(fenced())),
        (false, Some(fenced())),
    ];
    for (stands_by, closed) in cases {
        let mut master = FakeMaster::start().await;
        let mut options = master.options("mine");
        if stands_by {
            options.framework_id = FrameworkId::new("f").ok();
            options.stand_by = true;
        }
        let (go_on, (told, mut heard)) = (Arc::new(Notify::new()), mpsc::channel(1));
        let keeper = Keeper {
            go_on: Arc::clone(&go_on),
            told,
        };
        let running = tokio::spawn(run(options, keeper));
        let mut session = master.active().await;
        session.send(updated("a")).await;
        session
            .call_that(|call| matches!(call, Call::Acknowledge { .. }))
            .await;
        // The master has ended it, and the word of it is on its way.
        session.fence();
        go_on.notify_one();
        let problem = within(heard.recv()).await.expect("it is told");
        assert!(problem.is_some_and(|problem| problem.is(code::SESSION_FENCED)));
        let is_final = closed.is_some() && !stands_by;
        match closed {
            Some(problem) => drop(session.send(Event::Closed(problem)).await),
            None => drop(session),
        }
        if is_final {
            let problem = within(running)
                .await
                .expect("no panic")
                .expect_err("it is over");
            assert!(problem.is(code::SESSION_FENCED), "{problem}");
            continue;
        }
        let mut session = master.active().await;
        session.send(updated("a")).await;
        go_on.notify_one();
        assert_eq!(within(heard.recv()).await, Some(None));
        session.finish().await;
        within(running).await.expect("no panic").expect("torn down");
    }
}

#[tokio::test]
async fn a_session_that_is_fenced_and_does_not_end_is_left() {
    let mut master = FakeMaster::start().await;
    let mut options = master.options("mine");
    options.call_timeout = Duration::from_secs(1);
    let (go_on, (told, mut heard)) = (Arc::new(Notify::new()), mpsc::channel(1));
    let keeper = Keeper {
        go_on: Arc::clone(&go_on),
        told,
    };
    let _running = AbortOnDropHandle::new(tokio::spawn(run(options, keeper)));
    let mut session = master.active().await;
    session.send(updated("a")).await;
    let is_acknowledge = |call: &Call| matches!(call, Call::Acknowledge { .. });
    session.call_that(is_acknowledge).await;
    session.fence();
    go_on.notify_one();
    assert!(matches!(within(heard.recv()).await, Some(Some(_))));
    session.gone().await;
    master.active().await;
}
