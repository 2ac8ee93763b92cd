//! The agent's limits: unit, and what happens at each. Those of its decisions are in `proffer_agent_core::limits`.

use std::time::Duration;

/// Bytes of one output file of a task; it is then put aside as the older of two, and the older one is gone.
pub const OUTPUT_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Agents connected to one supervisor; further ones are let go at once.
pub const CONTROL_CLIENTS_MAX: usize = 8;
/// Bytes of one line between agent and supervisor; a longer one ends the connection.
pub const CONTROL_LINE_LEN_MAX: usize = 1_024;
/// How long a supervisor goes on killing what its task has left; then it leaves word all the same.
pub const KILL_REST_PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks whether they are gone.
pub const KILL_REST_INTERVAL: Duration = Duration::from_millis(2);
/// How long a supervisor tries to write how its task ended while the disk is full; then the task is LOST.
pub const EXIT_WRITE_PATIENCE: Duration = Duration::from_secs(600);
/// How often it tries.
pub const EXIT_WRITE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
