//! Processes: their lives, their clocks, and that they may stand still. What comes to one that stands still waits in its
//! inbox, as it would in sockets.

use std::collections::VecDeque;
use std::fmt;

use proffer_model::Time;

use super::world::{Input, SECOND};

/// A place of the network, and the process that runs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Master(usize),
    Agent(usize),
    Framework(usize),
    Operator,
    Ensemble,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master(n) => write!(f, "master {n}    "),
            Self::Agent(n) => write!(f, "agent {n}     "),
            Self::Framework(n) => write!(f, "framework {n} "),
            Self::Operator => write!(f, "operator    "),
            Self::Ensemble => write!(f, "ensemble    "),
        }
    }
}

#[derive(Default)]
pub(super) struct Process {
    /// Which run of the program this is; what was meant for an earlier one is lost.
    pub(super) life: u64,
    pub(super) is_up: bool,
    pub(super) is_frozen: bool,
    pub(super) inbox: VecDeque<Input>,
    pub(super) clock: Clock,
}

/// A clock that is wrong by a constant, and goes wrong at a constant rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    pub(super) offset_ns: u64,
    /// Fast by this many millionths.
    pub(super) fast_ppm: u64,
    /// How far the wall clock was set forward.
    pub(super) wall_ms: u64,
}

impl Clock {
    pub(super) fn time(&self, now: u64) -> Time {
        let mono_ns = self.offset_ns + now + now / 1_000_000 * self.fast_ppm;
        Time {
            mono_ns,
            wall_ms: 1_700_000_000_000 + self.wall_ms + now / 1_000_000,
        }
    }

    /// When the clock will show this, at the latest.
    pub(super) fn when(&self, mono_ns: u64) -> u64 {
        let shown = mono_ns.saturating_sub(self.offset_ns);
        if self.fast_ppm == 0 {
            return shown;
        }
        let slow = u128::from(shown) * 1_000_000 / u128::from(1_000_000 + self.fast_ppm);
        u64::try_from(slow).expect("small") + SECOND / 1_000
    }
}
