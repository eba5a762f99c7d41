//! The state of a decoding.

use super::attention::Memory;
use crate::Result;
use seq2seq_core::{Ragged, SeqBackend};

/// Where the hypotheses stand, and what they attend to.
pub(super) struct State<B: SeqBackend> {
    pub(super) moving: Moving<B>,
    pub(super) memory: Option<Memory<B>>,
    /// How the encoder's rows divide into sources.
    pub(super) source_rows: Ragged,
}

/// What changes from step to step, a row a hypothesis.
pub(super) struct Moving<B: SeqBackend> {
    /// Of each layer.
    pub(super) layers: Vec<B::Tensor>,
    /// What the next step reads beside its embedding, where it need not be asked for.
    pub(super) fed: Option<B::Tensor>,
    /// The source of each hypothesis.
    pub(super) sources: Vec<usize>,
}

impl<B: SeqBackend> Moving<B> {
    /// No hypotheses: what stands in the place of one that has been taken away.
    pub(super) fn none() -> Self {
        Self { layers: Vec::new(), fed: None, sources: Vec::new() }
    }

    /// The hypotheses `places`, in this order.
    pub(super) fn gather(&self, backend: &B, places: &[usize]) -> Result<Self> {
        let gather = |x| backend.gather_rows(x, places);
        Ok(Self {
            layers: self.layers.iter().map(gather).collect::<seq2seq_core::Result<_>>()?,
            fed: self.fed.as_ref().map(gather).transpose()?,
            sources: places.iter().map(|&place| self.sources[place]).collect(),
        })
    }

    /// The hypotheses of `parts` in turn.
    fn stack(backend: &B, parts: &[&Self]) -> Result<Self> {
        let stack = |of: &dyn Fn(&Self) -> Option<&B::Tensor>| {
            let tensors: Option<Vec<&B::Tensor>> = parts.iter().map(|part| of(part)).collect();
            tensors.map(|tensors| backend.stack_rows(&tensors)).transpose()
        };
        let depth = parts.first().map_or(0, |part| part.layers.len());
        let layers = (0..depth).filter_map(|l| stack(&|part| part.layers.get(l)).transpose());
        Ok(Self {
            layers: layers.collect::<seq2seq_core::Result<_>>()?,
            fed: stack(&|part| part.fed.as_ref())?,
            sources: parts.iter().flat_map(|part| &part.sources).copied().collect(),
        })
    }

    /// Puts hypotheses together again: each part comes with the numbers of its hypotheses, and a later part goes before an
    /// earlier one. Every number below `count` is in some part.
    pub(super) fn join(backend: &B, parts: Vec<(Vec<usize>, Self)>, count: usize) -> Result<Self> {
        let mut places = vec![0; count];
        let numbers = parts.iter().flat_map(|(numbers, _)| numbers);
        numbers.enumerate().for_each(|(place, &number)| places[number] = place);
        let all: Vec<&Self> = parts.iter().map(|(_, part)| part).collect();
        Self::stack(backend, &all)?.gather(backend, &places)
    }

    /// Hypothesis i continues hypothesis `parents[i]`. Allocates nothing of its own once `spare` has room.
    pub(super) fn reorder(
        &mut self,
        backend: &B,
        parents: &[usize],
        spare: &mut Vec<usize>,
    ) -> Result<()> {
        for tensor in self.layers.iter_mut().chain(&mut self.fed) {
            *tensor = backend.gather_rows(tensor, parents)?;
        }
        spare.clear();
        spare.extend(parents.iter().map(|&parent| self.sources[parent]));
        std::mem::swap(&mut self.sources, spare);
        Ok(())
    }

    /// Each hypothesis continues the one of the same source that was chosen for it, which the host need not know.
    pub(super) fn follow(&mut self, backend: &B, chosen: &B::Chosen) -> Result<()> {
        for tensor in self.layers.iter_mut().chain(&mut self.fed) {
            if let Some(next) = backend.gather_chosen(tensor, chosen)? {
                *tensor = next;
            }
        }
        Ok(())
    }
}
