//! A stream that somebody must take something of: one that is left unread is given up, with all that it holds.
//!
//! A peer that reads nothing never asks for the next response, so the stream itself cannot notice: a task does.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::Stream;
use proffer_model::{Problem, code};
use proffer_proto::{status_of, v1};
use tokio::time::Instant;
use tonic::Status;

use super::watch::Responses;

/// The stream as the connection has it.
pub(super) struct Attended(Arc<Mutex<Shared>>);

struct Shared {
    /// None when it has been given up, or has ended.
    responses: Option<Responses>,
    /// When something of it was taken last.
    taken_at: Instant,
    is_given_up: bool,
    /// Who waits for something to be there.
    reader: Option<Waker>,
}

impl Attended {
    /// Given up when nothing of it is taken for so long. It must have something to take more often than that.
    pub(super) fn new(responses: Responses, unread_max: Duration) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            responses: Some(responses),
            taken_at: Instant::now(),
            is_given_up: false,
            reader: None,
        }));
        tokio::spawn(attend(Arc::downgrade(&shared), unread_max));
        Self(shared)
    }
}

/// Until the stream is dropped, has ended or is given up.
async fn attend(shared: Weak<Mutex<Shared>>, unread_max: Duration) {
    loop {
        let due = match shared.upgrade() {
            None => return,
            Some(shared) => {
                let mut shared = lock(&shared);
                let due = shared.taken_at + unread_max;
                if shared.responses.is_none() {
                    return;
                }
                if due <= Instant::now() {
                    shared.is_given_up = true;
                    shared.responses = None;
                    // What would have woken it went with them.
                    shared.reader.take().into_iter().for_each(Waker::wake);
                    return;
                }
                due
            }
        };
        tokio::time::sleep_until(due).await;
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing is changed half-way: a poll that panics ends the connection.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream for Attended {
    type Item = Result<v1::WatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = lock(&self.0);
        let Some(responses) = &mut shared.responses else {
            let is_given_up = std::mem::take(&mut shared.is_given_up);
            return Poll::Ready(is_given_up.then(|| Err(status_of(unread()))));
        };
        let polled = responses.as_mut().poll_next(context);
        match polled {
            Poll::Ready(Some(_)) => shared.taken_at = Instant::now(),
            Poll::Ready(None) => shared.responses = None,
            Poll::Pending => shared.reader = Some(context.waker().clone()),
        }
        polled
    }
}

fn unread() -> Problem {
    Problem::new(
        code::WATCH_EXPIRED,
        "nothing of the watch was read for long",
    )
    .hint("watch again, from the last position that was told, and read")
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use proffer_proto::problem_of;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_watch_that_nobody_reads_gives_its_place_back_and_says_why_when_it_is_read_after_all()
    {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().expect("a place");
        let responses = stream::unfold(place, |place| async {
            Some((Ok(v1::WatchResponse::default()), place))
        });
        let mut watch = Attended::new(Box::pin(responses), Duration::from_millis(100));
        assert!(matches!(watch.next().await, Some(Ok(_))));
        let freed = tokio::time::timeout(Duration::from_secs(30), places.acquire());
        drop(freed.await.expect("in time").expect("a place"));
        let Some(Err(status)) = watch.next().await else {
            panic!("it has ended")
        };
        let problem = problem_of(&status);
        assert!(problem.is(code::WATCH_EXPIRED) && !problem.hint.is_empty());
        assert!(watch.next().await.is_none());
    }

    #[tokio::test]
    async fn what_is_taken_counts_from_when_it_is_taken() {
        let responses = stream::repeat_with(|| Ok(v1::WatchResponse::default()));
        let hour = Duration::from_secs(3_600);
        let mut watch = Attended::new(Box::pin(responses), hour);
        let now = Instant::now();
        let long_ago = now.checked_sub(Duration::from_secs(1)).expect("a time");
        lock(&watch.0).taken_at = long_ago;
        assert!(matches!(watch.next().await, Some(Ok(_))));
        assert!(lock(&watch.0).taken_at >= now);
    }

    #[tokio::test]
    async fn who_waits_for_a_watch_that_is_given_up_is_told() {
        let watch = Attended::new(Box::pin(stream::pending()), Duration::from_millis(100));
        let told: Vec<_> = tokio::time::timeout(Duration::from_secs(30), watch.collect())
            .await
            .expect("it is woken");
        let [Err(status)] = &told[..] else {
            panic!("it is given up")
        };
        assert!(problem_of(status).is(code::WATCH_EXPIRED));
    }
}
