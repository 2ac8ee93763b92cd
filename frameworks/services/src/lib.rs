//! The service framework: keeps long-running apps alive, and speaks Marathon's REST API.
//!
//! An ordinary framework on the public SDK. Everything is decided in `proffer-services-core`; here are the session, the kept
//! state, the REST API and the event stream. Start reading at `running.rs`, then `driver.rs`.
#![forbid(unsafe_code)]

mod config;
mod driver;
mod identity;
mod json;
mod limits;
mod master;
mod metrics;
#[doc(hidden)]
pub mod parsers;
mod rest;
mod running;
mod store;
mod stream;
mod view;

pub use config::{Config, Options};
pub use running::{Running, run, start};
