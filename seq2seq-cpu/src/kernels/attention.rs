//! softmax(scale · q kᵀ + bias) v: the one kernel behind `attend`, `attend_step` and `cross_attend`.
//!
//! # Layout
//!
//! What a key-value head holds of one sequence (`layout.rs`):
//!
//! ```text
//! keys     [block][D][16]   16 positions a block, transposed: lanes are positions
//! values   [position][D']   rows; D' is D rounded up to whole vectors
//! ```
//!
//! A score is one chain of multiply-adds over rising d, whose lanes are 16 keys; a result is one over rising position,
//! whose lanes are columns. Neither needs a sum across lanes, so tiles of query rows run as a matrix product does.
//!
//! # One unit of work
//!
//! Some consecutive rows of one sequence and one key-value head. Their R = rows · H / G query vectors pass three steps, each
//! over all of them, with the scores `[R][positions]` in the second cache: scores (`scores.rs`), softmax of each vector over
//! the positions that it may see (`softmax.rs`), values (`values.rs`).
//!
//! # Bits
//!
//! A vector's result depends on its query, on the keys and values that it may see and on the level, and on nothing else:
//! not on R, not on where the sequence lies (blocks, pages of a cache), not on positions beyond its limit. Those are
//! computed along in the last block and dropped before the softmax: they add an exact 0 to its sum and never meet a value.
//! So a step over a cache gives the bits of the whole pass.

mod bias;
mod layout;
mod rotary;
mod scores;
mod softmax;
mod values;

pub use bias::RelativeBias;
pub(crate) use layout::{BLOCK, Held, MIXED, Paged, Store, padded};
pub(crate) use rotary::Angles;
pub(crate) use softmax::row as softmax_row;

use super::dropout::mask;
use crate::memory::{Buffer, Tensor, Tile};
use crate::simd::{Kernel, Simd};
use layout::KeyBlocks;
use seq2seq_core::{AttentionSpec, train::Dropout};
use std::ops::Range;

/// What all units of one call share.
pub(crate) struct Call<'a> {
    /// Rows that begin with the queries, `[H, D]`.
    pub(crate) queries: &'a Tensor,
    pub(crate) spec: &'a AttentionSpec,
    /// Whether a row sees only itself and what came before.
    pub(crate) causal: bool,
    /// For each row.
    pub(crate) angles: Option<&'a Angles>,
    pub(crate) bias: Option<&'a RelativeBias>,
    /// Of the probabilities; none where it is not trained on.
    pub(crate) dropout: Option<Dropout>,
}

impl Call<'_> {
    /// Query heads that read one key-value head.
    pub(crate) fn group(&self) -> usize {
        self.spec.heads / self.spec.kv_heads
    }
}

/// Consecutive rows of one sequence and one key-value head.
pub(crate) struct Unit<'a> {
    pub(crate) call: &'a Call<'a>,
    pub(crate) kv_head: usize,
    /// Of the queries.
    pub(crate) rows: Range<usize>,
    /// The position of the first of them.
    pub(crate) position: usize,
    /// The keys and values of the sequence, at least up to the last row where the call is causal.
    pub(crate) held: Held<'a>,
    /// Positions that are held.
    pub(crate) len: usize,
    /// The columns of the result for these rows: those of the query heads that read the key-value head.
    pub(crate) out: Tile<'a>,
    /// For each row and query head the `len` weights, where they are wanted.
    pub(crate) weights: Option<Tile<'a>>,
    /// For each row and query head ln Σ e^score, where it is wanted.
    pub(crate) log_sums: Option<Tile<'a>>,
}

/// The query vectors of a unit: vector r is query head `r % group` of row `r / group`.
#[derive(Clone, Copy)]
struct Vectors {
    count: usize,
    group: usize,
    /// Positions that the first row sees.
    first: usize,
    /// Positions that each row sees more than the row before.
    step: usize,
}

impl Vectors {
    /// How many positions vector `r` sees. Never falls.
    fn limit(&self, r: usize) -> usize {
        self.first + r / self.group * self.step
    }

    /// The first vector that sees `position`.
    fn seeing(&self, position: usize) -> usize {
        match self.step {
            0 => 0,
            _ => (position + 1).saturating_sub(self.first) * self.group,
        }
    }
}

impl Kernel for Unit<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let call = self.call;
        let width = call.spec.head_dim;
        let (first, step) = if call.causal { (self.position + 1, 1) } else { (self.len, 0) };
        let vectors =
            Vectors { count: self.rows.len() * call.group(), group: call.group(), first, step };
        if vectors.count == 0 {
            return;
        }
        let limit = vectors.limit(vectors.count - 1);
        let span = limit.next_multiple_of(BLOCK);

        let mut scratch =
            Buffer::<f32>::scratch(vectors.count * (span + width + padded(width) + 1));
        let (scores, rest) = scratch.split_at_mut(vectors.count * span);
        let (sums, rest) = rest.split_at_mut(vectors.count * padded(width));
        let (queries, inverse) = rest.split_at_mut(vectors.count * width);

        self.load_queries(queries);
        let blocks = KeyBlocks::new(s, &self.held, limit, width);
        scores::all(s, queries, &blocks, vectors, (scores, span));
        for r in 0..vectors.count {
            let row = &mut scores[r * span..(r + 1) * span];
            let bias = call.bias.map(|bias| {
                let head = self.kv_head * vectors.group + r % vectors.group;
                bias.seen_from(head, self.position + r / vectors.group)
            });
            let largest;
            (inverse[r], largest) = softmax::row(s, row, vectors.limit(r), bias);
            if let Some(log_sums) = &mut self.log_sums {
                let log = if inverse[r] == 0.0 { largest } else { largest - inverse[r].ln() };
                log_sums.row(r / vectors.group)[r % vectors.group] = log;
            }
            if let Some(dropout) = call.dropout {
                let (n, limit) = (self.rows.start + r / vectors.group, vectors.limit(r));
                let head = self.kv_head * vectors.group + r % vectors.group;
                let mut factors = Buffer::<f32>::scratch(limit);
                mask(dropout, n * call.spec.heads + head, &mut factors);
                row.iter_mut().zip(&factors[..]).for_each(|(p, factor)| *p *= factor);
            }
        }
        sums.fill(0.0);
        let mut start = 0;
        while start < limit {
            let rows = self.held.run(start, limit, padded(width));
            values::add(s, (scores, span), start, rows, vectors, (sums, padded(width)));
            start += rows.len() / padded(width);
        }
        self.store(vectors, (sums, inverse), (scores, span));
    }
}

impl Unit<'_> {
    /// The query vectors, rotated and scaled: `[R][D]`.
    #[inline(always)]
    fn load_queries(&self, out: &mut [f32]) {
        let call = self.call;
        let (width, group) = (call.spec.head_dim, call.group());
        let columns = self.kv_head * group * width..(self.kv_head + 1) * group * width;
        for (row, out) in self.rows.clone().zip(out.chunks_exact_mut(group * width)) {
            out.copy_from_slice(&call.queries.row(row)[columns.clone()]);
            if let Some(angles) = call.angles {
                out.chunks_exact_mut(width).for_each(|head| angles.rotate(row, head));
            }
            out.iter_mut().for_each(|q| *q *= call.spec.scale);
        }
    }

    /// Results and weights: sums and exponentials times the inverse of their sum. Zeros where nothing is seen.
    #[inline(always)]
    fn store(
        &mut self,
        vectors: Vectors,
        (sums, inverse): (&[f32], &[f32]),
        (exps, span): (&[f32], usize),
    ) {
        let width = self.call.spec.head_dim;
        for r in 0..vectors.count {
            let (row, head) = (r / vectors.group, r % vectors.group);
            let out = &mut self.out.row(row)[head * width..(head + 1) * width];
            let sums = &sums[r * padded(width)..];
            out.iter_mut().zip(sums).for_each(|(o, sum)| *o = sum * inverse[r]);
            if let Some(weights) = &mut self.weights {
                let out = &mut weights.row(row)[head * self.len..(head + 1) * self.len];
                let exps = &exps[r * span..];
                out.iter_mut().zip(exps).for_each(|(o, e)| *o = e * inverse[r]);
            }
        }
    }
}
