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
//! chains over rising d whose lanes are keys, as in the forward; the rest are rows of D columns. Keys and values sum over the
//! queries in order, and all of it belongs to one unit of work: no bit depends on the threads.
//!
//! [`QUERIES`] queries of a head pass the keys together: a vector of keys that is read serves all of them, and their sums
//! are as many chains as keep the multipliers busy. Where fewer are left, or a causal query sees fewer keys, the weights of
//! what is not there are zeros.

use super::copy::{Part, TransposePart};
use crate::kernels::attention::{Angles, RelativeBias, padded};
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

/// Queries of a tile.
const QUERIES: usize = 4;

/// A column of a tile's queries, or of their gradients.
type Column = [f32; QUERIES];

/// Keys and values of a unit, in the layouts that its products read, and the sums over its queries.
struct Held<'a> {
    /// Keys, rounded up to whole vectors.
    span: usize,
    /// Columns of a row, rounded up to whole vectors.
    wide: usize,
    /// `[D][span]`
    keys_across: &'a [f32],
    values_across: &'a [f32],
    /// `[keys][wide]`
    keys: &'a [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

impl<'a> Held<'a> {
    /// Values that it takes.
    fn room(d: usize, count: usize) -> usize {
        let (span, wide) = Self::size(d, count);
        2 * d * span + 3 * count * wide
    }

    fn size(d: usize, count: usize) -> (usize, usize) {
        // A sequence may have none.
        (count.max(1).next_multiple_of(MAX_LANES), padded(d).next_multiple_of(MAX_LANES))
    }

    #[inline(always)]
    fn fill<S: Simd>(s: S, unit: &Unit<'_>, room: &'a mut [f32]) -> Self {
        let Call { source, spec, angles, .. } = unit.call;
        let (d, count) = (spec.head_dim, unit.keys.len());
        let (span, wide) = Self::size(d, count);
        let (across, along) = room.split_at_mut(2 * d * span);
        let (keys_across, values_across) = across.split_at_mut(d * span);
        let (keys, sums) = along.split_at_mut(count * wide);
        let first = unit.call.column + unit.kv_head * d;
        for (row, held) in unit.keys.clone().zip(keys.chunks_exact_mut(wide)) {
            let (held, padding) = held.split_at_mut(d);
            held.copy_from_slice(&source.row(row)[first..first + d]);
            padding.fill(0.0);
            if let Some(angles) = angles {
                angles.rotate(row, held);
            }
        }
        let from = Part { values: &*keys, stride: wide, rows: count, columns: d };
        TransposePart { from, out: &mut *keys_across, stride: span }.run(s);
        let columns = first + spec.kv_width()..first + spec.kv_width() + d;
        let from = Part::of(source, unit.keys.clone(), columns);
        TransposePart { from, out: &mut *values_across, stride: span }.run(s);
        // What stands behind the last key is multiplied too, and not used.
        for line in keys_across.chunks_exact_mut(span).chain(values_across.chunks_exact_mut(span)) {
            line[count..].fill(0.0);
        }
        sums.fill(0.0);
        let (dk, dv) = sums.split_at_mut(count * wide);
        Self { span, wide, keys_across, values_across, keys, dk, dv }
    }
}

/// A tile of queries at work.
struct Work<'a> {
    /// `[wide]` columns of the scaled queries and of dy.
    q: &'a mut [Column],
    dy: &'a mut [Column],
    /// `[QUERIES][wide]`
    dq: &'a mut [f32],
    /// `[QUERIES][span]`: scores and then weights, dp and then ds.
    p: &'a mut [f32],
    ds: &'a mut [f32],
    /// `[span]`: the mask of dropout.
    factors: &'a mut [f32],
    /// Σ p dp of each.
    along: Column,
}

impl<'a> Work<'a> {
    /// Values that it takes.
    fn room(span: usize, wide: usize) -> usize {
        3 * QUERIES * wide + (2 * QUERIES + 1) * span
    }

    fn new(span: usize, wide: usize, room: &'a mut [f32]) -> Self {
        let (q, room) = room.split_at_mut(QUERIES * wide);
        let (dy, room) = room.split_at_mut(QUERIES * wide);
        let (dq, room) = room.split_at_mut(QUERIES * wide);
        let (p, room) = room.split_at_mut(QUERIES * span);
        let (ds, factors) = room.split_at_mut(QUERIES * span);
        let (q, dy) = (q.as_chunks_mut().0, dy.as_chunks_mut().0);
        Self { q, dy, dq, p, ds, factors, along: [0.0; QUERIES] }
    }
}

impl Kernel for Unit<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let call = self.call;
        let spec = call.spec;
        let (d, group, count) = (spec.head_dim, spec.heads / spec.kv_heads, self.keys.len());
        let (span, wide) = Held::size(d, count);
        let mut room = Buffer::<f32>::scratch(Held::room(d, count) + Work::room(span, wide));
        let (held, work) = room.split_at_mut(Held::room(d, count));
        let mut held = Held::fill(s, &self, held);
        let mut work = Work::new(span, wide, work);
        for first in (0..self.rows.len()).step_by(QUERIES) {
            let tile = first..self.rows.len().min(first + QUERIES);
            for of_group in 0..group {
                self.tile(s, (tile.clone(), of_group), &mut held, &mut work);
            }
        }
        for (j, row) in self.keys.clone().enumerate() {
            let dk = self.dk.row(j);
            dk.copy_from_slice(&held.dk[j * wide..j * wide + d]);
            if let Some(angles) = call.angles {
                angles.rotate_back(row, dk);
            }
            self.dv.row(j).copy_from_slice(&held.dv[j * wide..j * wide + d]);
        }
    }
}

impl Unit<'_> {
    /// The queries of one head at some positions.
    // Without closures: in a loop that is unrolled they are called several times, and compiled apart.
    #[inline(always)]
    fn tile<S: Simd>(
        &mut self,
        s: S,
        (tile, of_group): (Range<usize>, usize),
        held: &mut Held<'_>,
        work: &mut Work<'_>,
    ) {
        let call = self.call;
        let spec = call.spec;
        let (d, group, keys) = (spec.head_dim, spec.heads / spec.kv_heads, self.keys.len());
        let (span, wide) = (held.span, held.wide);
        let head = self.kv_head * group + of_group;
        // The keys that the last of them sees.
        let limit = if call.causal { tile.end } else { keys };
        let whole = limit.next_multiple_of(MAX_LANES);
        self.read(tile.clone(), head, work);
        across(s, &work.q[..d], held.keys_across, span, &mut *work.p, whole);
        across(s, &work.dy[..d], held.values_across, span, &mut *work.ds, whole);
        for i in 0..QUERIES {
            let p = &mut work.p[i * span..i * span + whole];
            let ds = &mut work.ds[i * span..i * span + whole];
            let position = tile.start + i;
            if position >= tile.end {
                p.fill(0.0);
                ds.fill(0.0);
                continue;
            }
            let row = self.rows.start + position;
            let seen = if call.causal { position + 1 } else { keys };
            let factors = match call.dropout {
                Some(dropout) => {
                    dropout.factors(row * spec.heads + head, &mut work.factors[..seen]);
                    Some(&work.factors[..whole])
                }
                None => None,
            };
            let log = s.splat(call.log_sums.row(row)[head]);
            let along = s.splat(work.along[i]);
            let mut bias = None;
            if let Some(all) = call.bias {
                bias = Some(all.seen_from(head, position));
            }
            for at in (0..seen).step_by(S::LANES) {
                let mut score = s.load(&p[at..]);
                if let Some(bias) = bias {
                    score = s.add(score, bias.at(s, at));
                }
                let mut weight = math::exp(s, s.sub(score, log));
                let mut dp = s.load(&ds[at..]);
                let all = weight;
                if let Some(factors) = factors {
                    let factor = s.load(&factors[at..]);
                    dp = s.mul(dp, factor);
                    weight = s.mul(weight, factor);
                }
                s.store(weight, &mut p[at..]);
                s.store(s.mul(all, s.sub(dp, along)), &mut ds[at..]);
            }
            p[seen..].fill(0.0);
            ds[seen..].fill(0.0);
            if let Some(distances) = &mut self.distances {
                let all = keys + self.rows.len() - 1;
                let from = of_group * all + self.rows.len() - 1 - position;
                let out = &mut distances[from..from + seen];
                for (out, ds) in out.iter_mut().zip(&*ds) {
                    *out += ds;
                }
            }
        }
        let weights = lines(&*work.ds, span, limit);
        mix(s, weights, held.keys, &mut *work.dq, wide);
        spread(s, weights, &*work.q, held.dk, wide);
        spread(s, lines(&*work.p, span, limit), &*work.dy, held.dv, wide);
        for (i, position) in tile.enumerate() {
            let out = &mut self.dq.row(position)[of_group * d..(of_group + 1) * d];
            let dq = &work.dq[i * wide..i * wide + d];
            for (out, dq) in out.iter_mut().zip(dq) {
                *out = dq * spec.scale;
            }
            if let Some(angles) = call.angles {
                angles.rotate_back(self.rows.start + position, out);
            }
        }
    }

    /// Reads scaled queries and dy at some positions as columns, zeros in place of those that are not there.
    #[inline(always)]
    fn read(&self, tile: Range<usize>, head: usize, work: &mut Work<'_>) {
        let call = self.call;
        let (spec, d) = (call.spec, call.spec.head_dim);
        work.q.fill([0.0; QUERIES]);
        work.dy.fill([0.0; QUERIES]);
        work.along = [0.0; QUERIES];
        for (i, position) in tile.enumerate() {
            let (row, columns) = (self.rows.start + position, head * d..(head + 1) * d);
            // Where dq will stand: a row of its own for the rotation.
            let q = &mut work.dq[..d];
            q.copy_from_slice(&call.queries.row(row)[columns.clone()]);
            if let Some(angles) = call.angles {
                angles.rotate(row, q);
            }
            let dy = &call.dy.row(row)[columns.clone()];
            work.along[i] = dot(dy, &call.y.row(row)[columns]);
            let places = work.q.iter_mut().zip(work.dy.iter_mut());
            for ((q, dy), (to_q, to_dy)) in q.iter().zip(dy).zip(places) {
                (to_q[i], to_dy[i]) = (q * spec.scale, *dy);
            }
        }
    }
}

/// The lines of a tile, `limit` values each.
#[inline(always)]
fn lines(x: &[f32], span: usize, limit: usize) -> [&[f32]; QUERIES] {
    let mut lines = [&x[..limit]; QUERIES];
    for (i, line) in lines.iter_mut().enumerate() {
        *line = &x[i * span..i * span + limit];
    }
    lines
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

/// For each query i and key j below `count`, out\[i\]\[j\] = Σ x\[c\]\[i\] · table\[c\]\[j\], a chain over rising c. Lines of
/// `out` and `table` are `span` long.
#[inline(always)]
fn across<S: Simd>(s: S, x: &[Column], table: &[f32], span: usize, out: &mut [f32], count: usize) {
    // Two vectors where a vector has 8 lanes, four where it has 4.
    let vectors = MAX_LANES / S::LANES;
    for at in (0..count).step_by(MAX_LANES) {
        let mut sums = [[s.zero(); MAX_LANES]; QUERIES];
        for (x, line) in x.iter().zip(table.chunks_exact(span)) {
            let line = &line[at..at + MAX_LANES];
            for v in 0..vectors {
                let keys = s.load(&line[v * S::LANES..]);
                for i in 0..QUERIES {
                    sums[i][v] = s.fma(s.splat(x[i]), keys, sums[i][v]);
                }
            }
        }
        for i in 0..QUERIES {
            let line = &mut out[i * span + at..i * span + at + MAX_LANES];
            for v in 0..vectors {
                s.store(sums[i][v], &mut line[v * S::LANES..]);
            }
        }
    }
}

/// For each query i, row i of `out` = Σ weights\[i\]\[j\] · rows\[j\], a chain over rising j. Rows are `wide` values, whole
/// vectors.
#[inline(always)]
fn mix<S: Simd>(s: S, weights: [&[f32]; QUERIES], rows: &[f32], out: &mut [f32], wide: usize) {
    let vectors = MAX_LANES / S::LANES;
    for at in (0..wide).step_by(MAX_LANES) {
        let mut sums = [[s.zero(); MAX_LANES]; QUERIES];
        for (j, row) in rows.chunks_exact(wide).enumerate().take(weights[0].len()) {
            let row = &row[at..at + MAX_LANES];
            for v in 0..vectors {
                let row = s.load(&row[v * S::LANES..]);
                for i in 0..QUERIES {
                    sums[i][v] = s.fma(s.splat(weights[i][j]), row, sums[i][v]);
                }
            }
        }
        for i in 0..QUERIES {
            let row = &mut out[i * wide + at..i * wide + at + MAX_LANES];
            for v in 0..vectors {
                s.store(sums[i][v], &mut row[v * S::LANES..]);
            }
        }
    }
}

/// rows\[j\] += Σ weights\[i\]\[j\] · x\[·\]\[i\], the queries i in order. Rows are `wide` values, whole vectors.
#[inline(always)]
fn spread<S: Simd>(s: S, weights: [&[f32]; QUERIES], x: &[Column], rows: &mut [f32], wide: usize) {
    let vectors = MAX_LANES / S::LANES;
    for at in (0..wide).step_by(MAX_LANES) {
        let mut held = [[s.zero(); MAX_LANES]; QUERIES];
        for i in 0..QUERIES {
            let mut row = [0.0; MAX_LANES];
            for (value, column) in row.iter_mut().zip(&x[at..at + MAX_LANES]) {
                *value = column[i];
            }
            for v in 0..vectors {
                held[i][v] = s.load(&row[v * S::LANES..]);
            }
        }
        for (j, row) in rows.chunks_exact_mut(wide).enumerate().take(weights[0].len()) {
            let row = &mut row[at..at + MAX_LANES];
            for v in 0..vectors {
                let mut sum = s.load(&row[v * S::LANES..]);
                for i in 0..QUERIES {
                    sum = s.fma(s.splat(weights[i][j]), held[i][v], sum);
                }
                s.store(sum, &mut row[v * S::LANES..]);
            }
        }
    }
}
