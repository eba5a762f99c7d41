//! The traits: each operation passes below, and is recorded where it depends on a parameter.

use super::layers::{
    Attention, BiasShared, Embedding, Linear, LinearShared, Memory, MemoryShared, Norm, NormShared,
    PartIds, RelativeBias, read,
};
use super::tape::{self, Kept, Record, Tensor};
use super::{Autodiff, lock};
use crate::backend::check;
use crate::train::{TrainBackend, TrainEpilogue};
use crate::{
    AttentionSpec, Backend, BucketSpec, CacheSpec, CrossAttentionOps, DecoderOps, DeviceMemory,
    EncoderOps, Epilogue, Error, Format, HostTensor, LinearSpec, LogitRule, Lookup, NormSpec, Pick,
    Picked, Pool, Ragged, Result, Rows, Sampled, ScoreOrder, Stage, TopK, Warp,
};
use std::sync::{Arc, RwLock};

impl<B: TrainBackend> Autodiff<B> {
    /// Fails while a pass is recorded: `op` has no gradient.
    pub(super) fn only_serves(&self, op: &'static str) -> Result<()> {
        match self.is_recording() {
            false => Ok(()),
            true => Err(Error::Unsupported {
                what: format!("{op} in a pass that is recorded"),
                hint: "it has no gradient; a pass over whole sequences is trained on".into(),
            }),
        }
    }

    /// The tape of a pass that is recorded.
    pub(super) fn tape(&self) -> Option<std::sync::MutexGuard<'_, tape::Tape<B>>> {
        Some(lock(&self.shared.tape)).filter(|tape| tape.is_recording())
    }

    fn trained(&self, id: usize) -> bool {
        self.parameters().trained(id)
    }

    /// A linear layer, recorded where it depends on a parameter.
    pub(super) fn linear_of(
        &self,
        x: &Tensor<B>,
        shared: &Arc<LinearShared<B>>,
        epilogue: Epilogue<'_, Tensor<B>>,
    ) -> Result<Tensor<B>> {
        let Epilogue { activation, dropout, residual } = epilogue;
        let trained = {
            let parameters = self.parameters();
            shared.parts.iter().any(|part| part.trained(&parameters))
        };
        let mut tape = self.tape();
        let dropout = tape.as_mut().and_then(|tape| tape.dropout(dropout));
        let depends = trained || x.depends() || residual.is_some_and(Tensor::depends);
        let keep = tape.is_some() && depends;
        let below = TrainEpilogue { activation, dropout, residual: residual.map(Tensor::value) };
        let (y, sums) = self.inner.linear_forward(x.value(), &read(&shared.layer), &below, keep)?;
        match &mut tape {
            Some(tape) if depends => {
                let residual = residual.map(|r| tape.place(r)).transpose()?;
                let (layer, x) = (shared.clone(), tape.operand(x)?);
                let record = Record::Linear { layer, x, sums, activation, dropout, residual };
                Ok(tape.push(Arc::new(y), record))
            }
            _ => Ok(Tensor::constant(y)),
        }
    }
}

impl<B: TrainBackend> Backend for Autodiff<B> {
    type Tensor = Tensor<B>;
    type Linear = Linear<B>;
    type Norm = Norm<B>;
    type Embedding = Embedding;

    fn describe(&self) -> String {
        format!("{}, training", self.inner.describe())
    }

    fn formats(&self) -> &'static [Format] {
        &Format::TRAINED
    }

    fn device_memory(&self) -> Result<Option<DeviceMemory>> {
        self.inner.device_memory()
    }

    fn upload(&self, host: &HostTensor) -> Result<Tensor<B>> {
        self.inner.upload(host).map(Tensor::constant)
    }

    fn download(&self, x: &Tensor<B>) -> Result<Vec<f32>> {
        self.inner.download(x.value())
    }

    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<Linear<B>> {
        const OP: &str = "pack";
        check::train_format(format)?;
        check::pack(spec, format)?;
        let mut parameters = self.parameters();
        let mut parts = Vec::with_capacity(spec.parts.len());
        for part in &spec.parts {
            let bias = part.bias.as_ref().map(|b| parameters.enter(OP, &self.inner, b));
            parts.push(PartIds {
                weight: parameters.enter(OP, &self.inner, &part.weight)?,
                bias: bias.transpose()?,
                transposed: part.transposed,
                beside: None,
            });
        }
        let packing = (spec.gated, spec.scale, format);
        let shared = LinearShared::pack(&self.inner, &parameters, parts, packing)?;
        drop(parameters);
        Ok(Linear { shared: self.watch(shared) })
    }

    fn linear(
        &self,
        x: &Tensor<B>,
        layer: &Linear<B>,
        epilogue: Epilogue<'_, Tensor<B>>,
    ) -> Result<Tensor<B>> {
        match self.dropped(&layer.shared)? {
            Some(dropped) => dropped.forward(self, x, epilogue),
            None => self.linear_of(x, &layer.shared, epilogue),
        }
    }

    fn embedding(&self, table: &HostTensor) -> Result<Embedding> {
        check::embedding(table)?;
        Ok(Embedding { table: self.parameters().enter("embedding", &self.inner, table)? })
    }

    fn embed(&self, lookups: &[Lookup<'_, Embedding>]) -> Result<Tensor<B>> {
        let parameters = self.parameters();
        let below: Vec<Lookup<'_, B::Tensor>> = lookups
            .iter()
            .map(|l| Lookup { table: parameters.value(l.table.table), ids: l.ids, scale: l.scale })
            .collect();
        let y = self.inner.embed_masters(&below)?;
        let trained = lookups.iter().filter(|l| parameters.trained(l.table.table));
        let records: Vec<tape::Lookup> = trained
            .map(|l| tape::Lookup { table: l.table.table, ids: l.ids.to_vec(), scale: l.scale })
            .collect();
        drop(parameters);
        match self.tape() {
            Some(mut tape) if !records.is_empty() => {
                Ok(tape.push(Arc::new(y), Record::Embed(records)))
            }
            _ => Ok(Tensor::constant(y)),
        }
    }

    fn norm_weights(&self, spec: &NormSpec) -> Result<Norm<B>> {
        const OP: &str = "norm_weights";
        let norm = RwLock::new(self.inner.norm_weights(spec)?);
        let mut parameters = self.parameters();
        let weight = parameters.enter(OP, &self.inner, &spec.weight)?;
        let bias = spec.bias.as_ref().map(|b| parameters.enter(OP, &self.inner, b)).transpose()?;
        drop(parameters);
        Ok(Norm { shared: self.watch(NormShared { norm, weight, bias }) })
    }

    fn norm(&self, x: &Tensor<B>, norm: &Norm<B>) -> Result<Tensor<B>> {
        let shared = &norm.shared;
        let y = self.inner.norm(x.value(), &read(&shared.norm))?;
        let trained = self.trained(shared.weight) || shared.bias.is_some_and(|b| self.trained(b));
        match self.tape() {
            Some(mut tape) if trained || x.depends() => {
                let record = Record::Norm { norm: shared.clone(), x: tape.operand(x)? };
                Ok(tape.push(Arc::new(y), record))
            }
            _ => Ok(Tensor::constant(y)),
        }
    }

    fn gather_rows(&self, x: &Tensor<B>, rows: &[usize]) -> Result<Tensor<B>> {
        let y = self.inner.gather_rows(x.value(), rows)?;
        let Some(mut tape) = self.tape() else { return Ok(Tensor::constant(y)) };
        match tape.node(x)? {
            None => Ok(Tensor::constant(y)),
            Some(node) => {
                let record = Record::GatherRows { x: node, rows: rows.to_vec(), count: x.rows() };
                Ok(tape.push(Arc::new(y), record))
            }
        }
    }

    fn pool(&self, x: &Tensor<B>, rows: &Ragged, pool: Pool) -> Result<Tensor<B>> {
        let y = self.inner.pool(x.value(), rows, pool)?;
        let Some(mut tape) = self.tape() else { return Ok(Tensor::constant(y)) };
        match tape.node(x)? {
            None => Ok(Tensor::constant(y)),
            Some(node) => {
                let record = Record::Pool { x: node, rows: rows.clone(), pool };
                Ok(tape.push(Arc::new(y), record))
            }
        }
    }

    fn dropout(&self, x: Tensor<B>, rate: f32) -> Result<Tensor<B>> {
        let Some(mut tape) = self.tape() else { return Ok(x) };
        let Some(dropout) = tape.dropout(rate) else { return Ok(x) };
        let y = self.inner.apply_dropout(x.value(), dropout)?;
        match tape.node(&x)? {
            None => Ok(Tensor::constant(y)),
            Some(_) => {
                let x = tape.place(&x)?;
                Ok(tape.push(Arc::new(y), Record::Dropout { x, dropout }))
            }
        }
    }

    fn step<T, E: From<Error>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.inner.step(work)
    }

    fn observe(&self, stage: Stage, _: &Tensor<B>) -> Result<()> {
        self.tape().map_or(Ok(()), |mut tape| tape.pass_stage(stage))
    }
}

impl<B: TrainBackend> EncoderOps for Autodiff<B> {
    type RelativeBias = RelativeBias<B>;

    fn relative_bias(&self, table: &HostTensor, spec: BucketSpec) -> Result<RelativeBias<B>> {
        let bias = RwLock::new(self.inner.relative_bias(table, spec)?);
        let table = self.parameters().enter("relative_bias", &self.inner, table)?;
        Ok(RelativeBias { shared: self.watch(BiasShared { bias, table }) })
    }

    fn attend(
        &self,
        qkv: &Tensor<B>,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias<B>>,
    ) -> Result<Tensor<B>> {
        let trained = bias.is_some_and(|b| self.trained(b.shared.table));
        let held = bias.map(|b| read(&b.shared.bias));
        match self.tape() {
            Some(mut tape) if trained || qkv.depends() => {
                let operand = tape.operand(qkv)?;
                let dropout = tape.dropout(spec.dropout);
                let (y, log_sums) =
                    self.inner.attend_forward(qkv.value(), rows, spec, held.as_deref(), dropout)?;
                let y = Arc::new(y);
                let record = Record::Attend {
                    qkv: operand,
                    kept: Some(Kept { y: y.clone(), log_sums }),
                    attention: Attention { spec: spec.clone(), rows: rows.clone() },
                    bias: bias.map(|b| b.shared.clone()),
                    dropout,
                };
                Ok(tape.push(y, record))
            }
            _ => {
                let y = self.inner.attend(qkv.value(), rows, spec, held.as_deref())?;
                Ok(Tensor::constant(y))
            }
        }
    }
}

impl<B: TrainBackend> DecoderOps for Autodiff<B> {
    type KvCache = B::KvCache;
    type Chosen = B::Chosen;

    fn kv_cache(&self, spec: &CacheSpec) -> Result<B::KvCache> {
        self.only_serves("kv_cache")?;
        self.inner.kv_cache(spec)
    }

    fn extend(&self, cache: &mut B::KvCache, rows: &Ragged) -> Result<()> {
        self.only_serves("extend")?;
        self.inner.extend(cache, rows)
    }

    fn attend_step(
        &self,
        qkv: &Tensor<B>,
        rows: &Ragged,
        cache: &mut B::KvCache,
        layer: usize,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias<B>>,
    ) -> Result<Tensor<B>> {
        self.only_serves("attend_step")?;
        let bias = bias.map(|b| read(&b.shared.bias));
        let y = self.inner.attend_step(qkv.value(), rows, cache, layer, spec, bias.as_deref())?;
        Ok(Tensor::constant(y))
    }

    fn reorder(&self, cache: &mut B::KvCache, parents: &[usize]) -> Result<()> {
        self.only_serves("reorder")?;
        self.inner.reorder(cache, parents)
    }

    fn top_k(
        &self,
        logits: &Tensor<B>,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
    ) -> Result<TopK> {
        self.only_serves("top_k")?;
        self.inner.top_k(logits.value(), k, order, rules)
    }

    fn sample(
        &self,
        logits: &Tensor<B>,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        uniforms: &[f32],
    ) -> Result<Sampled> {
        self.only_serves("sample")?;
        self.inner.sample(logits.value(), rules, warp, uniforms)
    }

    fn sample_k(
        &self,
        logits: &Tensor<B>,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        seeds: &[u64],
    ) -> Result<TopK> {
        self.only_serves("sample_k")?;
        self.inner.sample_k(logits.value(), k, order, rules, warp, seeds)
    }

    fn choose(
        &self,
        logits: &Tensor<B>,
        rules: &[Vec<LogitRule>],
        pick: &Pick<'_>,
    ) -> Result<B::Chosen> {
        self.only_serves("choose")?;
        self.inner.choose(logits.value(), rules, pick)
    }

    fn chosen(&self, chosen: &B::Chosen) -> Result<Picked> {
        self.inner.chosen(chosen)
    }
}

impl<B: TrainBackend> CrossAttentionOps for Autodiff<B> {
    type Memory = Memory<B>;

    fn memory(&self, kv: &Tensor<B>, rows: &Ragged, spec: &AttentionSpec) -> Result<Memory<B>> {
        let memory = match self.tape() {
            Some(_) => self.inner.memory(kv.value(), rows, &self.inner.trained_attention(spec))?,
            None => self.inner.memory(kv.value(), rows, spec)?,
        };
        let shared = MemoryShared { memory, kv: kv.clone(), rows: rows.clone() };
        Ok(Memory { shared: Arc::new(shared) })
    }

    fn cross_attend(
        &self,
        q: &Tensor<B>,
        rows: &Ragged,
        memory: &Memory<B>,
        sources: &[usize],
        spec: &AttentionSpec,
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor<B>> {
        let held = &memory.shared;
        match self.tape() {
            Some(mut tape) if q.depends() || held.kv.depends() => {
                if weights.is_some() {
                    return Err(Error::Unsupported {
                        what: "the weights of cross_attend in a pass that is recorded".into(),
                        hint: "attention weights are for a pass that is not".into(),
                    });
                }
                let operand = tape.operand(q)?;
                tape.node(&held.kv)?;
                let dropout = tape.dropout(spec.dropout);
                let (y, log_sums) = self.inner.cross_attend_forward(
                    q.value(),
                    rows,
                    &held.memory,
                    sources,
                    spec,
                    dropout,
                )?;
                let y = Arc::new(y);
                let record = Record::CrossAttend {
                    q: operand,
                    kept: Some(Kept { y: y.clone(), log_sums }),
                    attention: Attention { spec: spec.clone(), rows: rows.clone() },
                    memory: held.clone(),
                    sources: sources.to_vec(),
                    dropout,
                };
                Ok(tape.push(y, record))
            }
            _ => {
                let y = self.inner.cross_attend(
                    q.value(),
                    rows,
                    &held.memory,
                    sources,
                    spec,
                    weights,
                )?;
                Ok(Tensor::constant(y))
            }
        }
    }
}
