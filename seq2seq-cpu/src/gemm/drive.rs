//! A whole product: panels over workers, tiles over rows, the epilogue behind each tile.
//!
//! The order was found by measuring (Zen 5, two cores): every worker streams its own panels, each once from memory; all rows
//! pass a panel while it lies in the cache; k is never cut, so a sum stays in its register from the first product to the
//! last. Rows are not packed: a tile reads its few rows where they are.

use super::{
    Linear,
    epilogue::{Columns, Epilogue, Finish},
    micro::{
        LhsRows, Size, Sums,
        output::{Block, Blocks},
        stored::Stored,
    },
    plan::{self, Grid},
};
use crate::{memory::second_cache, simd, threads::Threads};
use std::ops::Range;

impl Linear {
    /// `rows` rows of `x`, in the element type of this layer's kernel, into `out`, whose rows begin `stride` values apart, as
    /// what it stores.
    ///
    /// # Panics
    /// When `x` or `out` is shorter, or `stride` less than whole panels need: the width rounded up to
    /// that of panels, 32 or less.
    pub(crate) fn multiply<T: Stored>(
        &self,
        threads: &Threads,
        rows: usize,
        x: LhsRows<'_>,
        epilogue: &Epilogue<'_>,
        (out, stride): (&mut [T], usize),
    ) {
        let tiles = plan::tiles(rows, self.kernel.max_rows());
        let grid = Grid::new(tiles, self.panels, threads.count());
        let blocks = Blocks::new(out, (rows, stride), (self.panels, self.width), grid);
        let cost = plan::cost(self.data.len() * tiles / grid.parts());
        threads.each_part(blocks, cost, |_, mut block| {
            let (first, count) = (block.rows().start, block.rows().len());
            let parts = plan::row_blocks(count, x.stride, second_cache());
            for part in 0..parts {
                let share = plan::share(count, parts, part);
                let rows = first + share.start..first + share.end;
                self.rows_of_block(rows, x, epilogue, &mut block);
            }
        });
    }

    /// Some rows of a block, which stay in the cache, through all its panels.
    fn rows_of_block<T: Stored>(
        &self,
        rows: Range<usize>,
        x: LhsRows<'_>,
        epilogue: &Epilogue<'_>,
        block: &mut Block<'_, T>,
    ) {
        let layout = &self.kernel.layout;
        let units = layout.units(self.shape.input);
        let panel_bytes = layout.panel_bytes(units);
        let (one, pair) = (self.kernel.max_rows(), self.kernel.max_rows_of_pair());
        let in_pairs = plan::in_pairs(rows.len(), pair, panel_bytes, second_cache());
        let mut sums = Sums::new();
        for panels in plan::groups(block.panels(), if in_pairs { 2 } else { 1 }) {
            let weights = &self.data[panels.start * panel_bytes..panels.end * panel_bytes];
            let tiles = plan::tiles(rows.len(), if panels.len() == 2 { pair } else { one });
            for tile in 0..tiles {
                let share = plan::share(rows.len(), tiles, tile);
                let tile_rows = rows.start + share.start..rows.start + share.end;
                let tile_x = LhsRows { bytes: &x.bytes[tile_rows.start * x.stride..], ..x };
                let size = Size { rows: tile_rows.len(), panels: panels.len(), units };
                let fetch = plan::fetch((tile, tiles), rows.len(), panels.len(), one);
                // From afar it comes while the tile computes, and what the products push out of the first cache comes
                // back at once, not line after line.
                epilogue.prefetch(block, tile_rows.clone(), panels.clone());
                self.kernel.multiply(size, tile_x, weights, fetch, &mut sums);
                epilogue.prefetch(block, tile_rows.clone(), panels.clone());
                for (i, panel) in panels.clone().enumerate() {
                    let finish = Finish {
                        epilogue,
                        columns: self.columns(panel),
                        sums: sums.panel(i, (tile_rows.len(), layout.columns)),
                        rows: tile_rows.clone(),
                        panel,
                        block,
                    };
                    simd::dispatch(self.isa, finish);
                }
            }
        }
    }

    /// What the epilogue does to the columns of `panel`.
    fn columns(&self, panel: usize) -> Columns<'_> {
        let channels = panel * self.kernel.layout.columns..(panel + 1) * self.kernel.layout.columns;
        Columns {
            scale: &self.scale[channels.clone()],
            bias: &self.bias[channels],
            gated: self.gated,
        }
    }
}
