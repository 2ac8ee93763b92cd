//! Sets of small numbers, a bit each.

/// A set of small numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    /// Each agent has one of these among what every grant looks at, so it is small.
    words: Box<[u64]>,
    /// How many there are.
    len: u32,
}

fn place(number: u32) -> (usize, u64) {
    ((number >> 6) as usize, 1 << (number & 63))
}

impl Bits {
    pub(super) fn has(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.words.get(word).is_some_and(|found| found & bit != 0)
    }

    pub(super) fn set(&mut self, number: u32) {
        let (word, bit) = place(number);
        if self.words.len() <= word {
            let mut words = std::mem::take(&mut self.words).into_vec();
            words.resize(word + 1, 0);
            self.words = words.into();
        }
        self.len += u32::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
    }

    pub(super) fn unset(&mut self, number: u32) {
        let (word, bit) = place(number);
        if let Some(found) = self.words.get_mut(word) {
            self.len -= u32::from(*found & bit != 0);
            *found &= !bit;
        }
    }

    /// Nothing is in it any more.
    pub(super) fn clear(&mut self) {
        self.words.fill(0);
        self.len = 0;
    }

    /// All words, by their places: 64 numbers each.
    pub(super) fn words(&self) -> impl Iterator<Item = (u32, u64)> {
        (0u32..).zip(self.words.iter().copied())
    }

    pub(super) fn word(&self, index: u32) -> u64 {
        self.words.get(index as usize).copied().unwrap_or(0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether nothing is in it that is not in `other` too.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        if self.len > other.len {
            return false;
        }
        let others = other.words.iter().chain(std::iter::repeat(&0));
        let mut pairs = self.words.iter().zip(others);
        pairs.all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// Takes out what is not in `kept` and appends it to `out`.
    pub(super) fn take_without(&mut self, kept: &Self, out: &mut Vec<u32>) {
        for (index, word) in (0u32..).zip(self.words.iter_mut()) {
            if *word == 0 {
                continue;
            }
            let keep = kept.words.get(index as usize).copied().unwrap_or(0);
            let mut taken = *word & !keep;
            *word &= keep;
            self.len -= taken.count_ones();
            while taken != 0 {
                out.push(index * 64 + taken.trailing_zeros());
                taken &= taken - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_different_length_compare() {
        let (mut a, mut b) = (Bits::default(), Bits::default());
        a.set(3);
        a.set(700);
        b.set(3);
        assert!(b.is_within(&a) && !a.is_within(&b));
        let mut out = Vec::new();
        a.take_without(&b, &mut out);
        assert_eq!(out, [700]);
        assert!(a.has(3) && !a.has(700));
        a.unset(3);
        a.unset(9_999);
        assert!(a.is_within(&Bits::default()));
    }
}
