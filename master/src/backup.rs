//! What a backup looks like as a file, or as a stream of its bytes.
//!
//! ```text
//! PROFFER BACKUP 1\n      what it is, and the format's version
//! part, part, …           a head, pieces of what is durable, an end with the SHA-256 of all before it
//! ```
//!
//! A part is one letter (`H`, `P`, `E`), the length of its content and the CRC-32 of both, then the content and its CRC-32;
//! numbers are little-endian. So what is flipped or cut off is found where it is, before anything is made of it, and a length
//! is believed only when it is right. Reading takes anything, however large, at the cost of what it really holds.

use std::io::{self, ErrorKind, Read, Write};

use proffer_model::registry::Registry;
use proffer_model::{Problem, code};
use proffer_proto::{
    BackupCounts, BackupHead, decode_backup_end, decode_backup_head, decode_backup_piece,
    encode_backup_end, encode_backup_head, encode_backup_pieces,
};
use sha2::{Digest, Sha256};

use crate::limits::{BACKUP_PART_LEN_MAX, BACKUP_PIECE_LEN};
use crate::store::frame::checksum;

/// The first line, without the version.
const MAGIC: &[u8] = b"PROFFER BACKUP ";
/// The format's version.
const VERSION: u32 = 1;
/// Bytes of the first line at most.
const LINE_LEN_MAX: u64 = 32;
const HEAD: u8 = b'H';
const PIECE: u8 = b'P';
const END: u8 = b'E';

/// A whole backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// What it says of itself.
    pub head: BackupHead,
    /// What it holds.
    pub registry: Registry,
    /// SHA-256 of all that comes before its last part, as it says at its end.
    pub sha256: [u8; 32],
    /// Its length.
    pub bytes: u64,
}

/// Writes a backup of all this. After each piece `progress` is told how many records are written.
pub(crate) fn write<W: Write>(
    head: &BackupHead,
    registry: &Registry,
    out: W,
    mut progress: impl FnMut(&mut W, u64),
) -> io::Result<()> {
    let mut out = Hashed::new(out);
    out.write_all(MAGIC)?;
    out.write_all(format!("{VERSION}\n").as_bytes())?;
    write_part(&mut out, HEAD, &encode_backup_head(head))?;
    let mut written = 0;
    encode_backup_pieces(registry, BACKUP_PIECE_LEN, |piece, records| {
        write_part(&mut out, PIECE, &piece)?;
        written += records;
        progress(&mut out.inner, written);
        io::Result::Ok(())
    })?;
    let sha256 = out.sum.clone().finalize().into();
    write_part(&mut out, END, &encode_backup_end(sha256))?;
    out.inner.flush()
}

/// These parts, whatever they are, and the end that belongs to them.
pub(crate) fn join(parts: &[(u8, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut out = Hashed::new(Vec::new());
    out.write_all(MAGIC)?;
    out.write_all(format!("{VERSION}\n").as_bytes())?;
    for (kind, content) in parts {
        write_part(&mut out, *kind, content)?;
    }
    let sha256 = out.sum.clone().finalize().into();
    write_part(&mut out, END, &encode_backup_end(sha256))?;
    Ok(out.inner)
}

fn write_part(out: &mut impl Write, kind: u8, content: &[u8]) -> io::Result<()> {
    let too_long = |_| io::Error::new(ErrorKind::InvalidInput, "a part is too long");
    let length = u32::try_from(content.len()).map_err(too_long)?;
    let mut described = vec![kind];
    described.extend_from_slice(&length.to_le_bytes());
    out.write_all(&described)?;
    out.write_all(&checksum(&described).to_le_bytes())?;
    out.write_all(content)?;
    out.write_all(&checksum(content).to_le_bytes())
}

/// Reads a backup to its end, and everything in it. Errors: `backup.damaged`, `backup.newer`, `file.failed`.
pub fn read(from: impl Read) -> Result<Backup, Problem> {
    let mut from = Source::new(from);
    from.read_line()?;
    let (kind, content) = from.read_part()?;
    if kind != HEAD {
        return Err(from.damaged("its first part is no head"));
    }
    let head = decode_backup_head(&content).map_err(|problem| from.within(problem))?;
    let mut registry = Registry::default();
    let sha256 = loop {
        let before = from.sum();
        match from.read_part()? {
            (PIECE, content) => {
                let added = decode_backup_piece(&content, &mut registry);
                added.map_err(|problem| from.within(problem))?;
            }
            (END, content) => {
                let said = decode_backup_end(&content).map_err(|problem| from.within(problem))?;
                if said != before {
                    return Err(from.damaged("its checksum is not that of what it holds"));
                }
                break said;
            }
            _ => return Err(from.damaged("it holds a part of a kind that does not belong there")),
        }
    };
    from.read_end()?;
    if BackupCounts::of(&registry) != head.counts {
        return Err(from.damaged("it does not hold as much as it says"));
    }
    Ok(Backup {
        head,
        registry,
        sha256,
        bytes: from.at,
    })
}

/// Counts and sums up what is read.
struct Source<R> {
    from: R,
    at: u64,
    sum: Sha256,
}

impl<R: Read> Source<R> {
    fn new(from: R) -> Self {
        Self {
            from,
            at: 0,
            sum: Sha256::new(),
        }
    }

    fn sum(&self) -> [u8; 32] {
        self.sum.clone().finalize().into()
    }

    fn damaged(&self, why: &str) -> Problem {
        let message = format!("the backup is damaged: at byte {}: {why}", self.at);
        Problem::new(code::BACKUP_DAMAGED, message)
            .hint("use another backup, or another copy of this one")
    }

    /// The same problem, with the place.
    fn within(&self, problem: Problem) -> Problem {
        let message = format!("before byte {}: {}", self.at, problem.message);
        Problem { message, ..problem }
    }

    /// So many bytes, or what there is of them.
    fn read_some(&mut self, len: u64) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        let read = self.from.by_ref().take(len).read_to_end(&mut bytes);
        read.map_err(|error| {
            let message = format!("the backup cannot be read: {error}");
            Problem::new(code::FILE_FAILED, message)
        })?;
        self.at = self
            .at
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn read_exactly(&mut self, len: u64) -> Result<Vec<u8>, Problem> {
        let bytes = self.read_some(len)?;
        match u64::try_from(bytes.len()).is_ok_and(|read| read == len) {
            true => Ok(bytes),
            false => Err(self.damaged("it ends here, in the middle: it was cut short")),
        }
    }

    fn read_number(&mut self) -> Result<u32, Problem> {
        let bytes = self.read_exactly(4)?;
        let number = bytes.first_chunk::<4>();
        Ok(number.map_or(0, |number| u32::from_le_bytes(*number)))
    }

    /// The first line.
    fn read_line(&mut self) -> Result<(), Problem> {
        let mut line = Vec::new();
        for _ in 0..LINE_LEN_MAX {
            let byte = self.read_some(1)?;
            if byte.is_empty() || byte == b"\n" {
                break;
            }
            line.extend(byte);
        }
        let version = line.strip_prefix(MAGIC).map(String::from_utf8_lossy);
        match version.map(|version| version.parse::<u32>()) {
            Some(Ok(VERSION)) => Ok(()),
            Some(Ok(version)) if version > VERSION => {
                let message = format!(
                    "a newer version wrote the backup: it has format {version}, and this one knows {VERSION}"
                );
                Err(Problem::new(code::BACKUP_NEWER, message)
                    .hint("restore it with the version that wrote it, or a later one"))
            }
            _ => {
                let message = "this is no backup: it does not begin as one does";
                Err(Problem::new(code::BACKUP_DAMAGED, message)
                    .hint("name a file that `proffer backup` has written"))
            }
        }
    }

    /// A part, whole and as it was written.
    fn read_part(&mut self) -> Result<(u8, Vec<u8>), Problem> {
        let described = self.read_exactly(5)?;
        if checksum(&described) != self.read_number()? {
            return Err(self.damaged("the checksum of a part's head is wrong"));
        }
        let (kind, length) = match described.as_slice() {
            [kind, a, b, c, d] => (*kind, u32::from_le_bytes([*a, *b, *c, *d])),
            _ => return Err(self.damaged("a part has no head")),
        };
        if length > BACKUP_PART_LEN_MAX {
            return Err(self.damaged("a part is longer than parts can be"));
        }
        let content = self.read_exactly(length.into())?;
        if checksum(&content) != self.read_number()? {
            return Err(self.damaged("the checksum of a part is wrong"));
        }
        Ok((kind, content))
    }

    fn read_end(&mut self) -> Result<(), Problem> {
        match self.read_some(1)?.is_empty() {
            true => Ok(()),
            false => Err(self.damaged("it goes on behind its end")),
        }
    }
}

/// Sums up what is written.
struct Hashed<W> {
    inner: W,
    sum: Sha256,
}

impl<W> Hashed<W> {
    fn new(inner: W) -> Self {
        let sum = Sha256::new();
        Self { inner, sum }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
