//! The clock of leases: `CLOCK_BOOTTIME`, which goes on while the host sleeps, as everything else in the roles uses it.

use proffer_model::Time;
use rustix::time::{ClockId, clock_gettime};

/// Now, by the monotonic clock alone.
pub(crate) fn now() -> Time {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
    Time {
        mono_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        ..Time::default()
    }
}
