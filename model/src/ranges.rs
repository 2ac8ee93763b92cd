//! Sets of unsigned numbers as closed ranges, always in canonical form: sorted, disjoint, not adjacent.
//!
//! As in Mesos (`src/common/values.cpp`), ranges coalesce on overlap and on adjacency, and order does not matter.

use std::fmt;

use crate::code;
use crate::limits::RANGES_MAX;
use crate::problem::Problem;

/// A closed range, `begin <= end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The first number.
    pub begin: u64,
    /// The last number.
    pub end: u64,
}

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RangeSet(Vec<Range>);

impl RangeSet {
    /// From ranges given by someone: reversed or overlapping ones are an error, because they are a slip of the pen.
    pub fn from_given(mut ranges: Vec<Range>) -> Result<Self, Problem> {
        if ranges.len() > RANGES_MAX {
            let message = format!(
                "{} ranges are given; the limit is {RANGES_MAX}",
                ranges.len()
            );
            return Err(Problem::new(code::FIELD_TOO_LONG, message));
        }
        if let Some(reversed) = ranges.iter().find(|r| r.begin > r.end) {
            let message = format!("the range {}-{} is reversed", reversed.begin, reversed.end);
            return Err(
                Problem::new(code::RANGES_INVALID, message).hint("write the smaller number first")
            );
        }
        ranges.sort_unstable();
        if let Some([a, b]) = ranges.array_windows().find(|[a, b]| b.begin <= a.end) {
            let message = format!(
                "the ranges {}-{} and {}-{} overlap",
                a.begin, a.end, b.begin, b.end
            );
            return Err(Problem::new(code::RANGES_INVALID, message).hint("give each number once"));
        }
        Ok(Self::coalesced(ranges))
    }

    /// From single numbers, in any order, repeated or not.
    pub fn from_numbers(numbers: impl IntoIterator<Item = u64>) -> Self {
        Self::coalesced(
            numbers
                .into_iter()
                .map(|n| Range { begin: n, end: n })
                .collect(),
        )
    }

    /// Sorts and joins what overlaps or touches.
    fn coalesced(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        let mut out: Vec<Range> = Vec::with_capacity(ranges.len());
        ranges.into_iter().for_each(|range| join(&mut out, range));
        Self(out)
    }

    /// The ranges, sorted.
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// Whether there is no number.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers; saturates for the full range of u64.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, r| {
            sum.saturating_add((r.end - r.begin).saturating_add(1))
        })
    }

    /// The numbers, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|r| r.begin..=r.end)
    }

    /// Whether every number of `other` is here.
    pub fn contains(&self, other: &Self) -> bool {
        // Ranges that touch are one, so each of the other's is within one of these.
        other.0.iter().all(|theirs| {
            let mine = self.at(theirs.begin);
            mine.is_some_and(|mine| mine.begin <= theirs.begin && theirs.end <= mine.end)
        })
    }

    /// Whether the number is here.
    pub fn has(&self, number: u64) -> bool {
        self.at(number).is_some_and(|range| range.begin <= number)
    }

    /// The first range that does not end before the number.
    fn at(&self, number: u64) -> Option<&Range> {
        self.0
            .get(self.0.partition_point(|range| range.end < number))
    }

    /// The union.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut out = Vec::with_capacity(self.0.len().saturating_add(other.0.len()));
        while let Some(range) = match (mine.peek(), theirs.peek()) {
            (Some(a), Some(b)) if b < a => theirs.next(),
            (Some(_), _) => mine.next(),
            (None, _) => theirs.next(),
        } {
            join(&mut out, *range);
        }
        Self(out)
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut out = Vec::with_capacity(self.0.len().saturating_add(other.0.len().min(1)));
        let mut cuts = other.0.as_slice();
        for range in &self.0 {
            let mut begin = Some(range.begin);
            // Both are sorted: what ends before this range ends before those after it.
            let passed = cuts.iter().take_while(|cut| cut.end < range.begin).count();
            cuts = cuts.get(passed..).unwrap_or_default();
            for cut in cuts.iter().take_while(|cut| cut.begin <= range.end) {
                let Some(from) = begin else { break };
                if cut.begin > from {
                    out.push(Range {
                        begin: from,
                        end: cut.begin - 1,
                    });
                }
                begin = cut.end.checked_add(1).filter(|next| *next <= range.end);
            }
            if let Some(from) = begin {
                out.push(Range {
                    begin: from,
                    end: range.end,
                });
            }
        }
        Self(out)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// The `count` smallest numbers, or all there are.
    #[must_use]
    pub fn first(&self, count: u64) -> Self {
        let mut left = count;
        let mut out = Vec::new();
        for range in &self.0 {
            if left == 0 {
                break;
            }
            let take = (range.end - range.begin).min(left - 1);
            out.push(Range {
                begin: range.begin,
                end: range.begin + take,
            });
            left -= take + 1;
        }
        Self(out)
    }
}

/// Appends a range that begins no earlier than the last one, and is joined to it if they overlap or touch.
fn join(out: &mut Vec<Range>, range: Range) {
    match out.last_mut() {
        Some(last) if range.begin <= last.end.saturating_add(1) => {
            last.end = last.end.max(range.end);
        }
        _ => out.push(range),
    }
}

impl fmt::Display for RangeSet {
    /// `[31000-31005, 31010-31010]`, Mesos's text form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{}-{}", range.begin, range.end)?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(numbers: &BTreeSet<u64>) -> RangeSet {
        RangeSet::from_numbers(numbers.iter().copied())
    }

    #[test]
    fn given_ranges_must_be_ascending_and_disjoint() {
        let range = |begin, end| Range { begin, end };
        assert!(RangeSet::from_given(vec![range(5, 1)]).is_err());
        assert!(RangeSet::from_given(vec![range(1, 5), range(5, 9)]).is_err());
        let touching =
            RangeSet::from_given(vec![range(6, 9), range(1, 5)]).expect("adjacent is fine");
        assert_eq!(touching.to_string(), "[1-9]");
    }

    #[test]
    fn the_ends_of_u64_do_not_overflow() {
        let all = RangeSet::from_given(vec![Range {
            begin: 0,
            end: u64::MAX,
        }])
        .expect("one range");
        assert_eq!(all.count(), u64::MAX);
        let top = RangeSet::from_numbers([u64::MAX]);
        assert_eq!(all.minus(&top).to_string(), format!("[0-{}]", u64::MAX - 1));
        assert_eq!(top.plus(&all), all);
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(a in prop::collection::btree_set(0u64..60, 0..30), b in prop::collection::btree_set(0u64..60, 0..30), n in 0u64..40) {
            let (x, y) = (set(&a), set(&b));
            prop_assert_eq!(x.plus(&y), set(&(&a | &b)));
            prop_assert_eq!(x.minus(&y), set(&(&a - &b)));
            prop_assert_eq!(x.intersection(&y), set(&(&a & &b)));
            prop_assert_eq!(x.contains(&y), a.is_superset(&b));
            prop_assert_eq!(x.count(), a.len() as u64);
            let first: BTreeSet<u64> = a.iter().copied().take(usize::try_from(n).unwrap()).collect();
            prop_assert_eq!(x.first(n), set(&first));
        }
    }
}
