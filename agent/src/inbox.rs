//! What reaches the driver, from every part of the shell: one bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proffer_agent_core::{Event, LinkId, SessionId};
use proffer_model::link::{ToAgent, ToMaster};
use proffer_model::{Command, TaskSpec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::executors::Subscriber;
use crate::limits::{INBOX_BYTES_MAX, INBOX_MAX};

const KIB: usize = 1024;

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
    /// The same, with room for what it carries, which is given back when the core has taken it.
    Heavy(Box<Event>, OwnedSemaphorePermit),
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
    /// KiB of what may wait.
    room: Arc<Semaphore>,
}

/// The queue.
pub(crate) fn inbox() -> (Inbox, mpsc::Receiver<Input>) {
    let (sender, receiver) = mpsc::channel(INBOX_MAX);
    let sessions = Arc::default();
    let inbox = Inbox {
        inputs: sender,
        sessions,
        room: Arc::new(Semaphore::new(INBOX_BYTES_MAX / KIB)),
    };
    (inbox, receiver)
}

impl Inbox {
    /// Passes an event on; waits while the queue is full, of events or of bytes. When the driver is gone, so is whoever would be
    /// told.
    pub(crate) async fn send(&self, event: Event) {
        let kib = carried(&event).min(INBOX_BYTES_MAX) / KIB;
        let event = Box::new(event);
        let Some(kib) = u32::try_from(kib).ok().filter(|kib| *kib > 0) else {
            let _ = self.inputs.send(Input::Event(event)).await;
            return;
        };
        // It is never closed.
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(kib).await {
            let _ = self.inputs.send(Input::Heavy(event, room)).await;
        }
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

/// Bytes that an event carries for others, about.
fn carried(event: &Event) -> usize {
    match event {
        Event::ExecutorSaid { status, .. } => status.data.len(),
        Event::ExecutorMessage { data, .. } => data.len(),
        Event::LinkMessage { message, .. } => match message {
            ToAgent::Launch { spec, .. } => carried_by(spec),
            ToAgent::LaunchGroup { tasks, .. } => {
                tasks.iter().map(|(_, spec)| carried_by(spec)).sum()
            }
            ToAgent::Message { data, .. } => data.len(),
            _ => 0,
        },
        _ => 0,
    }
}

/// With its executor, which comes with each task.
fn carried_by(spec: &TaskSpec) -> usize {
    let data = match &spec.command {
        Command::Data(data) => data.len(),
        _ => 0,
    };
    data + spec.executor.as_ref().map_or(0, |spec| spec.info.len())
}

#[cfg(test)]
mod tests {
    use proffer_agent_core::RunId;

    use super::*;

    #[tokio::test]
    async fn so_many_bytes_wait_for_the_core_and_no_more() {
        let (inbox, mut queue) = inbox();
        let message = |len| Event::ExecutorMessage {
            run: RunId(1),
            session: SessionId(1),
            data: vec![0; len],
        };
        let len = 1024 * KIB;
        for _ in 0..INBOX_BYTES_MAX / len {
            inbox.send(message(len)).await;
        }
        // What is small goes on.
        inbox.send(message(10)).await;
        let mut more = Box::pin(inbox.send(message(len)));
        assert!(futures::poll!(&mut more).is_pending());
        drop(queue.recv().await);
        more.await;
        let mut count = 0;
        while queue.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, INBOX_BYTES_MAX / len + 1);
    }
}
