//! softmax(scale · q kᵀ + bias) v: the one function behind `attend`, `attend_step` and `cross_attend`.

use super::{factors, rope};
use crate::fault::Result;
use crate::tensor::{Shared, from_host, indices};
use crate::{Precision, Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::Dropout;
use seq2seq_core::{AttentionSpec, BucketSpec, HostTensor, Ragged, Rows};
use std::ops::Range;
use tch::Kind;

/// A bias for each bucket and head.
///
/// ```
/// use seq2seq_core::{AttentionSpec, Backend, BucketSpec, EncoderOps, HostTensor, Precision, Ragged};
/// use seq2seq_tch::{RelativeBias, Tch, TchOptions};
///
/// let tch = Tch::new(TchOptions::default())?;
/// // One head. The first bucket is for the key at the query's own position, the second for those before it.
/// let table = HostTensor::from_f32(vec![2, 1], &[0.0, 3.0f32.ln()])?;
/// let buckets = BucketSpec { buckets: 2, max_distance: 4, bidirectional: false };
/// let bias: RelativeBias = tch.relative_bias(&table, buckets)?;
///
/// let spec = AttentionSpec {
///     heads: 1, kv_heads: 1, head_dim: 1, scale: 1.0, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Queries and keys of 0, so that the bias alone tells how much each value counts.
/// let qkv = tch.upload(&HostTensor::from_f32(vec![2, 3], &[0.0, 0.0, 4.0, 0.0, 0.0, 8.0])?)?;
/// let y = tch.attend(&qkv, &Ragged::from_lengths([2]), &spec, Some(&bias))?;
/// assert!((tch.download(&y)?[1] - 5.0).abs() < 1e-5); // 3/4 of 4 and 1/4 of 8
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct RelativeBias {
    spec: BucketSpec,
    heads: usize,
    /// `[buckets, H]`
    pub(crate) table: Shared,
}

impl RelativeBias {
    pub(crate) fn new(tch: &Tch, table: &HostTensor, spec: BucketSpec) -> Result<Self> {
        let heads = check::relative_bias(table, &spec)?;
        Ok(Self { spec, heads, table: Shared::new(from_host(table, tch.device())?) })
    }

    /// H
    pub(crate) fn heads(&self) -> usize {
        self.heads
    }

    /// buckets, H
    pub(crate) fn shape(&self) -> [usize; 2] {
        [self.spec.buckets, self.heads]
    }

    /// `[H, queries, keys]` of a table of biases, for queries at `positions` and keys from 0 on.
    fn at(
        &self,
        tch: &Tch,
        table: &tch::Tensor,
        positions: Range<usize>,
        keys: usize,
    ) -> Result<tch::Tensor> {
        let bucket = |q: usize, k: usize| self.spec.bucket(k as isize - q as isize);
        let count = positions.len();
        let buckets = positions.flat_map(|q| (0..keys).map(move |k| (q, k)));
        let buckets = indices(buckets.map(|(q, k)| bucket(q, k)), tch.device())?;
        let found = table.f_index_select(0, &buckets)?;
        Ok(found.f_reshape([count as i64, keys as i64, self.heads as i64])?.f_permute([2, 0, 1])?)
    }
}

/// What queries see beside keys and values.
pub(crate) struct Scope<'a> {
    pub(crate) spec: &'a AttentionSpec,
    /// The positions of the queries; keys are at positions from 0 on.
    pub(crate) positions: Range<usize>,
    /// Whether a query sees nothing behind its position.
    pub(crate) causal: bool,
    /// A relative bias, and the table to be used for it.
    pub(crate) bias: Option<(&'a RelativeBias, &'a tch::Tensor)>,
    /// Of the probabilities, and the packed row of the first query.
    pub(crate) dropout: Option<(Dropout, usize)>,
}

/// What attention gives.
pub(crate) struct Attended {
    /// `[T, H D]`
    pub(crate) y: tch::Tensor,
    /// Before dropout, `[H, T, S]`.
    pub(crate) weights: tch::Tensor,
    /// ln Σ e^score, `[T, H]`; minus infinity where nothing is seen.
    pub(crate) log_sums: tch::Tensor,
}

/// Attention of queries `[T, H, D]`, already rotated, to keys and values `[S, G, D]`.
pub(crate) fn attend_to(
    tch: &Tch,
    q: &tch::Tensor,
    [k, v]: [&tch::Tensor; 2],
    scope: &Scope<'_>,
) -> Result<Attended> {
    let spec = scope.spec;
    let [heads, groups, width] = [spec.heads, spec.kv_heads, spec.head_dim].map(|n| n as i64);
    let (count, seen) = (q.size()[0], k.size()[0]);
    // [G, H / G, T, D] beside [G, 1, S, D]: the heads of a group share its keys.
    let q = q.f_reshape([count, groups, heads / groups, width])?.f_permute([1, 2, 0, 3])?;
    let shared = |x: &tch::Tensor| x.f_permute([1, 0, 2])?.f_unsqueeze(1);
    let (k, v) = (shared(k)?, shared(v)?);
    let scores =
        product(tch, &q, &k.f_transpose(-2, -1)?, None)?.f_mul_scalar(f64::from(spec.scale))?;
    let mut scores = scores.f_reshape([heads, count, seen])?;
    if let Some((bias, table)) = scope.bias {
        scores = scores.f_add(&bias.at(tch, table, scope.positions.clone(), seen as usize)?)?;
    }
    let hidden = scope.causal.then(|| -> Result<tch::Tensor> {
        let all = tch::Tensor::f_ones([count, seen], (Kind::Bool, tch.device()))?;
        Ok(all.f_triu(scope.positions.start as i64 + 1)?)
    });
    let hidden = hidden.transpose()?;
    if let Some(hidden) = &hidden {
        scores = scores.f_masked_fill(hidden, f64::NEG_INFINITY)?;
    }
    let log_sums = scores.f_logsumexp([2], false)?.f_tr()?;
    let weights = scores.f_softmax(-1, None)?;
    let mut kept = weights.shallow_clone();
    if let Some((dropout, first)) = scope.dropout {
        // Row n H + h, column the position of the key.
        let rows = first * spec.heads..(first + count as usize) * spec.heads;
        let factors = factors(tch, dropout, rows, seen as usize)?;
        kept = kept.f_mul(&factors.f_reshape([count, heads, seen])?.f_transpose(0, 1)?)?;
    }
    let kept = kept.f_reshape([groups, heads / groups, count, seen])?;
    let y = product(tch, &kept, &v, hidden.as_ref())?
        .f_permute([2, 0, 1, 3])?
        .f_reshape([count, heads * width])?;
    Ok(Attended { y, weights, log_sums })
}

/// The matrix product a b.
///
/// In [`Precision::Exact`] its terms are added one by one in their order. The order within libtorch's depends on how many
/// rows there are, and that shows in f32: a score may be so large that its last bits of f64 move its probability, and the mean
/// of a few f32 lies halfway between two others often enough. There, terms that are `hidden` (`[T, terms]`) are not added: a zero
/// would turn -0 into 0, and 0 times an infinite value is not nothing.
fn product(
    tch: &Tch,
    a: &tch::Tensor,
    b: &tch::Tensor,
    hidden: Option<&tch::Tensor>,
) -> Result<tch::Tensor> {
    if tch.options().precision == Precision::Native {
        return Ok(a.f_matmul(b)?);
    }
    let term = |i: i64| a.f_narrow(-1, i, 1)?.f_mul(&b.f_narrow(-2, i, 1)?);
    let terms = b.size()[b.dim() - 2];
    if terms == 0 {
        return Ok(a.f_matmul(b)?);
    }
    // The first key is hidden from nobody.
    (1..terms).try_fold(term(0)?, |sum, i| {
        let next = sum.f_add(&term(i)?)?;
        Ok(match hidden {
            None => next,
            Some(hidden) => sum.f_where_self(&hidden.f_narrow(1, i, 1)?, &next)?,
        })
    })
}

/// The three parts of packed rows at `positions`, `[T, heads, D]` each, query and key rotated.
pub(crate) fn split(
    tch: &Tch,
    qkv: &tch::Tensor,
    positions: Range<usize>,
    spec: &AttentionSpec,
) -> Result<[tch::Tensor; 3]> {
    let rows = qkv.size()[0];
    let part = |from: usize, heads: usize| -> Result<tch::Tensor> {
        let columns = (heads * spec.head_dim) as i64;
        let part = qkv.f_narrow(1, from as i64, columns)?;
        Ok(part.f_reshape([rows, heads as i64, spec.head_dim as i64])?)
    };
    let mut q = part(0, spec.heads)?;
    let mut k = part(spec.inner(), spec.kv_heads)?;
    let v = part(spec.inner() + spec.kv_width(), spec.kv_heads)?;
    if let Some(rotary) = &spec.rotary {
        q = rope::rotate(tch, rotary, positions.clone(), &q)?;
        k = rope::rotate(tch, rotary, positions, &k)?;
    }
    Ok([q, k, v])
}

/// Each sequence by itself: results `[N, H D]` and logarithms `[N, H]`.
pub(crate) fn sequences(
    tch: &Tch,
    qkv: &tch::Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<(&RelativeBias, &tch::Tensor)>,
    dropout: Option<Dropout>,
) -> Result<[tch::Tensor; 2]> {
    let mut ys = vec![qkv.f_narrow(0, 0, 0)?.f_narrow(1, 0, spec.inner() as i64)?];
    let mut log_sums = vec![qkv.f_new_zeros([0, spec.heads as i64], (qkv.kind(), qkv.device()))?];
    for range in rows.ranges().filter(|range| !range.is_empty()) {
        let own = qkv.f_narrow(0, range.start as i64, range.len() as i64)?;
        let [q, k, v] = split(tch, &own, 0..range.len(), spec)?;
        let scope = Scope {
            spec,
            positions: 0..range.len(),
            causal: spec.causal,
            bias,
            dropout: dropout.map(|d| (d, range.start)),
        };
        let attended = attend_to(tch, &q, [&k, &v], &scope)?;
        ys.push(attended.y);
        log_sums.push(attended.log_sums);
    }
    Ok([tch::Tensor::f_cat(&ys, 0)?, tch::Tensor::f_cat(&log_sums, 0)?])
}

pub(crate) fn attend(
    tch: &Tch,
    qkv: &Tensor,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias: Option<&RelativeBias>,
) -> Result<Tensor> {
    check::attend(qkv, rows, spec, bias.map(RelativeBias::heads))?;
    let table = bias.map(|b| b.table.f_to_kind(tch.kind())).transpose()?;
    let bias = bias.zip(table.as_ref());
    let [y, _] = sequences(tch, &tch.wide(qkv)?, rows, spec, bias, None)?;
    Tensor::new(qkv.rows(), spec.inner(), y)
}
