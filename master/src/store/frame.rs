//! What a file of the file store looks like: a head with length and checksums, then the payload.
//!
//! The head has a checksum of its own, so that a flipped bit in the length is never mistaken for a file that was cut
//! short: only the latter may be an entry that was never acknowledged.

/// The first bytes of every file.
const MAGIC: [u8; 7] = *b"PROFFER";
/// The format's version, the byte after [`MAGIC`].
pub(crate) const VERSION: u8 = 1;
/// Bytes before the payload: magic, version, length, checksum of these, checksum of the payload.
const HEAD_LEN: usize = 8 + 8 + 4 + 4;

/// What a file's bytes turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Whole.
    Whole(Vec<u8>),
    /// The beginning of a frame, cut short.
    Incomplete,
    /// Of a later format.
    Newer(u8),
    /// Not what was written; why.
    Damaged(&'static str),
}

/// The bytes of a file with this payload.
pub(crate) fn encode(payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_LEN + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.push(VERSION);
    let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
    bytes.extend_from_slice(&checksum(payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads a file's bytes.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    if !bytes.iter().zip(&MAGIC).all(|(a, b)| a == b) {
        return Parsed::Damaged("it does not begin as a file of the store does");
    }
    if let Some(version) = bytes.get(MAGIC.len())
        && *version != VERSION
    {
        return Parsed::Newer(*version);
    }
    let Some((head, payload)) = bytes.split_at_checked(HEAD_LEN) else {
        return Parsed::Incomplete;
    };
    let (described, sums) = head.split_at(16);
    let (head_sum, payload_sum) = sums.split_at(4);
    if checksum(described).to_le_bytes() != head_sum {
        return Parsed::Damaged("the checksum of its head is wrong");
    }
    let length = described
        .last_chunk::<8>()
        .map_or(0, |length| u64::from_le_bytes(*length));
    match u64::try_from(payload.len())
        .unwrap_or(u64::MAX)
        .cmp(&length)
    {
        std::cmp::Ordering::Less => Parsed::Incomplete,
        std::cmp::Ordering::Greater => Parsed::Damaged("it is longer than it says"),
        std::cmp::Ordering::Equal if checksum(payload).to_le_bytes() != payload_sum => {
            Parsed::Damaged("its checksum is wrong")
        }
        std::cmp::Ordering::Equal => Parsed::Whole(payload.to_vec()),
    }
}

/// CRC-32 as in Ethernet and zip.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        (sum >> 8)
            ^ TABLE
                .get(usize::from(low ^ byte))
                .copied()
                .unwrap_or_default()
    })
}

const TABLE: [u32; 256] = table();

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated while compiling; the index stays below 256"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = index as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0xEDB8_8320
            } else {
                sum >> 1
            };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_one() {
        assert_eq!(checksum(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn every_cut_is_incomplete_and_every_flip_is_found() {
        let whole = encode(b"some payload");
        assert_eq!(parse(&whole), Parsed::Whole(b"some payload".to_vec()));
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), Parsed::Incomplete, "cut at {cut}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << bit;
                let parsed = parse(&flipped);
                let is_found = matches!(parsed, Parsed::Damaged(_) | Parsed::Newer(_));
                assert!(is_found, "bit {bit} of byte {at}: {parsed:?}");
            }
        }
        let mut longer = whole;
        longer.push(0);
        assert!(matches!(parse(&longer), Parsed::Damaged(_)));
    }
}
