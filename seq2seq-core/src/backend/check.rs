//! Checks that every backend shares, so that each gives the same error for the same mistake.
//!
//! A backend calls the function named after its operation before it touches data. What comes back is
//! the shape that the operands agree on.

use super::{Epilogue, Lookup, Rows};
use crate::{
    AttentionSpec, BucketSpec, CacheSpec, DType, Error, Format, HostTensor, LinearSpec, LogitRule,
    NormKind, NormSpec, Ragged, Result, Warp, quant,
};

/// The sizes of a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearShape {
    /// Columns of the input: the length of each reduction.
    pub input: usize,
    /// Rows of all parts together.
    pub product: usize,
    /// Columns of the result: `product`, or half of it in a gated layer.
    pub output: usize,
}

/// A tensor of a float type with `N` dimensions; gives its sizes.
fn float<const N: usize>(
    op: &'static str,
    what: &'static str,
    t: &HostTensor,
) -> Result<[usize; N]> {
    if !matches!(t.dtype(), DType::F32 | DType::F16 | DType::BF16) {
        let reason = format!("{what} is {:?}; convert it to F32, F16 or BF16", t.dtype());
        return Err(Error::invalid(op, reason));
    }
    t.shape().try_into().map_err(|_| {
        let reason = format!("{what} has the shape {:?}, expected {N} dimensions", t.shape());
        Error::invalid(op, reason)
    })
}

/// Values that are all finite.
pub fn finite(op: &'static str, what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(()),
        false => Err(not_finite(op, what)),
    }
}

/// The error for a weight that is NaN or infinite, as given or once it is in its format.
pub fn not_finite(op: &'static str, what: &'static str) -> Error {
    Error::invalid(op, format!("{what} holds NaN or infinity, or a value too large for the format"))
}

fn finite_tensor(op: &'static str, what: &'static str, t: &HostTensor) -> Result<()> {
    let mut chunk = [0.0; 512];
    let mut at = 0;
    while at < t.len() {
        let n = chunk.len().min(t.len() - at);
        t.read_f32(at, &mut chunk[..n]);
        finite(op, what, &chunk[..n])?;
        at += n;
    }
    Ok(())
}

/// For [`Backend::upload`](super::Backend::upload): rows and width.
pub fn upload(host: &HostTensor) -> Result<[usize; 2]> {
    float("upload", "the tensor", host)
}

/// For [`Backend::pack`](super::Backend::pack). Checks shapes, types, biases and `scale`; whether the weights are
/// finite is for the packing loop to find ([`not_finite`] with "weight").
pub fn pack(spec: &LinearSpec, format: Format) -> Result<LinearShape> {
    const OP: &str = "pack";
    let mut shape = LinearShape { input: 0, product: 0, output: 0 };
    for (i, part) in spec.parts.iter().enumerate() {
        let [rows, columns] = float(OP, "weight", &part.weight)?;
        let (output, input) = if part.transposed { (columns, rows) } else { (rows, columns) };
        if input == 0 || output == 0 {
            return Err(Error::invalid(OP, format!("part {i} is {output} x {input}, empty")));
        }
        if i == 0 {
            shape.input = input;
        }
        Error::expect(OP, "input width of a part", shape.input, input)?;
        if spec.gated && i == 1 {
            Error::expect(OP, "output width of the up part", shape.product, output)?;
        }
        if let Some(bias) = &part.bias {
            let [length] = float(OP, "bias", bias)?;
            Error::expect(OP, "length of a bias", output, length)?;
            finite_tensor(OP, "bias", bias)?;
        }
        shape.product += output;
    }
    if spec.parts.is_empty() {
        return Err(Error::invalid(OP, "no parts; a layer has at least one matrix"));
    }
    if spec.gated {
        Error::expect(OP, "parts of a gated layer", 2, spec.parts.len())?;
    }
    if !spec.scale.is_finite() {
        return Err(Error::invalid(OP, format!("scale is {}, expected a number", spec.scale)));
    }
    if format == Format::Int8 && shape.input > quant::MAX_REDUCTION {
        let reason = format!(
            "int8 sums over {} columns may overflow; use f32 or bf16 above {}",
            shape.input,
            quant::MAX_REDUCTION
        );
        return Err(Error::invalid(OP, reason));
    }
    shape.output = if spec.gated { shape.product / 2 } else { shape.product };
    Ok(shape)
}

/// For [`Backend::linear`](super::Backend::linear).
pub fn linear<T: Rows>(x: &T, shape: LinearShape, epilogue: &Epilogue<'_, T>) -> Result<()> {
    const OP: &str = "linear";
    Error::expect(OP, "input width", shape.input, x.width())?;
    if let Some(residual) = epilogue.residual {
        Error::expect(OP, "width of the residual", shape.output, residual.width())?;
        Error::expect(OP, "rows of the residual", x.rows(), residual.rows())?;
    }
    Ok(())
}

/// For [`Backend::embedding`](super::Backend::embedding): rows and width of the table.
pub fn embedding(table: &HostTensor) -> Result<[usize; 2]> {
    float("embedding", "the table", table)
}

/// For [`Backend::embed`](super::Backend::embed), where `shape` gives rows and width of a table: N and M.
pub fn embed<E>(lookups: &[Lookup<'_, E>], shape: impl Fn(&E) -> [usize; 2]) -> Result<[usize; 2]> {
    const OP: &str = "embed";
    let first = lookups.first().ok_or_else(|| Error::invalid(OP, "no lookups; give one"))?;
    let (rows, [_, width]) = (first.ids.len(), shape(first.table));
    for lookup in lookups {
        let [limit, m] = shape(lookup.table);
        Error::expect(OP, "width of a table", width, m)?;
        Error::expect(OP, "ids of a lookup", rows, lookup.ids.len())?;
        Error::check_range(OP, "id", lookup.ids.iter().map(|&i| i as usize), limit)?;
    }
    Ok([rows, width])
}

/// For [`Backend::norm_weights`](super::Backend::norm_weights): M.
pub fn norm_weights(spec: &NormSpec) -> Result<usize> {
    const OP: &str = "norm_weights";
    let [width] = float(OP, "weight", &spec.weight)?;
    if width == 0 {
        return Err(Error::invalid(OP, "weight is empty"));
    }
    finite_tensor(OP, "weight", &spec.weight)?;
    if let Some(bias) = &spec.bias {
        if spec.kind == NormKind::Rms {
            return Err(Error::invalid(OP, "RMSNorm has no bias; use LayerNorm"));
        }
        let [length] = float(OP, "bias", bias)?;
        Error::expect(OP, "length of the bias", width, length)?;
        finite_tensor(OP, "bias", bias)?;
    }
    if !spec.eps.is_finite() || spec.eps < 0.0 {
        return Err(Error::invalid(OP, format!("eps is {}, expected 0 or more", spec.eps)));
    }
    Ok(width)
}

/// For [`Backend::norm`](super::Backend::norm), over weights of `width`.
pub fn norm(x: &impl Rows, width: usize) -> Result<()> {
    Error::expect("norm", "width", width, x.width())
}

/// For [`Backend::gather_rows`](super::Backend::gather_rows).
pub fn gather_rows(x: &impl Rows, rows: &[usize]) -> Result<()> {
    Error::check_range("gather_rows", "row", rows.iter().copied(), x.rows())
}

/// For [`Backend::pool`](super::Backend::pool).
pub fn pool(x: &impl Rows, rows: &Ragged) -> Result<()> {
    Error::expect("pool", "rows", rows.rows(), x.rows())?;
    match rows.lengths().position(|n| n == 0) {
        None => Ok(()),
        Some(i) => Err(Error::invalid("pool", format!("sequence {i} is empty"))),
    }
}

/// For [`EncoderOps::relative_bias`](super::EncoderOps::relative_bias): H.
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

/// For [`EncoderOps::attend`](super::EncoderOps::attend); `bias_heads` are those of the relative bias, if there is one.
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

/// For [`DecoderOps::kv_cache`](super::DecoderOps::kv_cache).
pub fn kv_cache(spec: &CacheSpec) -> Result<()> {
    if spec.layers == 0 || spec.kv_heads == 0 || spec.head_dim == 0 || spec.beams == 0 {
        let reason = format!("layers, kv_heads, head_dim and beams must be above 0: {spec:?}");
        return Err(Error::invalid("kv_cache", reason));
    }
    Ok(())
}

/// For [`DecoderOps::extend`](super::DecoderOps::extend); `lengths` are those of the hypotheses.
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

/// For [`DecoderOps::attend_step`](super::DecoderOps::attend_step): the attention against its cache.
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

/// For [`DecoderOps::reorder`](super::DecoderOps::reorder). `origins` has the first sequence of each hypothesis.
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

/// For [`CrossAttentionOps::memory`](super::CrossAttentionOps::memory).
pub fn memory(kv: &impl Rows, rows: &Ragged, spec: &AttentionSpec) -> Result<()> {
    attention("memory", kv, 2 * spec.kv_width(), rows, spec)?;
    no_rotary("memory", spec)
}

/// For [`CrossAttentionOps::cross_attend`](super::CrossAttentionOps::cross_attend): a memory of `held` sources,
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

/// For [`DecoderOps::top_k`](super::DecoderOps::top_k).
pub fn top_k(logits: &impl Rows, k: usize, rule_lists: &[Vec<LogitRule>]) -> Result<()> {
    if k == 0 || k > logits.width() {
        let reason = format!("k is {k}, expected 1 to the {} ids there are", logits.width());
        return Err(Error::invalid("top_k", reason));
    }
    rules("top_k", rule_lists, logits.rows(), logits.width())
}

/// For [`DecoderOps::sample`](super::DecoderOps::sample).
pub fn sample(
    logits: &impl Rows,
    rule_lists: &[Vec<LogitRule>],
    warp_spec: &Warp,
    uniforms: &[f32],
) -> Result<()> {
    const OP: &str = "sample";
    if logits.width() == 0 {
        return Err(Error::invalid(OP, "the logits have no columns"));
    }
    rules(OP, rule_lists, logits.rows(), logits.width())?;
    warp(warp_spec)?;
    Error::expect(OP, "uniforms", logits.rows(), uniforms.len())?;
    match uniforms.iter().find(|u| !(0.0..1.0).contains(*u)) {
        None => Ok(()),
        Some(u) => Err(Error::invalid(OP, format!("uniform {u} is outside [0, 1)"))),
    }
}

/// The error of [`DecoderOps::sample`](super::DecoderOps::sample) for a row that nothing can be drawn from:
/// its scores are all minus infinity, or one is NaN or plus infinity.
pub fn nothing_to_draw(row: usize) -> Error {
    let reason =
        format!("row {row} has no distribution: every id is banned, or a logit is NaN or infinite");
    Error::invalid("sample", reason)
}

fn warp(w: &Warp) -> Result<()> {
    let check = |name: &str, value: f32, good: bool, expected: &str| match good {
        true => Ok(()),
        false => Err(Error::invalid("sample", format!("{name} is {value}, expected {expected}"))),
    };
    let t = w.temperature;
    check("temperature", t, t > 0.0 && t.is_finite(), "a number above 0")?;
    check("top_p", w.top_p, (0.0..=1.0).contains(&w.top_p), "0 to 1")?;
    check("min_p", w.min_p, (0.0..=1.0).contains(&w.min_p), "0 to 1")?;
    check("typical_p", w.typical_p, w.typical_p > 0.0 && w.typical_p <= 1.0, "above 0, up to 1")?;
    let cutoff = 0.0..1.0;
    check(
        "epsilon_cutoff",
        w.epsilon_cutoff,
        cutoff.contains(&w.epsilon_cutoff),
        "0 up to below 1",
    )?;
    check("eta_cutoff", w.eta_cutoff, cutoff.contains(&w.eta_cutoff), "0 up to below 1")
}

/// Per-row rules: one list a row, or none at all.
pub fn rules(op: &'static str, rules: &[Vec<LogitRule>], rows: usize, vocab: usize) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    Error::expect(op, "lists of rules", rows, rules.len())?;
    let range =
        |ids: &[u32]| Error::check_range(op, "token id", ids.iter().map(|&i| i as usize), vocab);
    for rule in rules.iter().flatten() {
        match rule {
            LogitRule::Add(pairs) => {
                let ids = pairs.iter().map(|p| p.0 as usize);
                Error::check_range(op, "token id", ids, vocab)?;
            }
            LogitRule::Penalise { ids, penalty } => {
                range(ids)?;
                if !(*penalty > 0.0 && penalty.is_finite()) {
                    let reason = format!("penalty is {penalty}, expected a number above 0");
                    return Err(Error::invalid(op, reason));
                }
            }
            LogitRule::Grow { ids, .. } | LogitRule::Ban(ids) => range(ids)?,
            LogitRule::Only(id) => range(&[*id])?,
        }
    }
    Ok(())
}
