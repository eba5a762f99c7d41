//! Activations in the layout and the number format of the linear kernels.

use super::operands::Operands;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;

static ARTIFACT: Artifact = artifact!("rows", step);
static ROWS_F32: Kernel = Kernel::new(&ARTIFACT, "rows_f32");
static ROWS_BF16: Kernel = Kernel::new(&ARTIFACT, "rows_bf16");
static ROWS_BF16_SWIZZLED: Kernel = Kernel::new(&ARTIFACT, "rows_bf16_swizzled");
static ROWS_U8: Kernel = Kernel::new(&ARTIFACT, "rows_u8");
static ROWS_U8_SWIZZLED: Kernel = Kernel::new(&ARTIFACT, "rows_u8_swizzled");

/// Rows of a tile of activations.
pub(super) const TILE: usize = 8;

/// A matrix in a buffer: value (row, column) at `first` + row · strides[0] + column · strides[1].
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) values: &'a Buffer<f32>,
    pub(crate) first: usize,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) strides: [usize; 2],
}

impl<'a> View<'a> {
    /// The first `rows` rows of a row-major matrix.
    pub(crate) fn rows(values: &'a Buffer<f32>, rows: usize, width: usize) -> Self {
        Self { values, first: 0, rows, width, strides: [width, 1] }
    }

    /// All of a tensor.
    pub(crate) fn of(x: &'a Tensor) -> Self {
        Self::rows(x.values(), x.rows(), x.width())
    }

    /// `count` of its columns, from `from` on.
    pub(crate) fn columns(self, from: usize, count: usize) -> Self {
        assert!(from + count <= self.width);
        Self { first: self.first + from * self.strides[1], width: count, ..self }
    }

    /// Columns as rows.
    pub(crate) fn turned(self) -> Self {
        let [row, column] = self.strides;
        Self { rows: self.width, width: self.rows, strides: [column, row], ..self }
    }

    /// # Panics
    /// Where it does not lie inside its buffer.
    pub(super) fn check(&self) {
        let last = |n: usize, stride: usize| n.saturating_sub(1) * stride;
        let end = self.first + last(self.rows, self.strides[0]) + last(self.width, self.strides[1]);
        let empty = self.rows == 0 || self.width == 0;
        assert!(empty || end < self.values.len(), "a view past the end of its buffer");
    }

    pub(super) fn address(&self) -> u64 {
        self.values.at(self.first)
    }
}

/// Activations in the layout of a format, padded.
pub(crate) struct Operand {
    pub(crate) operands: Operands,
    pub(super) values: Buffer<u8>,
    pub(super) rows: usize,
    /// Columns, but for those that it is padded with.
    pub(super) width: usize,
    /// Of int8 and int4: a scale and a zero point a row.
    pub(super) quantised: Option<(Buffer<f32>, Buffer<i32>)>,
}

impl Operand {
    /// Room for rows.
    pub(super) fn unset(
        cuda: &Cuda,
        rows: usize,
        width: usize,
        operands: Operands,
    ) -> Result<Self> {
        let depth = width.next_multiple_of(operands.slab());
        let values = rows.next_multiple_of(TILE) * depth * operands.element();
        let quantised = match operands.quantises_rows() {
            true => Some((cuda.buffer(rows)?, cuda.buffer(rows)?)),
            false => None,
        };
        Ok(Self { operands, values: cuda.buffer(values)?, rows, width, quantised })
    }

    /// Columns, with those that it is padded with.
    pub(super) fn depth(&self) -> usize {
        self.width.next_multiple_of(self.operands.slab())
    }

    /// Where scales and zero points lie; null where there are none.
    pub(super) fn quantised_at(&self) -> (u64, u64) {
        let addresses =
            |(scales, zeros): &(Buffer<f32>, Buffer<i32>)| (scales.address(), zeros.address());
        self.quantised.as_ref().map_or((0, 0), addresses)
    }

    /// Rows of int8 and int4 are read as they lie, without a view of strides.
    pub(super) fn new(cuda: &Cuda, x: View<'_>, operands: Operands) -> Result<Self> {
        x.check();
        let View { rows, width, strides, .. } = x;
        let tiles = rows.div_ceil(TILE);
        let mut made = Self::unset(cuda, rows, width, operands)?;
        let depth = made.depth();
        let launch = match operands {
            Operands::F32 | Operands::F16 => {
                Launch::new(cuda, &ROWS_F32).grid(tiles, depth.div_ceil(128), 1).block(128)
            }
            Operands::Bf16 => {
                Launch::new(cuda, &ROWS_BF16).grid(tiles, (depth / 32).div_ceil(4), 1).block(128)
            }
            Operands::Bf16Swizzled => Launch::new(cuda, &ROWS_BF16_SWIZZLED)
                .grid(tiles, (depth / 64).div_ceil(4), 1)
                .block(128),
            Operands::Int8 | Operands::Int4 => quantise(cuda, &ROWS_U8, tiles, depth),
            Operands::Int8Swizzled => quantise(cuda, &ROWS_U8_SWIZZLED, tiles, depth),
        };
        let mut launch = launch.arg(x.address()).size(rows).size(width).size(depth);
        match operands.quantises_rows() {
            true => assert_eq!(strides, [width, 1], "rows to be quantised lie one after the other"),
            false => launch = launch.arg(strides[0] as i64).arg(strides[1] as i64),
        }
        launch = launch.out(&mut made.values);
        if let Some((scales, zeros)) = &mut made.quantised {
            launch = launch.out(scales).out(zeros);
        }
        // SAFETY: x lies inside its buffer, as was checked; `values` has whole tiles of `depth` columns; a scale and a zero point for each row.
        unsafe { launch.run() }?;
        Ok(made)
    }
}

/// A block for each row of whole tiles.
fn quantise<'a>(cuda: &'a Cuda, kernel: &'static Kernel, tiles: usize, depth: usize) -> Launch<'a> {
    Launch::new(cuda, kernel).grid(tiles * TILE, 1, 1).block(row_threads(depth))
}

/// Threads that quantise a row.
fn row_threads(depth: usize) -> usize {
    (depth / 4).next_multiple_of(32).clamp(32, 256)
}

#[cfg(test)]
mod tests {
    use super::row_threads;

    #[test]
    fn rows_are_quantised_by_whole_warps() {
        assert_eq!([64, 128, 256, 4096].map(row_threads), [32, 32, 64, 256]);
    }
}
