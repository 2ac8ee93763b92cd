//! Limits of the shell: each with its unit and what happens at it.

use std::time::Duration;

/// Requests of the REST API that wait for the core; a further one is refused (`server.overloaded`).
pub(crate) const REQUESTS_WAITING_MAX: usize = 256;
/// How long a request waits for its answer to be durable; then it is refused (`peer.unreachable`).
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_millis(900);
/// How long a question to the master about obstacles may take; then the answer says that it was not had.
pub(crate) const EXPLAIN_TIMEOUT: Duration = Duration::from_millis(700);
/// Events of a session that are taken in while the state is being written; then the session waits.
pub(crate) const EVENTS_WAITING_MAX: usize = 4_096;
/// Events that are handled before what they changed is written, together.
pub(crate) const BATCH_LEN_MAX: usize = 256;
/// Writes of the state that are under way at once.
pub(crate) const WRITES_AT_ONCE_MAX: usize = 32;
/// Between two tries to write or read the state.
pub(crate) const STATE_RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Calls of a session that wait for their answers; further ones wait.
pub(crate) const CALLS_WAITING_MAX: usize = 100_000;
/// Events that a follower of the event stream may be behind; then it is disconnected (Marathon: 1,024).
pub(crate) const EVENTS_BEHIND_MAX: usize = 1_024;
/// Followers of the event stream; a further one is refused (`server.overloaded`).
pub(crate) const FOLLOWERS_MAX: usize = 1_000;
/// Between two signs of life on a silent event stream.
pub(crate) const EVENT_HEARTBEAT: Duration = Duration::from_secs(10);
/// Nesting of a JSON body; a deeper one is refused (`body.malformed`).
pub(crate) const JSON_DEPTH_MAX: usize = 64;
/// Problems that one refusal lists; further ones are left out.
pub(crate) const PROBLEMS_MAX: usize = 100;
/// Bytes of the file that holds the framework's id; a larger one is no such file.
pub(crate) const FRAMEWORK_ID_FILE_LEN_MAX: u64 = 1_024;
