//! What an agent keeps on disk of its persistent volumes.

use crate::link::AgentVolume;

/// A directory that is, or was, a persistent volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptVolume {
    /// Which.
    pub volume: AgentVolume,
    /// Where its files are.
    pub place: VolumePlace,
    /// Since when nobody wants it any more, wall milliseconds.
    pub retired_wall_ms: Option<u64>,
    /// Whether a container has had it: what root has left in it must not come within reach of other users.
    pub is_contained: bool,
}

/// Where the files of a volume are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumePlace {
    /// Beside the record.
    Own,
    /// In a directory of the record's name beneath this one.
    Path {
        /// Where, on the host.
        root: String,
    },
    /// This directory is it.
    Mount {
        /// Where, on the host.
        root: String,
    },
}
