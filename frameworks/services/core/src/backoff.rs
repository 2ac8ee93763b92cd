//! How launches of an app wait after instances ended badly: exponentially, up to a limit (Marathon's `RateLimiter`).
//!
//! Exit code 0 is a bad end too: a service is to stay. Ends that were asked for are not.

use std::time::Duration;

use proffer_model::Time;

/// How long launches wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// After the first bad end.
    pub initial: Duration,
    /// By what each further one multiplies, in millionths.
    pub factor_micro: u64,
    /// The longest wait.
    pub max: Duration,
}

impl Default for BackoffPolicy {
    /// Marathon's: 1 s, 1.15, 300 s.
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            factor_micro: 1_150_000,
            max: Duration::from_secs(300),
        }
    }
}

/// The wait of one app at one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    delay: Option<Duration>,
    until: Time,
    reference: Time,
    failures: u32,
}

impl Backoff {
    /// An instance ended badly: the wait begins or grows.
    pub fn on_bad_end(&mut self, now: Time, policy: &BackoffPolicy) {
        if now.since(self.reference) > policy.max {
            *self = Self::default();
        }
        let delay = match self.delay {
            None => policy.initial,
            Some(delay) => multiply(delay, policy.factor_micro),
        };
        let delay = delay.min(policy.max);
        self.delay = Some(delay);
        self.until = now.after(delay);
        self.reference = now;
        self.failures = self.failures.saturating_add(1);
    }

    /// An instance got further: the wait does not grow, and is forgotten later.
    pub fn on_progress(&mut self, now: Time) {
        self.reference = now;
    }

    /// When launches may go on, if that is not now.
    pub fn waits_until(&self, now: Time) -> Option<Time> {
        (self.delay.is_some() && self.until.mono_ns > now.mono_ns).then_some(self.until)
    }

    /// Bad ends in the present wait.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// A duration times a factor in millionths.
fn multiply(delay: Duration, factor_micro: u64) -> Duration {
    let ns = delay.as_nanos().saturating_mul(u128::from(factor_micro)) / 1_000_000;
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time {
            mono_ns: 1_000_000_000_000,
            wall_ms: 0,
        }
        .after(Duration::from_millis(ms))
    }

    #[test]
    fn each_bad_end_waits_longer_up_to_the_limit() {
        let policy = BackoffPolicy {
            max: Duration::from_millis(1_400),
            ..BackoffPolicy::default()
        };
        let mut backoff = Backoff::default();
        assert_eq!(backoff.waits_until(at(0)), None);
        for delay in [1_000_000, 1_150_000, 1_322_500, 1_400_000, 1_400_000] {
            backoff.on_bad_end(at(0), &policy);
            assert_eq!(
                backoff.waits_until(at(0)),
                Some(at(0).after(Duration::from_micros(delay)))
            );
        }
        assert_eq!(backoff.failures(), 5);
        assert_eq!(backoff.waits_until(at(1_400)), None);
    }

    #[test]
    fn the_wait_is_forgotten_when_nothing_bad_happens_for_its_limit() {
        let policy = BackoffPolicy {
            max: Duration::from_secs(10),
            ..BackoffPolicy::default()
        };
        let mut backoff = Backoff::default();
        backoff.on_bad_end(at(0), &policy);
        backoff.on_bad_end(at(9_000), &policy);
        assert_eq!(backoff.waits_until(at(9_000)), Some(at(10_150)));
        backoff.on_progress(at(15_000));
        backoff.on_bad_end(at(24_000), &policy);
        assert_eq!(backoff.failures(), 3);
        backoff.on_bad_end(at(34_001), &policy);
        assert_eq!(
            (backoff.failures(), backoff.waits_until(at(34_001))),
            (1, Some(at(35_001)))
        );
    }
}
