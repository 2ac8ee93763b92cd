//! What a framework says of a task for those who look for it: names, and what they can reach. Handed on as it is; nothing
//! here is looked up, checked against the task, or acted on.

use std::collections::BTreeMap;

/// For whom a task is to be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Visibility {
    /// Its own framework.
    Framework,
    /// All of the cluster.
    #[default]
    Cluster,
    /// Everybody.
    External,
}

/// As what a task is to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// Its name; empty: the task's.
    pub name: String,
    /// For whom.
    pub visibility: Visibility,
    /// Such as `prod`; may be empty.
    pub environment: String,
    /// Such as `us-east`; may be empty.
    pub location: String,
    /// May be empty.
    pub version: String,
    /// Whatever else.
    pub labels: BTreeMap<String, String>,
    /// What it listens on, wherever that is: these need not be ports of its host.
    pub ports: Vec<DiscoveryPort>,
}

/// A port of a task that is to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiscoveryPort {
    /// Its number.
    pub number: u32,
    /// Its name; may be empty.
    pub name: String,
    /// Such as `tcp` or `http`; may be empty.
    pub protocol: String,
    /// For whom; absent: as the task.
    pub visibility: Option<Visibility>,
    /// Whatever else.
    pub labels: BTreeMap<String, String>,
}
