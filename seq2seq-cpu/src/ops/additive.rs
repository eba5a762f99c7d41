//! Additive attention.

use super::columns::stack_rows;
use crate::kernels::additive::Row;
use crate::memory::{Buffer, Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::{HostTensor, Ragged, Result, Rows, backend::check};

/// The vector that scores are taken with, `[A]`.
///
/// With keys and values in an [`AdditiveMemory`]:
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Ragged, RecurrentOps};
/// use seq2seq_cpu::{Additive, AdditiveMemory, Cpu, CpuOptions};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let upload = |rows, values: &[f32]| {
///     cpu.upload(&HostTensor::from_f32(vec![rows, values.len() / rows], values)?)
/// };
/// let v: Additive = cpu.additive(&HostTensor::from_f32(vec![1], &[3.0f32.ln()])?)?;
/// // A source of two positions, whose keys are 0 and so large that their tanh is 1.
/// let (keys, values) = (upload(2, &[0.0, 100.0])?, upload(2, &[4.0, 0.0, 8.0, 1.0])?);
/// let memory: AdditiveMemory = cpu.additive_memory(&keys, &values, &Ragged::from_lengths([2]))?;
///
/// let (q, rows, mut weights) = (upload(1, &[0.0])?, Ragged::single_rows(1), Vec::new());
/// let y = cpu.additive_attend(&q, &rows, &v, &memory, &[0], Some(&mut weights))?;
/// let close = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-5);
/// assert!(close(&weights, &[0.25, 0.75])); // of e⁰ and e to the power of v
/// assert!(close(&cpu.download(&y)?, &[7.0, 0.75]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Additive {
    v: Vec<f32>,
}

/// Keys, `[N, A]`, and values, `[N, M]`, of the source sequences.
///
/// [`Additive`] shows how it is attended to. Keys and values of the encoder are laid out once and serve every step:
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Ragged, RecurrentOps};
/// use seq2seq_cpu::{AdditiveMemory, Cpu, CpuOptions};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let [keys, values] = [1, 3].map(|width| {
///     cpu.upload(&HostTensor::from_f32(vec![5, width], &vec![0.5; 5 * width])?)
/// });
/// let (keys, values) = (keys?, values?);
/// let memory: AdditiveMemory = cpu.additive_memory(&keys, &values, &Ragged::from_lengths([3, 2]))?;
/// drop((keys, values)); // it has its own
///
/// let v = cpu.additive(&HostTensor::from_f32(vec![1], &[1.0])?)?;
/// for step in 0..4 {
///     let q = cpu.upload(&HostTensor::from_f32(vec![2, 1], &[step as f32, 0.0])?)?;
///     let y = cpu.additive_attend(&q, &Ragged::single_rows(2), &v, &memory, &[0, 1], None)?;
///     assert!(cpu.download(&y)?.iter().all(|y| (y - 0.5).abs() < 1e-6)); // whatever the weights
/// }
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct AdditiveMemory {
    rows: Ragged,
    keys: Tensor,
    values: Tensor,
}

impl Additive {
    pub(crate) fn v(&self) -> &[f32] {
        &self.v
    }

    pub(crate) fn v_mut(&mut self) -> &mut [f32] {
        &mut self.v
    }
}

impl AdditiveMemory {
    /// How positions divide into sources, keys, values.
    pub(crate) fn parts(&self) -> (&Ragged, &Tensor, &Tensor) {
        (&self.rows, &self.keys, &self.values)
    }
}

pub(crate) fn additive(v: &HostTensor) -> Result<Additive> {
    check::additive(v)?;
    Ok(Additive { v: v.to_f32() })
}

pub(crate) fn memory(
    cpu: &Cpu,
    keys: &Tensor,
    values: &Tensor,
    rows: &Ragged,
) -> Result<AdditiveMemory> {
    check::additive_memory(keys, values, rows)?;
    let (keys, values) = (stack_rows(cpu, &[keys])?, stack_rows(cpu, &[values])?);
    Ok(AdditiveMemory { rows: rows.clone(), keys, values })
}

pub(crate) fn attend(
    cpu: &Cpu,
    q: &Tensor,
    (rows, sources): (&Ragged, &[usize]),
    v: &Additive,
    memory: &AdditiveMemory,
    weights: Option<&mut Vec<f32>>,
) -> Result<Tensor> {
    let Some(weights) = weights else {
        return attend_rows(cpu, q, (rows, sources), v, memory, None);
    };
    let mut padded = Tensor::scratch(q.rows(), memory.rows.longest());
    let out = attend_rows(cpu, q, (rows, sources), v, memory, Some(&mut padded))?;
    for (range, &source) in rows.ranges().zip(sources) {
        for n in range {
            weights.extend_from_slice(&padded.row(n)[..memory.rows.length(source)]);
        }
    }
    Ok(out)
}

/// The weights go into `padded`, `[N, longest source]`: those of each row from the first column on, zeros behind.
pub(crate) fn attend_rows(
    cpu: &Cpu,
    q: &Tensor,
    (rows, sources): (&Ragged, &[usize]),
    v: &Additive,
    memory: &AdditiveMemory,
    padded: Option<&mut Tensor>,
) -> Result<Tensor> {
    let held = (memory.rows.sequences(), memory.keys.width());
    check::additive_attend(q, rows, v.v.len(), sources, held)?;
    let mut source_of = Buffer::<usize>::scratch(q.rows());
    for (range, &source) in rows.ranges().zip(sources) {
        source_of[range].fill(source);
    }
    let (longest, width) = (memory.rows.longest(), memory.values.width());
    let mut out = Tensor::scratch(q.rows(), width);
    let targets = (Chunks::<f32>::rows(&mut out), padded.map(Chunks::<f32>::rows));
    // A tanh takes as long as some twenty simple steps.
    let cost = longest * (20 * v.v.len() + width);
    cpu.threads().each_part(targets, cost, |n, (out, weights)| {
        let source = memory.rows.range(source_of[n]);
        let weights = weights.map(|w| {
            let (own, behind) = w[..longest].split_at_mut(source.len());
            behind.fill(0.0);
            own
        });
        let (keys, values) = (&memory.keys, &memory.values);
        let row =
            Row { q: q.row(n), v: &v.v, keys, values, source, out: &mut out[..width], weights };
        dispatch(cpu.isa(), row);
    });
    Ok(out)
}
