//! Doors to what this crate parses and keeps to itself, for the fuzz targets in `tests/fuzz` alone.

use std::net::IpAddr;

use proffer_model::{Leader, Problem};

use crate::ballot::{self, Ballot};

/// The master of ours that a node names, if it does.
pub fn read_ballot(bytes: &[u8]) -> Option<Leader> {
    match ballot::decode(bytes) {
        Ballot::Ours(leader) => Some(leader),
        Ballot::Newer | Ballot::Foreign | Ballot::Unreadable => None,
    }
}

/// The bytes of a master's node.
pub fn write_ballot(leader: &Leader, ip: Option<IpAddr>) -> Vec<u8> {
    ballot::encode(leader, ip)
}

/// Whether a master can be told to others.
pub fn check_ballot(leader: &Leader) -> Result<(), Problem> {
    ballot::validate(leader)
}
