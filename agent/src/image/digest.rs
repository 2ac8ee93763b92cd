//! SHA-256 digests as images write them, and a reader that makes one of all that passes through it.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// SHA-256 of some content; in text `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Digest(pub(super) [u8; 32]);

impl Digest {
    /// Of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digits alone, as file names have them.
    pub(super) fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Reads what [`Self::hex`] writes.
    pub(super) fn from_hex(digits: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if digits.len() != 64 || !digits.bytes().all(is_digit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix("sha256:").ok_or(())?;
        Self::from_hex(digits).ok_or(())
    }
}

/// Makes a digest of all that is read through it.
pub(super) struct Hashing<R> {
    source: R,
    hash: Sha256,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            hash: Sha256::new(),
        }
    }

    /// Reads what is left; the digest of everything.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(Digest(self.hash.finalize().into()))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.hash.update(buffer.get(..len).unwrap_or_default());
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_standard_one_and_reads_back() {
        let digest = Digest::of(b"abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        let hashing = Hashing::new(&b"abc"[..]);
        assert_eq!(hashing.finish().unwrap(), digest);
    }

    #[test]
    fn what_is_not_a_digest_is_not_read() {
        let good = Digest::of(b"").to_string();
        let bad = [
            String::new(),
            good[7..].to_owned(),
            good[..70].to_owned(),
            format!("{good}0"),
            good.to_uppercase(),
            good.replace("sha256:", "sha512:"),
            format!("sha256:../{}", &good[10..]),
            format!("sha256:é{}", &good[9..]),
        ];
        for text in bad {
            assert_eq!(text.parse::<Digest>(), Err(()), "{text}");
        }
    }
}
