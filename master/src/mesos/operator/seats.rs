//! Places of subscribers. Who comes when all are taken gets that of the one who has had its own for the longest time, as in
//! Mesos: what is forgotten and open keeps nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// So many places.
#[derive(Debug)]
pub(super) struct Seats {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    last_number: u64,
    /// The oldest first, but for those that were told to go.
    by_number: BTreeMap<u64, CancellationToken>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    /// Somebody else is to have it.
    pub(super) lost: CancellationToken,
    number: u64,
    taken: Arc<Mutex<Taken>>,
    _place: OwnedSemaphorePermit,
}

impl Seats {
    /// So many.
    pub(super) fn new(count: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            taken: Arc::default(),
        }
    }

    /// One of them; none if the oldest does not give its own up within this time.
    pub(super) async fn take(&self, patience: Duration) -> Option<Seat> {
        let place = Arc::clone(&self.free).try_acquire_owned();
        let place = match place {
            Ok(place) => place,
            Err(_) => {
                let oldest = lock(&self.taken).by_number.pop_first();
                if let Some((_, lost)) = oldest {
                    lost.cancel();
                }
                let place = Arc::clone(&self.free).acquire_owned();
                timeout(patience, place).await.ok()?.ok()?
            }
        };
        let lost = CancellationToken::new();
        let number = {
            let mut taken = lock(&self.taken);
            taken.last_number += 1;
            let number = taken.last_number;
            taken.by_number.insert(number, lost.clone());
            number
        };
        Some(Seat {
            lost,
            number,
            taken: Arc::clone(&self.taken),
            _place: place,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.taken).by_number.remove(&self.number);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn who_finds_no_place_gets_that_of_the_oldest() {
        let seats = Seats::new(2);
        let gone = seats.take(LONG).await.expect("a place");
        let oldest = seats.take(LONG).await.expect("a place");
        drop(gone);
        let second = seats.take(LONG).await.expect("a place");
        let lost = oldest.lost.clone();
        let goes = async {
            oldest.lost.cancelled().await;
            drop(oldest);
        };
        let (third, ()) = tokio::join!(seats.take(LONG), goes);
        let third = third.expect("the place of the oldest");
        assert!(lost.is_cancelled() && !second.lost.is_cancelled());
        // The next does not let go.
        let none = seats.take(Duration::from_millis(1)).await;
        assert!(none.is_none() && second.lost.is_cancelled() && !third.lost.is_cancelled());
    }
}
