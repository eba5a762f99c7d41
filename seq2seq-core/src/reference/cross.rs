//! Attention of a decoder to an encoder's output: no positions, no mask, no bias.

use super::Tensor;
use super::attention::{self, Seen};
use crate::backend::check;
use crate::{AttentionSpec, Ragged, Result, Rows};

/// Keys and values of the source sequences.
///
/// ```
/// use seq2seq_core::{reference::{Reference, cross::Memory}, *};
///
/// let spec = AttentionSpec {
///     heads: 2, kv_heads: 1, head_dim: 2, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Key | value of one head: the projected output of an encoder for sources of 3 and 2 tokens.
/// let kv = Reference.upload(&HostTensor::from_f32(vec![5, 2 * spec.kv_width()], &[0.5; 20])?)?;
/// let memory: Memory = Reference.memory(&kv, &Ragged::from_lengths([3, 2]), &spec)?;
/// // It serves any number of steps, of any number of hypotheses.
/// for hypotheses in [1, 4] {
///     let q = Reference.upload(&HostTensor::from_f32(vec![hypotheses, spec.inner()], &vec![1.0; 4 * hypotheses])?)?;
///     let rows = Ragged::single_rows(hypotheses);
///     let y = Reference.cross_attend(&q, &rows, &memory, &vec![1; hypotheses], &spec, None)?;
///     assert_eq!(Reference.download(&y)?, vec![0.5; 4 * hypotheses]);
/// }
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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

impl Memory {
    /// Holds the operands of an attention to it to each other.
    pub(super) fn check(
        &self,
        q: &Tensor,
        rows: &Ragged,
        sources: &[usize],
        spec: &AttentionSpec,
    ) -> Result<()> {
        let held = (self.rows.sequences(), self.kv_heads, self.head_dim);
        check::cross_attend(q, rows, sources, spec, held)
    }

    /// The keys and values of a source.
    pub(super) fn seen(&self, source: usize, spec: &AttentionSpec) -> Seen<'_> {
        let (width, positions) = (spec.kv_width(), self.rows.range(source));
        let columns = positions.start * width..positions.end * width;
        Seen {
            keys: &self.keys[columns.clone()],
            values: &self.values[columns],
            len: positions.len(),
        }
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
    memory.check(q, rows, sources, spec)?;
    let mut out = Vec::with_capacity(q.rows() * spec.inner());
    for (range, &source) in rows.ranges().zip(sources) {
        let seen = memory.seen(source, spec);
        for n in range {
            attention::row((q.row(n), 0), &seen, spec, None, &mut out, weights.as_deref_mut());
        }
    }
    Ok(Tensor::new(q.rows(), spec.inner(), out))
}
