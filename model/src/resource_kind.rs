//! What makes two resources of one name different things: reservations, disks, volumes, revocability. Only what is of the
//! same kind adds up.
//!
//! Mesos's rules of identity: the whole stack of reservations counts, with principals and labels; a persistent volume is
//! itself alone and never splits; a mounted or raw disk never splits; where a volume is mounted in a container does not
//! count.

use std::collections::BTreeMap;

use crate::id::{Principal, ResourceName, Role, VolumeId};

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

/// A persistent volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volume {
    /// Its id, unique on the agent within its role.
    pub id: VolumeId,
    /// Who made it.
    pub principal: Option<Principal>,
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
}
