//! Where the rows of a tile are, in so few pointers that they stay in registers.

use super::MAX_ROWS;
use std::hint::black_box;

/// Rows that are found from one pointer: at it, and one and two strides behind, which an address of x86 holds.
const NEAR: usize = 3;

/// Pointers that the highest tile takes.
const MOST: usize = MAX_ROWS.div_ceil(NEAR);

/// A pointer for every [`NEAR`] of `ROWS` rows. What lies between them is hidden from the compiler: it would find all rows from the
/// first by a chain of additions, and keep in vectors what it has once found, until there are more of them than registers.
pub(super) struct Bases<const ROWS: usize> {
    at: [*const u8; MOST],
    stride: usize,
}

impl<const ROWS: usize> Bases<ROWS> {
    const COUNT: usize = ROWS.div_ceil(NEAR);

    /// Rows of which the first is at `x`, each of the next `stride` bytes behind.
    #[inline(always)]
    pub(super) fn new(x: *const u8, stride: usize) -> Self {
        let mut at = [x; MOST];
        for (i, base) in at[1..Self::COUNT].iter_mut().enumerate() {
            *base = black_box(x.wrapping_add((i + 1) * NEAR * stride));
        }
        Self { at, stride }
    }

    /// The place `bytes` behind that of row `m`.
    #[inline(always)]
    pub(super) fn row(&self, m: usize, bytes: usize) -> *const u8 {
        self.at[m / NEAR].wrapping_add(m % NEAR * self.stride + bytes)
    }

    /// Moves all rows on by `bytes`.
    #[inline(always)]
    pub(super) fn advance(&mut self, bytes: usize) {
        for base in &mut self.at[..Self::COUNT] {
            *base = base.wrapping_add(bytes);
        }
    }
}
