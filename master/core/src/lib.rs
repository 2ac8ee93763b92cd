//! The master's pure core: every decision about agents, frameworks, offers and tasks; no clock, no randomness, no I/O.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod effect;
pub mod event;
