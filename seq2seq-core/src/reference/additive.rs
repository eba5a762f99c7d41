//! Additive attention: Σ softmax(vᵀ tanh(q + key)) value (Bahdanau et al. 2015).

use super::{Tensor, attention::softmax};
use crate::backend::check;
use crate::{HostTensor, Ragged, Result, Rows};

/// The vector that scores are taken with.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Ragged, RecurrentOps, reference::{Reference, additive::Additive}};
///
/// let b = Reference;
/// let upload = |rows, values: &[f32]| b.upload(&HostTensor::from_f32(vec![rows, 1], values)?);
/// let memory = b.additive_memory(&upload(2, &[1.0, -1.0])?, &upload(2, &[1.0, 9.0])?, &Ragged::from_lengths([2]))?;
/// let q = upload(1, &[0.0])?;
/// // How much a score counts: not at all, or so much that one position takes all.
/// for (v, expected) in [(0.0, 5.0), (40.0, 1.0)] {
///     let v: Additive = b.additive(&HostTensor::from_f32(vec![1], &[v])?)?;
///     let y = b.additive_attend(&q, &Ragged::single_rows(1), &v, &memory, &[0], None)?;
///     assert_eq!(b.download(&y)?, [expected]);
/// }
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Additive {
    v: Vec<f32>,
}

/// Keys and values of the source sequences.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Ragged, RecurrentOps, reference::{Reference, additive::AdditiveMemory}};
///
/// let b = Reference;
/// // Keys that are all alike, so that each position has the same share of the result.
/// let keys = b.upload(&HostTensor::from_f32(vec![3, 2], &[0.5; 6])?)?;
/// let values = b.upload(&HostTensor::from_f32(vec![3, 1], &[1.0, 3.0, 9.0])?)?;
/// let memory: AdditiveMemory = b.additive_memory(&keys, &values, &Ragged::from_lengths([2, 1]))?;
///
/// let v = b.additive(&HostTensor::from_f32(vec![2], &[1.0, 1.0])?)?;
/// let q = b.upload(&HostTensor::from_f32(vec![2, 2], &[0.0; 4])?)?;
/// let y = b.additive_attend(&q, &Ragged::single_rows(2), &v, &memory, &[0, 1], None)?;
/// assert_eq!(b.download(&y)?, [2.0, 9.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct AdditiveMemory {
    rows: Ragged,
    keys: Tensor,
    values: Tensor,
}

impl Additive {
    pub(super) fn new(v: &HostTensor) -> Result<Self> {
        check::additive(v)?;
        Ok(Self { v: v.to_f32() })
    }

    pub(super) fn renew(&mut self, v: &Tensor) -> Result<()> {
        check::renew_additive(self.v.len(), v)?;
        self.v.copy_from_slice(v.row(0));
        Ok(())
    }

    pub(super) fn v(&self) -> &[f32] {
        &self.v
    }
}

impl AdditiveMemory {
    pub(super) fn new(keys: &Tensor, values: &Tensor, rows: &Ragged) -> Result<Self> {
        check::additive_memory(keys, values, rows)?;
        Ok(Self { rows: rows.clone(), keys: keys.clone(), values: values.clone() })
    }

    pub(super) fn rows(&self) -> &Ragged {
        &self.rows
    }

    pub(super) fn keys(&self) -> &Tensor {
        &self.keys
    }

    pub(super) fn values(&self) -> &Tensor {
        &self.values
    }
}

/// vᵀ tanh(q + key)
fn score(v: &[f32], q: &[f32], key: &[f32]) -> f64 {
    let term =
        |((&v, &q), &k): ((&f32, &f32), &f32)| f64::from(v) * (f64::from(q) + f64::from(k)).tanh();
    v.iter().zip(q).zip(key).map(term).sum()
}

pub(super) fn attend(
    q: &Tensor,
    rows: &Ragged,
    v: &Additive,
    memory: &AdditiveMemory,
    sources: &[usize],
    mut weights: Option<&mut Vec<f32>>,
) -> Result<Tensor> {
    let held = (memory.rows.sequences(), memory.keys.width());
    check::additive_attend(q, rows, v.v.len(), sources, held)?;
    let width = memory.values.width();
    let mut out = Vec::with_capacity(q.rows() * width);
    for (range, &source) in rows.ranges().zip(sources) {
        let positions = memory.rows.range(source);
        for n in range {
            let score = |j| score(&v.v, q.row(n), memory.keys.row(j));
            let p = softmax(&positions.clone().map(score).collect::<Vec<_>>());
            let mut sums = vec![0.0; width];
            for (j, p) in positions.clone().zip(&p) {
                let value = memory.values.row(j);
                sums.iter_mut().zip(value).for_each(|(sum, &v)| *sum += p * f64::from(v));
            }
            out.extend(sums.iter().map(|&sum| sum as f32));
            if let Some(weights) = weights.as_deref_mut() {
                weights.extend(p.iter().map(|&p| p as f32));
            }
        }
    }
    Ok(Tensor::new(q.rows(), width, out))
}
