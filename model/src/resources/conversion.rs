//! What operations make of resources: reservations made and taken away, volumes made, destroyed, grown and shrunk.
//!
//! Pure: each says what goes and what comes instead, or why not. Who may do it and whether it is in use is decided
//! elsewhere. The rules are Mesos's.

use crate::code;
use crate::id::{ResourceName, VolumeId};
use crate::problem::Problem;
use crate::resource_kind::{Disk, DiskSource, Reservation, ResourceKind};

use super::Resources;
use super::amount::{Amount, Piece, Pieces};
use super::milli::format_milli;

/// What goes and what comes instead; the same quantities on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversion {
    /// What goes.
    pub from: Resources,
    /// What comes.
    pub to: Resources,
}

impl Conversion {
    /// Reserves: `reserved` is as it is to be, with the new reservation on top.
    pub fn reserve(reserved: &Resources) -> Result<Self, Problem> {
        let from = reserved.pop_reservation()?;
        Ok(Self {
            from,
            to: reserved.clone(),
        })
    }

    /// Takes the topmost reservation away; `reserved` is as it is.
    pub fn unreserve(reserved: &Resources) -> Result<Self, Problem> {
        let to = reserved.pop_reservation()?;
        Ok(Self {
            from: reserved.clone(),
            to,
        })
    }

    /// Makes volumes: `volumes` are as they are to be.
    pub fn create(volumes: &Resources) -> Result<Self, Problem> {
        Ok(Self {
            from: volumes.mapped(|kind, amount| {
                check_volume(kind)?;
                check_new_volume(kind, amount)?;
                Ok((without_volume(kind), once(amount)))
            })?,
            to: volumes.clone(),
        })
    }

    /// Destroys volumes; `volumes` are as they are. All copies of a shared one must be here.
    pub fn destroy(volumes: &Resources) -> Result<Self, Problem> {
        Ok(Self {
            from: volumes.clone(),
            to: volumes.mapped(|kind, amount| {
                check_volume(kind)?;
                Ok((without_volume(kind), once(amount)))
            })?,
        })
    }

    /// Makes the volume that is in `offered` larger by so many thousandths of disk of the same reservation and source, which
    /// must be there too.
    pub fn grow(offered: &Resources, volume: &VolumeId, milli: u64) -> Result<Self, Problem> {
        let (kind, size) = divisible(offered, volume, milli)?;
        let mut from = Resources::new();
        from.put(kind.clone(), Amount::Scalar(size));
        from.put(without_volume(&kind), Amount::Scalar(milli));
        let mut to = Resources::new();
        let grown = Amount::Whole(Pieces::new(size.saturating_add(milli), 1));
        grown.check().map_err(|problem| problem.field("milli"))?;
        to.put(kind, grown);
        Ok(Self { from, to })
    }

    /// Makes the volume that is in `offered` smaller by so many thousandths, which become disk of the same reservation and
    /// source.
    pub fn shrink(offered: &Resources, volume: &VolumeId, milli: u64) -> Result<Self, Problem> {
        let (kind, size) = divisible(offered, volume, milli)?;
        let Some(rest) = size.checked_sub(milli).filter(|rest| *rest > 0) else {
            let message = format!("the volume has {}", format_milli(size));
            return Err(Problem::new(code::VOLUME_INVALID, message)
                .field("milli")
                .hint("leave something of the volume, or destroy it"));
        };
        let mut from = Resources::new();
        from.put(kind.clone(), Amount::Scalar(size));
        let mut to = Resources::new();
        to.put(without_volume(&kind), Amount::Scalar(milli));
        to.put(kind, Amount::Scalar(rest));
        Ok(Self { from, to })
    }

    /// These resources with what goes replaced by what comes; the problem names what is not there.
    pub fn apply(&self, resources: &Resources) -> Result<Resources, Problem> {
        if let Some((kind, amount)) = resources.first_missing(&self.from) {
            let message = format!("{kind} is not there: {amount}");
            return Err(Problem::new(code::RESOURCES_INVALID, message)
                .field(kind.name.as_str())
                .hint("name resources as they are offered"));
        }
        Ok(resources.minus(&self.from).plus(&self.to))
    }
}

impl Resources {
    /// The same with a reservation on top of each; strictly beneath those that are there, and of nothing revocable.
    pub fn push_reservation(&self, reservation: &Reservation) -> Result<Self, Problem> {
        self.mapped(|kind, amount| {
            check_reservable(kind)?;
            reservation.check(kind.reserved_to())?;
            let mut kind = kind.clone();
            kind.reservations.push(reservation.clone());
            Ok((kind, amount.clone()))
        })
    }

    /// The same with the topmost reservation of each taken away.
    pub fn pop_reservation(&self) -> Result<Self, Problem> {
        self.mapped(|kind, amount| {
            check_reservable(kind)?;
            let mut kind = kind.clone();
            if kind.reservations.pop().is_none() {
                let problem = Problem::new(code::RESERVATION_INVALID, "it is not reserved");
                return Err(problem.hint("give resources with their reservations"));
            }
            Ok((kind, amount.clone()))
        })
    }

    /// Every item made into another; a problem names the resource.
    fn mapped(
        &self,
        map: impl Fn(&ResourceKind, &Amount) -> Result<(ResourceKind, Amount), Problem>,
    ) -> Result<Self, Problem> {
        let mut out = Self::new();
        for (kind, amount) in self.iter() {
            let mapped = map(&kind, amount).map_err(|problem| problem.within(&kind.name));
            let (kind, amount) = mapped?;
            out.put(kind, amount);
        }
        Ok(out)
    }
}

fn check_reservable(kind: &ResourceKind) -> Result<(), Problem> {
    let refused = |message: &str| Problem::new(code::RESERVATION_INVALID, message);
    if kind.is_revocable {
        return Err(refused("what is revocable cannot be reserved")
            .hint("reserve resources that are not revocable"));
    }
    if let Some(volume) = kind.volume() {
        let message = format!("{} is a volume: its reservation stays", volume.id);
        return Err(refused(&message).hint("destroy the volume first"));
    }
    Ok(())
}

fn check_volume(kind: &ResourceKind) -> Result<(), Problem> {
    if kind.name != ResourceName::DISK || kind.volume().is_none() {
        let message = format!("{kind} is not a volume");
        return Err(Problem::new(code::VOLUME_INVALID, message)
            .hint("give disk with the id of a volume, as in disk(eng)[logs]:64"));
    }
    Ok(())
}

fn check_new_volume(kind: &ResourceKind, amount: &Amount) -> Result<(), Problem> {
    let refused =
        |message: &str, hint: &str| Err(Problem::new(code::VOLUME_INVALID, message).hint(hint));
    if kind.is_unreserved() {
        return refused("a volume needs reserved disk", "reserve the disk first");
    }
    if kind.is_revocable {
        return refused(
            "a volume needs disk that stays",
            "give disk that is not revocable",
        );
    }
    let source = kind.disk.as_ref().and_then(|disk| disk.source.as_ref());
    if matches!(
        source,
        Some(DiskSource::Block { .. } | DiskSource::Raw { .. })
    ) {
        return refused(
            "a volume needs a file system",
            "use PATH or MOUNT disks, or the agent's own",
        );
    }
    match amount {
        Amount::Whole(pieces) if pieces.iter().map(|piece| piece.copies).eq([1]) => Ok(()),
        _ => refused("the volume is given several times", "give each volume once"),
    }
}

/// The one volume of this id that can grow and shrink, and its size.
fn divisible(
    offered: &Resources,
    id: &VolumeId,
    milli: u64,
) -> Result<(ResourceKind, u64), Problem> {
    let mut found = offered.volumes().filter(|(_, volume, _)| volume.id == *id);
    let (Some((kind, _, amount)), other) = (found.next(), found.next()) else {
        let message = format!("there is no volume {id} among the resources");
        return Err(Problem::new(code::VOLUME_UNKNOWN, message)
            .field("volume_id")
            .hint("name a volume that is offered"));
    };
    let refused = |field: &str, message: &str| {
        Err(Problem::new(code::VOLUME_INVALID, message)
            .field(field)
            .hint("make another volume instead"))
    };
    let source = kind.disk.as_ref().and_then(|disk| disk.source.as_ref());
    if other.is_some() {
        return refused("volume_id", "there are several volumes of this id");
    }
    if kind.is_shared {
        return refused("volume_id", "a shared volume keeps its size");
    }
    if !matches!(source, None | Some(DiskSource::Path { .. })) {
        return refused("volume_id", "a volume on a whole disk keeps its size");
    }
    if milli == 0 {
        return refused("milli", "the amount is 0");
    }
    Ok((kind.clone(), amount.quantity(false)))
}

/// The disk that a volume is made of.
fn without_volume(kind: &ResourceKind) -> ResourceKind {
    let source = kind.disk.as_ref().and_then(|disk| disk.source.clone());
    ResourceKind {
        disk: source.map(|source| Disk {
            source: Some(source),
            volume: None,
        }),
        is_shared: false,
        ..kind.clone()
    }
}

/// The same things, each of them once.
fn once(amount: &Amount) -> Amount {
    let Amount::Whole(pieces) = amount else {
        return amount.clone();
    };
    let mut single = Amount::Whole(Pieces::default());
    for Piece { milli, .. } in pieces.iter() {
        single.add(&Amount::Whole(Pieces::new(*milli, 1)));
    }
    single
}
