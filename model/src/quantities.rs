//! Amounts without identity: how much of each scalar, wherever it comes from. Quantities add up; limits bound them.
//!
//! What is absent is nothing in quantities and no bound in limits: two types, because to mix them up lifts a limit or sets
//! one of nothing (Mesos: `ResourceQuantities`, `ResourceLimits`).

use std::collections::BTreeMap;

use crate::id::ResourceName;

/// How much of each scalar, in thousandths. Absent is nothing; nothing is never kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantities(BTreeMap<ResourceName, u64>);

impl Quantities {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The amount of one scalar in thousandths.
    pub fn get(&self, name: &ResourceName) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Sets the amount of one scalar in thousandths.
    pub fn set(&mut self, name: ResourceName, milli: u64) {
        if milli > 0 {
            self.0.insert(name, milli);
        } else {
            self.0.remove(&name);
        }
    }

    /// All that is not nothing, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, u64)> {
        self.0.iter().map(|(name, milli)| (name, *milli))
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is at least as much of everything as in `other`.
    pub fn contains(&self, other: &Self) -> bool {
        other.iter().all(|(name, milli)| self.get(name) >= milli)
    }

    /// Adds in place; sums stay at the largest number when they would pass it.
    pub fn add(&mut self, other: &Self) {
        for (name, milli) in other.iter() {
            self.set(name.clone(), self.get(name).saturating_add(milli));
        }
    }

    /// Subtracts in place, down to nothing.
    pub fn subtract(&mut self, other: &Self) {
        for (name, milli) in other.iter() {
            self.set(name.clone(), self.get(name).saturating_sub(milli));
        }
    }
}

impl FromIterator<(ResourceName, u64)> for Quantities {
    /// The same name twice is summed.
    fn from_iter<T: IntoIterator<Item = (ResourceName, u64)>>(amounts: T) -> Self {
        let mut sum = Self::new();
        for (name, milli) in amounts {
            let milli = sum.get(&name).saturating_add(milli);
            sum.set(name, milli);
        }
        sum
    }
}

/// The most of each scalar, in thousandths. Absent is without a bound; 0 is a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limits(BTreeMap<ResourceName, u64>);

impl Limits {
    /// No bound at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bound of one scalar in thousandths, when there is one.
    pub fn get(&self, name: &ResourceName) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// Bounds one scalar, in thousandths.
    pub fn set(&mut self, name: ResourceName, milli: u64) {
        self.0.insert(name, milli);
    }

    /// All bounds, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, u64)> {
        self.0.iter().map(|(name, milli)| (name, *milli))
    }

    /// Whether nothing is bounded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether so much is within all bounds.
    pub fn allow(&self, quantities: &Quantities) -> bool {
        self.iter().all(|(name, most)| quantities.get(name) <= most)
    }

    /// What is left of the bounds when so much is taken: never less than nothing, and no bound goes away.
    pub fn subtract(&mut self, quantities: &Quantities) {
        for (name, most) in &mut self.0 {
            *most = most.saturating_sub(quantities.get(name));
        }
    }
}
