//! Ids that kernels choose, and their scores: in one buffer, so that the host reads both back at once.

use crate::Cuda;
use crate::driver::Result;
use crate::memory::{Buffer, Landing};

/// Room for ids and for as many scores.
pub(crate) struct Chosen {
    /// The ids, and then the bits of the scores.
    words: Buffer<u32>,
    count: usize,
    /// Their copy to the host, where it has been asked for.
    landing: Option<Landing>,
}

impl Chosen {
    /// Room for `count` ids and scores, which are not defined yet.
    pub(super) fn new(cuda: &Cuda, count: usize) -> Result<Self> {
        Ok(Self { words: cuda.buffer(2 * count)?, count, landing: None })
    }

    /// How many there are of each.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Where the ids are, u32.
    pub(super) fn ids(&self) -> u64 {
        self.words.address()
    }

    /// Where the scores are, f32.
    pub(super) fn scores(&self) -> u64 {
        self.words.address() + self.count as u64 * size_of::<u32>() as u64
    }

    /// Asks for their copy to the host, behind what was asked for before, so that [`download`](Self::download) waits for
    /// nothing that is asked for from now on. Where they are too many for that, it waits for all.
    pub(crate) fn land(&mut self) -> Result<()> {
        self.landing = self.words.land()?;
        Ok(())
    }

    /// Waits for them: ids and scores.
    pub(crate) fn download(&self) -> Result<(Vec<u32>, Vec<f32>)> {
        let mut ids = match &self.landing {
            Some(landing) => landing.wait()?,
            None => self.words.download()?,
        };
        let scores = ids.split_off(self.count).into_iter().map(f32::from_bits).collect();
        Ok((ids, scores))
    }
}
