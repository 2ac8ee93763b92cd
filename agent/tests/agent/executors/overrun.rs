//! An executor that says much and reads little, over its real socket.

use super::*;

/// Statuses whose acknowledgements are more than may wait for an executor: the limit, and what is on its way.
const WORDS: u64 = 8_000;
/// Bytes that are on their way to an executor that reads nothing (HTTP/2's window).
const WINDOW: u32 = 1_024;

impl Session {
    /// It subscribes, and reads nothing but by `next`.
    async fn unread(place: &Place) -> Self {
        let endpoint = Endpoint::try_from(format!("unix://{}", place.socket.display())).unwrap();
        let endpoint = endpoint
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let mut session = Self::try_over(endpoint, &place.token).await.unwrap();
        let subscription = Subscription {
            unacknowledged: Vec::new(),
            tasks: Vec::new(),
        };
        session.say(ExecutorCall::Subscribe(subscription)).await;
        assert!(matches!(
            session.next().await,
            Some(ExecutorEvent::Subscribed { .. })
        ));
        assert_eq!(launched(session.next().await), ["t"]);
        session
    }

    /// Says the same until more waits for it than may.
    async fn overrun(&self) {
        for _ in 0..WORDS {
            let running = word("t", 1, TaskState::Running);
            self.say(ExecutorCall::Update(running)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_for_which_too_much_waits_is_heard_and_has_to_come_back_when_it_has_read_it() {
    let mut bench = Bench::new().await;
    bench.executor_wait = Some(Duration::from_secs(3));
    bench.start().await;
    bench.launch(1, data("t")).await;
    let place = Place::find(&bench).await;
    let mut session = Session::unread(&place).await;
    session.overrun().await;
    assert_eq!(told(&mut bench).await.state, TaskState::Running);
    let killing = word("t", 2, TaskState::Killing);
    session.say(ExecutorCall::Update(killing)).await;
    assert_eq!(told(&mut bench).await.state, TaskState::Killing);
    // It reads all, to which nothing of that was added, and its own end of the session stays open.
    let mut read = 0;
    while let Some(event) = session.next().await {
        assert_eq!(acknowledged(Some(event)), 1);
        read += 1;
    }
    assert!(read < WORDS, "the session is closed early: {read}");
    // It does not come back.
    let status = told(&mut bench).await;
    assert_eq!(
        (status.state, status.reason),
        (TaskState::Killed, Reason::KillRequested)
    );
    ended(&mut bench).await;
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_reads_nothing_is_signalled_when_it_is_to_end() {
    let (mut bench, place) = started().await;
    let session = Session::unread(&place).await;
    session.overrun().await;
    assert_eq!(told(&mut bench).await.state, TaskState::Running);
    let killing = word("t", 2, TaskState::Killing);
    session.say(ExecutorCall::Update(killing)).await;
    assert_eq!(told(&mut bench).await.state, TaskState::Killing);
    shutdown(&mut bench).await;
    let process = place.pid();
    while is_alive(&process) {
        tokio::task::yield_now().await;
    }
    drop(session);
    let status = told(&mut bench).await;
    assert!(status.message.contains("signal 15"), "{}", status.message);
    ended(&mut bench).await;
}
