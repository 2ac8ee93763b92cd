//! A sorted vector of keys and amounts, none of which is nothing: the smallest thing that adds and subtracts quickly.
//!
//! Resources have a handful of items, mostly the same on both sides, so both are walked side by side.

use std::cmp::Ordering;

use super::amount::{Amount, Form};

/// Ordered by form, then key: scalars come before ranges, ranges before sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table<K>(Vec<(K, Amount)>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord + Clone> Table<K> {
    pub(super) fn iter(&self) -> std::slice::Iter<'_, (K, Amount)> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, form: Form, key: &K) -> Option<&Amount> {
        self.get_by(form, |mine| mine.cmp(key))
    }

    /// The amount of the key that `order` says is the one.
    pub(super) fn get_by(&self, form: Form, order: impl Fn(&K) -> Ordering) -> Option<&Amount> {
        let at = self.position(form, order).ok()?;
        self.0.get(at).map(|(_, amount)| amount)
    }

    /// Adds one amount, which may be nothing.
    pub(super) fn add_one(&mut self, key: K, amount: Amount) {
        if amount.is_empty() {
            return;
        }
        match self.position(amount.form(), |mine| mine.cmp(&key)) {
            Ok(at) => {
                if let Some((_, mine)) = self.0.get_mut(at) {
                    mine.add(&amount);
                }
            }
            Err(at) => self.0.insert(at, (key, amount)),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut at = 0;
        for theirs in &other.0 {
            let (place, is_same) = self.seek(at, theirs);
            match self.0.get_mut(place) {
                Some(mine) if is_same => mine.1.add(&theirs.1),
                _ => self.0.insert(place, theirs.clone()),
            }
            at = place + 1;
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        let mut at = 0;
        let mut has_empty = false;
        for theirs in &other.0 {
            let (place, is_same) = self.seek(at, theirs);
            at = place;
            if let Some(mine) = self.0.get_mut(place).filter(|_| is_same) {
                mine.1.subtract(&theirs.1);
                has_empty |= mine.1.is_empty();
                at += 1;
            }
        }
        if has_empty {
            self.0.retain(|(_, amount)| !amount.is_empty());
        }
    }

    /// The first of `other` that is not all here.
    pub(super) fn first_missing<'a>(&self, other: &'a Self) -> Option<&'a (K, Amount)> {
        let mut at = 0;
        other.0.iter().find(|theirs| {
            let (place, is_same) = self.seek(at, theirs);
            at = place;
            let mine = self.0.get(place).filter(|_| is_same);
            !mine.is_some_and(|mine| mine.1.contains(&theirs.1))
        })
    }

    /// Whether no number and no item is in both.
    pub(super) fn is_apart_from(&self, other: &Self) -> bool {
        other.0.iter().all(|(key, theirs)| match theirs {
            Amount::Scalar(_) | Amount::Whole(_) => true,
            Amount::Ranges(_) | Amount::Set(_) => {
                let mine = self.get(theirs.form(), key);
                mine.is_none_or(|mine| !mine.overlaps(theirs))
            }
        })
    }

    pub(super) fn filtered(&self, keep: impl Fn(&K, &Amount) -> bool) -> Self {
        let kept = self.0.iter().filter(|(key, amount)| keep(key, amount));
        Self(kept.cloned().collect())
    }

    fn position(&self, form: Form, order: impl Fn(&K) -> Ordering) -> Result<usize, usize> {
        self.0.binary_search_by(|(mine, amount)| {
            let by_form = amount.form().cmp(&form);
            by_form.then_with(|| order(mine))
        })
    }

    /// The first place from `at` on whose item is not less, and whether it is the same kind.
    fn seek(&self, mut at: usize, theirs: &(K, Amount)) -> (usize, bool) {
        loop {
            match self.0.get(at).map(|mine| order(mine, theirs)) {
                Some(Ordering::Less) => at += 1,
                found => return (at, found == Some(Ordering::Equal)),
            }
        }
    }
}

fn order<K: Ord>(a: &(K, Amount), b: &(K, Amount)) -> Ordering {
    let by_form = a.1.form().cmp(&b.1.form());
    by_form.then_with(|| a.0.cmp(&b.0))
}
