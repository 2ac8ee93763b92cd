//! Reading a file of an image as its containers will see it: through all layers, whiteouts and links, and never outside.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::tree::OPAQUE;
use crate::limits::IMAGE_STEPS_MAX;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// What a name is.
enum Seen {
    Nothing,
    /// From the top.
    Dirs(Vec<OwnedFd>),
    File(File),
    Link(Vec<u8>),
    Other,
}

/// The content of a file, if it is there; an error when it is longer than this. Layers are from the bottom.
pub(super) fn read(layers: &[PathBuf], path: &str, len_max: u64) -> io::Result<Option<Vec<u8>>> {
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        let parts = path.split(|byte| *byte == b'/').rev();
        parts.map(<[u8]>::to_vec).collect()
    };
    // Components, the next one last.
    let mut ahead = parts(path.as_bytes());
    let mut behind: Vec<Vec<u8>> = Vec::new();
    for _ in 0..IMAGE_STEPS_MAX {
        let Some(part) = ahead.pop() else {
            return Ok(None);
        };
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                behind.pop();
                continue;
            }
            _ => {}
        }
        match look(&dirs(layers, &behind)?, &part)? {
            Seen::Dirs(_) => behind.push(part),
            Seen::Link(target) => {
                if target.starts_with(b"/") {
                    behind.clear();
                }
                ahead.extend(parts(&target));
            }
            Seen::File(file) if ahead.is_empty() => return read_file(file, len_max).map(Some),
            Seen::Nothing | Seen::File(_) | Seen::Other => return Ok(None),
        }
    }
    Ok(None)
}

fn read_file(file: File, len_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(len_max.saturating_add(1))
        .read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|len| len <= len_max) {
        Ok(content)
    } else {
        Err(io::Error::other("it is too large"))
    }
}

/// The directories that one path is, from the top. Each component was seen to be one.
fn dirs(layers: &[PathBuf], path: &[Vec<u8>]) -> io::Result<Vec<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let roots = layers.iter().rev();
    let mut dirs = roots
        .map(|layer| rustix::fs::open(layer, flags, Mode::empty()))
        .collect::<Result<Vec<OwnedFd>, Errno>>()?;
    for part in path {
        dirs = match look(&dirs, part)? {
            Seen::Dirs(dirs) => dirs,
            Seen::Nothing | Seen::File(_) | Seen::Link(_) | Seen::Other => Vec::new(),
        };
    }
    Ok(dirs)
}

fn look(dirs: &[OwnedFd], name: &[u8]) -> io::Result<Seen> {
    let mut found = Vec::new();
    for dir in dirs {
        let kind = match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let next = rustix::fs::openat2(dir, name, flags, Mode::empty(), BENEATH)?;
            let is_opaque = is_opaque(&next);
            found.push(next);
            if is_opaque {
                break;
            }
        } else if !found.is_empty() {
            // A directory above hides whatever is not one.
            break;
        } else if kind == FileType::RegularFile {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat2(dir, name, flags, Mode::empty(), BENEATH)?;
            return Ok(Seen::File(file.into()));
        } else if kind == FileType::Symlink {
            let target = rustix::fs::readlinkat(dir.as_fd(), name, Vec::new())?;
            return Ok(Seen::Link(target.into_bytes()));
        } else if kind == FileType::CharacterDevice {
            return Ok(Seen::Nothing);
        } else {
            return Ok(Seen::Other);
        }
    }
    Ok(if found.is_empty() {
        Seen::Nothing
    } else {
        Seen::Dirs(found)
    })
}

fn is_opaque(dir: &OwnedFd) -> bool {
    let mut value = [0; 1];
    let len = rustix::fs::fgetxattr(dir, OPAQUE, &mut value);
    len == Ok(1) && value == *b"y"
}
