//! Which agents an entry does not want for a while.
//!
//! An exclusion stands with its agent: for whom, until when, and what was refused. What was refused is nearly always the
//! same for all who refused, so it is kept once. An exclusion ends when its time has come, and when its entry's stamp has
//! moved on: to end all of an entry's costs nothing here. Those whose stamp has moved on stay until they are met.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::bundle::Bundle;
use super::limits::{ENDS_LOOKED_AT, REFUSALS_COMPARED_MAX};

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
    /// Adds one. A stamp says whether it still holds: those of the entry with another stamp go, and those that have ended, and
    /// those that say no more than this one. One that says no more than another is not added.
    pub(super) fn insert(
        &mut self,
        entry: u32,
        stamp: u32,
        refused: Bundle,
        (until, now): (u64, u64),
    ) {
        self.take_out(entry, |found| found.stamp != stamp || found.until <= now);
        let refusals = &self.refusals;
        let amount = |found: &Exclusion| refusals.get(found.refusal as usize);
        let is_said = self.of(entry).any(|found| {
            found.until >= until && amount(found).is_some_and(|(other, _)| other.contains(&refused))
        });
        if is_said {
            return;
        }
        let said = self.of(entry).filter(|found| {
            found.until <= until && amount(found).is_some_and(|(other, _)| refused.contains(other))
        });
        let said: Vec<u32> = said.map(|found| found.refusal).collect();
        self.take_out(entry, |found| {
            found.until <= until && said.contains(&found.refusal)
        });
        let refusal = self.remember(refused);
        let place = self.list.partition_point(|found| found.entry < entry);
        self.list.insert(
            place,
            Exclusion {
                entry,
                stamp,
                refusal,
                until,
            },
        );
    }

    /// Those of an entry that were made under this stamp and have ended by now go.
    pub(super) fn end(&mut self, entry: u32, stamp: u32, now: u64) {
        self.take_out(entry, |found| found.stamp == stamp && found.until <= now);
    }

    /// Those of an entry.
    fn of(&self, entry: u32) -> impl Iterator<Item = &Exclusion> {
        let from = self.list.partition_point(|found| found.entry < entry);
        self.list
            .iter()
            .skip(from)
            .take_while(move |found| found.entry == entry)
    }

    /// Takes out some of an entry.
    fn take_out(&mut self, entry: u32, is_out: impl Fn(&Exclusion) -> bool) {
        let from = self.list.partition_point(|found| found.entry < entry);
        let to = self.list.partition_point(|found| found.entry <= entry);
        let out = self.list.extract_if(from..to, |found| is_out(found));
        for out in out.collect::<Vec<_>>() {
            self.forget(out.refusal);
        }
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
        while self.refusals.pop_if(|(_, uses)| *uses == 0).is_some() {}
    }

    /// How many there are, ended or not, and of how many different amounts.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.list.len(), self.refusals.len())
    }

    /// Whether an entry refuses so much.
    pub(super) fn refuse(&self, entry: u32, stamp: u32, now: u64, offered: &Bundle) -> bool {
        let mut standing = self
            .of(entry)
            .filter(|found| found.stamp == stamp && now < found.until);
        standing.any(|found| {
            let refused = self.refusals.get(found.refusal as usize);
            refused.is_some_and(|(refused, _)| refused.contains(offered))
        })
    }

    /// Whether an entry refuses anything.
    pub(super) fn has(&self, entry: u32, stamp: u32, now: u64) -> bool {
        let mut all = self.of(entry);
        all.any(|found| found.stamp == stamp && now < found.until)
    }

    /// The entries that refused some and do not refuse so much: exclusions stand in their way no more. `stands` says of one
    /// whether it has not ended, by entry, stamp and end; those that have go when they are met.
    pub(super) fn outgrown_by(
        &mut self,
        free: &Bundle,
        stands: impl Fn(u32, u32, u64) -> bool,
    ) -> Vec<u32> {
        let is_less = |(refused, uses): &(Bundle, u32)| *uses > 0 && !refused.contains(free);
        if !self.refusals.iter().any(is_less) {
            return Vec::new();
        }
        let is_less: Vec<bool> = self.refusals.iter().map(is_less).collect();
        let is_less = |found: &Exclusion| is_less.get(found.refusal as usize) == Some(&true);
        let stands = |found: &Exclusion| stands(found.entry, found.stamp, found.until);
        let ended = self
            .list
            .extract_if(.., |found| is_less(found) && !stands(found));
        for ended in ended.collect::<Vec<_>>() {
            self.forget(ended.refusal);
        }
        let mut outgrown: Vec<u32> = self
            .list
            .iter()
            .filter(|found| is_less(found))
            .map(|found| found.entry)
            .collect();
        outgrown.dedup();
        outgrown.retain(|entry| {
            !self
                .of(*entry)
                .any(|found| !is_less(found) && stands(found))
        });
        outgrown
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
    list: BTreeSet<End>,
    /// The one that was looked at last, to take out those that have ended otherwise.
    looked_at: Option<End>,
}

impl Ends {
    /// Adds one, and looks at a few others, of which those that have ended otherwise are taken out.
    pub(super) fn insert(&mut self, end: End, stands: impl Fn(&End) -> bool) {
        self.list.insert(end);
        let after = self.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.list.range((after, Bound::Unbounded));
        let next: Vec<End> = next.take(ENDS_LOOKED_AT).copied().collect();
        // At the end of all, the next look begins anew.
        self.looked_at = next
            .last()
            .filter(|_| next.len() == ENDS_LOOKED_AT)
            .copied();
        for ended in next.iter().filter(|end| !stands(end)) {
            self.list.remove(ended);
        }
    }

    /// How many there are, ended or not.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The next one that has ended by now, when there is one.
    pub(super) fn pop_until(&mut self, now: u64) -> Option<End> {
        let is_due = self.is_due(now);
        is_due.then(|| self.list.pop_first()).flatten()
    }

    /// Whether one has ended by now that was not taken out yet.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.list.first().is_some_and(|end| end.until <= now)
    }

    /// When the next one that stands ends.
    pub(super) fn next(&mut self, stands: impl Fn(&End) -> bool) -> Option<u64> {
        while let Some(end) = self.list.first() {
            if stands(end) {
                return Some(end.until);
            }
            self.list.pop_first();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::amounts::Names;

    fn some(cpus: u64) -> Bundle {
        let resources = format!("cpus:{cpus}").parse().expect("resources");
        Bundle::of_known(&resources, &Names::new())
    }

    #[test]
    fn refusals_that_have_ended_or_say_no_more_than_others_are_forgotten() {
        let mut exclusions = Exclusions::default();
        let at_most = |found: (usize, usize), most| found.0 <= most && found.1 <= most;
        // Amounts that vary, each refused for five seconds, one a second.
        for second in 0..1_000 {
            let cpus = second * 7_919 % 1_009 + 1;
            exclusions.insert(1, 1, some(cpus), (second + 5, second));
            assert!(exclusions.refuse(1, 1, second, &some(cpus)));
            assert!(at_most(exclusions.len(), 5), "{:?}", exclusions.len());
        }
        exclusions.end(1, 1, 999);
        assert!(exclusions.refuse(1, 1, 1_000, &some(1)));
        exclusions.end(1, 1, 2_000);
        assert_eq!(exclusions.len(), (0, 0));
        // What says no more than another is not kept beside it, and less that is refused for longer is.
        for (cpus, until, kept) in [(4, 10, 1), (4, 9, 1), (3, 8, 1), (3, 20, 2), (5, 30, 1)] {
            exclusions.insert(1, 1, some(cpus), (until, 0));
            assert_eq!(exclusions.len(), (kept, kept), "{cpus} {until}");
        }
        // Another entry's is its own.
        exclusions.insert(2, 2, some(1), (9, 0));
        assert_eq!(exclusions.len(), (2, 2));
        let stands = |_, stamp, until| stamp != 2 && until > 1;
        assert_eq!(exclusions.outgrown_by(&some(6), stands), [1]);
        assert_eq!(exclusions.len(), (1, 1));
        assert!(exclusions.outgrown_by(&some(5), stands).is_empty());
    }

    #[test]
    fn ends_of_exclusions_that_have_ended_otherwise_are_taken_out_few_at_a_time() {
        let mut ends = Ends::default();
        let end = |until, stamp| End {
            until,
            agent: 1,
            entry: 1,
            stamp,
        };
        for stamp in 0..10_000 {
            let looked_at = std::cell::Cell::new(0);
            ends.insert(end(u64::from(20_000 - stamp), stamp), |end| {
                looked_at.set(looked_at.get() + 1);
                end.stamp + 100 > stamp
            });
            assert!(looked_at.get() <= ENDS_LOOKED_AT);
            assert!(ends.len() <= 500, "{} of 100", ends.len());
        }
        assert_eq!(ends.next(|end| end.stamp == 9_999), Some(10_001));
        assert!(ends.pop_until(10_000).is_none());
    }
}
