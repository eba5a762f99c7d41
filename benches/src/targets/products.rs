//! Linear layers of T5-base, BERT-base and TinyLlama in bf16, alone and with what follows them, and whole feed-forward halves.
//!
//! Rows come in f32 and go in f32, as they do in a model: a backend that multiplies bf16 rounds them, which counts. (The halves
//! keep what lies between their layers in whatever they like.)

use super::Size;
use crate::bench::{Bench, Call};
use crate::training::data;
use crate::work::{F32, Work};
use seq2seq_core::train::TrainBackend;
use seq2seq_core::{Activation, Epilogue, Format, LinearPart, LinearSpec, Result};

/// A layer over N rows.
#[derive(Debug, Clone)]
pub struct Case {
    /// N
    pub rows: usize,
    /// Columns of x.
    pub input: usize,
    /// Columns of each part; the first of a gated layer is the gate.
    pub parts: Vec<usize>,
    /// Whether the result is act(gate) · up.
    pub gated: bool,
    /// Whether there is a bias.
    pub bias: bool,
    /// Of the product, or of the gate.
    pub activation: Option<Activation>,
    /// Whether rows are added.
    pub residual: bool,
}

impl Case {
    /// Each layer with each number of rows.
    pub fn all(size: &Size) -> Vec<(String, Self)> {
        let rows = |(name, case): (&str, Self)| {
            size.rows.map(|rows| (format!("{name}, {rows} rows"), Self { rows, ..case.clone() }))
        };
        layers(size.part).into_iter().flat_map(rows).collect()
    }

    fn plain(input: usize, parts: Vec<usize>) -> Self {
        Self { rows: 0, input, parts, gated: false, bias: false, activation: None, residual: false }
    }

    fn product(&self) -> usize {
        self.parts.iter().sum()
    }

    /// Columns of the result.
    fn output(&self) -> usize {
        if self.gated { self.product() / 2 } else { self.product() }
    }

    /// Whether it is a product and no more, bias aside.
    pub fn is_plain(&self) -> bool {
        !self.gated && self.activation.is_none() && !self.residual
    }

    fn pack<B: TrainBackend>(&self, backend: &B, seed: u64) -> Result<B::Linear> {
        let part = |(i, &width): (usize, &usize)| {
            let (seed, deviation) = (seed + 2 * i as u64, (self.input as f32).sqrt().recip());
            let bias = || data::host(seed + 1, [width], 0.1);
            Ok(LinearPart {
                weight: data::host(seed, [width, self.input], deviation)?,
                bias: self.bias.then(bias).transpose()?,
                transposed: false,
            })
        };
        let parts = self.parts.iter().enumerate().map(part).collect::<Result<_>>()?;
        backend.pack(&LinearSpec { parts, gated: self.gated, scale: 1.0 }, Format::Bf16)
    }

    fn residual<B: TrainBackend>(&self, backend: &B) -> Result<Option<B::Tensor>> {
        let rows = || data::rows(backend, 3, [self.rows, self.output()]);
        self.residual.then(rows).transpose()
    }

    fn epilogue<'a, T>(&self, residual: Option<&'a T>) -> Epilogue<'a, T> {
        Epilogue { activation: self.activation, residual, ..Epilogue::NONE }
    }

    /// Those of the product and of each step of the epilogue on each result.
    fn operations(&self) -> usize {
        let [bias, activation, gated, residual] =
            [self.bias, self.activation.is_some(), self.gated, self.residual].map(usize::from);
        let epilogue = bias * self.product() + (activation + gated + residual) * self.output();
        self.rows * (2 * self.input * self.product() + epilogue)
    }

    fn weights(&self) -> usize {
        let biases = if self.bias { F32 * self.product() } else { 0 };
        Format::Bf16.bytes(self.product(), self.input) + biases
    }
}

/// Products alone, as queries, keys and values have them, and each with what follows it in its model.
fn layers(part: usize) -> Vec<(&'static str, Case)> {
    let (m, f) = (768 / part, 3072 / part);
    let (wide, key, half) = (2048 / part, 256 / part, 5632 / part);
    let plain = Case::plain;
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

/// One layer.
pub struct Product;

/// As those of the suite: everything is read once and written once, rows in f32.
impl Bench for Product {
    const NAME: &'static str = "linear";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let columns = case.input + case.output() * (1 + usize::from(case.residual));
        let bytes = case.weights() + F32 * case.rows * columns;
        Work { operations: case.operations(), bytes, format: Format::Bf16 }
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, case) = (backend.clone(), case.clone());
        let x = data::rows(&backend, 1, [case.rows, case.input])?;
        let (layer, residual) = (case.pack(&backend, 10)?, case.residual(&backend)?);
        Ok(Box::new(move || backend.linear(&x, &layer, case.epilogue(residual.as_ref())).map(drop)))
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
            let (inner, outer) = (find(inner), find(outer));
            size.rows.map(|rows| {
                let inner = Case { rows, ..inner.clone() };
                (
                    format!("{name}, {rows} rows"),
                    Self { inner, outer: Case { rows, ..outer.clone() } },
                )
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
        Work {
            operations: inner.operations() + outer.operations(),
            bytes: inner.weights()
                + outer.weights()
                + F32 * inner.rows * (inner.input + 2 * outer.output()),
            format: Format::Bf16,
        }
    }

    fn prepare<B: TrainBackend>(
        backend: &B,
        HalvesCase { inner, outer }: &HalvesCase,
    ) -> Result<Call> {
        let (backend, inner, outer) = (backend.clone(), inner.clone(), outer.clone());
        let x = data::rows(&backend, 1, [inner.rows, inner.input])?;
        let layers = [inner.pack(&backend, 10)?, outer.pack(&backend, 20)?];
        let residual = outer.residual(&backend)?;
        Ok(Box::new(move || {
            let epilogues = [inner.epilogue(None), outer.epilogue(residual.as_ref())];
            backend.feed_forward(&x, layers.each_ref(), epilogues).map(drop)
        }))
    }
}
