//! Every limit of the finder: its unit and what happens at it.

use std::time::Duration;

/// Masters that are followed: more in a list are refused, more that others name or ZooKeeper knows are left out.
pub const MASTERS_MAX: usize = 16;
/// How long a connection to a master may take to be made; then it is tried again.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connected master may take to say whether it leads; then it is connected to anew.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a connection is probed, and …
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(3);
/// … how long the answer may take; then the connection is closed, and with it every call over it.
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest wait before a master is tried for the second time; doubles with each try.
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two tries; a connection that lasted this long is a new beginning.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(2);
/// How long there may be no leader before it is logged: an election is no trouble.
pub(crate) const LEADERLESS_TOLERATED: Duration = Duration::from_secs(2);
/// Characters of what a master or the network says of a failure that are shown; the rest is left out.
pub(crate) const WHY_LEN_MAX: usize = 200;
/// How long whoever may ask any master waits for the leader once one that stands by has answered.
pub(crate) const STANDBY_PATIENCE: Duration = Duration::from_millis(300);
