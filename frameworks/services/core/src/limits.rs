//! Limits of the service framework: each with its unit and what happens at it.

use std::time::Duration;

/// Bytes of an app's id; a longer one is refused. A task id is the app's id and 58 bytes more, and must stay below 200.
pub const APP_ID_LEN_MAX: usize = 128;
/// Apps in all; one more is refused (`server.overloaded`).
pub const APPS_MAX: usize = 10_000;
/// Instances of one app; more are refused.
pub const INSTANCES_MAX: u32 = 100_000;
/// Ports of one app; more are refused.
pub const PORTS_MAX: usize = 100;
/// Bytes of a port's name; a longer one is refused. The length of a DNS label.
pub const PORT_NAME_LEN_MAX: usize = 63;
/// Variables in an app's environment; more are refused. With labels and ports, a task's stays below 1,000.
pub const ENV_ENTRIES_MAX: usize = 400;
/// Labels of an app or a port; more are refused.
pub const LABELS_MAX: usize = 200;
/// Bytes of all texts of one app together; more are refused, so that an app and the one before it fit in one state value (256 KiB).
pub const APP_TEXT_LEN_MAX: usize = 64 * 1024;
/// The longest duration in an app, in seconds; a longer one is refused. A year.
pub const SECONDS_MAX: u64 = 365 * 24 * 3600;
/// Bytes of a label's value up to which tasks see it in their environment; longer ones are left out, as Marathon does.
pub const LABEL_IN_ENVIRONMENT_LEN_MAX: usize = 511;
/// The largest backoff factor, in millionths; a larger one is refused.
pub const BACKOFF_FACTOR_MICRO_MAX: u64 = 1_000_000_000;
/// Launches in one accept; what an offer could hold beyond it is left to the next offer.
/// With the longest texts this stays below what a message may hold.
pub const LAUNCHES_PER_ACCEPT_MAX: u32 = 32;
/// Tasks named in one reconcile call; more are asked for in further calls.
pub const TASKS_PER_RECONCILE_MAX: usize = 5_000;
/// Between two sweeps over all apps, which repair what an event missed and repeat kills (Marathon: 30 s).
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// Between two reconciliations of everything (Marathon: 10 min).
pub const RECONCILE_INTERVAL: Duration = Duration::from_secs(600);
/// From launch to running; a task that takes longer is killed and launched anew (Marathon: 5 min).
pub const LAUNCH_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an agent is not wanted whose offer said that it fits and did not.
pub const MISFIT_EXCLUSION: Duration = Duration::from_secs(5);
/// Instances of an app up to which it is planned at every status.
pub const INSTANCES_WITHOUT_REST_MAX: usize = 100;
/// How long an app with more instances is not planned again for a status, for each instance: statuses of one app with
/// 10,000 instances make ten plans a second, so planning them all stays linear.
pub const PLAN_REST_PER_INSTANCE: Duration = Duration::from_micros(10);
/// Between two replacements of the demand; changes within it are told together.
pub const DEMAND_INTERVAL: Duration = Duration::from_millis(10);
