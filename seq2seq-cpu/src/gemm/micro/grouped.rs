//! The body of the kernels of int4: the levels of a group are multiplied as int8 weights are, and the sum of the group times
//! its scale is added to the total of the column.
//!
//! The sum of a group is an integer below 2²⁴ and exact as f32. Each total is one chain over rising groups, and starts from
//! what the zero point of the row takes away in all groups together.

use super::{Dot, MAX_ROWS, RawTile, bases::Bases, fetch::Fetching};
use crate::memory::prefetch;
use seq2seq_core::quant::group::GROUP;
use std::hint::black_box;

/// The instructions of a kernel whose panels are `NV` vectors wide.
///
/// # Safety
/// As for [`Dot`].
pub(super) trait Grouped<const NV: usize> {
    /// Multiplies levels.
    type Int8: Dot<NV>;
    /// Multiplies the sums of groups with their scales, which are bf16 widened to f32. Its vectors are as wide.
    type Scaled: Dot<NV>;
    /// Consecutive k of a unit.
    const UNIT: usize;
    /// Units of `Int8` in a unit.
    const STEPS: usize = 1;
    /// Bytes of the codes of a unit of all columns.
    const CODE_BYTES: usize;
    /// The most rows of a tile whose totals keep registers of their own beside the sums. In higher ones they stand in memory, where a
    /// group reads and writes them once, and tiles are as high as the sums alone allow.
    const TOTALS_KEPT: usize = MAX_ROWS;

    /// What the totals of a row start from; `header` is the beginning of the panel, `zero` the tail of the row. Kernels
    /// whose panels have no sums read neither.
    unsafe fn start(header: *const u8, zero: *const u8) -> [<Self::Scaled as Dot<NV>>::Sum; NV];
    /// What the sums of a group start from.
    unsafe fn zero() -> <Self::Int8 as Dot<NV>>::Sum;
    /// The levels of unit `step` of `Int8` in a unit, of every column.
    unsafe fn levels(codes: *const u8, step: usize) -> [<Self::Int8 as Dot<NV>>::Weights; NV];
    /// The sums of a group as f32.
    unsafe fn float(sum: <Self::Int8 as Dot<NV>>::Sum) -> <Self::Scaled as Dot<NV>>::Lhs;
    /// What the sums of a group are multiplied by, from the scales behind its codes.
    #[inline(always)]
    unsafe fn scales(scales: *const u8) -> [<Self::Scaled as Dot<NV>>::Weights; NV] {
        // SAFETY: the caller's promise.
        unsafe { Self::Scaled::weights(scales) }
    }
}

/// The body of every kernel: `ROWS` rows times one panel.
///
/// # Safety
/// The caller has the instructions of `G`; the pointers of `t` are good for the sizes that `MicroKernel::multiply` checks.
#[inline(always)]
pub(super) unsafe fn tile<G, F, const NV: usize, const ROWS: usize>(t: &RawTile)
where
    G: Grouped<NV>,
    F: Fetching,
{
    // SAFETY: the caller vouches for the instructions and the pointers; the loops read `units` units of each, which are
    // whole groups.
    unsafe {
        let kept = ROWS <= G::TOTALS_KEPT;
        let (units, scale_bytes) = (GROUP / G::UNIT, G::Scaled::PANEL_BYTES);
        let group_bytes = units * G::CODE_BYTES + scale_bytes;
        let mut x = Bases::<ROWS>::new(t.x, t.x_stride);
        let mut totals = [G::start(t.header, t.zeros); ROWS];
        for (m, row) in totals.iter_mut().enumerate().skip(1) {
            *row = G::start(t.header, t.zeros.wrapping_add(m * t.x_stride));
        }
        if !kept {
            store::<G, NV, ROWS>(&totals, t.sums);
        }
        let (mut w, mut ahead) = (t.weights, t.ahead);
        for _ in 0..t.units / units {
            if F::TILES == 1 {
                for line in 0..group_bytes.div_ceil(64) {
                    prefetch(ahead.wrapping_add(64 * line), F::PURPOSE);
                }
            }
            let mut sums = [[G::zero(); NV]; ROWS];
            for unit in 0..units {
                if F::TILES > 1 {
                    prefetch(ahead.wrapping_add(t.ahead_step / units * unit), F::PURPOSE);
                }
                for step in 0..G::STEPS {
                    let levels = G::levels(w, step);
                    for (m, row) in sums.iter_mut().enumerate() {
                        let x = G::Int8::lhs(x.row(m, step * G::Int8::LHS_BYTES));
                        for (sum, level) in row.iter_mut().zip(levels) {
                            *sum = G::Int8::dot(*sum, x, level);
                        }
                    }
                }
                x.advance(G::STEPS * G::Int8::LHS_BYTES);
                w = w.add(G::CODE_BYTES);
            }
            let scales = G::scales(w);
            if !kept {
                load::<G, NV, ROWS>(&mut totals, t.sums);
            }
            for (totals, sums) in totals.iter_mut().zip(sums) {
                for ((total, sum), scale) in totals.iter_mut().zip(sums).zip(scales) {
                    *total = G::Scaled::dot(*total, G::float(sum), scale);
                }
            }
            if !kept {
                store::<G, NV, ROWS>(&totals, t.sums);
            }
            w = w.add(scale_bytes);
            ahead = ahead.wrapping_add(t.ahead_step);
        }
        if kept {
            store::<G, NV, ROWS>(&totals, t.sums);
        }
    }
}

/// The totals of a tile.
type Totals<G, const NV: usize, const ROWS: usize> =
    [[<<G as Grouped<NV>>::Scaled as Dot<NV>>::Sum; NV]; ROWS];

/// Writes all totals.
///
/// # Safety
/// The caller has the instructions of `G`, and room for them.
#[inline(always)]
unsafe fn store<G: Grouped<NV>, const NV: usize, const ROWS: usize>(
    totals: &Totals<G, NV, ROWS>,
    to: *mut f32,
) {
    for (m, row) in totals.iter().enumerate() {
        for (v, &total) in row.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { G::Scaled::store(total, to.add((m * NV + v) * G::Scaled::LANES)) }
        }
    }
}

/// Reads what [`store`] has written. The compiler is not to see that it is the same: it would keep it on the stack besides.
///
/// # Safety
/// As for [`store`].
#[inline(always)]
unsafe fn load<G: Grouped<NV>, const NV: usize, const ROWS: usize>(
    totals: &mut Totals<G, NV, ROWS>,
    from: *const f32,
) {
    let from = black_box(from);
    for (m, row) in totals.iter_mut().enumerate() {
        for (v, total) in row.iter_mut().enumerate() {
            // SAFETY: the caller's promise; a vector of f32 is its lanes in their order.
            *total = unsafe {
                from.add((m * NV + v) * G::Scaled::LANES)
                    .cast::<<G::Scaled as Dot<NV>>::Sum>()
                    .read_unaligned()
            };
        }
    }
}
