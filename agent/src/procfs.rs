//! The little that is read from `/proc`: who a process is, and which processes are there. A process is its id and its
//! start time, because ids are used again.

use std::collections::BTreeMap;
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

/// All processes beneath this one, by a scan of all processes.
pub(crate) fn beneath(parent: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for pid in processes() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(parent) = field(&stat, 4).and_then(|text| text.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![parent];
    while let Some(parent) = parents.pop() {
        // Taken out, so that a scan which saw a process twice cannot go round in circles.
        let of_parent = children.remove(&parent).unwrap_or_default();
        parents.extend(&of_parent);
        found.extend(of_parent);
    }
    found
}

/// Where a process belongs, as long as it does not ask to belong elsewhere. Neither id is used again while any process has
/// it, and for both to be used again in the same relation is out of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Its session.
    pub(crate) session: u32,
    /// Its process group.
    pub(crate) group: u32,
}

/// All processes that were given one of these environment entries, `NAME=value`, when they started, or are of this origin:
/// a program may write its name over its environment. One that only waits to be reaped does not count.
pub(crate) fn started_with(entries: &[String], origin: Option<Origin>) -> Vec<u32> {
    let has_entry = |pid: u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut given = environment.split(|byte| *byte == 0);
        given.any(|given| entries.iter().any(|entry| given == entry.as_bytes()))
    };
    let is_of_origin = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        origin.is_some_and(|origin| is_alive_of(&stat, origin))
    };
    processes()
        .filter(|pid| has_entry(*pid) || is_of_origin(*pid))
        .collect()
}

fn is_alive_of(stat: &str, origin: Origin) -> bool {
    let number = |place| field(stat, place).and_then(|text| text.parse::<u32>().ok());
    !matches!(field(stat, 3), None | Some("Z" | "X"))
        && number(5) == Some(origin.group)
        && number(6) == Some(origin.session)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A field of `/proc/<pid>/stat` from the third on, numbered as in proc(5). The second is a name that may hold anything.
pub(crate) fn field(stat: &str, number: usize) -> Option<&str> {
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
    fn a_process_is_of_an_origin_by_group_and_session_and_while_it_is_alive() {
        let origin = Origin {
            session: 7,
            group: 8,
        };
        for (stat, is_of) in [
            ("9 (a) S 1 8 7 0", true),
            ("9 (a) Z 1 8 7 0", false),
            ("9 (a) S 1 9 7 0", false),
            ("9 (a) S 1 8 8 0", false),
            ("", false),
        ] {
            assert_eq!(is_alive_of(stat, origin), is_of, "{stat}");
        }
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
