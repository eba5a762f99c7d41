//! softmax(scale · q kᵀ + bias) v: the one definition behind `attend`, `attend_step` and `cross_attend`.

use super::{Tensor, rope};
use crate::backend::check;
use crate::{AttentionSpec, BucketSpec, HostTensor, Ragged, Result, Rows};
use std::ops::Range;

/// A bias for each bucket and head.
///
/// ```
/// use seq2seq_core::{reference::{Reference, attention::RelativeBias}, *};
///
/// // One head that prefers what stands before: three times as likely as anything else.
/// let buckets = BucketSpec { buckets: 4, max_distance: 8, bidirectional: true };
/// let table = HostTensor::from_f32(vec![4, 1], &[0.0, 3f32.ln(), 0.0, 0.0])?;
/// let bias: RelativeBias = Reference.relative_bias(&table, buckets)?;
///
/// // Queries and keys say nothing; the values are 1 and 9.
/// let qkv = Reference.upload(&HostTensor::from_f32(vec![2, 3], &[0.0, 0.0, 1.0, 0.0, 0.0, 9.0])?)?;
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// let y = Reference.attend(&qkv, &Ragged::from_lengths([2]), &spec, Some(&bias))?;
/// assert!(Reference.download(&y)?.iter().zip([5.0, 3.0]).all(|(y, expected)| (y - expected).abs() < 1e-5));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
pub struct RelativeBias {
    spec: BucketSpec,
    heads: usize,
    /// `[buckets, H]`
    table: Vec<f32>,
}

impl RelativeBias {
    pub(super) fn new(table: &HostTensor, spec: BucketSpec) -> Result<Self> {
        let heads = check::relative_bias(table, &spec)?;
        Ok(Self { spec, heads, table: table.to_f32() })
    }

    /// H
    pub(super) fn heads(&self) -> usize {
        self.heads
    }

    /// buckets, H
    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.spec.buckets, self.heads]
    }

    /// Takes over another table of this shape.
    pub(super) fn renew(&mut self, table: &Tensor) -> Result<()> {
        check::renew_relative_bias(table, self.shape())?;
        self.table.clone_from(&table.values);
        Ok(())
    }

    /// Where the table has the bias of a head for a query and a key.
    pub(crate) fn place(&self, head: usize, query: usize, key: usize) -> usize {
        self.spec.bucket(key as isize - query as isize) * self.heads + head
    }

    pub(crate) fn at(&self, head: usize, query: usize, key: usize) -> f32 {
        self.table[self.place(head, query, key)]
    }
}

/// The keys and values that one query sees: positions `0..len`, each row `[G, D]`.
pub(crate) struct Seen<'a> {
    pub(crate) keys: &'a [f32],
    pub(crate) values: &'a [f32],
    pub(crate) len: usize,
}

impl Seen<'_> {
    /// Vector `position` of the key-value head that query head `h` reads.
    pub(crate) fn head<'x>(
        x: &'x [f32],
        position: usize,
        h: usize,
        spec: &AttentionSpec,
    ) -> &'x [f32] {
        let group = h / (spec.heads / spec.kv_heads);
        let start = position * spec.kv_width() + group * spec.head_dim;
        &x[start..start + spec.head_dim]
    }
}

/// Head `h` of one query row `q` (`[H, D]`, already rotated) at `position`.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) h: usize,
    pub(crate) position: usize,
}

/// scale · q k + bias for each key that the query sees.
pub(crate) fn scores(
    query: Query<'_>,
    seen: &Seen<'_>,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
) -> Vec<f64> {
    let q = &query.q[query.h * spec.head_dim..][..spec.head_dim];
    let score = |j| {
        let k = Seen::head(seen.keys, j, query.h, spec);
        let dot: f64 = q.iter().zip(k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum();
        let bias = bias.map_or(0.0, |b| b.at(query.h, query.position, j));
        f64::from(spec.scale) * dot + f64::from(bias)
    };
    (0..seen.len).map(score).collect()
}

/// e^(score - largest) / Σ e^(score - largest)
pub(crate) fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exps: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
    let total: f64 = exps.iter().sum();
    exps.iter().map(|e| e / total).collect()
}

/// Attention of one query row `q` (`[H, D]`, already rotated) at `position`. Appends the result (`[H, D]`) to `out`
/// and, where wanted, the probabilities (`[H, len]`) to `weights`. Zeros where nothing is seen.
pub(super) fn row(
    (q, position): (&[f32], usize),
    seen: &Seen<'_>,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
    out: &mut Vec<f32>,
    mut weights: Option<&mut Vec<f32>>,
) {
    for h in 0..spec.heads {
        let p = softmax(&scores(Query { q, h, position }, seen, spec, bias));
        let mut sums = vec![0.0; spec.head_dim];
        for (j, p) in p.iter().enumerate() {
            let v = Seen::head(seen.values, j, h, spec);
            sums.iter_mut().zip(v).for_each(|(sum, &v)| *sum += p * f64::from(v));
        }
        out.extend(sums.iter().map(|&sum| sum as f32));
        if let Some(weights) = weights.as_deref_mut() {
            weights.extend(p.iter().map(|&p| p as f32));
        }
    }
}

/// The three parts of a packed row, query and key rotated to `position`.
pub(crate) fn split(
    row: &[f32],
    position: usize,
    spec: &AttentionSpec,
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (q, kv) = row.split_at(spec.inner());
    let (k, v) = kv.split_at(spec.kv_width());
    let (mut q, mut k) = (q.to_vec(), k.to_vec());
    if let Some(rotary) = &spec.rotary {
        for head in q.chunks_mut(spec.head_dim).chain(k.chunks_mut(spec.head_dim)) {
            rope::rotate(rotary, position, head);
        }
    }
    (q, k, v.to_vec())
}

/// The probabilities behind [`attend`](crate::EncoderOps::attend), which gives only what is made of them: of one sequence,
/// without a bias. `qkv` is `[T, (H + 2 G) D]`; for each position of `queries`, for each head, one value for each of the T
/// positions, 0 for those that it does not see.
///
/// ```
/// use seq2seq_core::{AttentionSpec, HostTensor, Precision, reference::attention::probabilities};
///
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Query | key | value: at the query 1 the keys 0 and ln 3 score as they are.
/// let qkv = HostTensor::from_f32(vec![3, 3], &[9.0, 0.0, 0.0, 1.0, 3f32.ln(), 0.0, 0.0, 5.0, 0.0])?;
/// let rows = probabilities(&qkv, 1..3, &spec)?;
/// let near = |a: &[f32], b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
/// assert!(near(&rows[..3], [0.25, 0.75, 0.0])); // the last position is not seen yet
/// assert!(near(&rows[3..], [1.0 / 3.0; 3]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
///
/// # Errors
/// Where `qkv` is not shaped as `spec` has it, and for positions that are not there.
pub fn probabilities(
    qkv: &HostTensor,
    queries: Range<usize>,
    spec: &AttentionSpec,
) -> Result<Vec<f32>> {
    const OP: &str = "attention probabilities";
    let [length, width] = check::upload(qkv)?;
    let qkv = Tensor::new(length, width, qkv.to_f32());
    check::attention(OP, &qkv, spec.qkv_width(), &Ragged::from_lengths([length]), spec)?;
    if queries.end > length {
        let reason = format!("positions {queries:?} of a sequence of {length}");
        return Err(crate::Error::invalid(OP, reason));
    }
    let parts = |position| split(qkv.row(position), position, spec);
    let keys: Vec<f32> = (0..length).flat_map(|position| parts(position).1).collect();
    let mut out = Vec::with_capacity(queries.len() * spec.heads * length);
    for position in queries {
        let q = parts(position).0;
        let len = if spec.causal { position + 1 } else { length };
        let seen = Seen { keys: &keys, values: &[], len };
        for h in 0..spec.heads {
            let p = softmax(&scores(Query { q: &q, h, position }, &seen, spec, None));
            out.extend(p.iter().map(|&p| p as f32));
            out.extend(std::iter::repeat_n(0.0, length - len));
        }
    }
    Ok(out)
}

pub(super) fn attend(
    qkv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
) -> Result<Tensor> {
    check::attend(qkv, rows, spec, bias.map(RelativeBias::heads))?;
    let mut out = Vec::with_capacity(qkv.rows() * spec.inner());
    for range in rows.ranges() {
        let length = range.len();
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (position, n) in range.enumerate() {
            let (q, k, v) = split(qkv.row(n), position, spec);
            queries.push(q);
            keys.extend(k);
            values.extend(v);
        }
        for (position, q) in queries.iter().enumerate() {
            let len = if spec.causal { position + 1 } else { length };
            let seen = Seen { keys: &keys, values: &values, len };
            row((q, position), &seen, spec, bias, &mut out, None);
        }
    }
    Ok(Tensor::new(qkv.rows(), spec.inner(), out))
}
