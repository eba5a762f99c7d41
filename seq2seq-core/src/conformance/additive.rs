//! Additive attention.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::additive, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! additive::matches_reference(&backend)?;
//! additive::is_batch_invariant(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Backend, reference::Reference};
//! use seq2seq_core::conformance::{Op, Timed, additive::{AdditiveAttend, Case, Prepared}, groups::Groups};
//!
//! // One source of seven tokens, read by three hypotheses.
//! let groups = Groups { lengths: vec![7], rows: vec![1; 3] };
//! let case = Case { groups, keys: 6, width: 8, sharpness: 1.0, seed: 1 };
//! let mut prepared: Prepared<Reference> = AdditiveAttend::prepare(&Reference, &case)?;
//! let y = AdditiveAttend::call(&Reference, &mut prepared)?;
//! // A case that is run gives the weights as well: of each hypothesis one for each token.
//! let both = AdditiveAttend::run(&Reference, &case)?;
//! let (values, weights) = both.split_at(3 * 8);
//! assert_eq!((Reference.download(&y)?, weights.len()), (values.to_vec(), 3 * 7));
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::groups::Groups;
use super::tolerance::{self, Approx};
use super::values::{Profile, values};
use super::{Cases, Op, Outcome, Timed, bits, each, host, length, rows_of, width, within};
use crate::{DType, HostTensor, Ragged, Result, SeqBackend};
use proptest::prelude::*;

/// An attention of groups of query rows to source sequences.
#[derive(Debug, Clone)]
pub struct Case {
    /// Who attends to what.
    pub groups: Groups,
    /// A
    pub keys: usize,
    /// M
    pub width: usize,
    /// Multiplies v: 1 for soft weights, more for sharp ones.
    pub sharpness: f32,
    /// Of all values.
    pub seed: u64,
}

/// A case on a backend.
pub struct Prepared<B: SeqBackend> {
    q: B::Tensor,
    rows: Ragged,
    v: B::Additive,
    memory: B::AdditiveMemory,
    sources: Vec<usize>,
}

impl<B: SeqBackend> Prepared<B> {
    fn run(&self, backend: &B, weights: Option<&mut Vec<f32>>) -> Result<B::Tensor> {
        backend.additive_attend(&self.q, &self.rows, &self.v, &self.memory, &self.sources, weights)
    }
}

impl Case {
    fn normal(&self, seed: u64, n: usize, width: usize) -> HostTensor {
        host(n, width, &values(Profile::Normal, self.seed + seed, n * width))
    }

    pub(super) fn keys(&self) -> HostTensor {
        self.normal(1, self.groups.source_rows().rows(), self.keys)
    }

    pub(super) fn values(&self) -> HostTensor {
        self.normal(2, self.groups.source_rows().rows(), self.width)
    }

    pub(super) fn q(&self) -> HostTensor {
        self.normal(3, self.groups.group_rows().rows(), self.keys)
    }

    pub(super) fn v(&self) -> HostTensor {
        let mut v = values(Profile::Normal, self.seed + 4, self.keys);
        v.iter_mut().for_each(|v| *v *= self.sharpness);
        super::values::tensor(DType::F32, vec![self.keys], &v)
    }

    /// The bounds of results and of weights.
    fn bounds(&self) -> (Vec<Approx>, Vec<Approx>) {
        let (q, keys) = (self.q().to_f32(), self.keys().to_f32());
        let (v, values) = (self.v().to_f32(), self.values().to_f32());
        let (mut out, mut all_weights) = (Vec::new(), Vec::new());
        let row = |x: &[f32], n: usize, width: usize| x[n * width..(n + 1) * width].to_vec();
        for (range, source) in self.groups.group_rows().ranges().zip(self.groups.sources()) {
            let positions = self.groups.source_rows().range(source);
            for n in range {
                let q = row(&q, n, self.keys);
                let score = |j| {
                    let key = row(&keys, j, self.keys);
                    let term = |a: usize| {
                        let sum = Approx::exact(q[a]).plus(Approx::exact(key[a]));
                        sum.tanh().times(Approx::exact(v[a]))
                    };
                    Approx::sum(&(0..self.keys).map(term).collect::<Vec<_>>())
                };
                let scores: Vec<Approx> = positions.clone().map(score).collect();
                let weights = tolerance::softmax(&scores);
                out.extend((0..self.width).map(|i| {
                    let value = |j| Approx::exact(values[j * self.width + i]);
                    tolerance::weighted_sum(&weights, positions.clone().map(value))
                }));
                all_weights.extend(weights);
            }
        }
        (out, all_weights)
    }
}

/// [`RecurrentOps::additive_attend`](crate::RecurrentOps::additive_attend), with weights.
pub struct AdditiveAttend;

/// Results, and weights.
pub(super) fn both<B: SeqBackend>(backend: &B, case: &Case) -> Result<(Vec<f32>, Vec<f32>)> {
    let (out, mut weights) = both_after(backend, case)?;
    weights.remove(0);
    Ok((out, weights))
}

/// Results, and weights behind the value that was there.
fn both_after<B: SeqBackend>(backend: &B, case: &Case) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut weights = vec![7.0];
    let out = AdditiveAttend::prepare(backend, case)?.run(backend, Some(&mut weights))?;
    Ok((backend.download(&out)?, weights))
}

impl Op for AdditiveAttend {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        let (mut out, weights) = both(backend, case)?;
        out.extend(weights);
        Ok(out)
    }
}

impl Cases for AdditiveAttend {
    fn cases() -> BoxedStrategy<Case> {
        let groups = Groups::some(length(), 5);
        let sharpness = proptest::sample::select(&[1.0f32, 1.0, 0.0, 300.0][..]);
        let width = width().prop_map(|w| w.min(100));
        (groups, width.clone(), width, sharpness, 0..1000u64)
            .prop_map(|(groups, keys, width, sharpness, seed)| Case {
                groups,
                keys,
                width,
                sharpness,
                seed,
            })
            .boxed()
    }
}

impl Timed for AdditiveAttend {
    const NAME: &'static str = "additive_attend";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = B::Tensor;

    /// One step of decoding, one sentence and 32.
    fn real() -> Vec<(String, Case)> {
        let case = |batch: usize| Case {
            groups: Groups { lengths: vec![32; batch], rows: vec![1; batch] },
            keys: 512,
            width: 512,
            sharpness: 1.0,
            seed: 1,
        };
        [1, 32].map(|batch| (format!("512 wide, {batch} x 32 positions"), case(batch))).into()
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Prepared<B>> {
        let (keys, values) = (backend.upload(&case.keys())?, backend.upload(&case.values())?);
        Ok(Prepared {
            q: backend.upload(&case.q())?,
            rows: case.groups.group_rows(),
            v: backend.additive(&case.v())?,
            memory: backend.additive_memory(&keys, &values, &case.groups.source_rows())?,
            sources: case.groups.sources(),
        })
    }

    fn call<B: SeqBackend>(backend: &B, prepared: &mut Prepared<B>) -> Result<B::Tensor> {
        prepared.run(backend, None)
    }
}

/// Results and weights lie within their bounds; weights are appended; asking for them changes nothing.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(AdditiveAttend::cases(), |case| {
        let (out, weights) = both_after(backend, case)?;
        let (out_bounds, mut weight_bounds) = case.bounds();
        weight_bounds.insert(0, Approx::exact(7.0));
        within("additive_attend", &out_bounds, &out)?;
        within("weights of additive_attend", &weight_bounds, &weights)?;
        let without = AdditiveAttend::prepare(backend, case)?.run(backend, None)?;
        bits("without weights", &out, &backend.download(&without)?)
    })
}

/// A row alone, with its source alone, gives the bits that it gives among the others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(AdditiveAttend::cases(), |case| {
        let (whole, whole_weights) = both_after(backend, case)?;
        let v = backend.additive(&case.v())?;
        let mut weights = vec![7.0];
        for (range, source) in case.groups.group_rows().ranges().zip(case.groups.sources()) {
            let positions = case.groups.source_rows().range(source);
            let one = Ragged::from_lengths([positions.len()]);
            let keys = backend.upload(&rows_of(&case.keys(), positions.clone()))?;
            let values = backend.upload(&rows_of(&case.values(), positions))?;
            let memory = backend.additive_memory(&keys, &values, &one)?;
            for n in range {
                let q = backend.upload(&rows_of(&case.q(), [n]))?;
                let row = Ragged::single_rows(1);
                let got =
                    backend.additive_attend(&q, &row, &v, &memory, &[0], Some(&mut weights))?;
                let expected = &whole[n * case.width..(n + 1) * case.width];
                bits(&format!("row {n} alone"), expected, &backend.download(&got)?)?;
            }
        }
        bits("weights of rows alone", &whole_weights, &weights)
    })
}
