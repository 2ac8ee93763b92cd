//! The supervisor: one small process per container, which outlives the agent. It starts the task, owns its output,
//! reaps what it leaves, and leaves word how it ended.
//!
//! No runtime, no threads, no configuration: all it knows is its run directory (see `protocol.rs`). It claims the
//! directory with a lock and a file `pid` before it starts anything, so of any number of supervisors for one run at most
//! one ever starts the task. Terminating signals are for tasks, not for it: it ends when its task has ended. Only when
//! process 1 sends SIGTERM, because the host goes down, does it end its task, and leaves no word: what the task said to
//! that is no result.
//!
//! What it cannot do for a task without a container, since it uses no cgroup: hold it to its share of processor, memory or
//! processes. A fork bomb takes the whole host, and one that forks faster than it is killed outlives
//! [`crate::limits::KILL_REST_PATIENCE`]. A task of the agent's own user can do all that the agent can, also to other
//! tasks; `task_user` keeps them from the agent. A container is made by another program, whose end it awaits (`child.rs`);
//! what it does itself is to read why the kernel killed it, and to remove its control group.

pub(crate) mod check;
mod child;
mod control;
mod output;
pub mod protocol;
mod system;
mod watch;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::limits::{EXIT_WRITE_PATIENCE, EXIT_WRITE_RETRY_INTERVAL};
use crate::procfs::ProcessId;
use crate::supervisor::child::Child;
use crate::supervisor::protocol::{Launch, Said};
use crate::supervisor::watch::Watch;

/// Exit code: the arguments are wrong.
const USAGE: u8 = 2;
/// Exit code: the run is another supervisor's, was started before, or was revoked. Nothing was done.
const DECLINED: u8 = 3;
/// Exit code: the run directory cannot be used.
const FAILED: u8 = 4;

/// Runs the supervisor: `[supervise] --run-dir DIR`. Answers when the task has ended. With `--check` as the first argument
/// a check of a task instead, see `check.rs`.
///
/// Call it before anything else in `main`: it closes every descriptor but the first three.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.skip_while(|arg| arg == "supervise").collect();
    if let [flag, rest @ ..] = args.as_slice()
        && flag == check::FLAG
    {
        return check::main(rest);
    }
    let Some(run_dir) = run_dir(&args) else {
        return ExitCode::from(USAGE);
    };
    if system::detach().is_err() || std::env::set_current_dir(&run_dir).is_err() {
        return ExitCode::from(FAILED);
    }
    match claim() {
        Ok(Some((lock, launch))) => {
            let code = supervise(&launch);
            // Held to the last moment: who gets it knows that all of this is over.
            drop(lock);
            code
        }
        Ok(None) => ExitCode::from(DECLINED),
        Err(_) => ExitCode::from(FAILED),
    }
}

fn run_dir(args: &[OsString]) -> Option<PathBuf> {
    match args {
        [flag, dir] if flag == "--run-dir" => Some(PathBuf::from(dir)),
        _ => None,
    }
}

/// Takes the run: its lock, and the right to start it, which is used up by the file `pid`.
fn claim() -> io::Result<Option<(File, Launch)>> {
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(protocol::LOCK)?;
    if lock.try_lock().is_err() || fs::exists(protocol::PID)? || fs::exists(protocol::EXIT)? {
        return Ok(None);
    }
    let bytes = match fs::read(protocol::LAUNCH) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(launch) = Launch::decode(&bytes) else {
        leave_word(&[Said::Failed("its launch file cannot be read".to_owned()).line()]);
        return Ok(None);
    };
    keep_pids(None)?;
    Ok(Some((lock, launch)))
}

fn supervise(launch: &Launch) -> ExitCode {
    let listening = system::signals().and_then(|signals| {
        let listener = UnixListener::bind(protocol::CONTROL)?;
        listener.set_nonblocking(true)?;
        Ok((signals, listener))
    });
    let started = listening
        .map_err(|error| error.to_string())
        .and_then(|(signals, listener)| Ok((signals, listener, Child::start(launch)?)));
    let (signals, listener, child) = match started {
        Ok(started) => started,
        Err(message) => {
            leave_word(&[Said::Failed(message).line()]);
            return ExitCode::SUCCESS;
        }
    };
    // Should this fail, the task still has its supervisor; only an orphan of both would not be found by its id.
    let _ = keep_pids(Some(child.pid()));
    // The agent may be gone already, and nobody listening.
    let _ = io::stdout()
        .write_all(protocol::READY)
        .and_then(|()| io::stdout().flush());
    let _ = system::silence_stdout();
    let mut watch = Watch::new(signals, listener, child);
    if let Some(lines) = watch.until_exit() {
        leave_word(&lines);
        watch.tell_exit();
    }
    ExitCode::SUCCESS
}

/// Writes the file `pid`: who supervises, and what.
fn keep_pids(task: Option<u32>) -> io::Result<()> {
    let mut text = String::new();
    for (name, pid) in [("supervisor", Some(std::process::id())), ("task", task)] {
        if let Some(process) = pid.and_then(ProcessId::of) {
            text.push_str(&protocol::pid_line(name, process));
        }
    }
    write_durably(protocol::PID, text.as_bytes())
}

/// Writes the file `exit`. A full disk is waited for, because the word is lost otherwise.
fn leave_word(lines: &[String]) {
    let begun = Instant::now();
    while write_durably(protocol::EXIT, lines.concat().as_bytes()).is_err()
        && begun.elapsed() < EXIT_WRITE_PATIENCE
    {
        system::wait(EXIT_WRITE_RETRY_INTERVAL);
    }
}

/// Writes a file so that it is there whole or not at all, whatever happens.
fn write_durably(name: &str, bytes: &[u8]) -> io::Result<()> {
    let fresh = format!("{name}.new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, name)?;
    File::open(".")?.sync_all()
}

/// Sets how many files this process and what it starts may have open, as far as it is allowed.
pub(crate) fn limit_open_files(count: u64) -> io::Result<()> {
    system::limit_open_files(count)
}

/// What is left of a patience that began then.
fn left(begun: Instant, patience: Duration) -> Duration {
    patience.saturating_sub(begun.elapsed())
}
