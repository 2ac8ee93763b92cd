//! Resources: one message for each amount, and what tells it from others in it.
//!
//! Mesos has two forms. The old one has a role, and a reservation of one level beside it; the newer one, of frameworks with
//! RESERVATION_REFINEMENT, has a list of reservations. Both are read; which is written is the reader's capability. To whom
//! something is allocated is said to frameworks with MULTI_ROLE alone, and never read: an offer is of one role.

use proffer_model::id::ResourceName;
use proffer_model::limits::ID_LEN_MAX;
use proffer_model::resource_kind::Mountpoint;
use proffer_model::resources::{Amount, ItemSet};
use proffer_model::{
    Disk, DiskSource, Principal, Range, RangeSet, Reservation, ResourceKind, Resources, Role,
    Volume, VolumeMount,
};

use super::labels::{labels_map, labels_of};
use super::number::{milli_of, value_of};
use super::v1::resource::disk_info::{Persistence, Source, source};
use super::v1::resource::{
    AllocationInfo, DiskInfo, ReservationInfo, RevocableInfo, SharedInfo, reservation_info,
};
use super::v1::{self as mesos, Resource, value, volume};
use crate::fields::clipped;
use crate::limits::SPECIAL_MAX;

/// How resources are written for somebody.
#[derive(Clone, Debug, Default)]
pub struct ResourceForm {
    /// The role that each is said to be allocated to.
    pub allocated_to: Option<Role>,
    /// Whether reservations are written as lists.
    pub is_refined: bool,
}

/// Resources in Mesos's order: ports, cpus, mem, disk, then the rest.
pub fn encode_resources(resources: &Resources, form: &ResourceForm) -> Vec<Resource> {
    let mut all: Vec<(u8, Resource)> = Vec::new();
    for (kind, amount) in resources.iter() {
        let place = match kind.name.as_str() {
            "ports" => 0,
            "cpus" => 1,
            "mem" => 2,
            "disk" => 3,
            _ => 4,
        };
        let head = encode_kind(&kind, form);
        match amount {
            Amount::Whole(pieces) => {
                for piece in pieces.iter() {
                    // Copies of a shared volume are the same volume.
                    let copies = if kind.is_shared { 1 } else { piece.copies };
                    for _ in 0..copies {
                        all.push((place, scalar(head.clone(), piece.milli)));
                    }
                }
            }
            Amount::Scalar(milli) => all.push((place, scalar(head, *milli))),
            Amount::Ranges(set) => all.push((place, ranges(head, set))),
            Amount::Set(set) => all.push((place, items(head, set))),
        }
    }
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, resource)| resource).collect()
}

fn scalar(head: Resource, milli: u64) -> Resource {
    Resource {
        r#type: value::Type::Scalar.into(),
        scalar: Some(value::Scalar {
            value: value_of(milli),
        }),
        ..head
    }
}

fn ranges(head: Resource, set: &RangeSet) -> Resource {
    let range = set.ranges().iter().map(|range| value::Range {
        begin: range.begin,
        end: range.end,
    });
    Resource {
        r#type: value::Type::Ranges.into(),
        ranges: Some(value::Ranges {
            range: range.collect(),
        }),
        ..head
    }
}

fn items(head: Resource, set: &ItemSet) -> Resource {
    let item = set.iter().map(str::to_owned).collect();
    Resource {
        r#type: value::Type::Set.into(),
        set: Some(value::Set { item }),
        ..head
    }
}

fn encode_kind(kind: &ResourceKind, form: &ResourceForm) -> Resource {
    let mut resource = Resource {
        name: kind.name.to_string(),
        disk: kind.disk.as_ref().map(|disk| Box::new(encode_disk(disk))),
        revocable: kind.is_revocable.then_some(RevocableInfo {}),
        shared: kind.is_shared.then_some(SharedInfo {}),
        ..Resource::default()
    };
    resource.allocation_info = form.allocated_to.as_ref().map(|role| AllocationInfo {
        role: Some(role.to_string()),
    });
    if form.is_refined {
        resource.reservations = kind.reservations.iter().map(refined).collect();
        return resource;
    }
    let role = kind.reserved_to().map_or("*", Role::as_str);
    resource.role = Some(role.to_owned());
    let top = kind.reservations.last();
    resource.reservation = top.and_then(|top| {
        Some(ReservationInfo {
            principal: Some(top.principal.as_ref()?.to_string()),
            labels: labels_of(&top.labels),
            ..ReservationInfo::default()
        })
    });
    resource
}

fn refined(reservation: &Reservation) -> ReservationInfo {
    let made = match &reservation.principal {
        Some(_) => reservation_info::Type::Dynamic,
        None => reservation_info::Type::Static,
    };
    ReservationInfo {
        r#type: Some(made.into()),
        role: Some(reservation.role.to_string()),
        principal: reservation.principal.as_ref().map(ToString::to_string),
        labels: labels_of(&reservation.labels),
    }
}

fn encode_disk(disk: &Disk) -> DiskInfo {
    DiskInfo {
        persistence: disk.volume.as_ref().map(|volume| Persistence {
            id: volume.id.to_string(),
            principal: volume.principal.as_ref().map(ToString::to_string),
        }),
        volume: disk.volume.as_ref().and_then(encode_mountpoint),
        source: disk.source.as_ref().map(encode_source),
    }
}

/// As it was said when the volume was made, so that who launches with what is offered finds it there.
fn encode_mountpoint(of: &Volume) -> Option<mesos::Volume> {
    let at = of.mountpoint.as_ref()?;
    let mode = match at.is_read_only {
        true => volume::Mode::Ro,
        false => volume::Mode::Rw,
    };
    Some(mesos::Volume {
        container_path: at.path.clone(),
        mode: mode.into(),
        ..mesos::Volume::default()
    })
}

fn encode_source(of: &DiskSource) -> Source {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let bare = |r#type: source::Type| Source {
        r#type: r#type.into(),
        ..Source::default()
    };
    match of {
        DiskSource::Path { root } => Source {
            path: Some(source::Path { root: given(root) }),
            ..bare(source::Type::Path)
        },
        DiskSource::Mount { root } => Source {
            mount: Some(source::Mount { root: given(root) }),
            ..bare(source::Type::Mount)
        },
        DiskSource::Block { id } => Source {
            id: given(id),
            ..bare(source::Type::Block)
        },
        DiskSource::Raw { id, profile } => Source {
            id: id.clone(),
            profile: profile.clone(),
            ..bare(source::Type::Raw)
        },
    }
}

/// Resources as somebody gives them; what is given twice adds up. `principal` is whose dynamic reservations are that do not
/// say so.
pub fn decode_resources(given: &[Resource], principal: &Principal) -> Result<Resources, String> {
    if given.len() > SPECIAL_MAX {
        let count = given.len();
        return Err(format!(
            "{count} resources are given, more than {SPECIAL_MAX}"
        ));
    }
    let mut all = Resources::new();
    for resource in given {
        let name = clipped(&resource.name, ID_LEN_MAX);
        let wrong = |why: String| format!("Resource '{name}' is invalid: {why}");
        let (kind, amount) = decode_one(resource, principal).map_err(wrong)?;
        let mut one = Resources::new();
        one.insert(kind, amount)
            .and_then(|()| all.checked_plus(&one))
            .map(|sum| all = sum)
            .map_err(|problem| wrong(problem.message))?;
    }
    check(all)
}

/// Reservations and volumes are written down, and whoever reads that checks it: so it is checked now.
fn check(resources: Resources) -> Result<Resources, String> {
    if resources.special().next().is_none() {
        return Ok(resources);
    }
    let written = crate::resources::encode_resources(&resources);
    crate::resources::decode_resources(written).map_err(|problem| {
        let (field, message) = (&problem.field, &problem.message);
        format!("Resources are invalid: {field}: {message}")
    })
}

fn decode_one(given: &Resource, principal: &Principal) -> Result<(ResourceKind, Amount), String> {
    if given.provider_id.is_some() {
        return Err("resource providers are not supported".to_owned());
    }
    let name = ResourceName::new(&given.name).map_err(|problem| problem.message)?;
    let kind = ResourceKind {
        name,
        reservations: decode_reservations(given, principal)?,
        disk: given.disk.as_deref().map(decode_disk).transpose()?,
        is_revocable: given.revocable.is_some(),
        is_shared: given.shared.is_some(),
    };
    Ok((kind, decode_amount(given)?))
}

fn decode_amount(given: &Resource) -> Result<Amount, String> {
    let lacks = |what: &str| format!("it has no {what}");
    match value::Type::try_from(given.r#type) {
        Ok(value::Type::Scalar) => {
            let scalar = given.scalar.as_ref().ok_or_else(|| lacks("scalar"))?;
            let milli = milli_of(scalar.value);
            let milli = milli.map_err(|why| format!("{} {why}", scalar.value))?;
            Ok(Amount::Scalar(milli))
        }
        Ok(value::Type::Ranges) => {
            let ranges = given.ranges.as_ref().ok_or_else(|| lacks("ranges"))?;
            let range = ranges.range.iter().map(|range| Range {
                begin: range.begin,
                end: range.end,
            });
            let set = RangeSet::from_given(range.collect());
            set.map(Amount::Ranges).map_err(|problem| problem.message)
        }
        Ok(value::Type::Set) => {
            let set = given.set.as_ref().ok_or_else(|| lacks("set"))?;
            let set = ItemSet::from_given(&set.item);
            set.map(Amount::Set).map_err(|problem| problem.message)
        }
        Ok(value::Type::Text) | Err(_) => Err("it is of no known type".to_owned()),
    }
}

fn decode_reservations(
    given: &Resource,
    principal: &Principal,
) -> Result<Vec<Reservation>, String> {
    if !given.reservations.is_empty() {
        let all = given.reservations.iter();
        return all
            .map(|one| {
                let is_static = one.r#type == Some(reservation_info::Type::Static.into());
                decode_reservation(one, one.role.as_deref(), is_static, principal)
            })
            .collect();
    }
    let role = given.role.as_deref().filter(|role| *role != "*");
    match (role, &given.reservation) {
        (None, None) => Ok(Vec::new()),
        (None, Some(one)) => {
            let role = one.role.as_deref();
            Ok(vec![decode_reservation(one, role, false, principal)?])
        }
        (Some(_), None) => {
            let bare = ReservationInfo::default();
            Ok(vec![decode_reservation(&bare, role, true, principal)?])
        }
        (Some(_), Some(one)) => Ok(vec![decode_reservation(one, role, false, principal)?]),
    }
}

fn decode_reservation(
    given: &ReservationInfo,
    role: Option<&str>,
    is_static: bool,
    principal: &Principal,
) -> Result<Reservation, String> {
    let role = role.ok_or("a reservation has no role")?;
    let maker = match &given.principal {
        Some(name) => Some(Principal::new(name).map_err(|problem| problem.message)?),
        None => (!is_static).then(|| principal.clone()),
    };
    Ok(Reservation {
        role: Role::new(role).map_err(|problem| problem.message)?,
        principal: maker,
        labels: given.labels.as_ref().map(labels_map).unwrap_or_default(),
    })
}

fn decode_disk(given: &DiskInfo) -> Result<Disk, String> {
    let volume = given.persistence.as_ref().map(|persistence| {
        let principal = persistence.principal.as_deref().map(Principal::new);
        Ok::<_, proffer_model::Problem>(Volume {
            id: persistence.id.parse()?,
            principal: principal.transpose()?,
            mountpoint: given.volume.as_ref().map(|at| Mountpoint {
                path: at.container_path.clone(),
                is_read_only: at.mode == i32::from(volume::Mode::Ro),
            }),
        })
    });
    let source = given.source.as_ref().map(decode_source).transpose()?;
    Ok(Disk {
        source,
        volume: volume.transpose().map_err(|problem| problem.message)?,
    })
}

fn decode_source(given: &Source) -> Result<DiskSource, String> {
    match source::Type::try_from(given.r#type) {
        Ok(source::Type::Path) => Ok(DiskSource::Path {
            root: root(given.path.as_ref().and_then(|path| path.root.as_ref())),
        }),
        Ok(source::Type::Mount) => Ok(DiskSource::Mount {
            root: root(given.mount.as_ref().and_then(|mount| mount.root.as_ref())),
        }),
        Ok(source::Type::Block) => Ok(DiskSource::Block {
            id: root(given.id.as_ref()),
        }),
        Ok(source::Type::Raw) => Ok(DiskSource::Raw {
            id: given.id.clone(),
            profile: given.profile.clone(),
        }),
        Ok(source::Type::Unknown) | Err(_) => Err("its disk is of no known type".to_owned()),
    }
}

fn root(given: Option<&String>) -> String {
    given.cloned().unwrap_or_default()
}

/// Where a task wants to find the persistent volumes among its resources.
pub(super) fn mounts_of(given: &[Resource]) -> Result<Vec<VolumeMount>, String> {
    let mut mounts = Vec::new();
    for disk in given.iter().filter_map(|resource| resource.disk.as_ref()) {
        if let (Some(persistence), Some(at)) = (&disk.persistence, &disk.volume) {
            let id = persistence.id.parse();
            mounts.push(VolumeMount {
                volume: id.map_err(|problem: proffer_model::Problem| problem.message)?,
                path: at.container_path.clone(),
                is_read_only: at.mode == i32::from(volume::Mode::Ro),
            });
        }
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesos::{read_json, write_json};

    fn principal() -> Principal {
        Principal::new("ops").expect("a principal")
    }

    fn json(resources: &Resources, form: &ResourceForm) -> String {
        let all = encode_resources(resources, form);
        let texts = all.iter().map(|one| String::from_utf8(write_json(one)));
        let texts: Result<Vec<_>, _> = texts.collect();
        texts.expect("text").join(" ")
    }

    fn read(text: &str) -> Result<Resources, String> {
        decode_resources(&[read_json(text.as_bytes())?], &principal())
    }

    #[test]
    fn an_offer_lists_ports_first_and_roles_as_its_reader_knows_them() {
        let all: Resources = "cpus:16;mem:0.5;ports:[31000-32000]".parse().expect("good");
        let text = concat!(
            r#"{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":32000}]},"role":"*"} "#,
            r#"{"name":"cpus","type":"SCALAR","scalar":{"value":16.0},"role":"*"} "#,
            r#"{"name":"mem","type":"SCALAR","scalar":{"value":0.5},"role":"*"}"#
        );
        assert_eq!(json(&all, &ResourceForm::default()), text);
        let cpu: Resources = "cpus(r1):1".parse().expect("good");
        let refined = ResourceForm {
            allocated_to: Some("r1".parse().expect("a role")),
            is_refined: true,
        };
        assert_eq!(
            json(&cpu, &refined),
            r#"{"name":"cpus","type":"SCALAR","scalar":{"value":1.0},"allocation_info":{"role":"r1"},"reservations":[{"type":"STATIC","role":"r1"}]}"#
        );
        assert_eq!(
            json(&cpu, &ResourceForm::default()),
            r#"{"name":"cpus","type":"SCALAR","scalar":{"value":1.0},"role":"r1"}"#
        );
    }

    #[test]
    fn what_was_written_is_read_in_both_forms() {
        let all: Resources = concat!(
            "cpus:1.5;zones:{a,b};cpus(eng):2;cpus(eng,ops):3;cpus{REV}:4;disk@MOUNT:/mnt/a:100;",
            "disk(eng,ops)[v]:64;mem(eng,bob,{k:w}):7"
        )
        .parse()
        .expect("good");
        for is_refined in [false, true] {
            let form = ResourceForm {
                is_refined,
                allocated_to: None,
            };
            let encoded = encode_resources(&all, &form);
            assert_eq!(decode_resources(&encoded, &principal()), Ok(all.clone()));
        }
    }

    #[test]
    fn reservations_without_a_principal_are_their_makers() {
        let dynamic = r#"{"name":"cpus","type":"SCALAR","scalar":{"value":1},"reservations":[{"type":"DYNAMIC","role":"eng"}]}"#;
        assert_eq!(read(dynamic), Ok("cpus(eng,ops):1".parse().expect("good")));
        let old =
            r#"{"name":"cpus","type":"SCALAR","scalar":{"value":1},"role":"eng","reservation":{}}"#;
        assert_eq!(read(old), read(dynamic));
    }

    #[test]
    fn what_is_no_resource_is_refused() {
        for (text, why) in [
            (
                r#"{"name":"cpus","type":"SCALAR","scalar":{"value":-1}}"#,
                "Resource 'cpus' is invalid: -1 is not a positive number",
            ),
            (
                r#"{"name":"cpus","type":"SCALAR"}"#,
                "Resource 'cpus' is invalid: it has no scalar",
            ),
            (
                r#"{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":2,"end":1}]}}"#,
                "Resource 'ports' is invalid: the range 2-1 is reversed",
            ),
            (
                r#"{"name":"1","type":"SCALAR","scalar":{"value":1}}"#,
                "Resource '1' is invalid: ",
            ),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.starts_with(why), "{refused}");
        }
    }

    #[test]
    fn mounts_are_where_persistent_volumes_are_wanted() {
        let text = r#"{"name":"disk","type":"SCALAR","scalar":{"value":1},"role":"eng","disk":{"persistence":{"id":"v"},"volume":{"mode":"RO","container_path":"data"}}}"#;
        let volume = read_json(text.as_bytes()).expect("reads");
        let mounts = mounts_of(&[volume]).expect("mounts");
        assert_eq!(mounts.len(), 1);
        assert!(mounts[0].is_read_only && mounts[0].path == "data");
        // It is offered as it was made, also when it was written down in between.
        let made = read(text).expect("a volume");
        let kept = crate::resources::encode_resources(&made);
        let kept = crate::resources::decode_resources(kept).expect("what was written");
        let [offered] = encode_resources(&kept, &ResourceForm::default())
            .try_into()
            .expect("one");
        assert_eq!(mounts_of(&[offered]), Ok(mounts));
    }
}
