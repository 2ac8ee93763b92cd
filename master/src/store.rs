//! Where the durable log is kept: the trait of every store, its errors, and the names by which stores are chosen.
//!
//! A store knows entries and snapshots as bytes; what they mean is [`log`]'s. The rule that keeps two leaders apart is
//! in [`Store::append`]: it *creates* entry `n`, and "exists already" means that another leader has written.
//! Calls block and are made from one thread, the writer's.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proffer_leader::{SessionError, ZooKeeperUrl};
use proffer_model::{ClusterId, Epoch, Problem, code};

pub mod file;
pub(crate) mod frame;
pub mod log;
pub mod memory;
pub mod restore;
#[cfg(test)]
mod tests;
pub mod zookeeper;

/// A durable log with its snapshot and its epoch.
///
/// A leader's first calls are `raise_epoch`, `last_entry`, `append` of its term entry, then `read`. Nothing is ever
/// tried again: after an error the term is over, and the next one reads what is there.
pub trait Store: Send {
    /// The cluster's id, made together with the store.
    fn cluster(&self) -> &ClusterId;

    /// Raises the epoch by one, if nobody else did meanwhile, and answers the new one when it is durable.
    fn raise_epoch(&mut self) -> Result<Epoch, StoreError>;

    /// The number of the last entry ever written and still known; 0 when there was none.
    fn last_entry(&mut self) -> Result<u64, StoreError>;

    /// The latest snapshot and every entry after it, without a gap.
    fn read(&mut self) -> Result<Contents, StoreError>;

    /// Creates entry `number`; answers when it is durable. [`StoreError::Deposed`] when it exists already. An answer
    /// that could mean either is settled by reading back. After an error the entry is whole or absent, never a part.
    fn append(&mut self, number: u64, entry: &[u8]) -> Result<(), StoreError>;

    /// Replaces the snapshot by one of everything up to entry `upto`, in chunks, then cuts the log up to there. A
    /// crash in between leaves the old snapshot with its log, or the new one.
    fn write_snapshot(&mut self, upto: u64, state: &[u8]) -> Result<(), StoreError>;
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The snapshot.
    pub snapshot: Option<Snapshot>,
    /// The entries after it, in order.
    pub entries: Vec<Entry>,
}

/// Everything up to some entry, in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that it covers.
    pub upto: u64,
    /// What it says.
    pub state: Vec<u8>,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u64,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// Why a store did not do what it was asked. Each of them ends the term.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another leader has written.
    #[error("entry {number} exists already: another master leads")]
    Deposed {
        /// The entry that was to be created.
        number: u64,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process", .directory.display())]
    Locked {
        /// The store's directory.
        directory: PathBuf,
    },
    /// What is stored cannot be what was written.
    #[error("{place} is damaged: {why}")]
    Damaged {
        /// Which file or entry.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// It was written by a later version of this program.
    #[error("{place} has format {found}; this version knows formats up to {known}")]
    Newer {
        /// Which file or entry.
        place: String,
        /// Its version.
        found: u32,
        /// The greatest that is known.
        known: u32,
    },
    /// An entry or a snapshot is whole, but says what this version does not understand.
    #[error("{place} cannot be read: {}", .problem.message)]
    Unreadable {
        /// Which.
        place: String,
        /// Why.
        problem: Box<Problem>,
    },
    /// A restore into it has begun and has not come to its end.
    #[error("{place} is not whole: a restore into it is not finished")]
    Unfinished {
        /// The mark of the restore.
        place: String,
    },
    /// A restore is to write into it, and something is there.
    #[error("the store is not empty: {place} is there")]
    NotEmpty {
        /// What was found.
        place: String,
    },
    /// The system refused.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried: `read`, `create`, …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// ZooKeeper refused, or was lost.
    #[error("cannot {action} {path}: {error}")]
    ZooKeeper {
        /// What was tried: `read`, `create`, …
        action: &'static str,
        /// On which node.
        path: String,
        /// What came of it.
        error: SessionError,
    },
    /// The connection was lost at every attempt to write a node, though the session went on.
    #[error("ZooKeeper hangs up whenever {path} is written, which has {bytes} bytes")]
    HungUp {
        /// Which node.
        path: String,
        /// How large it was to be.
        bytes: usize,
    },
}

impl StoreError {
    /// Whether a new attempt will end the same way until a human has acted.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::Unfinished { .. }
            | Self::NotEmpty { .. }
            | Self::Newer { .. }
            | Self::Unreadable { .. }
            | Self::HungUp { .. } => true,
            Self::Deposed { .. } | Self::Locked { .. } | Self::Io { .. } => false,
            Self::ZooKeeper { error, .. } => matches!(error, SessionError::Denied { .. }),
        }
    }

    /// For `map_err`: what was tried, and on which file.
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// For `map_err`: what was tried, and on which node.
    fn zookeeper(action: &'static str, path: &str) -> impl FnOnce(SessionError) -> Self {
        let path = path.to_owned();
        move |error| Self::ZooKeeper {
            action,
            path,
            error,
        }
    }

    fn damaged(place: impl fmt::Display, why: impl Into<String>) -> Self {
        Self::Damaged {
            place: place.to_string(),
            why: why.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match &error {
            StoreError::Deposed { .. } => Self::new(code::STORE_DEPOSED, message)
                .hint("find out which master writes to this store before you start this one again"),
            StoreError::Locked { .. } => Self::new(code::DIRECTORY_LOCKED, message)
                .field("store")
                .hint("stop the other master, or give each its own directory"),
            StoreError::Damaged { .. } => Self::new(code::STORE_FAILED, message)
                .field("store")
                .hint("restore the store from a backup, or start with a new one"),
            StoreError::Unfinished { .. } => Self::new(code::STORE_FAILED, message)
                .field("store")
                .hint("wait until `proffer restore` is done, or run it again if it broke off"),
            StoreError::NotEmpty { .. } => Self::new(code::STORE_NOT_EMPTY, message)
                .field("store")
                .hint("restore into a new directory, or to a new path in ZooKeeper"),
            StoreError::Newer { .. } => Self::new(code::STORE_FAILED, message)
                .field("store")
                .hint("start the version of proffer that wrote it, or a later one"),
            StoreError::Unreadable { problem, .. } => Self {
                message,
                ..Self::clone(problem)
            },
            StoreError::ZooKeeper { error, .. } => Self {
                message,
                ..error.clone().into()
            },
            StoreError::HungUp { .. } => Self::new(code::STORE_FAILED, message)
                .field("store")
                .hint("let all servers have ZooKeeper's usual jute.maxbuffer, 1 MiB, or a larger one, and see their logs"),
            StoreError::Io { source, .. } => {
                Self::new(code::STORE_FAILED, format!("{message}: {source}"))
                    .field("store")
                    .hint(io_hint(source))
            }
        }
    }
}

/// What to do about what the system said.
fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "choose a directory that this user may write, with --store file:DIR"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free space on that file system, then start the master again"
        }
        io::ErrorKind::ReadOnlyFilesystem => "choose a directory on a file system that is writable",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "choose a directory, not a file, with --store file:DIR"
        }
        _ => "look at the disk, then start the master again",
    }
}

/// Which store, as `--store` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory`: forgotten when the process ends. For tests and trials.
    Memory,
    /// `file:DIR`: one directory on this machine, for one master.
    File(PathBuf),
    /// `zk://…/path`: an ensemble, for several masters, which are elected there.
    ZooKeeper(ZooKeeperUrl),
}

impl StoreUrl {
    /// Opens the store, making it when it is new. One in ZooKeeper is refused: only the elected may open it, as
    /// [`zookeeper::ZooKeeperStore::open`] does.
    pub fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(match self {
            Self::Memory => Box::new(memory::MemoryStore::open(&memory::Disk::default())?),
            Self::File(directory) => Box::new(file::FileStore::open(directory)?),
            Self::ZooKeeper(url) => {
                let path = url.path().to_owned();
                let why = "only the elected master may open it".to_owned();
                let refused = SessionError::Refused { path, why };
                return Err(StoreError::zookeeper("open", url.path())(refused));
            }
        })
    }
}

impl FromStr for StoreUrl {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("file", directory)) if !directory.is_empty() => Ok(Self::File(directory.into())),
            Some(("zk", _)) => {
                let url = text.parse().map_err(|problem: Problem| problem.field("store"))?;
                Ok(Self::ZooKeeper(url))
            }
            _ => Err(
                Problem::new(code::CONFIG_INVALID, format!("{text:?} is not a store"))
                    .field("store")
                    .hint("write file:DIR such as file:/var/lib/proffer/master, zk://host:port,…/path, or memory"),
            ),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::File(directory) => write!(f, "file:{}", directory.display()),
            Self::ZooKeeper(url) => url.fmt(f),
        }
    }
}

/// A new cluster's id: unguessable, so that two clusters never have the same.
fn new_cluster_id() -> Result<ClusterId, StoreError> {
    let unmade = |why: String| StoreError::damaged("the new cluster's id", why);
    let number = getrandom::u64().map_err(|error| unmade(error.to_string()))?;
    ClusterId::new(&format!("{number:016x}")).map_err(|problem| unmade(problem.to_string()))
}

/// Digits of a name: every `u64` fits, and names sort as their numbers do.
const NAME_LEN: usize = 20;

fn entry_name(number: u64) -> String {
    format!("{number:020}")
}

/// The first entry that is missing between a snapshot and the last one; what is stored may have any numbers.
fn first_missing(upto: u64, numbers: &[u64]) -> Option<u64> {
    let mut before = upto;
    for number in numbers {
        let expected = before.saturating_add(1);
        if *number != expected {
            return Some(expected);
        }
        before = expected;
    }
    None
}

fn chunk_name(upto: u64, index: usize) -> String {
    format!("{upto:020}.{index}")
}
