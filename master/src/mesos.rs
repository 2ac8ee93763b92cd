//! Mesos's v1 scheduler API: what was written for Apache Mesos subscribes here, and is a framework like every other.
//!
//! A subscription is a session of the core. What it decides by itself is only what Mesos's API has and ours has not: one
//! update of a task at a time, repeated until it is acknowledged; filters, suppressing and reviving as demand; refusals that
//! come as updates. That is `subscription.rs` with `updates.rs`, `calls.rs`, `demand.rs` and `constraints.rs`, pure; `stream.rs` and
//! `http.rs` act.

mod addresses;
mod calls;
mod constraints;
mod demand;
mod events;
mod http;
mod identity;
mod intent;
mod judging;
mod libprocess;
mod losses;
mod operations;
mod operator;
mod pace;
mod principals;
mod refusals;
mod registry;
mod rests;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;
mod updates;

pub(crate) use http::{Endpoint, everywhere, standby};
pub(crate) use identity::Identity;
pub(crate) use libprocess::PATHS as LIBPROCESS_PATHS;
pub(crate) use operator::{Desk, MasterReign, operators, operators_standby};
pub(crate) use pace::Rates;
pub(crate) use registry::Registry;
