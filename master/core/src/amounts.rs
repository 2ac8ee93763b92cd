//! Arithmetic on resources that only the master needs: what a shape needs of an agent.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proffer_model::resource_kind::DiskSource;
use proffer_model::resources::Amount;
use proffer_model::resources::format_milli;
use proffer_model::{RangeSet, ResourceKind, ResourceName, Resources, Shape};

/// The range resource whose numbers rest after a task has held them.
const PORTS: &str = "ports";

/// The scalars alone. Sums over agents are made of these: the same port on two agents is not the same port.
pub(crate) fn scalars_of(resources: &Resources) -> Resources {
    let mut scalars = Resources::new();
    for (name, milli) in resources.quantities().iter() {
        // Cannot be refused: the names are distinct and the amounts were valid.
        let _ = scalars.insert_scalar(name.clone(), milli);
    }
    scalars
}

/// The ports alone, each as it is reserved.
pub(crate) fn ports_of(resources: &Resources) -> Resources {
    let mut ports = Resources::new();
    for (kind, amount) in resources.iter() {
        if kind.name.as_str() == PORTS && matches!(amount, Amount::Ranges(_)) {
            // Cannot be refused: it was resources already.
            let _ = ports.insert(kind.into_owned(), amount.clone());
        }
    }
    ports
}

/// What nobody else may have while it is held: all but shared volumes.
pub(crate) fn exclusive(resources: &Resources) -> Cow<'_, Resources> {
    match resources.special().any(|(kind, _)| kind.is_shared) {
        true => Cow::Owned(resources.non_shared()),
        false => Cow::Borrowed(resources),
    }
}

/// Takes the numbers that are used out of what is left, however they are reserved by now: an agent may have been given
/// reservations while tasks held numbers.
pub(crate) fn strip_numbers(left: &mut Resources, used: &Resources) {
    let is_plain = |of: &Resources| of.special().next().is_none();
    if is_plain(left) && is_plain(used) {
        return;
    }
    let mut overlap = Resources::new();
    for (kind, amount) in left.iter() {
        if let Amount::Ranges(numbers) = amount {
            let both = numbers.intersection(&used.range_set(kind.name.as_str()));
            // Cannot be refused: it was resources already.
            let _ = overlap.insert(kind.into_owned(), Amount::Ranges(both));
        }
    }
    left.subtract(&overlap);
}

/// What of `left` must not be given to anybody: tasks hold more of a name than there is of it as they hold it, because their
/// agent has lost reservations or resources meanwhile. Taken from what is ordinary first, then from what is reserved; a
/// disk of its own stands for itself, and so does what is revocable. Volumes stay: somebody's data is there.
pub(crate) fn displaced(total: &Resources, used: &Resources, left: &Resources) -> Resources {
    let mut owed: BTreeMap<Place, u64> = BTreeMap::new();
    for (kind, amount) in used.iter() {
        let there = total
            .amount(&kind)
            .map_or(0, |amount| amount.quantity(true));
        let beyond = amount.quantity(kind.is_shared).saturating_sub(there);
        if beyond > 0 {
            let sum = owed.entry(place(&kind)).or_default();
            *sum = sum.saturating_add(beyond);
        }
    }
    let mut displaced = Resources::new();
    for (kind, amount) in left.iter() {
        let Some(owed) = owed.get_mut(&place(&kind)).filter(|owed| **owed > 0) else {
            continue;
        };
        let part = match amount {
            Amount::Scalar(milli) => Amount::Scalar((*owed).min(*milli)),
            Amount::Whole(_) if kind.volume().is_none() => amount.clone(),
            Amount::Whole(_) | Amount::Ranges(_) | Amount::Set(_) => continue,
        };
        *owed = owed.saturating_sub(part.quantity(kind.is_shared));
        // Cannot be refused: it was resources already.
        let _ = displaced.insert(kind.into_owned(), part);
    }
    displaced
}

/// What is the same thing on the host, whoever it is reserved for.
type Place = (ResourceName, Option<DiskSource>, bool);

fn place(kind: &ResourceKind) -> Place {
    let source = kind.disk.as_ref().and_then(|disk| disk.source.clone());
    (kind.name.clone(), source, kind.is_revocable)
}

/// How many of a shape are in `free`, at most `max`. Any shape: one, if there is a scalar (ports alone are no offer).
pub(crate) fn fit(shape: &Shape, free: &Resources, max: u32) -> u32 {
    let Shape::Of { resources, counts } = shape else {
        return u32::from(!free.quantities().is_empty()).min(max);
    };
    let mut fit = u64::from(max);
    for (kind, need) in resources.iter() {
        let have = free.amount(&kind);
        let often = match (have, need) {
            (Some(Amount::Scalar(have)), Amount::Scalar(need)) => have.checked_div(*need),
            (have, need) => Some(u64::from(have.is_some_and(|have| have.contains(need)))),
        };
        fit = fit.min(often.unwrap_or(fit));
    }
    for (name, count) in counts {
        let left = numbers(free, name).minus(&numbers(resources, name));
        fit = fit.min(left.count().checked_div(*count).unwrap_or(fit));
    }
    u32::try_from(fit).unwrap_or(max)
}

/// The numbers of a range resource that are for everybody.
fn numbers(resources: &Resources, name: &ResourceName) -> RangeSet {
    match resources.amount(&ResourceKind::plain(name.clone())) {
        Some(Amount::Ranges(set)) => set.clone(),
        _ => RangeSet::default(),
    }
}

/// The first resource that is lacking for one of a shape: its name, and how much is needed, in words.
pub(crate) fn lacking(shape: &Shape, free: &Resources) -> Option<(String, String)> {
    let Shape::Of { resources, counts } = shape else {
        let nothing = free.quantities().is_empty();
        return nothing.then(|| ("any".to_owned(), "have nothing free".to_owned()));
    };
    if let Some((kind, amount)) = free.first_missing(resources) {
        let words = match amount {
            Amount::Scalar(milli) => format!("have less than {} {kind} free", format_milli(*milli)),
            _ => format!("do not have all of {kind} {amount} free"),
        };
        return Some((kind.name.to_string(), words));
    }
    let left = free.minus(resources);
    counts
        .iter()
        .find(|(name, count)| numbers(&left, name).count() < **count)
        .map(|(name, count)| {
            let words = format!("have fewer than {count} {name} free");
            (name.to_string(), words)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_model::ResourceName;

    fn r(text: &str) -> Resources {
        text.parse().expect(text)
    }

    fn shape(resources: &str, ports: u64) -> Shape {
        let name = ResourceName::new("ports").expect("a name");
        let counts = if ports == 0 {
            None
        } else {
            Some((name, ports))
        };
        Shape::Of {
            resources: r(resources),
            counts: counts.into_iter().collect(),
        }
    }

    #[test]
    fn a_shape_fits_as_often_as_its_scarcest_resource() {
        for (needs, ports, free, fits) in [
            ("cpus:1;mem:2", 0, "cpus:4;mem:5", 2),
            ("cpus:1", 2, "cpus:9;ports:[1-5]", 2),
            ("cpus:1;ports:[3-3]", 2, "cpus:9;ports:[1-9]", 1),
            ("cpus:1;ports:[3-3]", 0, "cpus:9;ports:[4-9]", 0),
            ("gpus:1", 0, "cpus:9", 0),
            ("", 0, "cpus:1", 7),
        ] {
            let (shape, free) = (shape(needs, ports), r(free));
            assert_eq!(fit(&shape, &free, 7), fits, "{needs} of {free}");
            let is_lacking = lacking(&shape, &free).is_some();
            assert_eq!(is_lacking, fits == 0, "{needs} of {free}");
        }
    }

    #[test]
    fn what_lacks_is_said_with_numbers() {
        for (needs, ports, free, words) in [
            ("cpus:2", 0, "cpus:1.5", "have less than 2 cpus free"),
            (
                "ports:[5-5]",
                0,
                "ports:[1-4]",
                "do not have all of ports [5-5] free",
            ),
            (
                "cpus:1",
                3,
                "cpus:1;ports:[1-2]",
                "have fewer than 3 ports free",
            ),
        ] {
            let lack = lacking(&shape(needs, ports), &r(free)).expect(words);
            assert_eq!(lack.1, words);
        }
    }
}
