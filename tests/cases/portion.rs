//! Portions of resources as the plain model takes them: at most so much of each name, in an order that is chance.

use super::amounts::{Amounts, Kind, Sums};

/// Gives a number below the one that it is asked with.
pub(super) type Chance<'a> = &'a mut dyn FnMut(usize) -> usize;

pub(super) fn shuffle<T>(items: &mut [T], chance: Chance<'_>) {
    for last in (1..items.len()).rev() {
        items.swap(last, chance(last + 1));
    }
}

/// At most so much of each name; what cannot be split is left out when it is too large. Which one of several of a name is
/// taken first is chance.
pub(super) fn shrink(amounts: &Amounts, most: impl Fn(&str) -> u64, chance: Chance<'_>) -> Amounts {
    let mut pieces: Vec<(Kind, u64)> = Vec::new();
    pieces.extend(
        amounts
            .scalars
            .iter()
            .map(|(kind, milli)| (kind.clone(), *milli)),
    );
    for (kind, sizes) in &amounts.wholes {
        pieces.extend(sizes.iter().map(|milli| (kind.clone(), *milli)));
    }
    let is_alone = |name: &str| pieces.iter().filter(|(kind, _)| kind.name == name).count() == 1;
    let (alone, mut several): (Vec<_>, Vec<_>) = pieces
        .iter()
        .cloned()
        .partition(|(kind, _)| is_alone(&kind.name));
    shuffle(&mut several, chance);
    let mut left = Sums::new();
    let mut result = Amounts::default();
    for (kind, milli) in alone.into_iter().chain(several) {
        let left = left
            .entry(kind.name.clone())
            .or_insert_with(|| most(&kind.name));
        let part = if kind.is_whole() && milli > *left {
            0
        } else {
            milli.min(*left)
        };
        *left -= part;
        if part > 0 {
            result.put(kind, part);
        }
    }
    result
}

pub(super) fn within(
    amounts: &Amounts,
    limits: &Sums,
    consumed: &Sums,
    chance: Chance<'_>,
) -> Amounts {
    let left = |name: &str| {
        let limit = limits.get(name).copied();
        limit.map_or(u64::MAX, |limit| {
            limit.saturating_sub(consumed.get(name).copied().unwrap_or(0))
        })
    };
    shrink(amounts, left, chance)
}

/// Whether it counts against quota when it is allocated.
pub(super) fn is_counted(kind: &Kind) -> bool {
    !kind.is_reserved() && !kind.is_revocable
}

pub(super) fn add(to: &mut Sums, sums: &Sums) {
    for (name, milli) in sums {
        *to.entry(name.clone()).or_default() += milli;
    }
}

pub(super) fn less(of: &Sums, sums: &Sums) -> Sums {
    let rest = of.iter().map(|(name, milli)| {
        let taken = sums.get(name).copied().unwrap_or(0);
        (name.clone(), milli.saturating_sub(taken))
    });
    rest.filter(|(_, milli)| *milli > 0).collect()
}
