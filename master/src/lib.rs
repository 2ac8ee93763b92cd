//! The master's shell: listeners, wire, store, view; every decision is `proffer-master-core`'s.
//!
//! [`start`] binds the listeners, which live as long as the process. Behind them the campaign stands for election; when it
//! is won, a term is built (store, core, view, services), and when it is lost, all of that is dropped: nothing survives a
//! term but the store. In between the standby answers. A master whose store is its own leads at once, and its process
//! ends with its term. Start reading at `driver.rs`, the only file that knows both sides, then `campaign.rs`.
#![forbid(unsafe_code)]

mod attended;
mod background;
pub mod backup;
mod body;
mod campaign;
pub mod config;
mod driver;
mod election;
mod grpc;
mod http;
mod inbox;
pub mod limits;
mod mesos;
mod metrics;
mod outbox;
#[doc(hidden)]
pub mod parsers;
mod pass_on;
mod running;
mod standby;
mod standing;
pub mod store;
mod switch;
mod tenure;
mod term;
#[cfg(test)]
mod tests;
mod timers;
mod view;
mod waiting;
mod weight;
mod writer;

pub use config::{Config, Options};
pub use running::{Running, run, start};
