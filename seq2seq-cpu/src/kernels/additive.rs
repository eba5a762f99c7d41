//! Additive attention of one row: softmax(vᵀ tanh(q + key)) over the positions of a source, then the weighted values.
//!
//! A score is one chain over the vectors of v, lane by lane, that ends in a fixed tree; a result is one chain over rising
//! position. A row's bits depend on nothing but the row, its source and the level.

use super::attention::{BLOCK, softmax_row};
use crate::memory::{Buffer, Tensor};
use crate::simd::{Kernel, Simd, math};
use std::ops::Range;

/// Vectors of a score, or of a result, that are worked out side by side.
const WIDE: usize = 4;

/// One row; `out` is as long as rows of `values`, `weights`, where they are wanted, as the source.
pub(crate) struct Row<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) keys: &'a Tensor,
    pub(crate) values: &'a Tensor,
    /// The rows of the source.
    pub(crate) source: Range<usize>,
    pub(crate) out: &'a mut [f32],
    pub(crate) weights: Option<&'a mut [f32]>,
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { q, v, keys, values, source, out, weights } = self;
        let len = source.len();
        let mut scores = Buffer::<f32>::scratch(len.next_multiple_of(BLOCK));
        for (score, j) in scores.iter_mut().zip(source.clone()) {
            *score = score_of(s, v, q, keys.row(j));
        }
        let (inverse, _) = softmax_row(s, &mut scores, len, None);
        let stride = values.stride();
        let rows = &values.values()[source.start * stride..source.end * stride];
        let mut at = 0;
        while at + WIDE * S::LANES <= out.len() {
            weighted::<S, WIDE>(s, &scores[..len], (rows, stride), inverse, at, out);
            at += WIDE * S::LANES;
        }
        while at < out.len() {
            weighted::<S, 1>(s, &scores[..len], (rows, stride), inverse, at, out);
            at += S::LANES;
        }
        if let Some(weights) = weights {
            weights.iter_mut().zip(&scores[..]).for_each(|(w, e)| *w = e * inverse);
        }
    }
}

/// vᵀ tanh(q + key)
#[inline(always)]
fn score_of<S: Simd>(s: S, v: &[f32], q: &[f32], key: &[f32]) -> f32 {
    let (q, key) = (&q[..v.len()], &key[..v.len()]);
    let whole = v.len() / S::LANES * S::LANES;
    let (mut sum, mut at) = (s.zero(), 0);
    while at + WIDE * S::LANES <= whole {
        let mut t = [s.zero(); WIDE];
        for (i, t) in t.iter_mut().enumerate() {
            let at = at + i * S::LANES;
            *t = s.add(s.load(&q[at..]), s.load(&key[at..]));
        }
        let t = math::tanh_each(s, t);
        for i in 0..WIDE {
            sum = s.fma(s.load(&v[at + i * S::LANES..]), t[i], sum);
        }
        at += WIDE * S::LANES;
    }
    while at < v.len() {
        let t = math::tanh(s, s.add(s.load_within(q, at), s.load_within(key, at)));
        sum = s.fma(s.load_within(v, at), t, sum);
        at += S::LANES;
    }
    s.reduce_add(sum)
}

/// Columns `at` on of the values, `N` vectors, each weighted and summed. Of the last vector only what `out` has room for is
/// stored; rows are long enough to be read beyond.
#[inline(always)]
fn weighted<S: Simd, const N: usize>(
    s: S,
    exps: &[f32],
    (rows, stride): (&[f32], usize),
    inverse: f32,
    at: usize,
    out: &mut [f32],
) {
    let mut sums = [s.zero(); N];
    for (j, &e) in exps.iter().enumerate() {
        let (e, row) = (s.splat(e), &rows[j * stride + at..]);
        for i in 0..N {
            sums[i] = s.fma(e, s.load(&row[i * S::LANES..]), sums[i]);
        }
    }
    for i in 0..N {
        let (y, place) = (s.mul(sums[i], s.splat(inverse)), &mut out[at + i * S::LANES..]);
        match place.len() < S::LANES {
            true => s.store_partial(y, place),
            false => s.store(y, place),
        }
    }
}
