//! Additive attention.

use super::columns::stack_rows;
use crate::kernels::additive::Row;
use crate::memory::{Buffer, Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use seq2seq_core::{HostTensor, Ragged, Result, Rows, backend::check};

/// The vector that scores are taken with.
#[derive(Debug)]
pub struct Additive {
    v: Vec<f32>,
}

/// Keys and values of the source sequences.
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
