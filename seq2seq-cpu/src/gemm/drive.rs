//! A whole product: panels over workers, tiles over rows, the epilogue behind each tile.
//!
//! The order was found by measuring (Zen 5, two cores): every worker streams its own panels, each once from memory; all rows
//! pass a panel while it lies in the cache; k is never cut, so a sum stays in its register from the first product to the
//! last. Rows are not packed: a tile reads its few rows where they are.

use super::{
    Linear,
    epilogue::{Columns, Epilogue, Finish},
    micro::{
        LhsRows, Sums,
        output::{Block, Blocks},
    },
    plan::{self, Grid},
};
use crate::{simd, threads::Threads};
use std::ops::Range;

impl Linear {
    /// `rows` rows of `x`, in the element type of this layer's kernel, into `out`, whose rows begin `stride` values apart.
    ///
    /// # Panics
    /// When `x` or `out` is shorter, or `stride` less than whole panels need: the width rounded up to
    /// that of panels, 32 or less.
    pub(crate) fn multiply(
        &self,
        threads: &Threads,
        rows: usize,
        x: LhsRows<'_>,
        epilogue: &Epilogue<'_>,
        (out, stride): (&mut [f32], usize),
    ) {
        let tiles = plan::tiles(rows, self.kernel.max_rows());
        let grid = Grid::new(tiles, self.panels, threads.count());
        let blocks = Blocks::new(out, (rows, stride), (self.panels, self.width), grid);
        let cost = plan::cost(self.data.len() * tiles / grid.parts());
        threads.each_part(blocks, cost, |_, mut block| {
            let (first, count) = (block.rows.start, block.rows.len());
            let parts = plan::row_blocks(count, x.stride);
            for part in 0..parts {
                let share = plan::share(count, parts, part);
                let rows = first + share.start..first + share.end;
                self.rows_of_block(rows, x, epilogue, &mut block);
            }
        });
    }

    /// Some rows of a block, which stay in the cache, through all its panels.
    fn rows_of_block(
        &self,
        rows: Range<usize>,
        x: LhsRows<'_>,
        epilogue: &Epilogue<'_>,
        block: &mut Block<'_>,
    ) {
        let layout = &self.kernel.layout;
        let units = layout.units(self.shape.input);
        let panel_bytes = layout.panel_bytes(units);
        let max_rows = self.kernel.max_rows();
        let tiles = plan::tiles(rows.len(), max_rows);
        let mut sums = Sums::new();
        for panel in block.panels.clone() {
            let weights = &self.data[panel * panel_bytes..][..panel_bytes];
            let channels = panel * layout.columns..(panel + 1) * layout.columns;
            let columns = Columns {
                scale: &self.scale[channels.clone()],
                bias: &self.bias[channels],
                gated: self.gated,
            };
            for tile in 0..tiles {
                let share = plan::share(rows.len(), tiles, tile);
                let tile_rows = rows.start + share.start..rows.start + share.end;
                let tile_x = LhsRows { bytes: &x.bytes[tile_rows.start * x.stride..], ..x };
                let fetch = plan::fetch(tile, tiles, rows.len(), max_rows);
                let size = (tile_rows.len(), units);
                // From afar it comes while the tile computes, and what the products push out of the first cache comes
                // back at once, not line after line.
                epilogue.prefetch(block, tile_rows.clone(), panel);
                self.kernel.multiply(size, tile_x, weights, fetch, &mut sums);
                epilogue.prefetch(block, tile_rows.clone(), panel);
                let finish =
                    Finish { epilogue, columns, sums: &sums, rows: tile_rows, panel, block };
                simd::dispatch(self.isa, finish);
            }
        }
    }
}
