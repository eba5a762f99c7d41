//! Scores: query vectors times blocks of keys, in tiles that stay in registers.

use super::layout::KeyBlocks;
use super::{BLOCK, Vectors};
use crate::memory::{For, prefetch};
use crate::simd::Simd;
use crate::simd::words::Words;

/// Blocks that a tile spans at most.
const MOST_BLOCKS: usize = 4;

/// The scores of all vectors for all blocks, `[R][span]`; those of a vector beyond its limit are unspecified.
///
/// Blocks are outermost, so that the few that a tile reads stay in the first cache while the queries pass.
#[inline(always)]
pub(super) fn all<S: Simd, W: Words<S>>(
    (s, w): (S, W),
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
            words: keys.layout().key(),
            scores: &mut scores[block * BLOCK..],
            span,
            vectors: first..vectors.count,
        };
        // SAFETY: queries hold `count` vectors of `words`; a block holds `words` times BLOCK words; the row of each
        // vector has `blocks` blocks from `block` on.
        unsafe {
            match (S::LANES, blocks) {
                (16, 4) => tiles.run::<S, W, 4>(s, w),
                (16, 2) => tiles.run::<S, W, 2>(s, w),
                (16, _) => tiles.run::<S, W, 1>(s, w),
                (8, 4) => tiles.run::<S, W, 8>(s, w),
                (8, _) => tiles.run::<S, W, 2>(s, w),
                (_, 2) => tiles.run::<S, W, 8>(s, w),
                (_, _) => tiles.run::<S, W, 4>(s, w),
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
    /// Of a query and of a key.
    words: usize,
    /// From the column of the first block on.
    scores: &'a mut [f32],
    span: usize,
    vectors: std::ops::Range<usize>,
}

impl Tiles<'_> {
    /// # Safety
    /// `VECTORS` vectors of lanes are whole blocks, at most [`MOST_BLOCKS`]. For each of `vectors`, `queries` holds `words`
    /// words and `scores` that many columns; each block holds `words` times [`BLOCK`] of them.
    #[inline(always)]
    unsafe fn run<S: Simd, W: Words<S>, const VECTORS: usize>(&mut self, s: S, w: W) {
        let mut r = self.vectors.start;
        let end = self.vectors.end;
        // SAFETY: rows r to r + ROWS - 1 are below `end`; the rest is the caller's promise.
        unsafe {
            if S::LANES == 16 && VECTORS <= 2 {
                while r + 8 <= end {
                    self.tile::<S, W, 8, VECTORS>(s, w, r);
                    r += 8;
                }
            }
            if VECTORS <= 4 {
                while r + 4 <= end {
                    self.tile::<S, W, 4, VECTORS>(s, w, r);
                    r += 4;
                }
            }
            while r < end {
                self.tile::<S, W, 1, VECTORS>(s, w, r);
                r += 1;
            }
        }
    }

    /// # Safety
    /// As for [`run`](Self::run), with rows `r` to `r + ROWS - 1` among `vectors`.
    #[inline(always)]
    unsafe fn tile<S: Simd, W: Words<S>, const ROWS: usize, const VECTORS: usize>(
        &mut self,
        s: S,
        w: W,
        r: usize,
    ) {
        let parts = BLOCK / S::LANES;
        let mut sums = [[s.zero(); VECTORS]; ROWS];
        let keys = self.keys.map(<[f32]>::as_ptr);
        // SAFETY: d is below `words`, a vector lies in the BLOCK keys of one d, and the caller vouches for the sizes.
        unsafe {
            let queries = self.queries.as_ptr().add(r * self.words);
            let fetch = r == self.vectors.start;
            for d in 0..self.words {
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
                    let q = s.splat(*queries.add(row * self.words + d));
                    for (sum, k) in sums.iter_mut().zip(k) {
                        *sum = w.multiply_add(s, q, k, *sum);
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
