//! The task's process: how it is started, signalled and reaped, and how what it leaves behind is ended.
//!
//! The supervisor is a subreaper, so a descendant that loses its parent becomes its child, whatever session or group it
//! has moved to. Killing children until there are none therefore ends all of it.
//!
//! A container is made by a program of its own, because that takes libraries and memory that nobody needs afterwards. It
//! makes the task's first process a child of the supervisor's, says its id, and ends.

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::unix::fs::fchown;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use proffer_model::Exit;

use crate::limits::{CONTAIN_ANSWER_LEN_MAX, KILL_REST_INTERVAL, KILL_REST_PATIENCE};
use crate::oci::cgroup::Cgroup;
use crate::procfs;
use crate::supervisor::left;
use crate::supervisor::output::Output;
use crate::supervisor::protocol::{self, Contained, Launch, Said};
use crate::supervisor::system::{self, OomGuard};

/// The task's process and its output.
pub(super) struct Child {
    pid: u32,
    group: Pid,
    /// Of a container.
    cgroup: Option<Cgroup>,
    /// What it is sent instead of SIGTERM.
    stop: Option<i32>,
    pub(super) stdout: (PipeReader, Output),
    pub(super) stderr: (PipeReader, Output),
}

impl Child {
    /// Starts the task in a process group of its own. An error, for people, is also that the program cannot be executed;
    /// nothing is left then.
    pub(super) fn start(launch: &Launch) -> Result<Self, String> {
        let cgroup = launch.container.as_ref();
        let cgroup = cgroup.map(|container| Cgroup::new(&container.cgroup));
        let pipes = pipe(launch).and_then(|stdout| Ok((stdout, pipe(launch)?)));
        let ((stdout, task_stdout), (stderr, task_stderr)) =
            pipes.map_err(|error| error.to_string())?;
        let outputs = (Stdio::from(task_stdout), Stdio::from(task_stderr));
        let started = match &launch.container {
            None => start_process(launch, outputs).map_err(|error| {
                let program = launch.program.as_ref().or(launch.arguments.first());
                let program = program.map_or("", String::as_str);
                format!("{program}: {error}")
            }),
            Some(container) => start_container(launch, container, outputs),
        };
        let group = started.and_then(|pid| i32::try_from(pid).map_err(|error| error.to_string()));
        let group = group.inspect_err(|_| end_rest(cgroup.as_ref()))?;
        let limit = launch.output_bytes_max;
        Ok(Self {
            pid: group.unsigned_abs(),
            group: Pid::from_raw(group),
            cgroup,
            stop: launch.container.as_ref().and_then(|c| c.stop_signal),
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
        let number = match self.stop {
            Some(stop) if number == Signal::SIGTERM as i32 => stop,
            _ => number,
        };
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

    /// How many of its processes were killed because it used more memory than it may. Ask before its end is complete.
    pub(super) fn killed_for_memory(&self) -> u64 {
        let cgroup = self.cgroup.as_ref();
        cgroup.map_or(0, Cgroup::killed_for_memory)
    }

    /// Ends what is left of it, once its process has ended.
    pub(super) fn end_rest(&self) {
        end_rest(self.cgroup.as_ref());
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

/// Has a command run as the launch file says: environment, user, limits.
pub(super) fn run_as(command: &mut Command, launch: &Launch) -> io::Result<()> {
    command
        .env_clear()
        .envs(launch.environment.iter().map(|(name, value)| (name, value)));
    if let Some((uid, gid)) = launch.user {
        command.uid(uid).gid(gid);
    }
    if let Some(count) = launch.open_files {
        system::limit_open_files(count)?;
    }
    system::prepare_child(command);
    Ok(())
}

fn start_process(launch: &Launch, (stdout, stderr): (Stdio, Stdio)) -> io::Result<u32> {
    let (name, arguments) = launch
        .arguments
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(launch.program.as_ref().unwrap_or(name));
    command
        .arg0(name)
        .args(arguments)
        .current_dir(protocol::SANDBOX)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    run_as(&mut command, launch)?;
    spawn(command).map(|child| child.id())
}

/// Has the container made; the task then runs in it, or nothing of it is left but its control group.
fn start_container(
    launch: &Launch,
    container: &Contained,
    (stdout, stderr): (Stdio, Stdio),
) -> Result<u32, String> {
    let make = || -> io::Result<(bool, String)> {
        let (mut answer, said) = io::pipe()?;
        let mut command = Command::new(&container.program);
        command
            .args(["contain", "start", "--run-dir", "."])
            .env_clear()
            .env(protocol::MAKER_VARIABLE, &container.cgroup)
            .stdin(said)
            .stdout(stdout)
            .stderr(stderr);
        if let Some(count) = launch.open_files {
            system::limit_open_files(count)?;
        }
        system::prepare_child(&mut command);
        let mut maker = spawn(command)?;
        let is_made = maker.wait()?.success();
        let mut text = Vec::new();
        system::never_wait(&answer)?;
        let mut answer = (&mut answer).take(CONTAIN_ANSWER_LEN_MAX);
        match answer.read_to_end(&mut text) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok((is_made, String::from_utf8_lossy(&text).into_owned())),
        }
    };
    let (is_made, text) = make().map_err(|error| format!("{}: {error}", container.program))?;
    match Said::parse(text.trim_end()) {
        Some(Said::Started(pid)) if is_made => Ok(pid),
        _ if text.is_empty() => Err("its container could not be made".to_owned()),
        _ => Err(text),
    }
}

fn spawn(mut command: Command) -> io::Result<std::process::Child> {
    let guard = OomGuard::lower();
    let child = command.spawn();
    guard.restore();
    child
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

/// Ends what is left of a task, and removes its control group; gives up in time.
fn end_rest(cgroup: Option<&Cgroup>) {
    let begun = Instant::now();
    loop {
        let is_over = kill_rest();
        let is_removed = cgroup.is_none_or(Cgroup::end);
        if (is_over && is_removed) || left(begun, KILL_REST_PATIENCE).is_zero() {
            return;
        }
        system::wait(KILL_REST_INTERVAL);
    }
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
