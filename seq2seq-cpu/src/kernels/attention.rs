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
//! An element is a word of 32 bits ([`words`](crate::simd::words)): an f32, or a pair of bf16 where precision and machine
//! allow it. A pair of a key are columns 2 d and 2 d + 1, a pair of values the positions 2 t and 2 t + 1; so there are half
//! as many rows of either, and an instruction adds two products to a sum.
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
mod store;
mod values;

pub use bias::RelativeBias;
pub(crate) use layout::{BLOCK, Held, Layout, MIXED, Paged, join};
pub(crate) use rotary::Angles;
pub(crate) use softmax::row as softmax_row;
pub(crate) use store::Store;

use crate::memory::{Buffer, Tensor, Tile};
use crate::simd::Simd;
use crate::simd::words::{Words, WordsKernel};
use layout::KeyBlocks;
use scores::Scores;
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
    /// Of what is held.
    pub(crate) layout: Layout,
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

/// A unit, and what it works in: memory of any content that other units have used.
pub(crate) struct Work<'a> {
    pub(crate) unit: Unit<'a>,
    pub(crate) scratch: &'a mut Buffer<f32>,
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

impl WordsKernel for Work<'_> {
    #[inline(always)]
    fn run<S: Simd, W: Words<S>>(self, s: S, w: W) {
        let Self { mut unit, scratch } = self;
        let call = unit.call;
        let (width, layout) = (call.spec.head_dim, call.layout);
        let (first, step) = if call.causal { (unit.position + 1, 1) } else { (unit.len, 0) };
        let vectors =
            Vectors { count: unit.rows.len() * call.group(), group: call.group(), first, step };
        if vectors.count == 0 {
            return;
        }
        let limit = vectors.limit(vectors.count - 1);
        let span = limit.next_multiple_of(BLOCK);

        let row = layout.row();
        let apart = match unit.held {
            Held::Whole { .. } => 0,
            Held::Paged(_) => vectors.count * scores::MOST,
        };
        let words = vectors.count * (span + width + row + 1) + row + apart;
        let (scores, rest) = scratch.at_least(words).split_at_mut(vectors.count * span);
        let (sums, rest) = rest.split_at_mut(vectors.count * row);
        let (mixed, rest) = rest.split_at_mut(row);
        let (apart, rest) = rest.split_at_mut(apart);
        let (queries, inverse) = rest.split_at_mut(vectors.count * width);

        let queries = unit.load_queries((s, w), queries);
        let keys = KeyBlocks::new(&unit.held, layout);
        Scores { queries, keys, vectors, scores: &mut *scores, span, apart }.all(s, w);
        for r in 0..vectors.count {
            let row = &mut scores[r * span..(r + 1) * span];
            inverse[r] = unit.weigh(s, row, r, vectors);
            w.pack_row(s, row);
        }
        sums.fill(0.0);
        let mut start = 0;
        while start < limit {
            let (rows, end) = unit.held.run(start, limit, layout, mixed);
            let run = values::Run { rows, start, end };
            values::add((s, w), (scores, span), &run, vectors, (sums, row));
            start = end;
        }
        unit.store(vectors, (sums, row), inverse);
    }
}

impl Unit<'_> {
    /// The query vectors, rotated and scaled, as words: `[R][key word]`.
    #[inline(always)]
    fn load_queries<'x, S: Simd, W: Words<S>>(
        &self,
        (s, w): (S, W),
        out: &'x mut [f32],
    ) -> &'x [f32] {
        let call = self.call;
        let (width, group, words) = (call.spec.head_dim, call.group(), call.layout.key());
        let columns = self.kv_head * group * width..(self.kv_head + 1) * group * width;
        for (i, row) in self.rows.clone().enumerate() {
            let out = &mut out[i * group * width..(i + 1) * group * width];
            out.copy_from_slice(&call.queries.row(row)[columns.clone()]);
            if let Some(angles) = call.angles {
                out.chunks_exact_mut(width).for_each(|head| angles.rotate(row, head));
            }
            out.iter_mut().for_each(|q| *q *= call.spec.scale);
        }
        if W::NUMBERS > 1 {
            for r in 0..out.len() / width {
                w.pack_row(s, &mut out[r * width..(r + 1) * width]);
                out.copy_within(r * width..r * width + words, r * words);
            }
        }
        out
    }

    /// Replaces the scores of vector `r` by e^(score - largest), dropout applied, and gives the inverse of their sum.
    #[inline(always)]
    fn weigh<S: Simd>(&mut self, s: S, row: &mut [f32], r: usize, vectors: Vectors) -> f32 {
        let call = self.call;
        let (n, head) = (r / vectors.group, r % vectors.group);
        let query_head = self.kv_head * vectors.group + head;
        let limit = vectors.limit(r);
        let bias = call.bias.map(|bias| bias.seen_from(query_head, self.position + n));
        let (inverse, largest) = softmax::row(s, row, limit, bias);
        if let Some(log_sums) = &mut self.log_sums {
            let log = if inverse == 0.0 { largest } else { largest - inverse.ln() };
            log_sums.row(n)[head] = log;
        }
        if let Some(dropout) = call.dropout {
            let mut factors = Buffer::<f32>::scratch(limit);
            let rows = (self.rows.start + n) * call.spec.heads;
            dropout.factors(rows + query_head, &mut factors);
            row.iter_mut().zip(&factors[..]).for_each(|(p, factor)| *p *= factor);
        }
        if let Some(weights) = &mut self.weights {
            let out = &mut weights.row(n)[head * self.len..(head + 1) * self.len];
            out.iter_mut().zip(&row[..]).for_each(|(o, e)| *o = e * inverse);
        }
        inverse
    }

    /// Results: sums of `stride` times the inverse of that of the exponentials. Zeros where nothing is seen.
    #[inline(always)]
    fn store(&mut self, vectors: Vectors, (sums, stride): (&[f32], usize), inverse: &[f32]) {
        let width = self.call.spec.head_dim;
        for r in 0..vectors.count {
            let (row, head) = (r / vectors.group, r % vectors.group);
            let out = &mut self.out.row(row)[head * width..(head + 1) * width];
            let sums = &sums[r * stride..];
            out.iter_mut().zip(sums).for_each(|(o, sum)| *o = sum * inverse[r]);
        }
    }
}
