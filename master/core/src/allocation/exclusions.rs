//! Which agents an entry does not want for a while.
//!
//! An exclusion stands with its agent: for whom, until when, and what was refused. What was refused is nearly always the
//! same for all who refused, so it is kept once. An exclusion ends when its time has come, and when its entry's stamp has
//! moved on: to end all of an entry's costs nothing here. Those that have ended stay until their place is needed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::bundle::Bundle;
use super::limits::{EXCLUSIONS_ENDED_MAX, REFUSALS_COMPARED_MAX};

/// One exclusion of an agent.
#[derive(Clone, Copy, Debug)]
struct Exclusion {
    entry: u32,
    stamp: u32,
    refusal: u32,
    until: u64,
}

/// The exclusions of one agent, by entry.
#[derive(Debug, Default)]
pub(super) struct Exclusions {
    list: Vec<Exclusion>,
    /// What was refused, and by how many of the list.
    refusals: Vec<(Bundle, u32)>,
}

impl Exclusions {
    /// Adds one. A stamp says whether it still holds; those of the entry with another stamp go.
    pub(super) fn insert(&mut self, entry: u32, stamp: u32, refused: Bundle, until: u64) {
        let from = self.list.partition_point(|found| found.entry < entry);
        let to = self.list.partition_point(|found| found.entry <= entry);
        let ended = self.list.extract_if(from..to, |found| found.stamp != stamp);
        for ended in ended.collect::<Vec<_>>() {
            self.forget(ended.refusal);
        }
        let refusal = self.remember(refused);
        let same = self
            .list
            .iter_mut()
            .skip(from)
            .take_while(|found| found.entry == entry);
        for found in same {
            if found.refusal == refusal {
                found.until = found.until.max(until);
                self.forget(refusal);
                return;
            }
        }
        self.list.insert(
            from,
            Exclusion {
                entry,
                stamp,
                refusal,
                until,
            },
        );
    }

    fn remember(&mut self, refused: Bundle) -> u32 {
        let newest = self.refusals.len().saturating_sub(REFUSALS_COMPARED_MAX);
        let vacant = self.refusals.iter().position(|(_, uses)| *uses == 0);
        let same = self
            .refusals
            .iter()
            .skip(newest)
            .position(|(known, uses)| *uses > 0 && *known == refused);
        let index = match (same, vacant) {
            (Some(same), _) => {
                self.refusals[newest + same].1 += 1;
                newest + same
            }
            (None, Some(vacant)) => {
                self.refusals[vacant] = (refused, 1);
                vacant
            }
            (None, None) => {
                self.refusals.push((refused, 1));
                self.refusals.len() - 1
            }
        };
        u32::try_from(index).unwrap_or(u32::MAX)
    }

    fn forget(&mut self, refusal: u32) {
        if let Some((refused, uses)) = self.refusals.get_mut(refusal as usize) {
            *uses = uses.saturating_sub(1);
            if *uses == 0 {
                *refused = Bundle::default();
            }
        }
    }

    /// Whether an entry refuses so much.
    pub(super) fn refuse(&self, entry: u32, stamp: u32, now: u64, offered: &Bundle) -> bool {
        let from = self.list.partition_point(|found| found.entry < entry);
        let same = self
            .list
            .iter()
            .skip(from)
            .take_while(|found| found.entry == entry);
        let mut standing = same.filter(|found| found.stamp == stamp && now < found.until);
        standing.any(|found| {
            let refused = self.refusals.get(found.refusal as usize);
            refused.is_some_and(|(refused, _)| refused.contains(offered))
        })
    }

    /// Whether so much is more than somebody refused: then exclusions may stand in the way no more.
    pub(super) fn is_outgrown_by(&self, free: &Bundle) -> bool {
        self.refusals
            .iter()
            .any(|(refused, uses)| *uses > 0 && !refused.contains(free))
    }
}

/// When an exclusion ends, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    pub(super) until: u64,
    pub(super) agent: u32,
    pub(super) entry: u32,
    pub(super) stamp: u32,
}

/// The ends of all exclusions, the next first. Those that have ended otherwise are among them for a while.
#[derive(Debug, Default)]
pub(super) struct Ends {
    heap: BinaryHeap<Reverse<End>>,
    /// How many there were when the ended ones were last taken out.
    kept: usize,
}

impl Ends {
    pub(super) fn insert(&mut self, end: End, stands: impl Fn(&End) -> bool) {
        self.heap.push(Reverse(end));
        if self.heap.len() > 2 * self.kept + EXCLUSIONS_ENDED_MAX {
            self.heap.retain(|Reverse(end)| stands(end));
            self.kept = self.heap.len();
        }
    }

    /// How many there are, ended or not.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The next one that has ended by now, when there is one.
    pub(super) fn pop_until(&mut self, now: u64) -> Option<End> {
        let next = self.heap.peek().filter(|Reverse(end)| end.until <= now);
        next.is_some()
            .then(|| self.heap.pop())
            .flatten()
            .map(|Reverse(end)| end)
    }

    /// Whether one has ended by now that was not taken out yet.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let next = self.heap.peek();
        next.is_some_and(|Reverse(end)| end.until <= now)
    }

    /// When the next one that stands ends.
    pub(super) fn next(&mut self, stands: impl Fn(&End) -> bool) -> Option<u64> {
        while let Some(Reverse(end)) = self.heap.peek() {
            if stands(end) {
                return Some(end.until);
            }
            self.heap.pop();
        }
        None
    }
}
