//! Additive attention on its way back.
//!
//! ```text
//! ds = p (dy · value - Σ p (dy · value))                                  one row
//! dkey, dq = ds v (1 - t²), dv = ds t, t = tanh(q + key); dvalue = p dy     some columns of all rows
//! ```
//!
//! A query's sum runs over rising positions, those of keys, values and v over rising queries, column by column: the order does
//! not depend on how the columns are divided.

use crate::memory::{For, Tensor, Tile, prefetch_run};
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
        let (sides, rest) = ds.as_chunks_mut::<SIDE>();
        let mut j = source.start;
        for ds in sides {
            *ds = dots(s, dy, values, j);
            j += SIDE;
        }
        for ds in rest {
            [*ds] = dots(s, dy, values, j);
            j += 1;
        }
        let mut along = 0.0;
        for (ds, p) in ds.iter().zip(weights) {
            along += p * ds;
        }
        ds.iter_mut().zip(weights).for_each(|(ds, p)| *ds = p * (*ds - along));
    }
}

/// Positions whose products are summed side by side: one chain of sums waits for the multiplier most of the time.
const SIDE: usize = 4;

/// dy · value for `N` positions from `first` on.
#[inline(always)]
fn dots<S: Simd, const N: usize>(s: S, dy: &[f32], values: &Tensor, first: usize) -> [f32; N] {
    let mut rows = [dy; N];
    for (i, row) in rows.iter_mut().enumerate() {
        *row = &values.row(first + i)[..dy.len()];
    }
    let (mut sums, whole) = ([s.zero(); N], dy.len() / S::LANES * S::LANES);
    for at in (0..whole).step_by(S::LANES) {
        let dy = s.load(&dy[at..]);
        for i in 0..N {
            sums[i] = s.fma(dy, s.load(&rows[i][at..]), sums[i]);
        }
    }
    let mut dots = [0.0; N];
    for i in 0..N {
        if whole < dy.len() {
            let (dy, row) = (&dy[whole..], &rows[i][whole..]);
            sums[i] = s.fma(s.load_partial(dy, 0.0), s.load_partial(row, 0.0), sums[i]);
        }
        dots[i] = s.reduce_add(sums[i]);
    }
    dots
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
    fn run<S: Simd>(mut self, s: S) {
        let width = self.dv.row(0).len();
        // The columns of a source stay in the first cache while its queries pass.
        for group in self.groups {
            let mut at = 0;
            while at + 4 * S::LANES <= width {
                self.group::<S, 4>(s, group, at..at + 4 * S::LANES);
                at += 4 * S::LANES;
            }
            while at + 2 * S::LANES <= width {
                self.group::<S, 2>(s, group, at..at + 2 * S::LANES);
                at += 2 * S::LANES;
            }
            while at < width {
                self.group::<S, 1>(s, group, at..width.min(at + S::LANES));
                at += S::LANES;
            }
        }
    }
}

impl Columns<'_> {
    /// A group of queries in `N` vectors of columns, of which the last may be cut off.
    #[inline(always)]
    fn group<S: Simd, const N: usize>(&mut self, s: S, (rows, source): &Group, part: Range<usize>) {
        let columns = self.from + part.start..self.from + part.end;
        let key_ahead = AHEAD * self.keys.stride();
        let dkey_ahead = AHEAD * self.dkeys.stride();
        let one = s.splat(1.0);
        let v = &self.v[columns.clone()];
        let (mut by, mut sum_v) = ([s.zero(); N], [s.zero(); N]);
        for i in 0..N {
            by[i] = s.load_within(v, i * S::LANES);
            sum_v[i] = s.load_within(&self.dv.row(0)[part.clone()], i * S::LANES);
        }
        for n in rows.clone() {
            let (q, dq) = (&self.q.row(n)[columns.clone()], &mut self.dq.row(n)[part.clone()]);
            let (mut query, mut sum_q) = ([s.zero(); N], [s.zero(); N]);
            for i in 0..N {
                query[i] = s.load_within(q, i * S::LANES);
                sum_q[i] = s.load_within(dq, i * S::LANES);
            }
            for (j, &ds) in source.clone().zip(self.ds.row(n)) {
                let key = &self.keys.row(j)[columns.clone()];
                let dkey = &mut self.dkeys.row(j)[part.clone()];
                let (next, d_next) =
                    (key.as_ptr().wrapping_add(key_ahead), dkey.as_ptr().wrapping_add(dkey_ahead));
                prefetch_run(next, N * S::LANES, For::Reading);
                prefetch_run(d_next, N * S::LANES, For::Writing);
                let ds = s.splat(ds);
                let mut t = query;
                for (i, t) in t.iter_mut().enumerate() {
                    *t = s.add(*t, s.load_within(key, i * S::LANES));
                }
                let t = math::tanh_each(s, t);
                for i in 0..N {
                    sum_v[i] = s.fma(ds, t[i], sum_v[i]);
                    let through = s.mul(s.mul(ds, by[i]), s.sub(one, s.mul(t[i], t[i])));
                    sum_q[i] = s.add(sum_q[i], through);
                    let held = s.load_within(dkey, i * S::LANES);
                    s.store_within(s.add(held, through), dkey, i * S::LANES);
                }
            }
            for (i, &sum) in sum_q.iter().enumerate() {
                s.store_within(sum, dq, i * S::LANES);
            }
        }
        for (i, &sum) in sum_v.iter().enumerate() {
            s.store_within(sum, &mut self.dv.row(0)[part.clone()], i * S::LANES);
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
