//! Attention within whole sequences: bidirectional and causal, grouped heads, relative bias, rotary positions.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::attention, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! attention::matches_reference(&backend)?;
//! attention::is_batch_invariant(&backend)?;
//! attention::keeps_nan_in_its_sequence(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Backend, EncoderOps, reference::Reference};
//! use seq2seq_core::conformance::{Op, Timed, attention::{Attend, Case, Kind, Prepared}};
//!
//! // Four heads over two of keys and values, rotary and causal; most of the weights vanish.
//! let plain = Case::plain(vec![5, 0, 2], 4, 2);
//! let case = Case { head_dim: 8, causal: true, rotary: Some(true), kind: Kind::Sharp, ..plain };
//! let qkv = Reference.upload(&case.qkv())?;
//! let bias = case.bias(&Reference)?;
//! let y = Reference.attend(&qkv, &case.rows(), &case.spec(), bias.as_ref())?;
//! assert_eq!(Attend::run(&Reference, &case)?, Reference.download(&y)?);
//!
//! let mut prepared: Prepared<Reference> = Attend::prepare(&Reference, &case)?;
//! assert_eq!(Attend::call(&Reference, &mut prepared)?, y);
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::precision::{Loss, precision, represent};
use super::tolerance::{self, Approx};
use super::values::{Profile, values};
use super::{
    Cases, Op, Outcome, Timed, bits, each, host, lengths, on_host, rows_of, run_timed, within,
};
use crate::reference::{self, attention::Query, attention::Seen};
use crate::{
    AttentionSpec, BucketSpec, EncoderOps, HostTensor, Precision, Ragged, Result, Rotary,
    SeqBackend,
};
use proptest::prelude::*;

/// What the scores and values look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Scores around 1.
    Soft,
    /// Scores of thousands, either sign: most weights vanish.
    Sharp,
    /// Every key the same: uniform weights.
    Uniform,
    /// Scores that underflow, values around 10⁻³⁰.
    Tiny,
    /// Values around 10³⁰.
    Huge,
    /// Everything subnormal.
    Denormal,
}

/// One attention and its input.
#[derive(Debug, Clone)]
pub struct Case {
    /// Of each sequence.
    pub lengths: Vec<usize>,
    /// H
    pub heads: usize,
    /// G
    pub kv_heads: usize,
    /// D
    pub head_dim: usize,
    /// Whether rows see only what came before.
    pub causal: bool,
    /// Whether positions are rotary, over all of D (rounded down to pairs) or half of it.
    pub rotary: Option<bool>,
    /// The relative bias, if there is one.
    pub buckets: Option<BucketSpec>,
    /// Scores and values.
    pub kind: Kind,
    /// Of the products.
    pub precision: Precision,
    /// Of all values.
    pub seed: u64,
}

/// A case on a backend.
pub struct Prepared<B: EncoderOps> {
    qkv: B::Tensor,
    rows: Ragged,
    spec: AttentionSpec,
    bias: Option<B::RelativeBias>,
}

impl Case {
    /// Bidirectional, 64 columns a head, no positions, f32.
    pub fn plain(lengths: Vec<usize>, heads: usize, kv_heads: usize) -> Self {
        Self {
            lengths,
            heads,
            kv_heads,
            head_dim: 64,
            causal: false,
            rotary: None,
            buckets: None,
            kind: Kind::Soft,
            precision: Precision::F32,
            seed: 1,
        }
    }

    /// The attention.
    pub fn spec(&self) -> AttentionSpec {
        let rotary = self.rotary.map(|all| {
            let pairs = if all { self.head_dim / 2 } else { self.head_dim / 4 };
            let frequency = |j: usize| 10000f32.powf(-(j as f32) / pairs as f32);
            // YaRN's factor where only half the columns turn.
            Rotary {
                inv_freq: (0..pairs).map(frequency).collect(),
                scale: if all { 1.0 } else { 1.2 },
            }
        });
        AttentionSpec {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: (self.head_dim as f32).sqrt().recip(),
            causal: self.causal,
            rotary,
            dropout: 0.0,
            precision: self.precision,
        }
    }

    /// The division of N into sequences.
    pub fn rows(&self) -> Ragged {
        Ragged::from_lengths(self.lengths.iter().copied())
    }

    /// `[N, (H + 2 G) D]`
    pub fn qkv(&self) -> HostTensor {
        self.rows_for(self.lengths.iter().sum(), self.seed)
    }

    /// `n` packed rows of this kind.
    pub(super) fn rows_for(&self, n: usize, seed: u64) -> HostTensor {
        let spec = self.spec();
        let (q, kv) = (spec.inner(), spec.kv_width());
        let mut x = values(Profile::Normal, seed, n * spec.qkv_width());
        let first: Vec<f32> = x.get(q..q + kv).map(<[f32]>::to_vec).unwrap_or_default();
        for row in x.chunks_mut(spec.qkv_width()) {
            let (q, kv_row) = row.split_at_mut(q);
            let (k, v) = kv_row.split_at_mut(kv);
            let scale = |x: &mut [f32], by: f32| x.iter_mut().for_each(|v| *v *= by);
            match self.kind {
                Kind::Soft => {}
                Kind::Sharp => scale(q, 3000.0),
                Kind::Uniform => k.copy_from_slice(&first),
                Kind::Tiny => [q, k, v].into_iter().for_each(|x| scale(x, 1e-30)),
                Kind::Huge => scale(v, 1e30),
                Kind::Denormal => [q, k, v].into_iter().for_each(|x| scale(x, 1e-40)),
            }
        }
        represent(self.precision, self.seed, &mut x);
        host(n, spec.qkv_width(), &x)
    }

    /// `[buckets, H]`
    fn table(&self) -> Option<HostTensor> {
        let buckets = self.buckets?.buckets;
        let table = values(Profile::Normal, self.seed + 7, buckets * self.heads);
        Some(host(buckets, self.heads, &table))
    }

    /// The relative bias on a backend.
    pub fn bias<B: EncoderOps>(&self, backend: &B) -> Result<Option<B::RelativeBias>> {
        let spec = self.buckets.zip(self.table());
        spec.map(|(spec, table)| backend.relative_bias(&table, spec)).transpose()
    }

    /// The bounds of all results.
    pub(super) fn all_bounds(&self) -> Result<Vec<Approx>> {
        let (width, x) = (self.spec().qkv_width(), self.qkv().to_f32());
        let mut all = Vec::new();
        for range in self.rows().ranges() {
            let rows: Vec<Vec<f32>> =
                range.map(|n| x[n * width..(n + 1) * width].to_vec()).collect();
            for position in 0..rows.len() {
                all.extend(self.bounds(&rows, position)?);
            }
        }
        Ok(all)
    }

    /// The bound of every result of the given row of its sequence `x`.
    pub(super) fn bounds(&self, x: &[Vec<f32>], position: usize) -> Result<Vec<Approx>> {
        let spec = self.spec();
        let table = self.table().map(|t| t.to_f32());
        let (loss, rotated) = (Loss(spec.precision), spec.rotary.is_some());
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let (mut sizes, mut wide) = (Vec::new(), Vec::new());
        for (p, row) in x.iter().enumerate() {
            let (_, k, v) = reference::attention::split(row, p, &spec);
            let (_, magnitude) = magnitudes(row, &spec);
            wide.extend(loss.widen_keys(&magnitude, &k, rotated));
            keys.extend(k);
            values.extend(v);
            sizes.extend(magnitude);
        }
        let len = if self.causal { position + 1 } else { x.len() };
        let (q, ..) = reference::attention::split(&x[position], position, &spec);
        let (q_size, _) = magnitudes(&x[position], &spec);
        let q_wide = loss.widen_queries(&q_size, &q, &spec);
        let seen = Seen { keys: &keys, values: &values, len };
        let size = Seen { keys: &sizes, ..seen };
        let wide = Seen { keys: &wide, ..seen };
        let bias_at = |h: usize, j: usize| match (&table, self.buckets) {
            (Some(table), Some(b)) => {
                f64::from(table[b.bucket(j as isize - position as isize) * self.heads + h])
            }
            _ => 0.0,
        };
        let bias = self.bias(&reference::Reference)?;
        let head = |h: usize| {
            let query = |q| Query { q, h, position };
            let scores = reference::attention::scores(query(&q), &seen, &spec, bias.as_ref());
            let sizes = reference::attention::scores(query(&q_size), &size, &spec, None);
            let wides = reference::attention::scores(query(&q_wide), &wide, &spec, None);
            let scores: Vec<Approx> = (0..len)
                .map(|j| {
                    let (size, bias, terms) = (sizes[j], bias_at(h, j), spec.head_dim);
                    let score = tolerance::score(scores[j], size, bias, terms, rotated);
                    loss.score(score, wides[j] - size, terms)
                })
                .collect();
            let weights = loss.softmax(&scores);
            let column = |i: usize| {
                let value = |j| Seen::head(&values, j, h, &spec)[i];
                loss.weighted_sum(&weights, (0..len).map(value))
            };
            (0..spec.head_dim).map(column).collect::<Vec<_>>()
        };
        Ok((0..spec.heads).flat_map(head).collect())
    }
}

/// Magnitudes of query and key: of the pair, where the columns of a pair are rotated into each other.
fn magnitudes(row: &[f32], spec: &AttentionSpec) -> (Vec<f32>, Vec<f32>) {
    let mut x: Vec<f32> = row[..spec.inner() + spec.kv_width()].iter().map(|v| v.abs()).collect();
    if let Some(rotary) = &spec.rotary {
        let half = rotary.inv_freq.len();
        for head in x.chunks_mut(spec.head_dim) {
            for j in 0..half {
                let pair = (head[j] + head[j + half]) * rotary.scale.abs();
                (head[j], head[j + half]) = (pair, pair);
            }
        }
    }
    let k = x.split_off(spec.inner());
    (x, k)
}

/// Heads, key-value heads.
const HEADS: [(usize, usize); 7] = [(1, 1), (2, 2), (3, 1), (4, 2), (6, 3), (8, 8), (8, 1)];
/// Head widths: odd ones, those of real models, and more than one vector wide.
const HEAD_DIMS: [usize; 13] = [1, 2, 7, 8, 10, 12, 15, 16, 31, 33, 64, 80, 128];

/// Cases of any lengths.
pub(super) fn cases(lengths: impl Strategy<Value = Vec<usize>>) -> impl Strategy<Value = Case> {
    use Kind::*;
    let heads = proptest::sample::select(&HEADS[..]);
    let head_dim = proptest::sample::select(&HEAD_DIMS[..]);
    let buckets = (proptest::sample::select(&[4usize, 6, 32][..]), 4..=128usize, any::<bool>())
        .prop_map(|(buckets, max_distance, bidirectional)| {
            // Distances beyond the exact half of the buckets.
            let max_distance = max_distance.max(buckets);
            BucketSpec { buckets, max_distance, bidirectional }
        });
    let kind = prop_oneof![
        5 => Just(Soft),
        5 => proptest::sample::select(&[Sharp, Uniform, Tiny, Huge, Denormal][..]),
    ];
    let positions = (proptest::option::of(any::<bool>()), proptest::option::of(buckets));
    let kind = (kind, precision());
    (lengths, heads, head_dim, any::<bool>(), positions, kind, 0..1000u64).prop_map(
        |(lengths, heads, head_dim, causal, (rotary, buckets), (kind, precision), seed)| Case {
            lengths,
            heads: heads.0,
            kv_heads: heads.1,
            head_dim,
            causal,
            rotary,
            buckets,
            kind,
            precision,
            seed,
        },
    )
}

/// [`EncoderOps::attend`].
pub struct Attend;

impl Op for Attend {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        run_timed::<B, Self>(backend, case)
    }
}

impl Cases for Attend {
    fn cases() -> BoxedStrategy<Case> {
        // A long sequence by itself and in few heads: its bound is quadratic.
        let long = cases((300..=310usize).prop_map(|n| vec![n])).prop_map(|case| Case {
            heads: case.heads / case.kv_heads,
            kv_heads: 1,
            head_dim: case.head_dim.min(33),
            ..case
        });
        prop_oneof![12 => cases(lengths()), 1 => long].boxed()
    }
}

impl Timed for Attend {
    const NAME: &'static str = "attend";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = B::Tensor;

    fn real() -> Vec<(String, Case)> {
        let t5 = BucketSpec { buckets: 32, max_distance: 128, bidirectional: true };
        let llama = Case { causal: true, rotary: Some(true), ..Case::plain(vec![128], 32, 4) };
        vec![
            ("bert-base, 128".into(), Case::plain(vec![128], 12, 12)),
            ("bert-base, 512".into(), Case::plain(vec![512], 12, 12)),
            (
                "bert-base, 8 of 20 to 160".into(),
                Case::plain((1..=8).map(|i| i * 20).collect(), 12, 12),
            ),
            ("t5-small, 64".into(), Case { buckets: Some(t5), ..Case::plain(vec![64], 8, 8) }),
            ("tinyllama, 128".into(), llama),
        ]
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Prepared<B>> {
        Ok(Prepared {
            qkv: backend.upload(&case.qkv())?,
            rows: case.rows(),
            spec: case.spec(),
            bias: case.bias(backend)?,
        })
    }

    fn call<B: SeqBackend>(backend: &B, p: &mut Prepared<B>) -> Result<B::Tensor> {
        backend.attend(&p.qkv, &p.rows, &p.spec, p.bias.as_ref())
    }
}

/// Results lie within the bound that follows from the errors of scores, exponentials and sums.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(Attend::cases(), |case| {
        let got = Attend::run(backend, case)?;
        let width = case.spec().qkv_width();
        let inner = case.spec().inner();
        let x = case.qkv().to_f32();
        for range in case.rows().ranges() {
            let rows: Vec<Vec<f32>> =
                range.clone().map(|n| x[n * width..(n + 1) * width].to_vec()).collect();
            // All rows of a short sequence; of a long one the ends and every 13th between.
            let judged =
                |p: &usize| rows.len() <= 24 || p.is_multiple_of(13) || *p + 2 > rows.len();
            for position in (0..rows.len()).filter(judged) {
                let n = range.start + position;
                let what = format!("row {position} of {}", rows.len());
                within(&what, &case.bounds(&rows, position)?, &got[n * inner..(n + 1) * inner])?;
            }
        }
        match got.len() == x.len() / width * inner {
            true => Ok(()),
            false => super::fail(format!("{} values for {} rows", got.len(), x.len() / width)),
        }
    })
}

/// A sequence alone gives the bits that it gives in a batch.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(Attend::cases(), |case| {
        let (x, whole, spec) = (case.qkv(), Attend::run(backend, case)?, case.spec());
        let bias = case.bias(backend)?;
        for (i, range) in case.rows().ranges().enumerate() {
            let expected = &whole[range.start * spec.inner()..range.end * spec.inner()];
            let one = Ragged::from_lengths([range.len()]);
            let got = on_host(backend, &rows_of(&x, range), |x| {
                backend.attend(x, &one, &spec, bias.as_ref())
            })?;
            bits(&format!("sequence {i} alone"), expected, &got)?;
        }
        Ok(())
    })
}

/// NaN in a key reaches every row that sees it, and no other sequence.
pub fn keeps_nan_in_its_sequence<B: SeqBackend>(backend: &B) -> Outcome {
    each((Attend::cases(), any::<prop::sample::Index>()), |(case, at)| {
        let rows = case.rows();
        if rows.rows() == 0 {
            return Ok(());
        }
        let (spec, at) = (case.spec(), at.index(rows.rows()));
        let mut x = case.qkv().to_f32();
        // The last column of the first key head, which every query head of that group reads.
        x[at * spec.qkv_width() + spec.inner() + spec.head_dim - 1] = f32::NAN;
        let x = host(rows.rows(), spec.qkv_width(), &x);
        let bias = case.bias(backend)?;
        let got = on_host(backend, &x, |x| backend.attend(x, &rows, &spec, bias.as_ref()))?;
        let mut expected = Attend::run(backend, case)?;
        let range = rows.ranges().find(|r| r.contains(&at)).expect("one holds it");
        for n in if case.causal { at..range.end } else { range } {
            let group = spec.heads / spec.kv_heads * spec.head_dim;
            expected[n * spec.inner()..][..group].fill(f32::NAN);
        }
        bits("attend", &expected, &got)
    })
}
