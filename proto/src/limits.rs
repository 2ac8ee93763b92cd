//! Limits of the wire alone; the shared ones are in `proffer_model::limits`.
//!
//! Each with its unit and what happens at it.

/// Bytes of each text of a problem in a gRPC status; a longer one is cut. Three texts, percent-encoded, and the same in
/// base64 as details, stay below the 16 KiB that HTTP/2 libraries take as headers.
pub(crate) const STATUS_TEXT_LEN_MAX: usize = 1_000;
/// Bytes with which the buffers of a stream begin; they grow by as much as messages need.
pub(crate) const STREAM_BUFFER_LEN: usize = 512;
/// Bytes that are sent together where many messages wait; the other end keeps a buffer of about twice as many for each stream.
pub(crate) const STREAM_YIELD_LEN: usize = 1024;
/// The greatest schema version of records and snapshots. A greater one is refused when read. A record is written with the
/// smallest that has all that it says, so that an older master refuses what it would misunderstand, and nothing else.
pub(crate) const STORE_SCHEMA: u32 = 2;
/// Resources of one message that are not ordinary; more are refused.
pub(crate) const SPECIAL_MAX: usize = 10_000;
/// Bytes of a JSON body of Mesos's API that is looked at for what else it could mean than it says in the usual form; longer
/// ones are refused, since that takes much more memory.
pub(crate) const MESOS_SETTLED_LEN_MAX: usize = 256 * 1024;
/// Values of a JSON body of Mesos's API, counted as objects and commas: one for each 16 bytes of the longest. Each takes up to
/// 800 bytes where it is not in the usual form.
pub(crate) const MESOS_VALUES_MAX: usize = 512 * 1024;
/// Entries of lists and maps in a protobuf body of Mesos's API, and messages that are kept apart, one for each 32 bytes of the
/// longest body. Each takes up to 512 bytes, and a list up to twice as much as its entries.
pub(crate) const MESOS_ENTRIES_MAX: usize = 256 * 1024;
/// How deep messages may be in one another, which is what prost takes.
pub(crate) const MESOS_DEPTH_MAX: usize = 100;
/// How deep groups, repetitions and lists of a pattern may be in one another; a deeper one is refused.
pub(crate) const PATTERN_DEPTH_MAX: u32 = 100;
/// Bytes that a pattern takes while it is compiled, before its states are told apart; one that takes more is refused.
pub(crate) const PATTERN_NFA_LEN_MAX: usize = 64 * 1024;
/// Bytes of a pattern's table of states; one that takes more is refused. Some hundred states for what is written of hosts.
pub(crate) const PATTERN_TABLE_LEN_MAX: usize = 96 * 1024;
/// The same of all patterns of one demand, or of one call of Mesos's API; one more is refused.
pub(crate) const PATTERNS_TABLES_LEN_MAX: usize = 1024 * 1024;
/// Steps of about ten nanoseconds that a pattern takes until it is a table; one that takes more is refused.
pub(crate) const PATTERN_STEPS_MAX: usize = 1_500_000;
/// The same of all patterns of one demand, or of one call of Mesos's API: about 40 ms; one more is refused.
pub(crate) const PATTERNS_STEPS_MAX: usize = 4_000_000;
