//! The child that downloads, or puts what was downloaded into a sandbox: `fetch [--user UID:GID]`, called by agents alone.
//!
//! Standard input is a socket to the agent: a line with the job comes, a line with the answer goes, and when it ends the agent
//! has, and so does this. Standard output is the file to write or to read, standard error a handle of the sandbox. Before it
//! reads a word it gives up what it does not need: its user, its capabilities, new rights of any kind, most system calls.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use caps::CapSet;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};

use super::{Failure, Ids, download, place};
use crate::limits::{FETCH_FILES_MAX, FETCH_JOB_LEN_MAX, FETCH_MEMORY_MAX, FETCH_UNPACKED_LEN_MAX};
use crate::oci::{close_inherited, no_programs};

/// Exit code: the arguments are wrong.
const USAGE: u8 = 2;
/// Exit code: it could not begin, or nobody waits for it any more.
const FAILED: u8 = 4;

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Fills the file.
    Download(Download),
    /// Puts the file into the sandbox.
    Place(Place),
}

/// A download.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Download {
    pub(super) origin: Origin,
    /// Whether servers on this host and link may be asked.
    pub(super) allow_local: bool,
    /// The certificates of those who may vouch for servers.
    pub(super) roots: PathBuf,
    pub(super) len_max: u64,
}

/// From where.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Origin {
    /// The URI of something that a server has.
    Http(String),
    /// The path of a file of this host.
    File(String),
}

/// What a file becomes in a sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Place {
    /// Relative to the sandbox.
    pub(super) name: String,
    pub(super) is_executable: bool,
    /// Whether it is unpacked, if its name says that it is an archive.
    pub(super) is_extracted: bool,
    pub(super) sha256: Option<String>,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is done.
    Done {
        /// Bytes of the file.
        len: u64,
    },
    /// It is not.
    Failed {
        /// Why, for people.
        why: String,
    },
}

/// Runs the child; see above. Call it before anything else in `main`: it closes every descriptor but the first three.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    close_inherited();
    let args: Vec<OsString> = args.skip_while(|arg| arg == "fetch").collect();
    let user = match args.as_slice() {
        [] => None,
        [flag, ids] if flag == "--user" => match ids.to_str().and_then(parse_ids) {
            Some(ids) => Some(ids),
            None => return ExitCode::from(USAGE),
        },
        _ => return ExitCode::from(USAGE),
    };
    match confine(user).and_then(|()| serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(FAILED),
    }
}

fn parse_ids(text: &str) -> Option<Ids> {
    let (uid, gid) = text.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Gives up what is not needed.
fn confine(user: Option<Ids>) -> io::Result<()> {
    // Before any task's: an agent may be protected from the kernel's memory killer, and what it has parsed for others is not.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    if let Some((uid, gid)) = user {
        setgroups(&[Gid::from_raw(gid)])?;
        setgid(Gid::from_raw(gid))?;
        setuid(Uid::from_raw(uid))?;
    }
    prctl::set_no_new_privs()?;
    // Whoever stays root, for a sandbox that is root's, stays it by name alone.
    for set in [
        CapSet::Effective,
        CapSet::Permitted,
        CapSet::Inheritable,
        CapSet::Ambient,
    ] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    umask(Mode::from_bits_truncate(0o022));
    for (resource, most) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, FETCH_FILES_MAX),
        (Resource::RLIMIT_AS, FETCH_MEMORY_MAX),
        (Resource::RLIMIT_FSIZE, FETCH_UNPACKED_LEN_MAX),
    ] {
        setrlimit(resource, most, most)?;
    }
    no_programs()
}

/// Does the job that the agent says.
fn serve() -> io::Result<()> {
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let data = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let dir = io::stderr().as_fd().try_clone_to_owned()?;
    let mut line = Vec::new();
    let mut reader = BufReader::new(&control).take(FETCH_JOB_LEN_MAX);
    reader.read_until(b'\n', &mut line)?;
    let job: Job = serde_json::from_slice(&line)?;
    let watched = control.try_clone()?;
    std::thread::Builder::new().spawn(move || end_with(watched))?;
    let answer = match run(job, data, dir) {
        Ok(len) => Answer::Done { len },
        Err(Failure { why }) => Answer::Failed {
            why: why.chars().take(500).collect(),
        },
    };
    let answer = serde_json::to_vec(&answer)?;
    control.write_all(&answer)
}

fn run(job: Job, data: File, dir: OwnedFd) -> Result<u64, Failure> {
    match job {
        Job::Download(job) => download::run(&job, data),
        Job::Place(job) => place::run(&job, data, dir),
    }
}

/// Ends this process when whoever is at the other end is gone: nobody else could end it.
#[expect(
    clippy::exit,
    reason = "there is nothing to tidy up, and the other thread may wait for a server"
)]
fn end_with(mut agent: UnixStream) {
    let mut byte = [0];
    while matches!(agent.read(&mut byte), Ok(1..)) {}
    std::process::exit(FAILED.into());
}
