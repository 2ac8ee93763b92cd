//! The stream of statuses of one run: numbered from 1, sent in order as they are made, sent again with a growing delay
//! until they are acknowledged. One acknowledgement covers all up to its number.
//!
//! It decides what is outstanding and when to try again; whether there is anyone to send to is `link.rs`'s.

use std::collections::VecDeque;
use std::time::Duration;

use proffer_model::{Status, Time};

use crate::core::Core;
use crate::effect::{Effect, Effects, Fact};
use crate::event::{RunId, TimerKey};
use crate::limits::{
    RESEND_DELAY_MAX, RESEND_DELAY_MIN, RESEND_JITTER_DIVISOR, STATUSES_UNACKNOWLEDGED_MAX,
};

/// The statuses of one run.
#[derive(Clone, Debug)]
pub(crate) struct Updates {
    latest: Status,
    unacknowledged: VecDeque<Status>,
    /// All up to this number are acknowledged.
    acknowledged: u64,
    /// How often the outstanding ones have been sent again since the last progress.
    attempts: u32,
    /// Bytes of what executors say that [`Core`] counts of this run.
    pub(crate) counted: usize,
}

/// What an acknowledgement was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// Something is now acknowledged that was not.
    New,
    /// All of it was acknowledged before.
    Repeated,
    /// It names a status that was never made.
    Unknown,
}

impl Updates {
    pub(crate) fn new(first: Status) -> Self {
        Self {
            latest: without_data(&first),
            unacknowledged: VecDeque::from([first]),
            acknowledged: 0,
            attempts: 0,
            counted: 0,
        }
    }

    /// From a checkpoint; nothing when it holds no status.
    pub(crate) fn recovered(statuses: Vec<Status>, acknowledged: u64) -> Option<Self> {
        let latest = without_data(statuses.last()?);
        let unacknowledged = statuses
            .into_iter()
            .filter(|status| status.number > acknowledged)
            .collect();
        Some(Self {
            latest,
            unacknowledged,
            acknowledged,
            attempts: 0,
            counted: 0,
        })
    }

    /// The last status, without what an executor said along with it: that is for its framework alone, until it has it.
    pub(crate) fn latest(&self) -> &Status {
        &self.latest
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(crate) fn push(&mut self, status: Status) {
        self.latest = without_data(&status);
        self.unacknowledged.push_back(status);
    }

    /// Whether a status that is no change of state may be added.
    pub(crate) fn has_room(&self) -> bool {
        self.unacknowledged.len() < STATUSES_UNACKNOWLEDGED_MAX
    }

    pub(crate) fn acknowledge(&mut self, number: u64) -> Acknowledged {
        if number > self.latest.number {
            return Acknowledged::Unknown;
        }
        let before = self.unacknowledged.len();
        self.unacknowledged.retain(|status| status.number > number);
        if self.unacknowledged.len() == before {
            return Acknowledged::Repeated;
        }
        self.acknowledged = number;
        self.attempts = 0;
        Acknowledged::New
    }

    pub(crate) fn unacknowledged(&self) -> &VecDeque<Status> {
        &self.unacknowledged
    }

    /// Whether the run has ended and all of it is acknowledged.
    pub(crate) fn is_settled(&self) -> bool {
        self.latest.state.is_terminal() && self.unacknowledged.is_empty()
    }

    /// Bytes of what an executor said along with what is not acknowledged.
    pub(crate) fn data_len(&self) -> usize {
        let statuses = self.unacknowledged.iter();
        statuses.map(|status| status.data.len()).sum()
    }

    /// How long to wait before sending again: doubles with each attempt, plus jitter that follows from seed and run.
    fn resend_delay(&self, seed: u64, run: RunId) -> Duration {
        let delay = RESEND_DELAY_MIN
            .saturating_mul(1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX))
            .min(RESEND_DELAY_MAX);
        let jitter_ms_max =
            u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) / RESEND_JITTER_DIVISOR;
        let drawn = mix(seed ^ run.0 ^ u64::from(self.attempts));
        delay + Duration::from_millis(drawn % jitter_ms_max.saturating_add(1))
    }
}

fn without_data(status: &Status) -> Status {
    Status {
        task: status.task.clone(),
        agent: status.agent.clone(),
        message: status.message.clone(),
        checks: status.checks.clone(),
        data: Vec::new(),
        ..*status
    }
}

/// Spreads the bits of a number (the finalizer of splitmix64): the core's only source of what looks random.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Core {
    /// Sets the timer for sending again, from now.
    pub(crate) fn await_acknowledgement(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let seed = self.settings.seed;
        let Some(task) = self.tasks.get(&run) else {
            return;
        };
        let key = TimerKey::Resend(run);
        effects.push(if task.updates.unacknowledged().is_empty() {
            Effect::CancelTimer(key)
        } else {
            let at = now.after(task.updates.resend_delay(seed, run));
            Effect::SetTimer { key, at }
        });
    }

    /// Sends all that is unacknowledged of one run, in order, if there is someone to send to.
    pub(crate) fn send_unacknowledged(&mut self, run: RunId, effects: &mut Effects) -> u64 {
        let statuses: Vec<Status> = match self.tasks.get(&run) {
            Some(task) => task.updates.unacknowledged().iter().cloned().collect(),
            None => return 0,
        };
        let mut sent = 0;
        for status in statuses {
            sent += u64::from(self.send_status(run, status, effects));
        }
        sent
    }

    pub(crate) fn on_resend_due(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let sent = self.send_unacknowledged(run, effects);
        if sent > 0 {
            effects.push(Effect::Record(Fact::StatusesResent { count: sent }));
            if let Some(task) = self.tasks.get_mut(&run) {
                task.updates.attempts = task.updates.attempts.saturating_add(1);
            }
        }
        self.await_acknowledgement(now, run, effects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::status;

    #[test]
    fn acknowledgements_are_cumulative_and_never_go_back() {
        let mut updates = Updates::new(status(1));
        updates.push(status(2));
        updates.push(status(3));
        assert_eq!(updates.acknowledge(4), Acknowledged::Unknown);
        assert_eq!(updates.acknowledge(2), Acknowledged::New);
        assert_eq!(updates.acknowledge(2), Acknowledged::Repeated);
        assert_eq!(updates.acknowledge(1), Acknowledged::Repeated);
        let left: Vec<u64> = updates.unacknowledged().iter().map(|s| s.number).collect();
        assert_eq!(left, [3]);
    }

    #[test]
    fn the_delay_doubles_to_its_limit_and_jitter_follows_from_the_seed() {
        let mut updates = Updates::new(status(1));
        let mut delays = Vec::new();
        for attempts in 0..40 {
            updates.attempts = attempts;
            let delay = updates.resend_delay(7, RunId(9));
            assert_eq!(delay, updates.resend_delay(7, RunId(9)));
            delays.push(delay.as_secs());
        }
        assert!((10..=12).contains(&delays[0]), "{delays:?}");
        assert!((20..=25).contains(&delays[1]), "{delays:?}");
        assert!(
            delays[6..].iter().all(|s| (600..=750).contains(s)),
            "{delays:?}"
        );
        updates.attempts = 0;
        assert_ne!(
            updates.resend_delay(7, RunId(9)),
            updates.resend_delay(8, RunId(9))
        );
    }
}
