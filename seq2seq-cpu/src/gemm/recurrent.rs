//! Steps of recurrent layers: at each position the product of the state with the weights, and behind each tile the cell.
//!
//! The outputs of a layer are packed in blocks: the gates of as many units as a panel has columns, a panel a gate. So
//! whoever multiplies a block has all that its units need, and the state goes from one step to the next without another
//! meeting of the threads. A step is divided among them by blocks; all rows of the batch pass a block while it lies in the
//! cache, where it stays for the next step as far as there is room.
//!
//! Bits are those of the linear layer of the same weights, whatever the batch and the threads; the cell is computed unit by
//! unit.

mod back;
mod fill;

pub(crate) use back::{Back, BackCells, BackStep, Before};

use super::{
    Linear,
    cell::{Gates, Place, Units},
    epilogue::Columns,
    lhs::{Converted, Element},
    micro::{LhsRows, MicroKernel, Size, Sums},
    plan,
};
use crate::{
    isa::Isa,
    memory::{self, For, Tensor, Tile, VectorTile, Vectors, prefetch_run},
    simd,
    threads::Threads,
};
use seq2seq_core::{
    Cell, Format, HostTensor, LinearPart, LinearSpec, RecurrentSpec, Result,
    backend::check::{self, RecurrentShape},
};

/// No cell has more gates.
pub(crate) const MAX_GATES: usize = 4;
/// No cell keeps more vectors for training.
pub(crate) const MAX_KEPT: usize = 5;

/// The recurrent half of a layer, packed.
///
/// A sequence can be run piece by piece, with the bits of the whole:
///
/// ```
/// use seq2seq_core::{
///     Backend, Cell, Format, HostTensor, LinearPart, Ragged, RecurrentOps, RecurrentSpec,
/// };
/// use seq2seq_cpu::{Cpu, CpuOptions, Recurrent};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let weight = HostTensor::from_f32(vec![3, 1], &[0.5, -1.0, 0.25])?;
/// let bias = HostTensor::from_f32(vec![3], &[0.1, 0.0, -0.3])?;
/// let direction = LinearPart { weight, bias: Some(bias), transposed: false };
/// let spec = RecurrentSpec { cell: Cell::Gru, directions: vec![direction] };
/// let layer: Recurrent = cpu.recurrent(&spec, Format::F32)?;
///
/// // What a linear layer made of the inputs: r, z and n of two positions.
/// let x = cpu.upload(&HostTensor::from_f32(vec![2, 3], &[0.3, 1.0, -0.2, 0.7, -1.0, 2.0])?)?;
/// let (h, end) = cpu.recur(&x, &Ragged::from_lengths([2]), &layer, None)?;
///
/// let (step, mut state, mut steps) = (Ragged::single_rows(1), None, Vec::new());
/// for row in 0..2 {
///     let (h, end) = cpu.recur(&cpu.gather_rows(&x, &[row])?, &step, &layer, state.as_ref())?;
///     steps.extend(cpu.download(&h)?);
///     state = Some(end);
/// }
/// assert_eq!(steps, cpu.download(&h)?);
/// assert_eq!(steps[1..], cpu.download(&end)?);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Recurrent {
    shape: RecurrentShape,
    directions: Vec<Linear>,
    /// Where the units of each block begin in a row of the result, direction after direction, and where the last end.
    bounds: Vec<usize>,
}

/// What one step reads, and what it writes.
pub(crate) struct Step<'a> {
    /// The projected input of all positions.
    pub(crate) x: &'a Tensor,
    /// h before the step, `[B, D · M]`, of which the first `rows[d].len()` rows take part.
    pub(crate) before: &'a Tensor,
    /// Of each direction, the positions that these rows have come to: rows of `x` and of `out`.
    pub(crate) rows: [&'a [usize]; 2],
    /// h of all positions.
    pub(crate) out: &'a mut Tensor,
    /// h behind the step, as `before`.
    pub(crate) after: &'a mut Tensor,
    /// c, in an LSTM.
    pub(crate) cells: Option<&'a mut Tensor>,
    /// What training keeps of all positions.
    pub(crate) kept: Option<&'a mut Tensor>,
}

impl Recurrent {
    /// Packs `spec` for the kernels of `isa`.
    pub(crate) fn pack(
        threads: &Threads,
        isa: Isa,
        spec: &RecurrentSpec,
        format: Format,
    ) -> Result<Self> {
        let shape = check::recurrent(spec, format)?;
        let columns = MicroKernel::select(isa, format).layout.columns;
        let bounds = bounds(shape, columns);
        let pack = |part: &LinearPart| {
            let parts = blocks(part, shape, columns)?;
            Linear::pack(threads, isa, &LinearSpec { parts, gated: false, scale: 1.0 }, format)
        };
        let directions = spec.directions.iter().map(pack).collect::<Result<_>>()?;
        Ok(Self { shape, directions, bounds })
    }

    /// Its sizes.
    pub(crate) fn shape(&self) -> RecurrentShape {
        self.shape
    }

    /// One step of each direction, for the sequences that still run.
    pub(crate) fn step(&self, threads: &Threads, step: Step<'_>) {
        let Step { x, before, rows, out, after, cells, kept } = step;
        let RecurrentShape { cell, width, .. } = self.shape;
        let (gates, live) = (cell.gates(), rows[0].len());
        let mut converted = [None, None];
        for (d, (layer, converted)) in self.directions.iter().zip(&mut converted).enumerate() {
            if layer.element() != Element::F32 {
                let h = (&before.values()[d * width..], before.stride());
                let size = (live, width);
                *converted = Some(Converted::new(threads, layer.isa, layer.element(), h, size));
            }
        }
        let blocks = (self.bounds.len() - 1) / self.shape.directions;
        let tiles = plan::tiles(live, self.directions[0].kernel.max_rows());
        let panel_bytes = self.directions[0].panel_bytes();
        let parts = |tensor| memory::Columns::new(tensor, &self.bounds);
        let vectors = |kept| Vectors::new(kept, &self.bounds, (width, cell.kept()));
        let targets = ((parts(out), parts(after)), (cells.map(parts), kept.map(vectors)));
        let cost = plan::cost(panel_bytes * gates * tiles);
        threads.each_part(targets, cost, |part, ((out, h), (c, kept))| {
            let (d, block) = (part / blocks, part % blocks);
            let first = self.bounds[part];
            let block = Block {
                cell,
                layer: &self.directions[d],
                converted: converted[d].as_ref(),
                block,
                x: (x, d * gates * width + (first - d * width)),
                before: (before, first),
                direction: d * width,
                rows: rows[d],
                width,
            };
            block.run(Targets { out, h, c, kept });
        });
    }
}

impl Linear {
    fn panel_bytes(&self) -> usize {
        let layout = &self.kernel.layout;
        layout.panel_bytes(layout.units(self.shape.input))
    }
}

/// Where the units of each block of `columns` begin, direction after direction, and where the last end.
fn bounds(shape: RecurrentShape, columns: usize) -> Vec<usize> {
    let starts = |d: usize| (0..shape.width).step_by(columns).map(move |u| d * shape.width + u);
    (0..shape.directions).flat_map(starts).chain([shape.output()]).collect()
}

/// The parts of `part` in the order of blocks: of each block its gates, filled up with zeros to whole panels.
fn blocks(part: &LinearPart, shape: RecurrentShape, columns: usize) -> Result<Vec<LinearPart>> {
    let m = shape.width;
    let mut parts = Vec::new();
    for first in (0..m).step_by(columns) {
        let units = columns.min(m - first);
        for gate in 0..shape.cell.gates() {
            let rows = gate * m + first..gate * m + first + units;
            let bias = part.bias.as_ref().map(|bias| bias.slice_rows(rows.clone()));
            parts.push(LinearPart {
                weight: part.weight.slice_rows(rows)?,
                bias: bias.transpose()?,
                transposed: false,
            });
            if units < columns {
                let zeros = vec![0.0; (columns - units) * m];
                let weight = HostTensor::from_f32(vec![columns - units, m], &zeros)?;
                parts.push(LinearPart { weight, bias: None, transposed: false });
            }
        }
    }
    Ok(parts)
}

/// Where a block writes: its units of every row.
struct Targets<'a> {
    out: Tile<'a>,
    h: Tile<'a>,
    c: Option<Tile<'a>>,
    kept: Option<VectorTile<'a>>,
}

/// One block in one step.
struct Block<'a> {
    cell: Cell,
    layer: &'a Linear,
    converted: Option<&'a Converted>,
    /// Its place in the layer.
    block: usize,
    /// The projected input, and the column of its first gate's first unit.
    x: (&'a Tensor, usize),
    /// h before the step, and the column of the first unit.
    before: (&'a Tensor, usize),
    /// The column of h where the direction begins.
    direction: usize,
    rows: &'a [usize],
    /// M
    width: usize,
}

impl Block<'_> {
    /// What the cell of a row reads and writes comes while its products are computed: positions lie far apart.
    fn prefetch(&self, row: usize, targets: &mut Targets<'_>) {
        let (place, (x, column)) = (self.rows[row], self.x);
        let out = targets.out.row(place);
        prefetch_run(out.as_ptr(), out.len(), For::Writing);
        for gate in 0..self.cell.gates() {
            let x = &x.values()[place * x.stride() + column + gate * self.width..];
            prefetch_run(x.as_ptr(), out.len(), For::Reading);
        }
        if let Some(kept) = &mut targets.kept {
            for kept in kept.row::<MAX_KEPT>(place) {
                prefetch_run(kept.as_ptr(), kept.len(), For::Writing);
            }
        }
    }

    /// All rows, a tile at a time.
    fn run(&self, mut targets: Targets<'_>) {
        let (kernel, live) = (self.layer.kernel, self.rows.len());
        let (layout, gates) = (&kernel.layout, self.cell.gates());
        let (units, panel_bytes) = (layout.units(self.width), self.layer.panel_bytes());
        let (h, stride) = (self.before.0.values(), self.before.0.stride());
        let lhs = match self.converted {
            Some(converted) => converted.rows(),
            None => LhsRows::f32(&h[self.direction..], stride),
        };
        let max_rows = kernel.max_rows();
        let tiles = plan::tiles(live, max_rows);
        let mut sums: [Sums; MAX_GATES] = std::array::from_fn(|_| Sums::new());
        let columns: [Columns<'_>; MAX_GATES] = std::array::from_fn(|gate| {
            let panel = self.block * gates + gate.min(gates - 1);
            let channels = panel * layout.columns..(panel + 1) * layout.columns;
            let (scale, bias) = (&self.layer.scale[channels.clone()], &self.layer.bias[channels]);
            Columns { scale, bias, gated: false }
        });
        for tile in 0..tiles {
            let rows = plan::share(live, tiles, tile);
            let lhs = LhsRows { bytes: &lhs.bytes[rows.start * lhs.stride..], ..lhs };
            let fetch = plan::fetch_in_step(tile);
            rows.clone().for_each(|row| self.prefetch(row, &mut targets));
            for (gate, sums) in sums.iter_mut().enumerate().take(gates) {
                let panel = (self.block * gates + gate) * panel_bytes;
                let weights = &self.layer.data[panel..][..panel_bytes];
                kernel.multiply(Size::of_one_panel(rows.len(), units), lhs, weights, fetch, sums);
            }
            for (i, row) in rows.enumerate() {
                let place = self.rows[row];
                let gates = Gates {
                    cell: self.cell,
                    columns: &columns,
                    sums: &sums,
                    i,
                    row_scale: self.converted.map_or(1.0, |c| c.scale(row)),
                    x: &self.x.0.values()[place * self.x.0.stride() + self.x.1..],
                    width: self.width,
                };
                let place = Place {
                    before: &h[row * stride + self.before.1..],
                    out: targets.out.row(place),
                    h: targets.h.row(row),
                    c: targets.c.as_mut().map_or(&mut [], |c| c.row(row)),
                    kept: targets.kept.as_mut().map(|kept| kept.row(place)),
                };
                simd::dispatch(self.layer.isa, Units { gates, place });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::test_levels;

    /// Blocks of whole panels, also where the units do not fill them.
    #[test]
    fn units_are_packed_in_blocks() {
        let threads = Threads::new(Some(1)).unwrap();
        let weight = HostTensor::from_f32(vec![3 * 33, 33], &[0.5; 3 * 33 * 33]).unwrap();
        let part = LinearPart { weight, bias: None, transposed: false };
        let spec = RecurrentSpec { cell: Cell::Gru, directions: vec![part; 2] };
        for isa in test_levels() {
            for format in Format::ALL {
                let layer = Recurrent::pack(&threads, isa, &spec, format).unwrap();
                let columns = layer.directions[0].kernel.layout.columns;
                let blocks = 33usize.div_ceil(columns);
                assert_eq!(layer.directions[0].panels, 3 * blocks, "{isa} {format}");
                assert_eq!(layer.bounds.len(), 2 * blocks + 1);
                assert_eq!((layer.bounds[blocks], layer.bounds[2 * blocks]), (33, 66));
            }
        }
    }
}
