//! Where keys and values lie: whole sequences, and pages of a cache that hypotheses share.

use crate::isa::Isa;
use crate::simd::{Simd, words};
use seq2seq_core::{Error, Precision, Result};
use std::ops::Range;

/// Positions of a block of keys: some of these make any word of positions whole.
pub(crate) const BLOCK: usize = 16;

/// Columns of a row of values for heads of `width`: whole vectors on every level.
pub(crate) fn padded(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// How the vectors of a head become words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// D
    pub(crate) width: usize,
    /// Numbers in a word: 1 of f32, 2 of bf16.
    pub(crate) numbers: usize,
}

impl Layout {
    /// The fastest that `precision` allows.
    pub(crate) fn new(isa: Isa, precision: Precision, width: usize) -> Self {
        Self { width, numbers: words::numbers(isa, precision) }
    }

    /// That a machine can read what was laid out, perhaps by a backend of another level.
    pub(crate) fn check(self, op: &'static str, isa: Isa) -> Result<()> {
        match self.numbers <= words::numbers(isa, Precision::Bf16) {
            true => Ok(()),
            false => {
                let reason =
                    format!("keys and values are in bf16, laid out by another level than {isa}");
                Err(Error::invalid(op, reason))
            }
        }
    }

    /// Words of a query or a key.
    pub(crate) fn key(self) -> usize {
        self.width.div_ceil(self.numbers)
    }

    /// Words of a block of keys.
    pub(crate) fn block(self) -> usize {
        self.key() * BLOCK
    }

    /// Words of a row of values, which are those of `numbers` positions.
    pub(crate) fn row(self) -> usize {
        padded(self.width)
    }

    /// Words of the values of `positions`.
    pub(crate) fn values(self, positions: usize) -> usize {
        positions.div_ceil(self.numbers) * self.row()
    }
}

/// In place of a slot: the positions of the block lie in several.
pub(crate) const MIXED: u32 = u32::MAX;

/// The keys and values of one sequence and one key-value head.
#[derive(Clone, Copy)]
pub(crate) enum Held<'a> {
    /// All in one piece.
    Whole {
        /// `[block][key word][16]`
        keys: &'a [f32],
        /// `[word of positions][D']`
        values: &'a [f32],
    },
    /// In slots of a cache.
    Paged(Paged<'a>),
}

/// Slots that the hypotheses of one sequence share. Position t of the hypothesis lies at t of slot `slots[t]`.
#[derive(Clone, Copy)]
pub(crate) struct Paged<'a> {
    /// `[slot][block][key word][16]`
    pub(crate) keys: &'a [f32],
    /// `[slot][word of positions][D']`
    pub(crate) values: &'a [f32],
    /// Blocks of a slot.
    pub(crate) capacity: usize,
    /// For each position its slot.
    pub(crate) slots: &'a [u32],
    /// For each block the slot of all its positions, or [`MIXED`].
    pub(crate) blocks: &'a [u32],
}

impl Held<'_> {
    /// The rows of values from position `start` on, the first of a word, as far as they lie one behind the other before
    /// `limit`, and the position behind them. A row whose positions lie in two slots is put together in `mixed`.
    ///
    /// A run is handed out, not a closure called with it: a closure is compiled without the instruction set of the
    /// function that it stands in.
    #[inline(always)]
    pub(super) fn run<'x>(
        &'x self,
        start: usize,
        limit: usize,
        layout: Layout,
        mixed: &'x mut [f32],
    ) -> (&'x [f32], usize) {
        let (numbers, row) = (layout.numbers, layout.row());
        match self {
            Self::Whole { values, .. } => {
                (&values[start / numbers * row..][..layout.values(limit - start)], limit)
            }
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
                let first = |slot: u32| (slot as usize * paged.capacity * BLOCK + start) / numbers;
                let rows = |slot, end: usize| {
                    &paged.values[first(slot) * row..][..layout.values(end - start)]
                };
                if end == limit || end.is_multiple_of(numbers) {
                    return (rows(slot, end), end);
                }
                if end - start >= numbers {
                    let end = end - end % numbers;
                    return (rows(slot, end), end);
                }
                let both = rows(slot, end).iter().zip(rows(paged.slots[start + 1], end));
                for (mixed, (&low, &high)) in mixed.iter_mut().zip(both) {
                    *mixed = join(low, high);
                }
                (mixed, start + numbers)
            }
        }
    }
}

/// The first number of `low` and the second of `high`.
#[inline(always)]
pub(crate) fn join(low: f32, high: f32) -> f32 {
    f32::from_bits((low.to_bits() & 0xffff) | (high.to_bits() & 0xffff_0000))
}

/// The blocks of keys of one unit, each in one piece.
pub(super) struct KeyBlocks<'a> {
    keys: &'a [f32],
    /// Where the values of these positions lie, which come next.
    values: &'a [f32],
    /// Where blocks lie; none where they lie in order.
    slots: Option<Slots<'a>>,
    /// `[block from the first mixed one on][key word][16]`: the mixed ones, put together for this unit.
    gathered: &'a [f32],
    layout: Layout,
}

/// In which slot each block lies.
struct Slots<'a> {
    of: &'a [u32],
    /// Blocks of a slot.
    capacity: usize,
    first_mixed: usize,
}

impl<'a> Slots<'a> {
    fn new(paged: &Paged<'a>, limit: usize) -> Self {
        let of = &paged.blocks[..limit.div_ceil(BLOCK)];
        // Blocks are mixed where beams have parted of late: at the end, or nowhere.
        let first_mixed = of.iter().position(|&slot| slot == MIXED).unwrap_or(of.len());
        Self { of, capacity: paged.capacity, first_mixed }
    }
}

impl<'a> KeyBlocks<'a> {
    /// Words of the blocks that are to be put together for `limit` positions.
    pub(super) fn gathered(held: &Held<'_>, limit: usize, layout: Layout) -> usize {
        match held {
            Held::Whole { .. } => 0,
            Held::Paged(paged) => {
                let slots = Slots::new(paged, limit);
                (slots.of.len() - slots.first_mixed) * layout.block()
            }
        }
    }

    /// The blocks of `limit` positions. [`gathered`](Self::gathered) says how many words `gathered` has.
    #[inline(always)]
    pub(super) fn new<S: Simd>(
        s: S,
        held: &Held<'a>,
        limit: usize,
        layout: Layout,
        gathered: &'a mut [f32],
    ) -> Self {
        let paged = match held {
            Held::Whole { keys, values } => {
                return Self { keys, values, slots: None, gathered, layout };
            }
            Held::Paged(paged) => paged,
        };
        let slots = Slots::new(paged, limit);
        let rooms = gathered.chunks_exact_mut(layout.block());
        for (block, out) in (slots.first_mixed..slots.of.len()).zip(rooms) {
            if slots.of[block] == MIXED {
                gather(s, paged, block * BLOCK..limit.min((block + 1) * BLOCK), out);
            }
        }
        let Paged { keys, values, .. } = *paged;
        Self { keys, values, slots: Some(slots), gathered, layout }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// Block `i`: `[key word][16]`.
    #[inline(always)]
    pub(super) fn block(&self, i: usize) -> &[f32] {
        let size = self.layout.block();
        let (blocks, at) = match &self.slots {
            Some(slots) if slots.of[i] == MIXED => (self.gathered, i - slots.first_mixed),
            _ => (self.keys, self.place(i)),
        };
        &blocks[at * size..][..size]
    }

    /// Where the values of block `i` lie, if in one piece: a hint of what to fetch, nothing to read from.
    #[inline(always)]
    pub(super) fn values_of(&self, i: usize) -> *const f32 {
        self.values.as_ptr().wrapping_add(self.place(i) * self.layout.values(BLOCK))
    }

    /// Which of all blocks that are held block `i` is; that of the first slot where it is mixed.
    #[inline(always)]
    fn place(&self, i: usize) -> usize {
        match &self.slots {
            Some(slots) if slots.of[i] != MIXED => slots.of[i] as usize * slots.capacity + i,
            _ => i,
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
