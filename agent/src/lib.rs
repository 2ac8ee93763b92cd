//! The agent's shell: containers, files, the link to the leader; every decision is `proffer-agent-core`'s.
//!
//! Start reading at [`mod@driver`], the only file that knows both sides; then `process.rs` for how containers are found
//! and started, `checkpoint.rs` for what is kept, and [`supervisor`] for the program that outlives the agent.
#![deny(missing_docs)]

mod checkpoint;
pub mod config;
mod driver;
pub mod emulate;
mod executors;
mod fetch;
mod host;
mod image;
mod inbox;
pub mod limits;
mod link;
mod logs;
mod mesos;
mod metrics;
mod oci;
#[doc(hidden)]
pub mod parsers;
mod probe;
mod process;
mod procfs;
mod record;
mod removal;
mod running;
pub mod supervisor;
mod timers;
mod usage;
mod view;
mod volumes;

pub use config::{Config, Options};
pub use fetch::main as fetch;
pub use host::resources as host_resources;
pub use oci::contain;
pub use running::{Running, run, start};
