//! Mutations of a corpus from a seed: the same seed, the same inputs. What libFuzzer does by what it sees the program do,
//! this does blindly, for every test run.

/// Bytes of an input.
pub const LEN_MAX: usize = 4_096;

/// Numbers from a seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next number below this.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(number % end).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }
}

/// What grammars are made of, and where numbers end.
const WORDS: [&[u8]; 32] = [
    b"\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"18446744073709551615",
    b"18446744073709551616",
    b"4294967296",
    b"65536",
    b"-1",
    b"0",
    b"1e400",
    b"NaN",
    b"null",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u0000",
    b":",
    b",",
    b";",
    b"/",
    b"..",
    b"%",
    b"\r\n",
    b"\n\n",
    b"\xef\xbb\xbf",
    "\u{202e}".as_bytes(),
    "ä".as_bytes(),
    b"+",
    b" ",
];

/// An input of a corpus, changed in one to five places.
pub fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = pick(corpus, random).to_vec();
    for _ in 0..=random.below(5) {
        change(&mut input, corpus, random);
    }
    input.truncate(LEN_MAX);
    input
}

fn pick<'a>(corpus: &'a [Vec<u8>], random: &mut Random) -> &'a [u8] {
    let at = random.below(corpus.len());
    corpus.get(at).map(Vec::as_slice).unwrap_or_default()
}

fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let end = (at + 1 + random.below(8)).min(input.len());
    match random.below(8) {
        0 if at < input.len() => input[at] ^= 1 << random.below(8),
        1 if at < input.len() => input[at] = random.byte(),
        2 => {
            let word = WORDS[random.below(WORDS.len())];
            input.splice(at..at, word.iter().copied());
        }
        3 if at < end => {
            input.drain(at..end);
        }
        4 if at < end => {
            let again: Vec<u8> = input[at..end].repeat(1 + random.below(20));
            input.splice(at..at, again);
        }
        5 => {
            let other = pick(corpus, random);
            let from = random.below(other.len() + 1);
            let to = (from + random.below(40)).min(other.len());
            input.splice(at..end.max(at), other[from..to].iter().copied());
        }
        6 => input.truncate(at),
        _ => {
            let more: Vec<u8> = (0..random.below(9)).map(|_| random.byte()).collect();
            input.splice(at..at, more);
        }
    }
}
