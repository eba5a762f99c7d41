//! Micro-kernels: a tile of a matrix product, a few rows of activations times one panel of weights, or two.
//!
//! A panel holds the weights of [`Layout::columns`] output columns in the order in which the kernel reads them. The
//! values of one column come in *units* of [`Layout::unit`] consecutive k, as many as one lane of the instruction takes.
//! One step of the kernel multiplies a unit of each row, broadcast, with a unit of every column:
//!
//! ```text
//! row m     x[k] broadcast   ─┐
//! panel     w[k][0..columns] ─┴─►  sums[m][0..columns], all in registers
//! ```
//!
//! **Each sum is one chain over rising k**, whatever the number of rows in the tile: a row has the same bits alone and
//! in any batch. Nothing else may decide the order of a summation.
//!
//! All kernels share one body, [`chain::tile`], generic over the instructions, [`Dot`]; those of int4, whose sums are
//! scaled group by group, have another, [`grouped::tile`]. A file per kernel holds its instructions, its layout, and the
//! entry points that enable the instructions.

use super::lhs::{Element, Tail};
use bytemuck::cast_slice;
use chain::Dot;
pub(super) use fetch::Fetch;
use heights::Heights;
use seq2seq_core::quant::group::{GROUP, groups};

/// Declares a [`MicroKernel`] and its entry points: for each number of `rows` one that looks ahead near and one far, for that of
/// `shares` one that fetches its share, for that of `pairs` one with two panels. Only what [`plan`](super::plan) asks for is
/// compiled: where tiles share, there are several, and none is lower than half of the highest.
macro_rules! micro_kernel {
    (
        $(#[$feature:meta])? $name:literal: grouped $dot:ty, $lhs:expr, $layout:expr,
        rows [$($rows:literal)*], shares [$($shares:literal)*]
    ) => {
        micro_kernel! {
            @ $(#[$feature])? $name, $lhs, $layout, rows [$($rows)*], shares [$($shares)*], pairs [],
            $crate::gemm::micro::grouped::tile::<$dot, F, _, ROWS>
        }
    };
    (
        $(#[$feature:meta])? $name:literal: $dot:ty, $lhs:expr, $layout:expr,
        rows [$($rows:literal)*], shares [$($shares:literal)*] $(, pairs [$($pairs:literal)*])?
    ) => {
        micro_kernel! {
            @ $(#[$feature])? $name, $lhs, $layout, rows [$($rows)*], shares [$($shares)*], pairs [$($($pairs)*)?],
            $crate::gemm::micro::chain::tile::<$dot, F, _, ROWS, PANELS>
        }
    };
    (
        @ $(#[$target_feature:meta])? $name:literal, $lhs:expr, $layout:expr,
        rows [$($rows:literal)*], shares [$($shares:literal)*], pairs [$($pairs:literal)*], $tile:expr
    ) => {
        /// What the name of this file says.
        pub(in crate::gemm) static KERNEL: $crate::gemm::micro::MicroKernel = {
            use $crate::gemm::micro::{MicroKernel, RawTile, fetch::*, heights::Heights};

            $(#[$target_feature])?
            unsafe fn entry<F: Fetching, const ROWS: usize, const PANELS: usize>(raw: &RawTile) {
                // SAFETY: the caller vouches for the tile and the instructions.
                unsafe { $tile(raw) }
            }
            MicroKernel {
                name: $name,
                lhs: $lhs,
                layout: $layout,
                near: Heights::new(&[$($rows),*], &[$(entry::<Near, $rows, 1>),*]),
                far: Heights::new(&[$($rows),*], &[$(entry::<Far, $rows, 1>),*]),
                shares: Heights::new(&[$($shares),*], &[$(entry::<Share, $shares, 1>),*]),
                pairs: Heights::new(&[$($pairs),*], &[$(entry::<Part, $pairs, 2>),*]),
            }
        };
    };
}

#[cfg(target_arch = "x86_64")]
mod bf16bf16_avx512_12x32;
#[cfg(target_arch = "x86_64")]
mod f32_avx2;
#[cfg(target_arch = "x86_64")]
mod f32_avx512;
#[cfg(target_arch = "x86_64")]
mod f32bf16_avx2_6x16;
#[cfg(target_arch = "x86_64")]
mod f32bf16_avx512_12x32;
#[cfg(target_arch = "x86_64")]
mod f32f16_avx2_6x16;
#[cfg(target_arch = "x86_64")]
mod f32f16_avx512_12x32;
#[cfg(target_arch = "x86_64")]
mod f32f32_avx2_6x16;
#[cfg(target_arch = "x86_64")]
mod f32f32_avx512_12x32;
#[cfg(target_arch = "x86_64")]
mod i16i4_avx2_4x16;
#[cfg(target_arch = "x86_64")]
mod i16i8_avx2_6x16;
#[cfg(target_arch = "x86_64")]
mod u8i4_avx2_3x16;
#[cfg(target_arch = "x86_64")]
mod u8i4_avx512_6x32;
#[cfg(target_arch = "x86_64")]
mod u8i4_avx512vbmi_12x32;
#[cfg(target_arch = "x86_64")]
mod u8i8_avx2_6x16;
#[cfg(target_arch = "x86_64")]
mod u8i8_avx512_12x32;

#[cfg(target_arch = "aarch64")]
mod f32_neon;
#[cfg(target_arch = "aarch64")]
mod f32bf16_neon_6x16;
#[cfg(target_arch = "aarch64")]
mod f32f16_neon_6x16;
#[cfg(target_arch = "aarch64")]
mod f32f32_neon_6x16;
#[cfg(target_arch = "aarch64")]
mod i8i4_neon_4x16;
#[cfg(target_arch = "aarch64")]
mod i8i4_neondot_4x16;
#[cfg(target_arch = "aarch64")]
mod i8i8_neon_6x16;
#[cfg(target_arch = "aarch64")]
mod i8i8_neondot_6x16;

mod f32_scalar;
mod f32bf16_scalar_4x8;
mod f32f16_scalar_4x8;
mod f32f32_scalar_4x8;
mod i8i4_scalar_4x8;
mod i8i8_scalar_4x8;

mod bases;
mod chain;
mod fetch;
mod grouped;
mod heights;
pub(super) mod output;
mod select;
pub(super) mod stored;
#[cfg(test)]
pub(super) mod tests;

/// How a panel is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Output columns of a panel.
    pub(super) columns: usize,
    /// Consecutive k of one column that stand together; the last unit is filled up with zeros.
    pub(super) unit: usize,
    /// Columns that many apart stand side by side: with 16 the order is 0, 16, 1, 17, ..., so that one load holds
    /// bf16 for two vectors of 16. With `columns` they stand one after the other. In int4 this is said of the scales.
    pub(super) stride: usize,
    /// The type of the weights.
    pub(super) weight: Weight,
    /// Whether the panel begins with the negated sum of each column's weights, as i32, in int4 as f32. Activations whose
    /// zero is stored as some integer z make a sum too large by z times the sum of the weights, so it starts from z
    /// times this.
    pub(super) sums: bool,
    /// In int4, whether the pairs of k of a unit of four are interleaved: 0, 2, 1, 3. So the lower bytes of its words are the first
    /// pair, the upper bytes the second.
    pub(super) pairs: bool,
}

/// The stored type of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    F32,
    Bf16,
    F16,
    I8,
    /// Codes of [`quant::group`](seq2seq_core::quant::group). Each group of k of a panel is its units and then a bf16
    /// scale a column. A byte of a unit holds in its low half the code of a place in the first half of the columns, in
    /// its high half the code of the same place in the second.
    I4,
}

impl Layout {
    /// Columns in their own order, no sums.
    const fn plain(columns: usize, unit: usize, weight: Weight) -> Self {
        Self { columns, unit, stride: columns, weight, sums: false, pairs: false }
    }

    /// Columns in their own order, behind their sums.
    const fn summed(columns: usize, unit: usize, weight: Weight) -> Self {
        Self { sums: true, ..Self::plain(columns, unit, weight) }
    }

    /// Codes in groups, with the scales of columns `c` and `c + stride` side by side.
    const fn grouped(columns: usize, unit: usize, stride: usize, sums: bool) -> Self {
        Self { stride, sums, ..Self::plain(columns, unit, Weight::I4) }
    }

    /// Units of four codes with their pairs interleaved.
    const fn by_pairs(self) -> Self {
        Self { pairs: true, ..self }
    }

    /// Columns `c` and `c + stride` side by side, one k a unit.
    const fn interleaved(columns: usize, stride: usize, weight: Weight) -> Self {
        Self { stride, ..Self::plain(columns, 1, weight) }
    }

    /// Units of a reduction over `input` columns: of whole groups in int4.
    pub(super) fn units(&self, input: usize) -> usize {
        match self.weight {
            Weight::I4 => groups(input) * (GROUP / self.unit),
            _ => input.div_ceil(self.unit),
        }
    }

    /// Bytes of the sums at the head of a panel.
    pub(super) fn header_bytes(&self) -> usize {
        if self.sums { self.columns * size_of::<i32>() } else { 0 }
    }

    /// Bytes of `units` units of all columns, scales of groups included.
    pub(super) fn unit_bytes(&self, units: usize) -> usize {
        let weights = units * self.columns * self.unit;
        match self.weight {
            Weight::F32 => weights * 4,
            Weight::Bf16 | Weight::F16 => weights * 2,
            Weight::I8 => weights,
            Weight::I4 => weights / 2 + units * self.unit / GROUP * self.columns * 2,
        }
    }

    /// Bytes that a kernel passes in one step: a unit of all columns, in int4 a group.
    pub(super) fn step_bytes(&self) -> usize {
        self.unit_bytes(if self.weight == Weight::I4 { GROUP / self.unit } else { 1 })
    }

    /// Bytes of a panel with `units` units a column.
    pub(super) fn panel_bytes(&self, units: usize) -> usize {
        self.header_bytes() + self.unit_bytes(units)
    }

    /// How many values, step by step, lie between the two of a pair that stands side by side; `None` where all stand in their
    /// order. A unit of two pairs steps, an interleaved unit of one the halves of a step.
    pub(super) fn pair(&self) -> Option<usize> {
        match (self.unit, self.columns / self.stride) {
            (1, 1) => None,
            (1, 2) => Some(self.stride),
            (2, 1) => Some(self.columns),
            (unit, side_by_side) => panic!("{unit} steps of {side_by_side} columns side by side"),
        }
    }

    /// The column whose weights stand at place `i` of each unit.
    pub(super) fn column_at(&self, i: usize) -> usize {
        if self.weight == Weight::I4 { i } else { self.side_by_side(i) }
    }

    /// The column whose scale stands at place `i` of each group.
    pub(super) fn scale_at(&self, i: usize) -> usize {
        self.side_by_side(i)
    }

    fn side_by_side(&self, i: usize) -> usize {
        let side_by_side = self.columns / self.stride;
        i % side_by_side * self.stride + i / side_by_side
    }
}

/// No kernel has larger tiles.
pub(super) const MAX_ROWS: usize = 12;
/// No kernel has wider panels.
pub(super) const MAX_COLUMNS: usize = 32;

/// The sums of a tile, panel by panel, in each row by row, `columns` a row.
#[repr(C, align(64))]
pub(super) struct Sums([f32; MAX_ROWS * MAX_COLUMNS]);

impl Sums {
    /// Zeros.
    pub(super) fn new() -> Self {
        Self([0.0; MAX_ROWS * MAX_COLUMNS])
    }

    /// Row `row` of a tile with one panel of `columns` columns.
    pub(super) fn row(&self, row: usize, columns: usize) -> &[f32] {
        &self.0[row * columns..][..columns]
    }

    /// All rows of panel `panel` of a tile with `rows` rows.
    pub(super) fn panel(&self, panel: usize, (rows, columns): (usize, usize)) -> &[f32] {
        &self.0[panel * rows * columns..][..rows * columns]
    }
}

/// Rows of activations in the element type of a kernel. Those of integers end with a [`Tail`](super::lhs::Tail).
#[derive(Clone, Copy)]
pub(crate) struct LhsRows<'a> {
    /// The first row begins here, each of the next `stride` bytes behind.
    pub(super) bytes: &'a [u8],
    /// Bytes from row to row.
    pub(super) stride: usize,
}

impl<'a> LhsRows<'a> {
    /// Rows of f32, `stride` values apart.
    pub(crate) fn f32(values: &'a [f32], stride: usize) -> Self {
        Self { bytes: cast_slice(values), stride: stride * size_of::<f32>() }
    }
}

/// How large a tile is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) rows: usize,
    /// One or two.
    pub(super) panels: usize,
    /// Of the reduction.
    pub(super) units: usize,
}

impl Size {
    /// `rows` rows times a panel of `units` units.
    pub(super) fn of_one_panel(rows: usize, units: usize) -> Self {
        Self { rows, panels: 1, units }
    }
}

/// A compiled tile product and the layout of its operands.
///
/// One can be had only by [`select`](Self::select), with the proof that this machine has its instructions.
pub(super) struct MicroKernel {
    name: &'static str,
    /// The type that it wants activations in.
    pub(super) lhs: Element,
    /// The layout that it wants weights in.
    pub(super) layout: Layout,
    /// Tiles of one panel, for each [`Fetch`].
    near: Heights,
    far: Heights,
    shares: Heights,
    /// Tiles of two panels, which [`Fetch::Share`] among many. There may be none.
    pairs: Heights,
}

impl std::fmt::Debug for MicroKernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl MicroKernel {
    /// The most rows of a tile of one panel.
    pub(super) fn max_rows(&self) -> usize {
        self.near.most()
    }

    /// The most rows of a tile of two panels, 0 where there is none.
    pub(super) fn max_rows_of_pair(&self) -> usize {
        self.pairs.most()
    }

    /// The tiles of so many panels that fetch so, whatever their height.
    ///
    /// # Panics
    /// When there are none.
    fn heights(&self, panels: usize, fetch: Fetch) -> &Heights {
        match (panels, fetch) {
            (1, Fetch::Near(_)) => &self.near,
            (1, Fetch::Far(_)) => &self.far,
            (1, Fetch::Share { .. }) => &self.shares,
            (2, Fetch::Share { .. }) => &self.pairs,
            _ => panic!("no tile of {panels} panels has {fetch:?}"),
        }
    }

    /// The sums of rows of `x` with each column of `panels`, whole panels: one, or two that lie one behind the other, which
    /// [`Fetch::Share`] among at least [`MANY`](Fetch::MANY).
    ///
    /// # Panics
    /// When the operands are shorter than that, or there is no such tile: [`plan::fetch`](super::plan::fetch) says what to fetch.
    /// Rows of integers are `x.stride` bytes long, the tail included.
    #[inline]
    pub(super) fn multiply(
        &self,
        Size { rows, panels: count, units }: Size,
        x: LhsRows<'_>,
        panels: &[u8],
        fetch: Fetch,
        sums: &mut Sums,
    ) {
        let step_bytes = self.layout.step_bytes();
        let panel_bytes = self.layout.panel_bytes(units);
        let x_bytes = units * self.layout.unit * self.lhs.size();
        let tile = self.heights(count, fetch).of(rows);
        assert_eq!(panels.len(), count * panel_bytes);
        assert!((rows - 1) * x.stride + x_bytes <= x.bytes.len());
        if self.layout.sums {
            assert!(x_bytes + Tail::BYTES <= x.stride && rows * x.stride <= x.bytes.len());
        }
        let weights = panels[self.layout.header_bytes()..].as_ptr();
        let (ahead, ahead_step) = match fetch {
            Fetch::Near(bytes) | Fetch::Far(bytes) => (weights.wrapping_add(bytes), step_bytes),
            Fetch::Share { tile, tiles } => {
                let begin = panels.len() + self.layout.unit_bytes(units) * count / tiles * tile;
                (weights.wrapping_add(begin), (step_bytes * count).div_ceil(tiles))
            }
        };
        let raw = RawTile {
            units,
            x: x.bytes.as_ptr(),
            x_stride: x.stride,
            zeros: x.bytes.as_ptr().wrapping_add(x.stride).wrapping_sub(Tail::BYTES),
            header: panels.as_ptr(),
            panel_bytes,
            weights,
            sums: sums.0.as_mut_ptr(),
            ahead,
            ahead_step,
        };
        // SAFETY: the instructions are there, or `select` would not have given this kernel. The lengths were just
        // checked, and `Sums` has room for the largest tile. What is fetched ahead is never dereferenced.
        unsafe { tile(&raw) }
    }
}

/// The operands of one tile.
struct RawTile {
    units: usize,
    x: *const u8,
    x_stride: usize,
    /// The stored zero of the first row, where the kernel asks for it.
    zeros: *const u8,
    header: *const u8,
    /// From a panel to the next.
    panel_bytes: usize,
    weights: *const u8,
    sums: *mut f32,
    /// What is brought nearer in the first step, and how far on in the next.
    ahead: *const u8,
    ahead_step: usize,
}
