//! One session with one master, up to the moment at which it accepts the subscription.

use std::time::Duration;

use proffer_leader::{Found, Term};
use proffer_model::limits::MESSAGE_LEN_MAX;
use proffer_model::session::{Answer, Call, Event};
use proffer_model::{Epoch, Problem, code};
use proffer_proto::v1::scheduler_client::SchedulerClient;
use proffer_proto::{decode_event, encode_call, problem_of, v1};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Streaming};

use crate::events::Received;
use crate::handle::{Active, Session};
use crate::limits::{CALLS_OUTGOING_MAX, HEARTBEATS_MISSED_MAX, SUBSCRIBE_TIMEOUT};

/// How a session ended, or why there is none.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It broke, or a master said something that cannot be right: always worth another try.
    Broken(Problem),
    /// The master said so: whether another try can help depends on the problem.
    Refused(Problem),
    /// The author says something else of the framework, so that it subscribes anew.
    Anew(Problem),
}

/// An active session that is left when the next one has begun, so that nobody who stands by takes its place in between. Nothing
/// of it is told any more.
pub(crate) struct Held {
    /// In which it is active.
    term: Term,
    /// Where the leader of its term has said that it is one.
    address: Option<String>,
    _calls: mpsc::Sender<v1::SessionCall>,
    /// Until it has ended.
    reading: AbortOnDropHandle<()>,
}

impl Held {
    /// Reads on, so that its end is noticed.
    pub(crate) fn new(
        term: Term,
        calls: mpsc::Sender<v1::SessionCall>,
        mut events: Streaming<v1::SessionEvent>,
        silence_max: Duration,
    ) -> Self {
        let reading = async move {
            while let Ok(Ok(Some(message))) = timeout(silence_max, events.message()).await {
                if let Some(v1::session_event::Event::Closed(_)) = message.event {
                    return;
                }
            }
        };
        Self {
            term,
            address: None,
            _calls: calls,
            reading: AbortOnDropHandle::new(tokio::spawn(reading)),
        }
    }

    /// Whether it is active with this master, as far as can be told.
    pub(crate) fn is_active_with(&self, found: &Found) -> bool {
        let is_there = match &found.term {
            Some(term) => *term == self.term,
            None => self.address.as_ref() == Some(&found.address),
        };
        is_there && !self.reading.is_finished()
    }

    /// The master says its term when it tells to stand by. Whether what is waited for is this session, as was not known before.
    fn is_waited_for(&mut self, found: &Found, term: &Term) -> bool {
        let is_news = found.term.is_none() && !self.is_active_with(found);
        if is_news && *term == self.term {
            self.address = Some(found.address.clone());
        }
        is_news && self.is_active_with(found)
    }
}

/// A session that has been accepted.
pub(crate) struct Link {
    /// Towards the master.
    pub(crate) calls: mpsc::Sender<v1::SessionCall>,
    /// From the master, after `Subscribed`.
    pub(crate) events: Streaming<v1::SessionEvent>,
    /// The sequence of `Subscribed` within the session.
    pub(crate) sequence: u64,
    /// `Subscribed` itself.
    pub(crate) subscribed: Event,
    /// How often the master is heard from at least.
    pub(crate) heartbeat_interval: Duration,
    /// What calls outside the session need.
    pub(crate) active: Active,
}

impl Link {
    /// Whether the session goes on where the last one was, and all that happened meanwhile is told.
    pub(crate) fn is_resumed(&self) -> bool {
        matches!(
            self.subscribed,
            Event::Subscribed {
                is_resumed: true,
                ..
            }
        )
    }
}

/// Subscribes with a master; waits for as long as another session is active, which the author is told, and remembered in
/// `has_stood_by`. It does not wait for the one that is held, but says that it is to subscribe anew; none is held while it waits
/// for another.
pub(crate) async fn open(
    found: &Found,
    bearer: Option<AsciiMetadataValue>,
    (request_id, subscribe): (u64, &Call),
    author: &mpsc::Sender<Received>,
    sequence: u64,
    has_stood_by: &mut bool,
    held: &mut Option<Held>,
) -> Result<Link, Ended> {
    let first = encode_call(request_id, subscribe);
    let (calls, mut events) = call(found, bearer.as_ref(), first).await?;
    let mut silence_max = SUBSCRIBE_TIMEOUT;
    let (sequence, subscribed) = loop {
        let awaiting = await_subscribed(&mut events, request_id);
        let told = timeout(silence_max, awaiting).await;
        match told.map_err(|_| Ended::Broken(unreachable(found, "it is silent")))?? {
            (number, _, event @ Event::Subscribed { .. }) => break (number, event),
            (_, epoch, event) => {
                if let Event::StandingBy {
                    cluster,
                    heartbeat_interval,
                    ..
                } = &event
                {
                    let cluster = cluster.clone();
                    let term = Term { cluster, epoch };
                    if held
                        .as_mut()
                        .is_some_and(|it| it.is_waited_for(found, &term))
                    {
                        return Err(Ended::Anew(own_session()));
                    }
                    *held = None;
                    let silence = heartbeat_interval.saturating_mul(HEARTBEATS_MISSED_MAX);
                    silence_max = silence.max(SUBSCRIBE_TIMEOUT);
                    *has_stood_by = true;
                    // It fails only when nobody listens any more.
                    let _ = author.send(Received { sequence, event }).await;
                }
            }
        }
    };
    let (heartbeat_interval, session) = read_subscribed(&subscribed, found)?;
    Ok(Link {
        calls,
        events,
        sequence,
        subscribed,
        heartbeat_interval,
        active: Active {
            session,
            channel: found.channel.clone(),
            bearer,
        },
    })
}

/// Opens the stream with its first call.
async fn call(
    found: &Found,
    bearer: Option<&AsciiMetadataValue>,
    first: v1::SessionCall,
) -> Result<(mpsc::Sender<v1::SessionCall>, Streaming<v1::SessionEvent>), Ended> {
    let (calls, outgoing) = mpsc::channel(CALLS_OUTGOING_MAX);
    // The channel is new and has room.
    let _ = calls.try_send(first);
    let mut request = Request::new(ReceiverStream::new(outgoing));
    if let Some(bearer) = bearer {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", bearer.clone());
    }
    let mut client = SchedulerClient::new(found.channel.clone())
        .max_decoding_message_size(MESSAGE_LEN_MAX)
        .max_encoding_message_size(MESSAGE_LEN_MAX);
    let response = timeout(SUBSCRIBE_TIMEOUT, client.session(request)).await;
    let events = response
        .map_err(|_| Ended::Broken(unreachable(found, "it does not answer")))?
        .map_err(|status| Ended::Refused(problem_of(&status)))?
        .into_inner();
    Ok((calls, events))
}

/// Reads `Subscribed`, or what says that it is waited for; a refusal may come as an answer, as `Closed` or as the stream's
/// status.
async fn await_subscribed(
    events: &mut Streaming<v1::SessionEvent>,
    request_id: u64,
) -> Result<(u64, Epoch, Event), Ended> {
    loop {
        let message = events.message().await;
        let event = message
            .map_err(|status| Ended::Refused(problem_of(&status)))?
            .ok_or_else(|| Ended::Broken(closed()))?;
        if event.event.is_none() {
            tracing::debug!("skipped an event of a kind not known");
            continue;
        }
        let (sequence, epoch, event) = decode_event(event).map_err(Ended::Broken)?;
        match event {
            Event::Subscribed { .. } | Event::StandingBy { .. } | Event::Heartbeat => {
                return Ok((sequence, epoch, event));
            }
            Event::Closed(problem) => return Err(Ended::Refused(problem)),
            Event::Answered {
                request,
                answer: Answer::Refused(problem),
            } if request == request_id => return Err(Ended::Refused(problem)),
            Event::Answered { .. } => {}
            Event::Offered(_)
            | Event::Rescinded(_)
            | Event::Updated(_)
            | Event::AgentSettled(_)
            | Event::SnapshotEnded
            | Event::Message { .. }
            | Event::ExecutorEnded { .. }
            | Event::Reclaim { .. } => return Err(Ended::Broken(out_of_order())),
        }
    }
}

fn read_subscribed(event: &Event, found: &Found) -> Result<(Duration, Session), Ended> {
    let Event::Subscribed {
        framework,
        cluster,
        epoch,
        generation,
        heartbeat_interval,
        ..
    } = event
    else {
        return Err(Ended::Broken(out_of_order()));
    };
    let session = Session {
        framework: framework.clone(),
        cluster: cluster.clone(),
        epoch: *epoch,
        generation: *generation,
        master: found.address.clone(),
    };
    Ok((*heartbeat_interval, session))
}

/// The master ended the stream without a word.
pub(crate) fn closed() -> Problem {
    Problem::new(code::PEER_UNREACHABLE, "the master closed the session")
}

/// What would be waited for is the session that this program holds.
fn own_session() -> Problem {
    let message = "the framework subscribes where its own session is";
    Problem::new(code::PEER_UNREACHABLE, message)
}

/// The master said something at the wrong time.
pub(crate) fn out_of_order() -> Problem {
    Problem::new(
        code::SESSION_ORDER,
        "the master sent an event that does not belong here",
    )
}

fn unreachable(found: &Found, why: &str) -> Problem {
    let message = format!("the master at {} cannot be reached: {why}", found.address);
    Problem::new(code::PEER_UNREACHABLE, message)
        .hint("see that the master runs and listens at this address")
}
