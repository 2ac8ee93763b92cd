//! What is in an image archive: an index of its files, made without reading them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;

use tar::EntryType;

use super::digest::Digest;
use super::error::{Fault, shown};
use super::stream::{Allowance, Limited, Section, is_limit};
use crate::limits::{
    IMAGE_ARCHIVE_FILES_MAX, IMAGE_ENTRY_HEAD_LEN_MAX, IMAGE_JSON_LEN_MAX, IMAGE_PATH_LEN_MAX,
};

/// Links from one file of the archive to another that are followed (old `docker save` has one for a layer used twice).
const LINKS_MAX: usize = 8;
/// A tar archive ends with two blocks of zeros.
const END_LEN: usize = 1_024;
const BLOCK_LEN: u64 = 512;

/// An archive whose files can be read in any order.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    members: BTreeMap<String, Member>,
}

#[derive(Debug)]
enum Member {
    File { offset: u64, len: u64 },
    Link { target: String },
}

/// A file in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    offset: u64,
    /// Its size.
    pub(super) len: u64,
}

impl Archive {
    /// Reads the heads of all files, and checks that the archive is whole.
    pub(super) fn open(file: File) -> Result<Self, Fault> {
        let head = Allowance::new(0);
        let reader = Limited::new(BufReader::new(&file), head.clone());
        let mut tar = tar::Archive::new(reader);
        let mut members = BTreeMap::new();
        let mut entries = tar.entries_with_seek().map_err(|_| not_tar())?;
        loop {
            head.set(IMAGE_ENTRY_HEAD_LEN_MAX);
            let Some(entry) = entries.next() else { break };
            let entry = entry.map_err(|error| not_readable(&error, members.is_empty()))?;
            let Some((name, member)) = member(&entry) else {
                continue;
            };
            members.insert(name, member);
            if members.len() > IMAGE_ARCHIVE_FILES_MAX {
                return Err(Fault::TooLarge {
                    what: "the archive has too many files".to_owned(),
                    limit: IMAGE_ARCHIVE_FILES_MAX.to_string(),
                });
            }
        }
        let end = io::Seek::stream_position(&mut tar.into_inner().into_inner())
            .map_err(Fault::Unreadable)?;
        if !is_end(&file, end) {
            return Err(if members.is_empty() {
                not_tar()
            } else {
                Fault::Truncated
            });
        }
        Ok(Self { file, members })
    }

    /// The file of this name, if it is there.
    pub(super) fn find(&self, name: &str) -> Option<Part> {
        let mut name = normal(name)?;
        for _ in 0..=LINKS_MAX {
            match self.members.get(&name)? {
                Member::File { offset, len } => {
                    return Some(Part {
                        offset: *offset,
                        len: *len,
                    });
                }
                Member::Link { target } => name.clone_from(target),
            }
        }
        None
    }

    /// The same; it must be there.
    pub(super) fn get(&self, what: &'static str, name: &str) -> Result<Part, Fault> {
        self.find(name).ok_or_else(|| Fault::Missing {
            what,
            name: shown(name.as_bytes()),
        })
    }

    /// Where an OCI layout keeps content with this digest.
    pub(super) fn blob(&self, what: &'static str, digest: Digest) -> Result<Part, Fault> {
        self.get(what, &format!("blobs/sha256/{}", digest.hex()))
    }

    /// A reader of a file.
    pub(super) fn section(&self, part: Part) -> Section<'_> {
        Section::new(&self.file, part.offset, part.len)
    }

    /// All of a small file; with a digest, it must have that.
    pub(super) fn read(
        &self,
        what: &'static str,
        part: Part,
        digest: Option<Digest>,
    ) -> Result<Vec<u8>, Fault> {
        if part.len > IMAGE_JSON_LEN_MAX {
            return Err(Fault::TooLarge {
                what: format!("{what} has {} bytes", part.len),
                limit: format!("{IMAGE_JSON_LEN_MAX} bytes"),
            });
        }
        let mut bytes = Vec::new();
        self.section(part)
            .read_to_end(&mut bytes)
            .map_err(Fault::Unreadable)?;
        match digest {
            Some(digest) if Digest::of(&bytes) != digest => Err(Fault::WrongDigest {
                what: what.to_owned(),
                expected: digest.to_string(),
            }),
            _ => Ok(bytes),
        }
    }
}

/// What an entry is to us: names that nothing of an image can have are passed over.
fn member<R: io::Read>(entry: &tar::Entry<'_, R>) -> Option<(String, Member)> {
    let path = entry.path_bytes();
    if path.len() > IMAGE_PATH_LEN_MAX {
        return None;
    }
    let name = normal(std::str::from_utf8(&path).ok()?)?;
    let target = entry.link_name_bytes();
    let target = target.as_deref().and_then(|t| std::str::from_utf8(t).ok());
    let member = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => Member::File {
            offset: entry.raw_file_position(),
            len: entry.size(),
        },
        EntryType::Link => Member::Link {
            target: normal(target?)?,
        },
        EntryType::Symlink => Member::Link {
            target: normal(&match name.rsplit_once('/') {
                Some((directory, _)) => format!("{directory}/{}", target?),
                None => target?.to_owned(),
            })?,
        },
        _ => return None,
    };
    Some((name, member))
}

/// A name without `.` and `..`; none if it leads outside the archive.
fn normal(name: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Whether the archive really ends where reading has ended: behind the first block of zeros, before the second.
fn is_end(file: &File, end: u64) -> bool {
    let mut zeros = [1; END_LEN];
    let start = end.saturating_sub(BLOCK_LEN);
    file.read_exact_at(&mut zeros, start).is_ok() && zeros == [0; END_LEN]
}

fn not_tar() -> Fault {
    Fault::NotAnImage("it is not a tar archive".to_owned())
}

fn not_readable(error: &io::Error, is_first: bool) -> Fault {
    if is_limit(error) {
        return Fault::TooLarge {
            what: "the archive has a file with a name that is too long".to_owned(),
            limit: format!("{IMAGE_ENTRY_HEAD_LEN_MAX} bytes"),
        };
    }
    match (error.kind(), is_first) {
        (io::ErrorKind::UnexpectedEof, _) => Fault::Truncated,
        (_, true) => not_tar(),
        (_, false) => Fault::NotAnImage("it is damaged or truncated".to_owned()),
    }
}
