//! The recurrent half of a layer packed again, as training does after each step.

use super::{Recurrent, RecurrentShape};
use crate::{gemm::Source, isa::Isa, threads::Threads};
use std::ops::Range;

/// The gates of a direction, one after the other, in the order of blocks.
struct InBlocks<'a, S> {
    /// `[M, gates · M]`
    gates: &'a S,
    shape: RecurrentShape,
    /// Columns of a panel.
    columns: usize,
}

impl<S> InBlocks<'_, S> {
    /// Where the units of a panel stand among the gates.
    fn units(&self, panel: usize) -> Range<usize> {
        let RecurrentShape { cell, width, .. } = self.shape;
        let (block, gate) = (panel / cell.gates(), panel % cell.gates());
        let first = block * self.columns;
        gate * width + first..gate * width + width.min(first + self.columns)
    }

    fn panels(&self) -> usize {
        self.shape.width.div_ceil(self.columns) * self.shape.cell.gates()
    }
}

impl<S: Source> Source for InBlocks<'_, S> {
    fn steps(&self) -> usize {
        self.gates.steps()
    }

    fn columns(&self) -> usize {
        self.panels() * self.columns
    }

    /// The columns are those of a panel.
    fn read(
        &self,
        isa: Isa,
        steps: Range<usize>,
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let units = self.units(columns.start / self.columns);
        if units.len() < self.columns {
            let rows = out.chunks_mut(stride).take(steps.len());
            rows.for_each(|row| row[units.len()..self.columns].fill(0.0));
        }
        self.gates.read(isa, steps, units, out, stride);
    }
}

impl Recurrent {
    /// Packs other weights of the same sizes, U of each direction turned, `[M, gates · M]`, and b. False where a weight is not
    /// finite, or would not be in the format.
    pub(crate) fn fill(
        &mut self,
        threads: &Threads,
        weights: &[impl Source],
        biases: &[Option<&[f32]>],
    ) -> bool {
        let mut finite = true;
        for ((layer, gates), bias) in self.directions.iter_mut().zip(weights).zip(biases) {
            let columns = layer.kernel.layout.columns;
            let source = InBlocks { gates, shape: self.shape, columns };
            for (panel, held) in layer.bias.chunks_exact_mut(columns).enumerate() {
                let units = source.units(panel);
                let held = &mut held[..units.len()];
                match bias {
                    Some(bias) => held.copy_from_slice(&bias[units]),
                    None => held.fill(0.0),
                }
            }
            finite &= layer.fill(threads, &source);
        }
        finite
    }
}
