//! Linear layers, every format.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::linear, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! linear::matches_reference(&backend)?;
//! linear::activations_match(&backend)?;
//! linear::is_batch_invariant(&backend)?;
//! linear::propagates_nan(&backend)?;
//! linear::f16_gives_the_bits_of_f32(&backend)?; // nothing is asked of a backend without it
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! To the bit, on numbers whose sums do not round; the reference takes longer over these:
//!
//! ```
//! use seq2seq_core::{SeqBackend, conformance::{Outcome, linear}};
//!
//! fn quantised_sums_are_exact<B: SeqBackend>(backend: &B) -> Outcome {
//!     linear::int8_sums_are_exact(backend)?;
//!     linear::int4_sums_are_exact(backend)
//! }
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Activation, Backend, Format, Rows, reference::Reference};
//! use seq2seq_core::conformance::{Op, Timed, linear::{ACTIVATIONS, Case, Linear, Prepared}};
//!
//! // A gated layer over three rows of 20, in bf16: what it gives, and what it was given.
//! let case = Case {
//!     parts: vec![8, 8],
//!     gated: true,
//!     activation: Some(Activation::Silu),
//!     format: Format::Bf16,
//!     ..Case::plain(3, 20, 0)
//! };
//! assert!(ACTIVATIONS.contains(&Activation::Silu));
//! assert_eq!(case.spec().parts.len(), 2);
//! assert_eq!((case.x().shape(), Linear::run(&Reference, &case)?.len()), (&[3, 20][..], 3 * 8));
//!
//! let mut prepared: Prepared<Reference> = Linear::prepare(&Reference, &case)?;
//! let y = Linear::call(&Reference, &mut prepared)?;
//! assert_eq!((y.rows(), Reference.download(&y)?), (3, Linear::run(&Reference, &case)?));
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::tolerance::{self, Approx, Product};
use super::values::{Profile, Random, tensor, values};
use super::{
    Cases, Op, Outcome, Timed, bits, cases_on, each, host, on_host, rows_of, run_timed, width,
    within,
};
use crate::quant::{group, row};
use crate::reference::{Reference, linear::codes_of};
use crate::{
    Activation, Backend, DType, Epilogue, Format, HostTensor, LinearPart, LinearSpec, Result,
    SeqBackend,
};
use proptest::prelude::*;

/// Every activation.
pub const ACTIVATIONS: [Activation; 6] = [
    Activation::Relu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::QuickGelu,
    Activation::Silu,
    Activation::Tanh,
];

/// One layer and its input.
#[derive(Debug, Clone)]
pub struct Case {
    /// N
    pub rows: usize,
    /// Columns of the input.
    pub input: usize,
    /// Output columns of each part. Every other part is `transposed`, the first one where `seed` is odd.
    pub parts: Vec<usize>,
    /// Gate and up; then there are two parts.
    pub gated: bool,
    /// Whether there is a bias.
    pub bias: bool,
    /// Multiplies the product.
    pub scale: f32,
    /// Of the epilogue.
    pub activation: Option<Activation>,
    /// Of the epilogue.
    pub residual: bool,
    /// What it is packed into.
    pub format: Format,
    /// What the weights come in.
    pub dtype: DType,
    /// The activations.
    pub x: Profile,
    /// The weights.
    pub w: Profile,
    /// Of all values.
    pub seed: u64,
}

/// A case on a backend.
pub struct Prepared<B: Backend> {
    pub(super) x: B::Tensor,
    pub(super) layer: B::Linear,
    activation: Option<Activation>,
    residual: Option<B::Tensor>,
}

impl<B: Backend> Prepared<B> {
    pub(super) fn run(&self, backend: &B) -> Result<B::Tensor> {
        backend.linear(&self.x, &self.layer, self.epilogue())
    }

    pub(super) fn epilogue(&self) -> Epilogue<'_, B::Tensor> {
        let (activation, residual) = (self.activation, self.residual.as_ref());
        Epilogue { activation, residual, ..Epilogue::NONE }
    }
}

impl Case {
    /// A plain f32 layer of one matrix with a bias.
    pub fn plain(rows: usize, input: usize, output: usize) -> Self {
        Self {
            rows,
            input,
            parts: vec![output],
            gated: false,
            bias: true,
            scale: 1.0,
            activation: None,
            residual: false,
            format: Format::F32,
            dtype: DType::F32,
            x: Profile::Normal,
            w: Profile::Normal,
            seed: 2,
        }
    }

    pub(super) fn output(&self) -> usize {
        let product: usize = self.parts.iter().sum();
        if self.gated { product / 2 } else { product }
    }

    /// Weight (as the layer reads it, `[out, in]` or transposed) and bias of each part.
    fn part_values(&self) -> Vec<(Vec<f32>, Vec<f32>)> {
        let part = |(i, &output): (usize, &usize)| {
            let seed = self.seed + 10 * (i as u64 + 1);
            // Products of rows of length K keep the deviation of x.
            let shrink = (self.input as f32).sqrt().recip();
            let shrink = if self.w == Profile::Integers { 1.0 } else { shrink };
            let mut w = values(self.w, seed, output * self.input);
            w.iter_mut().for_each(|w| *w *= shrink);
            (w, values(Profile::Normal, seed + 1, output))
        };
        self.parts.iter().enumerate().map(part).collect()
    }

    /// The layer.
    pub fn spec(&self) -> LinearSpec {
        let part = |(i, (w, b)): (usize, (Vec<f32>, Vec<f32>))| {
            let output = self.parts[i];
            let transposed = (i as u64 + self.seed) % 2 == 1;
            let shape =
                if transposed { vec![self.input, output] } else { vec![output, self.input] };
            let bias = self.bias.then(|| tensor(self.dtype, vec![output], &b));
            LinearPart { weight: tensor(self.dtype, shape, &w), bias, transposed }
        };
        let parts = self.part_values().into_iter().enumerate().map(part).collect();
        LinearSpec { parts, gated: self.gated, scale: self.scale }
    }

    /// `[N, in]`
    pub fn x(&self) -> HostTensor {
        host(self.rows, self.input, &values(self.x, self.seed, self.rows * self.input))
    }

    pub(super) fn residual(&self) -> Option<HostTensor> {
        let (n, m) = (self.rows, self.output());
        self.residual.then(|| host(n, m, &values(Profile::Normal, self.seed + 3, n * m)))
    }

    fn prepare_rows<B: Backend>(
        &self,
        backend: &B,
        rows: std::ops::Range<usize>,
    ) -> Result<Prepared<B>> {
        let upload = |x: HostTensor| backend.upload(&rows_of(&x, rows.clone()));
        Ok(Prepared {
            x: upload(self.x())?,
            layer: backend.pack(&self.spec(), self.format)?,
            activation: self.activation,
            residual: self.residual().map(upload).transpose()?,
        })
    }

    /// The bound of every result.
    fn bounds(&self) -> Result<Vec<Approx>> {
        let products = self.products()?;
        let (m, product) = (self.output(), self.parts.iter().sum::<usize>());
        let residual = self.residual().map(|r| r.to_f32());
        let act = |p: Approx| self.activation.map_or(p, |a| p.activated(a));
        let element = |i: usize| {
            let (row, column) = (i / m, i % m);
            let mut y = act(products[row * product + column]);
            if self.gated {
                y = y.times(products[row * product + m + column]);
            }
            residual.as_ref().map_or(y, |r| y.plus(Approx::exact(r[i])))
        };
        Ok((0..self.rows * m).map(element).collect())
    }

    /// The bounds of scale · x Wᵀ + b, before the epilogue.
    pub(super) fn products(&self) -> Result<Vec<Approx>> {
        products(&LinearSpec { gated: false, ..self.spec() }, self.format, &self.x())
    }
}

/// The bounds of scale · x Wᵀ + b for each row of `x` (`[N, in]`) and each output of a layer that is not gated.
pub(super) fn products(spec: &LinearSpec, format: Format, x: &HostTensor) -> Result<Vec<Approx>> {
    let value = run(spec, format, x)?;
    let magnitude = match format {
        Format::Int4 => int4_magnitude(spec, x)?,
        _ => run(&magnitudes(spec)?, format, &map(x, f32::abs)?)?,
    };
    let [rows, input] = [x.shape()[0], x.shape()[1]];
    let x = x.to_f32();
    let outputs = value.len() / rows.max(1);
    let bias = biases(spec);
    let largest = |v: &[f32]| v.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    let w = spec.parts.iter().map(|p| largest(&p.weight.to_f32())).fold(1.0, f32::max);
    let bound = |(i, (&value, &magnitude)): (usize, (&f32, &f32))| {
        let row = &x[i / outputs * input..][..input];
        let largest = largest(row).max(w) * spec.scale.abs().max(1.0);
        let bias = bias[i % outputs];
        tolerance::linear(format, Product { value, magnitude, bias, terms: input, largest })
    };
    Ok(value.iter().zip(&magnitude).enumerate().map(bound).collect())
}

fn run(spec: &LinearSpec, format: Format, x: &HostTensor) -> Result<Vec<f32>> {
    let layer = Reference.pack(spec, format)?;
    on_host(&Reference, x, |x| Reference.linear(x, &layer, Epilogue::NONE))
}

fn map(x: &HostTensor, f: impl Fn(f32) -> f32) -> Result<HostTensor> {
    let values: Vec<f32> = x.to_f32().into_iter().map(f).collect();
    HostTensor::from_f32(x.shape().to_vec(), &values)
}

/// The layer of the magnitudes of all weights.
fn magnitudes(spec: &LinearSpec) -> Result<LinearSpec> {
    let part = |part: &LinearPart| {
        Ok(LinearPart {
            weight: map(&part.weight, f32::abs)?,
            bias: part.bias.as_ref().map(|b| map(b, f32::abs)).transpose()?,
            transposed: part.transposed,
        })
    };
    let parts = spec.parts.iter().map(part).collect::<Result<_>>()?;
    Ok(LinearSpec { parts, scale: spec.scale.abs(), ..*spec })
}

/// The bias of each output; zeros where there is none.
fn biases(spec: &LinearSpec) -> Vec<f32> {
    let of = |part: &LinearPart| match &part.bias {
        Some(bias) => bias.to_f32(),
        None => vec![0.0; part.weight.shape()[usize::from(part.transposed)]],
    };
    spec.parts.iter().flat_map(of).collect()
}

/// What [`tolerance::linear`] asks for: |scale| · 510 row scales · Σ |level · group scale| + |b|.
fn int4_magnitude(spec: &LinearSpec, x: &HostTensor) -> Result<Vec<f32>> {
    let [rows, input] = [x.shape()[0], x.shape()[1]];
    let mut magnitudes = magnitudes(spec)?;
    for (part, given) in magnitudes.parts.iter_mut().zip(&spec.parts) {
        let (codes, scales) = codes_of(given, input);
        let groups = codes.chunks(input).flat_map(|channel| channel.chunks(group::GROUP));
        let weight =
            |code: &u8, scale: f32| (f32::from(group::LEVELS[usize::from(*code)]) * scale).abs();
        let w: Vec<f32> = groups
            .zip(scales)
            .flat_map(|(codes, scale)| codes.iter().map(move |code| weight(code, scale)))
            .collect();
        part.weight = host(w.len() / input, input, &w);
        part.transposed = false;
    }
    let mut x = x.to_f32();
    for row in x.chunks_mut(input) {
        let scale = row::Affine::of(row::extremes(row)).scale;
        row.fill(510.0 * scale);
    }
    run(&magnitudes, Format::F32, &host(rows, input, &x))
}

/// [`Backend::linear`].
pub struct Linear;

impl Op for Linear {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        run_timed::<B, Self>(backend, case)
    }
}

impl Cases for Linear {
    fn cases() -> BoxedStrategy<Case> {
        let rows =
            prop_oneof![1 => Just(0usize), 3 => Just(1), 6 => 2..=16usize, 3 => 17..=47usize];
        let input = prop_oneof![12 => width(), 1 => Just(1025usize)];
        let parts = proptest::collection::vec(width(), 1..=3);
        let shape = (rows, input, parts, any::<bool>(), any::<bool>());
        let scale = proptest::sample::select(&[1.0f32, 1.0, 0.044_194_174, -3.0][..]);
        let activation = proptest::option::of(proptest::sample::select(&ACTIVATIONS[..]));
        let format = proptest::sample::select(&Format::ALL[..]);
        let dtype = proptest::sample::select(&[DType::F32, DType::F16, DType::BF16][..]);
        let kind = (scale, activation, any::<bool>(), format, dtype);
        (shape, kind, x_profile(), w_profile(), 0..1000u64)
            .prop_map(|(shape, kind, x, w, seed)| {
                let (rows, input, mut parts, gated, bias) = shape;
                let (scale, activation, residual, format, dtype) = kind;
                if gated {
                    parts = vec![parts[0]; 2];
                }
                Case {
                    rows,
                    input,
                    parts,
                    gated,
                    bias,
                    scale,
                    activation,
                    residual,
                    format,
                    dtype,
                    x,
                    w,
                    seed,
                }
            })
            .boxed()
    }

    fn format(case: &Case) -> Option<Format> {
        Some(case.format)
    }
}

impl Timed for Linear {
    const NAME: &'static str = "linear";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = B::Tensor;

    /// Rows of one step, a beam of 4, a sentence, a batch.
    fn real() -> Vec<(String, Case)> {
        let base =
            |parts: Vec<usize>, input, bias| Case { parts, bias, ..Case::plain(1, input, 0) };
        let gelu = Some(Activation::Gelu);
        let silu = Some(Activation::Silu);
        let shapes = [
            ("bert-base qkv", base(vec![768; 3], 768, true)),
            ("bert-base output", Case { residual: true, ..base(vec![768], 768, true) }),
            ("bert-base up", Case { activation: gelu, ..base(vec![3072], 768, true) }),
            ("bert-base down", Case { residual: true, ..base(vec![768], 3072, true) }),
            ("t5-small vocabulary", base(vec![32128], 512, false)),
            (
                "tinyllama gate and up",
                Case { gated: true, activation: silu, ..base(vec![5632; 2], 2048, false) },
            ),
        ];
        let named = |(name, case): (&str, Case)| {
            [1, 4, 16, 128]
                .map(|rows| (format!("{name}, {rows} rows"), Case { rows, ..case.clone() }))
        };
        shapes.into_iter().flat_map(named).collect()
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Prepared<B>> {
        case.prepare_rows(backend, 0..case.rows)
    }

    fn call<B: SeqBackend>(backend: &B, prepared: &mut Prepared<B>) -> Result<B::Tensor> {
        prepared.run(backend)
    }
}

fn x_profile() -> impl Strategy<Value = Profile> {
    use Profile::*;
    prop_oneof![
        6 => Just(Normal),
        3 => proptest::sample::select(&[Wide, Equal, Sparse][..]),
        2 => proptest::sample::select(&[Tiny, Huge, Denormal][..]),
    ]
}

fn w_profile() -> impl Strategy<Value = Profile> {
    use Profile::*;
    prop_oneof![6 => Just(Normal), 2 => proptest::sample::select(&[Sparse, Equal, Denormal][..])]
}

/// Results lie within the bound of their format.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(cases_on::<Linear>(backend), |case| {
        within("linear", &case.bounds()?, &Linear::run(backend, case)?)
    })
}

/// int8 on whole numbers: channels up to 127, which is among them, and rows over a range of 254, both ends among them and
/// each with a zero point of its own. Every scale is 1, sums stay below 2²⁴, and so nothing rounds. The result is that
/// of integer arithmetic, to the bit.
pub fn int8_sums_are_exact<B: SeqBackend>(backend: &B) -> Outcome {
    let shape = (1..=40usize, 1..=1000usize, width(), 0..1000u64);
    each(shape, |&(rows, input, output, seed)| {
        let case = Case {
            x: Profile::Integers,
            w: Profile::Integers,
            seed,
            ..Case::plain(rows, input, output)
        };
        let (x, mut w) = (integers_with_a_zero(&case), case.spec().parts[0].weight.to_f32());
        w.chunks_mut(input).for_each(|channel| channel[0] = 127.0);
        sums_are_exact(backend, Format::Int8, &case, &x, &w)
    })
}

/// int4 on weights that are levels times a power of two, and rows as in [`int8_sums_are_exact`]: no sum of any order is
/// rounded.
pub fn int4_sums_are_exact<B: SeqBackend>(backend: &B) -> Outcome {
    let shape = (1..=40usize, 1..=400usize, width(), 0..1000u64);
    each(shape, |&(rows, input, output, seed)| {
        let case = Case { x: Profile::Integers, seed, ..Case::plain(rows, input, output) };
        let mut random = Random::new(seed + 1);
        let mut w = vec![0.0; output * input];
        for group in w.chunks_mut(input).flat_map(|channel| channel.chunks_mut(group::GROUP)) {
            let scale = [1.0, 2.0, -1.0][random.below(3)];
            group.iter_mut().for_each(|w| *w = scale * f32::from(group::LEVELS[random.below(16)]));
            // Two levels of which one is a prime above the others fix the scale; a weight alone may be any level.
            match group {
                [] => {}
                [alone] => *alone = 0.0,
                [first, .., last] => {
                    *first = scale * f32::from(group::LEVELS[0]);
                    *last = scale * f32::from(group::LEVELS[1 + random.below(7)]);
                }
            }
        }
        sums_are_exact(backend, Format::Int4, &case, &integers_with_a_zero(&case), &w)
    })
}

/// f16 on weights that are f16 numbers, however they are given: the bits of f32.
pub fn f16_gives_the_bits_of_f32<B: SeqBackend>(backend: &B) -> Outcome {
    if !backend.formats().contains(&Format::F16) {
        return Ok(());
    }
    each(Linear::cases(), |case| {
        let f32 = Case { format: Format::F32, dtype: DType::F16, ..case.clone() };
        let expected = Linear::run(backend, &f32)?;
        let f16 = Case { format: Format::F16, ..f32 };
        bits("f16 of f16", &expected, &Linear::run(backend, &f16)?)?;
        // The same numbers, given as f32.
        let mut spec = f16.spec();
        for part in &mut spec.parts {
            part.weight = map(&part.weight, |w| w)?;
        }
        let layer = backend.pack(&spec, Format::F16)?;
        let got = Prepared { layer, ..Linear::prepare(backend, &f16)? }.run(backend)?;
        bits("f16 of f32", &expected, &backend.download(&got)?)
    })
}

/// Rows of whole numbers over a range of 254, each with a zero point of its own.
fn integers_with_a_zero(case: &Case) -> Vec<f32> {
    let (mut x, input) = (case.x().to_f32(), case.input);
    let mut random = Random::new(case.seed);
    for row in x.chunks_mut(input) {
        // A single value is the end on one side of zero.
        let zero = [0, 127, 254, random.below(255)][random.below(4)];
        let zero = if input == 1 { 0.0 } else { zero as f32 };
        row.iter_mut().for_each(|v| *v = (*v + 127.0) - zero);
        row[0] = -zero;
        row[input - 1] = 254.0 - zero;
    }
    x
}

/// The layer of `w` gives what integers give, to the bit.
fn sums_are_exact<B: Backend>(
    backend: &B,
    format: Format,
    case: &Case,
    x: &[f32],
    w: &[f32],
) -> Outcome {
    let (input, output) = (case.input, case.output());
    let weight = tensor(DType::F32, vec![output, input], w);
    let layer = backend.pack(&LinearSpec::single(weight, None), format)?;
    let got = on_host(backend, &host(case.rows, input, x), |x| {
        backend.linear(x, &layer, Epilogue::NONE)
    })?;
    let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>();
    let sums: Vec<f32> =
        x.chunks(input).flat_map(|x| w.chunks(input).map(move |w| dot(x, w))).collect();
    bits(&format!("{format} sums"), &sums, &got)
}

/// Each activation on its own, at points where the product is exact: its stated error and nothing else.
pub fn activations_match<B: SeqBackend>(backend: &B) -> Outcome {
    let mut points = vec![0.0, -0.0, 1e-40, -1e-40, 1e30, -1e30, 3e38, -3e38];
    points.extend((-30..8).flat_map(|e| [1.0, -1.0, 1.37, -1.37].map(|m: f32| m * 2f32.powi(e))));
    points.extend((-400..=400).map(|i| i as f32 / 40.0));
    // Not minus infinity: IEEE 754 makes its product with a vanished gate NaN, the limit is 0, and either will do.
    points.extend([f32::INFINITY, f32::NAN]);
    let identity = LinearSpec::single(host(1, 1, &[1.0]), None);
    let layer = backend.pack(&identity, Format::F32)?;
    let x = host(points.len(), 1, &points);
    for activation in ACTIVATIONS {
        let got =
            on_host(backend, &x, |x| backend.linear(x, &layer, Epilogue::activation(activation)))?;
        let bounds: Vec<Approx> =
            points.iter().map(|&p| Approx::exact(p).activated(activation)).collect();
        within(&format!("{activation:?}"), &bounds, &got)?;
    }
    Ok(())
}

/// Any run of rows by itself gives the bits that it gives among the others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each((cases_on::<Linear>(backend), any::<prop::sample::Index>()), |(case, at)| {
        let m = case.output();
        let whole = Linear::run(backend, case)?;
        let cut = at.index(case.rows + 1);
        for rows in [0..cut, cut..case.rows, cut..(cut + 1).min(case.rows)] {
            let part = case.prepare_rows(backend, rows.clone())?.run(backend)?;
            let expected = &whole[rows.start * m..rows.end * m];
            bits(&format!("rows {rows:?} alone"), expected, &backend.download(&part)?)?;
        }
        Ok(())
    })
}

/// A row that holds NaN gives NaN in every column (int8, int4: infinity too), and leaves the other rows alone.
pub fn propagates_nan<B: SeqBackend>(backend: &B) -> Outcome {
    let place = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let bad = proptest::sample::select(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY][..]);
    each((cases_on::<Linear>(backend), place, bad), |(case, (row, column), bad)| {
        if case.rows == 0 {
            return Ok(());
        }
        let (row, m) = (row.index(case.rows), case.output());
        let mut x = case.x().to_f32();
        x[row * case.input + column.index(case.input)] = *bad;
        let x = backend.upload(&host(case.rows, case.input, &x))?;
        let got = Prepared { x, ..Linear::prepare(backend, case)? }.run(backend)?;
        let got = backend.download(&got)?;
        let mut expected = Linear::run(backend, case)?;
        if bad.is_nan() || case.format.quantises_rows() {
            expected[row * m..][..m].fill(f32::NAN);
        } else {
            // An infinite sum may come out of an activation as NaN or as its limit. The other rows must not notice.
            expected[row * m..][..m].copy_from_slice(&got[row * m..][..m]);
        }
        bits(&format!("{bad} in row {row}"), &expected, &got)
    })
}
