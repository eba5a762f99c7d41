//! Ids that kernels choose, and their scores: in one buffer, so that the host reads both back at once.

use crate::Cuda;
use crate::driver::Result;
use crate::memory::Buffer;

/// Room for ids and for as many scores.
pub(crate) struct Chosen {
    /// The ids, and then the bits of the scores.
    words: Buffer<u32>,
    count: usize,
}

impl Chosen {
    /// Room for `count` ids and scores, which are not defined yet.
    pub(super) fn new(cuda: &Cuda, count: usize) -> Result<Self> {
        Ok(Self { words: cuda.buffer(2 * count)?, count })
    }

    /// Where a kernel writes the ids, u32.
    pub(super) fn ids(&mut self) -> u64 {
        self.words.address()
    }

    /// Where a kernel writes the scores, f32.
    pub(super) fn scores(&mut self) -> u64 {
        self.words.address() + self.count as u64 * size_of::<u32>() as u64
    }

    /// Waits for them: ids and scores.
    pub(crate) fn download(&self) -> Result<(Vec<u32>, Vec<f32>)> {
        let mut ids = self.words.download()?;
        let scores = ids.split_off(self.count).into_iter().map(f32::from_bits).collect();
        Ok((ids, scores))
    }
}
