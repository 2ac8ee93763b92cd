//! The agent's pure core: every decision about tasks, statuses, checks and the link to the leader; no clock, no
//! randomness, no I/O. Start reading at [`event`], then [`effect`], then [`core`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod changes;
mod checks;
pub mod core;
pub mod effect;
pub mod event;
mod executor;
mod garbage;
mod group;
mod invariants;
mod kill;
mod launch;
pub mod limits;
mod link;
mod loads;
mod mounts;
mod orders;
mod recovery;
mod sessions;
mod task;
pub mod tasks;
mod updates;
mod words;

#[cfg(test)]
mod tests;

pub use crate::core::{Core, Settings};
pub use crate::effect::{
    After, Change, Effect, Effects, Entry, ExecutorState, Fact, NewRun, Signal, TaskRow,
};
pub use crate::event::{
    Ended, Event, Found, Identity, LinkId, RecoveredExecutor, RecoveredRun, RunId, Seq, SessionId,
    TimerKey,
};
