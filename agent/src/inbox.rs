//! What reaches the driver, from every part of the shell: one bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proffer_agent_core::{Event, LinkId, SessionId};
use proffer_model::link::ToMaster;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::executors::Subscriber;
use crate::limits::INBOX_MAX;

/// A connection to a master, as the driver holds it.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// What is to be sent.
    pub(crate) messages: mpsc::Sender<ToMaster>,
    /// Ends the connection.
    pub(crate) close: CancellationToken,
}

/// Something for the driver.
#[derive(Debug)]
pub(crate) enum Input {
    /// Something for the core.
    Event(Box<Event>),
    /// A connection to a master is open.
    Link(LinkId, Outbox),
    /// An executor has subscribed, which is the event.
    Executor(SessionId, Subscriber, Box<Event>),
}

/// The sending end.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    inputs: mpsc::Sender<Input>,
    sessions: Arc<AtomicU64>,
}

/// The queue.
pub(crate) fn inbox() -> (Inbox, mpsc::Receiver<Input>) {
    let (sender, receiver) = mpsc::channel(INBOX_MAX);
    let sessions = Arc::default();
    let inbox = Inbox {
        inputs: sender,
        sessions,
    };
    (inbox, receiver)
}

impl Inbox {
    /// Passes an event on; waits while the queue is full. When the driver is gone, so is whoever would be told.
    pub(crate) async fn send(&self, event: Event) {
        let _ = self.inputs.send(Input::Event(Box::new(event))).await;
    }

    /// Passes a new connection on.
    pub(crate) async fn open(&self, link: LinkId, outbox: Outbox) {
        let _ = self.inputs.send(Input::Link(link, outbox)).await;
    }

    /// The name of a new session of an executor; no two of this agent's life are the same.
    pub(crate) fn next_session(&self) -> SessionId {
        SessionId(self.sessions.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Passes a new session of an executor on.
    pub(crate) async fn subscribe(&self, session: SessionId, subscriber: Subscriber, event: Event) {
        let input = Input::Executor(session, subscriber, Box::new(event));
        let _ = self.inputs.send(input).await;
    }
}
