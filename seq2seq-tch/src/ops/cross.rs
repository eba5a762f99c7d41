//! Attention of a decoder to an encoder's output: no positions, no mask, no bias.

use super::attention::{self, Scope};
use crate::fault::Result;
use crate::tensor::{Shared, to_host};
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::Dropout;
use seq2seq_core::{AttentionSpec, Ragged, Rows};

/// Keys and values of the source sequences.
///
/// ```
/// use seq2seq_core::{AttentionSpec, Backend, CrossAttentionOps, HostTensor, Precision, Ragged};
/// use seq2seq_tch::{Memory, Tch, TchOptions};
///
/// let tch = Tch::new(TchOptions::default())?;
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Key and value of each position of the first source; the second has none.
/// let kv = tch.upload(&HostTensor::from_f32(vec![2, 2], &[0.0, 4.0, 3.0f32.ln(), 8.0])?)?;
/// let memory: Memory = tch.memory(&kv, &Ragged::from_lengths([2, 0]), &spec)?;
/// let q = tch.upload(&HostTensor::from_f32(vec![2, 1], &[1.0, 1.0])?)?;
/// let y = tch.cross_attend(&q, &Ragged::single_rows(2), &memory, &[0, 1], &spec, None)?;
/// let y = tch.download(&y)?;
/// assert!((y[0] - 7.0).abs() < 1e-5 && y[1] == 0.0); // 1/4 of 4 and 3/4 of 8
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Memory {
    rows: Ragged,
    kv_heads: usize,
    head_dim: usize,
    /// `[N, 2 G D]`, in what the backend computes in.
    kv: Shared,
}

impl Memory {
    pub(crate) fn new(tch: &Tch, kv: &Tensor, rows: &Ragged, spec: &AttentionSpec) -> Result<Self> {
        check::memory(kv, rows, spec)?;
        let (kv_heads, head_dim) = (spec.kv_heads, spec.head_dim);
        Ok(Self { rows: rows.clone(), kv_heads, head_dim, kv: Shared::new(tch.wide(kv)?) })
    }

    /// Holds the operands of an attention to it to each other.
    pub(crate) fn check(
        &self,
        q: &Tensor,
        rows: &Ragged,
        sources: &[usize],
        spec: &AttentionSpec,
    ) -> Result<()> {
        let held = (self.rows.sequences(), self.kv_heads, self.head_dim);
        Ok(check::cross_attend(q, rows, sources, spec, held)?)
    }

    pub(crate) fn rows(&self) -> &Ragged {
        &self.rows
    }

    pub(crate) fn kv(&self) -> &tch::Tensor {
        &self.kv
    }
}

/// Which rows attend to which source.
pub(crate) struct Groups<'a> {
    pub(crate) rows: &'a Ragged,
    pub(crate) sources: &'a [usize],
    pub(crate) source_rows: &'a Ragged,
}

/// Each group of queries `[N, H D]` over its source of `kv`, `[S, 2 G D]`: results and logarithms; `see` is given the
/// probabilities of each group in turn, `[H, T, S]`.
pub(crate) fn groups(
    tch: &Tch,
    [q, kv]: [&tch::Tensor; 2],
    groups: &Groups<'_>,
    spec: &AttentionSpec,
    dropout: Option<Dropout>,
    mut see: impl FnMut(&tch::Tensor) -> Result<()>,
) -> Result<[tch::Tensor; 2]> {
    let head = |x: &tch::Tensor, heads: usize| {
        x.f_reshape([x.size()[0], heads as i64, spec.head_dim as i64])
    };
    let width = spec.kv_width() as i64;
    let mut ys = vec![q.f_narrow(0, 0, 0)?];
    let mut log_sums = vec![q.f_new_zeros([0, spec.heads as i64], (q.kind(), q.device()))?];
    for (range, &source) in groups.rows.ranges().zip(groups.sources) {
        if range.is_empty() {
            continue;
        }
        let own = q.f_narrow(0, range.start as i64, range.len() as i64)?;
        let positions = groups.source_rows.range(source);
        let seen = kv.f_narrow(0, positions.start as i64, positions.len() as i64)?;
        let k = head(&seen.f_narrow(1, 0, width)?, spec.kv_heads)?;
        let v = head(&seen.f_narrow(1, width, width)?, spec.kv_heads)?;
        let scope = Scope {
            spec,
            positions: 0..range.len(),
            causal: false,
            bias: None,
            dropout: dropout.map(|d| (d, range.start)),
        };
        let attended = attention::attend_to(tch, &head(&own, spec.heads)?, [&k, &v], &scope)?;
        see(&attended.weights)?;
        ys.push(attended.y);
        log_sums.push(attended.log_sums);
    }
    Ok([tch::Tensor::f_cat(&ys, 0)?, tch::Tensor::f_cat(&log_sums, 0)?])
}

pub(crate) fn cross_attend(
    tch: &Tch,
    q: &Tensor,
    memory: &Memory,
    (rows, sources): (&Ragged, &[usize]),
    spec: &AttentionSpec,
    mut weights: Option<&mut Vec<f32>>,
) -> Result<Tensor> {
    memory.check(q, rows, sources, spec)?;
    let of = Groups { rows, sources, source_rows: &memory.rows };
    let [y, _] = groups(tch, [&tch.wide(q)?, &memory.kv], &of, spec, None, |group| {
        if let Some(weights) = weights.as_deref_mut() {
            weights.extend(to_host(&group.f_transpose(0, 1)?)?);
        }
        Ok(())
    })?;
    Tensor::new(q.rows(), spec.inner(), y)
}
