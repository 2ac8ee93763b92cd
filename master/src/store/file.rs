//! The store on one machine: a directory in which every entry is a file of its own.
//!
//! ```text
//! lock              held while a master has the store open
//! cluster  epoch    one line each
//! log/<20 digits>   entries
//! snapshot/<n>.<i>  chunks, and snapshot/<n>, which makes them count
//! restoring         while a backup is written into it: nobody leads on it
//! ```
//!
//! A file is written beside its place, synced, then linked to its name, which fails if the name is taken; then the
//! directory is synced. So a name means a whole file. Should the last entry nevertheless be cut short (a disk that
//! lied about syncing), it is set aside; any other damage means refusing to lead, naming the file.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use proffer_model::{ClusterId, Epoch};

use super::frame::{self, Parsed};
use super::restore::{RESTORING, RESTORING_TEXT, Restored};
use super::{
    Contents, Entry, NAME_LEN, Snapshot, Store, StoreError, chunk_name, entry_name, first_missing,
    new_cluster_id,
};
use crate::limits::{ENTRY_LEN_MAX, STORE_FILE_LEN_MAX};

/// The name of a file that is being written; left-overs are removed when the store is opened.
const TEMPORARY: &str = "temporary";

/// A store in a directory.
#[derive(Debug)]
pub struct FileStore {
    cluster: ClusterId,
    epoch: Epoch,
    last: u64,
    root: Directory,
    log: Directory,
    snapshot: Directory,
    /// Held open: the lock ends with it.
    _lock: File,
}

impl FileStore {
    /// Opens the store in `path`, making both when they are new. Fails when another process has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let root = Directory::open(path.to_owned())?;
        let lock = lock(path)?;
        let (log, snapshot) = (root.inner("log")?, root.inner("snapshot")?);
        for directory in [&root, &log, &snapshot] {
            directory.remove_if_there(TEMPORARY)?;
        }
        if root.holds(RESTORING)? {
            let place = root.path.join(RESTORING).display().to_string();
            return Err(StoreError::Unfinished { place });
        }
        let mut store = Self {
            cluster: root.load_cluster()?,
            epoch: root.load_epoch()?,
            last: 0,
            root,
            log,
            snapshot,
            _lock: lock,
        };
        store.set_torn_tail_aside()?;
        let upto = store.newest_snapshot()?.unwrap_or_default();
        let last = store.log.numbers()?.last().copied().unwrap_or_default();
        store.last = last.max(upto);
        store.cut(upto)?;
        Ok(store)
    }

    /// Makes a store in `path` of what was restored; nothing may be there but what a restore that broke off has left.
    pub(crate) fn restore(path: &Path, restored: &Restored) -> Result<(), StoreError> {
        let root = Directory::open(path.to_owned())?;
        let is_again = root.check_empty()?;
        let _lock = lock(path)?;
        // Between the two another may have made a store of it, and gone.
        root.check_empty()?;
        if !is_again {
            root.replace(RESTORING, RESTORING_TEXT)?;
        }
        let (_, snapshot) = (root.inner("log")?, root.inner("snapshot")?);
        for name in snapshot.names()? {
            snapshot.remove_if_there(&name)?;
        }
        snapshot.write_snapshot(restored.upto, &restored.state)?;
        root.replace("epoch", restored.epoch.to_string().as_bytes())?;
        root.replace("cluster", restored.cluster.as_str().as_bytes())?;
        root.remove_if_there(RESTORING)?;
        root.sync()
    }

    /// Moves the last entry out of the way when it is incomplete: no such entry was ever acknowledged.
    fn set_torn_tail_aside(&self) -> Result<(), StoreError> {
        let Some(last) = self.log.numbers()?.last().copied() else {
            return Ok(());
        };
        let (path, parsed) = self.log.parse(&entry_name(last))?;
        if parsed == Parsed::Incomplete {
            tracing::warn!(file = %path.display(), "the last entry of the log is incomplete and is set aside");
            let aside = self.log.path.join("torn");
            fs::rename(&path, &aside).map_err(StoreError::io("rename", &path))?;
            self.log.sync()?;
        }
        Ok(())
    }

    /// The number of the latest snapshot that counts.
    fn newest_snapshot(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.snapshot.numbers()?.last().copied())
    }

    fn read_snapshot(&self, upto: u64) -> Result<Snapshot, StoreError> {
        let (manifest, text) = self.snapshot.read_text(&entry_name(upto))?;
        let said = text
            .split_once(' ')
            .and_then(|(chunks, length)| Some((chunks.parse().ok()?, length.parse().ok()?)));
        let Some((chunks, length)) = said else {
            return Err(StoreError::damaged(
                manifest.display(),
                "it is not a list of chunks",
            ));
        };
        let (chunks, length): (usize, usize) = (chunks, length);
        let mut state = Vec::new();
        for index in 0..chunks {
            state.extend(self.snapshot.read(&chunk_name(upto, index))?.1);
        }
        if state.len() != length {
            return Err(StoreError::damaged(
                manifest.display(),
                "its chunks are not as long",
            ));
        }
        Ok(Snapshot { upto, state })
    }

    /// Removes entries up to this one, and everything of other snapshots.
    fn cut(&self, upto: u64) -> Result<(), StoreError> {
        for number in self.log.numbers()? {
            if number <= upto {
                self.log.remove_if_there(&entry_name(number))?;
            }
        }
        let kept = entry_name(upto);
        for name in self.snapshot.names()? {
            if name.split('.').next() != Some(kept.as_str()) {
                self.snapshot.remove_if_there(&name)?;
            }
        }
        self.log.sync()?;
        self.snapshot.sync()
    }
}

impl Store for FileStore {
    fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    fn raise_epoch(&mut self) -> Result<Epoch, StoreError> {
        let raised = self.epoch.next();
        self.root.replace("epoch", raised.to_string().as_bytes())?;
        self.epoch = raised;
        Ok(raised)
    }

    fn last_entry(&mut self) -> Result<u64, StoreError> {
        Ok(self.last)
    }

    fn read(&mut self) -> Result<Contents, StoreError> {
        let snapshot = match self.newest_snapshot()? {
            Some(upto) => Some(self.read_snapshot(upto)?),
            None => None,
        };
        let upto = snapshot.as_ref().map_or(0, |snapshot| snapshot.upto);
        let numbers = self.log.numbers()?;
        if let Some(missing) = first_missing(upto, &numbers) {
            let missing = self.log.path.join(entry_name(missing));
            return Err(StoreError::damaged(missing.display(), "it is missing"));
        }
        let mut entries = Vec::new();
        for number in numbers {
            let bytes = self.log.read(&entry_name(number))?.1;
            entries.push(Entry { number, bytes });
        }
        Ok(Contents { snapshot, entries })
    }

    fn append(&mut self, number: u64, entry: &[u8]) -> Result<(), StoreError> {
        if number <= self.last {
            return Err(StoreError::Deposed { number });
        }
        match self.log.create(&entry_name(number), entry) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::Deposed { number })
            }
            answer => {
                answer?;
                self.last = number;
                Ok(())
            }
        }
    }

    fn write_snapshot(&mut self, upto: u64, state: &[u8]) -> Result<(), StoreError> {
        self.snapshot.write_snapshot(upto, state)?;
        self.cut(upto)
    }
}

/// A directory of the store, held open so that it can be synced.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    file: File,
}

impl Directory {
    fn open(path: PathBuf) -> Result<Self, StoreError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(StoreError::io("create", &path))?;
        let file = File::open(&path).map_err(StoreError::io("open", &path))?;
        Ok(Self { path, file })
    }

    fn inner(&self, name: &str) -> Result<Self, StoreError> {
        let inner = Self::open(self.path.join(name))?;
        self.sync()?;
        Ok(inner)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync_all()
            .map_err(StoreError::io("sync", &self.path))
    }

    /// Creates a file that is not there yet; it is durable and whole, or an error and not there.
    fn create(&self, name: &str, payload: &[u8]) -> Result<(), StoreError> {
        let (temporary, path) = (self.write_temporary(payload)?, self.path.join(name));
        let linked = fs::hard_link(&temporary, &path).map_err(StoreError::io("create", &path));
        self.remove_if_there(TEMPORARY)?;
        linked?;
        self.sync()
    }

    /// Writes a file, there or not.
    fn replace(&self, name: &str, payload: &[u8]) -> Result<(), StoreError> {
        let (temporary, path) = (self.write_temporary(payload)?, self.path.join(name));
        fs::rename(&temporary, &path).map_err(StoreError::io("replace", &path))?;
        self.sync()
    }

    /// Writes a snapshot in chunks, then what makes them count.
    fn write_snapshot(&self, upto: u64, state: &[u8]) -> Result<(), StoreError> {
        let chunks = state.chunks(ENTRY_LEN_MAX);
        let manifest = format!("{} {}", chunks.len(), state.len());
        for (index, chunk) in chunks.enumerate() {
            self.replace(&chunk_name(upto, index), chunk)?;
        }
        self.replace(&entry_name(upto), manifest.as_bytes())
    }

    /// Refuses to write where anything is that a restore has not left. Answers whether one has.
    fn check_empty(&self) -> Result<bool, StoreError> {
        let is_again = self.holds(RESTORING)?;
        let mut found = self.names()?;
        found.retain(|name| match name.as_str() {
            "lock" | "log" | "snapshot" | RESTORING | TEMPORARY => false,
            "cluster" | "epoch" => !is_again,
            _ => true,
        });
        for inner in ["log", "snapshot"] {
            let may_be_there = is_again && inner == "snapshot";
            if !may_be_there && self.holds(inner)? {
                let names = Self::open(self.path.join(inner))?.names()?;
                let names = names.into_iter().filter(|name| name != TEMPORARY);
                found.extend(names.map(|name| format!("{inner}/{name}")));
            }
        }
        match found.first() {
            None => Ok(is_again),
            Some(name) => Err(StoreError::NotEmpty {
                place: self.path.join(name).display().to_string(),
            }),
        }
    }

    fn write_temporary(&self, payload: &[u8]) -> Result<PathBuf, StoreError> {
        let path = self.path.join(TEMPORARY);
        let written = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(&frame::encode(payload))?;
                file.sync_all()
            });
        if written.is_err() {
            // A full disk has more need of the space than we have of the rest.
            self.remove_if_there(TEMPORARY)?;
        }
        written.map_err(StoreError::io("write", &path))?;
        Ok(path)
    }

    fn remove_if_there(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The names of the files in it, in order.
    fn names(&self) -> Result<Vec<String>, StoreError> {
        let listed = fs::read_dir(&self.path).and_then(|entries| {
            entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()
        });
        let mut names = listed.map_err(StoreError::io("list", &self.path))?;
        names.sort();
        Ok(names)
    }

    /// The files whose names are [`entry_name`]s, in order.
    fn numbers(&self) -> Result<Vec<u64>, StoreError> {
        let is_digits = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        let is_ours = |name: &&String| name.len() == NAME_LEN && is_digits(name);
        Ok(self
            .names()?
            .iter()
            .filter(is_ours)
            .filter_map(|name| name.parse().ok())
            .collect())
    }

    fn parse(&self, name: &str) -> Result<(PathBuf, Parsed), StoreError> {
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(STORE_FILE_LEN_MAX).read_to_end(&mut bytes))
            .map_err(StoreError::io("read", &path))?;
        Ok((path, frame::parse(&bytes)))
    }

    fn read(&self, name: &str) -> Result<(PathBuf, Vec<u8>), StoreError> {
        let (path, parsed) = self.parse(name)?;
        match parsed {
            Parsed::Whole(payload) => Ok((path, payload)),
            Parsed::Incomplete => Err(StoreError::damaged(path.display(), "it is cut short")),
            Parsed::Damaged(why) => Err(StoreError::damaged(path.display(), why)),
            Parsed::Newer(found) => Err(StoreError::Newer {
                place: path.display().to_string(),
                found: found.into(),
                known: frame::VERSION.into(),
            }),
        }
    }

    fn read_text(&self, name: &str) -> Result<(PathBuf, String), StoreError> {
        let (path, payload) = self.read(name)?;
        match String::from_utf8(payload) {
            Ok(text) => Ok((path, text)),
            Err(_) => Err(StoreError::damaged(path.display(), "it is not text")),
        }
    }

    fn holds(&self, name: &str) -> Result<bool, StoreError> {
        let path = self.path.join(name);
        path.try_exists().map_err(StoreError::io("read", &path))
    }

    fn load_cluster(&self) -> Result<ClusterId, StoreError> {
        if !self.holds("cluster")? {
            // A directory with a log but without a name is not new: it has lost a file.
            if self.holds("epoch")? {
                let path = self.path.join("cluster");
                return Err(StoreError::damaged(path.display(), "it is missing"));
            }
            let cluster = new_cluster_id()?;
            self.replace("cluster", cluster.as_str().as_bytes())?;
            return Ok(cluster);
        }
        let (path, text) = self.read_text("cluster")?;
        ClusterId::new(&text)
            .map_err(|problem| StoreError::damaged(path.display(), problem.message))
    }

    fn load_epoch(&self) -> Result<Epoch, StoreError> {
        if !self.holds("epoch")? {
            return Ok(Epoch::default());
        }
        let (path, text) = self.read_text("epoch")?;
        let number = text.parse();
        number
            .map(Epoch)
            .map_err(|_| StoreError::damaged(path.display(), "it is not a number"))
    }
}

/// Takes the directory for this process, until the file is closed.
fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(StoreError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            directory: directory.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path)(error)),
    }
}
