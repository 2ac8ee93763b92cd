//! How long to wait between two rounds through the masters: doubling up to a bound, and never the same for two frameworks.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX};

/// Counts the rounds since the last success.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    rounds: u32,
}

impl Backoff {
    /// The wait after one more round without success: between half of a bound and the bound, which doubles; `random` says
    /// where.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let factor = 1_u32.checked_shl(self.rounds).unwrap_or(u32::MAX);
        self.rounds = self.rounds.saturating_add(1);
        let bound = BACKOFF_FIRST.saturating_mul(factor).min(BACKOFF_MAX);
        let half = bound / 2;
        let half_ns = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(random % half_ns)
    }

    /// A session was subscribed.
    pub(crate) fn reset(&mut self) {
        self.rounds = 0;
    }
}

/// A number that differs from process to process and call to call. The standard library's hash keys are random; nothing
/// here needs to be unguessable.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_spread() {
        let mut backoff = Backoff::default();
        let shortest: Vec<_> = (0..40).map(|_| backoff.next(0).as_millis()).collect();
        assert_eq!(shortest[..6], [50, 100, 200, 400, 800, 1_000]);
        assert!(shortest[6..].iter().all(|ms| *ms == 1_000));
        let longest = backoff.next(u64::MAX);
        assert!(longest >= BACKOFF_MAX / 2 && longest < BACKOFF_MAX);
        backoff.reset();
        assert!(backoff.next(u64::MAX) < BACKOFF_FIRST);
    }
}
