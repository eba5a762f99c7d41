//! Additive attention.

use super::columns::stack_rows;
use crate::Cuda;
use crate::kernels::additive::{self, Operands};
use crate::memory::{Buffer, Tensor};
use seq2seq_core::{HostTensor, Ragged, Result, Rows, backend::check};
use std::ops::Range;

/// The vector that scores are taken with, `[A]`.
///
/// With keys and values in an [`AdditiveMemory`]:
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{Backend, HostTensor, Ragged, RecurrentOps};
/// use seq2seq_cuda::{Additive, AdditiveMemory};
///
/// let upload = |rows, values: &[f32]| {
///     cuda.upload(&HostTensor::from_f32(vec![rows, values.len() / rows], values)?)
/// };
/// let v: Additive = cuda.additive(&HostTensor::from_f32(vec![1], &[3.0f32.ln()])?)?;
/// // A source of two positions, whose keys are 0 and so large that their tanh is 1.
/// let (keys, values) = (upload(2, &[0.0, 100.0])?, upload(2, &[4.0, 0.0, 8.0, 1.0])?);
/// let memory: AdditiveMemory = cuda.additive_memory(&keys, &values, &Ragged::from_lengths([2]))?;
///
/// let (q, rows, mut weights) = (upload(1, &[0.0])?, Ragged::single_rows(1), Vec::new());
/// let y = cuda.additive_attend(&q, &rows, &v, &memory, &[0], Some(&mut weights))?;
/// let close = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-5);
/// assert!(close(&weights, &[0.25, 0.75])); // of e⁰ and e to the power of v
/// assert!(close(&cuda.download(&y)?, &[7.0, 0.75]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct Additive {
    v: Buffer<f32>,
}

/// Keys, `[N, A]`, and values, `[N, M]`, of the source sequences.
///
/// [`Additive`] shows how it is attended to. It has keys and values of its own:
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{Backend, HostTensor, Ragged, RecurrentOps};
/// use seq2seq_cuda::AdditiveMemory;
///
/// let keys = cuda.upload(&HostTensor::from_f32(vec![3, 1], &[0.5; 3])?)?;
/// let values = cuda.upload(&HostTensor::from_f32(vec![3, 2], &[2.0; 6])?)?;
/// let memory: AdditiveMemory = cuda.additive_memory(&keys, &values, &Ragged::from_lengths([2, 1]))?;
/// drop((keys, values));
///
/// // The second source alone.
/// let (v, q) = (HostTensor::from_f32(vec![1], &[1.0])?, HostTensor::from_f32(vec![1, 1], &[0.0])?);
/// let (v, q) = (cuda.additive(&v)?, cuda.upload(&q)?);
/// let y = cuda.additive_attend(&q, &Ragged::single_rows(1), &v, &memory, &[1], None)?;
/// assert_eq!(cuda.download(&y)?, [2.0, 2.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct AdditiveMemory {
    rows: Ragged,
    keys: Tensor,
    values: Tensor,
}

pub(crate) fn additive(cuda: &Cuda, v: &HostTensor) -> Result<Additive> {
    check::additive(v)?;
    Ok(Additive { v: cuda.upload_values(&v.to_f32())? })
}

pub(crate) fn memory(
    cuda: &Cuda,
    keys: &Tensor,
    values: &Tensor,
    rows: &Ragged,
) -> Result<AdditiveMemory> {
    check::additive_memory(keys, values, rows)?;
    let (keys, values) = (stack_rows(cuda, &[keys])?, stack_rows(cuda, &[values])?);
    Ok(AdditiveMemory { rows: rows.clone(), keys, values })
}

impl AdditiveMemory {
    /// How positions divide into sources.
    pub(crate) fn rows(&self) -> &Ragged {
        &self.rows
    }

    /// What the kernels read.
    pub(crate) fn operands<'a>(&'a self, v: &'a Additive) -> Operands<'a> {
        Operands { v: &v.v, keys: &self.keys, values: &self.values }
    }

    /// The source of each row of queries, and its positions.
    pub(crate) fn spans(
        &self,
        rows: &Ragged,
        sources: &[usize],
    ) -> (Vec<usize>, Vec<Range<usize>>) {
        let of_group = |(group, &source): (Range<usize>, &usize)| group.map(move |_| source);
        let sources: Vec<usize> = rows.ranges().zip(sources).flat_map(of_group).collect();
        let spans = sources.iter().map(|&s| self.rows.range(s)).collect();
        (sources, spans)
    }

    /// Fails where the operands do not fit.
    pub(crate) fn check(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Additive,
        sources: &[usize],
    ) -> Result<()> {
        let held = (self.rows.sequences(), self.keys.width());
        check::additive_attend(q, rows, v.v.len(), sources, held)
    }
}

impl Additive {
    pub(crate) fn v(&self) -> &Buffer<f32> {
        &self.v
    }

    pub(crate) fn v_mut(&mut self) -> &mut Buffer<f32> {
        &mut self.v
    }
}

pub(crate) fn attend(
    cuda: &Cuda,
    q: &Tensor,
    (rows, sources): (&Ragged, &[usize]),
    v: &Additive,
    memory: &AdditiveMemory,
    weights: Option<&mut Vec<f32>>,
) -> Result<Tensor> {
    memory.check(q, rows, v, sources)?;
    let (_, spans) = memory.spans(rows, sources);
    let mut total = 0;
    let start = |span: &Range<usize>| {
        total += span.len();
        (total - span.len()) as u64
    };
    let starts: Vec<u64> = spans.iter().map(start).collect();
    let mut p = cuda.buffer(total)?;
    let mut y = cuda.tensor(q.rows(), memory.values.width())?;
    additive::attend(cuda, q, &memory.operands(v), (&spans, &starts), (&mut p, &mut y))?;
    if let Some(weights) = weights {
        weights.extend(p.download()?);
    }
    Ok(y)
}

/// The probabilities as `[N, longest source]`, zeros behind those of a row.
pub(crate) fn attend_kept(
    cuda: &Cuda,
    q: &Tensor,
    (rows, sources): (&Ragged, &[usize]),
    v: &Additive,
    memory: &AdditiveMemory,
) -> Result<(Tensor, Tensor)> {
    memory.check(q, rows, v, sources)?;
    let (_, spans) = memory.spans(rows, sources);
    let longest = memory.rows.longest();
    let starts: Vec<u64> = (0..spans.len()).map(|n| (n * longest) as u64).collect();
    let mut p = super::train::zeros(cuda, q.rows(), longest)?;
    let mut y = cuda.tensor(q.rows(), memory.values.width())?;
    let out = (p.values_mut(), &mut y);
    additive::attend(cuda, q, &memory.operands(v), (&spans, &starts), out)?;
    Ok((y, p))
}
