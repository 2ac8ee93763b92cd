//! Resources and their arithmetic: scalars in whole thousandths, ranges of numbers.
//!
//! Never floats: Mesos crashed on tiny and on huge amounts (MESOS-7197, MESOS-10008). Amounts are bounded by
//! [`SCALAR_MILLI_MAX`], so that sums over a cluster cannot overflow. Zero and empty are the same as absent.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::code;
use crate::id::ResourceName;
use crate::limits::{RESOURCE_NAMES_MAX, SCALAR_MILLI_MAX};
use crate::problem::Problem;
use crate::quantities::Quantities;
use crate::ranges::{Range, RangeSet};

/// An amount of everything: what an agent has, an offer holds, a task needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    scalars: BTreeMap<ResourceName, u64>,
    ranges: BTreeMap<ResourceName, RangeSet>,
}

impl Resources {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a scalar in thousandths as given by someone: the same name twice, or too much, is an error.
    pub fn insert_scalar(&mut self, name: ResourceName, milli: u64) -> Result<(), Problem> {
        if milli > SCALAR_MILLI_MAX {
            let message = format!("the amount is larger than {}", SCALAR_MILLI_MAX / 1000);
            return Err(Problem::new(code::RESOURCES_INVALID, message).field(name.as_str()));
        }
        self.check_new(&name)?;
        if milli > 0 {
            self.scalars.insert(name, milli);
        }
        Ok(())
    }

    /// Adds a range resource as given by someone: the same name twice is an error.
    pub fn insert_ranges(&mut self, name: ResourceName, set: RangeSet) -> Result<(), Problem> {
        self.check_new(&name)?;
        if !set.is_empty() {
            self.ranges.insert(name, set);
        }
        Ok(())
    }

    fn check_new(&self, name: &ResourceName) -> Result<(), Problem> {
        if self.scalars.contains_key(name) || self.ranges.contains_key(name) {
            return Err(
                Problem::new(code::RESOURCES_INVALID, "the resource is given twice")
                    .field(name.as_str())
                    .hint("give each resource once"),
            );
        }
        if self.scalars.len() + self.ranges.len() == RESOURCE_NAMES_MAX {
            return Err(Problem::new(
                code::FIELD_TOO_LONG,
                format!("more than {RESOURCE_NAMES_MAX} resources"),
            ));
        }
        Ok(())
    }

    /// The amount of a scalar in thousandths, 0 when absent.
    pub fn scalar(&self, name: &str) -> u64 {
        self.scalars
            .iter()
            .find(|(n, _)| n.as_str() == name)
            .map_or(0, |(_, milli)| *milli)
    }

    /// The numbers of a range resource, empty when absent.
    pub fn range_set(&self, name: &str) -> RangeSet {
        self.ranges
            .iter()
            .find(|(n, _)| n.as_str() == name)
            .map(|(_, set)| set.clone())
            .unwrap_or_default()
    }

    /// The scalars in thousandths, by name; none is 0.
    pub fn scalars(&self) -> &BTreeMap<ResourceName, u64> {
        &self.scalars
    }

    /// The range resources, by name; none is empty.
    pub fn ranges(&self) -> &BTreeMap<ResourceName, RangeSet> {
        &self.ranges
    }

    /// Whether there is any of a resource, of whatever kind.
    pub fn has(&self, name: &ResourceName) -> bool {
        self.scalars.contains_key(name) || self.ranges.contains_key(name)
    }

    /// How much there is of each scalar, of all kinds together.
    pub fn quantities(&self) -> Quantities {
        let scalars = self.scalars.iter();
        scalars
            .map(|(name, milli)| (name.clone(), *milli))
            .collect()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.scalars.is_empty() && self.ranges.is_empty()
    }

    /// Whether all of `other` is here.
    pub fn contains(&self, other: &Self) -> bool {
        self.first_missing(other).is_none()
    }

    /// The first resource of `other` that is not all here: for saying what is lacking.
    pub fn first_missing<'a>(&self, other: &'a Self) -> Option<&'a ResourceName> {
        let none = RangeSet::default();
        let scalar = other
            .scalars
            .iter()
            .find(|(n, milli)| self.scalars.get(*n).unwrap_or(&0) < *milli);
        let range = other
            .ranges
            .iter()
            .find(|(n, set)| !self.ranges.get(*n).unwrap_or(&none).contains(set));
        scalar.map(|(name, _)| name).or(range.map(|(name, _)| name))
    }

    /// The sum; of ranges, the union.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }

    /// Adds in place.
    pub fn add(&mut self, other: &Self) {
        for (name, milli) in &other.scalars {
            let amount = self.scalars.entry(name.clone()).or_default();
            *amount = amount.saturating_add(*milli);
        }
        for (name, set) in &other.ranges {
            let mine = self.ranges.entry(name.clone()).or_default();
            *mine = mine.plus(set);
        }
    }

    /// What is here and not in `other`; what `other` has more of is left out, so the result is never negative.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    /// Subtracts in place, down to nothing.
    pub fn subtract(&mut self, other: &Self) {
        for (name, milli) in &other.scalars {
            if let Some(amount) = self.scalars.get_mut(name) {
                *amount = amount.saturating_sub(*milli);
            }
        }
        for (name, set) in &other.ranges {
            if let Some(mine) = self.ranges.get_mut(name) {
                *mine = mine.minus(set);
            }
        }
        self.scalars.retain(|_, milli| *milli > 0);
        self.ranges.retain(|_, set| !set.is_empty());
    }
}

/// Reads an amount such as `4`, `0.5` or `0.001` into thousandths; no sign, no exponent, at most three decimals.
pub fn parse_milli(text: &str) -> Result<u64, Problem> {
    let wrong = |message: String| {
        Err(Problem::new(code::RESOURCES_INVALID, message)
            .hint("write a number such as 4 or 0.25, at most three decimals"))
    };
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) {
        return wrong(format!("{text:?} is not an amount"));
    }
    if decimals.trim_end_matches('0').len() > 3 {
        return wrong(format!("{text} is finer than a thousandth"));
    }
    let padded: String = decimals.chars().chain("000".chars()).take(3).collect();
    let milli = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(1000));
    let milli = milli
        .zip(padded.parse::<u64>().ok())
        .and_then(|(a, b)| a.checked_add(b));
    match milli {
        Some(milli) if milli <= SCALAR_MILLI_MAX => Ok(milli),
        _ => wrong(format!("{text} is larger than {}", SCALAR_MILLI_MAX / 1000)),
    }
}

/// Writes thousandths as [`parse_milli`] reads them.
pub fn format_milli(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads `[31000-31005, 31010-31010]`.
fn parse_ranges(text: &str) -> Result<RangeSet, Problem> {
    let wrong = || {
        Problem::new(
            code::RANGES_INVALID,
            format!("{text:?} is not a list of ranges"),
        )
        .hint("write [31000-32000] or [31000-31005, 31010-31020]")
    };
    let inner = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .ok_or_else(wrong)?;
    let mut ranges = Vec::new();
    for part in inner
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (begin, end) = part.split_once('-').ok_or_else(wrong)?;
        let number = |t: &str| t.trim().parse::<u64>().map_err(|_| wrong());
        ranges.push(Range {
            begin: number(begin)?,
            end: number(end)?,
        });
    }
    RangeSet::from_given(ranges)
}

impl FromStr for Resources {
    type Err = Problem;

    /// Reads Mesos's text form, `cpus:4;mem:8192;ports:[31000-32000]`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let mut resources = Self::new();
        for part in text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, amount) = part.split_once(':').ok_or_else(|| {
                Problem::new(code::RESOURCES_INVALID, format!("{part:?} has no ':'"))
                    .hint("write cpus:4;mem:8192;ports:[31000-32000]")
            })?;
            let name = ResourceName::new(name.trim())?;
            let amount = amount.trim();
            if amount.starts_with('[') {
                let set = parse_ranges(amount).map_err(|problem| problem.within(&name))?;
                resources.insert_ranges(name, set)?;
            } else {
                let milli = parse_milli(amount).map_err(|problem| problem.within(&name))?;
                resources.insert_scalar(name, milli)?;
            }
        }
        Ok(resources)
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scalars = self
            .scalars
            .iter()
            .map(|(name, milli)| format!("{name}:{}", format_milli(*milli)));
        let ranges = self
            .ranges
            .iter()
            .map(|(name, set)| format!("{name}:{set}"));
        f.write_str(&scalars.chain(ranges).collect::<Vec<_>>().join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn r(text: &str) -> Resources {
        text.parse().expect(text)
    }

    #[test]
    fn the_text_form_is_read_and_written() {
        assert_eq!(
            r("ports:[2-3,1-1]; mem:8192 ;cpus:0.5").to_string(),
            "cpus:0.5;mem:8192;ports:[1-3]"
        );
        assert!(r("cpus:0").is_empty());
    }

    #[test]
    fn bad_text_names_the_field_and_the_remedy() {
        for (text, code, field) in [
            ("cpus:-1", code::RESOURCES_INVALID, "cpus"),
            ("cpus:0.0001", code::RESOURCES_INVALID, "cpus"),
            ("cpus:NaN", code::RESOURCES_INVALID, "cpus"),
            ("cpus:1e3", code::RESOURCES_INVALID, "cpus"),
            ("cpus:99999999999999999999", code::RESOURCES_INVALID, "cpus"),
            ("cpus:1;cpus:2", code::RESOURCES_INVALID, "cpus"),
            ("ports:[5-1]", code::RANGES_INVALID, "ports"),
            ("ports:[1-5,4-9]", code::RANGES_INVALID, "ports"),
            ("ports:[1]", code::RANGES_INVALID, "ports"),
            ("cpus", code::RESOURCES_INVALID, ""),
        ] {
            let problem = text.parse::<Resources>().expect_err(text);
            assert_eq!(
                (problem.code.as_ref(), problem.field.as_str()),
                (code.name, field),
                "{text}"
            );
            assert!(!problem.hint.is_empty(), "{text}");
        }
    }

    #[test]
    fn minus_never_goes_below_nothing() {
        assert_eq!(
            r("cpus:1;mem:5").minus(&r("cpus:2;mem:1;disk:9")),
            r("mem:4")
        );
        assert_eq!(
            r("ports:[1-9]").minus(&r("ports:[4-5]")),
            r("ports:[1-3,6-9]")
        );
    }

    fn any_resources() -> impl Strategy<Value = Resources> {
        (
            0u64..5_000,
            0u64..5_000,
            prop::collection::btree_set(0u64..40, 0..20),
        )
            .prop_map(|(cpus, mem, ports)| {
                let mut resources = Resources::new();
                resources
                    .insert_scalar(ResourceName::new("cpus").unwrap(), cpus)
                    .unwrap();
                resources
                    .insert_scalar(ResourceName::new("mem").unwrap(), mem)
                    .unwrap();
                resources
                    .insert_ranges(
                        ResourceName::new("ports").unwrap(),
                        RangeSet::from_numbers(ports),
                    )
                    .unwrap();
                resources
            })
    }

    proptest! {
        #[test]
        fn what_is_taken_can_be_given_back(total in any_resources(), part in any_resources()) {
            if total.contains(&part) {
                prop_assert_eq!(total.minus(&part).plus(&part), total);
            } else {
                prop_assert!(total.first_missing(&part).is_some());
            }
        }

        #[test]
        fn text_survives_a_round_trip(resources in any_resources()) {
            prop_assert_eq!(r(&resources.to_string()), resources);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Resources>();
        }
    }
}
