//! What the cluster knows about a framework.

use std::time::Duration;

use crate::id::Role;

/// What a framework says of itself when it subscribes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameworkDescription {
    /// For people.
    pub name: String,
    /// The roles it may be offered resources in; at least one.
    pub roles: Vec<Role>,
    /// How long it is kept without a session before its tasks are killed and its id is spent. Durable.
    pub failover_timeout: Duration,
    /// What a framework of Mesos's API says of itself, a `mesos.v1.FrameworkInfo`: shown to Mesos's tools. Absent: it is none.
    pub mesos: Option<std::sync::Arc<[u8]>>,
}
