//! The Rust SDK for authors of frameworks: schedulers that run tasks on a Proffer cluster.
//!
//! [`Framework::connect`] keeps a session with the leading master: it finds the leader in a list of masters, or where
//! ZooKeeper says that masters stand, subscribes, and begins anew with the same framework id whenever the session breaks. A [`Handle`] makes calls and gets a typed
//! answer to each; [`Events`] says what happens; [`State`] keeps small durable values with the master, so that a framework
//! needs no database. [`run`] drives a [`Scheduler`] for those who would rather write handlers than a loop.
//!
//! Five rules for authors:
//! - After [`session::Event::Closed`] every offer is void and every call that waited has failed; whether it was carried
//!   out is told by the statuses that follow the next [`session::Event::Subscribed`].
//! - Acknowledge an event when what it says is kept ([`Handle::acknowledge`]): the agent forgets a status only then.
//! - A status may come again, for its author may not have kept it, but no task goes backwards: of each incarnation the numbers
//!   and the states grow, the only way back is out of `Unreachable`, and an end is final: the SDK has a task killed that
//!   comes back after it. This holds while the program runs; one that starts again compares with what it kept itself.
//! - After a launch each task is refused, or what became of it comes as a status, also when the launch failed because the
//!   session ended.
//! - Ids that an earlier run of the program may have launched go through [`Handle::settle`] before they are launched. Until
//!   the end of a launch is told, or no agent is left that may have it, its id is refused with `task.duplicate`: kept so, no
//!   task is started twice, whatever is killed meanwhile.
//!
//! ```no_run
//! use proffer_sdk::model::{Problem, Role};
//! use proffer_sdk::session::Event;
//! use proffer_sdk::{ConnectOptions, Framework};
//!
//! # async fn example() -> Result<(), Problem> {
//! let options = ConnectOptions::new(["127.0.0.1:5050"], "watcher", [Role::new("web")?]);
//! let (handle, mut events) = Framework::connect(options)?;
//! while let Some(received) = events.next().await {
//!     if let Event::Updated(status) = received.event {
//!         // Keep what matters, then:
//!         handle.acknowledge(received.sequence);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(test)]
extern crate self as proffer_sdk;

mod driver;
mod events;
pub mod executor;
mod fate;
mod framework;
mod handle;
mod kept;
mod later;
mod ledger;
mod limits;
mod link;
mod memory;
pub mod offers;
mod options;
mod pump;
mod scheduler;
mod state;
pub mod testing;
#[cfg(test)]
mod tests;
mod token;
mod unanswered;

/// The guide's programs, compiled, and run where they need no cluster.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/write-a-framework.md")]
mod guide {}

pub use events::{Events, Received};
pub use framework::Framework;
pub use handle::{Connection, Handle, PendingAnswer, Session};
pub use options::ConnectOptions;
pub use proffer_model::{self as model, session};
pub use proffer_proto::decode_pattern as pattern;
pub use scheduler::{Scheduler, drive, run};
pub use state::{Expected, State, StateChange, Stored};
pub use token::find_local_token;
