//! Products large enough for tiles of every size, whose rows have the same bits whichever kernel takes them.

use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::{Activation, Backend, Epilogue, Format, HostTensor, LinearPart, LinearSpec};
use seq2seq_cuda::{Cuda, Linear};
use std::ops::Range;

/// Of a product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) input: usize,
    pub(crate) output: usize,
}

/// A product, but for its layer.
pub(crate) struct Product {
    pub(crate) sizes: Sizes,
    x: HostTensor,
    residual: HostTensor,
}

fn tensor(seed: u64, rows: usize, width: usize) -> HostTensor {
    HostTensor::from_f32(vec![rows, width], &values(Profile::Normal, seed, rows * width)).unwrap()
}

impl Product {
    pub(crate) fn new(sizes: Sizes) -> Self {
        let Sizes { rows, input, output } = sizes;
        Self { sizes, x: tensor(5, rows, input), residual: tensor(6, rows, output) }
    }

    pub(crate) fn x(&self) -> &HostTensor {
        &self.x
    }

    pub(crate) fn residual(&self) -> &HostTensor {
        &self.residual
    }

    /// A layer with biases.
    pub(crate) fn layer(&self, gated: bool) -> LinearSpec {
        let Sizes { input, output, .. } = self.sizes;
        let bias = |seed| values(Profile::Normal, seed + 1, output);
        let part = |seed| LinearPart {
            weight: tensor(seed, output, input),
            bias: Some(HostTensor::from_f32(vec![output], &bias(seed)).unwrap()),
            transposed: false,
        };
        let parts = if gated { vec![part(1), part(3)] } else { vec![part(1)] };
        LinearSpec { parts, gated, scale: 0.3 }
    }

    /// Some of the rows through a layer, with an activation and a residual.
    pub(crate) fn run(&self, cuda: &Cuda, layer: &Linear, rows: Range<usize>) -> Vec<f32> {
        self.run_with(Some(Activation::Silu), cuda, layer, rows)
    }

    /// Some of the rows through a layer, with a residual.
    pub(crate) fn run_with(
        &self,
        activation: Option<Activation>,
        cuda: &Cuda,
        layer: &Linear,
        rows: Range<usize>,
    ) -> Vec<f32> {
        let part = |t: &HostTensor| cuda.upload(&t.slice_rows(rows.clone()).unwrap()).unwrap();
        let (x, residual) = (part(&self.x), part(&self.residual));
        let epilogue = Epilogue { activation, ..Epilogue::residual(&residual) };
        cuda.download(&cuda.linear(&x, layer, epilogue).unwrap()).unwrap()
    }

    /// `whole` is what all rows give; some of them give the same.
    pub(crate) fn part_has_the_bits(
        &self,
        cuda: &Cuda,
        layer: &Linear,
        whole: &[f32],
        rows: Range<usize>,
    ) {
        let width = self.sizes.output;
        let expected = &whole[rows.start * width..rows.end * width];
        let got = self.run(cuda, layer, rows.clone());
        let same = expected.iter().zip(&got).all(|(e, g)| e.to_bits() == g.to_bits());
        assert!(same && expected.len() == got.len(), "{}, rows {rows:?}", cuda.describe());
    }

    /// All rows at once, and `parts` of them.
    pub(crate) fn rows_have_the_same_bits(
        &self,
        cuda: &Cuda,
        (format, gated): (Format, bool),
        parts: &[Range<usize>],
    ) {
        let layer = cuda.pack(&self.layer(gated), format).unwrap();
        let whole = self.run(cuda, &layer, 0..self.sizes.rows);
        assert!(whole.iter().all(|v| v.is_finite()));
        parts.iter().for_each(|p| self.part_has_the_bits(cuda, &layer, &whole, p.clone()));
    }
}
