//! Who leads: the election through ZooKeeper, and finding the leader among masters.
//!
//! Masters stand for election ([`Contender`]) and lead while they hold a [`Lease`]; agents, frameworks and the command
//! line find the leader ([`Finder`]) in a list of masters, or where ZooKeeper says that masters stand.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod ballot;
mod client;
mod clock;
mod election;
mod finder;
mod knock;
mod lease;
mod limits;
mod masters;
#[doc(hidden)]
pub mod parsers;
mod roll;
mod session;
mod url;

pub use ballot::{MESOS_CAPABILITIES, MESOS_VERSION};
pub use election::{Contender, Elected, Observer};
pub use finder::{
    Bearer, BearerFuture, Finder, FinderOptions, Found, Seen, Side, Standing, Term,
    limits::MASTERS_MAX,
};
pub use lease::Lease;
pub use limits::{SESSION_TIMEOUT_MAX, SESSION_TIMEOUT_MIN};
pub use masters::Masters;
pub use session::{Access, Call, Lifetime, Node, Session, SessionError};
pub use url::ZooKeeperUrl;
