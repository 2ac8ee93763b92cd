//! What the cases say in Mesos's words, as demand: by the master's own rules for Mesos's calls.
//!
//! What is the cases' own is how they write a number of seconds, and the round of offers that a filter outlasts (MESOS-4302):
//! the allocator has no rounds.

use std::time::Duration;

use proffer_model::demand::DemandEntry;
use proffer_model::id::{DemandId, ResourceName};
use proffer_model::quantities::Quantities;
use proffer_proto::mesos::{self, entry_of_any, least_of, refused_for};

use super::amounts::{Sums, parse_milli};
use super::steps::Capabilities;

pub(super) const SECOND_NS: u64 = 1_000_000_000;

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
        let seconds = match self {
            Self::For(0) => return None,
            Self::For(ns) => Duration::from_nanos(ns).as_secs_f64(),
            Self::Negative => -1.0,
        };
        let lasts = refused_for(Some(seconds)).as_nanos();
        let lasts = u64::try_from(lasts).expect("at most a year");
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
    let least = match least {
        None => Vec::new(),
        Some(sets) => least_of(sets.iter().map(quantities).collect()),
    };
    let capabilities = mesos::Capabilities {
        gpus: capabilities.gpu,
        revocable: capabilities.revocable,
        shared: capabilities.shared,
        refined: capabilities.refined,
        ..mesos::Capabilities::default()
    };
    vec![entry_of_any(entry_id(), capabilities, &[], &least).expect("an entry")]
}

/// Sums as the model has them.
pub(super) fn quantities(sums: &Sums) -> Quantities {
    let named = |(name, milli): (&String, &u64)| (ResourceName::new(name).expect("a name"), *milli);
    sums.iter().map(named).collect()
}
