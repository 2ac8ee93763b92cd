//! Every limit of the SDK: its unit and what happens at it.

use std::time::Duration;

/// Calls that wait to be taken up by the session; one more waits in [`crate::Handle::call`].
pub(crate) const CALLS_QUEUED_MAX: usize = 256;
/// Calls that wait for their answer; one more is refused with `server.overloaded`.
pub(crate) const CALLS_PENDING_MAX: usize = 10_000;
/// Calls on their way to the connection; more wait in the session.
pub(crate) const CALLS_OUTGOING_MAX: usize = 64;
/// Events between the session and the author; more wait in the session's backlog.
pub(crate) const EVENTS_QUEUED_MAX: usize = 64;
/// Messages that are taken together before anything else has its turn.
pub(crate) const MESSAGES_TOGETHER_MAX: usize = 64;
/// Events in the backlog at which the session stops reading, so that the master sees a slow reader. It reads on while the author
/// waits for answers: one who awaits an answer before the next event must not wait for themselves.
pub(crate) const BACKLOG_PAUSE: usize = 1_024;
/// Events in the backlog at which the session is given up in any case, and begun anew.
pub(crate) const BACKLOG_MAX: usize = 100_000;
/// Heartbeat intervals without any event after which a master counts as lost and the session is begun anew.
pub(crate) const HEARTBEATS_MISSED_MAX: u32 = 5;
/// A subscription that was above the rate is tried again after so long at the latest.
pub(crate) const RATE_WAIT_MAX: Duration = Duration::from_secs(10);
/// When what is wanted is refused for the moment, and the master does not say for how long: from there to the next time that
/// it is said.
pub(crate) const DEMAND_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// From the call to the subscription; then the master rests, and whoever leads by then is called.
pub(crate) const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call may wait for its answer unless the author says otherwise; then it is refused with `peer.unreachable`.
pub(crate) const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// From one question about tasks of unknown fate to the next, unless an agent has settled.
pub(crate) const ASK_INTERVAL: Duration = Duration::from_secs(5);
/// From what promises an answer, such as an agent that has settled, to the question: several of them cause one.
pub(crate) const ASK_DELAY: Duration = Duration::from_millis(100);
/// From one warning that tasks are not settled because an agent cannot be reached to the next.
pub(crate) const SETTLE_WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// Tasks in one question; more are asked about in several.
pub(crate) const TASKS_PER_QUESTION_MAX: usize = 10_000;
/// Tasks of which is remembered what was told; of more, repeated statuses are told again, and it is left to the master to
/// refuse what is launched twice.
pub(crate) const TASKS_REMEMBERED_MAX: usize = 500_000;
/// Of these, tasks that have ended; the oldest is forgotten for one more.
pub(crate) const ENDED_TASKS_REMEMBERED_MAX: usize = 10_000;
/// For how long the agent of an offer that cannot be read is not offered again for what it fitted.
pub(crate) const UNREADABLE_EXCLUDE_FOR: Duration = Duration::from_secs(60);
/// Bytes of a token file that are read; a longer one is refused.
pub(crate) const TOKEN_FILE_LEN_MAX: u64 = 4_096;
/// Calls of an executor that wait for its session: further messages are left out, further statuses wait with their task.
pub(crate) const EXECUTOR_CALLS_MAX: usize = 64;
/// Statuses of one task that an executor keeps until they are acknowledged; at it, one that says more of the same state takes
/// the place of the last, as with the agent. Changes of state are always kept: a task has at most four.
pub(crate) const EXECUTOR_STATUSES_MAX: usize = 16;
/// Statuses that an executor subscribes with; more follow one by one. The agent answers each, and lets 1,024 answers wait.
pub(crate) const EXECUTOR_SUBSCRIBE_STATUSES_MAX: usize = 500;
/// Bytes of texts and data in these; what does not fit follows one by one. The agent takes 8 MiB, with the names of all tasks.
pub(crate) const EXECUTOR_SUBSCRIBE_LEN_MAX: usize = 4 * 1024 * 1024;
/// From a session of an executor that broke, or could not be begun, to the next attempt.
pub(crate) const EXECUTOR_RETRY_INTERVAL: Duration = Duration::from_millis(100);
