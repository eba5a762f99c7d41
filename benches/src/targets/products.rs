//! Linear layers of T5-base, BERT-base and TinyLlama in bf16, alone and with what follows them, and whole feed-forward halves.
//!
//! Rows come in f32 and go in f32, as they do in a model: a backend that multiplies bf16 rounds them, which counts. (The halves
//! keep what lies between their layers in whatever they like.)

use super::Size;
use crate::bench::{Bench, Call};
use crate::training::data;
use crate::work::{Counted, F32, Work};
use seq2seq_core::conformance::Timed;
use seq2seq_core::conformance::linear::{Case, Linear};
use seq2seq_core::train::TrainBackend;
use seq2seq_core::{Activation, Epilogue, Format, LinearPart, LinearSpec, Result};

/// A layer with each number of rows.
fn with_rows(size: &Size, (name, case): (&str, &Case)) -> [(String, Case); 4] {
    size.rows.map(|rows| (format!("{name}, {rows} rows"), Case { rows, ..case.clone() }))
}

/// Columns of the result.
fn output(case: &Case) -> usize {
    case.parts.iter().sum::<usize>() / if case.gated { 2 } else { 1 }
}

/// Numbers that are made in no time, however many.
fn pack<B: TrainBackend>(backend: &B, case: &Case, seed: u64) -> Result<B::Linear> {
    let part = |(i, &width): (usize, &usize)| {
        let (seed, deviation) = (seed + 2 * i as u64, (case.input as f32).sqrt().recip());
        let bias = || data::host(seed + 1, [width], 0.1);
        Ok(LinearPart {
            weight: data::host(seed, [width, case.input], deviation)?,
            bias: case.bias.then(bias).transpose()?,
            transposed: false,
        })
    };
    let parts = case.parts.iter().enumerate().map(part).collect::<Result<_>>()?;
    backend.pack(&LinearSpec { parts, gated: case.gated, scale: case.scale }, case.format)
}

fn residual<B: TrainBackend>(backend: &B, case: &Case) -> Result<Option<B::Tensor>> {
    let rows = || data::rows(backend, 3, [case.rows, output(case)]);
    case.residual.then(rows).transpose()
}

fn epilogue<'a, T>(case: &Case, residual: Option<&'a T>) -> Epilogue<'a, T> {
    Epilogue { activation: case.activation, residual, ..Epilogue::NONE }
}

/// Products alone, as queries, keys and values have them, and each with what follows it in its model.
fn layers(part: usize) -> Vec<(&'static str, Case)> {
    let (m, f) = (768 / part, 3072 / part);
    let (wide, key, half) = (2048 / part, 256 / part, 5632 / part);
    let plain = |input, parts| Case {
        parts,
        bias: false,
        format: Format::Bf16,
        ..Case::plain(0, input, 0)
    };
    let added = |case: Case| Case { residual: true, ..case };
    let then = |activation, case| Case { activation: Some(activation), ..case };
    let biased = |case: Case| Case { bias: true, ..case };
    let gate = Case { gated: true, ..plain(wide, vec![half; 2]) };
    vec![
        ("t5-base qkv", plain(m, vec![m; 3])),
        ("t5-base output", plain(m, vec![m])),
        ("t5-base up", plain(m, vec![f])),
        ("t5-base down", plain(f, vec![m])),
        ("tinyllama qkv", plain(wide, vec![wide, key, key])),
        ("tinyllama output", plain(wide, vec![wide])),
        ("tinyllama gate and up", plain(wide, vec![2 * half])),
        ("tinyllama down", plain(half, vec![wide])),
        ("t5-base up, relu", then(Activation::Relu, plain(m, vec![f]))),
        ("bert-base up, gelu", biased(then(Activation::Gelu, plain(m, vec![f])))),
        ("bert-base output, added", biased(added(plain(m, vec![m])))),
        ("bert-base down, added", biased(added(plain(f, vec![m])))),
        ("tinyllama output, added", added(plain(wide, vec![wide]))),
        ("tinyllama gate and up, silu", then(Activation::Silu, gate)),
        ("tinyllama down, added", added(plain(half, vec![wide]))),
    ]
}

/// One layer: what the suite's [`Linear`] does, with numbers of its own.
pub struct Product;

impl Product {
    /// Each layer with each number of rows.
    pub fn cases(size: &Size) -> Vec<(String, Case)> {
        let all = layers(size.part);
        all.iter().flat_map(|(name, case)| with_rows(size, (name, case))).collect()
    }

    /// Whether it is a product and no more, bias aside.
    pub fn is_plain(case: &Case) -> bool {
        !case.gated && case.activation.is_none() && !case.residual
    }
}

impl Bench for Product {
    const NAME: &'static str = <Linear as Timed>::NAME;
    type Case = Case;

    fn work(case: &Case) -> Work {
        <Linear as Counted>::work(case)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, case) = (backend.clone(), case.clone());
        let x = data::rows(&backend, 1, [case.rows, case.input])?;
        let (layer, added) = (pack(&backend, &case, 10)?, residual(&backend, &case)?);
        Ok(Box::new(move || backend.linear(&x, &layer, epilogue(&case, added.as_ref())).map(drop)))
    }
}

/// The two layers of a feed-forward half.
#[derive(Debug, Clone)]
pub struct HalvesCase {
    /// The one in front, with its activation.
    pub inner: Case,
    /// To which the rows in front are added.
    pub outer: Case,
}

impl HalvesCase {
    /// Those of BERT-base and TinyLlama with each number of rows.
    pub fn all(size: &Size) -> Vec<(String, Self)> {
        let layers = layers(size.part);
        let find = |name: &str| {
            let found = layers.iter().find(|(found, _)| *found == name);
            found.map(|(_, case)| case.clone()).expect("one of the layers")
        };
        let rows = |(name, inner, outer): (&str, &str, &str)| {
            let outer = find(outer);
            with_rows(size, (name, &find(inner))).map(|(name, inner)| {
                let outer = Case { rows: inner.rows, ..outer.clone() };
                (name, Self { inner, outer })
            })
        };
        let models = [
            ("bert-base", "bert-base up, gelu", "bert-base down, added"),
            ("tinyllama", "tinyllama gate and up, silu", "tinyllama down, added"),
        ];
        models.into_iter().flat_map(rows).collect()
    }
}

/// Two layers in one call.
pub struct Halves;

/// What lies between them is nobody's business, and not counted.
impl Bench for Halves {
    const NAME: &'static str = "feed_forward";
    type Case = HalvesCase;

    fn work(HalvesCase { inner, outer }: &HalvesCase) -> Work {
        let both = [inner, outer].map(<Linear as Counted>::work);
        let between = 2 * F32 * outer.rows * outer.input;
        Work {
            operations: both.iter().map(|work| work.operations).sum(),
            bytes: both.iter().map(|work| work.bytes).sum::<usize>() - between,
            ..both[0]
        }
    }

    fn prepare<B: TrainBackend>(
        backend: &B,
        HalvesCase { inner, outer }: &HalvesCase,
    ) -> Result<Call> {
        let (backend, inner, outer) = (backend.clone(), inner.clone(), outer.clone());
        let x = data::rows(&backend, 1, [inner.rows, inner.input])?;
        let layers = [pack(&backend, &inner, 10)?, pack(&backend, &outer, 20)?];
        let added = residual(&backend, &outer)?;
        Ok(Box::new(move || {
            let epilogues = [epilogue(&inner, None), epilogue(&outer, added.as_ref())];
            backend.feed_forward(&x, layers.each_ref(), epilogues).map(drop)
        }))
    }
}
