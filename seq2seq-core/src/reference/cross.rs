//! Attention of a decoder to an encoder's output: no positions, no mask, no bias.

use super::Tensor;
use super::attention::{self, Seen};
use crate::backend::check;
use crate::{AttentionSpec, Ragged, Result, Rows};

/// Keys and values of the source sequences.
#[derive(Debug)]
pub struct Memory {
    rows: Ragged,
    kv_heads: usize,
    head_dim: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Memory {
    pub(super) fn new(kv: &Tensor, rows: &Ragged, spec: &AttentionSpec) -> Result<Self> {
        check::memory(kv, rows, spec)?;
        let width = spec.kv_width();
        let part = |columns: std::ops::Range<usize>| {
            kv.iter().flat_map(|row| &row[columns.clone()]).copied().collect()
        };
        let (keys, values) = (part(0..width), part(width..2 * width));
        let (kv_heads, head_dim) = (spec.kv_heads, spec.head_dim);
        Ok(Self { rows: rows.clone(), kv_heads, head_dim, keys, values })
    }
}

pub(super) fn cross_attend(
    q: &Tensor,
    rows: &Ragged,
    memory: &Memory,
    sources: &[usize],
    spec: &AttentionSpec,
    mut weights: Option<&mut Vec<f32>>,
) -> Result<Tensor> {
    let held = (memory.rows.sequences(), memory.kv_heads, memory.head_dim);
    check::cross_attend(q, rows, sources, spec, held)?;
    let width = spec.kv_width();
    let mut out = Vec::with_capacity(q.rows() * spec.inner());
    for (range, &source) in rows.ranges().zip(sources) {
        let positions = memory.rows.range(source);
        let columns = positions.start * width..positions.end * width;
        let seen = Seen {
            keys: &memory.keys[columns.clone()],
            values: &memory.values[columns],
            len: positions.len(),
        };
        for n in range {
            attention::row((q.row(n), 0), &seen, spec, None, &mut out, weights.as_deref_mut());
        }
    }
    Ok(Tensor::new(q.rows(), spec.inner(), out))
}
