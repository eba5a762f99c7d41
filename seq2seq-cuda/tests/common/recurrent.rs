//! A recurrent layer over sequences that begin with a state.

use super::Played;
use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::train::{MasterPart, RecurBackward, RecurrentMasters, TrainRecurrentOps};
use seq2seq_core::{
    Backend, Cell, Format, HostTensor, LinearPart, Ragged, RecurrentOps, RecurrentSpec, Result,
};
use seq2seq_cuda::{Cuda, CudaOptions, Recurrent};
use std::ops::Range;
use std::sync::Arc;

/// A layer and its sequences.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) cell: Cell,
    pub(crate) format: Format,
    pub(crate) width: usize,
    pub(crate) directions: usize,
    pub(crate) lengths: Vec<usize>,
}

pub(crate) fn host(seed: u64, rows: usize, width: usize, scale: f32) -> HostTensor {
    let mut v = values(Profile::Normal, seed, rows * width);
    v.iter_mut().for_each(|v| *v *= scale);
    HostTensor::from_f32(vec![rows, width], &v).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

impl Case {
    pub(crate) fn spec(&self) -> RecurrentSpec {
        let (m, gates) = (self.width, self.cell.gates() * self.width);
        let part = |d| LinearPart {
            weight: host(1 + d, gates, m, (m as f32).sqrt().recip()),
            bias: Some(
                HostTensor::from_f32(vec![gates], &values(Profile::Normal, 5 + d, gates)).unwrap(),
            ),
            transposed: false,
        };
        let directions = (0..self.directions as u64).map(part).collect();
        RecurrentSpec { cell: self.cell, directions }
    }

    pub(crate) fn rows(&self) -> Ragged {
        Ragged::from_lengths(self.lengths.iter().copied())
    }

    fn output(&self) -> usize {
        self.directions * self.width
    }

    fn state(&self) -> usize {
        self.cell.vectors() * self.output()
    }

    /// The projected input, and what sequences begin with.
    fn inputs(&self) -> [HostTensor; 2] {
        let rows = self.rows();
        let x = host(7, rows.rows(), self.cell.gates() * self.output(), 1.0);
        [x, host(8, rows.sequences(), self.state(), 0.5)]
    }

    /// Results and last states of sequences.
    fn through(
        cuda: &Cuda,
        layer: &Recurrent,
        rows: &Ragged,
        [x, state]: [&HostTensor; 2],
    ) -> Result<[Vec<f32>; 2]> {
        let (x, state) = (cuda.upload(x)?, cuda.upload(state)?);
        let (y, end) = cuda.recur(&x, rows, layer, Some(&state))?;
        Ok([cuda.download(&y)?, cuda.download(&end)?])
    }

    /// Results and last states, and the modules that a device has loaded for them.
    pub(crate) fn try_run(&self, played: Played) -> Result<([Vec<f32>; 2], Vec<String>)> {
        let driver = Arc::new(played);
        let options = CudaOptions::default().keep_memory(false);
        let cuda = Cuda::with_driver(driver.clone(), options);
        let layer = cuda.recurrent(&self.spec(), self.format)?;
        let found = Self::through(&cuda, &layer, &self.rows(), self.inputs().each_ref())?;
        Ok((found, driver.modules()))
    }

    pub(crate) fn run(&self, played: Played) -> ([Vec<f32>; 2], Vec<String>) {
        self.try_run(played).unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// The way back from gradients of results and of last states: du, dx and the gradient of the states.
    pub(crate) fn try_back(&self, played: Played) -> Result<(Vec<f32>, Vec<String>)> {
        let driver = Arc::new(played);
        let options = CudaOptions::default().keep_memory(false);
        let cuda = Cuda::with_driver(driver.clone(), options);
        let spec = self.spec();
        let weights = spec.directions.iter().map(|part| cuda.upload(&part.weight));
        let weights = weights.collect::<Result<Vec<_>>>()?;
        let part = |weight| MasterPart { weight, bias: None, transposed: false };
        let directions = weights.iter().map(part).collect();
        let masters = RecurrentMasters { cell: self.cell, directions };
        let layer = cuda.pack_recurrent(&masters, self.format)?;
        let (rows, [x, state]) = (self.rows(), self.inputs());
        let (x, state) = (cuda.upload(&x)?, Some(cuda.upload(&state)?));
        let state = state.as_ref();
        let recurred = cuda.recur_forward(&x, &rows, &layer, state, true)?;
        let dy = cuda.upload(&host(11, rows.rows(), self.output(), 1.0))?;
        let dend = cuda.upload(&host(12, rows.sequences(), self.state(), 1.0))?;
        let (mut dx, mut dstate) = (None, None);
        let of = RecurBackward {
            rows: &rows,
            state,
            y: &recurred.y,
            kept: recurred.kept.as_ref().expect("it was asked for"),
            dy: Some(&dy),
            dend: Some(&dend),
        };
        let du = cuda.recur_backward(&layer, &of, Some(&mut dx), Some(&mut dstate))?;
        let all = [Some(du), dx, dstate].map(|t| cuda.download(&t.expect("it was wanted")));
        let all: Vec<Vec<f32>> = all.into_iter().collect::<Result<_>>()?;
        Ok((all.concat(), driver.modules()))
    }

    /// The same of the way back.
    pub(crate) fn has_the_bits_of_a_kernel_a_position_back(
        &self,
        multiprocessors: u32,
        seeds: Range<u64>,
    ) {
        let of = |played| self.try_back(played).unwrap_or_else(|e| panic!("{self:?}: {e}"));
        let multiplies = |modules: &[String]| modules.iter().any(|m| m.starts_with("linear"));
        let (expected, modules) = of(Played::new(super::BYTES).apart());
        assert!(multiplies(&modules), "{modules:?}");
        for seed in seeds {
            let played = Played::new(super::BYTES).multiprocessors(multiprocessors).scheduled(seed);
            let (found, modules) = of(played);
            assert!(!multiplies(&modules), "{modules:?}");
            assert!(bits(&expected) == bits(&found), "{self:?}, seed {seed}");
        }
    }

    /// Where it is not, linear layers multiply.
    pub(crate) fn is_on_the_chip(&self, played: Played) -> bool {
        !self.run(played).1.iter().any(|module| module.starts_with("linear"))
    }

    /// On a device of so many multiprocessors, whatever order warps and blocks run in.
    pub(crate) fn has_the_bits_of_a_kernel_a_position(
        &self,
        multiprocessors: u32,
        seeds: Range<u64>,
    ) {
        let bytes = super::BYTES;
        let (expected, modules) = self.run(Played::new(bytes).apart());
        assert!(modules.iter().any(|m| m.starts_with("linear")), "{modules:?}");
        for seed in seeds {
            let played = Played::new(bytes).multiprocessors(multiprocessors).scheduled(seed);
            let (found, modules) = self.run(played);
            assert!(!modules.iter().any(|m| m.starts_with("linear")), "{modules:?}");
            assert!(bits(&expected.concat()) == bits(&found.concat()), "{self:?}, seed {seed}");
        }
    }

    /// Of a layer of one direction: a sequence has the bits alone, and position by position, that it has among the others.
    pub(crate) fn sequences_have_the_same_bits(&self, cuda: &Cuda, sequences: &[usize]) {
        assert_eq!(self.directions, 1);
        let (rows, [x, state]) = (self.rows(), self.inputs());
        let layer = cuda.recurrent(&self.spec(), self.format).unwrap();
        let whole = Self::through(cuda, &layer, &rows, [&x, &state]).unwrap();
        for &i in sequences {
            let (range, begin) = (rows.range(i), state.slice_rows(i..i + 1).unwrap());
            let y = &whole[0][range.start * self.width..range.end * self.width];
            let end = &whole[1][i * self.state()..(i + 1) * self.state()];
            let alone = Ragged::from_lengths([range.len()]);
            let own = x.slice_rows(range.clone()).unwrap();
            let found = Self::through(cuda, &layer, &alone, [&own, &begin]).unwrap();
            assert!(bits(&found[0]) == bits(y) && bits(&found[1]) == bits(end), "{i} alone");
            let (mut state, mut steps) = (begin, Vec::new());
            for row in range {
                let x = x.slice_rows(row..row + 1).unwrap();
                let one = Ragged::single_rows(1);
                let [y, end] = Self::through(cuda, &layer, &one, [&x, &state]).unwrap();
                steps.extend(y);
                state = HostTensor::from_f32(vec![1, self.state()], &end).unwrap();
            }
            assert!(bits(&steps) == bits(y), "{i} position by position");
            assert!(bits(&state.to_f32()) == bits(end), "the state of {i} position by position");
        }
    }
}
