//! A stream that somebody must take something of: one that is left unread is given up, with all that it holds.
//!
//! A peer that reads nothing never asks for the next response, so the stream itself cannot notice: a task does.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::Instant;

/// The stream as the connection has it.
pub(crate) struct Attended<S: Stream>(Arc<Mutex<Shared<S>>>);

struct Shared<S: Stream> {
    /// None when it has been given up, or has ended.
    responses: Option<Pin<Box<S>>>,
    /// What is said last of one that was given up.
    unread: Option<S::Item>,
    /// When something of it was taken last.
    taken_at: Instant,
    /// Who waits for something to be there.
    reader: Option<Waker>,
}

impl<S> Attended<S>
where
    S: Stream<Item: Send> + Send + 'static,
{
    /// Given up, with a last word, when nothing of it is taken for so long. It must have something to take more often than that.
    pub(crate) fn new(responses: S, unread_max: Duration, unread: S::Item) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            responses: Some(Box::pin(responses)),
            unread: Some(unread),
            taken_at: Instant::now(),
            reader: None,
        }));
        tokio::spawn(attend(Arc::downgrade(&shared), unread_max));
        Self(shared)
    }
}

/// Until the stream is dropped, has ended or is given up.
async fn attend<S: Stream>(shared: Weak<Mutex<Shared<S>>>, unread_max: Duration) {
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

fn lock<S: Stream>(shared: &Mutex<Shared<S>>) -> MutexGuard<'_, Shared<S>> {
    // Nothing is changed half-way: a poll that panics ends the connection.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Stream> Stream for Attended<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut shared = lock(&self.0);
        let Some(responses) = &mut shared.responses else {
            return Poll::Ready(shared.unread.take());
        };
        let polled = responses.poll_next_unpin(context);
        match polled {
            Poll::Ready(Some(_)) => shared.taken_at = Instant::now(),
            Poll::Ready(None) => (shared.responses, shared.unread) = (None, None),
            Poll::Pending => shared.reader = Some(context.waker().clone()),
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use tokio::sync::Semaphore;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_watch_that_nobody_reads_gives_its_place_back_and_says_why_when_it_is_read_after_all()
    {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().expect("a place");
        let responses = stream::unfold(place, |place| async { Some((1, place)) });
        let mut watch = Attended::new(responses, SOON, 9);
        assert_eq!(watch.next().await, Some(1));
        let freed = tokio::time::timeout(PATIENCE, places.acquire());
        drop(freed.await.expect("in time").expect("a place"));
        assert_eq!(watch.next().await, Some(9));
        assert_eq!(watch.next().await, None);
    }

    #[tokio::test]
    async fn what_has_ended_says_nothing_more() {
        let watch = Attended::new(stream::iter([1, 2]), PATIENCE, 9);
        assert_eq!(watch.collect::<Vec<_>>().await, [1, 2]);
    }

    #[tokio::test]
    async fn what_is_taken_counts_from_when_it_is_taken() {
        let hour = Duration::from_secs(3_600);
        let mut watch = Attended::new(stream::repeat(1), hour, 9);
        let now = Instant::now();
        let long_ago = now.checked_sub(Duration::from_secs(1)).expect("a time");
        lock(&watch.0).taken_at = long_ago;
        assert_eq!(watch.next().await, Some(1));
        assert!(lock(&watch.0).taken_at >= now);
    }

    #[tokio::test]
    async fn who_waits_for_a_watch_that_is_given_up_is_told() {
        let watch = Attended::new(stream::pending(), SOON, 9);
        let told = tokio::time::timeout(PATIENCE, watch.collect::<Vec<_>>());
        assert_eq!(told.await.expect("it is woken"), [9]);
    }
}
