//! One session of an executor: who may begin it, what it says first, and how it ends.
//!
//! A session that says something that cannot be read is told what is wrong with it, and closed. One for which too much waits
//! ends when what was sent before is read: until then its executor cannot know, need not come back, and is heard.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use proffer_agent_core::{Event, RunId, SessionId};
use proffer_model::executor::{ExecutorCall, ExecutorEvent, Subscription};
use proffer_model::limits::HEARTBEAT_INTERVAL;
use proffer_model::{Problem, code};
use proffer_proto::{decode_executor_call, encode_executor_event, problem_of, status_of, v1};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::Door;
use crate::inbox::Inbox;
use crate::limits::{
    EXECUTOR_EVENTS_MAX, EXECUTOR_FIRST_CALL_TIMEOUT, EXECUTOR_MESSAGES_MAX, EXECUTOR_READ_MAX,
    EXECUTOR_UNREAD_MAX,
};

/// The service on one connection.
#[derive(Debug)]
pub(super) struct Sessions {
    door: Arc<Door>,
    peer: Option<u32>,
}

/// An executor's session, as the driver holds it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    events: mpsc::Sender<ExecutorEvent>,
    close: CancellationToken,
}

impl Subscriber {
    /// `close` is cancelled when the session is to end after what was sent.
    pub(crate) fn new(events: mpsc::Sender<ExecutorEvent>, close: CancellationToken) -> Self {
        Self { events, close }
    }

    /// Sends, unless too much waits: then it is given back, and the session does not go on. Messages may be left out.
    pub(crate) fn send(&self, event: ExecutorEvent) -> Result<(), Box<ExecutorEvent>> {
        let waiting = self.events.max_capacity() - self.events.capacity();
        if matches!(event, ExecutorEvent::Message(_)) && waiting >= EXECUTOR_MESSAGES_MAX {
            tracing::debug!("a message to an executor is left out: it does not read");
            return Ok(());
        }
        let sent = self.events.try_send(event);
        sent.map_err(|error| Box::new(error.into_inner()))
    }

    /// Ends the session after what was sent.
    pub(crate) fn close(&self) {
        self.close.cancel();
    }
}

impl Sessions {
    pub(super) fn new(door: Arc<Door>, peer: Option<u32>) -> Self {
        Self { door, peer }
    }

    fn authenticate(&self, metadata: &MetadataMap) -> Result<(), Problem> {
        if self.peer != Some(self.door.uid) {
            let message = "this socket is for the user that the executor runs as";
            return Err(Problem::new(code::AUTH_DENIED, message)
                .hint("connect as the user that the agent started the executor as"));
        }
        let bearer = metadata
            .get("authorization")
            .and_then(|it| it.to_str().ok());
        let token = bearer.and_then(|text| text.strip_prefix("Bearer "));
        match token {
            Some(token) if self.door.token.matches(token) => Ok(()),
            _ => {
                let message = "the token of this executor is missing or wrong";
                Err(Problem::new(code::AUTH_MISSING, message)
                    .hint("send the header authorization: Bearer, and $PROFFER_EXECUTOR_TOKEN"))
            }
        }
    }
}

/// What an executor is told, for the wire.
pub(super) struct Told {
    events: ReceiverStream<ExecutorEvent>,
    taken: Arc<Notify>,
    _over: DropGuard,
}

/// Whether what an executor is told is being read.
#[derive(Debug)]
struct Reading {
    taken: Arc<Notify>,
    /// Cancelled when all was read, or the connection has ended.
    over: CancellationToken,
}

impl Told {
    fn new(events: mpsc::Receiver<ExecutorEvent>) -> (Self, Reading) {
        let (taken, over) = (Arc::new(Notify::new()), CancellationToken::new());
        let told = Self {
            events: ReceiverStream::new(events),
            taken: taken.clone(),
            _over: over.clone().drop_guard(),
        };
        (told, Reading { taken, over })
    }
}

impl Stream for Told {
    type Item = Result<v1::ExecutorEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.events).poll_next(context);
        if let Poll::Ready(Some(_)) = &polled {
            self.taken.notify_one();
        }
        polled.map(|event| event.map(|event| Ok(encode_executor_event(&event))))
    }
}

impl Reading {
    /// Waits until all is read to which nothing is added any more, or nothing of it was read for so long, or not all in the
    /// time for that.
    async fn end(&self, unread_max: Duration, read_max: Duration) {
        let read = async {
            loop {
                let more = tokio::select! {
                    () = self.over.cancelled() => return,
                    more = timeout(unread_max, self.taken.notified()) => more,
                };
                if more.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(read_max, read).await;
    }
}

#[tonic::async_trait]
impl v1::executor_server::Executor for Sessions {
    type SessionStream = Told;

    async fn session(
        &self,
        request: Request<Streaming<v1::ExecutorCall>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.authenticate(request.metadata()).map_err(status_of)?;
        let (events, stream) = mpsc::channel(EXECUTOR_EVENTS_MAX);
        let (told, reading) = Told::new(stream);
        let session = Session {
            id: self.door.shared.inbox.next_session(),
            run: self.door.run,
            door: self.door.clone(),
            calls: request.into_inner(),
            events,
            reading,
        };
        self.door.shared.tasks.spawn(session.run());
        Ok(Response::new(told))
    }
}

struct Session {
    id: SessionId,
    run: RunId,
    door: Arc<Door>,
    calls: Streaming<v1::ExecutorCall>,
    events: mpsc::Sender<ExecutorEvent>,
    reading: Reading,
}

impl Session {
    async fn run(mut self) {
        let ended = self.door.ended.clone();
        let first = tokio::select! {
            () = ended.cancelled() => return,
            first = self.subscription() => first,
        };
        let subscription = match first {
            Ok(Some(subscription)) => subscription,
            Ok(None) => return,
            Err(problem) => return refuse(&self.events, &problem).await,
        };
        let (run, session) = (self.run, self.id);
        let close = ended.child_token();
        let subscriber = Subscriber::new(self.events.clone(), close.clone());
        let inbox = self.door.shared.inbox.clone();
        let event = Event::ExecutorSubscribed {
            run,
            session,
            subscription,
        };
        inbox.subscribe(session, subscriber, event).await;
        let Self {
            calls,
            events,
            reading,
            ..
        } = self;
        let listening = listen((run, session), calls, &inbox, events.downgrade());
        let mut told = Some(events);
        let ending = attend(listening, &mut told, (&close, &ended), &reading).await;
        inbox.send(Event::ExecutorLeft { run, session }).await;
        if let Err(problem) = ending {
            tracing::info!(%run, %problem, "an executor's session is closed");
            if let Some(events) = told {
                refuse(&events, &problem).await;
            }
        }
    }

    /// What it says first.
    async fn subscription(&mut self) -> Result<Option<Subscription>, Problem> {
        let call = timeout(EXECUTOR_FIRST_CALL_TIMEOUT, self.next()).await;
        let call = call.map_err(|_| order("the executor did not subscribe in time"))??;
        let field = match call {
            None => return Ok(None),
            Some(ExecutorCall::Subscribe(subscription)) => return Ok(Some(subscription)),
            Some(ExecutorCall::Update(_)) => "update",
            Some(ExecutorCall::Message(_)) => "message",
        };
        Err(order("the session is not subscribed").field(field))
    }

    async fn next(&mut self) -> Result<Option<ExecutorCall>, Problem> {
        decode(self.calls.message().await)
    }
}

/// Hears an executor until it has said all, or, once nothing is added to what it is told, has read all of that. Nothing is
/// added when the session is closed: then `told` is taken away.
async fn attend(
    listening: impl Future<Output = Result<(), Problem>>,
    told: &mut Option<mpsc::Sender<ExecutorEvent>>,
    (close, ended): (&CancellationToken, &CancellationToken),
    reading: &Reading,
) -> Result<(), Problem> {
    // It is one from begin to end: what it has taken of a call is not lost.
    let mut listening = pin!(listening);
    tokio::select! {
        () = close.cancelled() => {}
        ending = &mut listening => return ending,
    }
    *told = None;
    tokio::select! {
        () = ended.cancelled() => Ok(()),
        () = reading.end(EXECUTOR_UNREAD_MAX, EXECUTOR_READ_MAX) => Ok(()),
        ending = &mut listening => ending,
    }
}

/// Passes on what an executor says until it has said all.
async fn listen(
    (run, session): (RunId, SessionId),
    mut calls: Streaming<v1::ExecutorCall>,
    inbox: &Inbox,
    told: mpsc::WeakSender<ExecutorEvent>,
) -> Result<(), Problem> {
    let mut beat = interval(HEARTBEAT_INTERVAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let call = tokio::select! {
            // What was said before the end counts.
            biased;
            call = calls.message() => decode(call)?,
            _ = beat.tick() => {
                // Whoever does not read has much else to read.
                if let Some(told) = told.upgrade() {
                    let _ = told.try_send(ExecutorEvent::Heartbeat);
                }
                continue;
            }
        };
        let event = match call {
            None => return Ok(()),
            Some(ExecutorCall::Subscribe(_)) => {
                return Err(order("the session is subscribed already").field("subscribe"));
            }
            Some(ExecutorCall::Update(status)) => Event::ExecutorSaid {
                run,
                session,
                status,
            },
            Some(ExecutorCall::Message(data)) => Event::ExecutorMessage { run, session, data },
        };
        inbox.send(event).await;
    }
}

async fn refuse(events: &mpsc::Sender<ExecutorEvent>, problem: &Problem) {
    let closed = ExecutorEvent::Closed(problem.clone());
    // One that does not read is not told.
    let _ = timeout(Duration::from_secs(1), events.send(closed)).await;
}

fn decode(call: Result<Option<v1::ExecutorCall>, Status>) -> Result<Option<ExecutorCall>, Problem> {
    match call {
        Ok(call) => call.map(decode_executor_call).transpose(),
        // The connection has ended, as it does with its executor. Anything else is something that cannot be read.
        Err(status) if is_end(&status) => Ok(None),
        Err(status) => Err(problem_of(&status)),
    }
}

fn is_end(status: &Status) -> bool {
    matches!(
        status.code(),
        tonic::Code::Cancelled | tonic::Code::Unavailable | tonic::Code::Unknown
    )
}

fn order(message: &str) -> Problem {
    Problem::new(code::SESSION_ORDER, message)
        .hint("make Subscribe the first call of a session, and the only one")
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    const EVENTS: usize = 4;
    const LONG: Duration = Duration::from_secs(3600);

    /// A session that is closed while so many events wait.
    fn closed() -> (Told, Reading) {
        let (events, stream) = mpsc::channel(EVENTS);
        let (told, reading) = Told::new(stream);
        let subscriber = Subscriber::new(events, CancellationToken::new());
        let send = |_| subscriber.send(ExecutorEvent::Heartbeat);
        (0..EVENTS).for_each(|event| assert!(send(event).is_ok()));
        assert!(send(EVENTS).is_err(), "it is full");
        (told, reading)
    }

    #[tokio::test]
    async fn a_session_for_which_too_much_waits_is_over_when_all_is_read() {
        let (mut told, reading) = closed();
        for _ in 0..EVENTS {
            assert!(told.next().await.is_some());
            let end = std::pin::pin!(reading.end(LONG, LONG));
            assert!(is_pending(end).await, "there is more to read");
        }
        assert!(told.next().await.is_none());
        drop(told);
        reading.end(LONG, LONG).await;
    }

    #[tokio::test]
    async fn so_it_is_when_its_connection_ends_or_nothing_is_read() {
        let (told, reading) = closed();
        drop(told);
        reading.end(LONG, LONG).await;
        let (_told, reading) = closed();
        reading.end(Duration::from_millis(1), LONG).await;
    }

    #[tokio::test]
    async fn however_steadily_it_is_read_a_session_for_which_too_much_waits_has_an_end() {
        let (mut told, reading) = closed();
        let reads = async {
            // As long as there is more, it is not read to its end.
            while told.events.as_ref().len() > 1 {
                told.next().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reads => {}
            () = reading.end(LONG, Duration::from_millis(1)) => {}
        }
        let minutes = EXECUTOR_READ_MAX.as_secs() / 60;
        assert_eq!(minutes, 10, "as the documents say");
    }

    #[tokio::test]
    async fn an_executor_for_which_too_much_waits_is_heard_until_it_has_read_it() {
        let (mut told, reading) = closed();
        let (close, ended) = (CancellationToken::new(), CancellationToken::new());
        close.cancel();
        let (says, mut said) = mpsc::channel(1);
        let heard = std::cell::Cell::new(0);
        let listening = async {
            while let Some(()) = said.recv().await {
                heard.set(heard.get() + 1);
            }
            Ok(())
        };
        let (events, mut added) = mpsc::channel(1);
        let mut events = Some(events);
        let mut attending = pin!(attend(listening, &mut events, (&close, &ended), &reading));
        for read in 0..EVENTS {
            says.send(()).await.unwrap();
            assert!(is_pending(attending.as_mut()).await);
            assert_eq!(heard.get(), read + 1);
            assert!(told.next().await.is_some());
        }
        assert!(told.next().await.is_none());
        drop(told);
        assert!(attending.await.is_ok());
        assert!(added.recv().await.is_none(), "nothing is added");
    }

    async fn is_pending<T>(mut future: Pin<&mut impl Future<Output = T>>) -> bool {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending()))
            .await
    }
}
