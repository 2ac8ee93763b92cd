//! Every limit of the sidecar: its unit, and what happens at it.

use std::time::Duration;

/// Bytes of an app list; a longer one is refused and the last good one stays (10,000 apps × 10 tasks are about 40 MB).
pub const APP_LIST_BYTES_MAX: usize = 64 << 20;
/// Apps looked at; the list is refused beyond it.
pub const APPS_MAX: usize = 20_000;
/// Ports of one app; an app with more is left out.
pub const PORTS_PER_APP_MAX: usize = 100;
/// Servers of one service; an app with more is left out (server ids end at 32,767).
pub const SERVERS_PER_SERVICE_MAX: usize = 10_000;
/// Bytes of one `HAPROXY_…` label's value; an app with a longer one is left out.
pub const LABEL_BYTES_MAX: usize = 4_096;
/// Names in one VHOST label; an app with more is left out.
pub const VHOSTS_PER_PORT_MAX: usize = 100;
/// Bytes of an app id that is served; an app with a longer one is left out.
pub const APP_ID_BYTES_MAX: usize = 255;
/// Bytes of a host name (RFC 1035).
pub const HOST_NAME_BYTES_MAX: usize = 253;
/// Characters of foreign text repeated in a message; the rest is cut.
pub const QUOTED_CHARS_MAX: usize = 60;
/// Apps, ports and instances left out that are known one by one; the rest is counted.
pub const LEFT_OUT_MAX: usize = 1_000;
/// Services that HAProxy refused and that are remembered; the oldest by name are forgotten and checked again.
pub const REFUSALS_MAX: usize = 1_000;

/// A full fetch is made at least this often, whether or not anything was told.
pub const FETCH_INTERVAL: Duration = Duration::from_secs(60);
/// A fetch begins at least this long after the last one has ended, and at least as long as that one took, up to
/// [`FETCH_SPACING_MAX`]: so a services with a long list spends at most half of its time on us.
pub const FETCH_SPACING_MIN: Duration = Duration::from_millis(10);
/// See [`FETCH_SPACING_MIN`].
pub const FETCH_SPACING_MAX: Duration = Duration::from_secs(5);
/// After the last event, one fetch more is made this much later: an event may be told before the list shows it.
pub const FETCH_AFTERMATH: Duration = Duration::from_secs(1);
/// One fetch, from connecting to the last byte; then it counts as failed.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
/// Wait before a failed fetch is tried again; doubles up to [`RETRY_MAX`].
pub const FETCH_RETRY_MIN: Duration = Duration::from_millis(250);
/// The longest wait between two tries of anything else than an apply.
pub const RETRY_MAX: Duration = Duration::from_secs(10);
/// An answer that takes every route away is believed when it still holds after this time.
pub const EMPTY_CONFIRMATION: Duration = Duration::from_secs(2);
/// A name that was resolved is asked for again after this time; while that fails the old address stays.
pub const ADDRESS_AGE_MAX: Duration = Duration::from_secs(60);
/// Time for resolving one host name; then its instances are left out.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);
/// An event stream that says nothing for so long (not even a heartbeat) is opened again.
pub const STREAM_SILENCE_MAX: Duration = Duration::from_secs(120);
/// Wait before the event stream is opened again; doubles with jitter up to [`RETRY_MAX`].
pub const STREAM_RETRY_MIN: Duration = Duration::from_millis(100);

/// Reloads are at least this far apart; changes in between are taken together.
pub const RELOAD_SPACING: Duration = Duration::from_millis(200);
/// A HAProxy that has just been lost may hold its ports for so long, until its workers have noticed.
pub const PORT_PATIENCE: Duration = Duration::from_millis(500);
/// Wait before a failed apply is tried again; doubles up to [`APPLY_RETRY_MAX`].
pub const APPLY_RETRY_MIN: Duration = Duration::from_millis(200);
/// The longest wait before a failed apply is tried again.
pub const APPLY_RETRY_MAX: Duration = Duration::from_secs(5);
/// A port that another process had is tried again after this time.
pub const PORT_RETRY: Duration = Duration::from_secs(5);
/// Connections that outlive a reload or a drain are cut after this time.
pub const HARD_STOP_AFTER: Duration = Duration::from_secs(300);
/// One `haproxy -c`; then it is killed and the configuration counts as refused.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(20);
/// From starting HAProxy to its answer on the master socket. Long: on a host without CPU to spare, slow is not dead.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);
/// From asking for a reload to the new worker's answer.
pub const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A HAProxy that answers, but has not begun the reload it was asked for, is asked again after this time.
pub const RELOAD_ASK_AGAIN: Duration = Duration::from_secs(1);
/// A HAProxy of ours that runs and has a socket, but does not answer on it, is thought starting or slow for so long.
pub const REVIVE_PATIENCE: Duration = Duration::from_secs(10);
/// Looks in a row without an answer after which a HAProxy whose process is not known counts as ended.
pub const SOCKET_MISSES_MAX: u32 = 3;
/// From SIGTERM to SIGKILL when HAProxy is to stop with the sidecar.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The operator's reload command; then it is killed and counts as failed.
pub const RELOAD_COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// One command on HAProxy's socket.
pub const CLI_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of an answer on HAProxy's socket; a longer one counts as failed.
pub const CLI_ANSWER_BYTES_MAX: usize = 16 << 20;
/// Pause between two looks while waiting for HAProxy.
pub const POLL_PAUSE: Duration = Duration::from_millis(20);
/// Pause between two looks whether HAProxy's process still runs.
pub const EXIT_POLL: Duration = Duration::from_millis(100);
/// Pause between two looks whether a HAProxy whose process is not known still answers.
pub const SOCKET_POLL: Duration = Duration::from_secs(1);
/// A server that is drained is looked at this often until its connections are done.
pub const DRAIN_POLL: Duration = Duration::from_secs(1);
/// Bytes of a unix socket's path: 108 of the kernel, less the `.<pid>.tmp` that HAProxy appends while it binds.
pub const SOCKET_PATH_BYTES_MAX: usize = 92;
/// Bytes of what HAProxy says about a bad configuration that are kept.
pub const HAPROXY_MESSAGE_BYTES_MAX: usize = 1_024;
/// Connections HAProxy may hold unless the file limit allows fewer (two descriptors each).
pub const CONNECTIONS_MAX: u64 = 20_000;
/// Connections HAProxy may hold even where the limit of open files seems not to allow them; it then says so itself.
pub const CONNECTIONS_MIN: u64 = 100;
/// Descriptors kept back for HAProxy's own sockets and for servers that come without a reload.
pub const DESCRIPTORS_RESERVED: u64 = 1_000;
/// Bytes of a template file; a longer one is refused at start.
pub const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
