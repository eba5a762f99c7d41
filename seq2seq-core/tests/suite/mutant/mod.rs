//! The reference with one fault at a time: what the suite must notice.

mod convolution;
mod decoder;
mod recurrent;
mod train;
mod train_recurrent;

use seq2seq_core::reference::{self, Reference, Tensor};
use seq2seq_core::*;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    // Linear layers.
    LinearTenThousandth,
    LinearOneUlp,
    LinearUlpInBatches,
    GeluByTanh,
    ReluDropsNan,
    Bf16AsF32,
    F16AsF32,
    F16AsBf16,
    F16Flushed,
    FormatMissing,
    Int8AsBf16,
    Int8Symmetric,
    Int4AsInt8,
    GateAndUpSwapped,
    ScaleForgotten,
    ScaleOnBias,
    NanWeightsAccepted,
    // Norms, lookups, rows.
    EpsForgotten,
    VarianceUnbiased,
    NormUlpInBatches,
    SecondTableForgotten,
    LookupScaleForgotten,
    MeanByLongest,
    LastIsFirst,
    PoolUlpInBatches,
    RowsSorted,
    // Attention.
    Bidirectional,
    ScoreScaleOff,
    BiasSidesSwapped,
    BiasForgotten,
    RotaryScaleForgotten,
    AttendUlpInBatches,
    NanHidden,
    // The cache.
    StepsUnrotated,
    StepOneUlp,
    SiblingsSwapped,
    ParentsSorted,
    TooMuchRoom,
    // Cross-attention.
    FirstSourceForAll,
    WeightsOff,
    WeightsReplaced,
    CrossUlpInBatches,
    // Recurrent layers and what stands between them; additive attention has the faults of cross-attention.
    RecurrentBiasForgotten,
    GatesSwapped,
    RecurrentTenThousandth,
    CellStateForgotten,
    StateForgotten,
    SecondDirectionForwards,
    RecurUlpInBatches,
    RecurHidesNan,
    AdditiveScaleOff,
    ColumnsFromTheFirst,
    RowsStackedBackwards,
    // Convolutions.
    WindowsUndilated,
    GridsRunTogether,
    OverlapForgotten,
    WindowsBackUlpInBatches,
    // Choices.
    HighIdsFirst,
    RulesForgotten,
    RulesBeforeNormalising,
    RawScores,
    ChoiceUlpInBatches,
    UniformMirrored,
    TopPForgotten,
    TypicalForgotten,
    ScoreBeforeWarps,
    AnyTemperature,
    NoiseForgotten,
    NoiseShared,
    NoiseInScores,
    MinKeepForgotten,
    DroppedUnsorted,
    PickForgotten,
    DrawnNothing,
    OthersForgotten,
    EndingsForgotten,
    LastOfEqualsFirst,
    ParentsForgotten,
    // Training.
    BackInF32,
    RepackForgotten,
    ResultKept,
    SlopeForgotten,
    GradientReplaced,
    BiasGradientForgotten,
    DropoutElsewhere,
    FactorsOfFourBits,
    KeptUnscaled,
    IdsCountedOnce,
    LookedUpUnscaled,
    NormGradientOff,
    BackBidirectional,
    LastGradientForgotten,
    FirstGradientForgotten,
    ResetForgotten,
    PassesForgotten,
    SmoothingOfOthers,
    IgnoredCounted,
    StepsFromZero,
    GradientUnscaled,
    DecayForgotten,
    UpdateUnclipped,
    OneIterationLess,
    UpdateOfTheMomentum,
    UpdateUnscaled,
    NormForSquares,
}

/// The reference with a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mutant(pub(crate) Fault);

/// A tensor whose values `f` has changed.
fn changed(x: &Tensor, f: impl FnMut(&mut f32)) -> Result<Tensor> {
    let mut values = Reference.download(x)?;
    values.iter_mut().for_each(f);
    Reference.upload(&HostTensor::from_f32(vec![x.rows(), x.width()], &values)?)
}

/// The next f32 away from zero.
fn ulp(v: &mut f32) {
    if v.is_finite() {
        *v = f32::from_bits(v.to_bits() + 1);
    }
}

/// Rows rounded as a symmetric quantiser would: by the largest magnitude, in 127 steps a side.
fn symmetric(x: &Tensor) -> Result<Tensor> {
    let mut values = Reference.download(x)?;
    for row in values.chunks_mut(x.width().max(1)) {
        let mut q = vec![0; row.len()];
        let scale = quant::channel::quantise(row, &mut q);
        row.iter_mut().zip(q).for_each(|(v, q)| *v = f32::from(q) * scale);
    }
    Reference.upload(&HostTensor::from_f32(vec![x.rows(), x.width()], &values)?)
}

impl Mutant {
    fn is(&self, fault: Fault) -> bool {
        self.0 == fault
    }

    /// One unit in the last place more where there is more than one row.
    fn in_batches(&self, fault: Fault, y: Tensor, rows: usize) -> Result<Tensor> {
        if self.is(fault) && rows > 1 { changed(&y, ulp) } else { Ok(y) }
    }
}

impl Backend for Mutant {
    type Tensor = Tensor;
    type Linear = (Format, reference::linear::Linear);
    type Norm = reference::norm::Norm;
    type Embedding = reference::embed::Embedding;

    fn describe(&self) -> String {
        format!("{:?}", self.0)
    }

    fn upload(&self, host: &HostTensor) -> Result<Tensor> {
        Reference.upload(host)
    }

    fn download(&self, x: &Tensor) -> Result<Vec<f32>> {
        Reference.download(x)
    }

    fn pack(&self, spec: &LinearSpec, format: Format) -> Result<Self::Linear> {
        let mut spec = spec.clone();
        let rescale = |t: &HostTensor, f: &dyn Fn(f32) -> f32| {
            let values: Vec<f32> = t.to_f32().into_iter().map(f).collect();
            HostTensor::from_f32(t.shape().to_vec(), &values)
        };
        match self.0 {
            Fault::GateAndUpSwapped if spec.gated => spec.parts.reverse(),
            Fault::ScaleForgotten if spec.scale.is_finite() => spec.scale = 1.0,
            Fault::ScaleOnBias => {
                for part in &mut spec.parts {
                    let bias = part.bias.as_ref().map(|b| rescale(b, &|v| v * spec.scale));
                    part.bias = bias.transpose()?;
                }
            }
            Fault::F16Flushed if format == Format::F16 => {
                for part in &mut spec.parts {
                    let flush = |v: f32| if v.abs() < 2f32.powi(-14) { 0.0 } else { v };
                    part.weight = rescale(&part.weight, &flush)?;
                }
            }
            Fault::NanWeightsAccepted => {
                for part in &mut spec.parts {
                    part.weight = rescale(&part.weight, &|v| if v.is_nan() { 0.0 } else { v })?;
                }
            }
            _ => {}
        }
        let format = match (self.0, format) {
            (Fault::Bf16AsF32, Format::Bf16) => Format::F32,
            (Fault::F16AsF32, Format::F16) => Format::F32,
            (Fault::F16AsBf16, Format::F16) => Format::Bf16,
            (Fault::FormatMissing, Format::F16) => {
                let what = "format f16".into();
                return Err(Error::Unsupported { what, hint: "f32, bf16, f16, int8, int4".into() });
            }
            (Fault::Int8AsBf16, Format::Int8) => Format::Bf16,
            (Fault::Int4AsInt8, Format::Int4) => Format::Int8,
            (_, format) => format,
        };
        Ok((format, Reference.pack(&spec, format)?))
    }

    fn linear(
        &self,
        x: &Tensor,
        (format, layer): &Self::Linear,
        mut epilogue: Epilogue<'_, Tensor>,
    ) -> Result<Tensor> {
        if self.is(Fault::Int8Symmetric) && *format == Format::Int8 {
            return Reference.linear(&symmetric(x)?, layer, epilogue);
        }
        let relu = epilogue.activation == Some(Activation::Relu);
        if self.is(Fault::GeluByTanh) && epilogue.activation == Some(Activation::Gelu) {
            epilogue.activation = Some(Activation::GeluTanh);
        }
        let y = Reference.linear(x, layer, epilogue)?;
        match self.0 {
            Fault::LinearTenThousandth => changed(&y, |v| *v *= 1.0001),
            Fault::LinearOneUlp => changed(&y, ulp),
            Fault::ReluDropsNan if relu => changed(&y, |v| *v = v.max(0.0)),
            _ => self.in_batches(Fault::LinearUlpInBatches, y, x.rows()),
        }
    }

    fn embedding(&self, table: &HostTensor) -> Result<Self::Embedding> {
        Reference.embedding(table)
    }

    fn embed(&self, lookups: &[Lookup<'_, Self::Embedding>]) -> Result<Tensor> {
        let scale =
            |l: &Lookup<'_, _>| if self.is(Fault::LookupScaleForgotten) { 1.0 } else { l.scale };
        let kept = if self.is(Fault::SecondTableForgotten) { 1 } else { lookups.len() };
        let lookups: Vec<_> = lookups
            .iter()
            .take(kept)
            .map(|l| Lookup { table: l.table, ids: l.ids, scale: scale(l) })
            .collect();
        Reference.embed(&lookups)
    }

    fn norm_weights(&self, spec: &NormSpec) -> Result<Self::Norm> {
        let mut spec = spec.clone();
        if self.is(Fault::EpsForgotten) && spec.eps > 0.0 {
            spec.eps = 1e-30;
        }
        Reference.norm_weights(&spec)
    }

    fn norm(&self, x: &Tensor, norm: &Self::Norm) -> Result<Tensor> {
        let y = Reference.norm(x, norm)?;
        let m = x.width() as f32;
        match self.0 {
            Fault::VarianceUnbiased => changed(&y, |v| *v *= ((m - 1.0) / m).sqrt()),
            _ => self.in_batches(Fault::NormUlpInBatches, y, x.rows()),
        }
    }

    fn gather_rows(&self, x: &Tensor, rows: &[usize]) -> Result<Tensor> {
        let mut rows = rows.to_vec();
        if self.is(Fault::RowsSorted) {
            rows.sort_unstable();
        }
        Reference.gather_rows(x, &rows)
    }

    fn pool(&self, x: &Tensor, rows: &Ragged, pool: Pool) -> Result<Tensor> {
        let pool = match (self.0, pool) {
            (Fault::LastIsFirst, Pool::Last) => Pool::First,
            (_, pool) => pool,
        };
        let y = Reference.pool(x, rows, pool)?;
        match (self.0, pool) {
            (Fault::MeanByLongest, Pool::Mean) if rows.sequences() > 1 => {
                let share = rows.length(0) as f32 / rows.longest() as f32;
                changed(&y, |v| *v *= share)
            }
            _ => self.in_batches(Fault::PoolUlpInBatches, y, rows.sequences()),
        }
    }
}

impl EncoderOps for Mutant {
    type RelativeBias = reference::attention::RelativeBias;

    fn relative_bias(
        &self,
        table: &HostTensor,
        mut spec: BucketSpec,
    ) -> Result<Self::RelativeBias> {
        if self.is(Fault::BiasSidesSwapped) && spec.buckets >= 4 {
            spec.bidirectional = !spec.bidirectional;
            spec.max_distance = spec.max_distance.max(spec.buckets);
        }
        Reference.relative_bias(table, spec)
    }

    fn attend(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&Self::RelativeBias>,
    ) -> Result<Tensor> {
        let mut spec = spec.clone();
        match (self.0, &mut spec) {
            (Fault::Bidirectional, spec) => spec.causal = false,
            (Fault::ScoreScaleOff, spec) => spec.scale *= 1.001,
            (Fault::RotaryScaleForgotten, AttentionSpec { rotary: Some(rotary), .. }) => {
                rotary.scale = 1.0
            }
            _ => {}
        }
        let bias = if self.is(Fault::BiasForgotten) { None } else { bias };
        let y = Reference.attend(qkv, rows, &spec, bias)?;
        match self.0 {
            Fault::NanHidden => changed(&y, |v| *v = if v.is_nan() { 0.0 } else { *v }),
            _ => self.in_batches(Fault::AttendUlpInBatches, y, rows.sequences()),
        }
    }
}

impl Mutant {
    /// An attention to sources, with the faults of all of them; `attend` appends the weights.
    fn attend_sources(
        &self,
        sources: &[usize],
        weights: Option<&mut Vec<f32>>,
        attend: impl Fn(&[usize], &mut Vec<f32>) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let first = vec![0; sources.len()];
        let sources = if self.is(Fault::FirstSourceForAll) { &first } else { sources };
        let mut own = Vec::new();
        let y = attend(sources, &mut own)?;
        if let Some(weights) = weights {
            match self.0 {
                Fault::WeightsOff => own.iter_mut().for_each(|w| *w *= 1.0005),
                Fault::WeightsReplaced => weights.clear(),
                _ => {}
            }
            weights.extend(own);
        }
        let rows = y.rows();
        self.in_batches(Fault::CrossUlpInBatches, y, rows)
    }
}

impl CrossAttentionOps for Mutant {
    type Memory = reference::cross::Memory;

    fn memory(&self, kv: &Tensor, rows: &Ragged, spec: &AttentionSpec) -> Result<Self::Memory> {
        Reference.memory(kv, rows, spec)
    }

    fn cross_attend(
        &self,
        q: &Tensor,
        rows: &Ragged,
        memory: &Self::Memory,
        sources: &[usize],
        spec: &AttentionSpec,
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor> {
        self.attend_sources(sources, weights, |sources, weights| {
            Reference.cross_attend(q, rows, memory, sources, spec, Some(weights))
        })
    }
}
