//! The master's shell: listeners, wire, store, view; every decision is `proffer-master-core`'s.
//!
//! A process leads from its start to its end: [`start`] opens the store, begins a term and builds the core; what ends
//! the term (shutdown, the store, another leader) ends everything. Nothing survives a term but the store. Start reading
//! at `driver.rs`, the only file that knows both sides.
#![forbid(unsafe_code)]

pub mod config;
mod driver;
mod grpc;
mod http;
mod inbox;
pub mod limits;
mod metrics;
mod outbox;
mod running;
pub mod store;
#[cfg(test)]
mod tests;
mod timers;
mod view;
mod writer;

pub use config::{Config, Options};
pub use running::{Running, run, start};
