//! The way back of attention: one sequence of queries, one key-value head and its keys.
//!
//! With s = scale · q k + bias, p = e^(s - l), l the kept logarithm, and m the dropout of p:
//!
//! ```text
//! dp = m (dy · v)     ds = p (dp - dy · y)
//! dq = scale · ds k   dk += scale · ds q   dv += m p dy
//! ```
//!
//! dy · y is Σ p dp (Dao 2023, FlashAttention-2, section 3.2), so a vector of queries needs one pass over its keys. Scores and
//! dp are chains over rising d whose lanes are keys, as in the forward; the rest are rows of D columns. Keys and values sum
//! over the queries in order, and all of it belongs to one unit of work: no bit depends on the threads.

use crate::kernels::attention::{Angles, RelativeBias, padded};
use crate::kernels::dropout::mask;
use crate::memory::{Buffer, Tensor, Tile};
use crate::simd::{Kernel, MAX_LANES, Simd, math};
use seq2seq_core::{AttentionSpec, train::Dropout};
use std::ops::Range;

/// What all units of one call share.
pub(crate) struct Call<'a> {
    /// Rows that begin with the queries, `[H, D]`.
    pub(crate) queries: &'a Tensor,
    /// Rows that hold keys and values.
    pub(crate) source: &'a Tensor,
    /// Where the keys begin in a row of `source`; the values follow.
    pub(crate) column: usize,
    pub(crate) y: &'a Tensor,
    pub(crate) dy: &'a Tensor,
    pub(crate) log_sums: &'a Tensor,
    pub(crate) spec: &'a AttentionSpec,
    pub(crate) causal: bool,
    /// For each row.
    pub(crate) angles: Option<&'a Angles>,
    pub(crate) bias: Option<&'a RelativeBias>,
    pub(crate) dropout: Option<Dropout>,
}

/// One sequence and one key-value head.
pub(crate) struct Unit<'a> {
    pub(crate) call: &'a Call<'a>,
    pub(crate) kv_head: usize,
    pub(crate) rows: Range<usize>,
    pub(crate) keys: Range<usize>,
    /// `[rows, group · D]`
    pub(crate) dq: Tile<'a>,
    /// `[keys, D]` each.
    pub(crate) dk: Tile<'a>,
    pub(crate) dv: Tile<'a>,
    /// With a bias: for each head of the group, Σ ds by distance from 1 - rows to keys - 1.
    pub(crate) distances: Option<&'a mut [f32]>,
}

/// Keys and values of a unit, in both layouts, and what sums up over its queries.
struct Held {
    /// Keys, rounded up to whole vectors.
    span: usize,
    /// Columns of a row, rounded up.
    wide: usize,
    values: Buffer<f32>,
}

/// Its parts.
struct Parts<'a> {
    /// `[D][span]`
    keys_across: &'a [f32],
    values_across: &'a [f32],
    /// `[keys][wide]`
    keys: &'a [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

impl Held {
    fn new(unit: &Unit<'_>) -> Self {
        let Call { source, spec, angles, .. } = unit.call;
        let (d, count) = (spec.head_dim, unit.keys.len());
        let (span, wide) =
            (count.next_multiple_of(MAX_LANES), padded(d).next_multiple_of(MAX_LANES));
        let mut values = Buffer::zeroed(2 * d * span + 3 * count * wide);
        let (across, along) = values.split_at_mut(2 * d * span);
        let (keys_across, values_across) = across.split_at_mut(d * span);
        let key = unit.call.column + unit.kv_head * d;
        for (j, row) in unit.keys.clone().enumerate() {
            let held = &mut along[j * wide..j * wide + d];
            held.copy_from_slice(&source.row(row)[key..key + d]);
            if let Some(angles) = angles {
                angles.rotate(row, held);
            }
            let value = &source.row(row)[key + spec.kv_width()..][..d];
            for c in 0..d {
                keys_across[c * span + j] = held[c];
                values_across[c * span + j] = value[c];
            }
        }
        Self { span, wide, values }
    }

    fn parts(&mut self, d: usize) -> Parts<'_> {
        let (across, along) = self.values.split_at_mut(2 * d * self.span);
        let (keys_across, values_across) = across.split_at(d * self.span);
        let third = along.len() / 3;
        let (keys, sums) = along.split_at_mut(third);
        let (dk, dv) = sums.split_at_mut(third);
        Parts { keys_across, values_across, keys, dk, dv }
    }
}

impl Kernel for Unit<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let call = self.call;
        let spec = call.spec;
        let (d, group, keys) = (spec.head_dim, spec.heads / spec.kv_heads, self.keys.len());
        let mut held = Held::new(&self);
        let (span, wide) = (held.span, held.wide);
        let parts = held.parts(d);
        let mut scratch = Buffer::<f32>::zeroed(3 * wide + 3 * span);
        let (vectors, lines) = scratch.split_at_mut(3 * wide);
        let (q, rest) = vectors.split_at_mut(wide);
        let (dy, dq) = rest.split_at_mut(wide);
        let (p, rest) = lines.split_at_mut(span);
        let (ds, factors) = rest.split_at_mut(span);
        for (position, row) in self.rows.clone().enumerate() {
            let limit = if call.causal { position + 1 } else { keys };
            for of_group in 0..group {
                let head = self.kv_head * group + of_group;
                let columns = head * d..(head + 1) * d;
                q[..d].copy_from_slice(&call.queries.row(row)[columns.clone()]);
                if let Some(angles) = call.angles {
                    angles.rotate(row, &mut q[..d]);
                }
                q[..d].iter_mut().for_each(|q| *q *= spec.scale);
                dy[..d].copy_from_slice(&call.dy.row(row)[columns.clone()]);
                let along = dot(&dy[..d], &call.y.row(row)[columns]);
                if let Some(dropout) = call.dropout {
                    mask(dropout, row * spec.heads + head, &mut factors[..limit]);
                }
                across(
                    s,
                    (&q[..d], parts.keys_across),
                    span,
                    &mut p[..limit.next_multiple_of(MAX_LANES)],
                );
                across(
                    s,
                    (&dy[..d], parts.values_across),
                    span,
                    &mut ds[..limit.next_multiple_of(MAX_LANES)],
                );
                let log = s.splat(call.log_sums.row(row)[head]);
                let bias = call.bias.map(|bias| bias.seen_from(head, position));
                for at in (0..limit).step_by(S::LANES) {
                    let mut score = s.load(&p[at..]);
                    if let Some(bias) = bias {
                        score = s.add(score, bias.at(s, at));
                    }
                    s.store(math::exp(s, s.sub(score, log)), &mut p[at..]);
                }
                for j in 0..limit {
                    let factor = if call.dropout.is_some() { factors[j] } else { 1.0 };
                    ds[j] = p[j] * (ds[j] * factor - along);
                    p[j] *= factor;
                }
                if let Some(distances) = &mut self.distances {
                    let all = keys + self.rows.len() - 1;
                    let from = of_group * all + self.rows.len() - 1 - position;
                    let out = &mut distances[from..from + limit];
                    out.iter_mut().zip(&*ds).for_each(|(out, ds)| *out += ds);
                }
                mix(s, &ds[..limit], parts.keys, dq);
                spread(s, &ds[..limit], q, parts.dk);
                spread(s, &p[..limit], dy, parts.dv);
                let out = &mut self.dq.row(position)[of_group * d..(of_group + 1) * d];
                out.iter_mut().zip(&*dq).for_each(|(out, dq)| *out = dq * spec.scale);
                if let Some(angles) = call.angles {
                    angles.rotate_back(row, out);
                }
            }
        }
        for (j, row) in self.keys.clone().enumerate() {
            let dk = self.dk.row(j);
            dk.copy_from_slice(&parts.dk[j * wide..j * wide + d]);
            if let Some(angles) = call.angles {
                angles.rotate_back(row, dk);
            }
            self.dv.row(j).copy_from_slice(&parts.dv[j * wide..j * wide + d]);
        }
    }
}

/// x · y over 16 sums.
#[inline(always)]
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    for (x, y) in x.chunks(16).zip(y.chunks(16)) {
        sums.iter_mut().zip(x.iter().zip(y)).for_each(|(sum, (x, y))| *sum += x * y);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0]
}

/// out\[j\] = Σ x\[c\] · table\[c\]\[j\], a chain over rising c.
#[inline(always)]
fn across<S: Simd>(s: S, (x, table): (&[f32], &[f32]), span: usize, out: &mut [f32]) {
    for at in (0..out.len()).step_by(MAX_LANES) {
        // Two vectors where a vector has 8 lanes, four where it has 4.
        let mut sums = [s.zero(); MAX_LANES];
        let vectors = MAX_LANES / S::LANES;
        for (c, &x) in x.iter().enumerate() {
            let x = s.splat(x);
            for (v, sum) in sums[..vectors].iter_mut().enumerate() {
                *sum = s.fma(x, s.load(&table[c * span + at + v * S::LANES..]), *sum);
            }
        }
        for (v, sum) in sums[..vectors].iter().enumerate() {
            s.store(*sum, &mut out[at + v * S::LANES..]);
        }
    }
}

/// out = Σ weights\[j\] · rows\[j\], a chain over rising j; rows are as wide as `out`, whole vectors.
#[inline(always)]
fn mix<S: Simd>(s: S, weights: &[f32], rows: &[f32], out: &mut [f32]) {
    let wide = out.len();
    for at in (0..wide).step_by(MAX_LANES) {
        let mut sums = [s.zero(); MAX_LANES];
        let vectors = MAX_LANES / S::LANES;
        for (j, &weight) in weights.iter().enumerate() {
            let weight = s.splat(weight);
            for (v, sum) in sums[..vectors].iter_mut().enumerate() {
                *sum = s.fma(weight, s.load(&rows[j * wide + at + v * S::LANES..]), *sum);
            }
        }
        for (v, sum) in sums[..vectors].iter().enumerate() {
            s.store(*sum, &mut out[at + v * S::LANES..]);
        }
    }
}

/// rows\[j\] += weights\[j\] · x
#[inline(always)]
fn spread<S: Simd>(s: S, weights: &[f32], x: &[f32], rows: &mut [f32]) {
    for (row, &weight) in rows.chunks_exact_mut(x.len()).zip(weights) {
        let weight = s.splat(weight);
        for at in (0..x.len()).step_by(S::LANES) {
            let sum = s.fma(weight, s.load(&x[at..]), s.load(&row[at..]));
            s.store(sum, &mut row[at..]);
        }
    }
}
