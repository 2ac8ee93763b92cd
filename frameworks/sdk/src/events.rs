//! What the author is told, in order, over all sessions.
//!
//! Answers and heartbeats do not come here: answers go to who called, and heartbeats are the SDK's own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use proffer_model::session::Event;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::handle::Handle;
use crate::ledger::Ledger;

/// An event, with what to acknowledge when it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Grows with each event, over all sessions. For [`Handle::acknowledge`]; acknowledging the event of a session that
    /// is over does nothing.
    pub sequence: u64,
    /// `Subscribed` begins a session and `Closed` ends it; between them come offers and statuses.
    pub event: Event,
}

/// The events, as a stream. It ends after a `Closed` that is final. Dropping it ends the session and all that the SDK does
/// in the background; the framework itself stays, for its failover timeout.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Received>,
    ledger: Arc<Ledger>,
    /// Given when events are acknowledged automatically.
    acknowledger: Option<Handle>,
    last: u64,
    _driver: AbortOnDropHandle<()>,
}

impl Events {
    pub(crate) fn new(
        receiver: mpsc::Receiver<Received>,
        ledger: Arc<Ledger>,
        acknowledger: Option<Handle>,
        driver: AbortOnDropHandle<()>,
    ) -> Self {
        Self {
            receiver,
            ledger,
            acknowledger,
            last: 0,
            _driver: driver,
        }
    }

    /// The next event; none after the last one. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Received> {
        StreamExt::next(self).await
    }
}

impl Stream for Events {
    type Item = Received;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let this = self.get_mut();
        // Asking for the next event says that the last one has been handled.
        if let Some(handle) = &this.acknowledger {
            handle.acknowledge(this.last);
        }
        loop {
            let mut polled = this.receiver.poll_recv(cx);
            if let Poll::Ready(Some(received)) = &mut polled {
                if !this.ledger.takes(received) {
                    continue;
                }
                this.last = received.sequence;
            }
            return polled;
        }
    }
}
