//! Resources that are not ordinary: reserved, revocable, on other disks, volumes.
//!
//! The model's own constructor checks what may go together; here are texts, ids, and what proto3 cannot tell apart.

use std::collections::BTreeMap;

use proffer_model::limits::{ENTRIES_MAX, RANGES_MAX};
use proffer_model::ranges::RangeSet;
use proffer_model::resource_kind::Mountpoint;
use proffer_model::resources::{Amount, ItemSet, Pieces};
use proffer_model::{Disk, DiskSource, Problem, Reservation, ResourceKind, Role, Volume};

use crate::fields::{
    check_count, decode_id, decode_list, decode_optional_id, decode_text, required,
};
use crate::resources::{decode_range, encode_range};
use crate::v1;
use crate::v1::disk::Source;
use crate::v1::special_resource::Amount as WireAmount;

/// One amount; of whole things, each size.
pub(crate) fn encode_special(
    kind: &ResourceKind,
    amount: &Amount,
    out: &mut Vec<v1::SpecialResource>,
) {
    let special = |amount, copies| v1::SpecialResource {
        name: kind.name.to_string(),
        reservations: kind.reservations.iter().map(encode_reservation).collect(),
        disk: kind.disk.as_ref().map(encode_disk),
        revocable: kind.is_revocable,
        shared: kind.is_shared,
        amount: Some(amount),
        copies,
    };
    match amount {
        Amount::Scalar(milli) => out.push(special(WireAmount::Milli(*milli), 0)),
        Amount::Ranges(set) => {
            let ranges = set.ranges().iter().map(encode_range).collect();
            out.push(special(WireAmount::Ranges(v1::RangeList { ranges }), 0));
        }
        Amount::Set(set) => {
            let items = set.iter().map(str::to_owned).collect();
            out.push(special(WireAmount::Items(v1::ItemList { items }), 0));
        }
        Amount::Whole(pieces) => out.extend(pieces.iter().map(|piece| {
            let copies = if piece.copies == 1 { 0 } else { piece.copies };
            special(WireAmount::Milli(piece.milli), copies)
        })),
    }
}

/// One amount; the problem's path begins within it.
pub(crate) fn decode_special(
    special: v1::SpecialResource,
) -> Result<(ResourceKind, Amount), Problem> {
    let kind = ResourceKind {
        name: decode_id(&special.name, "name")?,
        reservations: decode_reservations(special.reservations)?,
        disk: special
            .disk
            .map(decode_disk)
            .transpose()
            .map_err(|problem| problem.within("disk"))?,
        is_revocable: special.revocable,
        is_shared: special.shared,
    };
    let amount = match required(special.amount, "amount")? {
        WireAmount::Milli(milli) => match special.copies {
            0 | 1 => Amount::Scalar(milli),
            copies => Amount::Whole(Pieces::new(milli, copies)),
        },
        WireAmount::Ranges(list) => {
            check_count(list.ranges.len(), "ranges", RANGES_MAX)?;
            let set = RangeSet::from_given(list.ranges.iter().map(decode_range).collect());
            Amount::Ranges(set.map_err(|problem| problem.within("ranges"))?)
        }
        WireAmount::Items(list) => {
            let set = ItemSet::from_given(list.items);
            Amount::Set(set.map_err(|problem| problem.within("items"))?)
        }
    };
    Ok((kind, amount))
}

/// A reservation for the wire.
pub fn encode_reservation(reservation: &Reservation) -> v1::Reservation {
    let principal = reservation.principal.as_ref();
    v1::Reservation {
        role: reservation.role.to_string(),
        principal: principal.map(ToString::to_string).unwrap_or_default(),
        labels: reservation.labels.clone(),
    }
}

/// A reservation from the wire.
pub fn decode_reservation(reservation: v1::Reservation) -> Result<Reservation, Problem> {
    check_count(reservation.labels.len(), "labels", ENTRIES_MAX)?;
    let mut labels = BTreeMap::new();
    for (name, value) in reservation.labels {
        let name = decode_text(name, "labels")?;
        let value = decode_text(value, "labels")?;
        labels.insert(name, value);
    }
    Ok(Reservation {
        role: decode_id::<Role>(&reservation.role, "role")?,
        principal: decode_optional_id(&reservation.principal, "principal")?,
        labels,
    })
}

fn decode_reservations(reservations: Vec<v1::Reservation>) -> Result<Vec<Reservation>, Problem> {
    decode_list(
        reservations,
        "reservations",
        ENTRIES_MAX,
        decode_reservation,
    )
}

fn encode_disk(disk: &Disk) -> v1::Disk {
    let source = disk.source.as_ref().map(|source| match source {
        DiskSource::Path { root } => Source::Path(root.clone()),
        DiskSource::Mount { root } => Source::Mount(root.clone()),
        DiskSource::Block { id } => Source::Block(id.clone()),
        DiskSource::Raw { id, profile } => Source::Raw(v1::RawDisk {
            id: id.clone().unwrap_or_default(),
            profile: profile.clone().unwrap_or_default(),
        }),
    });
    let volume = disk.volume.as_ref().map(|volume| v1::Volume {
        id: volume.id.to_string(),
        principal: volume
            .principal
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        mountpoint: volume.mountpoint.as_ref().map(|at| v1::Mountpoint {
            path: at.path.clone(),
            read_only: at.is_read_only,
        }),
    });
    v1::Disk { source, volume }
}

fn decode_disk(disk: v1::Disk) -> Result<Disk, Problem> {
    let given = |text: String| (!text.is_empty()).then_some(text);
    let source = disk.source.map(|source| match source {
        Source::Path(root) => DiskSource::Path { root },
        Source::Mount(root) => DiskSource::Mount { root },
        Source::Block(id) => DiskSource::Block { id },
        Source::Raw(raw) => DiskSource::Raw {
            id: given(raw.id),
            profile: given(raw.profile),
        },
    });
    let volume = disk.volume.map(|volume| {
        Ok(Volume {
            id: decode_id(&volume.id, "id")?,
            principal: decode_optional_id(&volume.principal, "principal")?,
            mountpoint: volume.mountpoint.map(decode_mountpoint).transpose()?,
        })
    });
    let volume = volume.transpose();
    Ok(Disk {
        source,
        volume: volume.map_err(|problem: Problem| problem.within("volume"))?,
    })
}

fn decode_mountpoint(at: v1::Mountpoint) -> Result<Mountpoint, Problem> {
    Ok(Mountpoint {
        path: decode_text(at.path, "mountpoint.path")?,
        is_read_only: at.read_only,
    })
}
