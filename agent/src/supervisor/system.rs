//! The system calls of the supervisor that the standard library does not make. All unsafe code of Proffer is here.
#![expect(
    unsafe_code,
    reason = "close_range, signal dispositions and what runs between fork and exec have no safe wrapper"
)]

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};
use nix::unistd;

/// How likely this process is to be killed when memory is short: -1000 (never) to 1000.
const OOM_SCORE: &str = "/proc/self/oom_score_adj";

/// Leaves everything of the agent behind: descriptors, session, dispositions of signals, mask of files.
pub(super) fn detach() -> io::Result<()> {
    // SAFETY: nothing has been opened yet, so no descriptor from 3 on belongs to any Rust value.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    for number in Signal::iterator() {
        if !matches!(number, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGPIPE) {
            // SAFETY: the default disposition runs no code of ours.
            unsafe { signal(number, SigHandler::SigDfl) }?;
        }
    }
    // Fails only for the leader of a group, as when started from a shell for a look; then it stays in that session.
    let _ = unistd::setsid();
    umask(Mode::from_bits_truncate(0o077));
    // What the task leaves behind becomes ours to end, however often it forks.
    prctl::set_child_subreaper(true)?;
    Ok(())
}

/// All signals as a descriptor, instead of their effects.
pub(super) fn signals() -> io::Result<SignalFd> {
    let all = SigSet::all();
    all.thread_block()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalFd::with_flags(&all, flags)?)
}

/// Gives the command what only the child can do for itself, between fork and exec.
pub(super) fn prepare_child(command: &mut Command) {
    let supervisor = unistd::getpid();
    let unblocked = SigSet::empty();
    let in_child = move || {
        // The supervisor reads its signals from a descriptor and blocks them; the task must not.
        unblocked.thread_set_mask()?;
        umask(Mode::from_bits_truncate(0o022));
        // No task without its supervisor: nobody could tell how it ended.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        if unistd::getppid() != supervisor {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        prctl::set_no_new_privs()?;
        Ok(())
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock, and this process has one thread.
    unsafe { command.pre_exec(in_child) };
}

/// Tasks must not inherit the protection against the kernel's memory killer that an operator gave the agent: one that takes
/// too much would then be the last to go. The supervisor gives its own up while it starts the task.
pub(super) struct OomGuard(Option<String>);

impl OomGuard {
    /// Gives the protection up, if there is one.
    pub(super) fn lower() -> Self {
        let score = fs::read_to_string(OOM_SCORE).unwrap_or_default();
        let is_protected = score.starts_with('-') && fs::write(OOM_SCORE, "0").is_ok();
        Self(is_protected.then_some(score))
    }

    /// Takes it back; without the right to, the supervisor does without.
    pub(super) fn restore(self) {
        if let Some(score) = self.0 {
            let _ = fs::write(OOM_SCORE, score.trim_end());
        }
    }
}

/// Sets how many files this process and its task may have open, as far as it is allowed; the task can ask for more up to
/// the same hard limit.
pub(super) fn limit_open_files(count: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, count.min(hard), hard)?)
}

/// Makes reads answer at once, whatever there is.
pub(super) fn never_wait(source: &impl AsFd) -> io::Result<()> {
    fcntl(source.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Points standard output, which was the agent's pipe, to nowhere.
pub(super) fn silence_stdout() -> io::Result<()> {
    let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
    Ok(unistd::dup2_stdout(nowhere.as_fd())?)
}

/// Waits; terminating signals are blocked by now.
pub(super) fn wait(duration: Duration) {
    let timeout = PollTimeout::try_from(duration).unwrap_or(PollTimeout::MAX);
    // Nothing to poll, and an interrupted wait is only shorter.
    let _ = poll(&mut [], timeout);
}
