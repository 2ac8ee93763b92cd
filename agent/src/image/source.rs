//! Opening an archive for whom it is loaded: as that user, so that the agent's own permissions open nothing to others.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::error::{Fault, LoadError};
use super::stream::{Allowance, CHUNK_LEN, Limited, decompress, is_compressed, is_limit};
use crate::limits::IMAGE_ARCHIVE_SETTLE_TIME;

/// Nothing is waited for, whatever it is.
const FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Which file it is, and in which state: as long as this is the same, so is its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) len: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

/// Opens the file as this user would, and as a file: nothing else is waited for.
pub(super) fn open(path: &Path, readable_by: Option<(u32, u32)>) -> Result<File, Fault> {
    let opened = match readable_by {
        None => open_here(path),
        // On a thread of its own, which ends: as whom a thread reaches files is the thread's own.
        Some((uid, gid)) => std::thread::scope(|scope| {
            let opener = scope.spawn(move || {
                setfsgid(Gid::from_raw(gid));
                setfsuid(Uid::from_raw(uid));
                open_here(path)
            });
            opener
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("it was not opened")))
        }),
    };
    let not_permitted = |uid| Fault::NotPermitted(uid);
    let file = opened.map_err(|error| match (error.kind(), readable_by) {
        (io::ErrorKind::PermissionDenied, Some((uid, _))) => not_permitted(uid),
        _ => Fault::Unreadable(error),
    })?;
    let metadata = file.metadata().map_err(Fault::Unreadable)?;
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    // Once more by the file's mode, since the thread has kept the agent's further groups.
    if let Some((uid, gid)) = readable_by {
        let bits = if metadata.uid() == uid {
            0o400
        } else if metadata.gid() == gid {
            0o040
        } else {
            0o004
        };
        if uid != 0 && metadata.mode() & bits == 0 {
            return Err(not_permitted(uid));
        }
    }
    Ok(file)
}

/// Opens the file of this name in a directory whose files are everybody's here, as the agent; nothing if it is not there. No
/// link leads out of the directory.
pub(super) fn open_among(dir: &Path, name: &str) -> Result<Option<File>, Fault> {
    let opened = open_here(dir).and_then(|dir| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&dir, name, FLAGS, Mode::empty(), resolve)?)
    });
    let file = match opened {
        Ok(file) => File::from(file),
        Err(error) if is_absence(&error) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return Err(Fault::LeadsOut),
        Err(error) => return Err(Fault::Unreadable(error)),
    };
    match file.metadata().map_err(Fault::Unreadable)?.is_file() {
        true => Ok(Some(file)),
        false => Err(Fault::NotAFile),
    }
}

fn is_absence(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    kinds.contains(&error.kind())
}

fn open_here(path: &Path) -> io::Result<File> {
    let file = openat2(CWD, path, FLAGS, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    Ok(file.into())
}

/// The state of an open file.
pub(super) fn stamp(file: &File) -> io::Result<Stamp> {
    let metadata = file.metadata()?;
    Ok(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        len: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

impl Stamp {
    /// Whether a later change is sure to give another stamp.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let (Ok(seconds), Ok(nanoseconds)) =
            (u64::try_from(self.changed.0), u32::try_from(self.changed.1))
        else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds));
        let age = changed.and_then(|changed| now.duration_since(changed).ok());
        age.is_some_and(|age| age >= IMAGE_ARCHIVE_SETTLE_TIME)
    }
}

/// The archive itself when it is plain; otherwise what is inside, as a file without a name in this directory.
pub(super) fn plain(file: File, scratch_dir: &Path, len_max: u64) -> Result<File, LoadError> {
    let mut head = [0; 4];
    let len = read_head(&file, &mut head).map_err(Fault::Unreadable)?;
    if !is_compressed(head.get(..len).unwrap_or_default()) {
        return Ok(file);
    }
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let scratch = openat(CWD, scratch_dir, flags, Mode::RUSR | Mode::WUSR);
    let mut scratch: File = scratch
        .map_err(|errno| LoadError::Store(errno.into()))?
        .into();
    let inside = decompress(&file).map_err(|error| damaged(&error, len_max))?;
    let mut inside = Limited::new(inside, Allowance::new(len_max));
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        let len = match inside.read(&mut chunk) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(&error, len_max).into()),
        };
        let Some(bytes) = chunk.get(..len).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        scratch.write_all(bytes).map_err(LoadError::Store)?;
    }
    scratch.seek(SeekFrom::Start(0)).map_err(LoadError::Store)?;
    Ok(scratch)
}

fn read_head(file: &File, head: &mut [u8]) -> io::Result<usize> {
    // A file gives all it has at once, as far as it goes.
    file.read_at(head, 0)
}

fn damaged(error: &io::Error, len_max: u64) -> Fault {
    if is_limit(error) {
        Fault::TooLarge {
            what: "the unzipped archive is too large".to_owned(),
            limit: format!("{len_max} bytes"),
        }
    } else if error.kind() == io::ErrorKind::UnexpectedEof {
        Fault::Truncated
    } else {
        Fault::NotAnImage("it cannot be unzipped".to_owned())
    }
}
