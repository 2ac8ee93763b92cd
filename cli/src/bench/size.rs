//! How large a cluster for the allocator alone is, as it is typed.

use std::fmt;
use std::str::FromStr;

use proffer_model::{Problem, code};

use crate::limits::{BENCH_AGENTS_MAX, BENCH_FRAMEWORKS_MAX};

/// So many agents and frameworks, as in `10000x1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) agents: u32,
    pub(crate) frameworks: u32,
}

impl FromStr for Size {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let parse = || {
            let (agents, frameworks) = text.split_once('x')?;
            let size = Self {
                agents: agents.parse().ok()?,
                frameworks: frameworks.parse().ok()?,
            };
            (size.agents > 0 && size.frameworks > 0).then_some(size)
        };
        let size = parse().ok_or_else(|| {
            Problem::new(code::CONFIG_INVALID, format!("{text:?} is not a size"))
                .hint("write how many agents, x, and how many frameworks, as in 10000x1000")
        })?;
        if size.agents > BENCH_AGENTS_MAX || size.frameworks > BENCH_FRAMEWORKS_MAX {
            let message = format!("{size} is more than a master takes");
            let hint = format!("give {BENCH_AGENTS_MAX}x{BENCH_FRAMEWORKS_MAX} at most");
            return Err(Problem::new(code::CONFIG_INVALID, message).hint(hint));
        }
        Ok(size)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.agents, self.frameworks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_nonsense_is_refused() {
        let size: Size = "10000x1000".parse().unwrap();
        assert_eq!((size.agents, size.frameworks), (10_000, 1_000));
        assert_eq!(size.to_string(), "10000x1000");
        for bad in [
            "",
            "x",
            "10",
            "10x",
            "0x1",
            "1x0",
            "-1x1",
            "1x1x1",
            "99999999999x1",
        ] {
            bad.parse::<Size>().expect_err(bad);
        }
    }

    #[test]
    fn more_than_a_master_takes_is_refused_before_any_of_it_is_made() {
        let most = "100000x20000";
        assert_eq!(most.parse::<Size>().unwrap().to_string(), most);
        for bad in ["99999999x9", "100001x1", "1x20001"] {
            let problem = bad.parse::<Size>().expect_err(bad);
            assert!(problem.hint.contains("100000x20000"), "{problem}");
        }
    }
}
