//! Bare sessions, many on one connection: what a framework's own library does besides would be measured too.

use std::time::{Duration, Instant};

use futures::channel::mpsc;
use futures::{FutureExt, SinkExt};
use proffer_model::limits::FAILOVER_TIMEOUT_DEFAULT;
use proffer_model::session::{Call, Event};
use proffer_model::{FrameworkDescription, OfferId, Problem, code};
use proffer_proto::v1::scheduler_client::SchedulerClient;
use proffer_proto::{decode_event, encode_call, problem_of, v1};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use super::child::Master;
use super::cluster::role;

/// Calls that wait for the connection.
const CALLS_MAX: usize = 1_024;

/// Where sessions are opened.
#[derive(Clone)]
pub(super) struct Door {
    channel: Channel,
    bearer: MetadataValue<Ascii>,
}

impl Door {
    /// A connection of its own.
    pub(super) async fn open(master: &Master) -> Result<Self, Problem> {
        let broken = |error: &dyn std::fmt::Display| {
            let message = format!("no connection to the master: {error}");
            Problem::new(code::PEER_UNREACHABLE, message)
        };
        let endpoint = Endpoint::from_shared(format!("http://{}", master.api));
        let endpoint = endpoint.map_err(|error| broken(&error))?;
        let channel = endpoint.connect().await.map_err(|error| broken(&error))?;
        let bearer = format!("Bearer {}", master.token.secret().expose());
        let bearer = bearer.parse().map_err(|error| broken(&error))?;
        Ok(Self { channel, bearer })
    }

    /// The connection.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A message with the token.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.bearer.clone());
        request
    }

    /// A session that is subscribed as a new framework.
    pub(super) async fn subscribe(&self, name: &str) -> Result<Session, Problem> {
        let (calls, outgoing) = mpsc::channel(CALLS_MAX);
        let request = self.request(outgoing);
        let mut session = Session {
            calls,
            events: None,
            last: 0,
            whose: None,
        };
        let description = FrameworkDescription {
            name: name.to_owned(),
            roles: vec![role()?],
            failover_timeout: FAILOVER_TIMEOUT_DEFAULT,
            mesos: None,
        };
        session
            .send(&Call::Subscribe {
                framework: None,
                description,
                stand_by: false,
                resume: None,
                create: false,
            })
            .await?;
        let mut client = SchedulerClient::new(self.channel.clone());
        let opened = client.session(request).await;
        session.events = Some(opened.map_err(|status| problem_of(&status))?.into_inner());
        loop {
            if let Event::Subscribed {
                framework,
                generation,
                ..
            } = session.event().await?
            {
                session.whose = Some((framework.to_string(), generation.0));
                return Ok(session);
            }
        }
    }
}

/// A session that is active.
pub(super) struct Session {
    calls: mpsc::Sender<v1::SessionCall>,
    events: Option<Streaming<v1::SessionEvent>>,
    last: u64,
    whose: Option<(String, u64)>,
}

impl Session {
    /// Calls, and answers which request that is.
    pub(super) async fn send(&mut self, call: &Call) -> Result<u64, Problem> {
        self.last += 1;
        let sent = self.calls.send(encode_call(self.last, call)).await;
        sent.map_err(|_| ended())?;
        Ok(self.last)
    }

    /// Whether a call would be taken at once; else who reads no events meanwhile may wait for ever.
    pub(super) fn has_room(&mut self) -> bool {
        let ready = futures::future::poll_fn(|context| self.calls.poll_ready(context));
        ready.now_or_never().is_some()
    }

    /// Its framework, and the generation by which that may read and write its state.
    pub(super) fn whose(&self) -> Result<(String, u64), Problem> {
        self.whose.clone().ok_or_else(ended)
    }

    /// The next event.
    pub(super) async fn event(&mut self) -> Result<Event, Problem> {
        let events = self.events.as_mut().ok_or_else(ended)?;
        let message = events.message().await;
        let message = message.map_err(|status| problem_of(&status))?;
        let (_, _, event) = decode_event(message.ok_or_else(ended)?)?;
        match event {
            Event::Closed(problem) => Err(problem),
            event => Ok(event),
        }
    }

    /// How long a small call takes to its answer, with nothing else of this session on its way.
    pub(super) async fn round_trip(&mut self) -> Result<Duration, Problem> {
        let begun = Instant::now();
        let own = self.send(&small_call()?).await?;
        loop {
            match self.event().await? {
                Event::Answered { request, .. } if request == own => return Ok(begun.elapsed()),
                _ => {}
            }
        }
    }
}

/// A call that is judged and answered, and changes nothing: an offer that does not stand is given back.
pub(super) fn small_call() -> Result<Call, Problem> {
    Ok(Call::Decline {
        offers: vec![OfferId::new("none")?],
        exclude_for: Duration::from_secs(1),
    })
}

fn ended() -> Problem {
    Problem::new(code::PEER_UNREACHABLE, "the master ended a session")
}
