//! Control groups as the supervisor and the agent see them: what was killed for want of memory, and how all of one is
//! ended and removed. They are made, and their limits set, by the program that makes the container (`create.rs`).
//!
//! With version 2 a control group is one directory; with version 1, and in hybrid set-ups, it is one in the hierarchy of
//! each controller. What is done here is the same for both: files that one version does not have are passed over.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// Where the hierarchies are mounted.
const MOUNTS: &str = "/sys/fs/cgroup";
/// The controllers that a container cannot do without.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// The hierarchies of version 1 that a container sees: by them programs find out what they may use.
const SHOWN: [&str; 4] = ["cpu", "cpuacct", "memory", "pids"];
/// Control groups within one that are looked through, one in the other. Containers cannot make any.
const DEPTH_MAX: u32 = 4;

/// One control group, whether it is there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// Without a slash at its beginning.
    path: PathBuf,
}

impl Cgroup {
    /// By its path in each hierarchy.
    pub(crate) fn new(path: &str) -> Self {
        Self {
            path: PathBuf::from(path.trim_start_matches('/')),
        }
    }

    /// Whether containers can be held by control groups on this host; the error is for people.
    pub(crate) fn check() -> Result<(), String> {
        for controller in CONTROLLERS {
            let is_there = match is_unified() {
                true => fs::read_to_string(Path::new(MOUNTS).join("cgroup.controllers"))
                    .is_ok_and(|text| text.split_whitespace().any(|word| word == controller)),
                false => Path::new(MOUNTS).join(controller).is_dir(),
            };
            if !is_there {
                return Err(format!(
                    "there is no controller {controller:?} under {MOUNTS}"
                ));
            }
        }
        Ok(())
    }

    /// With version 1, the hierarchies that its container is to see and its directory in each, which may not be there yet.
    /// Nothing with version 2, where it is the root of what its container mounts.
    pub(crate) fn shown(&self) -> Vec<(&'static str, PathBuf)> {
        if is_unified() {
            return Vec::new();
        }
        let shown = SHOWN.into_iter().filter_map(|name| {
            // Controllers that share a hierarchy have links to it by their names.
            let hierarchy = Path::new(MOUNTS).join(name).canonicalize().ok()?;
            Some((name, hierarchy.join(&self.path)))
        });
        shown.collect()
    }

    /// How many of its processes the kernel has killed because it used more memory than it may.
    pub(crate) fn killed_for_memory(&self) -> u64 {
        let dirs = self.dirs();
        let files = dirs
            .iter()
            .flat_map(|dir| ["memory.events", "memory.oom_control"].map(|name| dir.join(name)));
        let counts = files.flat_map(|file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        });
        counts.max().unwrap_or(0)
    }

    /// Keeps what is in it from being swapped out, where the host can say so: a limit of memory would be one of memory
    /// and swap otherwise, and a task that exceeds it would be slow instead of killed.
    pub(crate) fn forbid_swap(&self, memory_bytes: u64) {
        for dir in self.dirs() {
            // Neither file is there without swap, or without its accounting.
            let _ = write(&dir.join("memory.swap.max"), "0");
            let bytes = memory_bytes.to_string();
            let _ = write(&dir.join("memory.memsw.limit_in_bytes"), &bytes);
        }
    }

    /// Puts this process into it.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let pid = std::process::id().to_string();
        let dirs = self.dirs();
        if dirs.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        dirs.iter()
            .try_for_each(|dir| write(&dir.join("cgroup.procs"), &pid))
    }

    /// Kills all that is in it and removes it. Answers whether nothing is left; call it again until then.
    pub(crate) fn end(&self) -> bool {
        let dirs = self.dirs();
        dirs.iter().for_each(|dir| end(dir, DEPTH_MAX));
        // Removed one by one: what waits to be reaped keeps them all for a moment.
        dirs.iter().all(|dir| !dir.is_dir())
    }

    /// Removes it unless there are others in it.
    pub(crate) fn remove_if_empty(&self) {
        for dir in self.dirs() {
            // The kernel keeps what is not empty.
            let _ = fs::remove_dir(dir);
        }
    }

    /// The names of those in it.
    pub(crate) fn children(&self) -> BTreeSet<String> {
        let dirs = self.dirs();
        let names = dirs.iter().flat_map(|dir| subdirectories(dir));
        names
            .filter_map(|dir| Some(dir.file_name()?.to_str()?.to_owned()))
            .collect()
    }

    /// Its directories that are there.
    fn dirs(&self) -> Vec<PathBuf> {
        let mut mounts = match is_unified() {
            true => vec![PathBuf::from(MOUNTS)],
            false => subdirectories(Path::new(MOUNTS)),
        };
        mounts.iter_mut().for_each(|mount| mount.push(&self.path));
        mounts.retain(|dir| dir.is_dir());
        mounts
    }
}

/// Whether the host has version 2 alone.
fn is_unified() -> bool {
    Path::new(MOUNTS).join("cgroup.controllers").is_file()
}

fn end(dir: &Path, depth: u32) {
    if depth > 0 {
        let children = subdirectories(dir);
        children.iter().for_each(|child| end(child, depth - 1));
    }
    // All at once, where the kernel can; what forks meanwhile is in it too.
    let _ = write(&dir.join("cgroup.kill"), "1");
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let pids = text.lines().flat_map(str::parse).filter_map(Pid::from_raw);
    for pid in pids {
        // It may have ended meanwhile, which is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
    // Not while anything is in it; then this is tried again.
    let _ = fs::remove_dir(dir);
}

/// Not those behind links: the controllers of version 1 that share a hierarchy have several names for it.
fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::File::options();
    let mut file = options.write(true).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}
