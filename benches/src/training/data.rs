//! Numbers for cases.

use seq2seq_core::conformance::values::{Profile, Random, values};
use seq2seq_core::{Backend, HostTensor, Result};

/// So many different numbers, and then the same again: a table of a vocabulary is made in no time. It is a prime, so that no two
/// rows that are near each other are equal.
const PERIOD: usize = 65_521;

fn normal(seed: u64, n: usize, deviation: f32) -> Vec<f32> {
    let mut period = values(Profile::Normal, seed, n.min(PERIOD));
    period.iter_mut().for_each(|x| *x *= deviation);
    period.iter().copied().cycle().take(n).collect()
}

/// Normal numbers on the host.
pub(crate) fn host(seed: u64, shape: impl Into<Vec<usize>>, deviation: f32) -> Result<HostTensor> {
    let shape = shape.into();
    let n = shape.iter().product();
    HostTensor::from_f32(shape, &normal(seed, n, deviation))
}

/// Activations or gradients of them: normal numbers, deviation 1.
pub(crate) fn rows<B: Backend>(backend: &B, seed: u64, shape: [usize; 2]) -> Result<B::Tensor> {
    backend.upload(&host(seed, shape, 1.0)?)
}

/// A matrix `[out, in]` as models begin with: with rows of deviation 1 its products have deviation 1.
pub(crate) fn matrix<B: Backend>(backend: &B, seed: u64, shape: [usize; 2]) -> Result<B::Tensor> {
    backend.upload(&host(seed, shape, (shape[1] as f32).sqrt().recip())?)
}

/// Ids below `end`.
pub(crate) fn ids(seed: u64, n: usize, end: usize) -> Vec<u32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| random.below(end) as u32).collect()
}
