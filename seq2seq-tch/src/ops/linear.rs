//! Packed linear layers: y = scale · x Wᵀ + b, then activation or gate, then residual.

use super::activation;
use crate::fault::Result;
use crate::tensor::{Shared, from_slice};
use crate::{Precision, Tch, Tensor};
use seq2seq_core::backend::check::{self, LinearShape};
use seq2seq_core::{
    Epilogue, Error, Format, LinearPart, LinearSpec, Rows,
    quant::{self, group},
    reference::linear::{codes_of, rows_of},
};
use tch::Kind;

/// A layer in the layout of PyTorch's.
///
/// libtorch has no products in int8 or int4; layers in these formats are computed in f64 from the numbers that the format keeps, in
/// either [`Precision`](crate::Precision):
///
/// ```
/// use seq2seq_core::{Backend, Epilogue, Format, HostTensor, LinearSpec, reference::Reference};
/// use seq2seq_tch::{Linear, Tch, TchOptions};
///
/// let tch = Tch::new(TchOptions::default())?;
/// let weight = HostTensor::from_f32(vec![2, 3], &[0.5, -1.0, 0.25, 1.0, 0.0, -0.5])?;
/// let x = HostTensor::from_f32(vec![1, 3], &[1.0, 2.0, 3.0])?;
/// let layer: Linear = tch.pack(&LinearSpec::single(weight.clone(), None), Format::Int8)?;
/// let y = tch.download(&tch.linear(&tch.upload(&x)?, &layer, Epilogue::NONE)?)?;
///
/// let layer = Reference.pack(&LinearSpec::single(weight, None), Format::Int8)?;
/// let expected = Reference.linear(&Reference.upload(&x)?, &layer, Epilogue::NONE)?;
/// assert_eq!(y, Reference.download(&expected)?);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Linear {
    shape: LinearShape,
    gated: bool,
    scale: f64,
    weights: Weights,
    /// `[product]`
    bias: Shared,
}

#[derive(Debug)]
enum Weights {
    /// `[product, in]`, f32, bf16 or f16.
    Floats(Shared),
    /// Integers `[product, in]`, and a scale a channel, `[product]`.
    Int8(Shared, Shared),
    /// Levels `[groups, 32, product]`, and a scale for each group of a channel, `[groups, 1, product]`.
    Int4(Shared, Shared),
}

/// The integers of `channels` channels and their scales.
fn int8(values: &[f32], channels: usize, scale: f32) -> (Vec<i8>, Vec<f32>) {
    let mut integers = vec![0; values.len()];
    let input = values.len() / channels;
    let each = values.chunks(input).zip(integers.chunks_mut(input));
    let scales = each.map(|(v, q)| quant::channel::quantise(v, q) * scale).collect();
    (integers, scales)
}

/// The levels of a part's channels, each padded with zeros to whole groups, and the scales of its groups.
fn int4(part: &LinearPart, input: usize) -> (Vec<i8>, Vec<f32>) {
    let (codes, scales) = codes_of(part, input);
    let padding = group::groups(input) * group::GROUP - input;
    let channel = |codes: &[u8]| -> Vec<i8> {
        let levels = codes.iter().map(|&code| group::LEVELS[usize::from(code)]);
        levels.chain(std::iter::repeat_n(0, padding)).collect()
    };
    (codes.chunks(input).flat_map(channel).collect(), scales)
}

impl Tch {
    fn integers(&self, values: &[i8], shape: [usize; 2]) -> Result<tch::Tensor> {
        let shape = shape.map(|n| n as i64);
        Ok(tch::Tensor::f_from_slice(values)?.f_reshape(shape)?.f_to_device(self.device())?)
    }

    fn weights(&self, spec: &LinearSpec, format: Format, shape: LinearShape) -> Result<Weights> {
        const WEIGHT: (&str, &str) = ("pack", "weight");
        let LinearShape { input, product, .. } = shape;
        let finite = |values: &[f32]| check::finite(WEIGHT.0, WEIGHT.1, values);
        let values = || -> Vec<f32> { spec.parts.iter().flat_map(rows_of).collect() };
        Ok(match format {
            Format::F32 => {
                let values = values();
                finite(&values)?;
                Weights::Floats(Shared::new(from_slice(&values, &[product, input], self.device())?))
            }
            Format::Bf16 | Format::F16 => {
                let kind = if format == Format::F16 { Kind::Half } else { Kind::BFloat16 };
                let values = from_slice(&values(), &[product, input], self.device())?;
                let rounded = values.f_to_kind(kind)?;
                if !bool::try_from(rounded.f_isfinite()?.f_all()?)? {
                    return Err(check::not_finite(WEIGHT.0, WEIGHT.1).into());
                }
                Weights::Floats(Shared::new(rounded))
            }
            Format::Int8 => {
                let (integers, scales) = int8(&values(), product, spec.scale);
                finite(&scales)?;
                Weights::Int8(
                    Shared::new(self.integers(&integers, [product, input])?),
                    Shared::new(from_slice(&scales, &[product], self.device())?),
                )
            }
            Format::Int4 => {
                let parts = spec.parts.iter().map(|part| int4(part, input));
                let (levels, scales): (Vec<_>, Vec<_>) = parts.unzip();
                let (levels, scales) = (levels.concat(), scales.concat());
                finite(&scales)?;
                let groups = group::groups(input);
                let levels = self
                    .integers(&levels, [product, groups * group::GROUP])?
                    .f_reshape([product as i64, groups as i64, group::GROUP as i64])?
                    .f_permute([1, 2, 0])?;
                let scales = from_slice(&scales, &[product, groups, 1], self.device())?;
                Weights::Int4(
                    Shared::new(levels.f_contiguous()?),
                    Shared::new(scales.f_permute([1, 2, 0])?.f_contiguous()?),
                )
            }
        })
    }

    pub(crate) fn pack_linear(&self, spec: &LinearSpec, format: Format) -> Result<Linear> {
        let shape = check::pack(spec, format)?;
        let weights = self.weights(spec, format, shape)?;
        let bias = spec.parts.iter().flat_map(|p| match &p.bias {
            Some(bias) => bias.to_f32(),
            None => vec![0.0; p.weight.shape()[usize::from(p.transposed)]],
        });
        let bias = from_slice(&bias.collect::<Vec<_>>(), &[shape.product], self.device())?;
        let scale = f64::from(spec.scale);
        Ok(Linear { shape, gated: spec.gated, scale, weights, bias: Shared::new(bias) })
    }

    /// Rows of f32 as the integers that they are quantised to, less their zero points, in f64; and the scale of each,
    /// `[N, 1]`. The scale of a row that is not finite is NaN.
    fn quantise(&self, x: &tch::Tensor) -> Result<[tch::Tensor; 2]> {
        let x = x.f_to_kind(Kind::Float)?;
        let (lo, hi) =
            (x.f_amin([1], true)?.f_clamp_max(0.0)?, x.f_amax([1], true)?.f_clamp_min(0.0)?);
        let scale = hi.f_div_scalar(254.0)?.f_sub(&lo.f_div_scalar(254.0)?)?;
        let tiny = f64::from(quant::TINY);
        let zeros = lo.f_gt(-tiny)?.f_logical_and(&hi.f_lt(tiny)?)?;
        let scale = scale.f_masked_fill(&zeros, 0.0)?;
        let inverse = scale.f_reciprocal()?.f_masked_fill(&zeros, 0.0)?;
        let zero = lo.f_neg()?.f_mul(&inverse)?.f_round()?.f_to_kind(Kind::Double)?;
        // The product is one of f32; its sum with the zero point is exact in f64 and rounded once.
        let q = x.f_mul(&inverse)?.f_to_kind(Kind::Double)?.f_add(&zero)?.f_round()?;
        let bad = lo.f_isfinite()?.f_logical_and(&hi.f_isfinite()?)?.f_logical_not()?;
        let scale = scale.f_to_kind(Kind::Double)?.f_masked_fill(&bad, f64::NAN)?;
        Ok([q.f_sub(&zero)?.f_masked_fill(&bad, 0.0)?, scale])
    }
}

impl Linear {
    pub(crate) fn shape(&self) -> LinearShape {
        self.shape
    }

    pub(crate) fn gated(&self) -> bool {
        self.gated
    }

    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// The weights of a layer in f32 or bf16, `[product, in]`: those that can be trained.
    ///
    /// # Errors
    /// For a quantised layer.
    pub(crate) fn floats(&self) -> Result<&tch::Tensor> {
        match &self.weights {
            Weights::Floats(weights) => Ok(weights),
            Weights::Int8(..) | Weights::Int4(..) => Err(Error::Unsupported {
                what: "training of quantised weights".into(),
                hint: "f32, bf16".into(),
            }
            .into()),
        }
    }

    /// scale · x Wᵀ + b, `[N, product]`, of rows `x` that hold f32 values.
    pub(crate) fn products(&self, tch: &Tch, x: &tch::Tensor) -> Result<tch::Tensor> {
        let sums = match &self.weights {
            Weights::Floats(w) => {
                let bf16 = w.kind() == Kind::BFloat16;
                let x = if bf16 { x.f_to_kind(Kind::BFloat16)? } else { x.shallow_clone() };
                product(tch, &x, w)?.f_mul_scalar(self.scale)?
            }
            Weights::Int8(w, scales) => {
                let [q, scale] = tch.quantise(x)?;
                let sums = q.f_matmul(&w.f_to_kind(Kind::Double)?.f_tr()?)?;
                sums.f_mul(&scale)?.f_mul(&scales.f_to_kind(Kind::Double)?)?
            }
            Weights::Int4(levels, scales) => {
                let [q, scale] = tch.quantise(x)?;
                let groups = levels.size()[0];
                let padding = groups * group::GROUP as i64 - self.shape.input as i64;
                let q = q.f_constant_pad_nd([0, padding])?;
                let q = q.f_reshape([-1, groups, group::GROUP as i64])?.f_transpose(0, 1)?;
                let sums = q.f_matmul(&levels.f_to_kind(Kind::Double)?)?;
                let sums = sums.f_mul(&scales.f_to_kind(Kind::Double)?)?;
                let sums = sums.f_sum_dim_intlist([0i64].as_slice(), false, None)?;
                sums.f_mul(&scale)?.f_mul_scalar(self.scale)?
            }
        };
        Ok(sums.f_add(&self.bias.f_to_kind(sums.kind())?)?)
    }

    /// Activation or gate of sums, `[N, product]` to `[N, out]`.
    pub(crate) fn act(
        &self,
        sums: &tch::Tensor,
        activated: Option<seq2seq_core::Activation>,
    ) -> Result<tch::Tensor> {
        let act = |x: &tch::Tensor| match activated {
            Some(a) => activation::apply(a, x),
            None => Ok(x.shallow_clone()),
        };
        if !self.gated {
            return act(sums);
        }
        let width = self.shape.output as i64;
        let (gate, up) = (sums.f_narrow(1, 0, width)?, sums.f_narrow(1, width, width)?);
        Ok(act(&gate)?.f_mul(&up)?)
    }
}

/// x Wᵀ in what the backend computes in. Rows and weights of two bytes become f32 for it, which loses nothing; where a GPU
/// multiplies them as they are, its results are those of f32, too.
fn product(tch: &Tch, x: &tch::Tensor, w: &tch::Tensor) -> Result<tch::Tensor> {
    let native = tch.options().precision == Precision::Native;
    let bf16 = x.kind() == Kind::BFloat16 && w.kind() == Kind::BFloat16;
    // libtorch has this product on GPUs alone. The one that it has everywhere rounds its results to bf16, and so their sums.
    if native && bf16 && tch.device().is_cuda() {
        return Ok(x.f_mm_dtype(&w.f_tr()?, Kind::Float)?);
    }
    Ok(x.f_to_kind(tch.kind())?.f_matmul(&w.f_to_kind(tch.kind())?.f_tr()?)?)
}

pub(crate) fn linear(
    tch: &Tch,
    x: &Tensor,
    layer: &Linear,
    epilogue: &Epilogue<'_, Tensor>,
) -> Result<Tensor> {
    check::linear(x, layer.shape, epilogue)?;
    let sums = layer.products(tch, x.values())?;
    let mut y = layer.act(&sums, epilogue.activation)?;
    if let Some(residual) = epilogue.residual {
        y = y.f_add(&residual.values().f_to_kind(y.kind())?)?;
    }
    Tensor::new(x.rows(), layer.shape.output, y)
}
