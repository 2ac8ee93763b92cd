//! The one place where shells read the time that they hand to their cores.
//!
//! Monotonic time is `CLOCK_BOOTTIME`, which goes on while the host sleeps: a lease must not outlive a suspend.

use std::time::{SystemTime, UNIX_EPOCH};

use proffer_model::Time;
use rustix::time::{ClockId, clock_gettime};

/// Now, on both clocks. A wall clock before 1970 reads as 1970.
pub fn now() -> Time {
    let boot = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Time {
        mono_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back_and_the_wall_clock_is_of_this_century() {
        let (first, second) = (now(), now());
        assert!(second.mono_ns >= first.mono_ns);
        assert!(first.wall_ms > 1_700_000_000_000);
    }
}
