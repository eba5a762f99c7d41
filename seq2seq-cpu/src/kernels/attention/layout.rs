//! Where keys and values lie: whole sequences, and pages of a cache that hypotheses share.

use crate::isa::Isa;
use crate::simd::words;
use seq2seq_core::{Error, Precision, Result};

/// Positions of a block of keys: some of these make any word of positions whole.
pub(crate) const BLOCK: usize = 16;

/// Columns of a row of values for heads of `width`: whole vectors on every level.
fn padded(width: usize) -> usize {
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
    /// The smallest that `precision` allows: for what steps of a decoding read again and again, and whole sequences that are
    /// to have the bits of such steps.
    pub(crate) fn new(isa: Isa, precision: Precision, width: usize) -> Self {
        Self { width, numbers: words::numbers(isa, precision) }
    }

    /// The quickest that `precision` allows: for whole sequences that are attended to once, while they are in the caches.
    pub(crate) fn of_encoder(isa: Isa, precision: Precision, width: usize) -> Self {
        Self { width, numbers: words::quick_numbers(isa, precision) }
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

/// The keys of one unit, block by block.
#[derive(Clone, Copy)]
pub(super) struct KeyBlocks<'a> {
    held: &'a Held<'a>,
    layout: Layout,
}

impl<'a> KeyBlocks<'a> {
    pub(super) fn new(held: &'a Held<'a>, layout: Layout) -> Self {
        Self { held, layout }
    }

    /// Words of a key.
    pub(super) fn words(&self) -> usize {
        self.layout.key()
    }

    /// Block `i`, if all its positions lie in one slot.
    #[inline(always)]
    pub(super) fn whole(&self, i: usize) -> Option<KeyBlock<'a>> {
        match self.held {
            Held::Whole { .. } => Some(self.block(i)),
            Held::Paged(paged) => match paged.blocks[i] {
                MIXED => None,
                slot => Some(self.in_slot(paged, slot, i)),
            },
        }
    }

    /// Block `i`, whose positions lie in several slots.
    #[inline(always)]
    pub(super) fn mixed(&self, i: usize) -> Mixed<'a> {
        let mut mixed = Mixed { count: 0, blocks: [KeyBlock::NONE; BLOCK], owner: [-1.0; BLOCK] };
        let Held::Paged(paged) = self.held else { return mixed };
        let positions = i * BLOCK..paged.slots.len().min((i + 1) * BLOCK);
        let slots = &paged.slots[positions];
        for (t, slot) in slots.iter().enumerate() {
            match slots[..t].iter().position(|earlier| earlier == slot) {
                Some(earlier) => mixed.owner[t] = mixed.owner[earlier],
                None => {
                    mixed.blocks[mixed.count] = self.in_slot(paged, *slot, i);
                    mixed.owner[t] = mixed.count as f32;
                    mixed.count += 1;
                }
            }
        }
        mixed
    }

    #[inline(always)]
    fn in_slot(&self, paged: &Paged<'_>, slot: u32, i: usize) -> KeyBlock<'a> {
        self.block(slot as usize * paged.capacity + i)
    }

    /// Block `place` of all that are held.
    #[inline(always)]
    fn block(&self, place: usize) -> KeyBlock<'a> {
        let (Held::Whole { keys, values } | Held::Paged(Paged { keys, values, .. })) = self.held;
        let size = self.layout.block();
        KeyBlock {
            keys: &keys[place * size..][..size],
            values: values.as_ptr().wrapping_add(place * self.layout.values(BLOCK)),
        }
    }
}

/// A block of keys in one piece.
#[derive(Clone, Copy)]
pub(super) struct KeyBlock<'a> {
    /// `[key word][16]`
    pub(super) keys: &'a [f32],
    /// Where the values of these positions lie, which come next: a hint of what to fetch, nothing to read from.
    pub(super) values: *const f32,
}

impl KeyBlock<'_> {
    /// Nothing, in the place of one that is not used.
    pub(super) const NONE: Self = Self { keys: &[], values: std::ptr::null() };
}

/// A block whose positions lie in several slots.
pub(super) struct Mixed<'a> {
    /// How many.
    pub(super) count: usize,
    /// What each of them has in its place.
    pub(super) blocks: [KeyBlock<'a>; BLOCK],
    /// For each position which of them, as a number that is compared lane by lane; of those that are not held none.
    pub(super) owner: [f32; BLOCK],
}
