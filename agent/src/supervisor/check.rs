//! A check by a command: `supervise --check --run-dir DIR -- PROGRAM ARGUMENT…`, run as the task of that directory runs: its
//! user, environment, sandbox and container.
//!
//! Whoever asks holds the other end of standard input. When it lets go, because the time is over or because it is no more,
//! everything that the command started is killed, whatever session or group it has moved to: this program is a subreaper, as
//! a supervisor is. Output of both kinds goes to standard output. It ends as the command did, by a signal with 128 and more.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::fchown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::limits::{CHECK_PROCESSES_MAX, KILL_REST_INTERVAL, KILL_REST_PATIENCE};
use crate::procfs;
use crate::supervisor::child::{kill_rest, run_as};
use crate::supervisor::protocol::{LAUNCH, Launch, SANDBOX};
use crate::supervisor::{USAGE, left, system};

/// The first argument.
pub(crate) const FLAG: &str = "--check";
/// Exit code: the command could not be run. What a shell says when it cannot.
const NOT_RUN: u8 = 126;
/// Signals that end the check before its command has ended.
const ENDING: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];
/// What a shell adds to the number of a signal.
const SIGNALLED: i32 = 128;

/// Runs the check; the arguments begin after the flag.
pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    let (run_dir, command) = match arguments {
        [flag, dir, dash, command @ ..] if flag == "--run-dir" && dash == "--" => (dir, command),
        _ => return ExitCode::from(USAGE),
    };
    match run(Path::new(run_dir), command) {
        Ok(code) => code,
        Err(error) => {
            // For whoever asked: the last line of the output is the reason.
            let text = format!("the command of the check cannot be run: {error}\n");
            let _ = io::Write::write_all(&mut io::stdout(), text.as_bytes());
            ExitCode::from(NOT_RUN)
        }
    }
}

fn run(run_dir: &Path, words: &[OsString]) -> io::Result<ExitCode> {
    system::detach()?;
    std::env::set_current_dir(run_dir)?;
    let signals = system::signals()?;
    let launch = Launch::decode(&fs::read(LAUNCH)?).ok_or(io::ErrorKind::InvalidData)?;
    let mut command = command_in(&launch, words)?;
    command
        .stdin(Stdio::null())
        .stdout(io::stdout().as_fd().try_clone_to_owned()?)
        .stderr(io::stdout().as_fd().try_clone_to_owned()?)
        .process_group(0);
    let guard = system::OomGuard::lower();
    let child = command.spawn();
    guard.restore();
    let child = Pid::from_raw(i32::try_from(child?.id()).map_err(io::Error::other)?);
    // The command's copies of standard output are dropped, so that who reads it sees when all have let go.
    drop(command);
    let code = until_exit(&signals, child);
    if code.is_none() {
        kill_all(std::process::id());
    }
    let begun = Instant::now();
    while !kill_rest() && !left(begun, KILL_REST_PATIENCE).is_zero() {
        system::wait(KILL_REST_INTERVAL);
    }
    // Without a code it was killed because nobody waits any more.
    Ok(ExitCode::from(code.unwrap_or(NOT_RUN)))
}

/// The command as the task runs.
fn command_in(launch: &Launch, words: &[OsString]) -> io::Result<Command> {
    if let Some(container) = &launch.container {
        let mut command = Command::new(&container.program);
        command
            .args(["contain", "exec", "--run-dir"])
            .arg(std::env::current_dir()?)
            .arg("--")
            .args(words)
            .env_clear();
        system::prepare_child(&mut command);
        return Ok(command);
    }
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(SANDBOX);
    if let Some((uid, gid)) = launch.user {
        // So that the command can open /dev/stdout.
        let _ = fchown(io::stdout(), Some(uid), Some(gid));
    }
    run_as(&mut command, launch)?;
    Ok(command)
}

/// Kills all that descends from this process, before any of it loses its parent: what does so in a container becomes a child
/// of the container's first process, and not of this one.
fn kill_all(own: u32) {
    let mut found = procfs::children_of(own);
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        if next < CHECK_PROCESSES_MAX {
            found.extend(procfs::children_of(pid));
        }
    }
    for pid in found.into_iter().flat_map(i32::try_from) {
        // It may have ended meanwhile, which is as good.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Waits for the end of the command; nothing when nobody wants to know it any more.
fn until_exit(signals: &SignalFd, child: Pid) -> Option<u8> {
    let stdin = io::stdin();
    let mut is_told_to_end = false;
    loop {
        let mut fds = [
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        // An error is an interruption; then the flags say nothing.
        let is_ready = poll(&mut fds, PollTimeout::NONE).is_ok();
        let is_let_go = is_ready && fds.last().and_then(PollFd::any).unwrap_or(false);
        while let Ok(Some(info)) = signals.read_signal() {
            is_told_to_end |= ENDING.iter().any(|signal| {
                i32::try_from(info.ssi_signo).is_ok_and(|number| number == *signal as i32)
            });
        }
        if let Some(code) = reap(child) {
            return Some(code);
        }
        if is_let_go || is_told_to_end {
            return None;
        }
    }
}

/// Reaps all that has ended; answers how the command did, if it is among it.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        let exit = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, SIGNALLED + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => continue,
        };
        if exit.0 == child {
            code = Some(u8::try_from(exit.1).unwrap_or(NOT_RUN));
        }
    }
}
