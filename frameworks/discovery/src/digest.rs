//! A short name for a text: FNV-1a with 64 bits.
//!
//! It tells whether HAProxy runs the configuration that was written, and gives server ids that stay the same. It protects
//! against nothing: no decision about who may do what rests on it.

use std::fmt;

/// A digest, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(u64);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
    }

    /// The number.
    pub fn value(self) -> u64 {
        self.0
    }

    /// Reads the 16 digits.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| u64::from_str_radix(text, 16).ok().map(Self))
            .flatten()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_and_read() {
        // The published test vector of FNV-1a 64 for "a".
        let digest = Digest::of(b"a");
        assert_eq!(digest.to_string(), "af63dc4c8601ec8c");
        assert_eq!(Digest::parse("af63dc4c8601ec8c"), Some(digest));
        assert_eq!(Digest::parse("af63"), None);
        assert_eq!(Digest::parse("+f63dc4c8601ec8c"), None);
    }
}
