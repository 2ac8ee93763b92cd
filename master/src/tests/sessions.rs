//! Sessions over real sockets: who is active, where one goes on, calls without one, and watches of state.

use futures::StreamExt as _;
use proffer_model::code;
use proffer_proto::{problem_of, v1};
use v1::session_call::Call;
use v1::session_event::Event;

use super::peers::{Framework, Master, launched, soon, status, subscribe};

fn subscribing(framework_id: &str, change: impl FnOnce(&mut v1::Subscribe)) -> Call {
    match subscribe(framework_id) {
        Call::Subscribe(mut subscribe) => {
            change(&mut subscribe);
            Call::Subscribe(subscribe)
        }
        other => other,
    }
}

fn is_subscribed(event: &Event) -> bool {
    matches!(event, Event::Subscribed(_))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_that_is_started_twice_under_a_name_is_one_and_goes_on_when_one_is_gone() {
    let master = Master::start("memory").await;
    let standing_by = || {
        subscribing("my-batch", |subscribe| {
            (subscribe.create, subscribe.stand_by) = (true, true);
        })
    };
    let mut first = Framework::connect(&master).await;
    first.call(standing_by()).await;
    let (sequence, subscribed) = first.wait_for(is_subscribed).await;
    assert_eq!(sequence, 1);
    let Event::Subscribed(subscribed) = subscribed else {
        panic!("subscribed")
    };
    assert_eq!(subscribed.framework_id, "my-batch");
    let mut second = Framework::connect(&master).await;
    second.call(standing_by()).await;
    let is_standing_by = |event: &Event| matches!(event, Event::StandingBy(_));
    assert_eq!(second.wait_for(is_standing_by).await.0, 0);
    second
        .wait_for(|event| matches!(event, Event::Heartbeat(_)))
        .await;
    drop(first);
    let (sequence, again) = second.wait_for(is_subscribed).await;
    assert!(sequence > 1, "the sequence goes on");
    let Event::Subscribed(again) = again else {
        panic!("subscribed")
    };
    assert!(again.generation > subscribed.generation);
    let ended = |event: &Event| matches!(event, Event::SnapshotEnded(_));
    second.wait_for(ended).await;
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_resumes_and_a_call_of_another_term_is_refused() {
    let master = Master::start("memory").await;
    let mut cast = launched(&master, "task-1").await;
    for (number, state) in [(1, v1::TaskState::Starting), (2, v1::TaskState::Running)] {
        let status = v1::Status {
            number,
            ..status("task-1", cast.incarnation, state)
        };
        cast.agent.report_numbered(&cast.framework_id, status).await;
    }
    let (sequence, first) = cast.framework.status().await;
    assert_eq!(first.state(), v1::TaskState::Starting);
    cast.framework.status().await;
    let mut resumed = Framework::connect(&master).await;
    let resume = v1::Resume { epoch: 1, sequence };
    resumed
        .call(subscribing(&cast.framework_id, |subscribe| {
            subscribe.resume = Some(resume);
        }))
        .await;
    let (_, subscribed) = resumed.wait_for(is_subscribed).await;
    assert!(matches!(subscribed, Event::Subscribed(of) if of.resumed));
    let (later, status) = resumed.status().await;
    assert_eq!(status.state(), v1::TaskState::Running);
    assert!(later > sequence + 1);
    let request = resumed
        .send(Some(2), Call::Reconcile(v1::Reconcile::default()))
        .await;
    let is_answer =
        |event: &Event| matches!(event, Event::Answered(of) if of.request_id == request);
    let (_, answered) = resumed.wait_for(is_answer).await;
    let Event::Answered(answered) = answered else {
        panic!("an answer")
    };
    let Some(v1::answered::Answer::Refused(problem)) = answered.answer else {
        panic!("{answered:?}")
    };
    assert_eq!(
        (problem.code.as_str(), problem.field.as_str()),
        ("session.stale_epoch", "epoch")
    );
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_call_without_a_session_and_are_told_what_is_wrong() {
    let master = Master::start("memory").await;
    let mut cast = launched(&master, "task-1").await;
    cast.agent
        .report(
            &cast.framework_id,
            "task-1",
            cast.incarnation,
            v1::TaskState::Running,
        )
        .await;
    cast.framework.status().await;
    let mut client = master.scheduler().await;
    let request = |framework_id: &str, epoch, call| v1::CallRequest {
        framework_id: framework_id.into(),
        call: Some(v1::SessionCall {
            request_id: 7,
            epoch,
            call,
        }),
    };
    let reconcile = || Some(Call::Reconcile(v1::Reconcile::default()));
    let answer = client.call(request(&cast.framework_id, Some(1), reconcile()));
    let answer = soon("an answer", answer).await.expect("done").into_inner();
    assert_eq!(answer.answered.expect("answered").request_id, 7);
    assert_eq!(answer.statuses[0].state(), v1::TaskState::Running);
    let kill = Call::Kill(v1::Kill {
        task_id: "task-1".into(),
        grace_ms: None,
    });
    client
        .call(request(&cast.framework_id, None, Some(kill)))
        .await
        .expect("done");
    let long = "x".repeat(300);
    let update = Call::UpdateTask(v1::UpdateTask {
        task_id: "nothing".into(),
        kill_grace_ms: Some(1),
        ..v1::UpdateTask::default()
    });
    for (asked, code, field) in [
        (v1::CallRequest::default(), "field.missing", "framework_id"),
        (
            request(&long, None, reconcile()),
            "id.invalid",
            "framework_id",
        ),
        (
            request("nobody", None, reconcile()),
            "framework.unknown",
            "framework_id",
        ),
        (
            request(&cast.framework_id, None, None),
            "field.missing",
            "call.call",
        ),
        (
            request(&cast.framework_id, Some(9), reconcile()),
            "session.stale_epoch",
            "call.epoch",
        ),
        (
            request(&cast.framework_id, None, Some(subscribe(""))),
            "session.order",
            "call.subscribe",
        ),
        (
            request(
                &cast.framework_id,
                None,
                Some(Call::Kill(v1::Kill::default())),
            ),
            "field.missing",
            "call.kill.task_id",
        ),
        (
            request(&cast.framework_id, None, Some(update)),
            "field.invalid",
            "call.request_id",
        ),
    ] {
        let status = client.call(asked).await.expect_err(code);
        let problem = problem_of(&status);
        assert_eq!(
            (problem.code.as_ref(), problem.field.as_str()),
            (code, field),
            "{problem}"
        );
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_state_tells_what_is_there_then_changes_and_ends_with_its_generation() {
    use v1::watch_state_response::Change;
    let master = Master::start("memory").await;
    let (framework, subscribed) = Framework::connect(&master).await.subscribed("").await;
    let mut state = master.state().await;
    let put = |key: &str| v1::PutStateRequest {
        framework_id: subscribed.framework_id.clone(),
        generation: subscribed.generation,
        key: key.into(),
        value: vec![1].into(),
        expected_version: None,
    };
    state.put(put("a")).await.expect("written");
    let asked = v1::WatchStateRequest {
        framework_id: subscribed.framework_id.clone(),
        generation: subscribed.generation,
        prefix: String::new(),
    };
    let mut watch = state.watch(asked.clone()).await.expect("open").into_inner();
    let mut told = Vec::new();
    for _ in 0..2 {
        let change = soon("a change", watch.message()).await.expect("open");
        told.push(change.expect("one").change.expect("one"));
    }
    assert!(matches!(&told[0], Change::Put(entry) if entry.key == "a" && entry.version == 1));
    assert!(matches!(&told[1], Change::UpToDate(true)));
    state.put(put("b")).await.expect("written");
    let change = soon("a change", watch.message()).await.expect("open");
    let change = change.expect("one").change.expect("one");
    assert!(matches!(change, Change::Put(entry) if entry.key == "b"));
    drop(framework);
    let status = soon("the end", watch.message()).await.expect_err("ended");
    assert!(problem_of(&status).is(code::SESSION_FENCED));
    let late = state.watch(asked).await.expect_err("refused");
    assert!(problem_of(&late).is(code::SESSION_FENCED));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_reads_slowly_is_told_all_that_is_there_however_much_it_is() {
    use v1::watch_state_response::Change;
    const KEYS: usize = 6_000;
    let master = Master::start("memory").await;
    let (_framework, subscribed) = Framework::connect(&master).await.subscribed("").await;
    let state = master.state().await;
    let put = |key: usize| {
        let mut state = state.clone();
        let request = v1::PutStateRequest {
            framework_id: subscribed.framework_id.clone(),
            generation: subscribed.generation,
            key: key.to_string(),
            value: vec![1; 1024].into(),
            expected_version: None,
        };
        async move { state.put(request).await.expect("written") }
    };
    let writing = futures::stream::iter(0..KEYS).map(put);
    let written = writing.buffer_unordered(100).count();
    assert_eq!(soon("all", written).await, KEYS);
    let open = || {
        let mut state = state.clone();
        let asked = v1::WatchStateRequest {
            framework_id: subscribed.framework_id.clone(),
            generation: subscribed.generation,
            prefix: String::new(),
        };
        async move { state.watch(asked).await.expect("open").into_inner() }
    };
    // The second is up to date long after the first would have been told of more than may wait for it.
    let (mut slow, mut fast) = (open().await, open().await);
    for watch in [&mut fast, &mut slow] {
        let mut told = 0;
        loop {
            let change = soon("a change", watch.message()).await.expect("open");
            match change.expect("one").change.expect("one") {
                Change::UpToDate(_) => break,
                _ => told += 1,
            }
        }
        assert_eq!(told, KEYS);
    }
    master.stop().await;
}
