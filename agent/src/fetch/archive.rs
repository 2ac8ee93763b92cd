//! Archives, unpacked into a sandbox: files, directories, and links that stay in it. What leaves the sandbox, devices and pipes,
//! files that run as their owner, sparse and encrypted ones are refused; so is an archive that has too many files or grows too
//! much. All is the sandbox's owner's, whatever the archive says.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::os::fd::AsFd as _;

use tar::EntryType;

use super::place::now;
use super::zip_end;
use crate::image::stream::{Allowance, CHUNK_LEN, Limited, decompress};
use crate::image::tree::{Attributes, Name, Tree, TreeFault, set_owner, set_time};
use crate::limits::{
    FETCH_ENTRIES_MAX, FETCH_RATIO_FREE, FETCH_RATIO_MAX, FETCH_TAR_REST_LEN_MAX,
    FETCH_UNPACKED_LEN_MAX, FETCH_XZ_KIB_MAX, FETCH_ZIP_DIRECTORY_LEN_MAX,
    IMAGE_ENTRY_HEAD_LEN_MAX,
};

const BZIP2_MAGIC: &[u8] = b"BZh";
const XZ_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
/// set-user-id, set-group-id.
const SET_ID: u32 = 0o6000;
/// The kind of a file, among the bits of its mode.
const KIND: u32 = 0o170_000;
const KIND_LINK: u32 = 0o120_000;
const KIND_FILE: u32 = 0o100_000;
const LINK_LEN_MAX: u64 = 4_095;
const TOO_LARGE: &str = "it becomes too large when it is unpacked";

/// What an archive may still become.
#[derive(Debug)]
pub(super) struct Room {
    bytes: u64,
    entries: usize,
}

impl Room {
    /// Of an archive with so many bytes.
    pub(super) fn of(len: u64) -> Self {
        let grown = len
            .saturating_mul(FETCH_RATIO_MAX)
            .saturating_add(FETCH_RATIO_FREE);
        Self {
            bytes: grown.min(FETCH_UNPACKED_LEN_MAX),
            entries: FETCH_ENTRIES_MAX,
        }
    }

    /// Of so much.
    pub(super) fn limited(bytes: u64, entries: usize) -> Self {
        Self { bytes, entries }
    }

    fn take_entry(&mut self) -> Result<(), String> {
        let left = self.entries.checked_sub(1);
        self.entries = left.ok_or_else(|| format!("it has more than {FETCH_ENTRIES_MAX} files"))?;
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<(), String> {
        let left = u64::try_from(len)
            .ok()
            .and_then(|len| self.bytes.checked_sub(len));
        self.bytes = left.ok_or(TOO_LARGE)?;
        Ok(())
    }
}

/// Why something could not be made, for people.
pub(super) fn words(fault: &TreeFault) -> String {
    match fault {
        // The words are an image's.
        TreeFault::Refused(why) => why
            .replace("the image", "the sandbox")
            .replace("this layer", "this archive"),
        TreeFault::System(errno) => errno.to_string(),
    }
}

/// What is inside gzip, zstd, bzip2 or xz, told by the first bytes; anything else as it is.
fn inside<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = source;
    let mut head = vec![0; XZ_MAGIC.len()];
    let mut len = 0;
    while let Some(rest) = head.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match source.read(rest)? {
            0 => break,
            more => len += more,
        }
    }
    head.truncate(len);
    let is_bzip2 = head.starts_with(BZIP2_MAGIC);
    let is_xz = head == XZ_MAGIC;
    let whole = io::Cursor::new(head).chain(source);
    Ok(if is_bzip2 {
        Box::new(bzip2::read::MultiBzDecoder::new(BufReader::with_capacity(
            CHUNK_LEN, whole,
        )))
    } else if is_xz {
        let whole = BufReader::with_capacity(CHUNK_LEN, whole);
        Box::new(lzma_rust2::XzReader::new_mem_limit(
            whole,
            true,
            FETCH_XZ_KIB_MAX,
        ))
    } else {
        decompress(whole)?
    })
}

/// Unpacks a tar archive, compressed or not.
pub(super) fn tar(
    data: impl Read,
    tree: &mut Tree,
    room: &mut Room,
    owner: (u32, u32),
) -> Result<(), String> {
    // All that is read of it: what is skipped costs as much as what is kept.
    let whole = Allowance::new(room.bytes.saturating_add(FETCH_TAR_REST_LEN_MAX));
    let head = Allowance::new(0);
    let damaged = |error: io::Error| {
        if whole.left() == 0 {
            TOO_LARGE.to_owned()
        } else if head.left() == 0 {
            "what its archive says of a file is too long".to_owned()
        } else {
            format!("its archive is damaged: {error}")
        }
    };
    let source = inside(data).map_err(damaged)?;
    let source = Limited::new(source, whole.clone());
    let mut archive = tar::Archive::new(Limited::new(source, head.clone()));
    let mut entries = archive.entries().map_err(damaged)?;
    let mut unpacking = Unpacking::new(tree, room, owner);
    loop {
        // Of a name, or what else is said before an entry, no more is kept than this.
        head.set(IMAGE_ENTRY_HEAD_LEN_MAX);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(damaged)?;
        head.set(u64::MAX);
        let path = entry.path_bytes().into_owned();
        let made = unpacking.tar_entry(&mut entry, &path);
        made.map_err(|why| refused(&path, &why))?;
        io::copy(&mut entry, &mut io::sink()).map_err(damaged)?;
    }
    unpacking.finish()
}

/// Unpacks a zip archive.
pub(super) fn zip(
    data: File,
    tree: &mut Tree,
    room: &mut Room,
    owner: (u32, u32),
) -> Result<(), String> {
    let damaged = |error: zip::result::ZipError| format!("its archive is damaged: {error}");
    let too_many = || format!("it has more than {} files", room.entries);
    let large = || "its archive has a directory that is too large".to_owned();
    let said = zip_end::read(&data).map_err(|error| format!("its archive is damaged: {error}"))?;
    // Before anything is kept of it: it says so itself, unless it lies.
    let entries_max = u64::try_from(room.entries).unwrap_or(u64::MAX);
    if said.is_some_and(|end| end.entries > entries_max) {
        return Err(too_many());
    }
    if said.is_some_and(|end| end.len > FETCH_ZIP_DIRECTORY_LEN_MAX) {
        return Err(large());
    }
    let allowance = Allowance::new(FETCH_ZIP_DIRECTORY_LEN_MAX);
    let source = BufReader::with_capacity(CHUNK_LEN, data);
    let opened = zip::ZipArchive::new(Limited::new(source, allowance.clone()));
    let mut archive = opened.map_err(|error| match allowance.left() {
        0 => large(),
        _ => damaged(error),
    })?;
    if archive.len() > room.entries {
        return Err(too_many());
    }
    allowance.set(u64::MAX);
    let mut unpacking = Unpacking::new(tree, room, owner);
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let path = entry.name_raw().to_vec();
        let made = unpacking.zip_entry(&mut entry, &path);
        made.map_err(|why| refused(&path, &why))?;
    }
    unpacking.finish()
}

/// Unpacks one file that is compressed by gzip, and is called so without `.gz`.
pub(super) fn gzip(
    data: File,
    name: &str,
    tree: &mut Tree,
    room: &mut Room,
    owner: (u32, u32),
) -> Result<(), String> {
    let source = BufReader::with_capacity(CHUNK_LEN, data);
    let mut source = flate2::bufread::MultiGzDecoder::new(source);
    let name = name.get(..name.len().saturating_sub(3)).unwrap_or(name);
    let mut unpacking = Unpacking::new(tree, room, owner);
    let name = unpacking
        .name(name.as_bytes())?
        .ok_or("its file would have no name")?;
    unpacking.file(&name, &mut source, 0o644, now())
}

fn refused(path: &[u8], why: &str) -> String {
    let path: String = String::from_utf8_lossy(path).chars().take(200).collect();
    format!("{path:?} in its archive {why}")
}

struct Unpacking<'u> {
    tree: &'u mut Tree,
    room: &'u mut Room,
    owner: (u32, u32),
    chunk: Vec<u8>,
    /// Directories and their times, which are set when nothing more is made in them.
    dirs: Vec<(Name, i64)>,
}

impl<'u> Unpacking<'u> {
    fn new(tree: &'u mut Tree, room: &'u mut Room, owner: (u32, u32)) -> Self {
        Self {
            tree,
            room,
            owner,
            chunk: vec![0; CHUNK_LEN],
            dirs: Vec::new(),
        }
    }

    /// The name of an entry; nothing for the sandbox itself.
    fn name(&mut self, path: &[u8]) -> Result<Option<Name>, String> {
        self.room.take_entry()?;
        if path.starts_with(b"/") {
            return Err("leaves the sandbox".to_owned());
        }
        let name = Name::parse(path).map_err(|fault| words(&fault))?;
        Ok(Some(name).filter(|name| !name.parts().is_empty()))
    }

    fn tar_entry<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &[u8],
    ) -> Result<(), String> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let Some(name) = self.name(path)? else {
            return Ok(());
        };
        let extensions = entry.pax_extensions().map_err(|error| error.to_string())?;
        for extension in extensions.into_iter().flatten() {
            let extension = extension.map_err(|error| error.to_string())?;
            if extension.key_bytes().starts_with(b"GNU.sparse.") {
                return Err("is a sparse file".to_owned());
            }
        }
        let header = entry.header();
        let mode = header
            .mode()
            .map_err(|_| "has permissions that cannot be read")?;
        let modified = header
            .mtime()
            .ok()
            .and_then(|time| i64::try_from(time).ok());
        let modified = modified
            .filter(|time| *time <= i64::from(u32::MAX))
            .unwrap_or_else(now);
        let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
        let target = target.unwrap_or_default();
        match kind {
            EntryType::Directory => self.dir(name, mode, modified),
            EntryType::Regular if path.ends_with(b"/") => self.dir(name, mode, modified),
            EntryType::Regular | EntryType::Continuous => self.file(&name, entry, mode, modified),
            EntryType::Symlink => self.link(&name, &target, modified),
            EntryType::Link => {
                if target.starts_with(b"/") {
                    return Err("is a link that leaves the sandbox".to_owned());
                }
                let leaves = |_| "is a link that leaves the sandbox".to_owned();
                let target = Name::parse(&target).map_err(leaves)?;
                // Of a symbolic link another one, elsewhere, could lead out.
                if !self.tree.is_file(&target) {
                    return Err("is a hard link to what is not a file of this archive".to_owned());
                }
                self.tree
                    .make_hard_link(&name, &target)
                    .map_err(|fault| words(&fault))
            }
            EntryType::Char | EntryType::Block => Err("is a device".to_owned()),
            EntryType::Fifo => Err("is a pipe".to_owned()),
            EntryType::GNUSparse => Err("is a sparse file".to_owned()),
            _ => Err("is of a kind that is not known".to_owned()),
        }
    }

    fn zip_entry<R: Read + io::Seek>(
        &mut self,
        entry: &mut zip::read::ZipFile<'_, R>,
        path: &[u8],
    ) -> Result<(), String> {
        let Some(name) = self.name(path)? else {
            return Ok(());
        };
        let mode = entry.unix_mode();
        if path.ends_with(b"/") {
            return self.dir(name, mode.unwrap_or(0o755), now());
        }
        let mode = mode.unwrap_or(0o644);
        match mode & KIND {
            0 | KIND_FILE => self.file(&name, entry, mode, now()),
            KIND_LINK => {
                let mut target = Vec::new();
                let mut source = entry.take(LINK_LEN_MAX + 1);
                source
                    .read_to_end(&mut target)
                    .map_err(|error| error.to_string())?;
                self.link(&name, &target, now())
            }
            _ => Err("is a device, a pipe or a socket".to_owned()),
        }
    }

    fn attributes(&self, mode: u32, modified: i64) -> Attributes {
        let (uid, gid) = self.owner;
        let mode = mode & 0o777;
        Attributes {
            uid,
            gid,
            mode,
            modified,
        }
    }

    fn dir(&mut self, name: Name, mode: u32, modified: i64) -> Result<(), String> {
        let dir = self.tree.make_dir(&name).map_err(|fault| words(&fault))?;
        // Its owner must be able to make what comes in it.
        let attributes = self.attributes(mode | 0o700, modified);
        set_owner(dir.as_fd(), attributes).map_err(|fault| words(&fault))?;
        self.dirs.push((name, modified));
        Ok(())
    }

    fn file(
        &mut self,
        name: &Name,
        source: &mut impl Read,
        mode: u32,
        modified: i64,
    ) -> Result<(), String> {
        if mode & SET_ID != 0 {
            return Err("is a file that runs as its owner".to_owned());
        }
        let mut file = self.tree.make_file(name).map_err(|fault| words(&fault))?;
        loop {
            let len = match source.read(&mut self.chunk) {
                Ok(0) => break,
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("cannot be read: {error}")),
            };
            self.room.take(len)?;
            let bytes = self.chunk.get(..len).unwrap_or_default();
            file.write_all(bytes)
                .map_err(|error| format!("cannot be written: {error}"))?;
        }
        let attributes = self.attributes(mode | 0o400, modified);
        set_owner(file.as_fd(), attributes).map_err(|fault| words(&fault))?;
        set_time(file.as_fd(), modified).map_err(|fault| words(&fault))
    }

    /// A symbolic link. Only its first parts may lead upwards, and not out of the sandbox: its directory is a real one, so that is
    /// exact, and what it goes through further down is another link that stays inside.
    fn link(&mut self, name: &Name, target: &[u8], modified: i64) -> Result<(), String> {
        let mut down = false;
        let mut up = 0_usize;
        for part in target
            .split(|byte| *byte == b'/')
            .filter(|part| !matches!(*part, b"" | b"."))
        {
            match part {
                b".." if down => return Err("is a link that may leave the sandbox".to_owned()),
                b".." => up += 1,
                _ => down = true,
            }
        }
        if target.starts_with(b"/") || up >= name.parts().len() {
            return Err("is a link that leaves the sandbox".to_owned());
        }
        let attributes = self.attributes(0o777, modified);
        self.tree
            .make_symlink(name, target, attributes)
            .map_err(|fault| words(&fault))
    }

    fn finish(self) -> Result<(), String> {
        for (name, modified) in &self.dirs {
            self.tree
                .touch_dir(name, *modified)
                .map_err(|fault| words(&fault))?;
        }
        Ok(())
    }
}
