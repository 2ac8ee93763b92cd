//! A master to measure: a child process of this same binary, with a directory, a token and ports of its own.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use proffer_leader::Masters;
use proffer_model::{Problem, code};
use proffer_server::auth::LocalToken;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::limits::{BENCH_LOG_TAIL_LINES, BENCH_START_TIMEOUT, POLL_INTERVAL_MIN};

/// Where the master keeps what must not be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Store {
    #[default]
    File,
    Memory,
}

/// A master that runs; it and its directory are gone when this is dropped.
#[derive(Debug)]
pub(super) struct Master {
    child: Child,
    dir: tempfile::TempDir,
    /// The API's address.
    pub(super) api: String,
    /// Where agents find it.
    pub(super) cluster: String,
    /// By which everybody is let in.
    pub(super) token: LocalToken,
}

impl Master {
    /// Starts one and waits until it serves.
    pub(super) async fn start(store: Store) -> Result<Self, Problem> {
        let dir = directory()?;
        let place = match store {
            Store::File => format!("file:{}", dir.path().join("store").display()),
            Store::Memory => "memory".to_owned(),
        };
        let token_file = dir.path().join("token");
        Self::start_in(dir, &token_file, &["--store", &place]).await
    }

    /// The same with these arguments; all that have the token of this file are of one cluster.
    pub(super) async fn start_in(
        dir: tempfile::TempDir,
        token_file: &Path,
        arguments: &[&str],
    ) -> Result<Self, Problem> {
        let (api, cluster) = (free_address()?, free_address()?);
        let token = LocalToken::load_or_create(token_file)?;
        let child = command(dir.path(), token_file)?
            .args(["master", "--listen", &api, "--cluster-listen", &cluster])
            .args(arguments)
            .spawn()
            .map_err(|error| failed("the master", &error))?;
        let mut master = Self {
            child,
            dir,
            api,
            cluster,
            token,
        };
        master.serves().await?;
        Ok(master)
    }

    /// Where its token is, if it made it.
    pub(super) fn token_file(&self) -> PathBuf {
        self.dir.path().join("token")
    }

    /// Kills it: it can say nothing to anybody any more.
    pub(super) fn kill(&mut self) -> Result<(), Problem> {
        let killed = self.child.start_kill();
        killed.map_err(|error| failed("the master's end", &error))
    }

    /// Itself, for agents.
    pub(super) fn masters(&self) -> Result<Masters, Problem> {
        Masters::parse(std::slice::from_ref(&self.cluster))
    }

    /// Its private memory in bytes: what would be free without it.
    pub(super) fn private_bytes(&self) -> Result<u64, Problem> {
        let id = self.child.id().ok_or_else(|| self.ended())?;
        private_bytes_of(&id.to_string())
    }

    /// What its threads that live have taken of the processor so far.
    pub(super) fn processor_time(&self) -> Result<Duration, Problem> {
        let id = self.child.id().ok_or_else(|| self.ended())?;
        processor_time_of(&PathBuf::from(format!("/proc/{id}/task")))
            .map_err(|error| failed("the time of the master's threads", &error))
    }

    /// An error when it has ended.
    pub(super) fn check(&mut self) -> Result<(), Problem> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(self.ended()),
        }
    }

    async fn serves(&mut self) -> Result<(), Problem> {
        let give_up = Instant::now() + BENCH_START_TIMEOUT;
        for address in [self.api.clone(), self.cluster.clone()] {
            while TcpStream::connect(&address).await.is_err() {
                self.check()?;
                if Instant::now() >= give_up {
                    return Err(Problem::new(
                        code::PEER_UNREACHABLE,
                        "the master does not begin to serve",
                    )
                    .hint(self.last_words()));
                }
                sleep(POLL_INTERVAL_MIN).await;
            }
        }
        Ok(())
    }

    fn ended(&self) -> Problem {
        let message = "the master that was to be measured has ended";
        Problem::new(code::INTERNAL, message).hint(self.last_words())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.dir.path().join(LOG)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let first = lines.len().saturating_sub(BENCH_LOG_TAIL_LINES);
        let tail = lines.get(first..).unwrap_or_default().join(" | ");
        format!("its last words: {tail}")
    }
}

/// A directory that is gone when this is dropped.
pub(super) fn directory() -> Result<tempfile::TempDir, Problem> {
    tempfile::Builder::new()
        .prefix("proffer-bench-")
        .tempdir()
        .map_err(|error| failed("a directory", &error))
}

/// The name of its log.
const LOG: &str = "master.log";

/// This binary, with nothing of this program's own configuration.
fn command(dir: &Path, token_file: &Path) -> Result<Command, Problem> {
    let program = std::env::current_exe().map_err(|error| failed("this program", &error))?;
    let log = File::create(dir.join(LOG)).map_err(|error| failed("a log", &error))?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PROFFER_") {
            command.env_remove(name);
        }
    }
    command
        .env("PROFFER_MASTER_TOKEN_FILE", token_file)
        .env("PROFFER_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    Ok(command)
}

/// An address that was free a moment ago.
pub(super) fn free_address() -> Result<String, Problem> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| failed("a port", &error))?;
    let address = listener
        .local_addr()
        .map_err(|error| failed("a port", &error))?;
    Ok(address.to_string())
}

/// This program's own private memory in bytes.
pub(super) fn own_private_bytes() -> Result<u64, Problem> {
    private_bytes_of("self")
}

fn private_bytes_of(process: &str) -> Result<u64, Problem> {
    let path = PathBuf::from(format!("/proc/{process}/smaps_rollup"));
    let text = fs::read_to_string(&path).map_err(|error| {
        let message = format!("{} cannot be read: {error}", path.display());
        Problem::new(code::FILE_FAILED, message)
    })?;
    Ok(private_kib(&text) * 1_024)
}

/// What this program's own threads have taken of the processor so far.
pub(super) fn own_processor_time() -> Result<Duration, Problem> {
    processor_time_of(Path::new("/proc/self/task"))
        .map_err(|error| failed("the time of this program's threads", &error))
}

/// The processor time of the thread that asks.
pub(super) fn own_thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The sum of what the scheduler says of each thread.
fn processor_time_of(threads: &Path) -> std::io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(threads)? {
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let on_processor_ns = text
            .split(' ')
            .next()
            .and_then(|text| text.parse::<u64>().ok());
        sum += Duration::from_nanos(on_processor_ns.unwrap_or(0));
    }
    Ok(sum)
}

/// The sum of a process's private pages, in KiB.
fn private_kib(smaps_rollup: &str) -> u64 {
    let private = smaps_rollup
        .lines()
        .filter(|line| line.starts_with("Private_"));
    private
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

pub(super) fn failed(what: &str, error: &std::io::Error) -> Problem {
    let message = format!("{what} cannot be had: {error}");
    Problem::new(code::FILE_FAILED, message)
}

/// Waits until a number that is looked at now and then no longer changes by more than one part in fifty.
pub(super) async fn settled(
    mut look: impl FnMut() -> Result<u64, Problem>,
    every: Duration,
    at_most: Duration,
) -> Result<u64, Problem> {
    let give_up = Instant::now() + at_most;
    let mut last = look()?;
    let mut calm = 0;
    while calm < 3 && Instant::now() < give_up {
        sleep(every).await;
        let now = look()?;
        calm = match now.abs_diff(last) <= now / 50 {
            true => calm + 1,
            false => 0,
        };
        last = now;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_memory_is_the_sum_of_private_pages() {
        let text = "55d0-7ffc ---p 00000000 00:00 0  [rollup]\nRss:  9000 kB\nPrivate_Clean:  100 kB\n\
                    Private_Dirty:  2000 kB\nPrivate_Hugetlb: 0 kB\nShared_Clean: 5 kB\n";
        assert_eq!(private_kib(text), 2_100);
        let own = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        assert!(private_kib(&own) > 100);
    }

    #[test]
    fn threads_take_time_of_the_processor() {
        let own = Path::new("/proc/self/task");
        let before = processor_time_of(own).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {}
        assert!(processor_time_of(own).unwrap() > before);
    }

    #[tokio::test]
    async fn a_number_settles_when_it_changes_no_more() {
        let mut left = vec![100_u64, 100, 100, 100, 80, 60, 50];
        let look = || Ok(left.pop().unwrap_or(100));
        let pause = Duration::from_millis(1);
        assert_eq!(
            settled(look, pause, Duration::from_secs(30)).await.unwrap(),
            100
        );
    }
}
