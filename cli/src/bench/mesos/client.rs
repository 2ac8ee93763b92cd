//! A framework's side of Mesos's v1 scheduler API: bare HTTP/1.1 on loopback, one connection for events and others for calls.
//!
//! Calls wait here, however many they are, while events are read: a framework that stopped reading because its calls wait
//! would wait for ever.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::http::{HeaderValue, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use proffer_model::{Problem, code};
use proffer_proto::mesos::v1::FrameworkId;
use proffer_proto::mesos::v1::scheduler::{Call, Event, event};
use proffer_proto::mesos::{read_json, read_protobuf};
use proffer_server::mesos_http::{Media, STREAM_ID};
use tokio::net::TcpStream;
use tokio::sync::{Mutex as Turn, mpsc};

use super::super::child::Master;
use super::super::figures::Times;
use super::calling::{Caller, Posted};
use crate::limits::BENCH_CALLS_QUEUED_MAX;

pub(super) const PATH: &str = "/api/v1/scheduler";
/// The longest first line of a record: the digits of its length.
const LENGTH_DIGITS_MAX: usize = 20;

/// A framework that is subscribed.
pub(super) struct Client {
    media: Media,
    pub(super) id: FrameworkId,
    records: Records,
    calls: mpsc::Sender<Posted>,
    waiting: VecDeque<Posted>,
    failures: mpsc::Receiver<Problem>,
    answered: Arc<Mutex<Times>>,
}

/// Where calls go, and in which form.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) address: String,
    pub(super) bearer: HeaderValue,
    pub(super) media: Media,
}

/// How calls are made.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Calling {
    /// Connections for calls, besides the one for events.
    #[arg(long = "call-connections", value_name = "N", default_value = "1")]
    connections: NonZeroUsize,
    /// Calls on each of them that have no answer yet. Mesos's own library waits for none; with 1 each call waits for the answer
    /// to the one before.
    #[arg(long = "unanswered-calls", value_name = "N", default_value = "1024")]
    unanswered: NonZeroUsize,
}

impl Client {
    /// Subscribes.
    pub(super) async fn subscribe(
        master: &Master,
        media: Media,
        calling: Calling,
        call: &Call,
    ) -> Result<Self, Problem> {
        let bearer = format!("Bearer {}", master.token.secret().expose());
        let door = Door {
            address: master.api.clone(),
            bearer: HeaderValue::from_str(&bearer).map_err(|error| broken(&error))?,
            media,
        };
        let mut connection = door.connect().await?;
        let subscribe = door.request(media.write(call).into())?;
        let response = connection.send_request(subscribe).await;
        let response = response.map_err(|error| broken(&error))?;
        let stream = response.headers().get(STREAM_ID).cloned();
        let (StatusCode::OK, Some(stream)) = (response.status(), stream) else {
            return Err(refused(response).await);
        };
        let mut records = Records {
            media,
            body: response.into_body(),
            read: BytesMut::new(),
            _connection: connection,
        };
        let first = records.next().await?;
        let subscribed = first.subscribed.ok_or_else(|| {
            let told = first.error.map(|error| error.message);
            broken(&told.unwrap_or_else(|| "the first event is not SUBSCRIBED".to_owned()))
        })?;
        let (calls, posted) = mpsc::channel(BENCH_CALLS_QUEUED_MAX);
        let (failed, failures) = mpsc::channel(1);
        let answered = Arc::default();
        let posted = Arc::new(Turn::new(posted));
        for _ in 0..calling.connections.get() {
            let (posted, answered) = (Arc::clone(&posted), Arc::clone(&answered));
            let unanswered_max = calling.unanswered.get();
            let caller = Caller::connect(&door, &stream, posted, unanswered_max, answered);
            let mut caller = caller.await?;
            let failed = failed.clone();
            tokio::spawn(async move {
                if let Err(problem) = caller.run().await {
                    // The first one is enough.
                    let _ = failed.try_send(problem);
                }
            });
        }
        Ok(Self {
            media,
            id: subscribed.framework_id,
            records,
            calls,
            waiting: VecDeque::new(),
            failures,
            answered,
        })
    }

    /// Makes a call; when `is_timed`, its time is among those of [`Self::take_times`] once it is answered.
    pub(super) fn call(&mut self, call: &Call, is_timed: bool) {
        let begun = is_timed.then(Instant::now);
        let body = self.media.write(call).into();
        self.waiting.push_back(Posted { body, begun });
        self.post();
    }

    /// The next event. May be given up at any moment.
    pub(super) async fn next(&mut self) -> Result<Event, Problem> {
        loop {
            self.post();
            if let Some(event) = self.records.parse()? {
                return Ok(event);
            }
            tokio::select! {
                Some(problem) = self.failures.recv() => return Err(problem),
                room = self.calls.reserve(), if !self.waiting.is_empty() => {
                    let room = room.map_err(|error| broken(&error))?;
                    if let Some(posted) = self.waiting.pop_front() {
                        room.send(posted);
                    }
                }
                read = self.records.read_more() => read?,
            }
        }
    }

    /// How long the timed calls took until they were answered.
    pub(super) fn take_times(&self) -> Times {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut answered)
    }

    fn post(&mut self) {
        while !self.waiting.is_empty()
            && let Ok(room) = self.calls.try_reserve()
        {
            if let Some(posted) = self.waiting.pop_front() {
                room.send(posted);
            }
        }
    }
}

impl Door {
    pub(super) async fn socket(&self) -> Result<TcpStream, Problem> {
        let socket = TcpStream::connect(&self.address).await;
        let socket = socket.map_err(|error| broken(&error))?;
        socket.set_nodelay(true).map_err(|error| broken(&error))?;
        Ok(socket)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Problem> {
        let shaken = handshake(TokioIo::new(self.socket().await?)).await;
        let (sender, connection) = shaken.map_err(|error| broken(&error))?;
        // Whoever waits for an answer hears why it ended.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, Problem> {
        Request::post(PATH)
            .header(header::HOST, &self.address)
            .header(header::AUTHORIZATION, &self.bearer)
            .header(header::CONTENT_TYPE, self.media.name())
            .header(header::ACCEPT, self.media.name())
            .body(Full::new(body))
            .map_err(|error| broken(&error))
    }
}

/// A stream of events.
struct Records {
    media: Media,
    body: Incoming,
    read: BytesMut,
    /// While this is held, the connection is.
    _connection: SendRequest<Full<Bytes>>,
}

impl Records {
    async fn next(&mut self) -> Result<Event, Problem> {
        loop {
            if let Some(event) = self.parse()? {
                return Ok(event);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), Problem> {
        let ended = || broken(&"the stream of events has ended");
        let frame = self.body.frame().await.ok_or_else(ended)?;
        let frame = frame.map_err(|error| broken(&error))?;
        if let Some(data) = frame.data_ref() {
            self.read.extend_from_slice(data);
        }
        Ok(())
    }

    /// The next event, if all of it was read.
    fn parse(&mut self) -> Result<Option<Event>, Problem> {
        let Some(line) = self.read.iter().position(|byte| *byte == b'\n') else {
            return match self.read.len() > LENGTH_DIGITS_MAX {
                true => Err(broken(&"a record does not begin with its length")),
                false => Ok(None),
            };
        };
        let digits = self.read.get(..line).unwrap_or_default();
        let length = std::str::from_utf8(digits).ok();
        let length: usize = length
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| broken(&"a record does not begin with its length"))?;
        if self.read.len() - line - 1 < length {
            return Ok(None);
        }
        let record = self.read.split_to(line + 1 + length).split_off(line + 1);
        let event: Result<Event, String> = match self.media {
            Media::Json => read_json(&record),
            Media::Protobuf => read_protobuf(&record),
        };
        let event = event.map_err(|text| broken(&text))?;
        match (event.r#type(), &event.error) {
            (event::Type::Error, Some(error)) => Err(broken(&error.message)),
            _ => Ok(Some(event)),
        }
    }
}

pub(super) fn broken(why: &dyn std::fmt::Display) -> Problem {
    let message = format!("the master's scheduler API: {why}");
    Problem::new(code::PEER_UNREACHABLE, message)
}

async fn refused(response: axum::http::Response<Incoming>) -> Problem {
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    broken(&format!("{status}: {}", String::from_utf8_lossy(&body)))
}
