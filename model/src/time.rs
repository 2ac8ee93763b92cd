//! Time as the cores see it, and durations as people write them.

use std::time::Duration;

use crate::code;
use crate::problem::Problem;

/// A moment, read by the shell and passed in: monotonic for everything that waits, wall for what is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Nanoseconds of a clock that never goes back and counts suspend; its zero is arbitrary.
    pub mono_ns: u64,
    /// Milliseconds since 1970 UTC; may jump.
    pub wall_ms: u64,
}

impl Time {
    /// This moment plus `wait`, on both clocks.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        let ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self {
            mono_ns: self.mono_ns.saturating_add(ns),
            wall_ms: self.wall_ms.saturating_add(ms),
        }
    }

    /// How long after `earlier` this is, by the monotonic clock; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.mono_ns.saturating_sub(earlier.mono_ns))
    }
}

/// Reads a whole number with a unit: `ms`, `s`, `m`, `h` or `d`, as in `250ms`.
pub fn parse_duration(text: &str) -> Result<Duration, Problem> {
    let wrong = || {
        Problem::new(code::FIELD_INVALID, format!("{text:?} is not a duration"))
            .hint("write a whole number and a unit: 250ms, 5s, 10m, 2h, 1d")
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(factor_ms)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that loses nothing but sub-milliseconds.
pub fn format_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    for (factor, unit) in [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ] {
        if ms > 0 && ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            let duration = parse_duration(text).expect(text);
            assert_eq!(duration, Duration::from_millis(ms));
            assert_eq!(format_duration(duration), text);
        }
        for bad in [
            "",
            "5",
            "s",
            "-5s",
            "5 s",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            parse_duration(bad).expect_err(bad);
        }
    }
}
