//! softmax(scale · q kᵀ + bias) v: the one definition behind `attend`, `attend_step` and `cross_attend`.

use super::{Tensor, rope};
use crate::backend::check;
use crate::{AttentionSpec, BucketSpec, HostTensor, Ragged, Result, Rows};

/// A bias for each bucket and head.
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

    fn at(&self, head: usize, query: usize, key: usize) -> f32 {
        self.table[self.spec.bucket(key as isize - query as isize) * self.heads + head]
    }
}

/// The keys and values that one query sees: positions `0..len`, each row `[G, D]`.
pub(super) struct Seen<'a> {
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) len: usize,
}

/// Attention of one query row `q` (`[H, D]`, already rotated) at `position`. Appends the result (`[H, D]`) to `out`
/// and, where wanted, the probabilities (`[H, len]`) to `weights`. Zeros where nothing is seen.
pub(super) fn row(
    q: &[f32],
    position: usize,
    seen: &Seen<'_>,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
    out: &mut Vec<f32>,
    mut weights: Option<&mut Vec<f32>>,
) {
    let (d, width) = (spec.head_dim, spec.kv_width());
    for (h, q) in q.chunks(d).enumerate() {
        let column = h / (spec.heads / spec.kv_heads) * d;
        let head = |x: &[f32], j: usize, i: usize| f64::from(x[j * width + column + i]);
        let scores: Vec<f64> = (0..seen.len)
            .map(|j| {
                let dot: f64 = (0..d).map(|i| f64::from(q[i]) * head(seen.keys, j, i)).sum();
                let bias = bias.map_or(0.0, |b| b.at(h, position, j));
                f64::from(spec.scale) * dot + f64::from(bias)
            })
            .collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total: f64 = exps.iter().sum();
        for i in 0..d {
            let sum: f64 = exps.iter().enumerate().map(|(j, p)| p * head(seen.values, j, i)).sum();
            out.push(if seen.len == 0 { 0.0 } else { (sum / total) as f32 });
        }
        if let Some(weights) = weights.as_deref_mut() {
            weights.extend(exps.iter().map(|p| (p / total) as f32));
        }
    }
}

/// The three parts of a packed row, query and key rotated to `position`.
pub(super) fn split(
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
            row(q, position, &seen, spec, bias, &mut out, None);
        }
    }
    Ok(Tensor::new(qkv.rows(), spec.inner(), out))
}
