//! Additive attention.

use super::columns::stack_rows;
use crate::Cuda;
use crate::kernels::additive::{self, Operands};
use crate::memory::{Buffer, Tensor};
use seq2seq_core::{HostTensor, Ragged, Result, Rows, backend::check};

/// The vector that scores are taken with.
pub struct Additive {
    v: Buffer<f32>,
}

/// Keys and values of the source sequences.
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

pub(crate) fn attend(
    cuda: &Cuda,
    q: &Tensor,
    (rows, sources): (&Ragged, &[usize]),
    v: &Additive,
    memory: &AdditiveMemory,
    weights: Option<&mut Vec<f32>>,
) -> Result<Tensor> {
    let held = (memory.rows.sequences(), memory.keys.width());
    check::additive_attend(q, rows, v.v.len(), sources, held)?;
    let mut y = cuda.tensor(q.rows(), memory.values.width())?;
    let of_group = |(group, &source): (std::ops::Range<usize>, &usize)| {
        group.map(move |_| memory.rows.range(source))
    };
    let spans: Vec<_> = rows.ranges().zip(sources).flat_map(of_group).collect();
    let operands = Operands { v: &v.v, keys: &memory.keys, values: &memory.values };
    let p = additive::attend(cuda, q, &operands, &spans, &mut y)?;
    if let Some(weights) = weights {
        weights.extend(p.download()?);
    }
    Ok(y)
}
