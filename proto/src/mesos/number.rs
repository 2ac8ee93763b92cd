//! Mesos's floating point numbers, at the edge of what is counted in whole numbers: amounts in thousandths, and seconds.
#![allow(
    clippy::float_arithmetic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the one place where Mesos's floating point numbers become whole ones, and back; the bounds are checked"
)]

use std::time::Duration;

use proffer_model::limits::SCALAR_MILLI_MAX;

/// An amount in thousandths, rounded half away from zero as Mesos does; why not for what is no amount.
pub fn milli_of(value: f64) -> Result<u64, &'static str> {
    if !value.is_finite() || value < 0.0 {
        return Err("is not a positive number");
    }
    let milli = (value * 1_000.0).round();
    if milli > SCALAR_MILLI_MAX as f64 {
        return Err("is larger than anything may be");
    }
    Ok(milli as u64)
}

/// An amount as Mesos writes it.
pub fn value_of(milli: u64) -> f64 {
    milli as f64 / 1_000.0
}

/// Seconds since 1970, of milliseconds.
pub fn seconds_of(wall_ms: u64) -> f64 {
    wall_ms as f64 / 1_000.0
}

/// A length of time in seconds; none for what is less than nothing or no number.
pub fn duration_of(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// Wall milliseconds as Mesos says points in time.
pub(super) fn nanoseconds_of(wall_ms: u64) -> i64 {
    i64::try_from(wall_ms.saturating_mul(1_000_000)).unwrap_or(i64::MAX)
}

/// Milliseconds of a length of time in seconds as Mesos gives it; at most a century, 0 for what makes no sense.
pub(super) fn ms_of(seconds: f64) -> u64 {
    const CENTURY: f64 = 3_155_760_000.0;
    if seconds.is_finite() && seconds > 0.0 {
        (seconds.min(CENTURY) * 1_000.0).round() as u64
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_half_away_from_zero() {
        for (value, milli) in [
            (0.1, 100),
            (1.5015, 1_502),
            (-0.0, 0),
            (1e-4, 0),
            (16.0, 16_000),
        ] {
            assert_eq!(milli_of(value), Ok(milli), "{value}");
        }
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            milli_of(bad).expect_err("no amount");
        }
        assert_eq!(format!("{:?}", value_of(100)), "0.1");
    }
}
