use crate::Result;
use seq2seq_core::{Backend, DecoderOps, Ragged};

/// One decoding in progress: what search drives and stacks (transformer or recurrent) implement.
///
/// It holds the state of its hypotheses (caches, encoder output) and nothing about search. At first there is one
/// hypothesis a source; [`reorder`](Self::reorder) spreads, permutes and drops them.
///
/// The [module](super) shows one.
pub trait DecodeSession<B: Backend> {
    /// Feeds each hypothesis its next ids (`ids` divided by `rows`, one group a live hypothesis, in order) and gives
    /// the logits after the last id of each: `[hypotheses, V]`.
    ///
    /// # Errors
    /// Ids outside the vocabulary, more of them than there is room for, and those of the backend.
    fn step(&mut self, ids: &[u32], rows: &Ragged) -> Result<B::Tensor>;

    /// Goes on as was chosen, without the host's having to know how: each hypothesis becomes a continuation of the one that
    /// was chosen for it, of the same source and as long as itself ([`reorder`](Self::reorder) by
    /// [`Picked::parents`](seq2seq_core::Picked::parents)), and is fed its id ([`step`](Self::step) of one id each, `rows`
    /// saying so). None where it cannot be told yet whether there is room for each; nothing has been done then. A search that
    /// goes ahead of the host ([`DecoderOps::chooses_ahead`]) asks for it, and does without where there is none.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    fn step_chosen(&mut self, chosen: &B::Chosen, rows: &Ragged) -> Result<Option<B::Tensor>>
    where
        B: DecoderOps,
    {
        let _ = (chosen, rows);
        Ok(None)
    }

    /// Hypothesis i becomes a continuation of old hypothesis `parents[i]`; see `DecoderOps::reorder`.
    ///
    /// # Errors
    /// Parents that there are not, more hypotheses than there is room for, and those of the backend.
    fn reorder(&mut self, parents: &[usize]) -> Result<()>;

    /// From now on, cross-attention probabilities are kept for [`take_weights`](Self::take_weights).
    ///
    /// # Errors
    /// Where there is no cross-attention.
    fn record_weights(&mut self) -> Result<()>;

    /// The cross-attention of the last id of each hypothesis in the last step, `[layer][hypothesis][head][source
    /// position]`, flattened within a hypothesis; empty unless recording. Asked for after every step while recording.
    fn take_weights(&mut self) -> Vec<Vec<Vec<f32>>>;

    /// The backend that the logits live on.
    fn backend(&self) -> &B;

    /// V: columns of the logits.
    fn vocab(&self) -> usize;
}
