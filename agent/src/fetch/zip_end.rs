//! What the end of a zip archive says of its directory, before anybody reads that directory and keeps what is in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bytes of the record at the end, without its comment, and of the longest comment.
const END_LEN: usize = 22;
const COMMENT_LEN_MAX: usize = 65_535;
const END: &[u8] = b"PK\x05\x06";
/// Before it, in large archives, is where the record of such ones is.
const LOCATOR_LEN: usize = 20;
const LOCATOR: &[u8] = b"PK\x06\x07";
const LARGE_END_LEN: usize = 56;
const LARGE_END: &[u8] = b"PK\x06\x06";

/// How large a directory is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) entries: u64,
    /// In bytes.
    pub(super) len: u64,
}

/// What the last record says; nothing when there is none, or it refers to what is not there.
pub(super) fn read(file: &File) -> io::Result<Option<End>> {
    let file_len = file.metadata()?.len();
    let most = u64::try_from(END_LEN + COMMENT_LEN_MAX + LOCATOR_LEN).unwrap_or(u64::MAX);
    let tail_len = file_len.min(most);
    let mut tail = vec![0; usize::try_from(tail_len).unwrap_or_default()];
    file.read_exact_at(&mut tail, file_len.saturating_sub(tail_len))?;
    let Some(at) = tail.windows(END_LEN).rposition(|end| end.starts_with(END)) else {
        return Ok(None);
    };
    let (before, end) = tail.split_at(at);
    let small = End {
        entries: number(end, 10, 2),
        len: number(end, 12, 4),
    };
    let locator = before.len().checked_sub(LOCATOR_LEN);
    let locator = locator.and_then(|at| before.get(at..));
    let Some(locator) = locator.filter(|locator| locator.starts_with(LOCATOR)) else {
        return Ok(Some(small));
    };
    let mut large = [0; LARGE_END_LEN];
    match file.read_exact_at(&mut large, number(locator, 8, 8)) {
        Ok(()) if large.starts_with(LARGE_END) => Ok(Some(End {
            entries: number(&large, 32, 8).max(small.entries),
            len: number(&large, 40, 8),
        })),
        // It may begin elsewhere, behind another file: whoever reads it looks for it, within limits.
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// A number of so many bytes, the least first.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let bytes = bytes.iter().skip(at).take(len);
    bytes
        .rev()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn said(bytes: &[u8]) -> Option<End> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("written");
        read(&file).expect("read")
    }

    fn end(entries: u16, len: u32) -> Vec<u8> {
        let mut end = [END, &[0; 6]].concat();
        end.extend(entries.to_le_bytes());
        end.extend(len.to_le_bytes());
        end.extend([0; 6]);
        end
    }

    #[test]
    fn the_last_record_says_how_large_the_directory_is() {
        assert_eq!(said(b""), None);
        assert_eq!(said(b"PK\x03\x04"), None);
        let small = End {
            entries: 7,
            len: 400,
        };
        assert_eq!(said(&end(7, 400)), Some(small));
        let with_comment = [
            b"before".to_vec(),
            end(9, 1),
            end(7, 400),
            b"words".to_vec(),
        ];
        assert_eq!(said(&with_comment.concat()), Some(small));
    }

    #[test]
    fn that_of_a_large_archive_is_where_the_locator_says() {
        let mut large = [LARGE_END, &[0; 28]].concat();
        large.extend(5_000_000_u64.to_le_bytes());
        large.extend(600_000_000_u64.to_le_bytes());
        large.extend([0; 8]);
        let archive = |at: u64| {
            let mut archive = [b"xyz".as_slice(), &large, LOCATOR, &[0; 4]].concat();
            archive.extend(at.to_le_bytes());
            archive.extend([0; 4]);
            archive.extend(end(u16::MAX, u32::MAX));
            archive
        };
        let found = End {
            entries: 5_000_000,
            len: 600_000_000,
        };
        assert_eq!(said(&archive(3)), Some(found));
        assert_eq!(said(&archive(4)), None);
        assert_eq!(said(&archive(1 << 40)), None);
    }
}
