//! One subscription: the events of a session, as records of Mesos's.
//!
//! It ends when the core or the agent ends the session, when the executor closes the connection, and when it does not take
//! what it is sent. It then comes back, and begins with what is not acknowledged.

use std::sync::Arc;

use axum::body::Bytes;
use proffer_agent_core::{Event as CoreEvent, SessionId};
use proffer_model::executor::ExecutorEvent;
use proffer_proto::mesos::v1::executor::{Event, event};
use proffer_server::mesos_http::Media;
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use super::Mesos;
use super::door::{Door, Failure};
use super::translator::of_type;
use crate::executors::Subscriber;
use crate::limits::{MESOS_END_PATIENCE, MESOS_EXECUTOR_HEARTBEAT_INTERVAL};

/// A subscription that is open.
pub(super) struct Stream {
    pub(super) session: SessionId,
    pub(super) door: Arc<Door>,
    pub(super) mesos: Mesos,
    pub(super) media: Media,
    /// What the core says.
    pub(super) events: mpsc::Receiver<ExecutorEvent>,
    /// What is answered without it.
    pub(super) answers: mpsc::Receiver<Event>,
    /// The body of the response.
    pub(super) records: mpsc::Sender<Bytes>,
    /// The core has ended the session.
    pub(super) close: CancellationToken,
}

impl Stream {
    /// Begins the session, passes on what it is told, until its end.
    pub(super) async fn run(
        mut self,
        subscriber: Subscriber,
        subscribed: CoreEvent,
        order: OwnedMutexGuard<()>,
    ) {
        let inbox = self.mesos.shared.inbox.clone();
        inbox.subscribe(self.session, subscriber, subscribed).await;
        drop(order);
        self.pass_on().await;
        self.door.end(self.session);
        let (run, session) = (self.door.run, self.session);
        let left = CoreEvent::ExecutorLeft { run, session };
        inbox.send(left).await;
    }

    async fn pass_on(&mut self) {
        let mut beat = beats();
        let mut is_subscribed = false;
        loop {
            let told = tokio::select! {
                biased;
                () = self.door.ended.cancelled() => return,
                () = self.records.closed() => return,
                told = self.events.recv() => match told {
                    Some(told) => self.translate(told).await,
                    None => return,
                },
                Some(answer) = self.answers.recv(), if is_subscribed => Ok(vec![answer]),
                _ = beat.tick(), if is_subscribed => Ok(vec![of_type(event::Type::Heartbeat)]),
            };
            is_subscribed = true;
            let (events, is_last) = match told {
                Ok(events) => (events, false),
                Err(event) => (vec![event], true),
            };
            for event in events {
                if !self.send(&event).await {
                    return;
                }
            }
            if is_last {
                return;
            }
        }
    }

    /// The error is the last event.
    async fn translate(&self, told: ExecutorEvent) -> Result<Vec<Event>, Event> {
        let (door, mesos) = (self.door.clone(), self.mesos.clone());
        let work = move || door.tell(&told, &mesos.shared.description);
        let message = match tokio::task::spawn_blocking(work).await {
            Ok(Ok(events)) => return Ok(events),
            Ok(Err(Failure::Refused(text) | Failure::Early(text))) => text,
            Ok(Err(Failure::Ledger(error))) => format!("The agent cannot write: {error}"),
            Err(_) => "The agent has failed".to_owned(),
        };
        tracing::error!(run = %self.door.run, message, "a Mesos executor's stream is ended");
        Err(Event {
            error: Some(event::Error { message }),
            ..of_type(event::Type::Error)
        })
    }

    /// Answers whether the executor takes it.
    async fn send(&self, event: &Event) -> bool {
        let closed = async {
            self.close.cancelled().await;
            sleep(MESOS_END_PATIENCE).await;
        };
        tokio::select! {
            biased;
            sent = self.records.send(self.media.record(event)) => sent.is_ok(),
            () = closed => false,
        }
    }
}

/// When it is said that the agent is there.
fn beats() -> Interval {
    let period = MESOS_EXECUTOR_HEARTBEAT_INTERVAL;
    let mut beat = interval_at(Instant::now() + period, period);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_heartbeat_comes_as_often_as_the_documents_say() {
        assert_eq!(beats().period(), Duration::from_secs(15));
    }
}
