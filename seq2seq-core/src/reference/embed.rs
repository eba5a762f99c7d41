//! Looking up rows of tables and adding them.

use super::Tensor;
use crate::backend::check;
use crate::{HostTensor, Lookup, Result};

/// A table, still in the type it came in.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Lookup, reference::{Reference, embed::Embedding}};
///
/// let table: Embedding = Reference.embedding(&HostTensor::from_f32(vec![2, 2], &[1.0, 2.0, 3.0, 4.0])?)?;
/// let x = Reference.embed(&[Lookup { table: &table, ids: &[1], scale: 1.0 }])?;
/// assert_eq!(Reference.download(&x)?, [3.0, 4.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Embedding {
    table: HostTensor,
    shape: [usize; 2],
}

impl Embedding {
    pub(super) fn new(table: &HostTensor) -> Result<Self> {
        Ok(Self { shape: check::embedding(table)?, table: table.clone() })
    }
}

pub(super) fn embed(lookups: &[Lookup<'_, Embedding>]) -> Result<Tensor> {
    let [rows, width] = check::embed(lookups, |table| table.shape)?;
    let mut out = Vec::with_capacity(rows * width);
    let mut entry = vec![0.0f32; width];
    for row in 0..rows {
        let mut sum = vec![0.0f64; width];
        for lookup in lookups {
            lookup.table.table.read_f32(lookup.ids[row] as usize * width, &mut entry);
            for (s, &e) in sum.iter_mut().zip(&entry) {
                *s += f64::from(lookup.scale) * f64::from(e);
            }
        }
        out.extend(sum.iter().map(|&s| s as f32));
    }
    Ok(Tensor::new(rows, width, out))
}
