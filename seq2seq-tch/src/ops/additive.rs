//! Additive attention: Σ softmax(vᵀ tanh(q + key)) value (Bahdanau et al. 2015).

use super::cross::Groups;
use crate::fault::Result;
use crate::tensor::{Shared, from_host, to_host};
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::{HostTensor, Ragged, Rows};
use std::ops::Range;

/// The vector that scores are taken with, `[A]`.
#[derive(Debug)]
pub struct Additive {
    pub(crate) v: Shared,
}

/// Keys, `[N, A]`, and values, `[N, M]`, of the source sequences, in what the backend computes in.
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
