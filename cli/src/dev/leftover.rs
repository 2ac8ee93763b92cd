//! Tasks that live in an agent's work directory while no agent looks after them: found by their supervisors, and ended
//! through them.
//!
//! `dev` needs this where the usual way (services tell the master, the master the agent) is not there: for tasks of other
//! frameworks when it ends, and before `--fresh` clears a directory whose state may be damaged. It speaks the supervisors'
//! frozen protocol and signals nothing by number, so nothing that is not ours can be hit.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proffer_agent::supervisor::protocol;

use crate::limits::POLL_INTERVAL_MIN;

/// SIGTERM and SIGKILL.
const TERMINATE: i32 = 15;
const KILL: i32 = 9;

/// The run directories of this work directory whose supervisors live.
pub(crate) fn live_runs(agent_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(agent_dir.join("runs")) else {
        return Vec::new();
    };
    let mut runs: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|run| is_live(run))
        .collect();
    runs.sort();
    runs
}

/// Ends them: SIGTERM, and SIGKILL to what is left after `grace`. Answers those that are left even so, which is none
/// unless a process cannot be killed.
pub(crate) async fn end(agent_dir: &Path, grace: Duration, patience: Duration) -> Vec<PathBuf> {
    // A supervisor greets before it listens, and hears nothing from who is gone by then.
    let mut held: Vec<UnixStream> = Vec::new();
    held.extend(
        live_runs(agent_dir)
            .iter()
            .filter_map(|run| signal(run, TERMINATE)),
    );
    if until_none(agent_dir, grace).await {
        return Vec::new();
    }
    held.extend(
        live_runs(agent_dir)
            .iter()
            .filter_map(|run| signal(run, KILL)),
    );
    until_none(agent_dir, patience).await;
    drop(held);
    live_runs(agent_dir)
}

async fn until_none(agent_dir: &Path, wait: Duration) -> bool {
    let start = Instant::now();
    while !live_runs(agent_dir).is_empty() {
        if start.elapsed() >= wait {
            return false;
        }
        tokio::time::sleep(POLL_INTERVAL_MIN).await;
    }
    true
}

/// A supervisor holds the lock of its run directory as long as it lives.
fn is_live(run: &Path) -> bool {
    let Ok(lock) = File::open(run.join(protocol::LOCK)) else {
        return false;
    };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Tells a supervisor to signal its task; the connection is to be kept until the supervisor has read it.
fn signal(run: &Path, number: i32) -> Option<UnixStream> {
    let tell = || -> io::Result<UnixStream> {
        let mut control = connect(run)?;
        control.write_all(protocol::kill_line(number).as_bytes())?;
        Ok(control)
    };
    // A supervisor that has just ended does not answer; one that does not answer for another reason is found again.
    tell()
        .inspect_err(|error| {
            tracing::info!(%error, run = %run.display(), "a supervisor does not answer");
        })
        .ok()
}

/// A socket's path has at most 107 bytes; through the directory's descriptor every path is short.
fn connect(run: &Path) -> io::Result<UnixStream> {
    let directory = OpenOptions::new().read(true).open(run)?;
    let short = format!(
        "/proc/self/fd/{}/{}",
        directory.as_raw_fd(),
        protocol::CONTROL
    );
    UnixStream::connect(short)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_live_run_is_told_to_end_and_a_dead_one_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        let (live, dead) = (deep.join("runs/01"), deep.join("runs/02"));
        for run in [&live, &dead] {
            fs::create_dir_all(run).unwrap();
            File::create(run.join(protocol::LOCK)).unwrap();
        }
        assert!(live_runs(&deep).is_empty());
        let lock = File::options()
            .write(true)
            .open(live.join(protocol::LOCK))
            .unwrap();
        lock.lock().unwrap();
        assert_eq!(live_runs(&deep), std::slice::from_ref(&live));

        let here = File::open(&live).unwrap();
        let listener =
            UnixListener::bind(format!("/proc/self/fd/{}/control", here.as_raw_fd())).unwrap();
        let supervisor = std::thread::spawn(move || {
            let mut line = String::new();
            let mut control = BufReader::new(listener.accept().unwrap().0);
            control.read_line(&mut line).unwrap();
            // Who has gone by now would not have been heard: a supervisor greets first.
            let wait = Some(Duration::from_millis(100));
            control.get_ref().set_read_timeout(wait).unwrap();
            let after = control.read(&mut [0]).unwrap_err();
            assert_eq!(after.kind(), io::ErrorKind::WouldBlock);
            control.get_mut().write_all(b"started 1\n").unwrap();
            drop(lock);
            line
        });
        let left = end(&deep, Duration::from_secs(30), Duration::ZERO).await;
        assert_eq!(left, Vec::<PathBuf>::new());
        assert_eq!(supervisor.join().unwrap(), "kill 15\n");
    }
}
