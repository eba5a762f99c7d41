//! The way back of attention: one sequence of queries, one key-value head and its keys.
//!
//! With s = scale · q k + bias, p = e^(s - l), l the kept logarithm, and m the dropout of p:
//!
//! ```text
//! dp = m (dy · v)     ds = p (dp - dy · y)
//! dq = scale · ds k   dk += scale · ds q   dv += m p dy
//! ```
//!
//! dy · y is Σ p dp (Dao 2023, FlashAttention-2, section 3.2), so queries need one pass over their keys. Scores and dp are
//! chains over rising d, dq over rising keys, dk and dv over the queries: [`QUERIES`] positions of a head, then of the next
//! head of the group. All of it belongs to one unit of work: no bit depends on the threads.
//!
//! A unit takes [`KEYS`] keys at a time, and past them its queries, [`QUERIES`] at a time: what either needs, and the weights between
//! them, lie in the second cache, however long the sequence. The five products are those of [`tile`].

use super::copy::{Part, TransposePart};
use super::sum::fold;
use super::tile::{self, Lines, ROWS};
use crate::kernels::attention::{Angles, RelativeBias};
use crate::memory::{Buffer, Tensor, Tile};
use crate::simd::{Kernel, Simd, math};
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

/// Keys of a block: whole tiles of columns, and of the random numbers of dropout.
const KEYS: usize = 64;

/// The same as rows of tiles.
const KEY_ROWS: usize = KEYS.next_multiple_of(ROWS);

/// From the weights of a query to those of the next. Behind the keys there are zeros.
const SPAN: usize = KEYS + 16;

/// Queries that pass a block together: whole tiles of rows.
const QUERIES: usize = 8 * ROWS;

/// A block of keys and values in the layouts that the products read, the sums over its queries, and some queries at work.
struct Work<'a> {
    /// Columns of a row, rounded up to whole tiles.
    wide: usize,
    /// `[D][KEYS]`
    keys_across: &'a mut [f32],
    values_across: &'a mut [f32],
    /// `[KEY_ROWS][wide]`
    keys: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    /// `[QUERIES][wide]`: scaled queries, dy, and Σ ds k.
    q: &'a mut [f32],
    dy: &'a mut [f32],
    dq: &'a mut [f32],
    /// `[QUERIES][SPAN]`: scores and then weights, dp and then ds.
    p: &'a mut [f32],
    ds: &'a mut [f32],
    /// `[KEYS]`: the mask of dropout.
    factors: &'a mut [f32],
    /// Σ p dp of each query.
    along: [f32; QUERIES],
}

impl<'a> Work<'a> {
    /// The columns of a row, and the values that all of it takes.
    const fn size<S: Simd>(d: usize) -> (usize, usize) {
        let wide = d.next_multiple_of(tile::columns::<S>());
        (wide, 2 * d * KEYS + 3 * KEY_ROWS * wide + 3 * QUERIES * wide + 2 * QUERIES * SPAN + KEYS)
    }

    fn new(d: usize, wide: usize, room: &'a mut [f32]) -> Self {
        let (keys_across, room) = room.split_at_mut(d * KEYS);
        let (values_across, room) = room.split_at_mut(d * KEYS);
        let (keys, room) = room.split_at_mut(KEY_ROWS * wide);
        let (dk, room) = room.split_at_mut(KEY_ROWS * wide);
        let (dv, room) = room.split_at_mut(KEY_ROWS * wide);
        let (q, room) = room.split_at_mut(QUERIES * wide);
        let (dy, room) = room.split_at_mut(QUERIES * wide);
        let (dq, room) = room.split_at_mut(QUERIES * wide);
        let (p, room) = room.split_at_mut(QUERIES * SPAN);
        let (ds, factors) = room.split_at_mut(QUERIES * SPAN);
        let along = [0.0; QUERIES];
        Self { wide, keys_across, values_across, keys, dk, dv, q, dy, dq, p, ds, factors, along }
    }
}

impl Kernel for Unit<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let spec = self.call.spec;
        let (d, group) = (spec.head_dim, spec.heads / spec.kv_heads);
        let (wide, room) = Work::size::<S>(d);
        let mut room = Buffer::<f32>::scratch(room);
        let mut work = Work::new(d, wide, &mut room);
        // What stands behind the width is multiplied too, and not used.
        for x in [&mut *work.keys, &mut *work.q, &mut *work.dy] {
            x.fill(0.0);
        }
        for position in 0..self.rows.len() {
            self.dq.row(position).fill(0.0);
        }
        for first in (0..self.keys.len()).step_by(KEYS) {
            let block = first..self.keys.len().min(first + KEYS);
            self.begin(s, block.clone(), &mut work);
            // Queries before the block do not see it.
            let begin = if self.call.causal { first } else { 0 };
            for first in (begin..self.rows.len()).step_by(QUERIES) {
                let queries = first..self.rows.len().min(first + QUERIES);
                for of_group in 0..group {
                    self.pass(s, (queries.clone(), of_group), block.clone(), &mut work);
                }
            }
            self.end(s, block, &work);
        }
        for position in 0..self.rows.len() {
            for dq in self.dq.row(position).chunks_exact_mut(d) {
                dq.iter_mut().for_each(|dq| *dq *= spec.scale);
                if let Some(angles) = self.call.angles {
                    angles.rotate_back(self.rows.start + position, dq);
                }
            }
        }
    }
}

impl Unit<'_> {
    /// Reads a block of keys and values.
    #[inline(always)]
    fn begin<S: Simd>(&self, s: S, block: Range<usize>, work: &mut Work<'_>) {
        let Call { source, spec, angles, .. } = self.call;
        let (d, wide, count) = (spec.head_dim, work.wide, block.len());
        let first = self.call.column + self.kv_head * d;
        let rows = self.keys.start + block.start..self.keys.start + block.end;
        for (row, key) in rows.clone().zip(work.keys.chunks_exact_mut(wide)) {
            let key = &mut key[..d];
            copy(s, &source.row(row)[first..first + d], key);
            if let Some(angles) = angles {
                angles.rotate(row, key);
            }
        }
        let from = Part { values: &*work.keys, stride: wide, rows: count, columns: d };
        TransposePart { from, out: &mut *work.keys_across, stride: KEYS }.run(s);
        let columns = first + spec.kv_width()..first + spec.kv_width() + d;
        let from = Part::of(source, rows, columns);
        TransposePart { from, out: &mut *work.values_across, stride: KEYS }.run(s);
        for x in [&mut *work.keys_across, &mut *work.values_across] {
            // No closure: it would be compiled apart.
            for line in x.chunks_exact_mut(KEYS) {
                line[count..].fill(0.0);
            }
        }
        work.dk.fill(0.0);
        work.dv.fill(0.0);
    }

    /// Writes what a block of keys and values has found.
    #[inline(always)]
    fn end<S: Simd>(&mut self, s: S, block: Range<usize>, work: &Work<'_>) {
        let (d, wide) = (self.call.spec.head_dim, work.wide);
        for (j, position) in block.enumerate() {
            let dk = self.dk.row(position);
            copy(s, &work.dk[j * wide..j * wide + d], dk);
            if let Some(angles) = self.call.angles {
                angles.rotate_back(self.keys.start + position, dk);
            }
            copy(s, &work.dv[j * wide..j * wide + d], self.dv.row(position));
        }
    }

    /// The queries of one head at some positions, past a block of keys.
    // Without closures: in a loop that is unrolled they are called several times, and compiled apart.
    #[inline(always)]
    fn pass<S: Simd>(
        &mut self,
        s: S,
        (queries, of_group): (Range<usize>, usize),
        block: Range<usize>,
        work: &mut Work<'_>,
    ) {
        let causal = self.call.causal;
        let (d, group) = (self.call.spec.head_dim, self.call.spec.heads / self.call.spec.kv_heads);
        let (wide, count) = (work.wide, block.len());
        self.read(s, (queries.clone(), of_group), work);
        let keys = Lines { values: &*work.keys_across, stride: KEYS };
        let values = Lines { values: &*work.values_across, stride: KEYS };
        for column in (0..count).step_by(tile::columns::<S>()) {
            for row in (0..queries.len()).step_by(ROWS) {
                // Where not even the last query of the tile sees the first key there is nothing to compute.
                if causal && queries.start + row + ROWS <= block.start + column {
                    continue;
                }
                let q = Lines { values: &*work.q, stride: wide }.from(row, 0);
                let at = row * SPAN + column;
                tile::rows(s, q, keys.from(0, column), d, (&mut work.p[at..], SPAN), false);
                let dy = Lines { values: &*work.dy, stride: wide }.from(row, 0);
                tile::rows(s, dy, values.from(0, column), d, (&mut work.ds[at..], SPAN), false);
            }
        }
        for i in 0..queries.len().next_multiple_of(ROWS) {
            let position = queries.start + i;
            let seen = match (position < queries.end, causal) {
                (false, _) => 0,
                (true, false) => count,
                (true, true) => (position + 1).saturating_sub(block.start).min(count),
            };
            self.weigh(
                s,
                (position, group * self.kv_head + of_group),
                block.start,
                (i, seen),
                work,
            );
            if seen > 0
                && let Some(distances) = &mut self.distances
            {
                let all = self.keys.len() + self.rows.len() - 1;
                let from = of_group * all + self.rows.len() + block.start - 1 - position;
                let out = &mut distances[from..from + seen];
                for (out, ds) in out.iter_mut().zip(&work.ds[i * SPAN..]) {
                    *out += ds;
                }
            }
        }
        let (p, ds) =
            (Lines { values: &*work.p, stride: SPAN }, Lines { values: &*work.ds, stride: SPAN });
        for column in (0..wide).step_by(tile::columns::<S>()) {
            let keys = Lines { values: &*work.keys, stride: wide }.from(0, column);
            for row in (0..queries.len()).step_by(ROWS) {
                let seen = match causal {
                    true => (queries.start + row + ROWS).saturating_sub(block.start).min(count),
                    false => count,
                };
                let out = (&mut work.dq[row * wide + column..], wide);
                tile::rows(s, ds.from(row, 0), keys, seen, out, true);
            }
            let q = Lines { values: &*work.q, stride: wide };
            let dy = Lines { values: &*work.dy, stride: wide };
            for row in (0..count).step_by(ROWS) {
                // The first query that sees any of these keys.
                let first = match causal {
                    true => (block.start + row).saturating_sub(queries.start).min(queries.len()),
                    false => 0,
                };
                let (steps, at) = (queries.len() - first, row * wide + column);
                if steps == 0 {
                    break;
                }
                let out = (&mut work.dk[at..], wide);
                tile::turned(s, ds.from(first, row), q.from(first, column), steps, out);
                let out = (&mut work.dv[at..], wide);
                tile::turned(s, p.from(first, row), dy.from(first, column), steps, out);
            }
        }
        for (i, position) in queries.enumerate() {
            let dq = &mut self.dq.row(position)[of_group * d..(of_group + 1) * d];
            copy(s, &work.dq[i * wide..i * wide + d], dq);
        }
    }

    /// Turns row `i` of scores and dp into weights and ds. Behind the keys that the query sees there are zeros.
    #[inline(always)]
    fn weigh<S: Simd>(
        &self,
        s: S,
        (position, head): (usize, usize),
        first: usize,
        (i, seen): (usize, usize),
        work: &mut Work<'_>,
    ) {
        let call = self.call;
        let (p, ds) = (&mut work.p[i * SPAN..][..SPAN], &mut work.ds[i * SPAN..][..SPAN]);
        if seen > 0 {
            let row = self.rows.start + position;
            let mut factors = None;
            if let Some(dropout) = call.dropout {
                let numbers = row * call.spec.heads + head;
                dropout.factors_from(numbers, first / 4, &mut work.factors[..seen]);
                factors = Some(&work.factors[..]);
            }
            let mut bias = None;
            if let Some(all) = call.bias {
                bias = Some(all.seen_from(head, position));
            }
            let log = s.splat(call.log_sums.row(row)[head]);
            let along = s.splat(work.along[i]);
            for at in (0..seen).step_by(S::LANES) {
                let mut score = s.load(&p[at..]);
                if let Some(bias) = bias {
                    score = s.add(score, bias.at(s, first + at));
                }
                let all = math::exp(s, s.sub(score, log));
                let (mut weight, mut dp) = (all, s.load(&ds[at..]));
                if let Some(factors) = factors {
                    let factor = s.load(&factors[at..]);
                    dp = s.mul(dp, factor);
                    weight = s.mul(weight, factor);
                }
                s.store(weight, &mut p[at..]);
                s.store(s.mul(all, s.sub(dp, along)), &mut ds[at..]);
            }
        }
        p[seen..].fill(0.0);
        ds[seen..].fill(0.0);
    }

    /// Reads scaled queries and dy at some positions, zeros in place of those that are not there, and the sums of dq so far.
    #[inline(always)]
    fn read<S: Simd>(
        &mut self,
        s: S,
        (queries, of_group): (Range<usize>, usize),
        work: &mut Work<'_>,
    ) {
        let call = self.call;
        let (spec, d, wide) = (call.spec, call.spec.head_dim, work.wide);
        let head = self.kv_head * (spec.heads / spec.kv_heads) + of_group;
        let columns = head * d..(head + 1) * d;
        for (i, position) in queries.clone().enumerate() {
            let row = self.rows.start + position;
            let q = &mut work.q[i * wide..i * wide + d];
            copy(s, &call.queries.row(row)[columns.clone()], q);
            if let Some(angles) = call.angles {
                angles.rotate(row, q);
            }
            q.iter_mut().for_each(|q| *q *= spec.scale);
            let dy = &mut work.dy[i * wide..i * wide + d];
            copy(s, &call.dy.row(row)[columns.clone()], dy);
            work.along[i] = dot(dy, &call.y.row(row)[columns.clone()]);
            let dq = &mut work.dq[i * wide..i * wide + d];
            copy(s, &self.dq.row(position)[of_group * d..(of_group + 1) * d], dq);
        }
        // A tile has all of its rows.
        let (from, to) = (queries.len(), queries.len().next_multiple_of(ROWS));
        for x in [&mut *work.q, &mut *work.dy, &mut *work.dq] {
            x[from * wide..to * wide].fill(0.0);
        }
    }
}

/// A copy of a few vectors, for which a call would take as long again.
#[inline(always)]
fn copy<S: Simd>(s: S, from: &[f32], to: &mut [f32]) {
    for at in (0..from.len()).step_by(S::LANES) {
        s.store_within(s.load_within(from, at), to, at);
    }
}

/// x · y over 16 sums.
#[inline(always)]
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    for (x, y) in x.chunks(16).zip(y.chunks(16)) {
        sums.iter_mut().zip(x.iter().zip(y)).for_each(|(sum, (x, y))| *sum += x * y);
    }
    fold(sums)
}
