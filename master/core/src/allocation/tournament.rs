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
    keys: Vec<Key>,
    /// Winners of the matches: of 1 that of all; of n those of 2n and 2n + 1. As many as keys; 0 is not used.
    winners: Vec<u32>,
}

impl Tournament {
    /// Begins anew with these.
    pub(super) fn rebuild(&mut self, keys: impl Iterator<Item = Key>) {
        self.keys.clear();
        self.keys.extend(keys);
        let size = self.keys.len().next_power_of_two().max(2);
        self.keys.resize(size, Key::ABSENT);
        self.winners.clear();
        self.winners.resize(size, 0);
        for slot in (1..size).rev() {
            self.winners[slot] = self.play(slot);
        }
    }

    fn entrant(&self, slot: usize) -> u32 {
        let size = self.keys.len();
        if slot < size {
            self.winners[slot]
        } else {
            u32::try_from(slot - size).unwrap_or(u32::MAX)
        }
    }

    fn play(&self, slot: usize) -> u32 {
        let (left, right) = (self.entrant(2 * slot), self.entrant(2 * slot + 1));
        if self.keys[right as usize] < self.keys[left as usize] {
            right
        } else {
            left
        }
    }

    pub(super) fn get(&self, place: u32) -> Key {
        self.keys
            .get(place as usize)
            .copied()
            .unwrap_or(Key::ABSENT)
    }

    /// Changes one key.
    pub(super) fn set(&mut self, place: u32, key: Key) {
        let Some(found) = self.keys.get_mut(place as usize) else {
            return;
        };
        if *found == key {
            return;
        }
        *found = key;
        let mut slot = (self.keys.len() + place as usize) / 2;
        while slot > 0 {
            let (before, after) = (self.winners[slot], self.play(slot));
            if before == after && after != place {
                return;
            }
            self.winners[slot] = after;
            slot /= 2;
        }
    }

    /// The place of the first, when any takes part.
    pub(super) fn first(&self) -> Option<u32> {
        let first = *self.winners.get(1)?;
        (self.get(first) != Key::ABSENT).then_some(first)
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
            tournament.rebuild(keys.iter().copied());
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
