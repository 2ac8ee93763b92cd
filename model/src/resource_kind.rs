//! What makes two resources of one name different things: reservations, disks, volumes, revocability. Only what is of the
//! same kind adds up.
//!
//! Mesos's rules of identity: the whole stack of reservations counts, with principals and labels; a persistent volume is
//! itself alone and never splits; a mounted or raw disk never splits; where a volume is mounted in a container does not
//! count.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::code;
use crate::id::{Principal, ResourceName, Role, VolumeId};
use crate::limits::{ENTRIES_MAX, PATH_LEN_MAX, TEXT_LEN_MAX};
use crate::problem::Problem;
use crate::resources::{Amount, Pieces};

/// The identity of a resource. Ordinary ones have a name and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceKind {
    /// `cpus`, `mem`, `disk`, `ports`, …
    pub name: ResourceName,
    /// For whom it is, the outermost first; each is for a role beneath the one before it. Empty: for everybody.
    pub reservations: Vec<Reservation>,
    /// Which disk it is, and which volume on it. Only `disk` has one.
    pub disk: Option<Disk>,
    /// It may be taken back any time.
    pub is_revocable: bool,
    /// Several tasks may use it at once. Only volumes are.
    pub is_shared: bool,
}

/// That a resource is for one role and those beneath it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reservation {
    /// The role.
    pub role: Role,
    /// Who made it. The agent's configuration made those without.
    pub principal: Option<Principal>,
    /// What its maker wants to remember.
    pub labels: BTreeMap<String, String>,
}

/// A disk other than the agent's own, a volume, or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Disk {
    /// Where the bytes are; absent: on the agent's own disk.
    pub source: Option<DiskSource>,
    /// What is kept there when the task that wrote it has ended.
    pub volume: Option<Volume>,
}

/// A disk of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskSource {
    /// A directory, whose space can be divided.
    Path {
        /// Where, on the host.
        root: String,
    },
    /// A whole file system: all of it or nothing.
    Mount {
        /// Where, on the host.
        root: String,
    },
    /// A block device without a file system: all of it or nothing.
    Block {
        /// What tells it from others.
        id: String,
    },
    /// Space that a storage provider has; divided while it has no id.
    Raw {
        /// What tells it from others, when it is something already.
        id: Option<String>,
        /// What kind of storage.
        profile: Option<String>,
    },
}

/// A persistent volume. It is the same whatever its mountpoint.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its id, unique on the agent within its role.
    pub id: VolumeId,
    /// Who made it.
    pub principal: Option<Principal>,
    /// Where its maker wants tasks to find it.
    pub mountpoint: Option<Mountpoint>,
}

/// Where the maker of a volume wants tasks to find it. It is shown with the volume, as Mesos's frameworks expect it; a task
/// may mount the volume elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mountpoint {
    /// The path, relative to a task's sandbox or absolute in its container.
    pub path: String,
    /// Whether tasks are to read only.
    pub is_read_only: bool,
}

impl Volume {
    /// What tells it from others.
    fn identity(&self) -> (&VolumeId, Option<&Principal>) {
        (&self.id, self.principal.as_ref())
    }
}

impl PartialEq for Volume {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Volume {}

impl PartialOrd for Volume {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Volume {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl ResourceKind {
    /// An ordinary resource.
    pub fn plain(name: ResourceName) -> Self {
        Self {
            name,
            reservations: Vec::new(),
            disk: None,
            is_revocable: false,
            is_shared: false,
        }
    }

    /// Whether it is for nobody in particular.
    pub fn is_unreserved(&self) -> bool {
        self.reservations.is_empty()
    }

    /// The role that it is for, when it is for one.
    pub fn reserved_to(&self) -> Option<&Role> {
        self.reservations
            .last()
            .map(|reservation| &reservation.role)
    }

    /// Whether a framework in this role may have it: unreserved, reserved to the role, or to one above it.
    pub fn is_allocatable_to(&self, role: &Role) -> bool {
        self.reserved_to().is_none_or(|of| of.holds(role))
    }

    /// The volume that it is.
    pub fn volume(&self) -> Option<&Volume> {
        self.disk.as_ref()?.volume.as_ref()
    }

    /// Whether it is there as a whole or not at all.
    pub fn is_whole(&self) -> bool {
        let Some(disk) = &self.disk else { return false };
        let is_divided = match &disk.source {
            None | Some(DiskSource::Path { .. }) => true,
            Some(DiskSource::Raw { id, .. }) => id.is_none(),
            Some(DiskSource::Mount { .. } | DiskSource::Block { .. }) => false,
        };
        disk.volume.is_some() || !is_divided
    }

    /// Whether it has a name and nothing else.
    pub fn is_plain(&self) -> bool {
        self.reservations.is_empty() && self.disk.is_none() && !self.is_revocable && !self.is_shared
    }

    /// Whether there may be several that nothing tells apart: whole disks without a place.
    pub(crate) fn may_repeat(&self) -> bool {
        let source = self.disk.as_ref().and_then(|disk| disk.source.as_ref());
        let is_nameless = source.is_some_and(|source| match source {
            DiskSource::Mount { root } => root.is_empty(),
            DiskSource::Block { id } => id.is_empty(),
            DiskSource::Path { .. } | DiskSource::Raw { .. } => false,
        });
        self.volume().is_none() && is_nameless
    }

    /// The same in its one form, with an amount in the form that the kind has: whole or divided.
    pub(crate) fn normalized(mut self, amount: Amount) -> (Self, Amount) {
        let is_own_disk = |disk: &Disk| disk.source.is_none() && disk.volume.is_none();
        if self.disk.as_ref().is_some_and(is_own_disk) {
            self.disk = None;
        }
        let amount = match amount {
            Amount::Scalar(milli) if self.is_whole() => Amount::Whole(Pieces::new(milli, 1)),
            Amount::Whole(_) if !self.is_whole() => Amount::Scalar(amount.quantity(false)),
            amount => amount,
        };
        (self, amount)
    }

    /// Refuses what no resource can be.
    pub(crate) fn check(&self, amount: &Amount) -> Result<(), Problem> {
        let refused = |field: &str, message: &str| {
            let problem = Problem::new(code::RESOURCES_INVALID, message).field(field);
            Err(problem.hint("write disk(eng)[logs]:64, disk@MOUNT:/mnt/a:100 or cpus{REV}:4"))
        };
        for (i, reservation) in self.reservations.iter().enumerate() {
            let above = i
                .checked_sub(1)
                .and_then(|above| self.reservations.get(above));
            let above = above.map(|reservation| &reservation.role);
            let checked = reservation.check(above);
            checked.map_err(|problem| problem.within(format_args!("reservations[{i}]")))?;
        }
        let is_scalar = matches!(amount, Amount::Scalar(_) | Amount::Whole(_));
        if let Some(disk) = &self.disk {
            if self.name != ResourceName::DISK || !is_scalar {
                return refused("disk", "only amounts of disk have a source or are volumes");
            }
            if disk
                .source
                .as_ref()
                .is_some_and(|source| !source.is_right())
            {
                return refused("disk.source", "a path or an id is empty or too long");
            }
            let volume = disk.volume.as_ref();
            let mountpoint = volume.and_then(|volume| volume.mountpoint.as_ref());
            let is_long = |at: &Mountpoint| at.path.is_empty() || at.path.len() > PATH_LEN_MAX;
            if mountpoint.is_some_and(is_long) {
                return refused("disk.volume", "its path is empty or too long");
            }
        }
        if let Amount::Whole(pieces) = amount
            && !self.may_repeat()
        {
            let copies: u64 = pieces.iter().map(|piece| u64::from(piece.copies)).sum();
            if pieces.iter().len() > 1 || (copies > 1 && !self.is_shared) {
                return refused("copies", "there is only one of it");
            }
        }
        if self.is_shared && self.volume().is_none() {
            return refused("shared", "only volumes are shared");
        }
        if self.is_shared && self.is_revocable {
            return refused("shared", "what is revocable is not shared");
        }
        Ok(())
    }
}

impl Reservation {
    /// Refuses what cannot be reserved on top of a reservation to `above`.
    pub(crate) fn check(&self, above: Option<&Role>) -> Result<(), Problem> {
        let refused = |field: &str, message: String| {
            Problem::new(code::RESERVATION_INVALID, message).field(field)
        };
        if self.role.as_str() == "*" {
            let problem = refused("role", "'*' is everybody: nothing is reserved to it".into());
            return Err(problem.hint("name a role, or leave the reservation out"));
        }
        if let Some(above) = above
            && (*above == self.role || !above.holds(&self.role))
        {
            let message = format!("{} is not beneath {above}", self.role);
            let hint = "what is reserved can be reserved again to a role beneath, such as eng/web";
            return Err(refused("role", message).hint(hint));
        }
        if self.labels.len() > ENTRIES_MAX {
            let message = format!(
                "{} labels are given; the limit is {ENTRIES_MAX}",
                self.labels.len()
            );
            return Err(refused("labels", message).hint("give fewer labels"));
        }
        let is_long =
            |(name, value): (&String, &String)| name.len().max(value.len()) > TEXT_LEN_MAX;
        if self.labels.iter().any(is_long) {
            let message = format!("a label is longer than {TEXT_LEN_MAX} bytes");
            return Err(refused("labels", message).hint("give shorter labels"));
        }
        Ok(())
    }
}

impl DiskSource {
    fn is_right(&self) -> bool {
        let is_text = |text: &str| text.len() <= PATH_LEN_MAX && !text.contains(char::is_control);
        let is_given = |text: &Option<String>| {
            text.as_ref()
                .is_none_or(|text| !text.is_empty() && is_text(text))
        };
        match self {
            Self::Path { root } | Self::Mount { root } => is_text(root),
            Self::Block { id } => is_text(id),
            Self::Raw { id, profile } => is_given(id) && is_given(profile),
        }
    }
}
