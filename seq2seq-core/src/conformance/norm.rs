//! LayerNorm and RMSNorm.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::norm, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! norm::matches_reference(&backend)?;
//! norm::is_batch_invariant(&backend)?;
//! norm::propagates_nan(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Backend, DType, NormKind, reference::Reference};
//! use seq2seq_core::conformance::{Op, norm::{Case, Norm}, values::Profile};
//!
//! // RMSNorm of two heads of 8 columns in each of three rows.
//! let case = Case {
//!     rows: 3, width: 8, runs: 2, kind: NormKind::Rms, eps: 1e-6, bias: false, dtype: DType::BF16, x: Profile::Wide, seed: 1,
//! };
//! let (norm, x) = (Reference.norm_weights(&case.spec())?, Reference.upload(&case.x())?);
//! assert_eq!(Norm::run(&Reference, &case)?, Reference.download(&Reference.norm(&x, &norm)?)?);
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::tolerance::Approx;
use super::values::{Profile, tensor, values};
use super::{
    Cases, Op, Outcome, Timed, bits, each, host, on_host, rows_of, run_timed, width, within,
};
use crate::{Backend, DType, HostTensor, NormKind, NormSpec, Result, SeqBackend};
use proptest::prelude::*;

/// One normalisation and its input.
#[derive(Debug, Clone)]
pub struct Case {
    /// N
    pub rows: usize,
    /// M
    pub width: usize,
    /// Runs of M columns in a row.
    pub runs: usize,
    /// Which.
    pub kind: NormKind,
    /// Added to the variance.
    pub eps: f32,
    /// Whether LayerNorm has a bias.
    pub bias: bool,
    /// What the weights come in.
    pub dtype: DType,
    /// The activations. Squares must not overflow f32: not [`Profile::Huge`].
    pub x: Profile,
    /// Of all values.
    pub seed: u64,
}

impl Case {
    /// The weights.
    pub fn spec(&self) -> NormSpec {
        let read =
            |seed| tensor(self.dtype, vec![self.width], &values(Profile::Normal, seed, self.width));
        let bias = self.bias && self.kind == NormKind::Layer;
        NormSpec {
            kind: self.kind,
            eps: self.eps,
            weight: read(self.seed + 1),
            bias: bias.then(|| read(self.seed + 2)),
        }
    }

    /// `[N, runs · M]`
    pub fn x(&self) -> HostTensor {
        let width = self.runs * self.width;
        host(self.rows, width, &values(self.x, self.seed, self.rows * width))
    }

    /// The formula of the definition, in running error analysis: mean, deviations from it, their mean square.
    fn bounds(&self) -> Vec<Approx> {
        let spec = self.spec();
        let weight = spec.weight.to_f32();
        let bias = spec.bias.map(|b| b.to_f32());
        let run = |x: &[f32]| -> Vec<Approx> {
            let x: Vec<Approx> = x.iter().map(|&v| Approx::exact(v)).collect();
            let centred: Vec<Approx> = match self.kind {
                NormKind::Layer => {
                    let mean = Approx::sum(&x).over(self.width);
                    x.iter().map(|v| v.minus(mean)).collect()
                }
                NormKind::Rms => x,
            };
            let squares: Vec<Approx> = centred.iter().map(|d| d.times(*d)).collect();
            let variance = Approx::sum(&squares).over(self.width);
            let inverse = variance.plus(Approx::exact(self.eps)).rsqrt();
            let element = |(i, d): (usize, &Approx)| {
                let y = d.times(inverse).times(Approx::exact(weight[i]));
                bias.as_ref().map_or(y, |b| y.plus(Approx::exact(b[i])))
            };
            centred.iter().enumerate().map(element).collect()
        };
        self.x().to_f32().chunks(self.width).flat_map(run).collect()
    }
}

/// [`Backend::norm`].
pub struct Norm;

impl Op for Norm {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        run_timed::<B, Self>(backend, case)
    }
}

impl Cases for Norm {
    fn cases() -> BoxedStrategy<Case> {
        let kind = proptest::sample::select(&[NormKind::Layer, NormKind::Rms][..]);
        let eps = proptest::sample::select(&[1e-5f32, 1e-6, 1e-12][..]);
        let dtype = proptest::sample::select(&[DType::F32, DType::F16, DType::BF16][..]);
        use Profile::*;
        let x = prop_oneof![
            5 => Just(Normal),
            5 => proptest::sample::select(&[Wide, Equal, Sparse, Tiny, Denormal][..]),
        ];
        let width = prop_oneof![10 => width(), 1 => Just(768usize)];
        let runs = prop_oneof![2 => Just(1usize), 1 => 2..=5usize];
        (0..=20usize, width, runs, kind, eps, any::<bool>(), dtype, x, 0..1000u64)
            .prop_map(|(rows, width, runs, kind, eps, bias, dtype, x, seed)| Case {
                rows,
                width,
                runs,
                kind,
                eps,
                bias,
                dtype,
                x,
                seed,
            })
            .boxed()
    }
}

impl Timed for Norm {
    const NAME: &'static str = "norm";
    type Prepared<B: SeqBackend> = (B::Tensor, B::Norm);
    type Output<B: SeqBackend> = B::Tensor;

    fn real() -> Vec<(String, Case)> {
        let case = |kind, width, rows| Case {
            rows,
            width,
            runs: 1,
            kind,
            eps: 1e-6,
            bias: true,
            dtype: DType::F32,
            x: Profile::Normal,
            seed: 1,
        };
        let named = |rows| {
            [
                (format!("bert-base, {rows} rows"), case(NormKind::Layer, 768, rows)),
                (format!("tinyllama, {rows} rows"), case(NormKind::Rms, 2048, rows)),
            ]
        };
        let heads = |rows| {
            let name = format!("qwen3-0.6b, queries of {rows} rows");
            (name, Case { runs: 16, ..case(NormKind::Rms, 128, rows) })
        };
        [1, 128].into_iter().flat_map(|rows| named(rows).into_iter().chain([heads(rows)])).collect()
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Self::Prepared<B>> {
        Ok((backend.upload(&case.x())?, backend.norm_weights(&case.spec())?))
    }

    fn call<B: SeqBackend>(backend: &B, (x, norm): &mut Self::Prepared<B>) -> Result<B::Tensor> {
        backend.norm(x, norm)
    }
}

fn run_on<B: Backend>(backend: &B, case: &Case, x: &HostTensor) -> Result<Vec<f32>> {
    let norm = backend.norm_weights(&case.spec())?;
    on_host(backend, x, |x| backend.norm(x, &norm))
}

/// Results lie within the bound of the formula.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(Norm::cases(), |case| within("norm", &case.bounds(), &Norm::run(backend, case)?))
}

/// A row alone gives the bits that it gives among the others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(Norm::cases(), |case| {
        let (x, whole) = (case.x(), Norm::run(backend, case)?);
        for (n, expected) in whole.chunks(case.runs * case.width).enumerate() {
            let got = run_on(backend, case, &rows_of(&x, [n]))?;
            bits(&format!("row {n} alone"), expected, &got)?;
        }
        Ok(())
    })
}

/// A run that holds NaN becomes NaN; the others stay as they are.
pub fn propagates_nan<B: SeqBackend>(backend: &B) -> Outcome {
    each((Norm::cases(), any::<prop::sample::Index>()), |(case, at)| {
        if case.rows == 0 {
            return Ok(());
        }
        let width = case.runs * case.width;
        let at = at.index(case.rows * width);
        let mut x = case.x().to_f32();
        x[at] = f32::NAN;
        let mut expected = Norm::run(backend, case)?;
        let run = at / case.width * case.width;
        expected[run..run + case.width].fill(f32::NAN);
        bits("norm", &expected, &run_on(backend, case, &host(case.rows, width, &x))?)
    })
}
