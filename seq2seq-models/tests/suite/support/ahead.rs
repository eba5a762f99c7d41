//! A backend that computes as the reference does, and tells nobody what it chose before it is waited for.

use seq2seq_core::{
    Backend, ConvolutionOps, CrossAttentionOps, DecoderOps, EncoderOps, LogitRule, Lookup, Pick,
    Picked, RecurrentOps, Result, Rows, inherit, reference::Reference,
};
use std::sync::{Arc, Mutex, MutexGuard};

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Choice,
    /// A step that reads what was chosen.
    Step,
    /// The ids, which are waited for.
    Ids,
}

#[derive(Clone)]
pub(crate) struct Ahead {
    inner: Reference,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// What was chosen of so many rows, or why nothing could be.
pub(crate) struct Held {
    chosen: Result<Picked>,
    rows: usize,
}

impl Ahead {
    pub(crate) fn new() -> Self {
        Self { inner: Reference, asked: Arc::default() }
    }

    pub(crate) fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap()
    }

    /// What a step reads: any id in the place of one that there is not.
    pub(crate) fn read_unseen(&self, held: &Held) -> Vec<u32> {
        self.asked().push(Asked::Step);
        held.chosen.as_ref().map_or_else(|_| vec![0; held.rows], |c| c.next_ids().to_vec())
    }

    /// The hypotheses that a step continues, where they are not those that there are.
    pub(crate) fn follow_unseen(held: &Held) -> Option<&[usize]> {
        held.chosen.as_ref().ok()?.parents()
    }
}

impl Backend for Ahead {
    inherit! { inner: Reference =>
        Tensor, Linear, Norm, Embedding,
        describe, formats, device_memory, upload, download, pack, linear, embedding, embed, norm_weights, norm, gather_rows, pool,
        dropout, step, observe
    }
}

impl EncoderOps for Ahead {
    inherit! { inner: Reference => RelativeBias, relative_bias, attend }
}

impl DecoderOps for Ahead {
    type Chosen = Held;

    inherit! { inner: Reference => KvCache, kv_cache, extend, attend_step, reorder, top_k, sample, sample_k }

    fn chooses_ahead(&self) -> bool {
        true
    }

    fn choose(
        &self,
        logits: &Self::Tensor,
        rules: &[Vec<LogitRule>],
        pick: &Pick<'_>,
    ) -> Result<Held> {
        self.asked().push(Asked::Choice);
        Ok(Held { chosen: self.inner.choose(logits, rules, pick), rows: logits.rows() })
    }

    fn chosen(&self, held: &Held) -> Result<Picked> {
        self.asked().push(Asked::Ids);
        held.chosen.clone()
    }

    fn embed_chosen(
        &self,
        (table, scale): (&Self::Embedding, f32),
        chosen: &Held,
        others: &[Lookup<'_, Self::Embedding>],
    ) -> Result<Self::Tensor> {
        let ids = self.read_unseen(chosen);
        let mut lookups = vec![Lookup { table, ids: &ids, scale }];
        lookups.extend_from_slice(others);
        self.inner.embed(&lookups)
    }

    fn reorder_chosen(&self, cache: &mut Self::KvCache, chosen: &Held) -> Result<()> {
        Self::follow_unseen(chosen).map_or(Ok(()), |parents| self.inner.reorder(cache, parents))
    }

    fn gather_chosen(&self, x: &Self::Tensor, chosen: &Held) -> Result<Option<Self::Tensor>> {
        let parents = Self::follow_unseen(chosen);
        parents.map(|parents| self.inner.gather_rows(x, parents)).transpose()
    }
}

impl CrossAttentionOps for Ahead {
    inherit! { inner: Reference => Memory, memory, cross_attend }
}

impl ConvolutionOps for Ahead {
    inherit! { inner: Reference => windows }
}

impl RecurrentOps for Ahead {
    inherit! { inner: Reference =>
        Recurrent, Additive, AdditiveMemory,
        recurrent, recur, columns, stack_rows, additive, additive_memory, additive_attend
    }
}
