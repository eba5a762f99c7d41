//! Forwards in f64, for differences.

use seq2seq_core::reference::activation;
use seq2seq_core::train::{Dropout, Smoothing};
use seq2seq_core::*;

/// Rows of `width` become columns.
pub(crate) fn transpose<T: Copy>(x: &[T], width: usize) -> Vec<T> {
    let rows = x.len() / width;
    (0..width).flat_map(|i| (0..rows).map(move |r| x[r * width + i])).collect()
}

fn factor(dropout: Option<Dropout>, row: usize, column: usize) -> f64 {
    dropout.map_or(1.0, |d| d.factor(row, column).into())
}

/// A linear layer of several parts, of which every other one is transposed.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) input: usize,
    pub(crate) outputs: Vec<usize>,
    pub(crate) gated: bool,
    pub(crate) scale: f32,
    pub(crate) activation: Option<Activation>,
    pub(crate) dropout: Option<Dropout>,
}

impl Layer {
    pub(crate) fn product(&self) -> usize {
        self.outputs.iter().sum()
    }

    pub(crate) fn output(&self) -> usize {
        if self.gated { self.product() / 2 } else { self.product() }
    }

    pub(crate) fn transposed(&self, part: usize) -> bool {
        part % 2 == 1
    }

    /// `w` is `[product, in]`.
    pub(crate) fn forward(&self, x: &[f64], w: &[f64], b: &[f64], residual: &[f64]) -> Vec<f64> {
        let (out, mut y) = (self.output(), Vec::new());
        let act = |z| self.activation.map_or(z, |a| activation::apply(a, z));
        for (n, x) in x.chunks(self.input).enumerate() {
            let dot = |w: &[f64]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>();
            let z: Vec<f64> = w
                .chunks(self.input)
                .zip(b)
                .map(|(w, b)| f64::from(self.scale) * dot(w) + b)
                .collect();
            for o in 0..out {
                let gate = if self.gated { z[out + o] } else { 1.0 };
                y.push(act(z[o]) * gate * factor(self.dropout, n, o) + residual[n * out + o]);
            }
        }
        y
    }
}

pub(crate) fn norm(
    kind: NormKind,
    eps: f64,
    x: &[f64],
    weight: &[f64],
    bias: Option<&[f64]>,
) -> Vec<f64> {
    let m = weight.len();
    let row = |x: &[f64]| -> Vec<f64> {
        let mean = if kind == NormKind::Layer { x.iter().sum::<f64>() / m as f64 } else { 0.0 };
        let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / m as f64;
        let y = |i: usize| (x[i] - mean) / (variance + eps).sqrt() * weight[i];
        (0..m).map(|i| y(i) + bias.map_or(0.0, |b| b[i])).collect()
    };
    x.chunks(m).flat_map(row).collect()
}

pub(crate) fn pool(x: &[f64], width: usize, rows: &Ragged, pool: Pool) -> Vec<f64> {
    let one = |range: std::ops::Range<usize>| {
        (0..width).map(move |i| {
            let at = |r: usize| x[r * width + i];
            match pool {
                Pool::First => at(range.start),
                Pool::Last => at(range.end - 1),
                Pool::Mean => range.clone().map(at).sum::<f64>() / range.len() as f64,
            }
        })
    };
    rows.ranges().flat_map(one).collect()
}

/// An attention; frequencies of a rotary one fall from 1.
#[derive(Debug)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) causal: bool,
    /// The factor of cosine and sine; with one of 1, all pairs turn, otherwise all but the last.
    pub(crate) rotary: Option<f32>,
    pub(crate) buckets: Option<BucketSpec>,
    pub(crate) dropout: Option<Dropout>,
}

impl Attention {
    pub(crate) fn spec(&self) -> AttentionSpec {
        let rotary = self.rotary.map(|scale| {
            let pairs = if scale == 1.0 { self.head_dim / 2 } else { self.head_dim / 2 - 1 };
            let inv_freq = (0..pairs).map(|j| 0.3f32.powi(j as i32)).collect();
            Rotary { inv_freq, scale }
        });
        AttentionSpec {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: 0.6,
            causal: self.causal,
            rotary,
            dropout: 0.0,
            precision: Precision::F32,
        }
    }

    fn rotated(&self, head: &[f64], position: usize) -> Vec<f64> {
        let mut out = head.to_vec();
        if let Some(rotary) = self.spec().rotary {
            let half = rotary.inv_freq.len();
            for (j, &frequency) in rotary.inv_freq.iter().enumerate() {
                let angle = f64::from(position as f32 * frequency);
                let (sin, cos) = angle.sin_cos();
                let scale = f64::from(rotary.scale);
                out[j] = scale * (head[j] * cos - head[j + half] * sin);
                out[j + half] = scale * (head[j + half] * cos + head[j] * sin);
            }
        }
        out
    }

    /// One head of one query: `seen` has the score without bias and the value of each key.
    fn mix(&self, scores: &[f64], values: &[&[f64]], row: usize) -> Vec<f64> {
        let total: f64 = scores.iter().map(|s| s.exp()).sum();
        let p = |j: usize| scores[j].exp() / total * factor(self.dropout, row, j);
        (0..self.head_dim)
            .map(|i| values.iter().enumerate().map(|(j, v)| p(j) * v[i]).sum())
            .collect()
    }

    /// `x` is `[N, (H + 2 G) D]`, `table` `[buckets, H]`.
    pub(crate) fn within(&self, x: &[f64], table: &[f64], rows: &Ragged) -> Vec<f64> {
        let (spec, d) = (self.spec(), self.head_dim);
        let width = spec.qkv_width();
        let head = |n: usize, h: usize| &x[n * width + h * d..][..d];
        let mut y = Vec::new();
        for range in rows.ranges() {
            for (i, n) in range.clone().enumerate() {
                for h in 0..self.heads {
                    let g = self.heads + h / (self.heads / self.kv_heads);
                    let q = self.rotated(head(n, h), i);
                    let keys = if self.causal { i + 1 } else { range.len() };
                    let score = |j: usize| {
                        let k = self.rotated(head(range.start + j, g), j);
                        let dot: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
                        let bias = self.buckets.map_or(0.0, |b| {
                            table[b.bucket(j as isize - i as isize) * self.heads + h]
                        });
                        f64::from(spec.scale) * dot + bias
                    };
                    let scores: Vec<f64> = (0..keys).map(score).collect();
                    let values: Vec<&[f64]> =
                        (0..keys).map(|j| head(range.start + j, g + self.kv_heads)).collect();
                    y.extend(self.mix(&scores, &values, n * self.heads + h));
                }
            }
        }
        y
    }

    /// `q` is `[N, H D]`, `kv` `[S, 2 G D]`.
    pub(crate) fn across(
        &self,
        q: &[f64],
        rows: &Ragged,
        kv: &[f64],
        source_rows: &Ragged,
        sources: &[usize],
    ) -> Vec<f64> {
        let (spec, d) = (self.spec(), self.head_dim);
        let key = |s: usize, g: usize| &kv[s * 2 * spec.kv_width() + g * d..][..d];
        let mut y = Vec::new();
        for (range, &source) in rows.ranges().zip(sources) {
            for (n, h) in range.flat_map(|n| (0..self.heads).map(move |h| (n, h))) {
                let g = h / (self.heads / self.kv_heads);
                let q = &q[(n * self.heads + h) * d..][..d];
                let positions = source_rows.range(source);
                let dot = |s| q.iter().zip(key(s, g)).map(|(q, k)| q * k).sum::<f64>();
                let scores: Vec<f64> =
                    positions.clone().map(|s| f64::from(spec.scale) * dot(s)).collect();
                let values: Vec<&[f64]> = positions.map(|s| key(s, g + self.kv_heads)).collect();
                y.extend(self.mix(&scores, &values, n * self.heads + h));
            }
        }
        y
    }
}

/// The sum over the rows that have a target, by the two papers' words: a mixture of the target with a uniform
/// distribution over all ids, or over all others.
pub(crate) fn cross_entropy(
    logits: &[f64],
    vocab: usize,
    targets: &[Option<u32>],
    smoothing: Smoothing,
) -> f64 {
    let row = |(x, target): (&[f64], &Option<u32>)| {
        let Some(target) = target.map(|t| t as usize) else { return 0.0 };
        let total = x.iter().map(|v| v.exp()).sum::<f64>().ln();
        let nll = |id: usize| total - x[id];
        let sum: f64 = (0..vocab).map(nll).sum();
        match smoothing {
            Smoothing::None => nll(target),
            Smoothing::Uniform(e) => {
                let e = f64::from(e);
                (1.0 - e) * nll(target) + e * sum / vocab as f64
            }
            Smoothing::Others(e) => {
                let each = f64::from(e) / (vocab - 1) as f64;
                (1.0 - f64::from(e) - each) * nll(target) + each * sum
            }
        }
    };
    logits.chunks(vocab).zip(targets).map(row).sum()
}
