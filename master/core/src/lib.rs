//! The master's pure core: every decision about agents, frameworks, offers and tasks; no clock, no randomness, no I/O.
//!
//! Start reading at [`event`] and [`effect`], then `core.rs`. A file each: `agents`, `capacity`, `settlement`, `silence`;
//! `frameworks`, `endings`, `sessions`, `subscriptions`, `telling`, `tail`, `acknowledgements`, `calls`, `answers`, `rates`, `state`,
//! `watches`; `tasks`, `kill_wishes`, `updates`; `allocation` (who is offered what), `demand`, `triggers`, `ledger`, `offers`, `windows`, `accept`,
//! `conversions`, `quota`, `operators`, `questions`, `explain`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod absences;
mod accept;
mod acknowledgements;
mod agents;
pub mod allocation;
mod amounts;
mod answers;
mod awaited;
mod calls;
mod capacity;
pub mod config;
mod conversions;
pub mod core;
mod demand;
mod drain;
pub mod effect;
mod endings;
pub mod event;
mod executors;
mod explain;
mod frameworks;
mod gone;
mod ids;
mod invariants;
mod kill_wishes;
mod ledger;
pub mod limits;
mod offers;
mod operators;
mod places;
mod predicates;
mod questions;
mod quota;
mod rates;
mod reclaim;
mod reconciliation;
mod replacement;
mod rows;
mod sessions;
mod settlement;
mod silence;
mod state;
mod subscriptions;
mod tail;
mod task_table;
mod tasks;
mod telling;
#[cfg(test)]
mod tests;
mod triggers;
mod turn;
mod unheard;
mod updates;
mod volumes;
mod watches;
mod windows;

pub use config::Config;
pub use core::Core;
