//! Who is the first of many, kept as keys change: a tournament. One change costs the way to the top, and often less.

/// What is compared: a share, then a count, then the rank among all; smaller is first. No two that take part have the same
/// rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    share: u64,
    count: u64,
    rank: u64,
}

impl Key {
    /// Takes no part.
    pub(super) const ABSENT: Self = Self {
        share: u64::MAX,
        count: u64::MAX,
        rank: u64::MAX,
    };

    pub(super) fn new(share: u64, count: u64, rank: u64) -> Self {
        // A count of 2^64 - 1 is out of reach, so this is never ABSENT.
        Self {
            share,
            count: count.min(u64::MAX - 1),
            rank,
        }
    }

    /// One long subtraction, of which only the borrow is wanted: which of two is first cannot be foretold, and branches on it
    /// would be mispredicted half of the time.
    fn is_before(&self, other: &Self) -> bool {
        let high = |key: &Self| (u128::from(key.share) << 64) | u128::from(key.count);
        let (_, borrow) = self.rank.overflowing_sub(other.rank);
        let (rest, is_less) = high(self).overflowing_sub(high(other));
        let (_, is_less_by_rank) = rest.overflowing_sub(u128::from(borrow));
        is_less | is_less_by_rank
    }
}

/// Keys by place, and the first of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tournament {
    /// Who won each match: of 1 that of all; of n those of 2n and 2n + 1; the second half are the entrants. 0 is not used.
    slots: Vec<Slot>,
}

/// Two that play against each other lie in one line of the processor's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    key: Key,
    place: u32,
}

impl Tournament {
    /// Begins anew with these, and room for as many as fill up a power of two.
    pub(super) fn rebuild(&mut self, keys: &[Key]) {
        let size = keys.len().next_power_of_two().max(2);
        let absent = std::iter::repeat(Key::ABSENT);
        let entrants = (0..).zip(keys.iter().copied().chain(absent)).take(size);
        self.slots.clear();
        self.slots.resize(
            size,
            Slot {
                key: Key::ABSENT,
                place: 0,
            },
        );
        self.slots
            .extend(entrants.map(|(place, key)| Slot { key, place }));
        for slot in (1..size).rev() {
            self.slots[slot] = self.winner(2 * slot);
        }
    }

    /// How many may take part.
    pub(super) fn size(&self) -> usize {
        self.slots.len() / 2
    }

    /// Of two that play against each other. Which one it is cannot be foretold, so it is computed and not branched upon.
    fn winner(&self, left: usize) -> Slot {
        let is_right = self.slots[left + 1].key.is_before(&self.slots[left].key);
        self.slots[left + usize::from(is_right)]
    }

    /// Changes one key.
    pub(super) fn set(&mut self, place: u32, key: Key) {
        let mut slot = self.slots.len() / 2 + place as usize;
        let Some(found) = self.slots.get_mut(slot).filter(|found| found.key != key) else {
            return;
        };
        found.key = key;
        while slot > 1 {
            let winner = self.winner(slot & !1);
            slot /= 2;
            if self.slots[slot] == winner {
                return;
            }
            self.slots[slot] = winner;
        }
    }

    /// The place of the first, when any takes part.
    pub(super) fn first(&self) -> Option<u32> {
        let first = self.slots.get(1)?;
        (first.key != Key::ABSENT).then_some(first.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_is_the_least_with_the_smallest_rank(
            size in 1usize..40,
            changes in prop::collection::vec((0u32..40, 0u64..6, 0u64..3), 0..80),
            turned in any::<bool>(),
        ) {
            let rank = |place: u32| if turned { 1_000 - u64::from(place) } else { u64::from(place) };
            let mut keys = vec![(Key::ABSENT, (u64::MAX, 0, 0)); size];
            let mut tournament = Tournament::default();
            tournament.rebuild(&vec![Key::ABSENT; size]);
            for (place, share, count) in changes {
                let place = place % u32::try_from(size).unwrap();
                let key = match share {
                    5 => Key::ABSENT,
                    _ => Key::new(share, count, rank(place)),
                };
                tournament.set(place, key);
                if let Some(found) = keys.get_mut(place as usize) {
                    *found = (key, (share, count, rank(place)));
                }
                let expected = (0u32..).zip(&keys).filter(|(_, (key, _))| *key != Key::ABSENT);
                prop_assert_eq!(tournament.first(), expected.min_by_key(|(_, (_, said))| *said).map(|(place, _)| place));
            }
        }
    }

    #[test]
    fn keys_are_compared_part_by_part() {
        let parts = [0, 1, u64::MAX - 1];
        let mut all = Vec::new();
        for share in parts {
            for count in parts {
                all.extend(parts.map(|rank| (share, count, rank)));
            }
        }
        for one in &all {
            for other in &all {
                let [a, b] =
                    [one, other].map(|(share, count, rank)| Key::new(*share, *count, *rank));
                assert_eq!(a.is_before(&b), one < other, "{one:?} {other:?}");
            }
            let key = Key::new(one.0, one.1, one.2);
            assert!(key.is_before(&Key::ABSENT) && !Key::ABSENT.is_before(&key));
        }
    }
}
