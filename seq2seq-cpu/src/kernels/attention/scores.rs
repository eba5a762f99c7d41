//! Scores: query vectors times blocks of keys, in tiles that stay in registers.

use super::layout::{KeyBlock, KeyBlocks};
use super::{BLOCK, Vectors};
use crate::memory::{For, prefetch};
use crate::simd::Simd;
use crate::simd::words::Words;
use std::ops::Range;

/// Blocks that a tile spans at most.
const MOST_BLOCKS: usize = 4;

/// Scores of a vector that a tile gives at most.
pub(super) const MOST: usize = MOST_BLOCKS * BLOCK;

/// The scores of all vectors for the positions of some keys; those of a vector beyond its limit are unspecified.
pub(super) struct Scores<'a> {
    /// `[R][key word]`
    pub(super) queries: &'a [f32],
    pub(super) keys: KeyBlocks<'a>,
    pub(super) vectors: Vectors,
    /// `[R][span]`
    pub(super) scores: &'a mut [f32],
    pub(super) span: usize,
    /// `[R][MOST]` of any content, where keys lie in slots.
    pub(super) apart: &'a mut [f32],
}

impl Scores<'_> {
    /// Blocks are outermost, so that the few that a tile reads stay in the first cache while the queries pass.
    #[inline(always)]
    pub(super) fn all<S: Simd, W: Words<S>>(mut self, s: S, w: W) {
        // A few queries wait for one another's results: more blocks at once fill the time. Many fill it by themselves.
        let at_once = match (S::LANES, self.vectors.count) {
            (8.., 1..=2) => MOST_BLOCKS,
            (_, 1..=2) | (16, _) => 2,
            _ => 1,
        };
        let count = self.span / BLOCK;
        let mut block = 0;
        while block < count {
            let most = if block + at_once <= count { at_once } else { 1 };
            let mut keys = [KeyBlock::NONE; MOST_BLOCKS];
            let mut whole = 0;
            while whole < most
                && let Some(next) = self.keys.whole(block + whole)
            {
                keys[whole] = next;
                whole += 1;
            }
            if whole == 0 {
                self.mixed(s, w, block, at_once);
                block += 1;
                continue;
            }
            let blocks = if whole == most { most } else { 1 };
            let mut tiles = Tiles {
                queries: self.queries,
                keys,
                words: self.keys.words(),
                vectors: self.seeing(block),
                scores: &mut self.scores[block * BLOCK..],
                span: self.span,
            };
            // SAFETY: queries hold all vectors, each of `words`; a block holds `words` times BLOCK words; the row of each
            // vector has `blocks` blocks from `block` on.
            unsafe { tiles.blocks(s, w, blocks) };
            block += blocks;
        }
    }

    /// Block `block`, whose positions lie in several slots: the scores of each slot, of which those of its own positions are
    /// taken. Putting the keys together would be as many loads, and the products fill time in which a few vectors wait.
    #[inline(always)]
    fn mixed<S: Simd, W: Words<S>>(&mut self, s: S, w: W, block: usize, at_once: usize) {
        let mixed = self.keys.mixed(block);
        let vectors = self.seeing(block);
        let mut first = 0;
        while first < mixed.count {
            let slots = at_once.min(mixed.count - first);
            let mut keys = [KeyBlock::NONE; MOST_BLOCKS];
            // The last again where there are fewer.
            for (i, key) in keys.iter_mut().enumerate() {
                *key = mixed.blocks[first + i.min(slots - 1)];
            }
            let mut tiles = Tiles {
                queries: self.queries,
                keys,
                words: self.keys.words(),
                vectors: vectors.clone(),
                scores: self.apart,
                span: MOST,
            };
            // SAFETY: as in `all`; the row of each vector has MOST_BLOCKS blocks.
            unsafe { tiles.blocks(s, w, if slots == 1 { 1 } else { at_once }) };
            for i in 0..slots {
                for part in (0..BLOCK).step_by(S::LANES) {
                    let own = s.load(&mixed.owner[part..]);
                    let own = s.eq(own, s.splat((first + i) as f32));
                    for r in vectors.clone() {
                        let scores = &mut self.scores[r * self.span + block * BLOCK + part..];
                        let apart = s.load(&self.apart[r * MOST + i * BLOCK + part..]);
                        s.store(s.select(own, apart, s.load(scores)), scores);
                    }
                }
            }
            first += slots;
        }
    }

    /// The vectors that see `block`.
    #[inline(always)]
    fn seeing(&self, block: usize) -> Range<usize> {
        self.vectors.seeing(block * BLOCK).min(self.vectors.count)..self.vectors.count
    }
}

/// A column of tiles: some vectors times some blocks.
struct Tiles<'a> {
    queries: &'a [f32],
    /// As many as are used.
    keys: [KeyBlock<'a>; MOST_BLOCKS],
    /// Of a query and of a key.
    words: usize,
    vectors: Range<usize>,
    /// From the column of the first block on.
    scores: &'a mut [f32],
    span: usize,
}

impl Tiles<'_> {
    /// # Safety
    /// For each of `vectors`, `queries` holds `words` words and `scores` `blocks` blocks of columns. There are 1, 2 or
    /// [`MOST_BLOCKS`] blocks, with 4 lanes 1 or 2; each holds `words` times [`BLOCK`] words.
    #[inline(always)]
    unsafe fn blocks<S: Simd, W: Words<S>>(&mut self, s: S, w: W, blocks: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match (S::LANES, blocks) {
                (16, 4) => self.run::<S, W, 4>(s, w),
                (16, 2) => self.run::<S, W, 2>(s, w),
                (16, _) => self.run::<S, W, 1>(s, w),
                (8, 4) => self.run::<S, W, 8>(s, w),
                (8, _) => self.run::<S, W, 2>(s, w),
                (_, 2) => self.run::<S, W, 8>(s, w),
                (_, _) => self.run::<S, W, 4>(s, w),
            }
        }
    }

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
        let keys = &self.keys;
        // SAFETY: d is below `words`, a vector lies in the BLOCK keys of one d, and the caller vouches for the sizes.
        unsafe {
            let queries = self.queries.as_ptr().add(r * self.words);
            let fetch = r == self.vectors.start;
            for d in 0..self.words {
                // A block has as many lines of keys as of values: both come at the pace of the first pass.
                if fetch {
                    for v in (0..VECTORS).step_by(parts) {
                        let line = self.keys[v / parts].values.wrapping_add(d * BLOCK);
                        prefetch(line.cast(), For::Reading);
                    }
                }
                let mut k = [s.zero(); VECTORS];
                for (v, k) in k.iter_mut().enumerate() {
                    *k = s.load_at(
                        keys[v / parts].keys.as_ptr().add(d * BLOCK + v % parts * S::LANES),
                    );
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
