//! The agent: makes containers, keeps files, talks to the leader. What it decides is in `proffer-agent-core`.
#![deny(missing_docs)]

pub mod limits;
mod procfs;
pub mod supervisor;
