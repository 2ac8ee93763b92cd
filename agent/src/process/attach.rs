//! Finds out what is really there of a run: its word, its supervisor, or neither.
//!
//! A supervisor holds the lock while it lives, so whoever gets the lock knows that none does. Then the file `pid` says
//! whether one ever claimed the run. If not, `launch` is removed while the lock is held, so that none can start it later;
//! if one did, what its task may have left is ended, found by the environment that only this task was given, or by its
//! session and group.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Instant;

use proffer_agent_core::{Ended, Found};
use rustix::io::Errno;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use crate::limits::{ATTACH_INTERVAL, ATTACH_PATIENCE, CONTROL_LINE_LEN_MAX, KILL_REST_PATIENCE};
use crate::oci::{cgroup_of, end_container};
use crate::process::SANDBOX_VARIABLE;
use crate::procfs::{self, Origin, ProcessId};
use crate::supervisor::protocol::{self, Said};

/// What is there.
#[derive(Debug)]
pub(super) enum Attached {
    /// Nothing runs.
    Gone(Found),
    /// Its supervisor answers.
    Alive {
        /// The task's process.
        pid: u32,
        /// To the supervisor.
        connection: Connection,
    },
}

/// A connection to a supervisor.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Connection {
    /// The next thing that it says and this version knows; nothing at the end. May be cancelled without loss.
    pub(super) async fn next(&mut self) -> Option<Said> {
        loop {
            let limit = u64::try_from(CONTROL_LINE_LEN_MAX.saturating_sub(self.line.len()));
            let mut stream = (&mut self.stream).take(limit.unwrap_or(0));
            stream.read_until(b'\n', &mut self.line).await.ok()?;
            // Without its end the line was too long, or the connection ended within it.
            let said = self.line.strip_suffix(b"\n").map(|line| {
                let text = String::from_utf8_lossy(line);
                Said::parse(&text)
            })?;
            self.line.clear();
            if said.is_some() {
                return said;
            }
        }
    }

    /// For what the agent says.
    pub(super) fn stream(&mut self) -> &mut UnixStream {
        self.stream.get_mut()
    }
}

/// Finds out what is there; waits while that is being decided.
pub(super) async fn attach(dir: &Path) -> Attached {
    let mut begun = Instant::now();
    let mut is_reported = false;
    loop {
        if let Some(found) = read_exit(dir) {
            return Attached::Gone(found);
        }
        let said = timeout(ATTACH_PATIENCE, connect(dir)).await;
        if let Ok(Ok(Some(attached))) = said {
            return attached;
        }
        // What this agent is short of says nothing of the supervisor, which must not die of it.
        let shortage = said.ok().and_then(Result::err).filter(is_own_shortage);
        match shortage.map_or_else(|| lock(dir), Err) {
            Ok(Some(lock)) => return Attached::Gone(settle(dir, lock).await),
            // It lives and is starting or ending.
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(path = %dir.display(), "a run directory is gone, and what ran in it is ended");
                sweep(dir, None, None).await;
                return Attached::Gone(Found::SupervisorLost);
            }
            Err(error) => {
                begun = Instant::now();
                if !std::mem::replace(&mut is_reported, true) {
                    tracing::error!(path = %dir.display(), %error, "a run directory cannot be used");
                }
            }
        }
        if begun.elapsed() > ATTACH_PATIENCE {
            kill_supervisor(dir);
        }
        sleep(ATTACH_INTERVAL).await;
    }
}

/// The word that a supervisor has left.
pub(super) fn read_exit(dir: &Path) -> Option<Found> {
    let text = fs::read_to_string(dir.join(protocol::EXIT)).ok()?;
    let words: Vec<Said> = text.lines().filter_map(Said::parse).collect();
    let is_out_of_memory = words
        .iter()
        .any(|word| matches!(word, Said::OutOfMemory(_)));
    words.into_iter().find_map(|word| match word {
        Said::Exited(exit) => Some(Found::Exited(Ended {
            exit,
            is_out_of_memory,
        })),
        Said::Failed(message) => Some(Found::Failed { message }),
        Said::Started(_) | Said::OutOfMemory(_) => None,
    })
}

fn is_own_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    error.raw_os_error().is_some_and(|number| {
        shortages
            .iter()
            .any(|shortage| shortage.raw_os_error() == number)
    })
}

/// Connects to the supervisor and hears its first word; nothing when it has none that this version knows.
async fn connect(dir: &Path) -> io::Result<Option<Attached>> {
    // Through the directory's descriptor, because a socket's address may only have 108 bytes.
    let handle = File::open(dir)?;
    let address = format!("/proc/self/fd/{}/{}", handle.as_raw_fd(), protocol::CONTROL);
    let stream = UnixStream::connect(address).await?;
    let mut connection = Connection {
        stream: BufReader::new(stream),
        line: Vec::new(),
    };
    let said = connection.next().await;
    Ok(said.and_then(|said| match said {
        Said::Started(pid) => Some(Attached::Alive { pid, connection }),
        Said::Exited(exit) => Some(Attached::Gone(Found::Exited(exit.into()))),
        Said::Failed(message) => Some(Attached::Gone(Found::Failed { message })),
        // Never the first word.
        Said::OutOfMemory(_) => None,
    }))
}

/// The run's lock; nothing while a supervisor holds it.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    let mut options = File::options();
    let file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join(protocol::LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// With the lock held: no supervisor lives. What it has left decides.
async fn settle(dir: &Path, lock: File) -> Found {
    if let Some(found) = read_exit(dir) {
        return found;
    }
    let is_claimed = !matches!(fs::exists(dir.join(protocol::PID)), Ok(false));
    if is_claimed {
        let cgroup = cgroup_of(dir);
        // Who makes a container is ended before what it has made: else it would make more.
        sweep(dir, origin(dir), cgroup.as_deref()).await;
        if let Some(cgroup) = cgroup {
            // A panic there has been reported.
            let _ = tokio::task::spawn_blocking(move || end_container(&cgroup)).await;
        }
        return Found::SupervisorLost;
    }
    match fs::remove_file(dir.join(protocol::LAUNCH)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(path = %dir.display(), %error, "a launch cannot be revoked");
            // It might yet be started, so it must not be called never started.
            Found::SupervisorLost
        }
        _ => {
            drop(lock);
            Found::NeverStarted
        }
    }
}

/// Ends all processes that were started in this run's sandbox, or make its container: their supervisor is dead, and
/// nobody else would.
async fn sweep(dir: &Path, origin: Option<Origin>, cgroup: Option<&str>) {
    let sandbox = dir.join(protocol::SANDBOX);
    let mut entries = vec![format!("{SANDBOX_VARIABLE}={}", sandbox.display())];
    entries.extend(cgroup.map(|cgroup| format!("{}={cgroup}", protocol::MAKER_VARIABLE)));
    let begun = Instant::now();
    while begun.elapsed() < KILL_REST_PATIENCE {
        let entries = entries.clone();
        let look = move || procfs::started_with(&entries, origin);
        match tokio::task::spawn_blocking(look).await {
            Ok(left) if left.is_empty() => return,
            Ok(left) => left.into_iter().for_each(kill),
            Err(error) => tracing::error!(%error, "processes cannot be looked through"),
        }
        sleep(ATTACH_INTERVAL).await;
    }
    tracing::error!(run = %dir.display(), "what a lost task has left cannot be ended");
}

/// The supervisor led the task's session, and the task its group.
fn origin(dir: &Path) -> Option<Origin> {
    Some(Origin {
        session: claimed(dir, "supervisor")?.pid,
        group: claimed(dir, "task")?.pid,
    })
}

fn claimed(dir: &Path, name: &str) -> Option<ProcessId> {
    let text = fs::read_to_string(dir.join(protocol::PID)).ok()?;
    protocol::parse_pid(&text, name)
}

fn kill_supervisor(dir: &Path) {
    if let Some(supervisor) = claimed(dir, "supervisor")
        && ProcessId::is_there(supervisor)
    {
        tracing::warn!(path = %dir.display(), "a supervisor does not answer and is killed");
        kill(supervisor.pid);
    }
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended meanwhile, which is as good.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}
