//! Sets of small numbers, a bit each.

/// A set of small numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

fn place(number: u32) -> (usize, u64) {
    ((number >> 6) as usize, 1 << (number & 63))
}

impl Bits {
    pub(super) fn has(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.0.get(word).is_some_and(|found| found & bit != 0)
    }

    pub(super) fn set(&mut self, number: u32) {
        let (word, bit) = place(number);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    pub(super) fn unset(&mut self, number: u32) {
        let (word, bit) = place(number);
        if let Some(found) = self.0.get_mut(word) {
            *found &= !bit;
        }
    }

    /// Nothing is in it any more.
    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    /// Whether nothing is in it that is not in `other` too.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        let others = other.0.iter().chain(std::iter::repeat(&0));
        self.0
            .iter()
            .zip(others)
            .all(|(mine, theirs)| mine & !theirs == 0)
    }

    /// Takes out what is not in `kept` and appends it to `out`.
    pub(super) fn take_without(&mut self, kept: &Self, out: &mut Vec<u32>) {
        let keep = kept.0.iter().copied().chain(std::iter::repeat(0));
        for (index, (word, keep)) in (0u32..).zip(self.0.iter_mut().zip(keep)) {
            let mut taken = *word & !keep;
            *word &= keep;
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
