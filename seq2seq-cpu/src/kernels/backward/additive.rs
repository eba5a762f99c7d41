//! Additive attention on its way back.
//!
//! ```text
//! ds = p (dy · value - Σ p (dy · value))                                  one row
//! dkey, dq = ds v (1 - t²), dv = ds t, t = tanh(q + key); dvalue = p dy     some columns of all rows
//! ```
//!
//! A query's sum runs over rising positions, those of keys, values and v over rising queries, column by column: the order does
//! not depend on how the columns are divided.

use crate::memory::{Tensor, Tile};
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
        for at in (0..width).step_by(S::LANES) {
            let (column, one) = (from + at, s.splat(1.0));
            let by = s.load_within(v, column);
            let mut sum_v = s.load_within(dv.row(0), at);
            for (rows, source) in groups {
                for n in rows.clone() {
                    let query = s.load_within(q.row(n), column);
                    let mut sum_q = s.load_within(dq.row(n), at);
                    for (j, &ds) in source.clone().zip(ds.row(n)) {
                        let t = math::tanh(s, s.add(query, s.load_within(keys.row(j), column)));
                        let ds = s.splat(ds);
                        sum_v = s.fma(ds, t, sum_v);
                        let through = s.mul(s.mul(ds, by), s.sub(one, s.mul(t, t)));
                        sum_q = s.add(sum_q, through);
                        let key = dkeys.row(j);
                        s.store_within(s.add(s.load_within(key, at), through), key, at);
                    }
                    s.store_within(sum_q, dq.row(n), at);
                }
            }
            s.store_within(sum_v, dv.row(0), at);
        }
    }
}

/// Some columns of the gradients of the values, added to what there is.
pub(crate) struct Values<'a> {
    pub(crate) weights: &'a Tensor,
    pub(crate) dy: &'a Tensor,
    pub(crate) groups: &'a [Group],
    /// The first column.
    pub(crate) from: usize,
    pub(crate) dvalues: Tile<'a>,
}

impl Kernel for Values<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { weights, dy, groups, from, mut dvalues } = self;
        for (rows, source) in groups {
            for n in rows.clone() {
                let dy = &dy.row(n)[from..];
                for (j, p) in source.clone().zip(weights.row(n)) {
                    let out = dvalues.row(j);
                    out.iter_mut().zip(dy).for_each(|(out, dy)| *out += p * dy);
                }
            }
        }
    }
}
