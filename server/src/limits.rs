//! Every limit of listeners, clients and parsers here: its unit and what happens at it.

use std::time::Duration;

/// Bytes of a request's head (HTTP/1.1: 431 and the connection ends; HTTP/2: the stream is refused).
pub const HEADER_LEN_MAX: usize = 16 * 1024;
/// How long a request's head, or the wait for the next request of a connection, may take; then the connection ends. Not where
/// Mesos's clients call, who keep a connection and believe that it stays.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a request's body that is not gRPC; a larger one is refused (`body.too_large`, 413).
pub const BODY_LEN_MAX: usize = 1024 * 1024;
/// Bytes of a body above its limit, or of the whole if it says at once that it is larger, that are read and thrown away before
/// it is refused; more, and the connection is reset.
pub const BODY_DISCARDED_MAX: usize = 16 * 1024 * 1024;
/// How long that may take.
pub const BODY_DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a body that is not gRPC may send nothing; then reading it fails (`body.malformed`).
pub const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams at once on one HTTP/2 connection of an API listener; more wait at the client.
pub const STREAMS_MAX: u32 = 200;
/// The same on a cluster listener: emulated agents share connections.
pub const CLUSTER_STREAMS_MAX: u32 = 100_000;
/// Connections at once on one listener. For a further one a silent one ends: of those by which nobody has called who may
/// ([`STRANGERS_MAX`]), or else of the peer that has the most of them, if the further one's has less than half and they are more
/// than a few ([`PEER_FEW_LEN`]), one that is not silent, or else the one by which nobody has called for longest, if the further
/// one's peer has few of the former and all of them are not more than that, nor more than the others. Where none may end, as
/// none has been silent for [`GIVES_WAY_AFTER`], the further one is closed as soon as it is accepted.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Of those, silent ones by which nobody has called who may, where Mesos's clients call; of more, the newest ends of the peer that
/// has the most of them, of those that have been silent for [`GIVES_WAY_AFTER`].
pub const STRANGERS_MAX: usize = 10_000;
/// Connections of one peer by which nobody has called who may that are few: for those of a peer with more, no other's end that
/// has fewer.
pub const PEER_FEW_LEN: usize = 10;
/// How long an answer on a connection by which nobody has called who may waits to be taken; then the connection ends.
pub const UNREAD_MAX: Duration = Duration::from_secs(60);
/// Bytes of all such answers of a listener; of more, the connection ends that has the most of them.
pub const UNREAD_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Bytes that each of them counts for besides its own: of its stream.
pub const UNREAD_OVERHEAD_LEN: u64 = 4 * 1024;
/// Bytes of an answer up to which it is as good as sent when it is whole: those above are in a connection's buffer until they
/// are taken.
pub const ANSWER_LIGHT_LEN: u64 = 16 * 1024;
/// How long a connection is silent at least before it ends for others.
pub const GIVES_WAY_AFTER: Duration = Duration::from_secs(5);
/// Connections that the kernel keeps before they are accepted; it refuses more.
pub const BACKLOG: u32 = 1_024;
/// How long requests in flight may go on after shutdown begins; then their connections are closed.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How long the accept loop rests after an error that does not pass by itself, such as EMFILE.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// At most one line in this time about connections that were refused or could not be accepted.
pub const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// How often HTTP/2 asks a silent peer whether it is there.
pub const H2_PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long it waits for the answer; then the connection ends.
pub const H2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that a peer may send ahead on one HTTP/2 stream.
pub const H2_STREAM_WINDOW: u32 = 1024 * 1024;
/// Bytes that a peer may send ahead on one HTTP/2 connection.
pub const H2_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes of a write to a peer that waits a turn for others to go with it; more are written at once.
pub const WAITING_WRITE_LEN_MAX: usize = 1024;
/// Bytes of answers of HTTP/1.1 that wait for others to go with them; more are written at once.
pub const KEPT_ANSWERS_LEN_MAX: usize = 16 * 1024;
/// Turns of their connection that they wait at most.
pub const KEPT_ANSWERS_TURNS_MAX: u64 = 16;
/// Seconds of silence before the kernel asks whether the peer of a connection is there, and between its questions.
pub const TCP_KEEPALIVE_SECS: u32 = 15;
/// How long sent bytes may stay unacknowledged, or a peer may refuse to take any; then the kernel ends the connection.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a token file; a larger file is no token.
pub const TOKEN_FILE_LEN_MAX: u64 = 1_024;
/// Bytes of a configuration file; a larger one is refused.
pub const CONFIG_FILE_LEN_MAX: u64 = 1024 * 1024;
/// How often the service manager may be told that a role does something else; changes in between are not told.
pub const NOTIFY_STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// How long a service manager that is busy may hold up what tells it something; then that is told again later or not.
pub const NOTIFY_SEND_TIMEOUT: Duration = Duration::from_millis(100);
/// Characters of what it is told; the rest is cut.
pub const NOTIFY_STATUS_LEN_MAX: usize = 256;
/// Bytes of untrusted text that [`crate::log::Untrusted`] shows; the rest becomes an ellipsis.
pub const UNTRUSTED_LEN_MAX: usize = 256;

/// How long the client waits for a connection; then `peer.unreachable`.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the client waits for a whole answer, or for the head of a streamed one; then `peer.unreachable`.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a streamed answer may send nothing (heartbeats count); then `peer.unreachable`.
pub const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an answer that the client takes; a larger one is refused (`body.too_large`).
pub const ANSWER_LEN_MAX: usize = 64 * 1024 * 1024;
/// How long the client keeps an idle connection: less than [`HEADER_TIMEOUT`], so that it rarely meets a closed one.
pub const CLIENT_IDLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Idle connections that the client keeps to one host; further ones are closed after use.
pub const CLIENT_IDLE_MAX: usize = 4;

/// Bytes of one server-sent event, and of one of its lines; a larger one ends the stream (`field.too_long`).
pub const EVENT_LEN_MAX: usize = 1024 * 1024;

/// Bytes of the body of a call of Mesos's API; a larger one is refused (413).
pub const MESOS_BODY_LEN_MAX: usize = 8 * 1024 * 1024;
/// How long the whole body of such a call may take to arrive, however steadily; then it is refused (408). The time that it
/// waits for a place does not count.
pub const MESOS_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes from which such a body counts as large.
pub const MESOS_LARGE_BODY_LEN: usize = 64 * 1024;
/// Bytes in a second that must come of a large one, from its beginning on; one that comes more slowly is refused (408).
pub const MESOS_LARGE_BODY_RATE: usize = 64 * 1024;
/// How much longer it may take than that.
pub const MESOS_LARGE_BODY_GRACE: Duration = Duration::from_secs(2);
/// For so long a large one waits for its place; then it is refused (503).
pub const MESOS_LARGE_BODY_WAIT: Duration = Duration::from_secs(30);
/// After which time such a one may be sent again.
pub const MESOS_LARGE_BODY_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Large ones that are read or decoded at once; further ones are read on when one of these is done.
pub const MESOS_LARGE_BODIES_MAX: usize = 16;
/// Of those, the ones that are decoded at once, for what they become is many times as long; further ones wait.
pub const MESOS_DECODED_MAX: usize = 2;
