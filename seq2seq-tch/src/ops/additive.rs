//! Additive attention: Σ softmax(vᵀ tanh(q + key)) value (Bahdanau et al. 2015).

use super::cross::Groups;
use crate::fault::Result;
use crate::tensor::{Shared, from_host, to_host};
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::{HostTensor, Ragged, Rows};
use std::ops::Range;

/// The vector that scores are taken with, `[A]`.
///
/// With keys and values in an [`AdditiveMemory`]:
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Ragged, RecurrentOps};
/// use seq2seq_tch::{Additive, AdditiveMemory, Tch, TchOptions};
///
/// let tch = Tch::new(TchOptions::default())?;
/// let upload = |rows, values: &[f32]| {
///     tch.upload(&HostTensor::from_f32(vec![rows, values.len() / rows], values)?)
/// };
/// let v: Additive = tch.additive(&HostTensor::from_f32(vec![1], &[3.0f32.ln()])?)?;
/// // A source of two positions, whose keys are 0 and so large that their tanh is 1.
/// let (keys, values) = (upload(2, &[0.0, 100.0])?, upload(2, &[4.0, 0.0, 8.0, 1.0])?);
/// let memory: AdditiveMemory = tch.additive_memory(&keys, &values, &Ragged::from_lengths([2]))?;
///
/// let (q, rows, mut weights) = (upload(1, &[0.0])?, Ragged::single_rows(1), Vec::new());
/// let y = tch.additive_attend(&q, &rows, &v, &memory, &[0], Some(&mut weights))?;
/// let close = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-5);
/// assert!(close(&weights, &[0.25, 0.75])); // of e⁰ and e to the power of v
/// assert!(close(&tch.download(&y)?, &[7.0, 0.75]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Additive {
    pub(crate) v: Shared,
}

/// Keys, `[N, A]`, and values, `[N, M]`, of the source sequences, in what the backend computes in.
///
/// [`Additive`] shows how it is attended to.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Ragged, RecurrentOps};
/// use seq2seq_tch::{AdditiveMemory, Tch, TchOptions};
///
/// let tch = Tch::new(TchOptions::default())?;
/// let keys = tch.upload(&HostTensor::from_f32(vec![3, 1], &[0.5; 3])?)?;
/// let values = tch.upload(&HostTensor::from_f32(vec![3, 2], &[2.0; 6])?)?;
/// let memory: AdditiveMemory = tch.additive_memory(&keys, &values, &Ragged::from_lengths([2, 1]))?;
///
/// // The second source alone.
/// let (v, q) = (HostTensor::from_f32(vec![1], &[1.0])?, HostTensor::from_f32(vec![1, 1], &[0.0])?);
/// let (v, q) = (tch.additive(&v)?, tch.upload(&q)?);
/// let y = tch.additive_attend(&q, &Ragged::single_rows(1), &v, &memory, &[1], None)?;
/// assert_eq!(tch.download(&y)?, [2.0, 2.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct AdditiveMemory {
    rows: Ragged,
    keys: Shared,
    values: Shared,
}

impl Additive {
    pub(crate) fn new(tch: &Tch, v: &HostTensor) -> Result<Self> {
        check::additive(v)?;
        Ok(Self { v: Shared::new(from_host(v, tch.device())?) })
    }

    /// A
    pub(crate) fn width(&self) -> usize {
        self.v.numel()
    }
}

impl AdditiveMemory {
    pub(crate) fn new(tch: &Tch, keys: &Tensor, values: &Tensor, rows: &Ragged) -> Result<Self> {
        check::additive_memory(keys, values, rows)?;
        let [keys, values] = [tch.wide(keys)?, tch.wide(values)?].map(Shared::new);
        Ok(Self { rows: rows.clone(), keys, values })
    }

    pub(crate) fn rows(&self) -> &Ragged {
        &self.rows
    }

    pub(crate) fn keys(&self) -> &tch::Tensor {
        &self.keys
    }

    pub(crate) fn values(&self) -> &tch::Tensor {
        &self.values
    }
}

/// Some rows of a tensor.
pub(crate) fn rows_of(x: &tch::Tensor, rows: &Range<usize>) -> Result<tch::Tensor> {
    Ok(x.f_narrow(0, rows.start as i64, rows.len() as i64)?)
}

/// vᵀ tanh(q + key) of queries `[T, A]` and keys `[S, A]`: `[T, S]`.
pub(crate) fn scores(q: &tch::Tensor, keys: &tch::Tensor, v: &tch::Tensor) -> Result<tch::Tensor> {
    Ok(q.f_unsqueeze(1)?.f_add(&keys.f_unsqueeze(0)?)?.f_tanh()?.f_matmul(v)?)
}

/// Each group of queries over its source, `[N, M]`; `see` is given the probabilities of each group in turn, `[T, S]`.
pub(crate) fn groups(
    [q, v, keys, values]: [&tch::Tensor; 4],
    of: &Groups<'_>,
    mut see: impl FnMut(&tch::Tensor) -> Result<()>,
) -> Result<tch::Tensor> {
    let mut ys = vec![values.f_narrow(0, 0, 0)?];
    for (range, &source) in of.rows.ranges().zip(of.sources) {
        let positions = of.source_rows.range(source);
        let p =
            scores(&rows_of(q, &range)?, &rows_of(keys, &positions)?, v)?.f_softmax(-1, None)?;
        see(&p)?;
        ys.push(p.f_matmul(&rows_of(values, &positions)?)?);
    }
    Ok(tch::Tensor::f_cat(&ys, 0)?)
}

pub(crate) fn attend(
    tch: &Tch,
    q: &Tensor,
    (rows, sources): (&Ragged, &[usize]),
    v: &Additive,
    memory: &AdditiveMemory,
    mut see: impl FnMut(&tch::Tensor) -> Result<()>,
) -> Result<Tensor> {
    let held = (memory.rows.sequences(), memory.keys.size()[1] as usize);
    check::additive_attend(q, rows, v.width(), sources, held)?;
    let of = Groups { rows, sources, source_rows: &memory.rows };
    let v = v.v.f_to_kind(tch.kind())?;
    let y = groups([&tch.wide(q)?, &v, &memory.keys, &memory.values], &of, |p| see(p))?;
    Tensor::new(q.rows(), memory.values.size()[1] as usize, y)
}

/// Appends the probabilities of a group.
pub(crate) fn append(weights: &mut Vec<f32>, p: &tch::Tensor) -> Result<()> {
    weights.extend(to_host(p)?);
    Ok(())
}
