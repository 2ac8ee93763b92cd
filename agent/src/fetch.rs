//! What tasks and executors have fetched into their sandboxes, before they start.
//!
//! The agent itself reads nothing of what others serve: each download, and each file or archive that is put into a sandbox, is
//! the work of a child (`child.rs`) without rights, that has a socket to its agent, the file to write or read, and a handle of
//! the sandbox. It ends when its agent does. Downloads run as `nobody`, files of this host are read as the task's user, and a
//! sandbox is written as its owner. What is downloaded is a file without a name (`cache.rs`), so nothing of it is left behind.

mod address;
mod archive;
mod cache;
mod child;
mod download;
mod encrypted;
pub(crate) mod parsers;
mod place;
mod shares;
#[cfg(test)]
mod tests;
mod zip_end;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::{Uid, User};
use proffer_model::{Fetch, FetchSource, Problem, code};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::limits::{
    FETCH_ANSWER_LEN_MAX, FETCH_LEN_MAX, FETCH_LOOK_INTERVAL, FETCH_TIME_MAX, FETCH_WRITERS_WAIT,
    FETCHERS_MAX,
};
use crate::oci::is_written_by_any;
use cache::{Cache, Cached, Key};
use child::{Answer, Download, Job, Origin, Place};
use shares::Shares;

pub use child::main;

/// User and group.
type Ids = (u32, u32);
/// Those of `nobody` where there is no such user.
const NOBODY: Ids = (65_534, 65_534);

/// How an operator wants things to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Whether servers on this host and link may be asked.
    pub(crate) allow_local: bool,
    /// The certificates of those who may vouch for servers.
    pub(crate) roots: PathBuf,
    /// Bytes of what is kept for others.
    pub(crate) cache_len_max: u64,
}

/// Fetches for the tasks of this agent.
#[derive(Debug)]
pub(crate) struct Fetcher {
    program: PathBuf,
    dir: PathBuf,
    rules: Rules,
    /// Who downloads; absent: the agent is not root, and its children are what it is.
    nobody: Option<Ids>,
    children: Semaphore,
    shares: Shares,
    cache: Cache,
    files: AtomicU64,
}

impl Fetcher {
    /// Makes the directory for what is on its way, and empties it. Error: `file.failed`.
    pub(crate) fn open(work_dir: &Path, program: PathBuf, rules: Rules) -> Result<Self, Problem> {
        let dir = work_dir.join("fetched");
        clear(&dir).map_err(|error| {
            let message = format!("{} cannot be used: {error}", dir.display());
            Problem::new(code::FILE_FAILED, message)
        })?;
        let nobody = User::from_name("nobody").ok().flatten();
        let nobody = nobody.map_or(NOBODY, |user| (user.uid.as_raw(), user.gid.as_raw()));
        Ok(Self {
            program,
            dir,
            cache: Cache::new(rules.cache_len_max),
            rules,
            nobody: Uid::effective().is_root().then_some(nobody),
            children: Semaphore::new(FETCHERS_MAX),
            shares: Shares::default(),
            files: AtomicU64::new(0),
        })
    }

    /// Puts all of these into a sandbox, one after the other; what a container gets is read as nobody. The error is for people
    /// and names the URI. Dropping this ends what is under way.
    pub(crate) async fn fetch(
        &self,
        fetches: &[Fetch],
        sandbox: &Path,
        is_container: bool,
    ) -> Result<(), String> {
        for fetch in fetches {
            let fetched = self.fetch_one(fetch, sandbox, is_container).await;
            fetched.map_err(|failure| format!("{}: {}", fetch.shown(), failure.why))?;
        }
        Ok(())
    }

    async fn fetch_one(
        &self,
        fetch: &Fetch,
        sandbox: &Path,
        is_container: bool,
    ) -> Result<(), Failure> {
        let (dir, owner) = open_sandbox(sandbox)?;
        let source = fetch
            .source()
            .map_err(|problem| Failure::of(&problem.message))?;
        let owner = self.nobody.and(Some(owner));
        let is_local = matches!(source, FetchSource::File(_));
        // A file of this host is there already, and may change.
        if !fetch.is_cached || is_local {
            let reader = if is_local && !is_container {
                owner
            } else {
                self.nobody
            };
            let file = self.download(source, reader, owner).await?;
            return self.place(fetch, &file.file, dir, owner).await;
        }
        let key = Key {
            user: owner.map(|(uid, _)| uid),
            uri: fetch.uri.clone(),
            sha256: fetch.sha256.clone(),
        };
        let cached = self
            .cache
            .get(&key, || self.download(source, self.nobody, owner))
            .await?;
        let placed = self.place(fetch, &cached.file, dir, owner).await;
        // Another try asks the server again: what cannot be placed may be what it should not be.
        if placed.is_err() {
            self.cache.forget(&key);
        }
        placed
    }

    async fn download(
        &self,
        source: FetchSource<'_>,
        user: Option<Ids>,
        owner: Option<Ids>,
    ) -> Result<Cached, Failure> {
        let _share = self.shares.take(owner.map(|(uid, _)| uid)).await;
        let file = self
            .blank()
            .map_err(|error| Failure::of(&format!("what is fetched cannot be kept: {error}")))?;
        let job = Job::Download(Download {
            origin: match source {
                FetchSource::Http { uri, .. } => Origin::Http(uri.to_owned()),
                FetchSource::File(path) => Origin::File(path.to_owned()),
            },
            allow_local: self.rules.allow_local,
            roots: self.rules.roots.clone(),
            len_max: FETCH_LEN_MAX,
        });
        let data = file.try_clone().map_err(Failure::io)?;
        let len = self.run(&job, user, data.into(), Stdio::null()).await?;
        Ok(Cached {
            file: finished(file).await?,
            len,
        })
    }

    async fn place(
        &self,
        fetch: &Fetch,
        file: &File,
        dir: OwnedFd,
        owner: Option<Ids>,
    ) -> Result<(), Failure> {
        let _share = self.shares.take(owner.map(|(uid, _)| uid)).await;
        // Opened anew: others read it at the same time, and none may write.
        let file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let job = Job::Place(Place {
            name: fetch.name().to_owned(),
            is_executable: fetch.is_executable,
            is_extracted: fetch.is_extracted && !fetch.is_executable,
            sha256: fetch.sha256.clone(),
        });
        let file = file.map_err(Failure::io)?;
        self.run(&job, owner, file.into(), dir.into()).await?;
        Ok(())
    }

    /// Has a child do a job with a file as its standard output and a directory as its standard error.
    async fn run(
        &self,
        job: &Job,
        user: Option<Ids>,
        data: Stdio,
        dir: Stdio,
    ) -> Result<u64, Failure> {
        // The semaphore is never closed. Whoever waits for a child has not begun to be slow.
        let _permit = self.children.acquire().await;
        let child = self.run_child(job, user, data, dir);
        let ran = timeout(FETCH_TIME_MAX, child).await;
        ran.unwrap_or_else(|_| Err(Failure::of("it took too long")))
    }

    async fn run_child(
        &self,
        job: &Job,
        user: Option<Ids>,
        data: Stdio,
        dir: Stdio,
    ) -> Result<u64, Failure> {
        let (ours, theirs) = UnixStream::pair().map_err(Failure::io)?;
        let mut command = Command::new(&self.program);
        command.arg("fetch");
        if let Some((uid, gid)) = user {
            command.args(["--user", &format!("{uid}:{gid}")]);
        }
        let mut child = command
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(data)
            .stderr(dir)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::of(&format!("{}: {error}", self.program.display())))?;
        // The child's end stays open in what it was made with.
        drop(command);
        // One that could not begin has read nothing; how it ended says more than that.
        let answer = converse(ours, job).await.unwrap_or_default();
        let status = child.wait().await.map_err(Failure::io)?;
        match serde_json::from_slice(&answer) {
            Ok(Answer::Done { len }) => Ok(len),
            Ok(Answer::Failed { why }) => Err(Failure { why }),
            Err(_) => Err(Failure::of(&format!("what fetches it ended with {status}"))),
        }
    }

    /// A new file that has no name.
    fn blank(&self) -> io::Result<File> {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(number.to_string());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }
}

/// Why something was not fetched, for people.
#[derive(Clone, Debug)]
struct Failure {
    why: String,
}

impl Failure {
    fn of(why: &str) -> Self {
        Self {
            why: why.to_owned(),
        }
    }

    fn io(error: io::Error) -> Self {
        Self::of(&error.to_string())
    }
}

/// Says the job, and hears what became of it.
fn converse(socket: UnixStream, job: &Job) -> impl Future<Output = io::Result<Vec<u8>>> + use<> {
    let line = serde_json::to_vec(job);
    async move {
        let mut line = line?;
        line.push(b'\n');
        socket.set_nonblocking(true)?;
        let mut socket = tokio::net::UnixStream::from_std(socket)?;
        socket.write_all(&line).await?;
        let mut answer = Vec::new();
        let mut socket = socket.take(FETCH_ANSWER_LEN_MAX);
        socket.read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

/// The same file, which nobody can write any more: otherwise what is checked could be changed before it is used, by something
/// that outlived its download. What this agent starts meanwhile has a handle of it too, until it has become its program.
async fn finished(file: File) -> Result<File, Failure> {
    let readable = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let readable = readable.map_err(Failure::io)?;
    drop(file);
    let end = Instant::now() + FETCH_WRITERS_WAIT;
    loop {
        match is_written_by_any(&readable) {
            Ok(true) if Instant::now() < end => sleep(FETCH_LOOK_INTERVAL).await,
            Ok(true) => return Err(Failure::of("what has fetched it still writes it")),
            // Not every file system can say so, and who has written it has ended and could start nothing.
            Ok(false) | Err(_) => return Ok(readable),
        }
    }
}

/// A handle of the sandbox, and whose it is.
fn open_sandbox(sandbox: &Path) -> Result<(OwnedFd, Ids), Failure> {
    let open = || {
        let dir = File::open(sandbox)?;
        let metadata = dir.metadata()?;
        Ok((OwnedFd::from(dir), (metadata.uid(), metadata.gid())))
    };
    open().map_err(|error: io::Error| Failure::of(&format!("its sandbox: {error}")))
}

fn clear(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for entry in fs::read_dir(dir)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}
