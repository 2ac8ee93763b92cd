//! Who leads, as masters tell it to everybody else.

/// A master, as others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// New with each of its starts.
    pub id: String,
    /// Of its API, `host:port`.
    pub address: String,
    /// For agents, `host:port`.
    pub cluster_address: String,
    /// Of its program.
    pub version: String,
}
