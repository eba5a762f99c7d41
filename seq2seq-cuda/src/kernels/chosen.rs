//! Ids that kernels choose, and their scores: in one buffer, so that the host reads all of it back at once.

use crate::Cuda;
use crate::driver::Result;
use crate::memory::{Buffer, Landing};
use std::sync::Arc;

/// Room for ids and for as many scores; and where a beam search goes on with some of them, for an id and a parent of each
/// hypothesis that does.
pub(crate) struct Chosen {
    /// The ids, the bits of the scores, and then the ids and the parents of those that go on.
    words: Buffer<u32>,
    sizes: Sizes,
    /// Their copy to the host, where it has been asked for.
    landing: Option<Arc<Landing>>,
}

#[derive(Clone, Copy)]
struct Sizes {
    /// Ids.
    count: usize,
    /// Hypotheses that go on where a beam search says which; else 0.
    next: usize,
}

/// A copy to the host that has been asked for. It does not keep what it is a copy of.
pub(crate) struct Landed {
    landing: Arc<Landing>,
    sizes: Sizes,
}

/// What was chosen, on the host.
pub(crate) struct Words {
    pub(crate) ids: Vec<u32>,
    pub(crate) scores: Vec<f32>,
    /// The id and the parent of each hypothesis that goes on.
    pub(crate) next: Vec<u32>,
    pub(crate) parents: Vec<usize>,
}

impl Chosen {
    /// Room for `count` ids and scores, and for `next` hypotheses that go on, which are not defined yet.
    pub(super) fn new(cuda: &Cuda, count: usize, next: usize) -> Result<Self> {
        let words = cuda.buffer(2 * (count + next))?;
        Ok(Self { words, sizes: Sizes { count, next }, landing: None })
    }

    /// How many ids there are.
    pub(crate) fn count(&self) -> usize {
        self.sizes.count
    }

    /// Hypotheses of the next step, each of which has an id.
    pub(crate) fn hypotheses(&self) -> usize {
        if self.sizes.next == 0 { self.sizes.count } else { self.sizes.next }
    }

    /// How many of them continue others; 0 where each continues itself.
    pub(crate) fn next(&self) -> usize {
        self.sizes.next
    }

    /// Where the ids are, u32.
    pub(super) fn ids(&self) -> u64 {
        self.words.address()
    }

    /// Where the scores are, f32.
    pub(super) fn scores(&self) -> u64 {
        self.words.at(self.sizes.count)
    }

    /// Where the ids are that the hypotheses of the next step begin with, u32.
    pub(super) fn next_ids(&self) -> u64 {
        if self.sizes.next == 0 { self.ids() } else { self.words.at(2 * self.sizes.count) }
    }

    /// Where the parents are, u32.
    pub(crate) fn parents(&self) -> u64 {
        self.words.at(2 * self.sizes.count + self.sizes.next)
    }

    /// Asks for their copy to the host, behind what was asked for before, so that [`download`](Self::download) waits for
    /// nothing that is asked for from now on. Where they are too many for that, it waits for all.
    pub(crate) fn land(&mut self) -> Result<()> {
        self.landing = self.words.land()?.map(Arc::new);
        Ok(())
    }

    /// The copy, where it has been asked for.
    pub(crate) fn landed(&self) -> Option<Landed> {
        let landing = self.landing.as_ref().map(Arc::clone)?;
        Some(Landed { landing, sizes: self.sizes })
    }

    /// Waits for them.
    pub(crate) fn download(&self) -> Result<Words> {
        match self.landed() {
            Some(landed) => landed.download(),
            None => Ok(self.sizes.split(self.words.download()?)),
        }
    }
}

impl Landed {
    /// Waits for them.
    pub(crate) fn download(&self) -> Result<Words> {
        Ok(self.sizes.split(self.landing.wait()?))
    }
}

impl Sizes {
    fn split(self, mut ids: Vec<u32>) -> Words {
        let parents = ids.split_off(2 * self.count + self.next);
        let next = ids.split_off(2 * self.count);
        let scores = ids.split_off(self.count).into_iter().map(f32::from_bits).collect();
        let parents = parents.into_iter().map(|parent| parent as usize).collect();
        Words { ids, scores, next, parents }
    }
}
