//! Layers of LSTM over a batch, with the products of their inputs, as `nn.LSTM` of PyTorch has them: to be timed beside cuDNN.

use crate::work::{Counted, Work};
use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::conformance::{Op, Timed};
use seq2seq_core::{
    Cell, Epilogue, Format, HostTensor, LinearPart, LinearSpec, Ragged, RecurrentSpec, Result,
    SeqBackend,
};

/// Layers of LSTM.
pub struct Lstm;

/// Layers of one direction, as wide as what they read, over sequences of one length.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// One above the other.
    pub layers: usize,
    /// M
    pub width: usize,
    /// Of a batch.
    pub sequences: usize,
    /// Of each sequence.
    pub length: usize,
    /// Of the weights.
    pub format: Format,
}

/// A case on a backend.
pub struct Prepared<B: SeqBackend> {
    x: B::Tensor,
    rows: Ragged,
    layers: Vec<(B::Linear, B::Recurrent)>,
}

impl Case {
    /// Its sizes in words, and itself.
    pub fn named(self) -> (String, Self) {
        let Self { layers, width, sequences, length, format } = self;
        (format!("{layers} x {width}, {sequences} of {length}, {format}"), self)
    }

    fn gates(&self) -> usize {
        Cell::Lstm.gates() * self.width
    }

    fn part(&self, seed: u64) -> Result<LinearPart> {
        let (gates, width) = (self.gates(), self.width);
        let mut weight = values(Profile::Normal, seed, gates * width);
        weight.iter_mut().for_each(|w| *w *= (width as f32).sqrt().recip());
        let bias = values(Profile::Normal, seed + 1, gates);
        Ok(LinearPart {
            weight: HostTensor::from_f32(vec![gates, width], &weight)?,
            bias: Some(HostTensor::from_f32(vec![gates], &bias)?),
            transposed: false,
        })
    }
}

impl Op for Lstm {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        backend.download(&Self::call(backend, &mut Self::prepare(backend, case)?)?)
    }
}

impl Timed for Lstm {
    const NAME: &'static str = "lstm";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = B::Tensor;

    fn real() -> Vec<(String, Case)> {
        let of =
            |format| Case { layers: 2, width: 1024, sequences: 64, length: 128, format }.named();
        [Format::F32, Format::Bf16, Format::F16].map(of).into()
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Prepared<B>> {
        let rows = Ragged::from_lengths(vec![case.length; case.sequences]);
        let x = values(Profile::Normal, 1, rows.rows() * case.width);
        let layer = |l: usize| {
            let part = |seed| case.part(10 * l as u64 + seed);
            let input = LinearSpec { parts: vec![part(2)?], gated: false, scale: 1.0 };
            let state = RecurrentSpec { cell: Cell::Lstm, directions: vec![part(4)?] };
            Ok((backend.pack(&input, case.format)?, backend.recurrent(&state, case.format)?))
        };
        Ok(Prepared {
            x: backend.upload(&HostTensor::from_f32(vec![rows.rows(), case.width], &x)?)?,
            layers: (0..case.layers).map(layer).collect::<Result<_>>()?,
            rows,
        })
    }

    fn call<B: SeqBackend>(backend: &B, p: &mut Prepared<B>) -> Result<B::Tensor> {
        let through = |x: &B::Tensor, (input, state): &(B::Linear, B::Recurrent)| {
            let x = backend.linear(x, input, Epilogue::NONE)?;
            Ok(backend.recur(&x, &p.rows, state, None)?.0)
        };
        let (first, rest) = p.layers.split_first().expect("a case has layers");
        rest.iter().try_fold(through(&p.x, first)?, |x, layer| through(&x, layer))
    }
}

/// A gate is two products and their sums; of the cells, 9 operations a unit. Read: weights and x; written: what each layer gives.
impl Counted for Lstm {
    fn work(case: &Case) -> Work {
        let (rows, width, gates) = (case.sequences * case.length, case.width, case.gates());
        let weights = 2 * case.format.bytes(gates, width);
        Work {
            operations: case.layers * rows * (gates * (4 * width + 3) + 9 * width),
            bytes: case.layers * (weights + 4 * 2 * gates) + 4 * (case.layers + 1) * rows * width,
            format: case.format,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seq2seq_cpu::{Cpu, CpuOptions};

    /// A call goes through both layers, on any backend.
    #[test]
    fn layers_follow_each_other() {
        let case = Case { layers: 2, width: 8, sequences: 3, length: 4, format: Format::F32 };
        let cpu = Cpu::new(CpuOptions::default()).unwrap();
        let expected = Lstm::run(&seq2seq_core::reference::Reference, &case).unwrap();
        let found = Lstm::run(&cpu, &case).unwrap();
        assert_eq!(found.len(), 3 * 4 * 8);
        assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}
