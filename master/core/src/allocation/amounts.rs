//! How much of each scalar, by the number of its name: the vectors that everything here is counted in. Thousandths.
//!
//! The first six names have their place in the vector itself (64 bytes, one line of the processor's cache); a cluster with
//! more has the others in a tail.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proffer_model::{Limits, Quantities, ResourceName};

const HEAD: usize = 6;

/// How much of each scalar. A tail may end in zeros.
#[derive(Debug, Default)]
pub(super) struct Amounts {
    head: [u64; HEAD],
    tail: Box<[u64]>,
}

impl Clone for Amounts {
    fn clone(&self) -> Self {
        let tail = if self.tail.is_empty() {
            Box::default()
        } else {
            self.tail.clone()
        };
        Self {
            head: self.head,
            tail,
        }
    }
}

impl PartialEq for Amounts {
    fn eq(&self, other: &Self) -> bool {
        self.contains(other) && other.contains(self)
    }
}

impl Eq for Amounts {}

impl Ord for Amounts {
    fn cmp(&self, other: &Self) -> Ordering {
        let tail = |of: &Self| of.tail.iter().rposition(|milli| *milli > 0);
        let tails = || {
            tail(self)
                .map(|end| &self.tail[..=end])
                .cmp(&tail(other).map(|end| &other.tail[..=end]))
        };
        self.head.cmp(&other.head).then_with(tails)
    }
}

impl PartialOrd for Amounts {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Amounts {
    /// No bound on anything that has a number now.
    pub(super) fn unbounded(names: usize) -> Self {
        let tail = vec![u64::MAX; names.saturating_sub(HEAD)];
        Self {
            head: [u64::MAX; HEAD],
            tail: tail.into(),
        }
    }

    pub(super) fn get(&self, name: usize) -> u64 {
        let found = if name < HEAD {
            self.head.get(name)
        } else {
            self.tail.get(name - HEAD)
        };
        found.copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, name: usize, milli: u64) {
        if name < HEAD {
            self.head[name] = milli;
        } else if milli > 0 || name - HEAD < self.tail.len() {
            self.reach(name + 1 - HEAD);
            self.tail[name - HEAD] = milli;
        }
    }

    /// A bit for each name that there is something of; the last one stands for all with larger numbers.
    pub(super) fn names(&self) -> u64 {
        let there = self.iter().filter(|(_, milli)| *milli > 0);
        there.fold(0, |names, (name, _)| names | 1 << name.min(63))
    }

    fn reach(&mut self, len: usize) {
        if self.tail.len() < len {
            let mut tail = std::mem::take(&mut self.tail).into_vec();
            tail.resize(len, 0);
            self.tail = tail.into();
        }
    }

    fn change(&mut self, other: &Self, change: impl Fn(u64, u64) -> u64) {
        for (mine, theirs) in self.head.iter_mut().zip(other.head) {
            *mine = change(*mine, theirs);
        }
        if !self.tail.is_empty() || !other.tail.is_empty() {
            self.reach(other.tail.len());
            let theirs = other.tail.iter().chain(std::iter::repeat(&0));
            for (mine, theirs) in self.tail.iter_mut().zip(theirs) {
                *mine = change(*mine, *theirs);
            }
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.change(other, u64::saturating_add);
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        self.change(other, u64::saturating_sub);
    }

    pub(super) fn shrink_to(&mut self, other: &Self) {
        self.change(other, u64::min);
    }

    pub(super) fn grow_to(&mut self, other: &Self) {
        self.change(other, u64::max);
    }

    #[must_use]
    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }

    #[must_use]
    pub(super) fn minus(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    /// Less by what others are to have, but not beneath what is owed; what has no bound has none still.
    pub(super) fn keep_back(&mut self, others: &Self, owed: &Self) {
        for (name, amount) in others.iter().filter(|(_, amount)| *amount > 0) {
            let room = self.get(name);
            if room != u64::MAX {
                let least = room.min(owed.get(name));
                self.set(name, room.saturating_sub(amount).max(least));
            }
        }
    }

    /// So many times this.
    #[must_use]
    pub(super) fn times(&self, count: u64) -> Self {
        let mut product = self.clone();
        product.head = product.head.map(|milli| milli.saturating_mul(count));
        for milli in &mut product.tail {
            *milli = milli.saturating_mul(count);
        }
        product
    }

    /// Whether there is at least as much of everything.
    pub(super) fn contains(&self, other: &Self) -> bool {
        let in_head = self
            .head
            .iter()
            .zip(&other.head)
            .all(|(mine, theirs)| mine >= theirs);
        in_head && (other.tail.is_empty() || self.contains_tail(other))
    }

    fn contains_tail(&self, other: &Self) -> bool {
        let mine = self.tail.iter().chain(std::iter::repeat(&0));
        other
            .tail
            .iter()
            .zip(mine)
            .all(|(theirs, mine)| mine >= theirs)
    }

    pub(super) fn is_zero(&self) -> bool {
        self.head == [0; HEAD] && self.tail.iter().all(|milli| *milli == 0)
    }

    /// The amounts, by the number of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.head
            .iter()
            .chain(self.tail.iter())
            .copied()
            .enumerate()
    }

    /// How many times `shape` is in here; of an empty shape without end.
    pub(super) fn times_of(&self, shape: &Self) -> u64 {
        let parts = shape.iter().filter(|(_, milli)| *milli > 0);
        parts
            .map(|(name, milli)| self.get(name) / milli)
            .min()
            .unwrap_or(u64::MAX)
    }
}

/// The numbers of scalars' names. A name keeps its number.
#[derive(Debug)]
pub(super) struct Names {
    numbers: BTreeMap<ResourceName, usize>,
    names: Vec<ResourceName>,
}

/// The numbers of the names that the index of free agents is made by.
pub(super) const CPUS: usize = 0;
pub(super) const MEM: usize = 1;

impl Names {
    pub(super) fn new() -> Self {
        let mut names = Self {
            numbers: BTreeMap::new(),
            names: Vec::new(),
        };
        for usual in ["cpus", "mem", "disk", "gpus"] {
            if let Ok(name) = ResourceName::new(usual) {
                names.number(&name);
            }
        }
        names
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The number of a name, new when it is.
    pub(super) fn number(&mut self, name: &ResourceName) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len();
        self.numbers.insert(name.clone(), number);
        self.names.push(name.clone());
        number
    }

    /// The number of a name that is known.
    pub(super) fn find(&self, name: &ResourceName) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    pub(super) fn name(&self, number: usize) -> Option<&ResourceName> {
        self.names.get(number)
    }

    pub(super) fn amounts_of(&mut self, quantities: &Quantities) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, milli) in quantities.iter() {
            amounts.set(self.number(name), milli);
        }
        amounts
    }

    /// Without a bound where there is none.
    pub(super) fn bounds_of(&mut self, limits: &Limits) -> Amounts {
        let numbers: Vec<_> = limits
            .iter()
            .map(|(name, most)| (self.number(name), most))
            .collect();
        let mut bounds = Amounts::unbounded(self.len());
        for (number, most) in numbers {
            bounds.set(number, most);
        }
        bounds
    }

    pub(super) fn quantities_of(&self, amounts: &Amounts) -> Quantities {
        let named = amounts
            .iter()
            .filter_map(|(number, milli)| Some((self.name(number)?.clone(), milli)));
        named.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(list: &[u64]) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, milli) in list.iter().enumerate() {
            amounts.set(name, *milli);
        }
        amounts
    }

    #[test]
    fn a_tail_adds_and_compares_like_the_head() {
        let long = of(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let short = of(&[1, 2]);
        assert_eq!(long.plus(&short).get(7), 8);
        assert_eq!(short.plus(&long), long.plus(&short));
        assert!(long.contains(&short) && !short.contains(&long));
        assert_eq!(long.minus(&long), Amounts::default());
        assert!(long > short && long.minus(&long).cmp(&Amounts::default()).is_eq());
        assert_eq!(long.times(2).times_of(&long), 2);
        let mut least = short.clone();
        least.shrink_to(&long);
        assert_eq!(least, short);
        least.grow_to(&long);
        assert_eq!(least, long);
    }
}
