//! What Mesos's calls come to in demand: an entry that takes whatever there is, nothing while suppressed, and agents that
//! are excluded for a time where a decline set a filter.
//!
//! These are the rules of whoever speaks Mesos to the master, here the cases: at most a year, five seconds when the number
//! makes no sense, none for 0, and never so short that the filter ends before the next round of offers (MESOS-4302).

use proffer_model::demand::{DemandEntry, Predicate, Shape, Takes};
use proffer_model::id::{DemandId, ResourceName};
use proffer_model::quantities::Quantities;

use super::amounts::{Sums, parse_milli};
use super::steps::Capabilities;

pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// Mesos's default of `refuse_seconds`.
const DEFAULT_NS: u64 = 5 * SECOND_NS;
/// The longest filter.
const LONGEST_NS: u64 = 365 * 24 * 3_600 * SECOND_NS;

/// `refuse_seconds` as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Less than nothing.
    Negative,
    /// So long.
    For(u64),
}

impl Refusal {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('s').unwrap_or(text);
        if let Some(positive) = text.strip_prefix('-') {
            return match parse_milli(positive) {
                Some(0) => Ok(Self::For(0)),
                Some(_) => Ok(Self::Negative),
                None => Err(format!("{text:?} is not a number of seconds")),
            };
        }
        let milli =
            parse_milli(text).ok_or_else(|| format!("{text:?} is not a number of seconds"))?;
        Ok(Self::For(milli.saturating_mul(1_000_000)))
    }

    /// When a filter set at `now` ends; none when none is set. It stands at `next_round`, whatever was asked for.
    pub(super) fn ends_at(self, now: u64, interval: u64, next_round: u64) -> Option<u64> {
        let lasts = match self {
            Self::For(0) => return None,
            Self::For(ns) => ns.min(LONGEST_NS),
            Self::Negative => DEFAULT_NS,
        };
        let ends = now.saturating_add(lasts.max(interval));
        Some(ends.max(next_round.saturating_add(1)))
    }
}

/// The id of the one entry of each role.
pub(super) fn entry_id() -> DemandId {
    DemandId::new("any").expect("an id")
}

/// The demand of a framework in one role.
pub(super) fn demand(
    is_suppressed: bool,
    capabilities: Capabilities,
    least: Option<&Vec<Sums>>,
) -> Vec<DemandEntry> {
    if is_suppressed {
        return Vec::new();
    }
    // Mesos hides agents with GPUs, free or not, from whom does not know how to use them.
    let gpus = || Predicate::Resource(ResourceName::new("gpus").expect("a name"));
    let predicates = match capabilities.gpu {
        true => Vec::new(),
        false => vec![Predicate::Not(Box::new(gpus()))],
    };
    let least = match least {
        None => Vec::new(),
        // Everything passes what asks for nothing.
        Some(sets) if sets.is_empty() => vec![Quantities::new()],
        Some(sets) => sets.iter().map(quantities).collect(),
    };
    vec![DemandEntry {
        id: entry_id(),
        shape: Shape::Any { least },
        count: u32::MAX,
        predicates,
        at_most: Vec::new(),
        gang: 0,
        priority: 0,
        takes: Takes {
            revocable: capabilities.revocable,
            shared: capabilities.shared,
            refined: capabilities.refined,
        },
        excluded: Vec::new(),
    }]
}

/// Sums as the model has them.
pub(super) fn quantities(sums: &Sums) -> Quantities {
    let named = |(name, milli): (&String, &u64)| (ResourceName::new(name).expect("a name"), *milli);
    sums.iter().map(named).collect()
}
