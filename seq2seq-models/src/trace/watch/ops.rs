//! Every operation is that of the backend inside; some are noted.

use super::Watch;
use seq2seq_core::{
    AttentionSpec, Backend, ConvolutionOps, CrossAttentionOps, DecoderOps, EncoderOps, LogitRule,
    Lookup, Pick, Ragged, RecurrentOps, Result, Sampled, ScoreOrder, SeqBackend, Stage, TopK, Warp,
    inherit,
};

/// The keys and values of the encoder's output in the layers of a decoder.
const MEMORY: &str = "decoder.memory";

impl<B: Backend> Backend for Watch<B> {
    inherit! { inner: B =>
        Tensor, Linear, Norm, Embedding,
        describe, formats, device_memory, upload, download, pack, linear, embedding, norm_weights, norm, gather_rows, pool,
        dropout, step
    }

    fn embed(&self, lookups: &[Lookup<'_, B::Embedding>]) -> Result<B::Tensor> {
        self.begin_pass();
        self.inner.embed(lookups)
    }

    fn observe(&self, stage: Stage, x: &B::Tensor) -> Result<()> {
        self.note_stage(stage, x)
    }
}

impl<B: EncoderOps> EncoderOps for Watch<B> {
    inherit! { inner: B => RelativeBias, relative_bias }

    fn attend(
        &self,
        qkv: &B::Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&B::RelativeBias>,
    ) -> Result<B::Tensor> {
        if bias.is_none() {
            self.note_attention(qkv, rows, spec)?;
        }
        self.inner.attend(qkv, rows, spec, bias)
    }
}

impl<B: SeqBackend> DecoderOps for Watch<B> {
    inherit! { inner: B =>
        KvCache, Chosen, kv_cache, extend, attend_step, reorder, chosen, reorder_chosen, gather_chosen
    }

    fn top_k(
        &self,
        logits: &B::Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
    ) -> Result<TopK> {
        let top = self.inner.top_k(logits, k, order, rules)?;
        self.note_choice(logits)?;
        Ok(top)
    }

    fn sample(
        &self,
        logits: &B::Tensor,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        uniforms: &[f32],
    ) -> Result<Sampled> {
        let sampled = self.inner.sample(logits, rules, warp, uniforms)?;
        self.note_choice(logits)?;
        Ok(sampled)
    }

    fn sample_k(
        &self,
        logits: &B::Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        seeds: &[u64],
    ) -> Result<TopK> {
        let top = self.inner.sample_k(logits, k, order, rules, warp, seeds)?;
        self.note_choice(logits)?;
        Ok(top)
    }

    /// Not where it is timed: a choice takes until its ids are known.
    fn chooses_ahead(&self) -> bool {
        self.inner.chooses_ahead() && !self.watcher.is_on()
    }

    fn choose(
        &self,
        logits: &B::Tensor,
        rules: &[Vec<LogitRule>],
        pick: &Pick<'_>,
    ) -> Result<B::Chosen> {
        let chosen = self.inner.choose(logits, rules, pick)?;
        if self.watcher.is_on() {
            self.inner.chosen(&chosen)?;
            self.note_choice(logits)?;
        }
        Ok(chosen)
    }

    fn embed_chosen(
        &self,
        table: (&B::Embedding, f32),
        chosen: &B::Chosen,
        others: &[Lookup<'_, B::Embedding>],
    ) -> Result<B::Tensor> {
        self.begin_pass();
        self.inner.embed_chosen(table, chosen, others)
    }
}

impl<B: SeqBackend> CrossAttentionOps for Watch<B> {
    inherit! { inner: B => Memory, cross_attend }

    fn memory(&self, kv: &B::Tensor, rows: &Ragged, spec: &AttentionSpec) -> Result<B::Memory> {
        let memory = self.inner.memory(kv, rows, spec)?;
        self.note(|| MEMORY.into(), kv)?;
        Ok(memory)
    }
}

impl<B: SeqBackend> ConvolutionOps for Watch<B> {
    inherit! { inner: B => windows }
}

impl<B: SeqBackend> RecurrentOps for Watch<B> {
    inherit! { inner: B =>
        Recurrent, Additive, AdditiveMemory,
        recurrent, recur, columns, stack_rows, additive, additive_attend
    }

    fn additive_memory(
        &self,
        keys: &B::Tensor,
        values: &B::Tensor,
        rows: &Ragged,
    ) -> Result<B::AdditiveMemory> {
        let memory = self.inner.additive_memory(keys, values, rows)?;
        self.note(|| MEMORY.into(), keys)?;
        Ok(memory)
    }
}
