//! A whole agent against a master that the test plays: real files, real supervisors, real tasks.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml lets tests do this, but does not count their helper functions as tests"
)]

mod bench;
mod checks;
mod containers;
mod encrypted;
mod executors;
mod fetching;
mod hostile;
mod images;
mod launches;
mod logs;
mod mesos;
mod pages;
mod recovery;
mod silence;
mod volumes;
