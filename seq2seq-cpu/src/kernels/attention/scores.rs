//! Scores: query vectors times blocks of keys, in tiles that stay in registers.

use super::layout::KeyBlocks;
use super::{BLOCK, Vectors};
use crate::memory::{For, prefetch};
use crate::simd::Simd;

/// Blocks that a tile spans at most.
const MOST_BLOCKS: usize = 4;

/// The scores of all vectors for all blocks, `[R][span]`; those of a vector beyond its limit are unspecified.
///
/// Blocks are outermost, so that the few that a tile reads stay in the first cache while the queries pass.
#[inline(always)]
pub(super) fn all<S: Simd>(
    s: S,
    queries: &[f32],
    keys: &KeyBlocks<'_>,
    vectors: Vectors,
    (scores, span): (&mut [f32], usize),
) {
    // A few queries wait for one another's results: more blocks at once fill the time. Many fill it by themselves.
    let at_once = match (S::LANES, vectors.count) {
        (8.., 1..=2) => MOST_BLOCKS,
        (_, 1..=2) | (16, _) => 2,
        _ => 1,
    };
    let count = span / BLOCK;
    let mut block = 0;
    while block < count {
        let blocks = if block + at_once <= count { at_once } else { 1 };
        let first = vectors.seeing(block * BLOCK).min(vectors.count);
        let mut spanned: [&[f32]; MOST_BLOCKS] = [&[]; MOST_BLOCKS];
        let mut values = [queries.as_ptr(); MOST_BLOCKS];
        for i in 0..MOST_BLOCKS {
            let at = (block + i).min(count - 1);
            (spanned[i], values[i]) = (keys.block(at), keys.values_of(at));
        }
        let mut tiles = Tiles {
            queries,
            keys: spanned,
            values,
            width: keys.width(),
            scores: &mut scores[block * BLOCK..],
            span,
            vectors: first..vectors.count,
        };
        // SAFETY: queries hold `count` vectors of `width`; a block holds `width` times BLOCK keys; the row of each
        // vector has `blocks` blocks from `block` on.
        unsafe {
            match (S::LANES, blocks) {
                (16, 4) => tiles.run::<S, 4>(s),
                (16, 2) => tiles.run::<S, 2>(s),
                (16, _) => tiles.run::<S, 1>(s),
                (8, 4) => tiles.run::<S, 8>(s),
                (8, _) => tiles.run::<S, 2>(s),
                (_, 2) => tiles.run::<S, 8>(s),
                (_, _) => tiles.run::<S, 4>(s),
            }
        }
        block += blocks;
    }
}

/// A column of tiles: some vectors times some consecutive blocks.
struct Tiles<'a> {
    queries: &'a [f32],
    /// As many as are used; the last again behind them.
    keys: [&'a [f32]; MOST_BLOCKS],
    /// Where their values lie.
    values: [*const f32; MOST_BLOCKS],
    width: usize,
    /// From the column of the first block on.
    scores: &'a mut [f32],
    span: usize,
    vectors: std::ops::Range<usize>,
}

impl Tiles<'_> {
    /// # Safety
    /// `VECTORS` vectors of lanes are whole blocks, at most [`MOST_BLOCKS`]. For each of `vectors`, `queries` holds `width`
    /// values and `scores` that many columns; each block holds `width` times [`BLOCK`] values.
    #[inline(always)]
    unsafe fn run<S: Simd, const VECTORS: usize>(&mut self, s: S) {
        let mut r = self.vectors.start;
        let end = self.vectors.end;
        // SAFETY: rows r to r + ROWS - 1 are below `end`; the rest is the caller's promise.
        unsafe {
            if S::LANES == 16 && VECTORS <= 2 {
                while r + 8 <= end {
                    self.tile::<S, 8, VECTORS>(s, r);
                    r += 8;
                }
            }
            if VECTORS <= 4 {
                while r + 4 <= end {
                    self.tile::<S, 4, VECTORS>(s, r);
                    r += 4;
                }
            }
            while r < end {
                self.tile::<S, 1, VECTORS>(s, r);
                r += 1;
            }
        }
    }

    /// # Safety
    /// As for [`run`](Self::run), with rows `r` to `r + ROWS - 1` among `vectors`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(&mut self, s: S, r: usize) {
        let parts = BLOCK / S::LANES;
        let mut sums = [[s.zero(); VECTORS]; ROWS];
        let keys = self.keys.map(<[f32]>::as_ptr);
        // SAFETY: d is below `width`, a vector lies in the BLOCK keys of one d, and the caller vouches for the sizes.
        unsafe {
            let queries = self.queries.as_ptr().add(r * self.width);
            let fetch = r == self.vectors.start;
            for d in 0..self.width {
                // A block has as many lines of keys as of values: both come at the pace of the first pass.
                if fetch {
                    for v in (0..VECTORS).step_by(parts) {
                        let line = self.values[v / parts].wrapping_add(d * BLOCK);
                        prefetch(line.cast(), For::Reading);
                    }
                }
                let mut k = [s.zero(); VECTORS];
                for (v, k) in k.iter_mut().enumerate() {
                    *k = s.load_at(keys[v / parts].add(d * BLOCK + v % parts * S::LANES));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let q = s.splat(*queries.add(row * self.width + d));
                    for (sum, k) in sums.iter_mut().zip(k) {
                        *sum = s.fma(q, k, *sum);
                    }
                }
            }
            let scores = self.scores.as_mut_ptr().add(r * self.span);
            for (row, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    s.store_at(sum, scores.add(row * self.span + v * S::LANES));
                }
            }
        }
    }
}
