//! The agent core's limits: unit, and what happens at each.

use std::time::Duration;

/// Tasks that are live or not wholly acknowledged; a launch beyond is answered with one ERROR that is not kept.
pub const TASKS_MAX: usize = 10_000;
/// Bytes of what tasks carry for their executors, of all that the agent holds; a launch beyond is refused (DROPPED of Mesos's API,
/// FAILED of others).
pub const TASKS_DATA_LEN_MAX: usize = 1024 * 1024 * 1024;
/// Bytes of the specs of all executors that live, about; a launch that would start one more is refused in the same way. An agent
/// says them all when it registers, in one message of 64 MiB.
pub const EXECUTORS_LEN_MAX: usize = 24 * 1024 * 1024;
/// Bytes of what executors say along with statuses that wait for their frameworks, of all tasks; of a status beyond they are
/// left out, unless they are [`STATUS_DATA_LIGHT_LEN`] at the most, and a task that has FINISHED so has FAILED (`too_long`).
pub const STATUSES_DATA_LEN_MAX: usize = 512 * 1024 * 1024;
/// See [`STATUSES_DATA_LEN_MAX`].
pub const STATUS_DATA_LIGHT_LEN: usize = 4 * 1024;
/// Statuses of one task that wait for an acknowledgement; at it, changes of health wait until one arrives. Changes of
/// state are always made: a task has at most four.
pub const STATUSES_UNACKNOWLEDGED_MAX: usize = 16;
/// Bytes of a status message that the agent makes; longer ones are cut.
pub const STATUS_MESSAGE_LEN_MAX: usize = 1_024;
/// From sending a status to sending it again (Mesos: `STATUS_UPDATE_RETRY_INTERVAL_MIN`).
pub const RESEND_DELAY_MIN: Duration = Duration::from_secs(10);
/// The delay doubles up to this (Mesos: `STATUS_UPDATE_RETRY_INTERVAL_MAX`).
pub const RESEND_DELAY_MAX: Duration = Duration::from_secs(600);
/// Jitter adds at most this part of the delay: one in four.
pub const RESEND_JITTER_DIVISOR: u64 = 4;
/// Run directories of ended and acknowledged tasks that are kept for their logs; the oldest beyond are removed.
pub const GARBAGE_RUNS_MAX: usize = 100;
/// How long such a directory is kept unless configured otherwise.
pub const GARBAGE_DELAY_DEFAULT: Duration = Duration::from_secs(3_600);
/// Launches that are remembered after their directory is gone, so that a late repetition starts nothing; the oldest are
/// forgotten.
pub const LAUNCHES_REMEMBERED_MAX: usize = 10_000;
/// From a check that failed and did not count to the next, at first; it doubles up to the check's own interval. So a task
/// that needs a moment to begin is not kept waiting for its whole interval.
pub const FIRST_CHECK_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// From SIGKILL to the next SIGKILL when a container does not end.
pub const KILL_RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Silence of the leader after which the link is closed and made anew.
pub const LINK_SILENCE_MAX: Duration = Duration::from_secs(10);
/// The shortest heartbeat interval that is obeyed; a leader that asks for less gets this.
pub const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// How long an executor may be without a session, after it was started, has lost one, or its agent was restarted, unless
/// configured otherwise; then it is told to end (Mesos: `EXECUTOR_REGISTRATION_TIMEOUT`).
pub const EXECUTOR_WAIT_DEFAULT: Duration = Duration::from_secs(60);
/// How long the session of an executor whose process has ended is listened to; then what it has not said is not awaited.
pub const EXECUTOR_LAST_WORDS_WAIT: Duration = Duration::from_secs(5);
