//! What an agent has, and how people name it: they leave out who made a reservation, the master wants everything exactly.
//!
//! Pure. Decides nothing that the master decides: what is not there goes to the master as it was typed, and is refused
//! there. Of several things that a text may mean, what is free comes first.

use std::collections::BTreeMap;

use proffer_model::resources::Amount;
use proffer_model::{
    Disk, DiskSource, Problem, Reservation, ResourceKind, ResourceName, Resources, Role, Volume,
    VolumeId, code,
};
use proffer_proto::{decode_resources, v1};

/// What one agent has.
pub(crate) struct Inventory {
    pub(crate) total: Resources,
    pub(crate) used: Resources,
    pub(crate) offered: Resources,
}

impl Inventory {
    /// As the master lists it.
    pub(crate) fn of(agent: &v1::Agent) -> Result<Self, Problem> {
        let decoded = |resources: &Option<v1::Resources>| {
            decode_resources(resources.clone().unwrap_or_default())
        };
        Ok(Self {
            total: decoded(&agent.total)?,
            used: decoded(&agent.used)?,
            offered: decoded(&agent.offered)?,
        })
    }

    /// What to ask for to have these reserved for a role: on top of the reservations that they are typed with.
    pub(crate) fn to_reserve(
        &self,
        typed: &Resources,
        role: &Role,
        labels: &BTreeMap<String, String>,
    ) -> Result<Resources, Problem> {
        let mut found = Resources::new();
        for (kind, amount) in typed.iter() {
            found.add(&self.take(&kind, amount, |there| is_same(&kind, there))?);
        }
        found.push_reservation(&reservation(role, labels))
    }

    /// What to ask for to have these no longer reserved for a role.
    pub(crate) fn to_unreserve(
        &self,
        typed: &Resources,
        role: &Role,
    ) -> Result<Resources, Problem> {
        let mut found = Resources::new();
        for (kind, amount) in typed.iter() {
            let is_any = kind.is_unreserved();
            let kind = with_role(&kind, role);
            let is_it = |there: &ResourceKind| match is_any {
                true => there.reserved_to() == Some(role) && is_same_thing(&kind, there),
                false => is_same(&kind, there),
            };
            if !self.total.special().any(|(there, _)| is_it(there)) {
                let message = format!("nothing like {kind} is reserved there");
                return Err(Problem::new(code::RESOURCES_NOT_FREE, message)
                    .field(kind.name.as_str())
                    .hint("`proffer agent show AGENT` lists what is reserved, and for whom"));
            }
            found.add(&self.take(&kind, amount, is_it)?);
        }
        Ok(found)
    }

    /// What to ask for to have a volume of so much, in thousandths of MiB, of what is reserved for a role.
    pub(crate) fn to_create(
        &self,
        role: &Role,
        id: &VolumeId,
        milli: u64,
        source: Option<&DiskSource>,
        is_shared: bool,
    ) -> Result<Resources, Problem> {
        let disk = |there: &&ResourceKind| {
            there.name.as_str() == "disk"
                && there.reserved_to() == Some(role)
                && there.volume().is_none()
                && !there.is_revocable
                && there.disk.as_ref().and_then(|disk| disk.source.as_ref()) == source
        };
        let kinds: Vec<&ResourceKind> = self.total.special().map(|(kind, _)| kind).collect();
        let kinds = kinds.into_iter().filter(disk);
        let free = self.total.minus(&self.used);
        let left = |kind: &&ResourceKind| {
            let amount = free.amount(kind);
            amount.map_or(0, |amount| amount.quantity(false))
        };
        // The one that has least of those that have enough; if none has, the one that has most.
        let best = kinds.min_by_key(|kind| match left(kind) {
            left if left >= milli => (false, left),
            left => (true, u64::MAX - left),
        });
        let mut kind = match best {
            Some(kind) => kind.clone(),
            None => with_role(&ResourceKind::plain(ResourceName::new("disk")?), role),
        };
        kind.disk = Some(Disk {
            source: source.cloned(),
            volume: Some(Volume {
                id: id.clone(),
                principal: None,
                mountpoint: None,
            }),
        });
        kind.is_shared = is_shared;
        let mut volume = Resources::new();
        volume.insert(kind, Amount::Scalar(milli))?;
        Ok(volume)
    }

    /// The volume of this id, of a role if one is named.
    pub(crate) fn volume(&self, id: &VolumeId, role: Option<&Role>) -> Result<Resources, Problem> {
        let is_it = |kind: &ResourceKind| {
            kind.volume().is_some_and(|volume| volume.id == *id)
                && role.is_none_or(|role| kind.reserved_to() == Some(role))
        };
        let found: Vec<(&ResourceKind, &Amount)> = self
            .total
            .special()
            .filter(|(kind, _)| is_it(kind))
            .collect();
        match found.as_slice() {
            [(kind, amount)] => {
                let mut volume = Resources::new();
                volume.insert((*kind).clone(), (*amount).clone())?;
                Ok(volume)
            }
            [] => {
                let of = role.map_or_else(String::new, |role| format!(" of role {role}"));
                let message = format!("the agent has no volume {id}{of}");
                Err(Problem::new(code::VOLUME_UNKNOWN, message)
                    .field("id")
                    .hint("`proffer agent show AGENT` lists what it has"))
            }
            several => {
                let roles = several.iter().filter_map(|(kind, _)| kind.reserved_to());
                let roles: Vec<&str> = roles.map(Role::as_str).collect();
                let message = format!("roles {} have a volume {id} each", roles.join(", "));
                Err(Problem::new(code::FIELD_MISSING, message)
                    .field("role")
                    .hint("say with --role whose is meant"))
            }
        }
    }

    /// So much of what is meant, from what is free first; what there is too little of stays asked for.
    fn take(
        &self,
        typed: &ResourceKind,
        amount: &Amount,
        is_it: impl Fn(&ResourceKind) -> bool,
    ) -> Result<Resources, Problem> {
        let mut kinds: Vec<ResourceKind> = self
            .total
            .iter()
            .map(|(kind, _)| kind.into_owned())
            .filter(is_it)
            .collect();
        // What the agent's configuration reserves is the last that is meant.
        kinds.sort_by_key(|kind| !kind.is_made());
        let free = self.total.minus(&self.used);
        let mut taken = Resources::new();
        let mut rest = amount.clone();
        for pool in [&free, &self.used] {
            for kind in &kinds {
                let mut wanted = Resources::new();
                wanted.insert(kind.clone(), rest)?;
                let lacking = wanted.minus(pool);
                taken.add(&wanted.minus(&lacking));
                let Some(amount) = lacking.amount(kind) else {
                    return Ok(taken);
                };
                rest = amount.clone();
            }
        }
        let mut missing = Resources::new();
        let kind = kinds.into_iter().next().unwrap_or_else(|| typed.clone());
        missing.insert(kind, rest)?;
        taken.add(&missing);
        Ok(taken)
    }
}

/// A reservation whose maker the master fills in.
fn reservation(role: &Role, labels: &BTreeMap<String, String>) -> Reservation {
    Reservation {
        role: role.clone(),
        principal: None,
        labels: labels.clone(),
    }
}

/// The same with a reservation for the role on top, unless it has that.
fn with_role(kind: &ResourceKind, role: &Role) -> ResourceKind {
    let mut kind = kind.clone();
    if kind.reserved_to() != Some(role) {
        kind.reservations.push(reservation(role, &BTreeMap::new()));
    }
    kind
}

/// Whether what was typed means this: the same but for who made it, and for labels that were not typed.
fn is_same(typed: &ResourceKind, there: &ResourceKind) -> bool {
    let is_same_reservation = |(typed, there): (&Reservation, &Reservation)| {
        typed.role == there.role
            && (typed.principal.is_none() || typed.principal == there.principal)
            && (typed.labels.is_empty() || typed.labels == there.labels)
    };
    let mut pairs = typed.reservations.iter().zip(&there.reservations);
    typed.reservations.len() == there.reservations.len()
        && pairs.all(is_same_reservation)
        && is_same_thing(typed, there)
}

/// The same without a look at reservations.
fn is_same_thing(typed: &ResourceKind, there: &ResourceKind) -> bool {
    let source = |kind: &ResourceKind| kind.disk.as_ref().and_then(|disk| disk.source.clone());
    let volume = |kind: &ResourceKind| kind.volume().map(|volume| volume.id.clone());
    typed.name == there.name
        && source(typed) == source(there)
        && volume(typed) == volume(there)
        && typed.is_revocable == there.is_revocable
        && typed.is_shared == there.is_shared
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(text: &str) -> Resources {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn role(text: &str) -> Role {
        Role::new(text).unwrap()
    }

    fn inventory(total: &str, used: &str) -> Inventory {
        Inventory {
            total: resources(total),
            used: resources(used),
            offered: Resources::new(),
        }
    }

    #[test]
    fn what_is_reserved_keeps_the_reservations_beneath() {
        let agent = inventory("cpus:2;cpus(eng,ops):4;mem:100;ports:[1-9]", "");
        let none = BTreeMap::new();
        for (typed, for_role, asked) in [
            ("cpus:1;mem:50", "eng", "cpus(eng):1;mem(eng):50"),
            ("ports:[2-3]", "eng", "ports(eng):[2-3]"),
            ("cpus(eng):3", "eng/web", "cpus(eng,ops)(eng/web):3"),
            // Refused by the master, which has less.
            ("cpus:9", "eng", "cpus(eng):9"),
            ("gpus:1", "eng", "gpus(eng):1"),
        ] {
            let found = agent.to_reserve(&resources(typed), &role(for_role), &none);
            assert_eq!(found.unwrap(), resources(asked), "{typed}");
        }
        let problem = agent.to_reserve(&resources("cpus(eng):1"), &role("ops"), &none);
        assert!(problem.unwrap_err().is(code::RESERVATION_INVALID));
        let labels = BTreeMap::from([("why".to_owned(), "test".to_owned())]);
        let found = agent.to_reserve(&resources("cpus:1"), &role("a"), &labels);
        assert_eq!(found.unwrap().to_string(), "cpus(a,,{why:test}):1");
    }

    #[test]
    fn what_is_unreserved_is_found_without_saying_who_reserved_it() {
        let agent = inventory(
            "cpus(eng,ops):2;cpus(eng,amy):2;cpus(eng):8;cpus(eng,ops)(eng/web,amy):1;disk(eng,ops):10;disk(eng,ops)[v]:5",
            "cpus(eng,amy):1",
        );
        for (typed, of_role, asked) in [
            ("cpus:3", "eng", "cpus(eng,ops):2;cpus(eng,amy):1"),
            ("cpus(eng,ops):1", "eng", "cpus(eng,ops):1"),
            ("cpus(eng,ops):3", "eng", "cpus(eng,ops):3"),
            ("cpus:1", "eng/web", "cpus(eng,ops)(eng/web,amy):1"),
            ("disk:10", "eng", "disk(eng,ops):10"),
        ] {
            let found = agent.to_unreserve(&resources(typed), &role(of_role));
            let found = found.unwrap();
            let same_amounts = found.quantities() == resources(asked).quantities();
            assert!(same_amounts, "{typed}: {found}");
            let is_maker_free = typed == "cpus:3";
            assert!(
                is_maker_free || found == resources(asked),
                "{typed}: {found}"
            );
            assert!(agent.total.contains(&found) || found == resources(asked));
        }
        let problem = agent.to_unreserve(&resources("cpus:1"), &role("other"));
        let problem = problem.unwrap_err();
        assert!(problem.is(code::RESOURCES_NOT_FREE), "{problem}");
        assert_eq!(problem.field, "cpus");
    }

    #[test]
    fn volumes_are_made_of_reserved_disk_and_found_by_id() {
        let agent = inventory(
            "disk:50;disk(eng,ops):100;disk(eng,amy):20;disk(eng)@PATH:/ssd:30;disk(eng,ops)[v,ops]:5;disk(web,ops)[v,ops]:6",
            "",
        );
        let id = VolumeId::new("w").unwrap();
        let create = |milli, source: Option<&DiskSource>| {
            let of = role("eng");
            agent.to_create(&of, &id, milli, source, false).unwrap()
        };
        assert_eq!(create(10_000, None), resources("disk(eng,amy)[w]:10"));
        assert_eq!(create(21_000, None), resources("disk(eng,ops)[w]:21"));
        assert_eq!(create(900_000, None), resources("disk(eng,ops)[w]:900"));
        let ssd = DiskSource::Path {
            root: "/ssd".to_owned(),
        };
        assert_eq!(
            create(5_000, Some(&ssd)),
            resources("disk(eng)@PATH:/ssd[w]:5")
        );
        let shared = agent.to_create(&role("eng"), &id, 10_000, None, true);
        assert_eq!(shared.unwrap(), resources("disk(eng,amy)[w]<SHARED>:10"));
        let v = VolumeId::new("v").unwrap();
        let problem = agent.volume(&v, None).unwrap_err();
        assert_eq!(problem.field, "role");
        let found = agent.volume(&v, Some(&role("web"))).unwrap();
        assert_eq!(found, resources("disk(web,ops)[v,ops]:6"));
        let problem = agent.volume(&id, None).unwrap_err();
        assert!(problem.is(code::VOLUME_UNKNOWN));
    }
}
