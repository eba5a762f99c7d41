//! A small decoder with memory of sources, as the operations of a step follow each other in one of a model.

// Each test program uses a part.
#![allow(dead_code)]

use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::{
    Activation, AttentionSpec, Backend, Beams, CacheSpec, CrossAttentionOps, DecoderOps, Epilogue,
    Format, HostTensor, LinearSpec, LogitRule, Lookup, NormKind, NormSpec, Pick, Picked, Precision,
    Ragged, Result, Rotary, ScoreOrder, TopK,
};
use seq2seq_cuda::{Chosen, Cuda, Tensor};

const LAYERS: usize = 2;
const WIDTH: usize = 32;
const VOCAB: usize = 40;
/// Positions of each source.
const SOURCE: usize = 5;

/// One pass.
pub(crate) enum Step {
    /// Hypotheses are given histories of these lengths.
    Prefill(Vec<usize>),
    /// Hypotheses continue these of the step before, each by one id.
    Next(Vec<usize>),
}

impl Step {
    pub(crate) fn prefill<const N: usize>(lengths: [usize; N]) -> Self {
        Self::Prefill(lengths.into())
    }

    pub(crate) fn next<const N: usize>(parents: [usize; N]) -> Self {
        Self::Next(parents.into())
    }
}

/// The decoder, and how far its hypotheses have come.
pub(crate) struct Decoder<'c> {
    cuda: &'c Cuda,
    table: <Cuda as Backend>::Embedding,
    norm: <Cuda as Backend>::Norm,
    layers: Vec<Layer>,
    head: <Cuda as Backend>::Linear,
    cache: <Cuda as DecoderOps>::KvCache,
    spec: AttentionSpec,
    /// The source of each hypothesis.
    sources: Vec<usize>,
    /// The best ids of the step before, for each hypothesis.
    best: Vec<u32>,
}

struct Layer {
    qkv: <Cuda as Backend>::Linear,
    query: <Cuda as Backend>::Linear,
    out: <Cuda as Backend>::Linear,
    memory: <Cuda as CrossAttentionOps>::Memory,
}

/// What a pass reads.
#[derive(Clone, Copy)]
enum Ids<'a> {
    Known(&'a [u32]),
    Chosen(&'a Chosen),
}

/// So many ids.
fn prompt(rows: usize) -> Vec<u32> {
    (0..rows).map(|i| (i * 7 % VOCAB) as u32).collect()
}

fn rules(hypotheses: usize) -> Vec<Vec<LogitRule>> {
    vec![vec![LogitRule::Ban(vec![3, 4])]; hypotheses]
}

fn matrix(rows: usize, seed: u64) -> HostTensor {
    let small: Vec<f32> =
        values(Profile::Normal, seed, rows * WIDTH).iter().map(|v| v * 0.2).collect();
    HostTensor::from_f32(vec![rows, WIDTH], &small).unwrap()
}

impl<'c> Decoder<'c> {
    pub(crate) fn new(cuda: &'c Cuda, format: Format, sources: usize, beams: usize) -> Self {
        // As a model asks for it.
        let precision = match format {
            Format::F32 | Format::F16 => Precision::F32,
            _ => Precision::Bf16,
        };
        let rotary = Rotary { inv_freq: vec![1.0, 0.3, 0.1, 0.03].into(), scale: 1.0 };
        let spec = AttentionSpec {
            heads: 4,
            kv_heads: 2,
            head_dim: 8,
            scale: 0.35,
            causal: true,
            rotary: Some(rotary),
            dropout: 0.0,
            precision,
        };
        let linear =
            |rows, seed| cuda.pack(&LinearSpec::single(matrix(rows, seed), None), format).unwrap();
        let weight = HostTensor::from_f32(vec![WIDTH], &[1.0; WIDTH]).unwrap();
        let norm = NormSpec { kind: NormKind::Rms, eps: 1e-6, weight, bias: None };
        let rows = Ragged::from_lengths(vec![SOURCE; sources]);
        let layer = |i: u64| {
            let kv = cuda.upload(&matrix(rows.rows(), 100 + i)).unwrap();
            let spec = AttentionSpec { rotary: None, ..spec.clone() };
            Layer {
                qkv: linear(spec.qkv_width(), 200 + i),
                query: linear(spec.inner(), 300 + i),
                out: linear(WIDTH, 400 + i),
                memory: cuda.memory(&kv, &rows, &spec).unwrap(),
            }
        };
        let cache = CacheSpec {
            layers: LAYERS,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            sequences: sources,
            beams,
            capacity: 100,
            precision,
        };
        Self {
            cuda,
            table: cuda.embedding(&matrix(VOCAB, 1)).unwrap(),
            norm: cuda.norm_weights(&norm).unwrap(),
            layers: (0..LAYERS as u64).map(layer).collect(),
            head: linear(VOCAB, 2),
            cache: cuda.kv_cache(&cache).unwrap(),
            spec,
            sources: (0..sources).collect(),
            best: Vec::new(),
        }
    }

    /// Does it, and gives the `k` best of each hypothesis.
    pub(crate) fn step(&mut self, step: &Step, k: usize) -> TopK {
        self.try_step(step, k).unwrap()
    }

    /// The same, or what the device fails with.
    pub(crate) fn try_step(&mut self, step: &Step, k: usize) -> Result<TopK> {
        let (ids, rows) = match step {
            Step::Prefill(lengths) => {
                let rows = Ragged::from_lengths(lengths.iter().copied());
                (prompt(rows.rows()), rows)
            }
            Step::Next(parents) => {
                self.cuda.reorder(&mut self.cache, parents)?;
                self.sources = parents.iter().map(|&p| self.sources[p]).collect();
                let ids: Vec<u32> = parents.iter().map(|&p| self.best[p]).collect();
                (ids, Ragged::single_rows(parents.len()))
            }
        };
        let logits = self.logits(Ids::Known(&ids), &rows)?;
        let order = ScoreOrder::RulesThenNormalise;
        let best = self.cuda.top_k(&logits, k, order, &rules(rows.sequences()))?;
        self.best = best.ids.chunks(k).map(|ids| ids[0]).collect();
        Ok(best)
    }

    /// Prompts of these lengths: their logits.
    pub(crate) fn read(&mut self, lengths: &[usize]) -> Tensor {
        let rows = Ragged::from_lengths(lengths.iter().copied());
        self.logits(Ids::Known(&prompt(rows.rows())), &rows).unwrap()
    }

    /// The step that goes on as was chosen for each hypothesis: its logits.
    pub(crate) fn go_on(&mut self, chosen: &Chosen) -> Tensor {
        let rows = Ragged::single_rows(self.sources.len());
        self.cuda.reorder_chosen(&mut self.cache, chosen).unwrap();
        self.logits(Ids::Chosen(chosen), &rows).unwrap()
    }

    /// The same with what the host knows: the ids, and the hypotheses that are continued.
    pub(crate) fn go_on_known(&mut self, picked: &Picked) -> Tensor {
        if let Some(parents) = picked.parents() {
            self.cuda.reorder(&mut self.cache, parents).unwrap();
        }
        let rows = Ragged::single_rows(self.sources.len());
        self.logits(Ids::Known(picked.next_ids()), &rows).unwrap()
    }

    /// Hypotheses continue `parents`, which read the rows of these in `logits`.
    pub(crate) fn reorder(&mut self, parents: &[usize], logits: &Tensor) -> Tensor {
        self.cuda.reorder(&mut self.cache, parents).unwrap();
        self.sources = parents.iter().map(|&p| self.sources[p]).collect();
        self.cuda.gather_rows(logits, parents).unwrap()
    }

    /// Chooses how beams go on, `width` of each source.
    pub(crate) fn choose_beams(&self, logits: &Tensor, width: usize, step: usize) -> Chosen {
        let score = |i: usize| -1.0 - 0.3 * ((i * 7 + step) % 5) as f32;
        let scores: Vec<f32> = (0..self.sources.len()).map(score).collect();
        let order = ScoreOrder::NormaliseThenRules;
        let keep = 2 * width;
        let endings = &[5, 6];
        self.choose(
            logits,
            &Pick::Beams(Beams { width, k: keep, keep, order, scores: &scores, endings }),
        )
    }

    /// Chooses an id for each hypothesis.
    pub(crate) fn choose(&self, logits: &Tensor, pick: &Pick<'_>) -> Chosen {
        self.cuda.choose(logits, &rules(self.sources.len()), pick).unwrap()
    }

    /// As sessions of models do.
    fn logits(&mut self, ids: Ids<'_>, rows: &Ragged) -> Result<Tensor> {
        self.cuda.extend(&mut self.cache, rows)?;
        match rows.rows() == rows.sequences() {
            true => self.cuda.step(|| self.forward(ids, rows)),
            false => self.forward(ids, rows),
        }
    }

    fn forward(&mut self, ids: Ids<'_>, rows: &Ragged) -> Result<Tensor> {
        let Self { cuda, norm, spec, cache, sources, .. } = self;
        let cross = AttentionSpec { rotary: None, ..spec.clone() };
        let mut x = match ids {
            Ids::Known(ids) => cuda.embed(&[Lookup { table: &self.table, ids, scale: 1.0 }])?,
            Ids::Chosen(chosen) => cuda.embed_chosen((&self.table, 1.0), chosen, &[])?,
        };
        for (i, layer) in self.layers.iter().enumerate() {
            let y = cuda.norm(&x, norm)?;
            let qkv = cuda.linear(&y, &layer.qkv, Epilogue::NONE)?;
            let y = cuda.attend_step(&qkv, rows, cache, i, spec, None)?;
            x = cuda.linear(&y, &layer.out, Epilogue::residual(&x))?;
            let q = cuda.linear(&x, &layer.query, Epilogue::NONE)?;
            let y = cuda.cross_attend(&q, rows, &layer.memory, sources, &cross, None)?;
            let y = cuda.linear(&y, &layer.out, Epilogue::activation(Activation::Relu))?;
            x = cuda.linear(&y, &layer.out, Epilogue::residual(&x))?;
        }
        if rows.rows() > rows.sequences() {
            x = cuda.gather_rows(&x, &rows.last_rows().unwrap())?;
        }
        cuda.linear(&x, &self.head, Epilogue::NONE)
    }
}

/// A beam search of `width` hypotheses of each of three sources, over the end of a page; then the first source is done. What
/// is chosen in each step, which the next one waits for or not.
pub(crate) fn search(cuda: &Cuda, format: Format, width: usize, ahead: bool) -> Vec<Picked> {
    const DONE: usize = 6;
    let mut decoder = Decoder::new(cuda, format, 3, width);
    let logits = decoder.read(&[59; 3]);
    let spread: Vec<usize> = (0..3 * width).map(|i| i / width).collect();
    let mut logits = decoder.reorder(&spread, &logits);
    let mut all = Vec::new();
    for i in 0..12 {
        let chosen = decoder.choose_beams(&logits, width, i);
        // As a search does, so that steps find the same memory.
        drop(logits);
        let (next, picked) = match ahead {
            true => {
                let next = decoder.go_on(&chosen);
                (next, cuda.chosen(&chosen).unwrap())
            }
            false => {
                let picked = cuda.chosen(&chosen).unwrap();
                (decoder.go_on_known(&picked), picked)
            }
        };
        logits = match i {
            DONE => decoder.reorder(&(width..3 * width).collect::<Vec<_>>(), &next),
            _ => next,
        };
        all.push(picked);
    }
    all
}
