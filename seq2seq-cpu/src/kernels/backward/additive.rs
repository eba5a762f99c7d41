//! Additive attention on its way back.
//!
//! ```text
//! ds = p (dy · value - Σ p (dy · value))                                  one row
//! dkey, dq = ds v (1 - t²), dv = ds t, t = tanh(q + key); dvalue = p dy     some columns of all rows
//! ```
//!
//! A query's sum runs over rising positions, those of keys, values and v over rising queries, column by column: the order does
//! not depend on how the columns are divided.

use crate::memory::{For, Tensor, Tile, prefetch};
use crate::simd::{Kernel, Simd, math};
use std::ops::Range;

/// ds of one row, in place of its probabilities.
pub(crate) struct Scores<'a> {
    pub(crate) dy: &'a [f32],
    pub(crate) values: &'a Tensor,
    /// The rows of the source.
    pub(crate) source: Range<usize>,
    /// One a position.
    pub(crate) weights: &'a [f32],
    pub(crate) ds: &'a mut [f32],
}

impl Kernel for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { dy, values, source, weights, ds } = self;
        let mut along = 0.0;
        for ((ds, j), p) in ds.iter_mut().zip(source).zip(weights) {
            *ds = dot(s, dy, values.row(j));
            along += p * *ds;
        }
        ds.iter_mut().zip(weights).for_each(|(ds, p)| *ds = p * (*ds - along));
    }
}

/// a · b, of equal length.
#[inline(always)]
fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let b = &b[..a.len()];
    let whole = a.len() / S::LANES * S::LANES;
    let mut sum = s.zero();
    for i in (0..whole).step_by(S::LANES) {
        sum = s.fma(s.load(&a[i..]), s.load(&b[i..]), sum);
    }
    if whole < a.len() {
        let (a, b) = (s.load_partial(&a[whole..], 0.0), s.load_partial(&b[whole..], 0.0));
        sum = s.fma(a, b, sum);
    }
    s.reduce_add(sum)
}

/// Who reads what: a group of query rows and the rows of its source.
pub(crate) type Group = (Range<usize>, Range<usize>);

/// Positions ahead of which keys and their gradients are asked for: rows are far apart, and a tanh takes long.
const AHEAD: usize = 4;

/// Some columns of the gradients of queries, keys and v, added to what there is.
pub(crate) struct Columns<'a> {
    pub(crate) q: &'a Tensor,
    pub(crate) keys: &'a Tensor,
    pub(crate) v: &'a [f32],
    /// ds of each row.
    pub(crate) ds: &'a Tensor,
    pub(crate) groups: &'a [Group],
    /// The first column.
    pub(crate) from: usize,
    pub(crate) dq: Tile<'a>,
    pub(crate) dkeys: Tile<'a>,
    /// One row.
    pub(crate) dv: Tile<'a>,
}

impl Kernel for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { q, keys, v, ds, groups, from, mut dq, mut dkeys, mut dv } = self;
        let width = dv.row(0).len();
        let (one, key_ahead, dkey_ahead) =
            (s.splat(1.0), AHEAD * keys.stride(), AHEAD * dkeys.stride());
        // The columns of a source stay in the first cache while they are taken a vector at a time.
        for (rows, source) in groups {
            for at in (0..width).step_by(S::LANES) {
                let column = from + at;
                let by = s.load_within(v, column);
                let mut sum_v = s.load_within(dv.row(0), at);
                for n in rows.clone() {
                    let query = s.load_within(q.row(n), column);
                    let mut sum_q = s.load_within(dq.row(n), at);
                    for (j, &ds) in source.clone().zip(ds.row(n)) {
                        let key = keys.row(j);
                        let ahead = key.as_ptr().wrapping_add(key_ahead + column);
                        prefetch(ahead.cast(), For::Reading);
                        let t = math::tanh(s, s.add(query, s.load_within(key, column)));
                        let ds = s.splat(ds);
                        sum_v = s.fma(ds, t, sum_v);
                        let through = s.mul(s.mul(ds, by), s.sub(one, s.mul(t, t)));
                        sum_q = s.add(sum_q, through);
                        let key = dkeys.row(j);
                        let ahead = key.as_ptr().wrapping_add(dkey_ahead + at);
                        prefetch(ahead.cast(), For::Writing);
                        s.store_within(s.add(s.load_within(key, at), through), key, at);
                    }
                    s.store_within(sum_q, dq.row(n), at);
                }
                s.store_within(sum_v, dv.row(0), at);
            }
        }
    }
}

/// Some columns of the gradients of the values of one source, added to what there is.
pub(crate) struct Values<'a, Q> {
    pub(crate) weights: &'a Tensor,
    pub(crate) dy: &'a Tensor,
    /// The query rows of each group that reads the source.
    pub(crate) queries: Q,
    /// The first column.
    pub(crate) from: usize,
    pub(crate) dvalues: Tile<'a>,
}

impl<Q: Iterator<Item = Range<usize>>> Kernel for Values<'_, Q> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { weights, dy, queries, from, mut dvalues } = self;
        for rows in queries {
            for n in rows {
                let (dy, weights) = (&dy.row(n)[from..], &weights.row(n)[..dvalues.rows()]);
                for (j, p) in weights.iter().enumerate() {
                    dvalues.row(j).iter_mut().zip(dy).for_each(|(out, dy)| *out += p * dy);
                }
            }
        }
    }
}
