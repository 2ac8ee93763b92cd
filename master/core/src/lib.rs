//! The master's pure core: every decision about agents, frameworks, offers and tasks; no clock, no randomness, no I/O.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod config;
pub mod core;
pub mod effect;
pub mod event;

pub use config::Config;
pub use core::Core;
