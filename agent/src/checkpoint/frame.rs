//! Records of checkpoint files: four bytes of length, four of CRC-32 (IEEE, over length and content), the content; numbers
//! little-endian. A record is written by one write, so at most the last one can be torn.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::limits::RECORD_LEN_MAX;

const HEAD_LEN: usize = 8;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Records<'a> {
    /// Whole records, and how many bytes they are; what follows is torn.
    Good {
        /// Their contents.
        contents: Vec<&'a [u8]>,
        /// The bytes up to the end of the last.
        len: usize,
    },
    /// A record that is not whole has whole ones behind it: this is no torn end.
    Damaged {
        /// Where it begins.
        offset: usize,
    },
}

/// Reads the records of a file one by one, so that no more than one of them is in memory.
#[derive(Debug)]
pub(crate) struct Reader {
    file: BufReader<File>,
    /// The bytes of the whole records that were read.
    offset: u64,
    len: u64,
}

/// What follows the whole records of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// What was torn, or nothing.
    Torn {
        /// The bytes of the whole records.
        len: u64,
        /// The bytes that follow.
        rest: u64,
    },
    /// Whole records, or more than one that is torn could leave: as [`Records::Damaged`].
    Damaged {
        /// Where the one begins that is not whole.
        offset: u64,
    },
}

impl Reader {
    /// Opens the file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            file: BufReader::new(file),
            offset: 0,
            len,
        })
    }

    /// The content of the next record, up to the first that is not whole.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let rest = self.len - self.offset;
        if rest < HEAD_LEN as u64 {
            return Ok(None);
        }
        let (mut len, mut crc) = ([0; 4], [0; 4]);
        self.file.read_exact(&mut len)?;
        self.file.read_exact(&mut crc)?;
        let count = u32::from_le_bytes(len);
        let size = HEAD_LEN as u64 + u64::from(count);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count == 0 || count > RECORD_LEN_MAX || size > rest {
            return Ok(None);
        }
        let mut content = vec![0; count];
        self.file.read_exact(&mut content)?;
        if crc32([&len, &content]) != u32::from_le_bytes(crc) {
            return Ok(None);
        }
        self.offset += size;
        Ok(Some(content))
    }

    /// What follows the records that were read.
    pub(crate) fn end(mut self) -> io::Result<End> {
        let (offset, rest) = (self.offset, self.len - self.offset);
        let mut bytes = Vec::new();
        if rest <= (HEAD_LEN + RECORD_LEN_MAX) as u64 {
            self.file.seek(SeekFrom::Start(offset))?;
            self.file.take(rest).read_to_end(&mut bytes)?;
            if let Records::Good { .. } = decode(&bytes) {
                return Ok(End::Torn { len: offset, rest });
            }
        }
        Ok(End::Damaged { offset })
    }
}

/// One record.
pub(crate) fn encode(content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    let crc = crc32([&len[..], content]).to_le_bytes();
    [&len[..], &crc[..], content].concat()
}

/// All records of a file.
pub(crate) fn decode(bytes: &[u8]) -> Records<'_> {
    let mut contents = Vec::new();
    let mut offset = 0;
    while let Some(content) = record_at(bytes, offset) {
        contents.push(content);
        offset += HEAD_LEN + content.len();
    }
    let is_torn_end = (offset + 1..bytes.len()).all(|place| record_at(bytes, place).is_none());
    if is_torn_end {
        Records::Good {
            contents,
            len: offset,
        }
    } else {
        Records::Damaged { offset }
    }
}

/// The content of a file that is one record.
pub(crate) fn decode_one(bytes: &[u8]) -> Option<&[u8]> {
    record_at(bytes, 0).filter(|content| HEAD_LEN + content.len() == bytes.len())
}

/// The content of the record that begins there, if one does. There is none without content: a file system may leave
/// zeros where a write was lost, and they must not pass for a record.
fn record_at(bytes: &[u8], offset: usize) -> Option<&[u8]> {
    let rest = bytes.get(offset..)?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    if count == 0 || count > RECORD_LEN_MAX {
        return None;
    }
    let content = rest.get(..count)?;
    (crc32([len, content]) == u32::from_le_bytes(*crc)).then_some(content)
}

/// CRC-32 as in Ethernet and zip.
fn crc32(parts: [&[u8]; 2]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.into_iter().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let is_odd = crc & 1 == 1;
            crc >>= 1;
            if is_odd {
                crc ^= 0xedb8_8320;
            }
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_one() {
        assert_eq!(crc32([b"1234", b"56789"]), 0xcbf4_3926);
    }

    #[test]
    fn a_record_has_the_bytes_of_version_1() {
        assert_eq!(
            encode(b"ab"),
            [2, 0, 0, 0, 0x3a, 0x5a, 0x50, 0x23, b'a', b'b']
        );
    }

    #[test]
    fn a_file_torn_at_any_byte_keeps_its_whole_records() {
        let parts: [&[u8]; 3] = [b"one", b"twenty-two", b"three"];
        let records: Vec<Vec<u8>> = parts.iter().map(|part| encode(part)).collect();
        let file = records.concat();
        for end in 0..=file.len() {
            for zeros in [0, 1, 7, 100] {
                let torn = [&file[..end], &vec![0; zeros][..]].concat();
                let whole = (0..=3)
                    .rev()
                    .find(|n| records[..*n].concat().len() <= end)
                    .unwrap();
                let expected = Records::Good {
                    contents: parts[..whole].to_vec(),
                    len: records[..whole].concat().len(),
                };
                assert_eq!(decode(&torn), expected, "torn at {end}, {zeros} zeros");
            }
        }
    }

    #[test]
    fn damage_before_a_whole_record_is_told_from_a_torn_end() {
        let (first, second) = (encode(b"first"), encode(b"second"));
        let file = [&first[..], &second[..]].concat();
        for place in 0..file.len() {
            let mut bytes = file.clone();
            bytes[place] ^= 0x10;
            match decode(&bytes) {
                Records::Damaged { offset } => assert_eq!(offset, 0, "flipped at {place}"),
                Records::Good { contents, .. } => {
                    assert!(place >= first.len(), "flipped at {place} went unnoticed");
                    assert_eq!(contents, [b"first"]);
                }
            }
        }
    }

    #[test]
    fn read_one_by_one_a_file_holds_the_same_records_and_the_same_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let (first, second) = (encode(b"first"), encode(b"second"));
        let file = [&first[..], &second[..]].concat();
        let check = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let mut reader = Reader::open(&path).unwrap();
            let mut found = Vec::new();
            while let Some(content) = reader.next().unwrap() {
                found.push(content);
            }
            match (decode(bytes), reader.end().unwrap()) {
                (Records::Good { contents, len }, End::Torn { len: read, rest }) => {
                    assert_eq!(found, contents);
                    assert_eq!((read, read + rest), (len as u64, bytes.len() as u64));
                }
                (Records::Damaged { offset }, End::Damaged { offset: found }) => {
                    assert_eq!(found, offset as u64);
                }
                (whole, read) => panic!("{whole:?} and {read:?}"),
            }
        };
        for end in 0..=file.len() {
            check(&file[..end]);
            check(&[&file[..end], &[0; 100]].concat());
        }
        for place in 0..file.len() {
            let mut bytes = file.clone();
            bytes[place] ^= 0x10;
            check(&bytes);
        }
    }

    #[test]
    fn one_record_is_all_or_nothing() {
        let file = encode(b"all");
        assert_eq!(decode_one(&file), Some(&b"all"[..]));
        for end in 0..file.len() {
            assert_eq!(decode_one(&file[..end]), None);
        }
        assert_eq!(decode_one(&[&file[..], &[0]].concat()), None);
    }
}
