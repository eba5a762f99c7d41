//! The body of the kernels of f32, bf16, f16 and int8: each sum of a tile is one chain over all k, in one register.

use super::{RawTile, bases::Bases, fetch::Fetching};
use crate::memory::prefetch;

/// The instructions of a kernel whose panels are `NV` vectors wide.
///
/// # Safety
/// Callers of any method have the instructions, and pointers to as many bytes as the method reads or writes.
/// All methods are `#[inline(always)]`, so that they are compiled with the instructions of the entry point.
pub(super) trait Dot<const NV: usize> {
    /// A vector of sums.
    type Sum: Copy;
    /// A vector of weights.
    type Weights: Copy;
    /// A unit of a row in every lane.
    type Lhs: Copy;
    /// Lanes of a vector of sums.
    const LANES: usize;
    /// Bytes of a unit of a row.
    const LHS_BYTES: usize;
    /// Bytes of a unit of all columns.
    const PANEL_BYTES: usize;

    /// What the sums of a row start from; `header` is the beginning of the panel, `zero` the tail of the row. Kernels
    /// whose panels have no sums read neither.
    unsafe fn start(header: *const u8, zero: *const u8) -> [Self::Sum; NV];
    /// A unit of every column.
    unsafe fn weights(w: *const u8) -> [Self::Weights; NV];
    /// A unit of a row.
    unsafe fn lhs(x: *const u8) -> Self::Lhs;
    /// sum + x · w
    unsafe fn dot(sum: Self::Sum, x: Self::Lhs, w: Self::Weights) -> Self::Sum;
    /// Writes `LANES` sums as f32.
    unsafe fn store(sum: Self::Sum, to: *mut f32);
}

/// How weights become vectors of f32, for rows and sums of f32.
///
/// # Safety
/// As for [`Dot`].
pub(super) trait Widen<V, const NV: usize> {
    /// Bytes of a unit of all columns.
    const PANEL_BYTES: usize;

    /// A unit of every column, from that many bytes.
    unsafe fn widen(w: *const u8) -> [V; NV];
}

/// Units that pass between two moves of the pointers. Where another guest of the host shares the core, what limits a tile is
/// how many instructions are decoded: finding each row anew for each unit costs a tenth (see the kernel notes).
const BLOCK: usize = 4;

/// The body of every kernel: `ROWS` rows times `PANELS` panels, one behind the other.
///
/// # Safety
/// The caller has the instructions of `D`; the pointers of `t` are good for the sizes that `MicroKernel::multiply` checks.
#[inline(always)]
pub(super) unsafe fn tile<D, F, const NV: usize, const ROWS: usize, const PANELS: usize>(
    t: &RawTile,
) where
    D: Dot<NV>,
    F: Fetching,
{
    // SAFETY: the caller vouches for the instructions and the pointers; the loops read `units` units of each.
    unsafe {
        let mut x = Bases::<ROWS>::new(t.x, t.x_stride);
        let mut sums = [[D::start(t.header, t.zeros); PANELS]; ROWS];
        for (m, row) in sums.iter_mut().enumerate() {
            for (p, panel) in row.iter_mut().enumerate() {
                let header = t.header.wrapping_add(p * t.panel_bytes);
                *panel = D::start(header, t.zeros.wrapping_add(m * t.x_stride));
            }
        }
        let (mut w, mut ahead) = (t.weights, t.ahead);
        for _ in 0..t.units / BLOCK {
            fetch::<F>(ahead, BLOCK * PANELS * D::PANEL_BYTES);
            for unit in 0..BLOCK {
                let w = w.add(unit * D::PANEL_BYTES);
                step::<D, NV, ROWS, PANELS>(&mut sums, &x, unit * D::LHS_BYTES, (w, t.panel_bytes));
            }
            x.advance(BLOCK * D::LHS_BYTES);
            w = w.add(BLOCK * D::PANEL_BYTES);
            ahead = ahead.wrapping_add(BLOCK * t.ahead_step);
        }
        for _ in 0..t.units % BLOCK {
            fetch::<F>(ahead, PANELS * D::PANEL_BYTES);
            step::<D, NV, ROWS, PANELS>(&mut sums, &x, 0, (w, t.panel_bytes));
            x.advance(D::LHS_BYTES);
            w = w.add(D::PANEL_BYTES);
            ahead = ahead.wrapping_add(t.ahead_step);
        }
        for (m, row) in sums.iter().enumerate() {
            for (p, panel) in row.iter().enumerate() {
                for (v, &sum) in panel.iter().enumerate() {
                    D::store(sum, t.sums.add(((p * ROWS + m) * NV + v) * D::LANES));
                }
            }
        }
    }
}

/// Brings nearer what is to come while `bytes` of the panel pass.
#[inline(always)]
fn fetch<F: Fetching>(ahead: *const u8, bytes: usize) {
    for line in 0..(bytes / F::TILES).div_ceil(64) {
        prefetch(ahead.wrapping_add(64 * line), F::PURPOSE);
    }
}

/// Adds one unit to the sums.
///
/// # Safety
/// As for [`tile`]; the units are `bytes` behind `x`, and at `w` in the first panel, `panel_bytes` behind in the next.
#[inline(always)]
unsafe fn step<D: Dot<NV>, const NV: usize, const ROWS: usize, const PANELS: usize>(
    sums: &mut [[[D::Sum; NV]; PANELS]; ROWS],
    x: &Bases<ROWS>,
    bytes: usize,
    (w, panel_bytes): (*const u8, usize),
) {
    // SAFETY: the caller vouches for the instructions and the pointers.
    unsafe {
        let mut weights = [D::weights(w); PANELS];
        for (p, weights) in weights.iter_mut().enumerate().skip(1) {
            *weights = D::weights(w.add(p * panel_bytes));
        }
        for (m, row) in sums.iter_mut().enumerate() {
            let unit = D::lhs(x.row(m, bytes));
            for (panel, weights) in row.iter_mut().zip(weights) {
                for (sum, w) in panel.iter_mut().zip(weights) {
                    *sum = D::dot(*sum, unit, w);
                }
            }
        }
    }
}
