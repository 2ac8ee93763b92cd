//! Leadership as a lease: it holds until a moment that only good news from the election moves on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proffer_model::Time;
use tokio_util::sync::CancellationToken;

/// The right to lead, for as long as it holds. Cheap to clone; all clones are the same lease.
///
/// Whoever leads asks [`Self::holds`] before each thing that it promises: a process that stood still wakes up with a
/// lease that has run out, before anybody could tell it so.
#[derive(Clone, Debug)]
pub struct Lease {
    until_ns: Arc<AtomicU64>,
    lost: CancellationToken,
}

impl Lease {
    /// Of a master that no other competes with: it holds for ever.
    pub fn forever() -> Self {
        Self::until(Time {
            mono_ns: u64::MAX,
            ..Time::default()
        })
    }

    /// That holds until then, by the monotonic clock that counts suspend.
    pub fn until(until: Time) -> Self {
        Self {
            until_ns: Arc::new(AtomicU64::new(until.mono_ns)),
            lost: CancellationToken::new(),
        }
    }

    /// Whether it holds.
    pub fn holds(&self, now: Time) -> bool {
        !self.lost.is_cancelled() && now.mono_ns < self.until_ns.load(Ordering::Acquire)
    }

    /// How long it holds yet, unless it is moved on; `None` when it holds for ever.
    pub fn left(&self, now: Time) -> Option<Duration> {
        let until_ns = self.until_ns.load(Ordering::Acquire);
        if until_ns == u64::MAX && !self.lost.is_cancelled() {
            return None;
        }
        let left_ns = until_ns.saturating_sub(now.mono_ns);
        Some(if self.holds(now) {
            Duration::from_nanos(left_ns)
        } else {
            Duration::ZERO
        })
    }

    /// Waits until it is known to be lost. It may have run out before: see [`Self::holds`].
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Moves its end on; it never moves back, and what is lost stays lost.
    pub fn extend(&self, until: Time) {
        self.until_ns.fetch_max(until.mono_ns, Ordering::AcqRel);
    }

    /// Ends it, for good.
    pub fn lose(&self) {
        self.lost.cancel();
    }
}
