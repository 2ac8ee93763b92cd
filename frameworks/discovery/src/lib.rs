//! The discovery sidecar: keeps HAProxy's configuration true to what runs where.
#![forbid(unsafe_code)]

pub mod apps;
pub mod digest;
pub mod label;
pub mod limits;
pub mod model;
pub mod name;
pub mod render;
