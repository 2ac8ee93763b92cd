//! Rates: how often a framework may subscribe in a second, how many calls it may make, and how many operations: what a call
//! is worth depends on how much it names. A bucket holds a second's worth.
//!
//! What is above the rate is refused with the time after which it may be tried again; nothing of it is done. A call that
//! alone is worth more than a second is let through when the bucket is not empty, and what it took too much is waited for
//! afterwards. Only to ask about all tasks is never worth more than a second: how many there are is not the caller's choice.

use std::time::Duration;

use proffer_model::session::Call;
use proffer_model::{FrameworkId, Problem, code};

use crate::core::Core;
use crate::limits::SUBSCRIPTIONS_PER_SECOND_MAX;
use crate::reconciliation::Asker;

/// A framework's buckets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    subscriptions: Bucket,
    calls: Bucket,
    operations: Bucket,
}

/// Empty when `paid_until_ns` is a second ahead, full when it is past.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    paid_until_ns: u64,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Bucket {
    /// Takes so many; the error is how long to wait for the first of them.
    fn take(&mut self, now_ns: u64, count: u64, per_second: u64) -> Result<(), Duration> {
        let each_ns = SECOND_NS / per_second.clamp(1, SECOND_NS);
        let paid_until_ns = self.paid_until_ns.max(now_ns);
        let empty_at_ns = now_ns.saturating_add(SECOND_NS);
        if paid_until_ns.saturating_add(each_ns) > empty_at_ns {
            let wait_ns = paid_until_ns.saturating_add(each_ns) - empty_at_ns;
            return Err(Duration::from_nanos(wait_ns).max(Duration::from_millis(1)));
        }
        self.charge(now_ns, count, per_second);
        Ok(())
    }

    /// Whether not even one more would be let through.
    fn is_empty(&self, now_ns: u64, per_second: u64) -> bool {
        let mut copy = *self;
        copy.take(now_ns, 1, per_second).is_err()
    }

    /// Takes so many, whether they are there or not.
    fn charge(&mut self, now_ns: u64, count: u64, per_second: u64) {
        let each_ns = SECOND_NS / per_second.clamp(1, SECOND_NS);
        let paid_until_ns = self.paid_until_ns.max(now_ns);
        self.paid_until_ns = paid_until_ns.saturating_add(each_ns.saturating_mul(count));
    }
}

impl Core {
    /// Counts a subscription against its framework's rate. A framework that is not known yet has none.
    pub(crate) fn admit_subscription(
        &mut self,
        framework: Option<&FrameworkId>,
    ) -> Result<(), Problem> {
        let now_ns = self.turn.now.mono_ns;
        let known = framework.and_then(|framework| self.frameworks.get_mut(framework));
        let Some(known) = known else {
            return Ok(());
        };
        let most = SUBSCRIPTIONS_PER_SECOND_MAX;
        let taken = known.rates.subscriptions.take(now_ns, 1, most);
        taken.map_err(|wait| limited("subscriptions", most, wait))
    }

    /// Counts a call against its framework's rate; refuses what is above it.
    pub(crate) fn admit_call(&mut self, framework: &FrameworkId) -> Result<(), Problem> {
        let (now_ns, config) = (self.turn.now.mono_ns, &self.config);
        let Some(known) = self.frameworks.get_mut(framework) else {
            return Ok(());
        };
        let calls = config.calls_per_second;
        let taken = known.rates.calls.take(now_ns, 1, calls);
        taken.map_err(|wait| limited("calls", calls, wait))
    }

    /// Whether a call would be refused, whatever it names.
    pub(crate) fn is_above_rate(&self, framework: &FrameworkId) -> bool {
        let (now_ns, config) = (self.turn.now.mono_ns, &self.config);
        self.frameworks.get(framework).is_some_and(|known| {
            let Rates {
                calls, operations, ..
            } = known.rates;
            calls.is_empty(now_ns, config.calls_per_second)
                || operations.is_empty(now_ns, config.operations_per_second)
        })
    }

    /// Counts what a call names; refuses what is above the rate, and questions that there is no room for.
    pub(crate) fn admit_operations(
        &mut self,
        framework: &FrameworkId,
        asker: &Asker,
        call: &Call,
    ) -> Result<(), Problem> {
        let most = self.config.operations_per_second;
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let count = match call {
            Call::Reconcile { tasks } => {
                self.judge_reconcile(asker, tasks)?;
                match tasks.len() {
                    0 => count(self.tasks.count_of(framework)).min(most),
                    named => count(named),
                }
            }
            call => count(call.operations()),
        };
        self.admit_count(framework, count)
    }

    /// Counts so many operations; refuses them when the bucket is empty.
    pub(crate) fn admit_count(
        &mut self,
        framework: &FrameworkId,
        count: u64,
    ) -> Result<(), Problem> {
        let most = self.config.operations_per_second;
        let Some(known) = self.frameworks.get_mut(framework).filter(|_| count > 0) else {
            return Ok(());
        };
        let taken = known
            .rates
            .operations
            .take(self.turn.now.mono_ns, count, most);
        taken.map_err(|wait| limited("operations", most, wait))
    }

    /// Counts so many operations that were done before it was known how many they are: the next ones wait for them.
    pub(crate) fn charge_operations(&mut self, framework: &FrameworkId, count: u64) {
        let (now_ns, most) = (self.turn.now.mono_ns, self.config.operations_per_second);
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.rates.operations.charge(now_ns, count, most);
        }
    }
}

fn limited(what: &str, per_second: u64, wait: Duration) -> Problem {
    let message = format!("the framework asks for more than {per_second} {what} in a second");
    Problem::new(code::SESSION_RATE_LIMITED, message)
        .hint("nothing of it was done; try again after the time that is given, and call less often")
        .retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of so many takes at these moments is let through.
    fn check(per_second: u64, takes: &[(u64, u64, Option<u64>)]) {
        let mut bucket = Bucket::default();
        for (i, (at_ms, count, wait_ms)) in takes.iter().enumerate() {
            let taken = bucket.take((1_000 + at_ms) * 1_000_000, *count, per_second);
            let wait = taken.err().map(|wait| wait.as_millis());
            assert_eq!(wait, wait_ms.map(u128::from), "{i} of {takes:?}");
        }
    }

    #[test]
    fn a_second_of_calls_may_come_at_once_and_then_as_many_as_flow_in() {
        check(
            2,
            &[
                (0, 1, None),
                (0, 1, None),
                (0, 1, Some(500)),
                (499, 1, Some(1)),
                (500, 1, None),
                (500, 1, Some(500)),
                (9_000, 1, None),
                (9_000, 1, None),
                (9_000, 1, Some(500)),
            ],
        );
    }

    #[test]
    fn what_is_more_than_a_second_goes_through_and_is_waited_for() {
        check(
            10,
            &[
                (0, 30, None),
                (0, 1, Some(2_100)),
                (2_099, 1, Some(1)),
                (2_100, 1, None),
            ],
        );
    }

    #[test]
    fn no_number_is_too_large() {
        let forever_ms = u64::MAX / 1_000_000 - 2_000;
        check(u64::MAX, &[(0, u64::MAX, None), (0, 1, Some(forever_ms))]);
        check(0, &[(0, 1, None), (0, 1, Some(1_000))]);
    }
}
