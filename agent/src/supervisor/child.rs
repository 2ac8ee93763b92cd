//! The task's process: how it is started, signalled and reaped, and how what it leaves behind is ended.
//!
//! The supervisor is a subreaper, so a descendant that loses its parent becomes its child, whatever session or group it
//! has moved to. Killing children until there are none therefore ends all of it.

use std::fs;
use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::fs::fchown;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use proffer_model::Exit;

use crate::procfs;
use crate::supervisor::output::Output;
use crate::supervisor::protocol::{self, Launch};
use crate::supervisor::system::{self, OomGuard};

/// The task's process and its output.
pub(super) struct Child {
    pid: u32,
    group: Pid,
    pub(super) stdout: (PipeReader, Output),
    pub(super) stderr: (PipeReader, Output),
}

impl Child {
    /// Starts the task in a process group of its own; an error is also that the program cannot be executed.
    pub(super) fn start(launch: &Launch) -> io::Result<Self> {
        let (program, arguments) = launch
            .arguments
            .split_first()
            .ok_or(io::ErrorKind::InvalidInput)?;
        let (stdout, task_stdout) = pipe(launch)?;
        let (stderr, task_stderr) = pipe(launch)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(protocol::SANDBOX)
            .stdin(Stdio::null())
            .stdout(task_stdout)
            .stderr(task_stderr)
            .process_group(0);
        if let Some((uid, gid)) = launch.user {
            command.uid(uid).gid(gid);
        }
        if let Some(count) = launch.open_files {
            system::limit_open_files(count)?;
        }
        system::prepare_child(&mut command);
        let guard = OomGuard::lower();
        let child = command.spawn();
        guard.restore();
        let child = child?;
        let limit = launch.output_bytes_max;
        let group = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self {
            pid: child.id(),
            group: Pid::from_raw(group),
            stdout: (stdout, Output::new(protocol::STDOUT, limit)),
            stderr: (stderr, Output::new(protocol::STDERR, limit)),
        })
    }

    /// Its id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Signals its process group. Call it only until it has been reaped: then the ids may be others'.
    pub(super) fn signal(&self, number: i32) {
        let Ok(signal) = Signal::try_from(number) else {
            return;
        };
        // It may have ended meanwhile, which is as good.
        let _ = killpg(self.group, signal);
        if signal == Signal::SIGKILL {
            // It may have left its group.
            let _ = kill(self.group, signal);
        }
    }

    /// Reaps all that has ended; answers how the task's process did, if it is among it.
    pub(super) fn reap(&self) -> Option<Exit> {
        let mut exit = None;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.group => {
                    exit = Some(Exit::Code(code));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.group => {
                    exit = Some(Exit::Signal(signal as i32));
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return exit,
                Ok(_) => {}
            }
        }
    }
}

/// A pipe for one output. It is the task's user's, who could not open `/dev/stdout` otherwise; and reading it never waits,
/// because whoever can open it can also take out of it what was announced.
fn pipe(launch: &Launch) -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    if let Some((uid, gid)) = launch.user {
        fchown(&reader, Some(uid), Some(gid))?;
    }
    system::never_wait(&reader)?;
    Ok((reader, writer))
}

/// Kills what is left of all that the task started. Answers whether nothing is left; call it again until then.
pub(super) fn kill_rest() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::EINTR) => {}
            Err(_) => return true,
            Ok(WaitStatus::StillAlive) => break,
            Ok(_) => {}
        }
    }
    for pid in children() {
        if let Ok(pid) = i32::try_from(pid) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    false
}

/// The children of this process; from one file where the kernel has it.
fn children() -> Vec<u32> {
    match fs::read_to_string("/proc/thread-self/children") {
        Ok(text) => text.split_whitespace().flat_map(str::parse).collect(),
        Err(_) => procfs::children_of(std::process::id()),
    }
}
