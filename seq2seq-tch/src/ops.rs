//! The operations, each a few calls of libtorch on tensors in what the backend computes in.

pub(crate) mod activation;
pub(crate) mod additive;
pub(crate) mod attention;
pub(crate) mod backward;
pub(crate) mod cache;
pub(crate) mod columns;
pub(crate) mod cross;
pub(crate) mod embed;
pub(crate) mod linear;
pub(crate) mod norm;
pub(crate) mod pool;
pub(crate) mod recurrent;
pub(crate) mod rope;
pub(crate) mod top_k;
pub(crate) mod windows;

use crate::{Tch, Tensor, fault::Result, tensor::from_slice};
use seq2seq_core::train::Dropout;
use std::ops::Range;

/// What the elements of some rows of `width` columns are multiplied by.
fn factors(tch: &Tch, dropout: Dropout, rows: Range<usize>, width: usize) -> Result<tch::Tensor> {
    let row = |row| (0..width).map(move |column| dropout.factor(row, column));
    let factors: Vec<f32> = rows.clone().flat_map(row).collect();
    Ok(from_slice(&factors, &[rows.len(), width], tch.device())?.f_to_kind(tch.kind())?)
}

impl Tch {
    /// The values of `x` in what operations compute in.
    pub(crate) fn wide(&self, x: &Tensor) -> Result<tch::Tensor> {
        Ok(x.values().f_to_kind(self.kind())?)
    }
}
