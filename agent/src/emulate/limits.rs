//! Every limit of emulated agents: its unit and what happens there.

use std::time::Duration;

/// Emulated agents of one program; more are refused. As many as a master takes.
pub const COUNT_MAX: u32 = 100_000;
/// Agents that share one connection; more are refused. As many streams as a master's cluster listener takes on one.
pub const AGENTS_PER_CONNECTION_MAX: u32 = 100_000;
/// Connections that are made unless it is said how many agents share one: beyond, they share. Far below what a listener takes.
pub const CONNECTIONS_MAX: u64 = 8_000;
/// Agents that share a connection then, at the least: making connections is most of the work, and who emulates so many waits for it.
pub const SHARING_MIN: u32 = 8;
/// Files that the program keeps for other things than connections.
pub const FILES_RESERVED: u64 = 100;
/// Connections that are being made at once; others wait, so that the queue of the listener does not overflow.
pub const CONNECTING_MAX: usize = 64;
/// Agents that register at once; others wait, so that no hello waits longer than the master does for it.
pub const REGISTERING_MAX: usize = 512;
/// The longest wait before a link is tried for the second time; doubles with each try.
pub const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest wait between two tries of a link.
pub const RETRY_MAX: Duration = Duration::from_secs(5);
/// Of agents that share a connection, one in this time tells the finder that a master did not do what it was called for.
pub const FAILURE_TOLD_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes with which the buffers of a stream begin; they grow by as much as a message needs.
pub const STREAM_BUFFER_LEN: usize = 64;
/// Messages that an agent takes together before others have their turn.
pub const MESSAGES_TOGETHER_MAX: usize = 256;
/// Messages that wait to be sent by one agent; at more its link ends, and the next begins with all that counts.
pub const OUTGOING_MAX: usize = 16 * 1024;
/// The longest duration of an emulated task; a longer one is refused.
pub const TASK_DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
