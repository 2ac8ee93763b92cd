//! What happened, one line an event, for whoever must understand a failing seed. Lines are only made when they are kept.

use std::collections::VecDeque;
use std::time::Duration;

/// What a failing seed shows, unless it is told to show all.
const LINES: usize = 600;

#[derive(Default)]
pub(super) struct Story {
    is_told: bool,
    keeps_all: bool,
    lines: VecDeque<String>,
    digest: u64,
}

impl Story {
    pub(super) fn silent() -> Self {
        Self::default()
    }

    pub(super) fn told(keeps_all: bool) -> Self {
        Self {
            is_told: true,
            keeps_all,
            ..Self::default()
        }
    }

    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    pub(super) fn tell(&mut self, now: u64, step: u64, line: &str) {
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.lines.len() == LINES && !self.keeps_all {
            self.lines.pop_front();
        }
        let seconds = Duration::from_nanos(now).as_secs_f64();
        self.lines
            .push_back(format!("{seconds:>10.4}s {step:>7} {line}"));
    }

    pub(super) fn text(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    /// A number that differs when anything in the story does.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}

/// Adds a line to the story: who, then what.
macro_rules! tell {
    ($world:expr, $($line:tt)+) => {
        if $world.story.is_told() {
            let line = format!($($line)+);
            $world.story.tell($world.now, $world.step, &line);
        }
    };
}
pub(super) use tell;
