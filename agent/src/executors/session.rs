//! One session of an executor: who may begin it, what it says first, and how it ends.
//!
//! A session that says something that cannot be read is told what is wrong with it, and closed.

use std::sync::Arc;
use std::time::Duration;

use proffer_agent_core::{Event, RunId, SessionId};
use proffer_model::executor::{ExecutorCall, ExecutorEvent, Subscription};
use proffer_model::limits::HEARTBEAT_INTERVAL;
use proffer_model::{Problem, code};
use proffer_proto::{decode_executor_call, encode_executor_event, problem_of, status_of, v1};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::StreamExt as _;
use tokio_stream::adapters::Map;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::Door;
use crate::limits::{EXECUTOR_EVENTS_MAX, EXECUTOR_FIRST_CALL_TIMEOUT, EXECUTOR_MESSAGES_MAX};

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

    /// Sends, unless too much waits; answers whether the session goes on. Messages may be left out.
    pub(crate) fn send(&self, event: ExecutorEvent) -> bool {
        let waiting = self.events.max_capacity() - self.events.capacity();
        if matches!(event, ExecutorEvent::Message(_)) && waiting >= EXECUTOR_MESSAGES_MAX {
            tracing::debug!("a message to an executor is left out: it does not read");
            return true;
        }
        self.events.try_send(event).is_ok()
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
type EncodedEvents =
    Map<ReceiverStream<ExecutorEvent>, fn(ExecutorEvent) -> Result<v1::ExecutorEvent, Status>>;

#[tonic::async_trait]
impl v1::executor_server::Executor for Sessions {
    type SessionStream = EncodedEvents;

    async fn session(
        &self,
        request: Request<Streaming<v1::ExecutorCall>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.authenticate(request.metadata()).map_err(status_of)?;
        let (events, stream) = mpsc::channel(EXECUTOR_EVENTS_MAX);
        let session = Session {
            id: self.door.shared.inbox.next_session(),
            run: self.door.run,
            door: self.door.clone(),
            calls: request.into_inner(),
            events,
        };
        self.door.shared.tasks.spawn(session.run());
        let encode: fn(ExecutorEvent) -> Result<v1::ExecutorEvent, Status> =
            |event| Ok(encode_executor_event(&event));
        Ok(Response::new(ReceiverStream::new(stream).map(encode)))
    }
}

struct Session {
    id: SessionId,
    run: RunId,
    door: Arc<Door>,
    calls: Streaming<v1::ExecutorCall>,
    events: mpsc::Sender<ExecutorEvent>,
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
            Err(problem) => return self.refuse(&problem).await,
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
        let ending = tokio::select! {
            () = close.cancelled() => Ok(()),
            ending = self.listen() => ending,
        };
        inbox.send(Event::ExecutorLeft { run, session }).await;
        if let Err(problem) = ending {
            tracing::info!(%run, %problem, "an executor's session is closed");
            self.refuse(&problem).await;
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

    /// Passes on what it says until it has said all.
    async fn listen(&mut self) -> Result<(), Problem> {
        let mut beat = interval(HEARTBEAT_INTERVAL);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (run, session) = (self.run, self.id);
        let inbox = self.door.shared.inbox.clone();
        loop {
            let call = tokio::select! {
                // What was said before the end counts.
                biased;
                call = self.calls.message() => decode(call)?,
                _ = beat.tick() => {
                    // Whoever does not read has much else to read.
                    let _ = self.events.try_send(ExecutorEvent::Heartbeat);
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

    async fn next(&mut self) -> Result<Option<ExecutorCall>, Problem> {
        decode(self.calls.message().await)
    }

    async fn refuse(&self, problem: &Problem) {
        let closed = ExecutorEvent::Closed(problem.clone());
        // One that does not read is not told.
        let _ = timeout(Duration::from_secs(1), self.events.send(closed)).await;
    }
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
