//! Who leads: the election through ZooKeeper, and finding the leader among masters.
//!
//! Masters stand for election ([`Contender`]) and lead while they hold a [`Lease`]; agents, frameworks and the command
//! line find the leader ([`Finder`]) in a list of masters, or where ZooKeeper says that masters stand.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod lease;

pub use lease::Lease;
