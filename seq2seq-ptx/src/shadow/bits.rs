//! One bit for each byte of a memory.

/// One bit for each byte of a memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// All zero, for so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(vec![0; bytes.div_ceil(64)])
    }

    /// Makes room for so many bytes.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.0.resize(self.0.len().max(bytes.div_ceil(64)), 0);
    }

    /// The words that a range touches, each with the bits of the range.
    fn spans(at: usize, length: usize) -> impl Iterator<Item = (usize, u64)> {
        let end = at + length;
        (at / 64..end.div_ceil(64)).map(move |word| {
            let (from, to) = (at.max(word * 64) - word * 64, end.min(word * 64 + 64) - word * 64);
            let mask = if to - from == 64 { u64::MAX } else { ((1 << (to - from)) - 1) << from };
            (word, mask)
        })
    }

    pub(crate) fn set(&mut self, at: usize, length: usize) {
        Self::spans(at, length).for_each(|(word, mask)| self.0[word] |= mask);
    }

    pub(crate) fn clear(&mut self, at: usize, length: usize) {
        Self::spans(at, length).for_each(|(word, mask)| self.0[word] &= !mask);
    }

    pub(crate) fn get(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    /// The first byte of a range whose bit is zero.
    pub(crate) fn first_clear(&self, at: usize, length: usize) -> Option<usize> {
        Self::spans(at, length).find_map(|(word, mask)| {
            let missing = !self.0[word] & mask;
            (missing != 0).then(|| word * 64 + missing.trailing_zeros() as usize)
        })
    }

    /// The first byte of a range whose bit is one.
    pub(crate) fn first_set(&self, at: usize, length: usize) -> Option<usize> {
        Self::spans(at, length).find_map(|(word, mask)| {
            let found = self.0[word] & mask;
            (found != 0).then(|| word * 64 + found.trailing_zeros() as usize)
        })
    }
}
