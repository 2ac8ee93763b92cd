//! Every shared limit: its unit and what happens at it. Limits of one program alone stand in that program's `limits.rs`.

use std::time::Duration;

/// Bytes of an id, a role or a state key; a longer one is refused (`id.invalid`).
pub const ID_LEN_MAX: usize = 200;
/// Bytes of any other text in a message (a command, a label, a message of a status); a longer one is refused.
pub const TEXT_LEN_MAX: usize = 64 * 1024;
/// Bytes of each text of a problem that is told; of a longer one the middle is left out.
pub const PROBLEM_TEXT_LEN_MAX: usize = 2 * 1024;
/// Entries of a map or list of small things (environment, labels, attributes); more are refused.
pub const ENTRIES_MAX: usize = 1_000;
/// Ranges in one range resource as given; more are refused.
pub const RANGES_MAX: usize = 10_000;
/// The largest amount of a scalar, in thousandths (one billion units); more is refused, so that sums cannot overflow.
pub const SCALAR_MILLI_MAX: u64 = 1_000_000_000_000;
/// Different resource names on one agent or in one task; more are refused.
pub const RESOURCE_NAMES_MAX: usize = 64;
/// Different kinds of one resource on one agent or in one task that are not ordinary (reservations, disks, volumes), and
/// different sizes of one kind of whole disks; more are refused.
pub const RESOURCE_KINDS_MAX: usize = 1_000;
/// Items of one set resource as given; more are refused.
pub const SET_ITEMS_MAX: usize = 1_000;
/// Disks that nothing tells apart, or holders of one shared volume, in one amount as given; more are refused.
pub const COPIES_MAX: u32 = 10_000;
/// Bytes of resources as text or JSON; longer text is refused.
pub const RESOURCES_TEXT_LEN_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a path or an id of a disk; a longer one is refused.
pub const PATH_LEN_MAX: usize = 4_095;
/// Roles of one framework; more are refused.
pub const ROLES_MAX: usize = 100;
/// Entries of one demand; more are refused.
pub const DEMAND_ENTRIES_MAX: usize = 10_000;
/// Instances that one demand entry may ask for; more are refused.
pub const DEMAND_COUNT_MAX: u32 = 1_000_000;
/// Rules of one demand entry about how many may be together; more are refused.
pub const AT_MOST_MAX: usize = 16;
/// Alternatives of the least that an offer holds, of one demand entry; more are refused.
pub const LEAST_MAX: usize = 16;
/// Nesting of a predicate; deeper ones are refused.
pub const PREDICATE_DEPTH_MAX: usize = 16;
/// Bytes of a pattern; a longer one is refused.
pub const PATTERN_LEN_MAX: usize = 1_024;
/// Patterns of one demand, and of one call of Mesos's API; more are refused.
pub const PATTERNS_MAX: usize = 100;
/// Tasks, operations or offers in one call; more are refused.
pub const ITEMS_PER_CALL_MAX: usize = 10_000;
/// Bytes of one gRPC message; a larger one ends its stream.
pub const MESSAGE_LEN_MAX: usize = 8 * 1024 * 1024;
/// Bytes of one task's spec on the wire, with its executor's and without its labels; a larger one is refused
/// (`field.too_long`). Of Mesos's API that is the TaskInfo, in which its executor stands, and that executor once more: 1 MiB of
/// data and an ExecutorInfo of 1 MiB fit.
pub const TASK_SPEC_LEN_MAX: usize = 4 * 1024 * 1024;
/// Bytes of the names and values of one task's labels, besides its spec; more are refused (`field.too_long`).
pub const LABELS_LEN_MAX: usize = 64 * 1024;
/// Bytes of one value of a framework's state; a larger one is refused (`state.too_large`).
pub const STATE_VALUE_LEN_MAX: usize = 256 * 1024;
/// Bytes of all values of one framework's state; a write that would pass it is refused (`state.too_large`).
pub const STATE_TOTAL_LEN_MAX: usize = 64 * 1024 * 1024;
/// How long a framework without a session is kept unless it says otherwise; then its tasks are killed. A week, as Marathon asks of Mesos.
pub const FAILOVER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest failover timeout that is taken; a longer one is refused. A year, as Mesos cuts filters.
pub const FAILOVER_TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// How often both ends of a stream say that they are there.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// SIGTERM to SIGKILL unless the task says otherwise (Mesos: 3 s).
pub const KILL_GRACE_DEFAULT: Duration = Duration::from_secs(3);
/// The longest kill grace that is taken; a longer one is refused.
pub const KILL_GRACE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Mounts of persistent volumes of one task; more are refused (`field.too_long`).
pub const VOLUMES_MAX: usize = 64;
/// Things that are fetched for one task or executor; more are refused (`field.too_long`).
pub const FETCHES_MAX: usize = 64;
/// Bytes of the URI of one of them; a longer one is refused (`field.too_long`).
pub const URI_LEN_MAX: usize = 4_096;
/// Bytes of the name of an image; a longer one is refused (`field.too_long`). With `.tar` it is the name of a file.
pub const IMAGE_NAME_LEN_MAX: usize = 250;
/// Bytes of the tag in it; a longer one is refused. As Docker has it.
pub const IMAGE_TAG_LEN_MAX: usize = 128;
/// From Shutdown to SIGKILL of an executor that does not say otherwise (Mesos: executor_shutdown_grace_period).
pub const SHUTDOWN_GRACE_DEFAULT: Duration = Duration::from_secs(5);
/// Bytes of one message between a framework and an executor; a longer one is refused (`field.too_long`).
pub const EXECUTOR_MESSAGE_LEN_MAX: usize = 64 * 1024;
/// Bytes that an executor says along with a status; more are refused (`field.too_long`). Of Mesos's API that is the whole
/// status: 1 MiB of data, and 64 KiB of what stands beside it.
pub const STATUS_DATA_LEN_MAX: usize = 1024 * 1024 + 64 * 1024;
/// Bytes of what a framework of Mesos's API says of itself, which is kept in the log; more are refused.
pub const MESOS_INFO_LEN_MAX: usize = 64 * 1024;
/// Bytes of what an executor of Mesos's API is told of itself and its framework; more are refused (`field.too_long`). 1 MiB of
/// an ExecutorInfo, and what its FrameworkInfo has.
pub const EXECUTOR_INFO_LEN_MAX: usize = 1024 * 1024 + 64 * 1024 + MESOS_INFO_LEN_MAX;
/// Checks of one task; more are refused.
pub const CHECKS_MAX: usize = 8;
/// From probe to probe of a check, at least; a shorter interval is refused.
pub const CHECK_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// How long a probe of a check may take, at least; a shorter timeout is refused.
pub const CHECK_TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// Any other duration in a message (an exclusion, a delay, a lease); a longer one is refused, so that sums cannot overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
