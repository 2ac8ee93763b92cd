//! The pure core of the service framework: which instances of which apps are to run, and what is done so that they do.
//!
//! One value, [`core::Core`], and one function, `step`; no I/O, no clock, no randomness, no hash order. Start reading at
//! [`event`], then [`effect`], then [`core`]; the numbers of a rolling update are in [`plan`], what an app may say in [`app`].
#![forbid(unsafe_code)]

pub mod amount;
mod api;
pub mod app;
pub mod backoff;
pub mod container;
pub mod core;
pub mod deployment;
pub mod effect;
mod environment;
pub mod event;
pub mod explain;
pub mod health;
pub mod id;
pub mod instance;
mod invariants;
mod launch;
pub mod limits;
pub mod plan;
pub mod port;
mod reconcile;
mod update;

#[cfg(test)]
mod tests;
