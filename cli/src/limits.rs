//! Limits of the command line and of `dev`: each with its unit and what happens at it.

use std::time::Duration;

/// Bytes of an app file; a larger one is refused (`field.too_long`).
pub(crate) const APP_FILE_LEN_MAX: u64 = 1024 * 1024;
/// Values in one document of YAML, those counted again that aliases repeat; more are refused (`body.malformed`).
pub(crate) const YAML_NODES_MAX: usize = 100_000;
/// How deep values may be nested in YAML; deeper ones are refused (`body.malformed`).
pub(crate) const YAML_DEPTH_MAX: usize = 64;
/// Apps in one `apply`; more are refused (`field.too_long`).
pub(crate) const APPS_PER_APPLY_MAX: usize = 1_000;
/// How long a connection to a server may take; then it counts as not reachable (`peer.unreachable`).
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one unary answer of a server may take; then it counts as not reachable.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a change waits for a master that leads; then `master.not_leading`.
pub(crate) const LEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a master may send nothing of a backup; then it counts as not reachable.
pub(crate) const BACKUP_SILENCE_MAX: Duration = Duration::from_secs(60);
/// Chunks of a backup that wait to be written; its stream pauses at so many.
pub(crate) const BACKUP_CHUNKS_MAX: usize = 4;
/// How long `run` and `apply` wait for healthy instances unless `--timeout` says otherwise; then exit code 6.
pub(crate) const WAIT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// How often a waiting command looks, at first …
pub(crate) const POLL_INTERVAL_MIN: Duration = Duration::from_millis(40);
/// … and after a while.
pub(crate) const POLL_INTERVAL_MAX: Duration = Duration::from_millis(500);
/// How long an instance without health checks must run before `run` and `apply` believe that it stays.
pub(crate) const STEADY: Duration = Duration::from_secs(1);
/// How long a command waits before it asks why, and from then on how often it asks.
pub(crate) const WHY_INTERVAL: Duration = Duration::from_secs(3);
/// Chunks of log output that may wait for the terminal; the agents' streams pause when it is full.
pub(crate) const LOG_CHUNKS_QUEUED_MAX: usize = 64;
/// Tasks whose logs are followed at once; more are refused.
pub(crate) const LOG_STREAMS_MAX: usize = 100;
/// Frameworks that an agent is asked about when `logs --agent` names none; with more, one must be named (`field.missing`).
pub(crate) const LOG_FRAMEWORKS_MAX: usize = 1_000;
/// Characters of a name or a message that a table shows even where the terminal is too narrow for them.
pub(crate) const CELL_WIDTH_MIN: usize = 24;
/// Characters that a part of a task's or agent's id must have to name it; a shorter one names none.
pub(crate) const TASK_PART_LEN_MIN: usize = 4;
/// Instances of an app that end one after the other, none of them having become ready, before `run` and `apply` give up
/// waiting (`app.failing`), unless `--timeout` says how long they are to wait. About five seconds of the usual backoff.
pub(crate) const FAILURES_MAX: usize = 5;
/// Bytes of a log line that are held until its end, when lines of several tasks are mixed; a longer one is cut in two.
pub(crate) const LOG_LINE_LEN_MAX: usize = 64 * 1024;
/// How long `hello` finishes requests after SIGTERM; then it ends with what is still open.
pub(crate) const HELLO_DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long `dev` waits for its tasks and HAProxy to end after Ctrl-C; then it says what is left and ends.
pub(crate) const DEV_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one role may take to end, when everything that it ran has ended already; then it is left to the end of the process.
pub(crate) const DEV_PART_STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long `dev` waits for its own services to answer after they were started; then it fails.
pub(crate) const DEV_START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the URL of a healthy app may take to answer through HAProxy; then `dev` says that it does not.
pub(crate) const DEV_ROUTE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of one page of a list that the master sends; a longer one is an error. It ends pages at 2 MiB, or after one row.
pub(crate) const LIST_LEN_MAX: usize = 16 * 1024 * 1024;
/// Rows of one page that the master is asked for.
pub(crate) const PAGE_LEN: u32 = 10_000;
/// Bytes of `dev`'s log at its start; a longer one is put aside as `log.1`.
pub(crate) const DEV_LOG_LEN_MAX: u64 = 16 * 1024 * 1024;
/// How often `simulate` says how far it is until all agents are registered …
pub(crate) const SIMULATE_PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// … and how it stands afterwards.
pub(crate) const SIMULATE_NEWS_INTERVAL: Duration = Duration::from_secs(10);
/// How long a benchmark waits for its own master to serve; then it fails.
pub(crate) const BENCH_START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a benchmark waits for what it measures to be over; then it fails (`wait.timed_out`).
pub(crate) const BENCH_WAIT_TIMEOUT: Duration = Duration::from_secs(600);
/// Between two looks at memory that is to settle.
pub(crate) const BENCH_SETTLE_INTERVAL: Duration = Duration::from_millis(500);
/// How long memory may take to settle; then it is taken as it is.
pub(crate) const BENCH_SETTLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Lines of its master's log that a benchmark shows when that has ended.
pub(crate) const BENCH_LOG_TAIL_LINES: usize = 5;
/// Agents of a size of `bench allocator`, as many as a master takes; more are refused (`config.invalid`).
pub(crate) const BENCH_AGENTS_MAX: u32 = 100_000;
/// Frameworks of such a size, as many as a master takes; more are refused (`config.invalid`).
pub(crate) const BENCH_FRAMEWORKS_MAX: u32 = 20_000;
/// Events of the allocator whose time is taken.
pub(crate) const BENCH_EVENTS: usize = 1_000;
/// How often each framework revives in a storm.
pub(crate) const BENCH_REVIVE_INTERVAL: Duration = Duration::from_secs(5);
/// So many are wanted where demand is never to end.
pub(crate) const BENCH_ENDLESS_DEMAND: u32 = 1_000_000;
/// Offers that have stood for so long are left to expire: an accept of them might come too late.
pub(crate) const BENCH_OFFER_AGE_MAX: Duration = Duration::from_secs(3);
/// How often a benchmark looks whether agents have forgotten the last of its tasks.
pub(crate) const BENCH_FORGOTTEN_INTERVAL: Duration = Duration::from_millis(1);
/// Tasks that a benchmark which fills agents lets be on their way to running at once: their statuses must not be more than may be
/// unacknowledged.
pub(crate) const BENCH_STARTING_MAX: u32 = 20_000;
/// Between two small calls of a framework whose times are taken.
pub(crate) const BENCH_CALL_INTERVAL: Duration = Duration::from_millis(10);
/// Bytes of calls of a benchmark's framework of Mesos's API that wait to be written; more calls wait for that.
pub(crate) const BENCH_CALLS_BYTES_MAX: usize = 256 * 1024;
/// Its calls that wait for a connection; more wait with the framework.
pub(crate) const BENCH_CALLS_QUEUED_MAX: usize = 1_024;
/// Bytes of a page that a benchmark reads; a longer one is an error (`body.too_large`).
pub(crate) const BENCH_PAGE_LEN_MAX: usize = 256 * 1024 * 1024;
