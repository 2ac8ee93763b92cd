//! How fast one framework's calls go to the core.
//!
//! The core refuses what is above a framework's rate, and says when it may be tried again. Mesos's frameworks hear nothing of
//! that: their calls were answered with 202. So calls wait here instead, and what is above the rate comes later.
//! Acknowledgements are free here as they are there: who works through many statuses must not be slowed down by their number.

use std::time::Duration;

use proffer_model::session::Call;

const SECOND_NS: u64 = 1_000_000_000;

/// How much a framework may ask for in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Calls.
    pub(crate) calls: u64,
    /// What calls name: tasks and operations of ACCEPTs, offers, entries of demand, tasks that are asked about.
    pub(crate) operations: u64,
}

impl Rates {
    /// Calls that may be on their way at once: they may reach the core together.
    pub(super) fn at_once(self, most: usize) -> usize {
        let quarter = usize::try_from(self.calls / 4).unwrap_or(usize::MAX);
        most.min(quarter).max(1)
    }
}

/// When the next call may go. At most half a second's worth goes at once: the core lets a whole one through, and some may have
/// been held up on their way.
#[derive(Debug)]
pub(super) struct Pace {
    rates: Rates,
    calls_paid_until: u64,
    operations_paid_until: u64,
}

impl Pace {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            rates,
            calls_paid_until: 0,
            operations_paid_until: 0,
        }
    }

    /// How long this call has to wait; it counts from now on. A framework that asks about all its tasks asks about as many as
    /// are `known`.
    pub(super) fn wait(&mut self, now_ns: u64, call: &Call, known: usize) -> Duration {
        if matches!(call, Call::Acknowledge { .. } | Call::AcknowledgeOne { .. }) {
            return Duration::ZERO;
        }
        let mut wait = take(&mut self.calls_paid_until, now_ns, 1, self.rates.calls);
        let operations = self.rates.operations;
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let count = match call {
            Call::Reconcile { tasks } if tasks.is_empty() => count(known).min(operations),
            call => count(call.operations()),
        };
        if count > 0 {
            let paid_until = &mut self.operations_paid_until;
            wait = wait.max(take(paid_until, now_ns, count, operations));
        }
        Duration::from_nanos(wait)
    }
}

fn take(paid_until: &mut u64, now_ns: u64, count: u64, per_second: u64) -> u64 {
    let each_ns = SECOND_NS / per_second.clamp(1, SECOND_NS);
    let from = now_ns.max(*paid_until);
    *paid_until = from.saturating_add(each_ns.saturating_mul(count));
    // Of a rate of one or two the first goes at once, too.
    let ahead = (SECOND_NS / 2).max(each_ns);
    from.saturating_add(each_ns)
        .saturating_sub(now_ns.saturating_add(ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which moments so many calls go that come all at once.
    fn goes(per_second: u64, count: usize) -> Vec<u64> {
        moments(per_second, &Call::Teardown, count)
    }

    fn moments(per_second: u64, call: &Call, count: usize) -> Vec<u64> {
        let rates = Rates {
            calls: per_second,
            operations: 4,
        };
        let mut pace = Pace::new(rates);
        let mut now = SECOND_NS;
        let go = || {
            let wait = pace.wait(now, call, 2);
            now += u64::try_from(wait.as_nanos()).expect("short");
            now / 1_000_000 - 1_000
        };
        std::iter::repeat_with(go).take(count).collect()
    }

    #[test]
    fn calls_above_the_rate_go_later() {
        assert_eq!(goes(1, 4), [0, 1_000, 2_000, 3_000]);
        assert_eq!(goes(4, 6), [0, 0, 250, 500, 750, 1_000]);
        let many = goes(100, 250);
        assert_eq!((many[49], many[50], many[249]), (0, 10, 2_000));
    }

    #[test]
    fn what_names_more_waits_longer() {
        let id = |number: u64| format!("t{number}").parse().expect("an id");
        let named = |count| Call::Reconcile {
            tasks: (0..count).map(id).collect(),
        };
        assert_eq!(moments(1_000, &named(2), 4), [0, 250, 750, 1_250]);
        assert_eq!(moments(1_000, &named(8), 3), [0, 1_750, 3_750]);
        assert_eq!(
            moments(1_000, &named(0), 4),
            [0, 250, 750, 1_250],
            "all of two"
        );
    }

    #[test]
    fn acknowledgements_never_wait() {
        let kept = Call::AcknowledgeOne { sequence: 7 };
        assert_eq!(moments(1, &kept, 100), [0; 100]);
    }
}
