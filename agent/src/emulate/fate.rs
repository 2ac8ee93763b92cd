//! What becomes of emulated tasks: how long they run and whether they fail, out of a seed and the name of each launch.
//!
//! So the same launches have the same fates whichever agents they run on, and in whichever order they come.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use proffer_model::time::{format_duration, parse_duration};
use proffer_model::{Incarnation, Problem, TaskId, code};

use super::limits::TASK_DURATION_MAX;

/// Parts of a whole that rates are counted in.
const WHOLE: u32 = 1_000_000;

/// What becomes of tasks.
#[derive(Clone, Debug, Default)]
pub struct Fates {
    /// Where it is drawn from.
    pub seed: u64,
    /// How long they run; until they are killed when absent.
    pub duration: Option<Span>,
    /// How many fail instead of finishing.
    pub failure_rate: Rate,
}

/// What becomes of one launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// How long it runs; until it is killed when absent.
    pub(super) duration: Option<Duration>,
    /// Whether it fails then.
    pub(super) is_failure: bool,
}

impl Fates {
    pub(super) fn of(&self, task: &TaskId, incarnation: Incarnation) -> Fate {
        let name = task.as_str().bytes().fold(mix(self.seed), |hash, byte| {
            mix(hash ^ u64::from(byte)) // Not fast, but a task is named once.
        });
        let drawn = mix(name ^ incarnation.0);
        Fate {
            duration: self.duration.map(|span| span.at(mix(drawn))),
            is_failure: drawn % u64::from(WHOLE) < u64::from(self.failure_rate.0),
        }
    }
}

/// Spreads the bits of a number (the finalizer of splitmix64).
pub(super) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A duration, or any between two: `2s`, `500ms-2s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    least: Duration,
    most: Duration,
}

impl Span {
    /// Any between these two.
    pub fn new(least: Duration, most: Duration) -> Result<Self, Problem> {
        if least > most {
            let message = format!(
                "{} is more than {}",
                format_duration(least),
                format_duration(most)
            );
            return Err(Problem::new(code::CONFIG_INVALID, message)
                .hint("write the shorter one first, as in 1s-5s"));
        }
        if most > TASK_DURATION_MAX {
            let message = format!("the longest is {}", format_duration(TASK_DURATION_MAX));
            return Err(Problem::new(code::CONFIG_INVALID, message)
                .hint("leave it out, and tasks run until they are killed"));
        }
        Ok(Self { least, most })
    }

    /// The one that was drawn.
    fn at(self, drawn: u64) -> Duration {
        let width = self.most.saturating_sub(self.least).as_nanos();
        let width = u64::try_from(width).unwrap_or(u64::MAX).saturating_add(1);
        self.least + Duration::from_nanos(drawn % width)
    }
}

impl FromStr for Span {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        Self::new(parse_duration(least.trim())?, parse_duration(most.trim())?)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.least))?;
        if self.most > self.least {
            write!(f, "-{}", format_duration(self.most))?;
        }
        Ok(())
    }
}

/// A part of all, from 0 to 1 with at most six digits behind the point: `0.05`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u32);

impl FromStr for Rate {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let parse = || {
            let (whole, part) = text.split_once('.').unwrap_or((text, ""));
            let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if text.is_empty() || part.len() > 6 || !is_number(whole) || !is_number(part) {
                return None;
            }
            let whole = match whole {
                "" if part.is_empty() => return None,
                "" => 0,
                digits => digits.parse::<u32>().ok()?,
            };
            let part = format!("{part:0<6}").parse::<u32>().ok()?;
            whole.checked_mul(WHOLE)?.checked_add(part)
        };
        match parse() {
            Some(parts) if parts <= WHOLE => Ok(Self(parts)),
            _ => Err(
                Problem::new(code::CONFIG_INVALID, format!("{text:?} is not a rate"))
                    .hint("write a number from 0 to 1, such as 0.05 for one task in twenty"),
            ),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / WHOLE, self.0 % WHOLE);
        let text = format!("{whole}.{part:06}");
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(rate: &str, duration: Option<&str>) -> Fates {
        Fates {
            seed: 7,
            duration: duration.map(|text| text.parse().unwrap()),
            failure_rate: rate.parse().unwrap(),
        }
    }

    fn of(fates: &Fates, task: u32) -> Fate {
        let id = TaskId::new(&format!("batch-{task}")).unwrap();
        fates.of(&id, Incarnation(1))
    }

    #[test]
    fn the_same_launch_has_the_same_fate_and_another_seed_another() {
        let mut fates = fates("0.5", Some("1s-5s"));
        let first: Vec<Fate> = (0..100).map(|task| of(&fates, task)).collect();
        assert_eq!(
            first,
            (0..100).map(|task| of(&fates, task)).collect::<Vec<_>>()
        );
        let id = TaskId::new("batch-1").unwrap();
        let again = fates.of(&id, Incarnation(2));
        assert_ne!(first[1].duration, again.duration);
        fates.seed = 8;
        assert_ne!(
            first,
            (0..100).map(|task| of(&fates, task)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn as_many_fail_as_the_rate_says_and_durations_fill_their_span() {
        let fates = fates("0.05", Some("1s-3s"));
        let drawn: Vec<Fate> = (0..10_000).map(|task| of(&fates, task)).collect();
        let failures = drawn.iter().filter(|fate| fate.is_failure).count();
        assert!((400..600).contains(&failures), "{failures}");
        let durations: Vec<Duration> = drawn.iter().filter_map(|fate| fate.duration).collect();
        assert_eq!(durations.len(), 10_000);
        let (least, most) = (durations.iter().min(), durations.iter().max());
        assert!(
            *least.unwrap() >= Duration::from_secs(1) && *most.unwrap() <= Duration::from_secs(3)
        );
        assert!(*most.unwrap() - *least.unwrap() > Duration::from_millis(1_900));
    }

    #[test]
    fn nothing_ends_or_fails_unless_it_is_asked_for_and_everything_if_it_is() {
        let none = fates("0", None);
        let all = fates("1", Some("2s"));
        for task in 0..1_000 {
            let runs_on = Fate {
                duration: None,
                is_failure: false,
            };
            let fails = Fate {
                duration: Some(Duration::from_secs(2)),
                is_failure: true,
            };
            assert_eq!((of(&none, task), of(&all, task)), (runs_on, fails));
        }
    }

    #[test]
    fn rates_and_spans_are_read_and_written_and_nonsense_is_refused() {
        for (text, shown) in [
            ("0", "0"),
            ("1", "1"),
            ("0.05", "0.05"),
            (".5", "0.5"),
            ("1.000", "1"),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), shown, "{text}");
        }
        for bad in [
            "",
            ".",
            "-1",
            "1.1",
            "2",
            "0.0000001",
            "5%",
            "NaN",
            "1e-3",
            "99999999999",
        ] {
            bad.parse::<Rate>().expect_err(bad);
        }
        assert_eq!("500ms-2s".parse::<Span>().unwrap().to_string(), "500ms-2s");
        assert_eq!("2s".parse::<Span>().unwrap().to_string(), "2s");
        for bad in ["", "2", "2s-", "-2s", "5s-1s", "1s-2s-3s", "10000d"] {
            bad.parse::<Span>().expect_err(bad);
        }
    }
}
