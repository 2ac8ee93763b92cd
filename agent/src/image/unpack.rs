//! Unpacking one layer: what each kind of entry of its tar archive becomes beneath the layer's directory.
//!
//! Kept: files, directories, both kinds of links, owners, permissions, times, attributes of the class `user`. Translated
//! for overlayfs: whiteouts. Left out: devices, FIFOs (a container has its own /dev, and what it needs else it makes), the
//! bits set-user-id and set-group-id of files and all other attributes (capabilities, which `no_new_privs` would make void,
//! and overlayfs's own, which would lead elsewhere). Refused: what leaves the image or goes through a link, sparse files,
//! names and numbers that no file can have.

use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use tar::EntryType;

use super::error::{Fault, LoadError, shown};
use super::stream::{Allowance, CHUNK_LEN, Limited, is_limit};
use super::tree::{self, Attributes, Name, Tree, TreeFault};
use crate::limits::{IMAGE_ENTRY_HEAD_LEN_MAX, IMAGE_LEN_MAX, IMAGE_NAMES_LEN_MAX};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names of this beginning were aufs's own.
const AUFS: &[u8] = b".wh..wh.";
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
const OWN_ATTRIBUTE: &[u8] = b"SCHILY.xattr.user.";
const OVERLAY_ATTRIBUTE: &[u8] = b"SCHILY.xattr.user.overlay.";
/// How a sparse file is told in newer archives.
const SPARSE: &[u8] = b"GNU.sparse.";
/// How much of the disk a file takes beyond its content, and in which steps.
const DISK_BLOCK_LEN: u64 = 4_096;
const PERMISSIONS: u32 = 0o7777;
/// set-user-id, set-group-id.
const SET_ID: u32 = 0o6000;

/// What of an image's limits its layers have used.
#[derive(Debug)]
pub(super) struct Used {
    /// Files, directories, links.
    pub(super) entries: u64,
    /// How many it may have.
    pub(super) entries_max: u64,
    /// Bytes on disk.
    pub(super) disk: u64,
}

/// Unpacks the layer with this number into a directory. What comes behind its end is not read.
pub(super) fn unpack(
    number: usize,
    source: impl Read,
    root: OwnedFd,
    used: &mut Used,
) -> Result<(), LoadError> {
    let allowance = Allowance::new(0);
    let mut tar = tar::Archive::new(Limited::new(source, allowance.clone()));
    let mut layer = Unpacking {
        number,
        tree: Tree::new(root),
        dirs: Vec::new(),
        names_len: 0,
        disk: 0,
        chunk: vec![0; CHUNK_LEN],
    };
    let not_readable = |error: io::Error| {
        LoadError::Fault(if is_limit(&error) && allowance.left() == 0 {
            head_too_large(number)
        } else {
            unreadable(number, &error)
        })
    };
    let mut entries = tar.entries().map_err(not_readable)?;
    let mut seen: u64 = 0;
    loop {
        allowance.set(IMAGE_ENTRY_HEAD_LEN_MAX);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(not_readable)?;
        allowance.set(u64::MAX);
        seen = seen.saturating_add(1);
        layer.entry(&mut entry)?;
        let made = used.entries.saturating_add(layer.tree.made().max(seen));
        if made > used.entries_max {
            return Err(LoadError::Fault(Fault::TooLarge {
                what: "the image has too many files".to_owned(),
                limit: used.entries_max.to_string(),
            }));
        }
        // What is left of it is not its successor's head.
        io::copy(&mut entry, &mut io::sink()).map_err(not_readable)?;
    }
    used.entries = used.entries.saturating_add(layer.tree.made().max(seen));
    used.disk = used.disk.saturating_add(layer.finish()?);
    Ok(())
}

struct Unpacking {
    number: usize,
    tree: Tree,
    /// Directories and their times, which are set when nothing more is made in them.
    dirs: Vec<(Name, i64)>,
    names_len: usize,
    disk: u64,
    chunk: Vec<u8>,
}

impl Unpacking {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), LoadError> {
        let path = entry.path_bytes().into_owned();
        let number = self.number;
        let made = self.make(entry, &path);
        made.map_err(|error| match error {
            EntryError::Refused(why) | EntryError::Tree(TreeFault::Refused(why)) => {
                LoadError::Fault(Fault::Entry {
                    layer: number,
                    entry: shown(&path),
                    why,
                })
            }
            EntryError::Tree(TreeFault::System(errno)) => LoadError::Store(errno.into()),
            EntryError::Write(error) => LoadError::Store(error),
            EntryError::Read(error) => LoadError::Fault(unreadable(number, &error)),
        })
    }

    fn make<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &[u8],
    ) -> Result<(), EntryError> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let name = Name::parse(path)?;
        self.names_len = self.names_len.saturating_add(path.len());
        if self.names_len > IMAGE_NAMES_LEN_MAX {
            return Err(EntryError::Refused("is one name too many"));
        }
        if self.whiteout(&name)? {
            return Ok(());
        }
        let attributes = attributes(entry.header())?;
        match kind {
            EntryType::Directory => self.dir(entry, name, attributes),
            // As archives of the seventh edition have it.
            EntryType::Regular if path.ends_with(b"/") => self.dir(entry, name, attributes),
            EntryType::Regular | EntryType::Continuous => self.file(entry, &name, attributes),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                self.disk = self.disk.saturating_add(DISK_BLOCK_LEN);
                Ok(self.tree.make_symlink(&name, &target, attributes)?)
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = Name::parse(&target).map_err(|fault| match fault {
                    TreeFault::Refused(_) => EntryError::Refused("is a link that leaves the image"),
                    system @ TreeFault::System(_) => EntryError::Tree(system),
                })?;
                Ok(self.tree.make_hard_link(&name, &target)?)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => Ok(()),
            EntryType::GNUSparse => Err(EntryError::Refused("is a sparse file")),
            _ => Err(EntryError::Refused("is of a kind that images do not have")),
        }
    }

    /// Does what the name means, if it is not that of a file.
    fn whiteout(&mut self, name: &Name) -> Result<bool, EntryError> {
        let Some((parent, last)) = name.split() else {
            return Ok(false);
        };
        if last == OPAQUE {
            let parent = Name::parse(&parent.join(&b'/'))?;
            self.tree.make_opaque(&parent)?;
            return Ok(true);
        }
        if name.parts().iter().any(|part| part.starts_with(AUFS)) {
            return Ok(true);
        }
        if parent.iter().any(|part| part.starts_with(WHITEOUT)) {
            return Err(EntryError::Refused("is inside of what is removed"));
        }
        let Some(hidden) = last.strip_prefix(WHITEOUT) else {
            return Ok(false);
        };
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(EntryError::Refused("removes what has no name"));
        }
        let parent = Name::parse(&parent.join(&b'/'))?;
        self.tree.make_whiteout(&parent, hidden)?;
        Ok(true)
    }

    fn dir<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        name: Name,
        attributes: Attributes,
    ) -> Result<(), EntryError> {
        let dir = self.tree.make_dir(&name)?;
        tree::set_owner(dir.as_fd(), attributes)?;
        set_extended(entry, dir.as_fd())?;
        self.disk = self.disk.saturating_add(DISK_BLOCK_LEN);
        self.dirs.push((name, attributes.modified));
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        name: &Name,
        attributes: Attributes,
    ) -> Result<(), EntryError> {
        let mut left = entry.size();
        let mut file = self.tree.make_file(name)?;
        while left > 0 {
            let len = match entry.read(&mut self.chunk) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(EntryError::Read(error)),
            };
            if len == 0 {
                return Err(EntryError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            let bytes = self.chunk.get(..len).unwrap_or_default();
            file.write_all(bytes).map_err(EntryError::Write)?;
            left = left.saturating_sub(u64::try_from(len).unwrap_or(u64::MAX));
        }
        let mode = attributes.mode & !SET_ID;
        tree::set_owner(file.as_fd(), Attributes { mode, ..attributes })?;
        set_extended(entry, file.as_fd())?;
        tree::set_time(file.as_fd(), attributes.modified)?;
        let blocks = entry.size().div_ceil(DISK_BLOCK_LEN).saturating_add(1);
        self.disk = self
            .disk
            .saturating_add(blocks.saturating_mul(DISK_BLOCK_LEN));
        Ok(())
    }

    /// Sets what waits for all else. How much of the disk the layer takes.
    fn finish(self) -> Result<u64, LoadError> {
        let store = |fault| match fault {
            TreeFault::System(errno) => LoadError::Store(errno.into()),
            TreeFault::Refused(why) => LoadError::Store(io::Error::other(why)),
        };
        for (name, modified) in &self.dirs {
            self.tree.touch_dir(name, *modified).map_err(store)?;
        }
        Ok(self.disk)
    }
}

/// Why an entry is not made.
#[derive(Debug)]
enum EntryError {
    Refused(&'static str),
    Tree(TreeFault),
    Read(io::Error),
    Write(io::Error),
}

impl From<TreeFault> for EntryError {
    fn from(fault: TreeFault) -> Self {
        Self::Tree(fault)
    }
}

fn attributes(header: &tar::Header) -> Result<Attributes, EntryError> {
    // The largest number means "nobody changes" to the system.
    let id = |number: io::Result<u64>| {
        let id = number.ok().and_then(|number| u32::try_from(number).ok());
        id.filter(|id| *id != u32::MAX)
            .ok_or(EntryError::Refused("has an owner that no file can have"))
    };
    let mode = header.mode();
    Ok(Attributes {
        uid: id(header.uid())?,
        gid: id(header.gid())?,
        mode: mode.map_err(|_| EntryError::Refused("has unreadable permissions"))? & PERMISSIONS,
        // Times before 1970 and beyond all file systems are written in ways that are not worth telling apart.
        modified: header
            .mtime()
            .ok()
            .and_then(|time| i64::try_from(time).ok())
            .filter(|time| *time <= i64::from(u32::MAX))
            .unwrap_or(0),
    })
}

fn set_extended<R: Read>(
    entry: &mut tar::Entry<'_, R>,
    file: std::os::fd::BorrowedFd<'_>,
) -> Result<(), EntryError> {
    for extension in entry
        .pax_extensions()
        .map_err(EntryError::Read)?
        .into_iter()
        .flatten()
    {
        let extension = extension.map_err(EntryError::Read)?;
        let (key, value) = (extension.key_bytes(), extension.value_bytes());
        if key.starts_with(SPARSE) {
            return Err(EntryError::Refused("is a sparse file"));
        }
        if key.starts_with(OWN_ATTRIBUTE) && !key.starts_with(OVERLAY_ATTRIBUTE) {
            let name = key.strip_prefix(ATTRIBUTE).unwrap_or_default();
            if name.contains(&0) {
                return Err(EntryError::Refused(
                    "has an attribute that no file can have",
                ));
            }
            tree::set_attribute(file, name, value)?;
        }
    }
    Ok(())
}

fn head_too_large(layer: usize) -> Fault {
    Fault::TooLarge {
        what: format!("layer {layer} has an entry with names or attributes that are too long"),
        limit: format!("{IMAGE_ENTRY_HEAD_LEN_MAX} bytes"),
    }
}

/// What is wrong with a layer that cannot be read on.
pub(super) fn unreadable(layer: usize, error: &io::Error) -> Fault {
    if is_limit(error) {
        return Fault::TooLarge {
            what: format!("the image is too large, in layer {layer}"),
            limit: format!("{IMAGE_LEN_MAX} bytes"),
        };
    }
    let why = match error.kind() {
        io::ErrorKind::UnexpectedEof => "its archive is truncated",
        _ => "its archive is damaged",
    };
    Fault::Layer {
        layer,
        why: why.to_owned(),
    }
}
