//! The discovery sidecar: keeps HAProxy's configuration true to what runs where.
//!
//! It reads the services' public API and events, renders a Tera template over closed types, has HAProxy check the result off
//! to the side, and applies the smallest change: over HAProxy's socket where only servers come and go, else by a reload that
//! refuses no connection. HAProxy outlives it. Start reading at [`core`], where everything is decided; [`model`] says what
//! is served, [`apply`] does it.
#![forbid(unsafe_code)]

pub mod admin;
pub mod apply;
pub mod apps;
pub mod backoff;
pub mod change;
pub mod config;
pub mod core;
pub mod digest;
pub mod driver;
pub mod feed;
pub mod haproxy;
pub mod label;
pub mod limits;
pub mod metrics;
pub mod model;
pub mod name;
pub mod render;
mod start;
pub mod status;

pub use config::{Config, Options};
pub use haproxy::find_haproxy;
pub use start::{Running, dry_run, render_apps, run, start};
