//! What an operation is asked to do, as plain data.

mod recurrent;
mod windows;

pub use recurrent::{Cell, RecurrentSpec};
pub use windows::{Grid, Windows, channels_last};

use crate::{HostTensor, quant::group};
use std::{fmt, str::FromStr, sync::Arc};

/// How a packed weight is stored and multiplied.
///
/// A format is offered only with a kernel that is faster for it.
///
/// ```
/// use seq2seq_core::Format;
///
/// let format: Format = "int4".parse()?;
/// assert_eq!((format, format.to_string().as_str()), (Format::Int4, "int4"));
///
/// // What a matrix of 4096 x 4096 takes, its scales included, in MiB.
/// let size = Format::ALL.map(|format| format.bytes(4096, 4096) >> 20);
/// assert_eq!(size, [64, 32, 32, 16, 9]); // f32, bf16, f16, int8, int4
///
/// // A name that there is not is an error that says which there are.
/// let error = "fp8".parse::<Format>().unwrap_err().to_string();
/// assert_eq!(error, "format 'fp8' is not available: f32, bf16, f16, int8, int4");
/// assert!(Format::TRAINED.iter().all(|format| !format.quantises_rows()));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// f32 weights and activations, f32 sums.
    #[default]
    F32,
    /// bf16 weights; activations rounded to bf16 (nearest, ties to even), products exact, f32 sums.
    Bf16,
    /// f16 weights (IEEE 754 binary16; nearest, ties to even), f32 activations and sums: f32 with weights in half the
    /// memory. Weights that are f16 numbers already give the results of f32.
    F16,
    /// int8 weights, symmetric with one scale an output channel; 8-bit activations with one scale and one zero point a
    /// row; exact i32 sums. [`quant`](crate::quant) defines both to the bit.
    Int8,
    /// Weights of 4 bits in groups of 32 along the input, each with a bf16 scale: 4.5 bits a weight. Activations as in
    /// int8, exact i32 sums in a group, f32 sums over the groups. [`quant`](crate::quant) defines weights and activations.
    Int4,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::F32, Self::Bf16, Self::F16, Self::Int8, Self::Int4];

    /// The formats that models are trained in.
    pub const TRAINED: [Self; 2] = [Self::F32, Self::Bf16];

    /// Its name in options and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// Bytes of a matrix `[outputs, inputs]` with its scales.
    pub fn bytes(self, outputs: usize, inputs: usize) -> usize {
        let channel = match self {
            Self::F32 => inputs * 4,
            Self::Bf16 | Self::F16 => inputs * 2,
            Self::Int8 => inputs + 4,
            Self::Int4 => group::groups(inputs) * (group::GROUP / 2 + 2),
        };
        outputs * channel
    }

    /// Whether rows of activations are quantised, so that infinity in a row makes all its results NaN.
    pub fn quantises_rows(self) -> bool {
        matches!(self, Self::Int8 | Self::Int4)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = crate::Error;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|f| f.name() == s).ok_or_else(|| crate::Error::Unsupported {
            what: format!("format '{s}'"),
            hint: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// The function applied between the two projections of a feed-forward block, or by a head.
///
/// ```
/// use seq2seq_core::{Activation, Backend, Epilogue, Format, HostTensor, LinearSpec, reference::Reference};
///
/// // Behind a layer that does nothing.
/// let b = Reference;
/// let same = b.pack(&LinearSpec::single(HostTensor::from_f32(vec![1, 1], &[1.0])?, None), Format::F32)?;
/// let x = b.upload(&HostTensor::from_f32(vec![3, 1], &[-2.0, 0.0, 2.0])?)?;
/// let y = |activation| b.download(&b.linear(&x, &same, Epilogue::activation(activation))?);
/// assert_eq!(y(Activation::Relu)?, [0.0, 0.0, 2.0]);
///
/// // The two definitions of GELU are not the same function: a checkpoint says which one it was trained with.
/// let (erf, tanh) = (y(Activation::Gelu)?, y(Activation::GeluTanh)?);
/// assert!((erf[2] - 1.95450).abs() < 1e-5 && (tanh[2] - 1.95460).abs() < 1e-5);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x Φ(x), Φ the normal distribution function by erf (Hendrycks and Gimpel 2016).
    Gelu,
    /// 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))); Hugging Face `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// x σ(1.702 x)
    QuickGelu,
    /// x σ(x); `silu` and `swish`.
    Silu,
    /// tanh(x)
    Tanh,
}

/// One of the matrices that a [`LinearSpec`] lays side by side.
///
/// ```
/// use seq2seq_core::{Backend, Epilogue, Format, HostTensor, LinearPart, LinearSpec, Result, reference::Reference};
///
/// let b = Reference;
/// let x = b.upload(&HostTensor::from_f32(vec![1, 3], &[1.0, 2.0, 3.0])?)?;
/// let y = |shape, values: &[f32], transposed| -> Result<Vec<f32>> {
///     let weight = HostTensor::from_f32(shape, values)?;
///     let parts = vec![LinearPart { weight, bias: None, transposed }];
///     let layer = b.pack(&LinearSpec { parts, gated: false, scale: 1.0 }, Format::F32)?;
///     b.download(&b.linear(&x, &layer, Epilogue::NONE)?)
/// };
/// // One matrix as PyTorch's Linear has it, and as GPT-2's Conv1D does; neither is copied to be turned.
/// assert_eq!(y(vec![2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0], false)?, [1.0, 5.0]);
/// assert_eq!(y(vec![3, 2], &[1.0, 0.0, 0.0, 1.0, 0.0, 1.0], true)?, [1.0, 5.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LinearPart {
    /// `[out, in]`, or `[in, out]` where `transposed` (GPT-2's Conv1D).
    pub weight: HostTensor,
    /// `[out]`; zeros where absent.
    pub bias: Option<HostTensor>,
    /// Whether `weight` is `[in, out]`.
    pub transposed: bool,
}

/// A linear layer to be packed: y = scale · x Wᵀ + b, then the [`Epilogue`](crate::Epilogue).
///
/// ```
/// use seq2seq_core::{Activation, Backend, Epilogue, Format, HostTensor, LinearPart, LinearSpec, Rows, reference::Reference};
///
/// let b = Reference;
/// let part = |values: &[f32]| {
///     let weight = HostTensor::from_f32(vec![1, 2], values)?;
///     Ok::<_, seq2seq_core::Error>(LinearPart { weight, bias: None, transposed: false })
/// };
/// let parts = vec![part(&[1.0, 1.0])?, part(&[1.0, -1.0])?];
/// let beside = LinearSpec { parts, gated: false, scale: 1.0 };
/// let gated = LinearSpec { gated: true, ..beside.clone() };
///
/// let x = b.upload(&HostTensor::from_f32(vec![1, 2], &[3.0, 1.0])?)?;
/// // Two matrices in one pass, as query, key and value are.
/// let y = b.linear(&x, &b.pack(&beside, Format::F32)?, Epilogue::NONE)?;
/// assert_eq!(b.download(&y)?, [4.0, 2.0]);
/// // The same two as gate and up of a feed-forward block: relu(gate) · up.
/// let y = b.linear(&x, &b.pack(&gated, Format::F32)?, Epilogue::activation(Activation::Relu))?;
/// assert_eq!((y.width(), b.download(&y)?), (1, vec![8.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LinearSpec {
    /// Concatenated along the output, such as query, key and value in one pass. All have one input width.
    pub parts: Vec<LinearPart>,
    /// Exactly two parts of equal width, gate and up: the layer gives activation(gate) · up, half as wide.
    pub gated: bool,
    /// Multiplies the product before the bias (T5's d_model^-0.5 before a tied head); 1 elsewhere.
    pub scale: f32,
}

impl LinearSpec {
    /// One `[out, in]` matrix with an optional bias.
    pub fn single(weight: HostTensor, bias: Option<HostTensor>) -> Self {
        Self {
            parts: vec![LinearPart { weight, bias, transposed: false }],
            gated: false,
            scale: 1.0,
        }
    }
}

/// Which normalisation.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, NormKind, NormSpec, reference::Reference};
///
/// let b = Reference;
/// let x = b.upload(&HostTensor::from_f32(vec![1, 2], &[1.0, 7.0])?)?;
/// let normalised = |kind| {
///     let weight = HostTensor::from_f32(vec![2], &[1.0, 1.0])?;
///     b.download(&b.norm(&x, &b.norm_weights(&NormSpec { kind, eps: 0.0, weight, bias: None })?)?)
/// };
/// assert_eq!(normalised(NormKind::Layer)?, [-1.0, 1.0]); // a mean of 4, a deviation of 3
/// assert_eq!(normalised(NormKind::Rms)?, [0.2, 1.4]); // a root mean square of 5
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// (x - mean) / √(variance + eps) · weight + bias (Ba et al. 2016).
    Layer,
    /// x / √(mean of squares + eps) · weight (Zhang and Sennrich 2019).
    Rms,
}

/// A normalisation over the width of each row, or over runs of columns that divide it.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, NormKind, NormSpec, reference::Reference};
///
/// let b = Reference;
/// let weight = HostTensor::from_f32(vec![2], &[1.0, 2.0])?;
/// let norm = b.norm_weights(&NormSpec { kind: NormKind::Rms, eps: 0.0, weight, bias: None })?;
/// // Rows of two heads of two columns: each head by itself, as some models normalise queries and keys.
/// let heads = b.upload(&HostTensor::from_f32(vec![1, 4], &[5.0, 5.0, -2.0, 2.0])?)?;
/// assert_eq!(b.download(&b.norm(&heads, &norm)?)?, [1.0, 2.0, -1.0, 2.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NormSpec {
    /// LayerNorm or RMSNorm.
    pub kind: NormKind,
    /// Added to the variance or the mean square.
    pub eps: f32,
    /// `[M]`
    pub weight: HostTensor,
    /// `[M]`; only LayerNorm may have one.
    pub bias: Option<HostTensor>,
}

/// Rotary position embedding in the split-halves form of LLaMA (Su et al. 2021):
/// column j of the first half pairs with column j of the second half.
///
/// Row at position p: angle_j = p · inv_freq_j (an f32 product); both cosine and sine are multiplied by `scale`
/// (YaRN's attention factor; 1 elsewhere). Columns past `2 · inv_freq.len()` pass unchanged.
///
/// ```
/// use seq2seq_core::{Rotary, reference::rope::rotate};
///
/// // LLaMA's frequencies for heads of 8 columns.
/// let rotary = Rotary { inv_freq: (0..4).map(|j| 10_000f32.powf(-j as f32 / 4.0)).collect(), scale: 1.0 };
/// let at = |position, mut head: [f32; 8]| {
///     rotate(&rotary, position, &mut head);
///     head
/// };
/// let (q, k) = ([0.5, -1.0, 0.25, 2.0, 1.0, 0.0, -0.5, 1.5], [1.0, 0.5, -0.75, 0.0, 0.5, 1.0, 1.0, -1.0]);
/// let score = |i, j| at(i, q).iter().zip(at(j, k)).map(|(q, k)| q * k).sum::<f32>();
/// assert_eq!(at(0, q), q);
/// // A score knows how far apart query and key are, not where.
/// assert!((score(5, 3) - score(105, 103)).abs() < 1e-4 && (score(5, 3) - score(5, 4)).abs() > 0.1);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// One frequency a pair.
    pub inv_freq: Arc<[f32]>,
    /// Multiplies cosine and sine.
    pub scale: f32,
}

/// How attention holds and multiplies queries, keys, values and probabilities. Its sums are f32 in either.
///
/// ```
/// use seq2seq_core::{AttentionSpec, CacheSpec, DecoderOps, Precision, reference::Reference};
///
/// let spec = AttentionSpec {
///     heads: 4, kv_heads: 2, head_dim: 16, scale: 0.25, causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::Bf16,
/// };
/// // A cache holds what the attentions over it multiply, so it is told the same.
/// let (kv_heads, head_dim, precision) = (spec.kv_heads, spec.head_dim, spec.precision);
/// Reference.kv_cache(&CacheSpec { layers: 2, kv_heads, head_dim, sequences: 1, beams: 1, capacity: 64, precision })?;
/// assert_eq!(spec.trained().precision, Precision::F32);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// Queries, times [`AttentionSpec::scale`], keys, values and what the softmax makes of the scores may be rounded to
    /// bf16 (nearest, ties to even) before they are multiplied, and caches may hold them so: where that is faster. A
    /// backend that gains nothing by it computes in f32.
    ///
    /// So in a pass that is trained on, and on its way back. With p the probabilities and dy the gradient of the result,
    /// whose products are dp = dy vᵀ and, of what the softmax gives back for them, ds, each factor of a matrix product
    /// may be rounded: scaled q and k in the scores, p and v in the result, dy and v in dp, p and dy in dv, ds and k in dq,
    /// ds and scaled q in dk, and ds in the gradient of a relative bias. What is not a factor of one is f32: the softmax, ln Σ
    /// e^score, Σ p dp, and ds = p (dp - Σ p dp). Which of both a backend trains in, it says by
    /// [`trained_attention`](crate::train::TrainBackend::trained_attention).
    Bf16,
}

/// Shape and kind of an attention.
///
/// ```
/// use seq2seq_core::{AttentionSpec, Backend, EncoderOps, HostTensor, Precision, Ragged, Rows, reference::Reference};
///
/// // Four heads of two columns, whose queries read the keys and values of two.
/// let spec = AttentionSpec {
///     heads: 4, kv_heads: 2, head_dim: 2, scale: 2f32.powf(-0.5), causal: true, rotary: None, dropout: 0.0,
///     precision: Precision::F32,
/// };
/// assert_eq!((spec.qkv_width(), spec.inner(), spec.kv_width()), (16, 8, 4));
///
/// let b = Reference;
/// let qkv: Vec<f32> = (0..3 * 16).map(|i| (i % 7) as f32 - 3.0).collect();
/// let qkv = b.upload(&HostTensor::from_f32(vec![3, 16], &qkv)?)?;
/// let y = b.attend(&qkv, &Ragged::from_lengths([3]), &spec, None)?;
/// assert_eq!((y.rows(), y.width()), (3, 8));
/// // The first row sees itself alone: the heads 0 and 1 give its first value, 2 and 3 its second.
/// assert_eq!(b.download(&y)?[..8], [2.0, 3.0, 2.0, 3.0, -3.0, -2.0, -3.0, -2.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionSpec {
    /// H
    pub heads: usize,
    /// G, a divisor of H: query head h reads key-value head h / (H / G).
    pub kv_heads: usize,
    /// D
    pub head_dim: usize,
    /// Multiplies query · key; usually D^-0.5, 1 in T5.
    pub scale: f32,
    /// Whether a row sees only itself and what came before it. Ignored by cross-attention.
    pub causal: bool,
    /// Rotates queries and keys.
    pub rotary: Option<Rotary>,
    /// The rate at which probabilities are dropped in a pass that is trained on
    /// ([`autodiff`](crate::autodiff)); 0 for none. Otherwise nothing is dropped.
    pub dropout: f32,
    /// Of the products.
    pub precision: Precision,
}

impl AttentionSpec {
    /// Columns of the packed rows query | key | value.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Columns of the query, and of the result: H · D.
    pub fn inner(&self) -> usize {
        self.heads * self.head_dim
    }

    /// The same in f32, as those backends train that gain nothing by rounding.
    pub fn trained(&self) -> Self {
        Self { precision: Precision::F32, ..self.clone() }
    }

    /// Columns of the keys, and of the values: G · D.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// T5's relative position buckets (Raffel et al. 2020, section 2.1).
///
/// ```
/// use seq2seq_core::{BucketSpec, EncoderOps, HostTensor, reference::Reference};
///
/// let spec = BucketSpec { buckets: 32, max_distance: 128, bidirectional: true };
/// // Near keys have a bucket for each distance, far ones share one; what follows has the second half of them.
/// assert_eq!([-1, -7, 0, 1, 7].map(|distance| spec.bucket(distance)), [1, 7, 0, 17, 23]);
/// assert_eq!(spec.bucket(-60), spec.bucket(-62));
/// assert_eq!(spec.bucket(-128), spec.bucket(-100_000));
///
/// // A bias for each bucket and each of 8 heads.
/// Reference.relative_bias(&HostTensor::from_f32(vec![32, 8], &[0.0; 32 * 8])?, spec)?;
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketSpec {
    /// Rows of the bias table.
    pub buckets: usize,
    /// Distances from here on share the last bucket.
    pub max_distance: usize,
    /// Half the buckets for each side; otherwise all for the past.
    pub bidirectional: bool,
}

impl BucketSpec {
    /// The bucket for `distance` = key position - query position.
    ///
    /// The logarithm is taken in f32 and truncated, as transformers does (its `_relative_position_bucket`),
    /// so that the borders between buckets fall on the same distances.
    pub fn bucket(&self, distance: isize) -> usize {
        let (side, count, n) = match self.bidirectional {
            true => {
                let half = self.buckets / 2;
                (if distance > 0 { half } else { 0 }, half, distance.unsigned_abs())
            }
            false => (0, self.buckets, (-distance).max(0) as usize),
        };
        let exact = count / 2;
        if n < exact {
            return side + n;
        }
        let log = (n as f32 / exact as f32).ln()
            / ((self.max_distance as f64 / exact as f64).ln() as f32)
            * (count - exact) as f32;
        side + (exact + log as usize).min(count - 1)
    }
}

/// The size of a key-value cache for all layers of a decoder.
///
/// ```
/// use seq2seq_core::{CacheSpec, DecoderOps, Error, Precision, Ragged, reference::Reference};
///
/// let b = Reference;
/// let spec = CacheSpec {
///     layers: 1, kv_heads: 2, head_dim: 4, sequences: 2, beams: 3, capacity: 5, precision: Precision::F32,
/// };
/// let mut cache = b.kv_cache(&spec)?;
/// // Two prompts at first, one hypothesis each. The second would be longer than the cache was made for.
/// let prompts = Ragged::from_lengths([3, 6]);
/// let too_long = b.extend(&mut cache, &prompts);
/// assert_eq!(too_long, Err(Error::Capacity { op: "extend", sequence: 1, needed: 6, capacity: 5 }));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSpec {
    /// L
    pub layers: usize,
    /// G
    pub kv_heads: usize,
    /// D
    pub head_dim: usize,
    /// Sequences that are filled first, one hypothesis each.
    pub sequences: usize,
    /// Hypotheses that each of them may be spread over later.
    pub beams: usize,
    /// Positions a hypothesis may come to hold.
    pub capacity: usize,
    /// That of the attentions over it.
    pub precision: Precision,
}

/// How the rows of a sequence become one row.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, Pool, Ragged, reference::Reference};
///
/// let b = Reference;
/// let x = b.upload(&HostTensor::from_f32(vec![5, 1], &[1.0, 2.0, 6.0, 10.0, 20.0])?)?;
/// let rows = Ragged::from_lengths([3, 2]);
/// let pooled = |pool| b.download(&b.pool(&x, &rows, pool)?);
/// assert_eq!(pooled(Pool::First)?, [1.0, 10.0]);
/// assert_eq!(pooled(Pool::Mean)?, [3.0, 15.0]);
/// assert_eq!(pooled(Pool::Last)?, [6.0, 20.0]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The first row (BERT's `[CLS]`).
    First,
    /// The mean over all rows.
    Mean,
    /// The last row.
    Last,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_parse_their_names() {
        for f in Format::ALL {
            assert_eq!(f.name().parse::<Format>().unwrap(), f);
        }
        assert!(
            "fp4".parse::<Format>().unwrap_err().to_string().contains("f32, bf16, f16, int8, int4")
        );
        assert_eq!(Format::ALL.map(|f| f.bytes(3, 33)), [396, 198, 198, 111, 108]);
    }

    #[test]
    fn buckets_are_those_of_the_paper() {
        let enc = BucketSpec { buckets: 32, max_distance: 128, bidirectional: true };
        let got: Vec<_> = [0, -1, 1, -7, 7, -8, 8, -16, 127, 1000].map(|d| enc.bucket(d)).into();
        assert_eq!(got, [0, 1, 17, 7, 23, 8, 24, 10, 31, 31]);
        let dec = BucketSpec { bidirectional: false, ..enc };
        let got: Vec<_> = [5, 0, -1, -15, -16, -20, -127, -500].map(|d| dec.bucket(d)).into();
        assert_eq!(got, [0, 0, 1, 15, 16, 17, 31, 31]);
    }
}
