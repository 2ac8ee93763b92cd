//! The rules by which Mesos's calls become demand, for the adapter and for the cases that hold the allocator to Mesos's: how
//! long what is refused is not offered again, and the one entry that takes whatever there is.

use std::time::Duration;

use proffer_model::demand::{DemandEntry, Predicate, Shape, Takes};
use proffer_model::id::{DemandId, ResourceName};
use proffer_model::quantities::Quantities;
use proffer_model::{Problem, limits};

use super::number::duration_of;
use super::status::Capabilities;

/// Mesos's default of `refuse_seconds`, also for what is no length of time.
const REFUSE_DEFAULT: Duration = Duration::from_secs(5);
/// The longest filter: a year.
const REFUSE_MAX: Duration = limits::DURATION_MAX;

/// How long refused resources are not offered again, as `refuse_seconds` says it: at most a year, five seconds when it is not
/// given or makes no sense. Whoever keeps the filter keeps it for a round of offers at least (MESOS-4302).
pub fn refused_for(refuse_seconds: Option<f64>) -> Duration {
    let given = refuse_seconds.and_then(duration_of);
    given.unwrap_or(REFUSE_DEFAULT).min(REFUSE_MAX)
}

/// What a framework wants that takes whatever is offered: where `constraints` hold, at least one of `least`.
pub fn entry_of_any(
    id: DemandId,
    capabilities: Capabilities,
    constraints: &[Predicate],
    least: &[Quantities],
) -> Result<DemandEntry, Problem> {
    let mut predicates = constraints.to_vec();
    // Mesos hides agents with GPUs, free or not, from whom does not know how to use them.
    if !capabilities.gpus {
        let gpus = Predicate::Resource(ResourceName::new("gpus")?);
        predicates.push(Predicate::Not(Box::new(gpus)));
    }
    Ok(DemandEntry {
        id,
        shape: Shape::Any {
            least: least.to_vec(),
        },
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
    })
}

/// The least that an offer holds, of sets of which any will do: everything passes what asks for nothing.
pub fn least_of(sets: Vec<Quantities>) -> Vec<Quantities> {
    match sets.is_empty() {
        true => vec![Quantities::new()],
        false => sets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_for_five_seconds_and_nothing_longer_than_a_year() {
        let year = Duration::from_secs(365 * 24 * 3_600);
        let five = Duration::from_secs(5);
        for (given, lasts) in [
            (None, five),
            (Some(f64::NAN), five),
            (Some(-1.0), five),
            (Some(f64::INFINITY), five),
            (Some(f64::NEG_INFINITY), five),
            (Some(1e300), five),
            (Some(-0.0), Duration::ZERO),
            (Some(0.0), Duration::ZERO),
            (Some(0.25), Duration::from_millis(250)),
            (Some(1e9), year),
        ] {
            assert_eq!(refused_for(given), lasts, "{given:?}");
        }
    }
}
