//! The little that is read from `/proc`: who a process is, and which processes are there. A process is its id and its
//! start time, because ids are used again.

use std::fs;

/// A process that cannot be mistaken for a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessId {
    /// Its id.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub(crate) start: u64,
}

impl ProcessId {
    /// The process that has this id now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let start = field(&stat, 22)?.parse().ok()?;
        Some(Self { pid, start })
    }

    /// Whether it is still there; a zombie is.
    pub(crate) fn is_there(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// The children of this process, by a scan of all processes.
pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        stat.and_then(|stat| field(&stat, 4)?.parse::<u32>().ok()) == Some(parent)
    };
    processes().filter(is_child).collect()
}

/// All processes that were given this environment entry, `NAME=value`, when they started.
pub(crate) fn with_environment(entry: &str) -> Vec<u32> {
    let has_entry = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|e| e == entry.as_bytes())
    };
    processes().filter(has_entry).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A field of `/proc/<pid>/stat` from the third on, numbered as in proc(5). The second is a name that may hold anything.
fn field(stat: &str, number: usize) -> Option<&str> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_a_name_with_anything_in_it() {
        let stat = "42 (a) b) (c) S 7 42 42 0 -1 1 2 3 4 5 6 7 8 9 20 0 1 0 9999 1 1";
        assert_eq!(field(stat, 3), Some("S"));
        assert_eq!(field(stat, 4), Some("7"));
        assert_eq!(field(stat, 22), Some("9999"));
        assert_eq!(field("42 nothing", 3), None);
    }

    #[test]
    fn this_process_is_there_and_a_later_one_would_not_be_it() {
        let me = ProcessId::of(std::process::id()).expect("this process");
        assert!(me.is_there());
        let other = ProcessId {
            start: me.start + 1,
            ..me
        };
        assert!(!other.is_there());
    }
}
