//! What was made on agents since they said what they have: reservations and volumes. The master is their authority, not the
//! agent, which knows its resources as they were configured.
//!
//! What is made can be told from what is configured: reservations of operations have a principal, and volumes are made by
//! operations alone. So the original of a resource is found by undoing it, and nothing else has to be kept.

use std::collections::BTreeMap;

use crate::problem::Problem;
use crate::resource_kind::ResourceKind;
use crate::resources::{Amount, Conversion, Resources};

impl ResourceKind {
    /// Whether an operation made it: it is a volume, or its topmost reservation has a principal.
    pub fn is_made(&self) -> bool {
        let top = self.reservations.last();
        self.volume().is_some() || top.is_some_and(|top| top.principal.is_some())
    }
}

/// What of these was made by operations.
pub fn made_of(resources: &Resources) -> Resources {
    let mut made = Resources::new();
    for (kind, amount) in resources.special().filter(|(kind, _)| kind.is_made()) {
        // Cannot be refused: it was resources already.
        let _ = made.insert(kind.clone(), amount.clone());
    }
    made
}

/// What an agent has when these were made on it, and what of them it has no resources for.
pub fn total_with(configured: &Resources, made: &Resources) -> (Resources, Resources) {
    if made.is_empty() {
        return (configured.clone(), Resources::new());
    }
    // By kind, and not as resources: of a thousand kinds each is found by itself, and nothing is moved.
    let all = configured.iter();
    let mut left: BTreeMap<ResourceKind, Amount> = all
        .map(|(kind, amount)| (kind.into_owned(), amount.clone()))
        .collect();
    let mut missing = Resources::new();
    for (kind, amount) in made.iter() {
        let mut item = Resources::new();
        // Cannot be refused, here and below: it was resources already.
        let _ = item.insert(kind.into_owned(), amount.clone());
        if !take(&mut left, &item) {
            missing.add(&item);
        }
    }
    let mut total = Resources::new();
    for (kind, amount) in left {
        if !amount.is_empty() {
            let _ = total.insert(kind, amount);
        }
    }
    total.add(&made.minus(&missing));
    (total, missing)
}

/// Takes what an item was made of out of what is left, if it is all there.
fn take(left: &mut BTreeMap<ResourceKind, Amount>, item: &Resources) -> bool {
    let Ok(original) = original_of(item) else {
        return false;
    };
    let is_there = original.iter().all(|(kind, amount)| {
        let mine = left.get(&*kind);
        mine.is_some_and(|mine| mine.contains(amount))
    });
    for (kind, amount) in original.iter().filter(|_| is_there) {
        if let Some(mine) = left.get_mut(&*kind) {
            mine.subtract(amount);
        }
    }
    is_there
}

/// One item as it was configured.
fn original_of(item: &Resources) -> Result<Resources, Problem> {
    let mut undone = item.clone();
    if undone.volumes().next().is_some() {
        undone = Conversion::destroy(&undone)?.to;
    }
    while undone.special().any(|(kind, _)| kind.is_made()) {
        undone = Conversion::unreserve(&undone)?.to;
    }
    Ok(undone)
}

/// The same, each volume with the mountpoint that it has in `there`: where a task wants to find it is no part of it.
pub fn with_mountpoints_of(resources: &mut Resources, there: &Resources) {
    let volumes = resources.volumes();
    let mut others = volumes.filter_map(|(kind, volume, amount)| {
        let kept = there.volumes().find(|(of, ..)| *of == kind)?;
        let is_other = kept.1.mountpoint != volume.mountpoint;
        is_other.then(|| (kept.0.clone(), amount.clone()))
    });
    let Some(first) = others.next() else {
        return;
    };
    let mut kept = Resources::new();
    for (kind, amount) in std::iter::once(first).chain(others) {
        // Cannot be refused: it was resources already.
        let _ = kept.insert(kind, amount);
    }
    let rest = resources.minus(&kept);
    *resources = rest.plus(&kept);
}

/// The volumes that are in both: of the same id and for the same role.
pub fn same_volumes<'a>(
    one: &'a Resources,
    other: &'a Resources,
) -> impl Iterator<Item = &'a ResourceKind> {
    let is_same = |a: &ResourceKind, b: &ResourceKind| {
        a.reserved_to() == b.reserved_to()
            && a.volume().map(|volume| &volume.id) == b.volume().map(|volume| &volume.id)
    };
    let of_one = one.volumes().map(|(kind, _, _): (_, _, &Amount)| kind);
    of_one.filter(move |kind| other.volumes().any(|(theirs, _, _)| is_same(kind, theirs)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Principal, Role};
    use crate::resource_kind::{Disk, Mountpoint, Reservation, Volume};

    fn r(text: &str) -> Resources {
        text.parse().expect(text)
    }

    fn reservation(role: &str) -> Reservation {
        Reservation {
            role: Role::new(role).expect("a role"),
            principal: Some(Principal::new("p").expect("a principal")),
            labels: BTreeMap::new(),
        }
    }

    fn reserved(resources: &Resources, role: &str) -> Resources {
        resources
            .push_reservation(&reservation(role))
            .expect("reservable")
    }

    fn volume(milli: u64) -> Resources {
        let kind = ResourceKind {
            name: crate::id::ResourceName::new("disk").expect("a name"),
            reservations: vec![reservation("eng")],
            disk: Some(Disk {
                source: None,
                volume: Some(Volume {
                    id: "v".parse().expect("an id"),
                    principal: None,
                    mountpoint: None,
                }),
            }),
            is_revocable: false,
            is_shared: false,
        };
        let mut volume = Resources::new();
        volume
            .insert(kind, Amount::Scalar(milli))
            .expect("a volume");
        volume
    }

    #[test]
    fn what_was_made_replaces_what_it_was_made_of() {
        let configured = r("cpus:4;disk:100");
        let twice = reserved(&reserved(&r("cpus:1"), "eng"), "eng/web");
        let made = twice.plus(&volume(60_000));
        let (total, missing) = total_with(&configured, &made);
        assert_eq!(missing, Resources::new());
        assert_eq!(total, r("cpus:3;disk:40").plus(&made));
        assert_eq!(made_of(&total), made, "and it can be told from the rest");
        assert_eq!(same_volumes(&total, &volume(1)).count(), 1);
    }

    #[test]
    fn what_an_agent_has_no_more_resources_for_is_missing_and_the_rest_stays() {
        let kept = reserved(&r("cpus:1"), "eng");
        let made = kept.plus(&volume(60_000));
        let (total, missing) = total_with(&r("cpus:4;disk:50"), &made);
        assert_eq!(missing, volume(60_000));
        assert_eq!(total, r("cpus:3;disk:50").plus(&kept));
        let (total, missing) = total_with(&r("mem:1"), &made);
        assert_eq!((total, missing), (r("mem:1"), made));
    }

    #[test]
    fn what_is_made_of_the_same_adds_up() {
        let labelled = |n: u32| {
            let mut reservation = reservation("eng");
            reservation.labels.insert("n".to_owned(), n.to_string());
            let cpu = r("cpus:1;ports:[1-1]").push_reservation(&reservation);
            cpu.expect("reservable")
        };
        let [one, two, three] = [1, 2, 3].map(labelled);
        let cpus = |of: &Resources| of.scalar("cpus");
        let made = one.plus(&two).plus(&three);
        let (total, missing) = total_with(&r("cpus:2;ports:[1-9]"), &made);
        assert_eq!((cpus(&total), cpus(&missing)), (2_000, 1_000));
        assert_eq!(
            total.range_set("ports"),
            r("ports:[1-9]").range_set("ports")
        );
        let ports = missing
            .iter()
            .filter(|(kind, _)| kind.name.as_str() == "ports");
        assert_eq!(ports.count(), 2, "a number is there once");
    }

    #[test]
    fn a_reservation_of_the_configuration_is_not_made() {
        let configured = r("cpus(eng):2;cpus:2");
        assert_eq!(made_of(&configured), Resources::new());
    }

    #[test]
    fn a_volume_stays_itself_wherever_it_is_mounted() {
        let at = |path: &str| {
            let mut all = r("cpus:1");
            for (kind, amount) in volume(1_000).special() {
                let mut kind = kind.clone();
                if let Some(volume) = kind.disk.as_mut().and_then(|disk| disk.volume.as_mut()) {
                    volume.mountpoint = Some(Mountpoint {
                        path: path.to_owned(),
                        is_read_only: false,
                    });
                }
                all.insert(kind, amount.clone()).expect("a volume");
            }
            all
        };
        let path = |of: &Resources| {
            let found = of.volumes().find_map(|(_, it, _)| it.mountpoint.clone());
            found.map(|at| at.path)
        };
        let (there, mut task) = (at("made"), at("mine"));
        assert_eq!(there, task);
        assert!(there.minus(&task).is_empty());
        with_mountpoints_of(&mut task, &there);
        assert_eq!(path(&task).as_deref(), Some("made"));
        let mut stranger = at("mine");
        with_mountpoints_of(&mut stranger, &r("cpus:1"));
        assert_eq!(path(&stranger).as_deref(), Some("mine"));
    }
}
