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
/// How long a task has to end by itself when its host goes down; then it is killed. Service managers wait for 90 s.
pub const HOST_DOWN_GRACE: Duration = Duration::from_secs(30);
/// Bytes that a supervisor reads of why a container could not be made; the rest is left out.
pub const CONTAIN_ANSWER_LEN_MAX: u64 = 512;
/// How often it looks whether they are gone.
pub const KILL_REST_INTERVAL: Duration = Duration::from_millis(2);
/// How long a supervisor tries to write how its task ended while the disk is full; then the task is LOST.
pub const EXIT_WRITE_PATIENCE: Duration = Duration::from_secs(600);
/// How often it tries.
pub const EXIT_WRITE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// MiB of memory that are kept for the host when resources are not given (Mesos: 1 GiB); of less than twice that, half.
pub const MEMORY_RESERVE_MIB: u64 = 1_024;
/// MiB of disk that are kept for the host when resources are not given (Mesos: 5 GiB); of less than twice that, half.
pub const DISK_RESERVE_MIB: u64 = 5 * 1_024;

/// Events that wait for the core; at it, whoever has one more waits.
pub const INBOX_MAX: usize = 4_096;
/// Bytes of what they carry for others (tasks, statuses, messages), about; at it, whoever has one more that carries a KiB waits.
pub const INBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Checkpoints that wait for the disk; at it, the core waits.
pub const WRITES_MAX: usize = 4_096;
/// Checkpoints that are written and synced together.
pub const WRITE_BATCH_MAX: usize = 256;
/// From a checkpoint that could not be written to the next attempt. Until it is, nothing that depends on it is done.
pub const WRITE_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of one message of the master; a larger one ends the link. More than the largest call that it came in: the tasks of a group
/// come each with its executor.
pub const ORDER_LEN_MAX: usize = 32 * 1024 * 1024;
/// Bytes of one record of a checkpoint file; a larger one is damage. Twice the largest message, which a spec came in.
pub const RECORD_LEN_MAX: usize = 2 * ORDER_LEN_MAX;
/// Bytes by which a run's file of statuses grows until it is written anew without what is acknowledged. So many that it is
/// seldom, so few that a task that says a MiB each second fills no disk. What waits for its framework may be as much again.
pub const STATUSES_GROWTH_MAX: u64 = 16 * 1024 * 1024;
/// Messages to the master, and signals, that wait for a checkpoint; at it, the link is closed and made anew.
pub const WAITING_MAX: usize = 100_000;
/// Messages that wait for the network; at it, the link is closed and made anew.
pub const OUTBOX_MAX: usize = 4_096;

/// Files that the agent lets itself have open, as far as the host's hard limit allows: a socket per task, readers, checks.
/// Without one more, launches fail, and tasks that run are left alone.
pub const OPEN_FILES: u64 = 65_536;
/// Containers that are started at once; further ones wait.
pub const STARTS_MAX: usize = 16;
/// How long a supervisor may take until it listens; then it is killed, and the launch has failed.
pub const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long a supervisor that lives may refuse its agent; then it is killed.
pub const ATTACH_PATIENCE: Duration = Duration::from_secs(15);
/// How often the agent tries to reach a supervisor that is just starting or ending.
pub const ATTACH_INTERVAL: Duration = Duration::from_millis(10);
/// Signals for one container that wait to be sent; further ones are dropped, since SIGKILL is repeated.
pub const SIGNALS_MAX: usize = 16;

/// Connections of one executor; further ones are let go at once.
pub const EXECUTOR_CONNECTIONS_MAX: usize = 16;
/// Streams at once on one connection of an executor; further ones wait at its end.
pub const EXECUTOR_STREAMS_MAX: u32 = 8;
/// Bytes of the headers of one stream of an executor; larger ones end it.
pub const EXECUTOR_HEADERS_LEN_MAX: u32 = 16 * 1024;
/// Bytes of one call of an executor; a larger one closes its session (`field.too_long`). Room for what it says of all tasks
/// that an agent takes when it subscribes.
pub const EXECUTOR_CALL_LEN_MAX: usize = 8 * 1024 * 1024;
/// Events that wait for one executor; at it, its session ends when it has read them, and it begins anew.
pub const EXECUTOR_EVENTS_MAX: usize = 1_024;
/// How long it may read none of them; then it counts as gone, and has `executor_wait` to come back.
pub const EXECUTOR_UNREAD_MAX: Duration = Duration::from_secs(60);
/// How long it may take to read all of them, however steadily; then it counts as gone, too.
pub const EXECUTOR_READ_MAX: Duration = Duration::from_secs(600);
/// Events that wait for one executor while messages of its framework are still sent to it; at it, they are left out.
pub const EXECUTOR_MESSAGES_MAX: usize = 64;
/// Statuses of one launch that are known again when a Mesos executor sends them again; of more, the last and those that are
/// not acknowledged. When so many are not, a further one is refused (503), but for the end of its task and what a SUBSCRIBE
/// brings.
pub const MESOS_STATUSES_KNOWN_MAX: usize = 64;
/// After which time an executor may send again what was refused for that.
pub const MESOS_EARLY_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Bytes of what is kept of a Mesos executor's launches and statuses, above which it is written anew without what has ended.
pub const MESOS_LEDGER_LEN_MAX: u64 = 1024 * 1024;
/// Bytes of one call of a Mesos executor; a larger one is refused (413). Room for some twenty of the longest statuses, with which
/// it subscribes.
pub const MESOS_EXECUTOR_CALL_LEN_MAX: usize = 32 * 1024 * 1024;
/// Records that wait for one Mesos executor's connection; then events wait, as of every executor.
pub const MESOS_RECORDS_MAX: usize = 16;
/// Answers to a Mesos executor about tasks that nobody knows any more; further ones are left out, and it asks again.
pub const MESOS_ANSWERS_MAX: usize = 1_024;
/// Processes of a Mesos executor without a token that are known when they call again; of more, the last.
pub const MESOS_CALLERS_KNOWN_MAX: usize = 8;
/// From one HEARTBEAT to a Mesos executor to the next (Mesos: 30 minutes).
pub const MESOS_EXECUTOR_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// How long a Mesos executor that does not read has to take what was sent before its stream is ended.
pub const MESOS_END_PATIENCE: Duration = Duration::from_secs(1);
/// How long a session may take until its first call; then it is closed (`session.order`).
pub const EXECUTOR_FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages to the master that wait for the network while those of executors to their frameworks are still sent; at it,
/// those are left out.
pub const OUTBOX_MESSAGES_MAX: usize = 64;

/// Images that are loaded for containers at once; further ones wait.
pub const IMAGE_LOADS_MAX: usize = 32;
/// How often, at most, images that no task uses are looked for; they are when a container starts.
pub const IMAGES_COLLECT_INTERVAL: Duration = Duration::from_secs(60);
/// Processes and threads of one container; further ones cannot be started.
pub const CONTAINER_PROCESSES_MAX: u64 = 2_048;
/// Bytes of memory that a container gets at least, whatever its task asks for: with less it could not be made.
pub const CONTAINER_MEMORY_MIN: u64 = 8 * 1024 * 1024;
/// Microseconds in which a container may use its limit of processor time; then it waits for the next such period.
pub const CPU_PERIOD_US: u64 = 100_000;
/// Microseconds of processor time in a period that a container gets at least (the kernel's least).
pub const CPU_QUOTA_MIN_US: u64 = 1_000;
/// Shares of the processors that a container gets at least (the kernel's least).
pub const CPU_SHARES_MIN: u64 = 2;

/// Checks that are made at once; further ones wait, which does not count as their time. Many, because those of a program
/// that hangs take their whole timeout, and must not keep the others waiting.
pub const PROBES_MAX: usize = 512;
/// Bytes of the end of what a command that checks a task has written that are kept; what came before is dropped.
pub const CHECK_OUTPUT_LEN_MAX: usize = 4 * 1024;
/// Processes of it that are looked through for their children when its time is over; further ones end with their container.
pub const CHECK_PROCESSES_MAX: usize = 1_000;
/// Characters of its last line that are told when it fails; further ones are left out.
pub const CHECK_LINE_CHARS_MAX: usize = 200;

/// Bytes of one piece of a task's output (the wire's promise).
pub const LOGS_CHUNK_LEN: usize = 64 * 1024;
/// Pieces that wait for a slow reader; at it, reading waits.
pub const LOGS_CHUNKS_MAX: usize = 4;
/// How often a followed output is looked at for more.
pub const LOGS_FOLLOW_INTERVAL: Duration = Duration::from_millis(100);
/// Readers of output at once; further ones are refused (`server.overloaded`).
pub const LOGS_READERS_MAX: usize = 100;

/// Bytes of an image archive, after unzipping it; a larger one is refused. As for each of the following limits.
pub const IMAGE_ARCHIVE_LEN_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Files in an image archive.
pub const IMAGE_ARCHIVE_FILES_MAX: usize = 10_000;
/// Bytes of an image's configuration, manifest or index.
pub const IMAGE_JSON_LEN_MAX: u64 = 4 * 1024 * 1024;
/// Images in one archive, for all platforms.
pub const IMAGE_MANIFESTS_MAX: usize = 64;
/// Indexes within indexes.
pub const IMAGE_INDEX_DEPTH_MAX: usize = 4;
/// Layers of one image (Docker: 127).
pub const IMAGE_LAYERS_MAX: usize = 128;
/// Bytes of one image's layers together, uncompressed.
pub const IMAGE_LEN_MAX: u64 = 32 * 1024 * 1024 * 1024;
/// Files, directories and links of one image's layers together.
pub const IMAGE_ENTRIES_MAX: u64 = 1_000_000;
/// Bytes of the names in one layer together, which are kept until it is unpacked.
pub const IMAGE_NAMES_LEN_MAX: usize = 256 * 1024 * 1024;
/// Bytes of what a tar archive says of one entry: its header, long names, attributes.
pub const IMAGE_ENTRY_HEAD_LEN_MAX: u64 = 1024 * 1024;
/// Bytes of one path in an image, and of a link's target (Linux: `PATH_MAX`).
pub const IMAGE_PATH_LEN_MAX: usize = 4_095;
/// Directories that one path in an image goes through.
pub const IMAGE_PATH_DEPTH_MAX: usize = 100;
/// Bytes that a zstd frame may look back; it is memory. `zstd --ultra -20` needs as much.
pub const IMAGE_ZSTD_WINDOW_LEN_MAX: u64 = 32 * 1024 * 1024;
/// Bytes of an image's `/etc/passwd` or `/etc/group`; with a larger one no user is found.
pub const IMAGE_USERS_LEN_MAX: u64 = 1024 * 1024;
/// Further groups of an image's user; the rest is left out.
pub const IMAGE_USER_GROUPS_MAX: usize = 1_024;
/// Directories and links that one name in an image is followed through; then it is not found.
pub const IMAGE_STEPS_MAX: usize = 200;
/// Archives that are remembered for one image; of more, the latest.
pub const IMAGE_ARCHIVES_KNOWN_MAX: usize = 8;
/// An archive that was changed less than this before it was read is not remembered: another change in the same tick of
/// the file system's clock would go unseen.
pub const IMAGE_ARCHIVE_SETTLE_TIME: Duration = Duration::from_secs(2);
/// How often, at the least, volumes that are no more are looked at, and removed when they have been kept long enough.
pub const VOLUMES_LOOK_INTERVAL: Duration = Duration::from_secs(3_600);
/// Bytes of all images on disk that are kept for later starts; above it, images that no task uses go.
pub const IMAGES_LEN_MAX: u64 = 10 * 1024 * 1024 * 1024;

/// Children that download, or put something into a sandbox, at once; further ones wait.
pub const FETCHERS_MAX: usize = 16;
/// Things that are fetched at once for the tasks of one user; further ones of theirs wait.
pub const FETCHES_OF_USER_MAX: usize = 12;
/// How long a child may take to download one thing, or to put it into its sandbox; then its task has failed. The wait for a child
/// is not in it.
pub const FETCH_TIME_MAX: Duration = Duration::from_secs(1_800);
/// How long something else may have open for writing what was downloaded; then its task has failed.
pub const FETCH_WRITERS_WAIT: Duration = Duration::from_secs(2);
/// How often it is looked whether anything has.
pub const FETCH_LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Bytes of one thing that is fetched; a larger one is refused. As for each of the following limits.
pub const FETCH_LEN_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of what is in one archive.
pub const FETCH_UNPACKED_LEN_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Files, directories and links in one archive.
pub const FETCH_ENTRIES_MAX: usize = 200_000;
/// How many times its size an archive may become, besides [`FETCH_RATIO_FREE`].
pub const FETCH_RATIO_MAX: u64 = 200;
/// Bytes that every archive may become.
pub const FETCH_RATIO_FREE: u64 = 64 * 1024 * 1024;
/// Bytes of a tar archive, unpacked, that are in none of its files: names, what is skipped.
pub const FETCH_TAR_REST_LEN_MAX: u64 = 256 * 1024 * 1024;
/// Bytes that are read of a zip archive until its directory is known.
pub const FETCH_ZIP_DIRECTORY_LEN_MAX: u64 = 48 * 1024 * 1024;
/// Redirects that are followed.
pub const FETCH_REDIRECTS_MAX: usize = 5;
/// How long it may take to look up a server and to reach it at any of its addresses, and again until the connection is encrypted.
pub const FETCH_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of a server that are tried, each with its share of the time; further ones are not.
pub const FETCH_ADDRESSES_MAX: usize = 8;
/// How long a server may take until it answers.
pub const FETCH_HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of the head of its answer.
pub const FETCH_HEAD_LEN_MAX: usize = 64 * 1024;
/// In each interval of this length at least [`FETCH_SLOW_LEN_MIN`] must come.
pub const FETCH_SLOW_INTERVAL: Duration = Duration::from_secs(30);
/// Bytes in each [`FETCH_SLOW_INTERVAL`]: 1 KiB a second.
pub const FETCH_SLOW_LEN_MIN: u64 = 30 * 1024;
/// Files that a child may have open.
pub const FETCH_FILES_MAX: u64 = 64;
/// Bytes of a child's memory, its program's included; beyond it ends.
pub const FETCH_MEMORY_MAX: u64 = 768 * 1024 * 1024;
/// KiB of memory for what an xz archive refers back to; one that wants more is refused. Twice what `xz -9` makes.
pub const FETCH_XZ_KIB_MAX: u32 = 128 * 1024;
/// Bytes of what a child is told to do; of a longer one it makes nothing.
pub const FETCH_JOB_LEN_MAX: u64 = 64 * 1024;
/// Bytes of what a child answers; the rest is not read.
pub const FETCH_ANSWER_LEN_MAX: u64 = 8 * 1024;
/// Things that are kept for others, each of which is an open file; of more, those go that were not used for longest.
pub const FETCH_CACHE_ENTRIES_MAX: usize = 1_000;
/// MiB of what is kept for others unless the operator says otherwise (Mesos: 2 GB).
pub const FETCH_CACHE_MIB_DEFAULT: u64 = 2_048;
/// Files of a directory of a sandbox that are shown to Mesos's tools; the others are left out.
pub const FILES_LISTED_MAX: usize = 10_000;
/// Bytes of a file that are read at once for Mesos's tools, which ask again for the rest (Mesos: 16 pages).
pub const FILES_READ_LEN_MAX: u64 = 64 * 1024;
/// Files that are downloaded at once; a further one is refused.
pub const FILES_DOWNLOADS_MAX: usize = 16;
/// Directories that are listed, and files that are read, at once; further ones wait.
pub const FILES_READS_MAX: usize = 8;
