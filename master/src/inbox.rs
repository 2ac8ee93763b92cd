//! What waits for the core: one bounded lane for agents, one for sessions, one for unary calls.
//!
//! Agents go first, since their silence has consequences. A session may have only so many calls waiting, so that none
//! crowds out the others. A full lane is not read from: the peer's own connection fills up, and it waits. A call for whose
//! bytes there is no room is refused instead, so that what is small gets through (`waiting.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proffer_master_core::effect::{After, Reply, StateChange};
use proffer_master_core::event::{
    DemandPart, Event, LinkId, OperatorCall, RequestId, Seq, SessionId, StateCall, WatchId,
};
use proffer_model::link::{Hello, ToAgent, ToMaster};
use proffer_model::session::{self, Call};
use proffer_model::{FrameworkId, Generation, Principal, Problem, Role, code};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::limits::{
    AGENT_LANE_LEN, LINKS_BYTES_MAX, REQUEST_LANE_LEN, REQUEST_TIMEOUT, SESSION_LANE_LEN,
    TURN_EVENTS_MAX,
};
use crate::outbox::Outbox;
use crate::tenure::Tenure;
use crate::waiting::{Load, Replies, Waiting};

const KIB: usize = 1024;

/// From an agent's connection.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are messages; a box for each would cost more than the few others"
)]
pub(crate) enum LinkInput {
    /// It said who it is.
    Opened {
        link: LinkId,
        hello: Box<Hello>,
        outbox: Outbox<ToAgent>,
    },
    /// It said something more.
    Message { link: LinkId, message: ToMaster },
    /// It said something that carries much; the room for that is given back when the core has taken it.
    Heavy {
        link: LinkId,
        message: Box<ToMaster>,
        room: OwnedSemaphorePermit,
    },
    /// It ended.
    Closed { link: LinkId },
}

/// From a framework's connection.
#[derive(Debug)]
pub(crate) enum SessionInput {
    /// It is there.
    Opened {
        session: SessionId,
        outbox: Outbox<Numbered>,
    },
    /// It called.
    Called {
        session: SessionId,
        principal: Principal,
        request: u64,
        call: Result<Call, Problem>,
        /// Given back when the core has taken the call.
        permit: OwnedSemaphorePermit,
    },
    /// It called, and the bytes of that are counted until the core takes it.
    Heavy { load: Load, called: Box<Self> },
    /// It ended.
    Closed { session: SessionId },
    /// It watches a framework's state.
    WatchOpened {
        watch: WatchId,
        principal: Principal,
        framework: FrameworkId,
        generation: Generation,
        prefix: String,
        outbox: Outbox<Watched>,
    },
    /// What a watch was to say of is taken.
    WatchTaken { watch: WatchId },
    /// A watch ended.
    WatchClosed { watch: WatchId },
}

impl SessionInput {
    /// What was called, with its bytes, if they are counted.
    pub(crate) fn heavy(load: Option<Load>, called: Self) -> Self {
        match load {
            None => called,
            Some(load) => Self::Heavy {
                load,
                called: Box::new(called),
            },
        }
    }
}

/// What a watch is told.
#[derive(Debug)]
pub(crate) struct Watched {
    /// A change, or why it ends.
    pub(crate) what: Result<StateChange, Problem>,
    /// Whether the driver is to be told when it is taken.
    pub(crate) asks_on: bool,
}

/// An event of a session with its sequence.
pub(crate) type Numbered = (u64, session::Event);

/// A unary call.
#[derive(Debug)]
pub(crate) enum Ask {
    /// About a framework's state.
    State {
        principal: Principal,
        framework: FrameworkId,
        generation: Generation,
        call: StateCall,
    },
    /// A framework's call without a session.
    Call {
        principal: Principal,
        framework: FrameworkId,
        number: u64,
        call: Call,
    },
    /// Why demand is not met.
    Explain {
        framework: FrameworkId,
        part: DemandPart,
    },
    /// How the roles stand: a page of them.
    Roles { after: Option<Role>, len: usize },
    /// A change of the cluster.
    Operate {
        principal: Principal,
        call: OperatorCall,
    },
}

impl Ask {
    fn into_event(self, request: RequestId) -> Event {
        match self {
            Self::State {
                principal,
                framework,
                generation,
                call,
            } => Event::StateRequested {
                request,
                principal,
                framework,
                generation,
                call,
            },
            Self::Call {
                principal,
                framework,
                number,
                call,
            } => Event::FrameworkCalled {
                request,
                principal,
                framework,
                number,
                call,
            },
            Self::Explain { framework, part } => Event::ExplainRequested {
                request,
                framework,
                part,
            },
            Self::Roles { after, len } => Event::RolesRequested {
                request,
                after,
                len,
            },
            Self::Operate { principal, call } => Event::OperatorRequested {
                request,
                principal,
                call,
            },
        }
    }
}

type Answer = Result<Reply, Problem>;

/// A unary call and where its answer goes.
#[derive(Debug)]
pub(crate) struct Request {
    ask: Ask,
    answer: oneshot::Sender<Answer>,
}

/// The connections' end of the lanes.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    /// For agents.
    pub(crate) links: mpsc::Sender<LinkInput>,
    /// For frameworks.
    pub(crate) sessions: mpsc::Sender<SessionInput>,
    requests: mpsc::Sender<Request>,
    /// KiB of what agents' messages carry that may wait.
    links_room: Arc<Semaphore>,
    /// Bytes of calls that wait.
    waiting: Waiting,
    /// Bytes of answers that are on their way.
    pub(crate) replies: Replies,
    last_id: Arc<AtomicU64>,
    changes: Arc<AtomicU64>,
    /// Of the term that reads it.
    pub(crate) tenure: Tenure,
}

impl Inbox {
    /// A number that no connection of this term has had.
    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many changes were answered that whoever made them expects to see at once: it grows before the answer leaves.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Another one is about to be answered.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// What an agent has said, with room for what it carries; waits while there is none.
    pub(crate) async fn of_link(&self, link: LinkId, message: ToMaster) -> LinkInput {
        let carried = match &message {
            ToMaster::Updated { status, .. } => status.data.len(),
            ToMaster::Message { data, .. } => data.len(),
            ToMaster::Hello(_) | ToMaster::Heartbeat | ToMaster::ExecutorChanged { .. } => 0,
        };
        let kib = u32::try_from(carried.min(LINKS_BYTES_MAX) / KIB).unwrap_or_default();
        if kib == 0 {
            return LinkInput::Message { link, message };
        }
        match Arc::clone(&self.links_room).acquire_many_owned(kib).await {
            Ok(room) => LinkInput::Heavy {
                link,
                message: Box::new(message),
                room,
            },
            // It is never closed.
            Err(_) => LinkInput::Message { link, message },
        }
    }

    /// The bytes of calls of a peer that is new.
    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting.of_another()
    }

    /// Asks the core and waits for what it says, and for what that promises to be durable.
    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        let (answer, answered) = oneshot::channel();
        let is_change = matches!(ask, Ask::Operate { .. });
        self.requests
            .try_send(Request { ask, answer })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => overloaded("too many calls wait"),
                mpsc::error::TrySendError::Closed(_) => not_leading(),
            })?;
        let answered = tokio::time::timeout(REQUEST_TIMEOUT, answered).await;
        if is_change {
            self.changed();
        }
        match answered {
            // Decided while the term held, but told only if it still does.
            Ok(Ok(answer)) if self.tenure.holds() => answer,
            Ok(Ok(_)) => Err(not_leading()),
            Ok(Err(_)) => Err(not_leading()),
            Err(_) => Err(overloaded(
                "the call was not answered in time; it may still be done",
            )),
        }
    }
}

/// The problem of everyone who calls a master that has ended its term.
pub(crate) fn not_leading() -> Problem {
    Problem::new(code::MASTER_NOT_LEADING, "this master has stopped leading")
        .hint("try again in a moment")
}

/// The problem of who meets a full queue.
pub(crate) fn overloaded(message: &str) -> Problem {
    Problem::new(code::OVERLOADED, message).hint("try again in a moment, and call less often")
}

/// The driver's end of the lanes, with what was taken from them for the next turn.
#[derive(Debug)]
pub(crate) struct Lanes {
    links: mpsc::Receiver<LinkInput>,
    sessions: mpsc::Receiver<SessionInput>,
    requests: mpsc::Receiver<Request>,
    /// The next turn's input.
    pub(crate) turn: Turn,
}

/// What one turn has taken from the lanes.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// From agents.
    pub(crate) links: Vec<LinkInput>,
    /// From frameworks.
    pub(crate) sessions: Vec<SessionInput>,
    /// Unary calls.
    pub(crate) requests: Vec<Request>,
}

/// Both ends of a term's lanes.
pub(crate) fn lanes(tenure: Tenure) -> (Inbox, Lanes) {
    let (links, links_end) = mpsc::channel(AGENT_LANE_LEN);
    let (sessions, sessions_end) = mpsc::channel(SESSION_LANE_LEN);
    let (requests, requests_end) = mpsc::channel(REQUEST_LANE_LEN);
    let inbox = Inbox {
        links,
        sessions,
        requests,
        links_room: Arc::new(Semaphore::new(LINKS_BYTES_MAX / KIB)),
        waiting: Waiting::default(),
        replies: Replies::default(),
        last_id: Arc::default(),
        changes: Arc::default(),
        tenure,
    };
    let lanes = Lanes {
        links: links_end,
        sessions: sessions_end,
        requests: requests_end,
        turn: Turn::default(),
    };
    (inbox, lanes)
}

impl Lanes {
    /// Waits for the next turn's input; without `takes_calls` from agents only. May be cancelled: nothing is lost.
    pub(crate) async fn fill(&mut self, takes_calls: bool) {
        let turn = &mut self.turn;
        tokio::select! {
            biased;
            _ = self.links.recv_many(&mut turn.links, TURN_EVENTS_MAX) => {}
            _ = self.sessions.recv_many(&mut turn.sessions, TURN_EVENTS_MAX), if takes_calls => {}
            _ = self.requests.recv_many(&mut turn.requests, TURN_EVENTS_MAX), if takes_calls => {}
        }
    }

    /// Takes what is there besides, up to a turn's share of each lane.
    pub(crate) fn top_up(&mut self, takes_calls: bool) {
        top_up(&mut self.links, &mut self.turn.links);
        if takes_calls {
            top_up(&mut self.sessions, &mut self.turn.sessions);
            top_up(&mut self.requests, &mut self.turn.requests);
        }
    }

    /// How many messages of agents, calls of sessions and unary calls wait.
    pub(crate) fn len(&self) -> [usize; 3] {
        [self.links.len(), self.sessions.len(), self.requests.len()]
    }
}

fn top_up<T>(lane: &mut mpsc::Receiver<T>, taken: &mut Vec<T>) {
    while taken.len() < TURN_EVENTS_MAX
        && let Ok(input) = lane.try_recv()
    {
        taken.push(input);
    }
}

/// Unary calls that the core has and has not answered, and answers that wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    last: u64,
    callers: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    waiting: BTreeMap<(Seq, RequestId), Answer>,
}

impl Requests {
    /// Numbers a call and makes it an event.
    pub(crate) fn begin(&mut self, request: Request) -> Event {
        self.last += 1;
        let id = RequestId(self.last);
        self.callers.insert(id, request.answer);
        request.ask.into_event(id)
    }

    /// Answers a call, now or when that is durable.
    pub(crate) fn answer(&mut self, id: RequestId, answer: Answer, after: After, durable: Seq) {
        match after {
            After::Seq(seq) if seq > durable => {
                self.waiting.insert((seq, id), answer);
            }
            After::Seq(_) | After::Nothing => self.deliver(id, answer),
        }
    }

    /// Delivers the answers that waited for this to be durable.
    pub(crate) fn flush(&mut self, durable: Seq) {
        while let Some(((seq, id), answer)) = self.waiting.pop_first() {
            if seq > durable {
                self.waiting.insert((seq, id), answer);
                break;
            }
            self.deliver(id, answer);
        }
    }

    fn deliver(&mut self, id: RequestId, answer: Answer) {
        if let Some(caller) = self.callers.remove(&id) {
            // A caller that has gone away does not want to know.
            let _ = caller.send(answer);
        }
    }
}
