//! The timers that the core has set: at most one of each kind, by the monotonic clock.

use std::collections::{BTreeMap, BTreeSet};

use proffer_agent_core::TimerKey;
use proffer_model::Time;

/// Timers, by key and by time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_key: BTreeMap<TimerKey, u64>,
    by_time: BTreeSet<(u64, TimerKey)>,
}

impl Timers {
    /// Sets or moves one.
    pub(crate) fn set(&mut self, key: TimerKey, at: Time) {
        self.cancel(key);
        self.by_key.insert(key, at.mono_ns);
        self.by_time.insert((at.mono_ns, key));
    }

    /// Forgets one.
    pub(crate) fn cancel(&mut self, key: TimerKey) {
        if let Some(at) = self.by_key.remove(&key) {
            self.by_time.remove(&(at, key));
        }
    }

    /// When the next one comes, in nanoseconds of the monotonic clock.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one that has come, the earliest first.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<TimerKey> {
        if self.next_ns()? > now.mono_ns {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use proffer_agent_core::RunId;

    use super::*;

    fn at(mono_ns: u64) -> Time {
        Time {
            mono_ns,
            wall_ms: 0,
        }
    }

    #[test]
    fn timers_come_in_order_once_and_can_be_moved_and_cancelled() {
        let mut timers = Timers::default();
        timers.set(TimerKey::Garbage, at(10));
        timers.set(TimerKey::Heartbeat, at(20));
        timers.set(TimerKey::Resend(RunId(1)), at(30));
        timers.set(TimerKey::Garbage, at(40));
        timers.cancel(TimerKey::Resend(RunId(1)));
        timers.cancel(TimerKey::Grace(RunId(1)));
        assert_eq!(timers.pop_due(at(19)), None);
        assert_eq!(timers.next_ns(), Some(20));
        assert_eq!(timers.pop_due(at(100)), Some(TimerKey::Heartbeat));
        assert_eq!(timers.pop_due(at(100)), Some(TimerKey::Garbage));
        assert_eq!(timers.pop_due(at(100)), None);
        assert_eq!(timers.next_ns(), None);
    }
}
