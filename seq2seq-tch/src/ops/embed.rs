//! Looking up rows of tables and adding them.

use crate::fault::Result;
use crate::tensor::{Shared, from_host, indices};
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::{HostTensor, Lookup};

/// A table on the device, `[rows, M]`, f32.
#[derive(Debug)]
pub struct Embedding {
    shape: [usize; 2],
    table: Shared,
}

impl Embedding {
    pub(crate) fn new(tch: &Tch, table: &HostTensor) -> Result<Self> {
        let shape = check::embedding(table)?;
        Ok(Self { shape, table: Shared::new(from_host(table, tch.device())?) })
    }

    pub(crate) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    pub(crate) fn table(&self) -> &tch::Tensor {
        &self.table
    }
}

/// The sum of lookups of tables of this shape.
pub(crate) fn embed<E>(
    tch: &Tch,
    lookups: &[Lookup<'_, E>],
    shape: impl Fn(&E) -> [usize; 2],
    table: impl Fn(&E) -> &tch::Tensor,
) -> Result<Tensor> {
    let [rows, width] = check::embed(lookups, shape)?;
    let mut sum: Option<tch::Tensor> = None;
    for lookup in lookups {
        let ids = indices(lookup.ids.iter().map(|&id| id as usize), tch.device())?;
        let found = table(lookup.table).f_index_select(0, &ids)?.f_to_kind(tch.kind())?;
        let found = found.f_mul_scalar(f64::from(lookup.scale))?;
        sum = Some(match sum {
            Some(sum) => sum.f_add(&found)?,
            None => found,
        });
    }
    let sum = sum.ok_or_else(|| seq2seq_core::Error::invalid("embed", "no lookups; give one"))?;
    Tensor::new(rows, width, sum)
}
