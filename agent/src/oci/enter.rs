//! Runs a program in a container that is there, for checks: what the container may not, it may not either.
//!
//! Nobody in the container can look into this process on its way in: it cannot be traced or dumped, holds no descriptor
//! of the host's but its standard ones, and its own file is read-only (`contain.rs`).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use caps::CapSet;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Gid, Pid, setgroups};

use crate::limits::IMAGE_USERS_LEN_MAX;
use crate::oci::cgroup::Cgroup;
use crate::oci::seccomp::Filters;
use crate::oci::{spec, system};
use crate::procfs::ProcessId;
use crate::supervisor::protocol::{self, Contained, Launch};

/// Answered when the program took too long, or this program was told to end before it did.
const TOO_LONG: u8 = 124;
/// Signals that end the program before it does so itself.
const ENDING: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];
/// Added to the number of the signal that ended the program.
const SIGNALLED: i32 = 128;
/// The namespaces of a container by their files. The mounts come last, since these files are in them.
const NAMESPACES: [(&str, CloneFlags); 5] = [
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ("pid", CloneFlags::CLONE_NEWPID),
    ("mnt", CloneFlags::CLONE_NEWNS),
];

/// Answers the exit code; an error, for people, is that the program was not run.
pub(super) fn run(
    dir: &Path,
    launch: &Launch,
    timeout: Option<Duration>,
    program: &[OsString],
) -> Result<u8, String> {
    let container = launch.container.as_ref().ok_or("it is not a container's")?;
    let filters = Filters::new()?;
    enter(dir, launch, container).map_err(|error| format!("it cannot be entered: {error}"))?;
    let (uid, gid) = launch.user.unwrap_or((0, 0));
    let (name, arguments) = program.split_first().ok_or("no program is given")?;
    let mut command = Command::new(name);
    command
        .args(arguments)
        .env_clear()
        .env("HOME", home(uid))
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&container.directory)
        .stdin(std::process::Stdio::null());
    system::prepare_entry(&mut command, (uid, gid), filters);
    let waited = awaited_signals()
        .and_then(|signals| Ok((command.spawn()?, signals)))
        .map_err(|error| format!("{}: {error}", name.display()))
        .and_then(|(child, signals)| {
            wait(child, &signals, timeout).map_err(|error| error.to_string())
        });
    waited.map(|status| status.map_or(TOO_LONG, code))
}

/// Puts this process where the container is; its children are then in it altogether.
fn enter(dir: &Path, launch: &Launch, container: &Contained) -> io::Result<()> {
    let text = fs::read_to_string(dir.join(protocol::PID))?;
    let task = protocol::parse_pid(&text, "task").ok_or(io::ErrorKind::NotFound)?;
    let namespaces = NAMESPACES.iter().map(|(name, kind)| {
        let path = format!("/proc/{}/ns/{name}", task.pid);
        (File::open(path), *kind)
    });
    let namespaces: Vec<(io::Result<File>, CloneFlags)> = namespaces.collect();
    // What was opened is the task's only if it was still there afterwards.
    if !ProcessId::is_there(task) {
        return Err(io::ErrorKind::NotFound.into());
    }
    prctl::set_dumpable(false)?;
    Cgroup::new(&container.cgroup).enter()?;
    if let Some(count) = launch.open_files {
        crate::supervisor::limit_open_files(count)?;
    }
    for (file, kind) in namespaces {
        match file {
            Ok(file) => setns(file, kind)?,
            // A kernel without these.
            Err(error)
                if kind == CloneFlags::CLONE_NEWCGROUP
                    && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let groups: Vec<Gid> = container
        .groups
        .iter()
        .copied()
        .map(Gid::from_raw)
        .collect();
    setgroups(&groups)?;
    drop_capabilities().map_err(io::Error::other)?;
    Ok(prctl::set_no_new_privs()?)
}

/// Those that the program cannot have any more; it has none if its user is not root.
fn drop_capabilities() -> Result<(), caps::errors::CapsError> {
    for capability in caps::runtime::thread_all_supported() {
        if !spec::CAPABILITIES.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    caps::clear(None, CapSet::Inheritable)
}

/// The user's home in the container, as `/etc/passwd` there has it.
fn home(uid: u32) -> String {
    let mut text = String::new();
    let read = File::open("/etc/passwd")
        .and_then(|file| file.take(IMAGE_USERS_LEN_MAX).read_to_string(&mut text));
    drop(read);
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let home = lines.find_map(|fields| match fields.as_slice() {
        [_, _, id, _, _, home, ..] if id.parse() == Ok(uid) => Some((*home).to_owned()),
        _ => None,
    });
    home.unwrap_or_else(|| "/".to_owned())
}

fn awaited_signals() -> io::Result<SignalFd> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGCHLD].into_iter().chain(ENDING) {
        signals.add(signal);
    }
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?)
}

/// Waits for the program and ends what it has left in its session; nothing when it took too long, or this program was
/// told to end.
fn wait(
    mut child: Child,
    signals: &SignalFd,
    timeout: Option<Duration>,
) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let mut is_told_to_end = false;
    let status = loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if is_told_to_end || left.is_some_and(|left| left.is_zero()) {
            break None;
        }
        let millis = left.map(|left| left.max(Duration::from_millis(1)));
        let wait = millis.and_then(|left| PollTimeout::try_from(left).ok());
        let mut fds = [PollFd::new(
            std::os::fd::AsFd::as_fd(signals),
            PollFlags::POLLIN,
        )];
        let woken = poll(&mut fds, wait.unwrap_or(PollTimeout::NONE));
        if woken.is_ok_and(|count| count > 0)
            && let Ok(Some(signal)) = signals.read_signal()
        {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            is_told_to_end = ENDING.iter().any(|ending| *ending as i32 == number);
        }
    };
    let _ = killpg(group, Signal::SIGKILL);
    if status.is_none() {
        child.wait()?;
    }
    Ok(status)
}

fn code(status: ExitStatus) -> u8 {
    let signalled = status.signal().map(|signal| SIGNALLED + signal);
    let code = status.code().or(signalled).unwrap_or(SIGNALLED);
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use caps::Capability;

    use super::*;

    #[test]
    fn a_container_has_no_capability_that_reaches_past_it() {
        for capability in [
            Capability::CAP_SYS_ADMIN,
            Capability::CAP_SYS_PTRACE,
            Capability::CAP_NET_RAW,
            Capability::CAP_MKNOD,
            Capability::CAP_NET_BIND_SERVICE,
        ] {
            assert!(!spec::CAPABILITIES.contains(&capability), "{capability}");
        }
    }
}
