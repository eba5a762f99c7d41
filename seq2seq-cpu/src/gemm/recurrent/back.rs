//! Steps of recurrent layers on their way back.
//!
//! As on the way there, a block is some units, and whoever has it multiplies what comes from the position behind, du, with the
//! columns of U that belong to these units, and computes their cells back at once. So du goes from one step to the next without
//! another meeting of the threads.

use super::{MAX_GATES, RecurrentShape, bounds};
use crate::{
    gemm::{
        Linear, Source,
        lhs::{Converted, Element},
        micro::{LhsRows, MAX_COLUMNS, Size, Sums},
        plan,
    },
    isa::Isa,
    kernels::backward::recurrent::{Cells, Join},
    memory::{self, For, Tensor, Tile, VectorTile, Vectors, prefetch_run},
    simd,
    threads::Threads,
};
use seq2seq_core::{Cell, Format};
use std::ops::Range;

/// U of each direction, packed with its rows as the steps of the reduction.
#[derive(Debug)]
pub(crate) struct Back {
    shape: RecurrentShape,
    directions: Vec<Linear>,
    /// Those of the layer's blocks.
    bounds: Vec<usize>,
}

/// What one step reads, and what it writes.
pub(crate) struct BackStep<'a> {
    /// du of the position behind, `[B, D · gates · M]`, of which the first rows have one, and how many.
    pub(crate) behind: (&'a Tensor, usize),
    /// The gradient of h but for the product with du, `[B, D · M]`: from the state behind the last position, or within the cell.
    pub(crate) dh: &'a mut Tensor,
    /// The gradient of c, in an LSTM.
    pub(crate) dc: Option<&'a mut Tensor>,
    /// The cells of a position; without, the product is added to `dh`.
    pub(crate) cells: Option<BackCells<'a>>,
}

/// The cells that are computed back.
pub(crate) struct BackCells<'a> {
    /// Of each direction, the positions that the rows have come to.
    pub(crate) rows: [&'a [usize]; 2],
    /// The gradient of the result.
    pub(crate) dy: Option<&'a Tensor>,
    /// What the forward kept.
    pub(crate) kept: &'a Tensor,
    /// Where the state before the position stands.
    pub(crate) before: Before<'a>,
    /// du for the next step, a row for each sequence.
    pub(crate) next: &'a mut Tensor,
    /// du of all positions.
    pub(crate) du: &'a mut Tensor,
    /// The gradient of the projected input where it is not du.
    pub(crate) dx: Option<&'a mut Tensor>,
}

/// c of an LSTM or h of a GRU before a position.
#[derive(Clone, Copy)]
pub(crate) enum Before<'a> {
    /// Zeros.
    Nothing,
    /// What the sequences began with: rows in this order, and the column where the vectors of the directions begin.
    State(&'a Tensor, &'a [usize], usize),
    /// What the position before gave: h of all positions; c was kept.
    Position(&'a Tensor),
}

impl Back {
    /// From U of each direction, `[gates · M, M]`.
    pub(crate) fn pack(
        threads: &Threads,
        isa: Isa,
        shape: RecurrentShape,
        weights: &[impl Source],
        format: Format,
    ) -> Self {
        let pack = |source| Linear::of_source(threads, isa, source, 1.0, format);
        let directions: Vec<Linear> = weights.iter().map(pack).collect();
        let columns = directions.first().map_or(MAX_COLUMNS, |d| d.kernel.layout.columns);
        Self { shape, directions, bounds: bounds(shape, columns) }
    }

    /// Packs other weights of the same sizes.
    pub(crate) fn fill(&mut self, threads: &Threads, weights: &[impl Source]) {
        for (direction, source) in self.directions.iter_mut().zip(weights) {
            // The forward has been packed from the same values, and has found what is not finite.
            direction.fill(threads, source);
        }
    }

    /// One step of each direction, for the sequences that have the position.
    pub(crate) fn step(&self, threads: &Threads, step: BackStep<'_>) {
        let BackStep { behind: (behind, count), dh, dc, cells } = step;
        let RecurrentShape { cell, width, directions } = self.shape;
        let inputs = cell.gates() * width;
        let mut converted = [None, None];
        for (d, (layer, converted)) in self.directions.iter().zip(&mut converted).enumerate() {
            if layer.element() != Element::F32 {
                let rows =
                    (&behind.values()[(d * inputs).min(behind.values().len())..], behind.stride());
                let size = (count, inputs);
                *converted = Some(Converted::new(threads, layer.isa, layer.element(), rows, size));
            }
        }
        let (mut next, mut du, mut dx) = (None, None, None);
        let read = cells.map(|cells| {
            (next, du, dx) = (Some(cells.next), Some(cells.du), cells.dx);
            let (rows, dy, kept, before) = (cells.rows, cells.dy, cells.kept, cells.before);
            Read { rows, dy, kept, before }
        });
        let parts = |tensor| memory::Columns::new(tensor, &self.bounds);
        let vectors = |tensor| Vectors::new(tensor, &self.bounds, (width, cell.gates()));
        let targets =
            ((parts(dh), dc.map(parts)), (next.map(vectors), (du.map(vectors), dx.map(vectors))));
        let tiles = plan::tiles(count, self.directions[0].kernel.max_rows());
        let live = read.as_ref().map_or(0, |read| read.rows[0].len());
        let cost = plan::cost(self.directions[0].panel_bytes() * tiles) + 64 * live * MAX_COLUMNS;
        let blocks = (self.bounds.len() - 1) / directions;
        threads.each_part(targets, cost, |part, ((dh, dc), (next, (du, dx)))| {
            let (d, first) = (part / blocks, self.bounds[part]);
            let block = Block {
                shape: self.shape,
                layer: &self.directions[d],
                converted: converted[d].as_ref(),
                panel: part % blocks,
                behind: (behind, count),
                d,
                units: first - d * width..self.bounds[part + 1] - d * width,
                read: read.as_ref(),
            };
            block.run(Targets { dh, dc, next, du, dx });
        });
    }
}

/// What the cells of a step read.
struct Read<'a> {
    rows: [&'a [usize]; 2],
    dy: Option<&'a Tensor>,
    kept: &'a Tensor,
    before: Before<'a>,
}

/// Where a block writes.
struct Targets<'a> {
    dh: Tile<'a>,
    dc: Option<Tile<'a>>,
    next: Option<VectorTile<'a>>,
    du: Option<VectorTile<'a>>,
    dx: Option<VectorTile<'a>>,
}

/// One block in one step.
struct Block<'a> {
    shape: RecurrentShape,
    layer: &'a Linear,
    converted: Option<&'a Converted>,
    /// Its place in the direction.
    panel: usize,
    behind: (&'a Tensor, usize),
    /// The direction.
    d: usize,
    /// Its units in the direction.
    units: Range<usize>,
    read: Option<&'a Read<'a>>,
}

impl Block<'_> {
    /// All rows: those that something comes to from behind, a tile at a time, then those that end here.
    fn run(&self, mut targets: Targets<'_>) {
        let kernel = self.layer.kernel;
        let (layout, count) = (&kernel.layout, self.behind.1);
        let inputs = self.shape.cell.gates() * self.shape.width;
        let (units, panel_bytes) = (layout.units(inputs), self.layer.panel_bytes());
        let weights = &self.layer.data[self.panel * panel_bytes..][..panel_bytes];
        let (values, stride) = (self.behind.0.values(), self.behind.0.stride());
        let lhs = match self.converted {
            Some(converted) => converted.rows(),
            None => LhsRows::f32(&values[(self.d * inputs).min(values.len())..], stride),
        };
        let max_rows = kernel.max_rows();
        let tiles = plan::tiles(count, max_rows);
        let mut sums = Sums::new();
        for tile in 0..tiles {
            let rows = plan::share(count, tiles, tile);
            let lhs = LhsRows { bytes: &lhs.bytes[rows.start * lhs.stride..], ..lhs };
            let fetch = plan::fetch_in_step(tile);
            rows.clone().for_each(|row| self.prefetch(row, &mut targets));
            kernel.multiply(Size::of_one_panel(rows.len(), units), lhs, weights, fetch, &mut sums);
            for (i, row) in rows.enumerate() {
                self.row(row, sums.row(i, layout.columns), &mut targets);
            }
        }
        let live = self.read.map_or(0, |read| read.rows[0].len());
        for row in count..live {
            self.row(row, &[0.0; MAX_COLUMNS], &mut targets);
        }
    }

    /// What the cells of a row read and write comes while its product is computed: positions lie far apart.
    fn prefetch(&self, row: usize, targets: &mut Targets<'_>) {
        let (Some(read), Some(du)) = (self.read, &mut targets.du) else { return };
        let RecurrentShape { cell, width, .. } = self.shape;
        let (place, units) = (read.rows[self.d][row], self.units.len());
        let column = self.d * width + self.units.start;
        for v in 0..cell.kept() {
            let vector = (self.d * cell.kept() + v) * width + self.units.start;
            prefetch_run(readable(read.kept, place, vector).as_ptr(), units, For::Reading);
        }
        if let Some(dy) = read.dy {
            prefetch_run(readable(dy, place, column).as_ptr(), units, For::Reading);
        }
        for out in du.row::<MAX_GATES>(place) {
            prefetch_run(out.as_ptr(), out.len(), For::Writing);
        }
    }

    /// The units of one row, with the product that comes from behind.
    fn row(&self, row: usize, product: &[f32], targets: &mut Targets<'_>) {
        let isa = self.layer.isa;
        let dh = targets.dh.row(row);
        let (Some(read), Some(next), Some(du)) = (self.read, &mut targets.next, &mut targets.du)
        else {
            return simd::dispatch(isa, Join { product, dh });
        };
        let RecurrentShape { cell, width, .. } = self.shape;
        let (place, column) = (read.rows[self.d][row], self.d * width + self.units.start);
        let vectors = self.d * cell.kept() * width + self.units.start;
        let kept = |place: usize, v: usize| readable(read.kept, place, vectors + v * width);
        let before = match read.before {
            Before::Nothing => None,
            Before::State(state, order, at) => Some(readable(state, order[row], at + column)),
            Before::Position(h) => {
                let before = if self.d == 0 { place - 1 } else { place + 1 };
                Some(match cell {
                    Cell::Lstm => kept(before, 4),
                    Cell::Gru => readable(h, before, column),
                })
            }
        };
        let cells = Cells {
            cell,
            product,
            dh,
            dc: targets.dc.as_mut().map_or(&mut [], |dc| dc.row(row)),
            dy: read.dy.map(|dy| readable(dy, place, column)),
            kept: std::array::from_fn(|v| if v < cell.kept() { kept(place, v) } else { &[] }),
            before,
            next: next.row(row),
            du: du.row(place),
            dx: targets.dx.as_mut().map(|dx| dx.row(place)),
        };
        simd::dispatch(isa, cells);
    }
}

/// From `column` of `row` on: a vector can be read at each value of the row, as rows end with a gap.
fn readable(x: &Tensor, row: usize, column: usize) -> &[f32] {
    &x.values()[row * x.stride() + column..]
}
