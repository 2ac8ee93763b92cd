//! Who is the first of many, kept as keys change: a tournament. One change costs the way to the top, and often less.

/// What is compared: a share, then a count; smaller is first. Of equal keys the one with the smaller place is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u128);

impl Key {
    /// Takes no part.
    pub(super) const ABSENT: Self = Self(u128::MAX);

    pub(super) fn new(share: u64, count: u64) -> Self {
        // A count of 2^64 - 1 is out of reach, so this is never ABSENT.
        Self((u128::from(share) << 64) | u128::from(count.min(u64::MAX - 1)))
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
    /// Begins anew with these.
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

    /// Of two that play against each other. Which one it is cannot be foretold, so it is computed and not branched upon.
    fn winner(&self, left: usize) -> Slot {
        let is_right = self.slots[left + 1].key < self.slots[left].key;
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
        fn the_first_is_the_least_with_the_smallest_place(
            size in 1usize..40,
            changes in prop::collection::vec((0u32..40, 0u64..6, 0u64..3), 0..80),
        ) {
            let mut keys = vec![Key::ABSENT; size];
            let mut tournament = Tournament::default();
            tournament.rebuild(&keys);
            for (place, share, count) in changes {
                let place = place % u32::try_from(size).unwrap();
                let key = if share == 5 { Key::ABSENT } else { Key::new(share, count) };
                tournament.set(place, key);
                if let Some(found) = keys.get_mut(place as usize) {
                    *found = key;
                }
                let expected = (0u32..).zip(&keys).filter(|(_, key)| **key != Key::ABSENT);
                prop_assert_eq!(tournament.first(), expected.min_by_key(|(place, key)| (**key, *place)).map(|(place, _)| place));
            }
        }
    }
}
