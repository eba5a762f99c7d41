//! Attention, its cache, and cross-attention.

use super::{finite_tensor, float};
use crate::{AttentionSpec, BucketSpec, CacheSpec, Error, HostTensor, Ragged, Result, Rows};

/// For [`EncoderOps::relative_bias`](crate::EncoderOps::relative_bias): H.
pub fn relative_bias(table: &HostTensor, spec: &BucketSpec) -> Result<usize> {
    const OP: &str = "relative_bias";
    let [buckets, heads] = float(OP, "the table", table)?;
    Error::expect(OP, "buckets", spec.buckets, buckets)?;
    let count = if spec.bidirectional { spec.buckets / 2 } else { spec.buckets };
    // The first half of the buckets is exact, the second logarithmic up to max_distance.
    if count < 2 || spec.max_distance <= count / 2 {
        let reason = format!(
            "{count} buckets a side up to distance {}; expected 2 or more, and distances beyond half of them",
            spec.max_distance
        );
        return Err(Error::invalid(OP, reason));
    }
    finite_tensor(OP, "the table", table)?;
    Ok(heads)
}

/// The shape of an attention and of its packed rows, `width` wide.
pub fn attention(
    op: &'static str,
    x: &impl Rows,
    width: usize,
    rows: &Ragged,
    spec: &AttentionSpec,
) -> Result<()> {
    if spec.heads == 0
        || spec.kv_heads == 0
        || spec.head_dim == 0
        || !spec.heads.is_multiple_of(spec.kv_heads)
    {
        let reason = format!(
            "{} heads of width {} over {} key-value heads",
            spec.heads, spec.head_dim, spec.kv_heads
        );
        return Err(Error::invalid(op, reason));
    }
    if let Some(rotary) = &spec.rotary
        && 2 * rotary.inv_freq.len() > spec.head_dim
    {
        return Err(Error::invalid(op, "rotary frequencies for more columns than a head has"));
    }
    Error::expect(op, "width", width, x.width())?;
    Error::expect(op, "rows", rows.rows(), x.rows())
}

/// For [`EncoderOps::attend`](crate::EncoderOps::attend); `bias_heads` are those of the relative bias, if there is one.
pub fn attend(
    qkv: &impl Rows,
    rows: &Ragged,
    spec: &AttentionSpec,
    bias_heads: Option<usize>,
) -> Result<()> {
    const OP: &str = "attend";
    attention(OP, qkv, spec.qkv_width(), rows, spec)?;
    Error::expect(OP, "heads of the relative bias", spec.heads, bias_heads.unwrap_or(spec.heads))
}

/// For [`DecoderOps::kv_cache`](crate::DecoderOps::kv_cache).
pub fn kv_cache(spec: &CacheSpec) -> Result<()> {
    if spec.layers == 0 || spec.kv_heads == 0 || spec.head_dim == 0 || spec.beams == 0 {
        let reason = format!("layers, kv_heads, head_dim and beams must be above 0: {spec:?}");
        return Err(Error::invalid("kv_cache", reason));
    }
    Ok(())
}

/// For [`DecoderOps::extend`](crate::DecoderOps::extend); `lengths` are those of the hypotheses.
pub fn extend(
    lengths: impl ExactSizeIterator<Item = usize>,
    rows: &Ragged,
    capacity: usize,
) -> Result<()> {
    const OP: &str = "extend";
    Error::expect(OP, "sequences", lengths.len(), rows.sequences())?;
    for (sequence, (held, new)) in lengths.zip(rows.lengths()).enumerate() {
        let needed = held + new;
        if needed > capacity {
            return Err(Error::Capacity { op: OP, sequence, needed, capacity });
        }
    }
    Ok(())
}

/// For [`DecoderOps::attend_step`](crate::DecoderOps::attend_step): the attention against its cache.
/// [`Pass`] checks the order of calls.
pub fn attend_step(
    qkv: &impl Rows,
    rows: &Ragged,
    cache: &CacheSpec,
    layer: usize,
    spec: &AttentionSpec,
    bias_heads: Option<usize>,
) -> Result<()> {
    const OP: &str = "attend_step";
    attention(OP, qkv, spec.qkv_width(), rows, spec)?;
    Error::expect(OP, "heads of the relative bias", spec.heads, bias_heads.unwrap_or(spec.heads))?;
    Error::expect(OP, "key-value heads", cache.kv_heads, spec.kv_heads)?;
    Error::expect(OP, "head width", cache.head_dim, spec.head_dim)?;
    if cache.precision != spec.precision {
        let (cache, spec) = (cache.precision, spec.precision);
        return Err(Error::invalid(
            OP,
            format!("an attention in {spec:?} over a cache in {cache:?}"),
        ));
    }
    Error::check_range(OP, "layer", [layer], cache.layers)
}

/// Watches the order of calls on a cache: `extend`, then `attend_step` once a layer, with the same rows;
/// `reorder` only between such passes. A pass that skipped a layer would leave holes that no later step could see.
#[derive(Debug, Clone)]
pub struct Pass {
    rows: Ragged,
    attended: Vec<bool>,
}

impl Pass {
    /// For a new cache.
    pub fn new(layers: usize) -> Self {
        Self { rows: Ragged::from_lengths([]), attended: vec![true; layers] }
    }

    /// For `extend` and `reorder`: every layer has attended since the last `extend`.
    pub fn finished(&self, op: &'static str) -> Result<()> {
        match self.attended.iter().position(|&done| !done) {
            None => Ok(()),
            Some(l) => {
                Err(Error::invalid(op, format!("layer {l} did not attend in the last pass")))
            }
        }
    }

    /// For `extend`, once all its checks have passed. Allocates only when the batch grows.
    pub fn begin(&mut self, rows: &Ragged) {
        self.rows.set_lengths(rows.lengths());
        self.attended.fill(false);
    }

    /// For `attend_step`, once all its other checks have passed.
    pub fn step(&mut self, layer: usize, rows: &Ragged) -> Result<()> {
        const OP: &str = "attend_step";
        if *rows != self.rows {
            return Err(Error::invalid(OP, "the rows are not those of the last extend"));
        }
        if std::mem::replace(&mut self.attended[layer], true) {
            let reason = format!("layer {layer} has attended in this pass; extend begins the next");
            return Err(Error::invalid(OP, reason));
        }
        Ok(())
    }
}

/// For [`DecoderOps::reorder`](crate::DecoderOps::reorder). `origins` has the first sequence of each hypothesis.
pub fn reorder(parents: &[usize], origins: &[usize], beams: usize) -> Result<()> {
    const OP: &str = "reorder";
    Error::check_range(OP, "parent", parents.iter().copied(), origins.len())?;
    let (mut last, mut children) = (0, 0);
    for &parent in parents {
        let origin = origins[parent];
        if origin < last {
            let reason = format!("parents of sequence {origin} after those of sequence {last}");
            return Err(Error::invalid(OP, reason));
        }
        children = if origin == last { children + 1 } else { 1 };
        last = origin;
        if children > beams {
            let reason = format!("sequence {origin} has more children than its {beams} beams");
            return Err(Error::invalid(OP, reason));
        }
    }
    Ok(())
}

/// Rotary positions have no meaning between two sequences.
fn no_rotary(op: &'static str, spec: &AttentionSpec) -> Result<()> {
    match spec.rotary {
        None => Ok(()),
        Some(_) => Err(Error::invalid(op, "cross-attention has no rotary positions; set None")),
    }
}

/// For [`CrossAttentionOps::memory`](crate::CrossAttentionOps::memory).
pub fn memory(kv: &impl Rows, rows: &Ragged, spec: &AttentionSpec) -> Result<()> {
    attention("memory", kv, 2 * spec.kv_width(), rows, spec)?;
    no_rotary("memory", spec)
}

/// For [`CrossAttentionOps::cross_attend`](crate::CrossAttentionOps::cross_attend): a memory of `held` sources,
/// made with `kv_heads` of `head_dim`.
pub fn cross_attend(
    q: &impl Rows,
    rows: &Ragged,
    sources: &[usize],
    spec: &AttentionSpec,
    (held, kv_heads, head_dim): (usize, usize, usize),
) -> Result<()> {
    const OP: &str = "cross_attend";
    attention(OP, q, spec.inner(), rows, spec)?;
    no_rotary(OP, spec)?;
    Error::expect(OP, "key-value heads", kv_heads, spec.kv_heads)?;
    Error::expect(OP, "head width", head_dim, spec.head_dim)?;
    Error::expect(OP, "sources", rows.sequences(), sources.len())?;
    Error::check_range(OP, "source", sources.iter().copied(), held)
}
