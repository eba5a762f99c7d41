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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gemm::{micro::tests::values, test_levels};
    use seq2seq_core::{Cell, Format, HostTensor, LinearPart, RecurrentSpec};

    /// `[gates · M, M]`, given turned.
    struct Turned<'a>(&'a [f32], usize);

    impl Source for Turned<'_> {
        fn steps(&self) -> usize {
            self.1
        }

        fn columns(&self) -> usize {
            self.0.len() / self.1
        }

        fn read(
            &self,
            _: Isa,
            steps: Range<usize>,
            columns: Range<usize>,
            out: &mut [f32],
            stride: usize,
        ) {
            for (k, out) in steps.zip(out.chunks_mut(stride)) {
                columns.clone().zip(out).for_each(|(c, out)| *out = self.0[c * self.1 + k]);
            }
        }
    }

    #[test]
    fn what_is_filled_is_what_packing_gives() {
        let threads = Threads::new(Some(2)).unwrap();
        for (cell, m) in [(Cell::Gru, 33), (Cell::Lstm, 64), (Cell::Lstm, 7)] {
            let gates = cell.gates() * m;
            let part = |seed: u32| {
                let tensor = |shape: &[usize], x: &[f32]| HostTensor::from_f32(shape.to_vec(), x);
                let weight = tensor(&[gates, m], &values(seed, gates * m)).unwrap();
                let bias = tensor(&[gates], &values(seed + 1, gates)).unwrap();
                LinearPart { weight, bias: Some(bias), transposed: false }
            };
            let spec =
                |seed: u32| RecurrentSpec { cell, directions: vec![part(seed), part(seed + 2)] };
            for isa in test_levels() {
                for format in [Format::F32, Format::Bf16] {
                    let want = Recurrent::pack(&threads, isa, &spec(1), format).unwrap();
                    let mut found = Recurrent::pack(&threads, isa, &spec(8), format).unwrap();
                    let weights = [1, 3].map(|seed| values(seed, gates * m));
                    let biases = [2, 4].map(|seed| values(seed, gates));
                    let turned = weights.each_ref().map(|w| Turned(w, m));
                    assert!(found.fill(
                        &threads,
                        &turned,
                        &biases.each_ref().map(|b| Some(&b[..]))
                    ));
                    for (found, want) in found.directions.iter().zip(&want.directions) {
                        assert_eq!(found.data[..], want.data[..], "{isa} {format}");
                        assert_eq!(found.bias, want.bias, "{isa} {format}");
                    }
                    let mut bad = weights[0].clone();
                    bad[gates * m - 1] = f32::NAN;
                    let turned = [Turned(&bad, m), Turned(&weights[1], m)];
                    assert!(!found.fill(&threads, &turned, &[None, None]));
                    assert!(found.directions[0].bias.iter().all(|b| *b == 0.0));
                }
            }
        }
    }
}
