//! A matrix that several threads write at once, each a block of its own.

use crate::gemm::plan::{self, Grid};
use crate::memory::{For, Split, prefetch_run};
use std::{marker::PhantomData, ops::Range};

/// Where a matrix lies, and how wide its panels are.
#[derive(Clone, Copy)]
struct Place<'a, T> {
    data: *mut T,
    stride: usize,
    panel_width: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: through it, threads reach the blocks that they were handed, as if each had been sent its `&mut [T]`s.
unsafe impl<T: Send> Sync for Place<'_, T> {}
// SAFETY: as for Sync.
unsafe impl<T: Send> Send for Place<'_, T> {}

/// A row-major matrix cut along a [`Grid`].
pub(in crate::gemm) struct Blocks<'a, T> {
    place: Place<'a, T>,
    rows: usize,
    panels: usize,
    grid: Grid,
}

/// Some rows and some panels of the matrix.
pub(in crate::gemm) struct Block<'a, T> {
    place: Place<'a, T>,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl<'a, T> Blocks<'a, T> {
    /// Of `rows` rows that begin `stride` values apart, `panels` panels of `panel_width` columns.
    ///
    /// # Panics
    /// When the panels are wider than the stride, or `data` is shorter than all rows.
    pub(in crate::gemm) fn new(
        data: &'a mut [T],
        (rows, stride): (usize, usize),
        (panels, panel_width): (usize, usize),
        grid: Grid,
    ) -> Self {
        assert!(panels * panel_width <= stride && rows * stride <= data.len());
        let borrow = PhantomData;
        Self {
            place: Place { data: data.as_mut_ptr(), stride, panel_width, borrow },
            rows,
            panels,
            grid,
        }
    }
}

// SAFETY: blocks of different parts of the rows share no row, others no panel, as shares do not overlap.
unsafe impl<'a, T: Copy + Send> Split for Blocks<'a, T> {
    type Part = Block<'a, T>;

    fn count(&self) -> usize {
        self.grid.parts()
    }

    unsafe fn part(&self, i: usize) -> Block<'a, T> {
        Block {
            place: self.place,
            rows: plan::share(self.rows, self.grid.row_parts, i / self.grid.panel_parts),
            panels: plan::share(self.panels, self.grid.panel_parts, i % self.grid.panel_parts),
        }
    }
}

impl<T> Block<'_, T> {
    /// Its rows of the matrix.
    pub(in crate::gemm) fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Its panels of the matrix.
    pub(in crate::gemm) fn panels(&self) -> Range<usize> {
        self.panels.clone()
    }

    /// Columns of a panel.
    pub(in crate::gemm) fn panel_width(&self) -> usize {
        self.place.panel_width
    }

    /// Brings the columns of `panels` in `rows` nearer, which will be written.
    #[inline(always)]
    pub(in crate::gemm) fn prefetch(&self, rows: Range<usize>, panels: Range<usize>) {
        let Place { data, stride, panel_width, .. } = self.place;
        for row in rows {
            let start = data.wrapping_add(row * stride + panels.start * panel_width);
            prefetch_run(start, panels.len() * panel_width, For::Writing);
        }
    }

    /// The columns of `panel` in `row`.
    ///
    /// # Panics
    /// When either is not in the block.
    #[inline]
    pub(in crate::gemm) fn row(&mut self, row: usize, panel: usize) -> &mut [T] {
        assert!(self.rows.contains(&row) && self.panels.contains(&panel));
        let Place { data, stride, panel_width, .. } = self.place;
        // SAFETY: `Blocks::new` saw all rows and panels lie within the slice that it borrows. No other block has these
        // elements, and through this one they are reached by one exclusive borrow at a time.
        unsafe {
            std::slice::from_raw_parts_mut(
                data.add(row * stride + panel * panel_width),
                panel_width,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::Threads;

    #[test]
    fn blocks_cover_the_matrix_once() {
        let threads = Threads::new(Some(2)).unwrap();
        for (rows, panels, workers) in [(5, 7, 3), (9, 1, 4), (1, 3, 2), (0, 4, 2)] {
            let grid = Grid::new(rows, panels, workers);
            let (width, stride) = (4, panels * 4 + 3);
            let mut data = vec![0.0; rows * stride];
            let blocks = Blocks::new(&mut data, (rows, stride), (panels, width), grid);
            threads.each_part(blocks, usize::MAX, |_, mut block| {
                for row in block.rows() {
                    for panel in block.panels() {
                        block.row(row, panel).iter_mut().for_each(|v| *v += 1.0);
                    }
                }
            });
            for row in data.chunks(stride) {
                assert!(row[..panels * width].iter().all(|&v| v == 1.0));
                assert!(row[panels * width..].iter().all(|&v| v == 0.0));
            }
        }
    }

    #[test]
    #[should_panic]
    fn a_row_of_another_block_is_refused() {
        let threads = Threads::new(Some(1)).unwrap();
        let mut data = vec![0.0; 8];
        let grid = Grid { row_parts: 2, panel_parts: 1 };
        let blocks = Blocks::new(&mut data, (2, 4), (1, 4), grid);
        threads.each_part(blocks, 1, |_, mut block| {
            block.row(0, 0);
        });
    }
}
