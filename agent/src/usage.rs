//! What the kernel has counted for a process and all beneath it.

use std::fs;

use crate::procfs::{beneath, field};

/// Milliseconds in a tick of the counts in `/proc`, which have 100 a second on every Linux.
const TICK_MS: u64 = 10;

/// Of a task's processes together; those that have ended count with whoever has waited for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// How many there are.
    pub(crate) processes: u64,
    /// Time in programs, in milliseconds.
    pub(crate) user_ms: u64,
    /// Time in the kernel, in milliseconds.
    pub(crate) system_ms: u64,
    /// Bytes of memory; what they share counts for each.
    pub(crate) resident_bytes: u64,
}

impl Usage {
    /// Of this process and those beneath it, as far as they are there. Reads `/proc`.
    pub(crate) fn of(pid: u32) -> Self {
        let mut all = Self::default();
        for pid in std::iter::once(pid).chain(beneath(pid)) {
            let read =
                |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
            all.add(&read("stat"), &read("status"));
        }
        all
    }

    fn add(&mut self, stat: &str, status: &str) {
        let number = |place| field(stat, place).and_then(|text| text.parse::<u64>().ok());
        let (Some(user), Some(system)) = (number(14), number(15)) else {
            return;
        };
        let waited = (number(16).unwrap_or(0), number(17).unwrap_or(0));
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident =
            resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        self.processes += 1;
        self.user_ms += user.saturating_add(waited.0).saturating_mul(TICK_MS);
        self.system_ms += system.saturating_add(waited.1).saturating_mul(TICK_MS);
        self.resident_bytes += resident.unwrap_or(0).saturating_mul(1_024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_what_its_stat_says_and_one_that_is_gone_nothing() {
        let mut usage = Usage::default();
        usage.add(
            "42 (a b) S 7 42 42 0 -1 1 2 3 4 5 100 50 10 5 20 0 1 0 9999 1 2",
            "Name: a\nVmRSS:\t    12 kB\n",
        );
        assert_eq!((usage.user_ms, usage.system_ms), (1_100, 550));
        assert_eq!((usage.processes, usage.resident_bytes), (1, 12 * 1_024));
        let before = usage;
        usage.add("", "");
        assert_eq!(usage, before);
        assert!(Usage::of(std::process::id()).resident_bytes > 0);
    }
}
