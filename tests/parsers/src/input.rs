//! Bytes of the fuzzer as a supply of choices. When they are used up, every further choice is the first one, so that
//! whatever is built of them ends.

/// What is left of the bytes.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of these bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next byte; 0 at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => 0,
        }
    }

    /// A number below this; 0 at the end.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let high = if end > 256 { self.byte() } else { 0 };
        let number = usize::from(high) * 256 + usize::from(self.byte());
        number.checked_rem(end).unwrap_or(0)
    }

    /// Once in so often; never at the end.
    pub(crate) fn is_one_in(&mut self, often: usize) -> bool {
        self.below(often) + 1 == often
    }

    /// A number of eight bytes.
    pub(crate) fn number(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// One of these.
    pub(crate) fn choice<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len());
        from[at]
    }

    /// So many bytes, or what is left.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Bytes up to a length that they say themselves.
    pub(crate) fn some(&mut self, len_max: usize) -> &'a [u8] {
        let len = self.below(len_max + 1);
        self.take(len)
    }

    /// What is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
