//! How long to wait before the next try: twice as long each time, up to a limit, with half of it left to chance so that
//! many sidecars do not come back at the same moment. Pure: chance comes from a seed.

use std::time::Duration;

/// The waits of one thing that is tried again.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    state: u64,
}

impl Backoff {
    /// Waits from `min` up to `max`.
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Self {
            min,
            max,
            failures: 0,
            state: seed,
        }
    }

    /// After a success: the next wait is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// After a failure: the wait, between half and all of `min` × 2ⁿ.
    pub fn next_wait(&mut self) -> Duration {
        let whole = self
            .min
            .saturating_mul(1 << self.failures.min(20))
            .min(self.max);
        self.failures = self.failures.saturating_add(1);
        // The step of splitmix64, enough to spread waits.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let half_ms = u64::try_from(whole.as_millis() / 2)
            .unwrap_or(u64::MAX)
            .max(1);
        whole / 2 + Duration::from_millis((mixed >> 32) % half_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), 7);
        let mut expected = Duration::from_millis(100);
        for _ in 0..100 {
            let wait = backoff.next_wait();
            assert!(
                wait >= expected / 2 && wait <= expected,
                "{wait:?} of {expected:?}"
            );
            expected = (expected * 2).min(Duration::from_secs(5));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
