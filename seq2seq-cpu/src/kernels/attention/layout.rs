//! Where keys and values lie: whole sequences, and pages of a cache that hypotheses share.

use super::Angles;
use crate::memory::{Buffer, Tensor};
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// Positions of a block of keys.
pub(crate) const BLOCK: usize = 16;

/// Columns of a row of values for heads of `width`: whole vectors on every level.
pub(crate) fn padded(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// In place of a slot: the positions of the block lie in several.
pub(crate) const MIXED: u32 = u32::MAX;

/// The keys and values of one sequence and one key-value head.
#[derive(Clone, Copy)]
pub(crate) enum Held<'a> {
    /// All in one piece.
    Whole {
        /// `[block][D][16]`
        keys: &'a [f32],
        /// `[position][D']`
        values: &'a [f32],
    },
    /// In slots of a cache.
    Paged(Paged<'a>),
}

/// Slots that the hypotheses of one sequence share. Position t of the hypothesis lies at t of slot `slots[t]`.
#[derive(Clone, Copy)]
pub(crate) struct Paged<'a> {
    /// `[slot][block][D][16]`
    pub(crate) keys: &'a [f32],
    /// `[slot][position][D']`
    pub(crate) values: &'a [f32],
    /// Blocks of a slot.
    pub(crate) capacity: usize,
    /// For each position its slot.
    pub(crate) slots: &'a [u32],
    /// For each block the slot of all its positions, or [`MIXED`].
    pub(crate) blocks: &'a [u32],
}

impl Held<'_> {
    /// The values from position `start` on, in rows of `stride`, as far as they lie one behind the other before `limit`.
    ///
    /// A run is handed out, not a closure called with it: a closure is compiled without the instruction set of the
    /// function that it stands in.
    #[inline(always)]
    pub(super) fn run(&self, start: usize, limit: usize, stride: usize) -> &[f32] {
        match self {
            Self::Whole { values, .. } => &values[start * stride..limit * stride],
            Self::Paged(paged) => {
                let slot = paged.slots[start];
                let mut end = start;
                while end < limit && paged.slots[end] == slot {
                    // A whole block in one slot needs no look at each position.
                    let block = end / BLOCK;
                    end = match end.is_multiple_of(BLOCK) && paged.blocks[block] == slot {
                        true => ((block + 1) * BLOCK).min(limit),
                        false => end + 1,
                    };
                }
                let first = slot as usize * paged.capacity * BLOCK + start;
                &paged.values[first * stride..][..(end - start) * stride]
            }
        }
    }
}

/// The blocks of keys of one unit, each in one piece.
pub(super) struct KeyBlocks<'a> {
    keys: &'a [f32],
    /// Where the values of these positions lie, which come next.
    values: &'a [f32],
    /// `[mixed block][D][16]`, put together for this unit.
    gathered: Buffer<f32>,
    /// Where each block begins: in `keys`, or in `gathered` and marked by [`GATHERED`]. None where they lie in order.
    starts: Option<Buffer<usize>>,
    width: usize,
}

const GATHERED: usize = 1 << (usize::BITS - 1);

impl<'a> KeyBlocks<'a> {
    /// The blocks of `limit` positions, for heads of `width`.
    #[inline(always)]
    pub(super) fn new<S: Simd>(s: S, held: &Held<'a>, limit: usize, width: usize) -> Self {
        let paged = match held {
            Held::Whole { keys, values } => {
                return Self { keys, values, gathered: Buffer::scratch(0), starts: None, width };
            }
            Held::Paged(paged) => paged,
        };
        let size = width * BLOCK;
        let blocks = &paged.blocks[..limit.div_ceil(BLOCK)];
        let mixed = blocks.iter().filter(|&&slot| slot == MIXED).count();
        let mut gathered = Buffer::scratch(mixed * size);
        let mut starts = Buffer::scratch(blocks.len());
        let mut next = 0;
        for (block, &slot) in blocks.iter().enumerate() {
            starts[block] = match slot {
                MIXED => {
                    let positions = block * BLOCK..limit.min((block + 1) * BLOCK);
                    gather(s, paged, positions, &mut gathered[next..next + size]);
                    next += size;
                    (next - size) | GATHERED
                }
                slot => (slot as usize * paged.capacity + block) * size,
            };
        }
        let Paged { keys, values, .. } = *paged;
        Self { keys, values, gathered, starts: Some(starts), width }
    }

    /// D
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Block `i`: `[D][16]`.
    #[inline(always)]
    pub(super) fn block(&self, i: usize) -> &[f32] {
        let size = self.width * BLOCK;
        match self.start(i) {
            start if start & GATHERED != 0 => &self.gathered[start & !GATHERED..][..size],
            start => &self.keys[start..][..size],
        }
    }

    /// Where the values of block `i` lie, if in one piece: a hint of what to fetch, nothing to read from.
    #[inline(always)]
    pub(super) fn values_of(&self, i: usize) -> *const f32 {
        let block = (self.start(i) & !GATHERED) / (self.width * BLOCK);
        self.values.as_ptr().wrapping_add(block * BLOCK * padded(self.width))
    }

    #[inline(always)]
    fn start(&self, i: usize) -> usize {
        match &self.starts {
            Some(starts) => starts[i],
            None => i * self.width * BLOCK,
        }
    }
}

/// Puts together the block of `positions`, which lie in several slots: for each slot, the lanes that are its own.
#[inline(always)]
fn gather<S: Simd>(s: S, paged: &Paged<'_>, positions: Range<usize>, out: &mut [f32]) {
    let (block, size) = (positions.start / BLOCK, out.len());
    let slots = &paged.slots[positions];
    // Slots as f32, to be compared lane by lane; there are far fewer than 2²⁴. Lanes behind the last position match none.
    let mut owner = [-1.0f32; BLOCK];
    owner.iter_mut().zip(slots).for_each(|(o, &slot)| *o = slot as f32);
    for (i, slot) in slots.iter().enumerate() {
        if slots[..i].contains(slot) {
            continue;
        }
        let from = &paged.keys[(*slot as usize * paged.capacity + block) * size..][..size];
        for part in (0..BLOCK).step_by(S::LANES) {
            let mine = s.eq(s.load(&owner[part..]), s.splat(*slot as f32));
            for at in (part..size).step_by(BLOCK) {
                let merged = s.select(mine, s.load(&from[at..]), s.load(&out[at..]));
                s.store(merged, &mut out[at..]);
            }
        }
    }
}

/// Lays out the keys and values of some rows of one sequence and one key-value head.
pub(crate) struct Store<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) rows: Range<usize>,
    /// Where the head's keys and its values begin in a row.
    pub(crate) columns: (usize, usize),
    /// D
    pub(crate) width: usize,
    /// For each row of `x`.
    pub(crate) angles: Option<&'a Angles>,
    /// The position of the first row.
    pub(crate) position: usize,
    /// `[block][D][16]`
    pub(crate) keys: &'a mut [f32],
    /// `[position][D']`
    pub(crate) values: &'a mut [f32],
}

impl Kernel for Store<'_> {
    type Output = ();

    /// Written as plain loops; what the level adds is that the compiler may use its instructions.
    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        let mut block = Buffer::<f32>::scratch(BLOCK * self.width);
        let end = self.position + self.rows.len();
        let mut position = self.position;
        while position < end {
            let stop = end.min((position / BLOCK + 1) * BLOCK);
            let rows = &mut block[..(stop - position) * self.width];
            for (t, key) in (position..stop).zip(rows.chunks_exact_mut(self.width)) {
                let row = self.rows.start + t - self.position;
                let x = self.x.row(row);
                key.copy_from_slice(&x[self.columns.0..][..self.width]);
                if let Some(angles) = self.angles {
                    angles.rotate(row, key);
                }
                let (value, padding) = self.values[t * padded(self.width)..][..padded(self.width)]
                    .split_at_mut(self.width);
                value.copy_from_slice(&x[self.columns.1..][..self.width]);
                padding.fill(0.0);
            }
            self.transpose(rows, position);
            position = stop;
        }
    }
}

impl Store<'_> {
    /// Writes key rows into the lanes from that of `position` on.
    #[inline(always)]
    fn transpose(&mut self, rows: &[f32], position: usize) {
        let width = self.width;
        let (block, lane) = (position / BLOCK, position % BLOCK);
        let count = rows.len() / width;
        let out = self.keys[block * width * BLOCK..][..width * BLOCK].chunks_exact_mut(BLOCK);
        for (d, lanes) in out.enumerate() {
            for (i, out) in lanes[lane..lane + count].iter_mut().enumerate() {
                *out = rows[i * width + d];
            }
        }
    }
}
