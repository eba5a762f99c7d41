//! A matrix that several workers write at once, each a block of its own.

use crate::gemm::plan::{self, Grid};
use std::{
    marker::PhantomData,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

/// A row-major matrix cut into blocks along a [`Grid`]; each block is given out once.
pub(in crate::gemm) struct Output<'a, T> {
    data: *mut T,
    stride: usize,
    rows: usize,
    panels: usize,
    panel_width: usize,
    grid: Grid,
    given: AtomicUsize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: shared use is only `take`, which gives each block, and with it its elements, to one caller.
unsafe impl<T: Send> Sync for Output<'_, T> {}

/// One worker's block: some rows, some panels.
pub(in crate::gemm) struct Block<'a, T> {
    data: *mut T,
    stride: usize,
    panel_width: usize,
    /// Its rows of the matrix.
    pub(in crate::gemm) rows: Range<usize>,
    /// Its panels of the matrix.
    pub(in crate::gemm) panels: Range<usize>,
    borrow: PhantomData<&'a mut [T]>,
}

impl<'a, T> Output<'a, T> {
    /// Over `rows` rows that begin `stride` values apart, `panels` panels of `panel_width` columns.
    ///
    /// # Panics
    /// When a row is longer than its stride, or `data` shorter than all rows.
    pub(in crate::gemm) fn new(
        data: &'a mut [T],
        (rows, stride): (usize, usize),
        (panels, panel_width): (usize, usize),
        grid: Grid,
    ) -> Self {
        assert!(panels * panel_width <= stride && rows * stride <= data.len());
        Self {
            data: data.as_mut_ptr(),
            stride,
            rows,
            panels,
            panel_width,
            grid,
            given: AtomicUsize::new(0),
            borrow: PhantomData,
        }
    }

    /// A block that nobody has had yet.
    pub(in crate::gemm) fn take(&self) -> Option<Block<'_, T>> {
        // Only the uniqueness of the number counts; no data is passed on through it.
        let i = self.given.fetch_add(1, Ordering::Relaxed);
        (i < self.grid.parts()).then(|| Block {
            data: self.data,
            stride: self.stride,
            panel_width: self.panel_width,
            rows: plan::share(self.rows, self.grid.row_parts, i / self.grid.panel_parts),
            panels: plan::share(self.panels, self.grid.panel_parts, i % self.grid.panel_parts),
            borrow: PhantomData,
        })
    }
}

impl<T> Block<'_, T> {
    /// The columns of `panel` in `row`.
    ///
    /// # Panics
    /// When either is not in the block.
    #[inline]
    pub(in crate::gemm) fn row(&mut self, row: usize, panel: usize) -> &mut [T] {
        assert!(self.rows.contains(&row) && self.panels.contains(&panel));
        let at = row * self.stride + panel * self.panel_width;
        // SAFETY: `Output::new` has checked that all rows and panels lie within the slice it borrows. Shares do not
        // overlap and each block is given out once, so no other block reaches these elements; through this one they
        // are reached by one exclusive borrow at a time.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(at), self.panel_width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_matrix_once() {
        for (rows, panels, workers) in [(5, 7, 3), (9, 1, 4), (1, 3, 2), (0, 4, 2)] {
            let grid = Grid::new(rows, panels, workers);
            let (width, stride) = (4, panels * 4 + 3);
            let mut data = vec![0.0; rows * stride];
            let output = Output::new(&mut data, (rows, stride), (panels, width), grid);
            while let Some(mut block) = output.take() {
                for row in block.rows.clone() {
                    for panel in block.panels.clone() {
                        block.row(row, panel).iter_mut().for_each(|v| *v += 1.0);
                    }
                }
            }
            assert!(output.take().is_none());
            for row in data.chunks(stride) {
                assert!(row[..panels * width].iter().all(|&v| v == 1.0));
                assert!(row[panels * width..].iter().all(|&v| v == 0.0));
            }
        }
    }

    #[test]
    #[should_panic]
    fn a_row_of_another_block_is_refused() {
        let mut data = vec![0.0; 8];
        let grid = Grid { row_parts: 2, panel_parts: 1 };
        let output = Output::new(&mut data, (2, 4), (1, 4), grid);
        output.take().unwrap().row(1, 0);
    }
}
