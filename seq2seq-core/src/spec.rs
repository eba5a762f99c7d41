//! What an operation is asked to do, as plain data.

mod recurrent;

pub use recurrent::{Cell, RecurrentSpec};

use crate::{HostTensor, quant::group};
use std::{fmt, str::FromStr, sync::Arc};

/// How a packed weight is stored and multiplied.
///
/// A format is offered only with a kernel that is faster for it.
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NormKind {
    /// (x - mean) / √(variance + eps) · weight + bias (Ba et al. 2016).
    Layer,
    /// x / √(mean of squares + eps) · weight (Zhang and Sennrich 2019).
    Rms,
}

/// A normalisation over the width of each row, or over runs of columns that divide it.
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
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// One frequency a pair.
    pub inv_freq: Arc<[f32]>,
    /// Multiplies cosine and sine.
    pub scale: f32,
}

/// How attention holds and multiplies queries, keys, values and probabilities. Its sums are f32 in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// Queries, times [`AttentionSpec::scale`], keys, values and what the softmax makes of the scores may be rounded to
    /// bf16 (nearest, ties to even) before they are multiplied, and caches may hold them so: where that is faster. A
    /// backend that gains nothing by it computes in f32. A pass that is trained on is f32.
    Bf16,
}

/// Shape and kind of an attention.
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

    /// The same in a pass that is trained on, which is f32.
    pub fn trained(&self) -> Self {
        Self { precision: Precision::F32, ..self.clone() }
    }

    /// Columns of the keys, and of the values: G · D.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// T5's relative position buckets (Raffel et al. 2020, section 2.1).
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
