//! Attention, its cache, and cross-attention.

use super::{finite_tensor, float};
use crate::{AttentionSpec, BucketSpec, CacheSpec, Error, HostTensor, Ragged, Result, Rows};

/// For [`EncoderOps::relative_bias`](crate::EncoderOps::relative_bias): H.
///
/// ```
/// use seq2seq_core::{BucketSpec, HostTensor, backend::check};
///
/// let spec = BucketSpec { buckets: 32, max_distance: 128, bidirectional: true };
/// assert_eq!(check::relative_bias(&HostTensor::from_f32(vec![32, 8], &[0.0; 256])?, &spec)?, 8);
/// let error = check::relative_bias(&HostTensor::from_f32(vec![16, 8], &[0.0; 128])?, &spec).unwrap_err();
/// assert_eq!(error.to_string(), "relative_bias: buckets is 16, expected 32");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{AttentionSpec, Precision, Ragged, backend::check};
///
/// let spec = AttentionSpec {
///     heads: 3, kv_heads: 2, head_dim: 4, scale: 0.5, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// let rows = Ragged::from_lengths([2]);
/// // Three heads cannot share two of keys and values alike; four can.
/// let error = check::attention("attend", &tensor(2, 28)?, spec.qkv_width(), &rows, &spec).unwrap_err();
/// assert_eq!(error.to_string(), "attend: 3 heads of width 4 over 2 key-value heads");
/// let spec = AttentionSpec { heads: 4, ..spec };
/// check::attention("attend", &tensor(2, 32)?, spec.qkv_width(), &rows, &spec)?;
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{AttentionSpec, Precision, Ragged, backend::check};
///
/// let spec = AttentionSpec {
///     heads: 4, kv_heads: 4, head_dim: 2, scale: 1.0, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// let (qkv, rows) = (tensor(5, 24)?, Ragged::from_lengths([3, 2]));
/// check::attend(&qkv, &rows, &spec, Some(4))?;
/// let error = check::attend(&qkv, &rows, &spec, Some(8)).unwrap_err();
/// assert_eq!(error.to_string(), "attend: heads of the relative bias is 8, expected 4");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{CacheSpec, Precision, backend::check};
///
/// let spec = CacheSpec {
///     layers: 2, kv_heads: 4, head_dim: 16, sequences: 0, beams: 1, capacity: 0, precision: Precision::F32,
/// };
/// check::kv_cache(&spec)?; // a batch of no sequences is one
/// assert!(check::kv_cache(&CacheSpec { beams: 0, ..spec }).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn kv_cache(spec: &CacheSpec) -> Result<()> {
    if spec.layers == 0 || spec.kv_heads == 0 || spec.head_dim == 0 || spec.beams == 0 {
        let reason = format!("layers, kv_heads, head_dim and beams must be above 0: {spec:?}");
        return Err(Error::invalid("kv_cache", reason));
    }
    Ok(())
}

/// For [`DecoderOps::extend`](crate::DecoderOps::extend); `lengths` are those of the hypotheses.
///
/// ```
/// use seq2seq_core::{Error, Ragged, backend::check};
///
/// // Hypotheses of 6 and 7 positions in a cache for 8: both may grow by one, the second by no more.
/// let lengths = || [6, 7].into_iter();
/// check::extend(lengths(), &Ragged::from_lengths([1, 1]), 8)?;
/// let error = check::extend(lengths(), &Ragged::from_lengths([2, 2]), 8).unwrap_err();
/// assert_eq!(error, Error::Capacity { op: "extend", sequence: 1, needed: 9, capacity: 8 });
/// # Ok::<(), Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{AttentionSpec, CacheSpec, Precision, Ragged, backend::check};
///
/// let precision = Precision::F32;
/// let cache = CacheSpec { layers: 2, kv_heads: 1, head_dim: 4, sequences: 1, beams: 1, capacity: 8, precision };
/// let spec = AttentionSpec {
///     heads: 2, kv_heads: 1, head_dim: 4, scale: 0.5, causal: true, rotary: None, dropout: 0.0, precision,
/// };
/// let (qkv, rows) = (tensor(3, spec.qkv_width())?, Ragged::from_lengths([3]));
/// check::attend_step(&qkv, &rows, &cache, 1, &spec, None)?;
/// let error = check::attend_step(&qkv, &rows, &cache, 2, &spec, None).unwrap_err();
/// assert_eq!(error.to_string(), "attend_step: layer 2 at position 0 is out of range (there are 2)");
/// // What a cache holds rounded is not to be read as if it were not.
/// let rounded = AttentionSpec { precision: Precision::Bf16, ..spec };
/// assert!(check::attend_step(&qkv, &rows, &cache, 1, &rounded, None).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::{Ragged, backend::check::Pass};
///
/// let mut pass = Pass::new(2);
/// let step = Ragged::single_rows(3);
/// pass.finished("extend")?; // nothing is left over from an earlier pass
/// pass.begin(&step);
/// pass.step(0, &step)?;
/// let error = pass.finished("reorder").unwrap_err();
/// assert_eq!(error.to_string(), "reorder: layer 1 did not attend in the last pass");
/// pass.step(1, &step)?;
/// pass.finished("reorder")?;
/// assert!(pass.step(1, &step).is_err()); // twice in one pass
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// use seq2seq_core::backend::check;
///
/// // Two hypotheses of each of two sequences; from now on three of the first and one of the second.
/// let origins = [0, 0, 1, 1];
/// check::reorder(&[1, 1, 0, 3], &origins, 3)?;
/// let error = check::reorder(&[1, 1, 0, 0], &origins, 3).unwrap_err();
/// assert_eq!(error.to_string(), "reorder: sequence 0 has more children than its 3 beams");
/// // One sequence after the other.
/// assert!(check::reorder(&[2, 0], &origins, 3).is_err());
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{AttentionSpec, Precision, Ragged, Rotary, backend::check};
///
/// let spec = AttentionSpec {
///     heads: 2, kv_heads: 2, head_dim: 4, scale: 0.5, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// let (kv, rows) = (tensor(5, 2 * spec.kv_width())?, Ragged::from_lengths([3, 2]));
/// check::memory(&kv, &rows, &spec)?;
/// let rotary = Some(Rotary { inv_freq: [1.0, 0.1].into(), scale: 1.0 });
/// let error = check::memory(&kv, &rows, &AttentionSpec { rotary, ..spec }).unwrap_err();
/// assert_eq!(error.to_string(), "memory: cross-attention has no rotary positions; set None");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn memory(kv: &impl Rows, rows: &Ragged, spec: &AttentionSpec) -> Result<()> {
    attention("memory", kv, 2 * spec.kv_width(), rows, spec)?;
    no_rotary("memory", spec)
}

/// For [`CrossAttentionOps::cross_attend`](crate::CrossAttentionOps::cross_attend): a memory of `held` sources,
/// made with `kv_heads` of `head_dim`.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{AttentionSpec, Precision, Ragged, backend::check};
///
/// let spec = AttentionSpec {
///     heads: 2, kv_heads: 2, head_dim: 4, scale: 0.5, causal: false, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// // Three hypotheses over a memory of two sources.
/// let (q, rows, memory) = (tensor(3, spec.inner())?, Ragged::single_rows(3), (2, spec.kv_heads, spec.head_dim));
/// check::cross_attend(&q, &rows, &[0, 0, 1], &spec, memory)?;
/// let error = check::cross_attend(&q, &rows, &[0, 1, 2], &spec, memory).unwrap_err();
/// assert_eq!(error.to_string(), "cross_attend: source 2 at position 2 is out of range (there are 2)");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
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
