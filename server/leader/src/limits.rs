//! Every limit of the election: its unit and what happens at it.

use std::time::Duration;

/// The shortest session that masters may ask for; a shorter one is refused (`config.invalid`), since a pause of a garbage
/// collection or a slow disk would end it.
pub const SESSION_TIMEOUT_MIN: Duration = Duration::from_secs(4);
/// The longest; a longer one is refused, since that long nobody would lead after a leader is gone.
pub const SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(120);
/// The session of one who only looks on; when it ends, the next begins.
pub(crate) const OBSERVER_TIMEOUT: Duration = Duration::from_secs(6);
/// Servers in an address of ZooKeeper, each of which is asked at once; more are refused (`config.invalid`).
pub(crate) const HOSTS_MAX: usize = 64;
/// Between two looks at who stands, for one who only looks on; a change that ZooKeeper tells of is seen at once.
pub(crate) const OBSERVER_INTERVAL: Duration = Duration::from_secs(2);
/// Heartbeats, and looks at who stands, in one session timeout.
pub(crate) const HEARTBEATS_PER_TIMEOUT: u32 = 8;
/// Between two looks at who stands, however often ZooKeeper tells of changes.
pub(crate) const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// How long a server may take to say that it serves; then it counts as not there.
pub(crate) const KNOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the other servers are waited for once one serves.
pub(crate) const KNOCK_GRACE: Duration = Duration::from_millis(100);
/// How long the client waits after a refused connection; it does not wait by itself.
pub(crate) const RECONNECT_WAIT: Duration = Duration::from_millis(250);
/// How long the client is held after each connection that was lost again at once. It makes two a pause at most.
pub(crate) const LOSS_PAUSE: Duration = Duration::from_millis(200);
/// A connection that holds for so long is not one that was lost at once.
pub(crate) const LOSS_FORGET: Duration = Duration::from_secs(2);
/// How long closing a session may take; then ZooKeeper ends it by itself after its timeout.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The first wait between two sessions; it doubles up to the next limit.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// The longest wait between two sessions.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// Calls that wait for a session; one more is refused.
pub(crate) const CALLS_MAX: usize = 256;
/// Reads or deletions that are on their way at once within one call.
pub(crate) const CALL_PARALLEL_MAX: usize = 32;
/// Questions that must be answered right after a connection was made anew, each by one bit that cannot be guessed.
pub(crate) const CHECK_BITS: u32 = 16;
/// Names under the election's path; more are a trouble, and nobody is elected.
pub(crate) const NAMES_MAX: usize = 10_000;
/// Bytes of a master's node; a longer one is unreadable.
pub(crate) const BALLOT_LEN_MAX: usize = 64 * 1024;
