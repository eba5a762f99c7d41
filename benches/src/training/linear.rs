//! Linear layers: packing, forward with what is kept, and back.

use super::{DROPOUT, DROPPING, Size, Training, data};
use crate::bench::{Bench, Call};
use crate::work::{F32, Work};
use seq2seq_core::train::{
    LinearBackward as Of, LinearGradients, MasterPart, Masters, TrainBackend, TrainEpilogue,
};
use seq2seq_core::{Activation, Format, Result};

/// A layer over N rows.
#[derive(Debug, Clone)]
pub(super) struct Case {
    rows: usize,
    input: usize,
    /// Outputs of each matrix.
    parts: Vec<usize>,
    bias: bool,
    gated: bool,
    activation: Option<Activation>,
    /// Of what comes out.
    dropout: bool,
    residual: bool,
    format: Format,
}

impl Case {
    fn plain(rows: usize, input: usize, parts: Vec<usize>) -> Self {
        Self {
            rows,
            input,
            parts,
            bias: false,
            gated: false,
            activation: None,
            dropout: false,
            residual: false,
            format: Format::F32,
        }
    }

    fn product(&self) -> usize {
        self.parts.iter().sum()
    }

    fn output(&self) -> usize {
        if self.gated { self.product() / 2 } else { self.product() }
    }

    /// Columns of the sums that the way back needs.
    fn kept(&self) -> usize {
        if self.gated || self.activation.is_some() { self.product() } else { 0 }
    }

    /// Bytes of the layer as it is held.
    fn weights(&self) -> usize {
        self.format.bytes(self.product(), self.input) + F32 * self.biases()
    }

    /// Values of all biases.
    fn biases(&self) -> usize {
        if self.bias { self.product() } else { 0 }
    }

    /// Values of matrices and biases: of the masters, and of their gradients.
    fn masters(&self) -> usize {
        self.product() * self.input + self.biases()
    }

    fn packing(&self) -> Work {
        Work { operations: 0, bytes: F32 * self.masters() + self.weights(), format: self.format }
    }

    fn epilogue<'a, T>(&self, residual: Option<&'a T>) -> TrainEpilogue<'a, T> {
        let dropout = self.dropout.then_some(DROPOUT);
        TrainEpilogue { activation: self.activation, dropout, residual }
    }
}

/// Each layer in both formats.
fn in_formats(layers: Vec<(&str, Case)>) -> Vec<(String, Case)> {
    let in_format = |format: Format| {
        let layers = layers.iter();
        layers.map(move |(name, case)| {
            (format!("{name}, {} rows, {format}", case.rows), Case { format, ..case.clone() })
        })
    };
    Format::TRAINED.into_iter().flat_map(in_format).collect()
}

/// The layers of a step: each of one shape and epilogue once. Logits are those of a decoder.
fn layers(size: &Size) -> Vec<(&'static str, Case)> {
    let (rows, m, f) = (size.rows(), size.width, size.feed_forward);
    let added = |input| Case {
        bias: true,
        dropout: true,
        residual: true,
        ..Case::plain(rows, input, vec![m])
    };
    let up =
        Case { bias: true, activation: Some(Activation::Gelu), ..Case::plain(rows, m, vec![f]) };
    // T5 v1.1's feed-forward layers are two thirds as wide, and have a gate.
    let gated = Case {
        gated: true,
        activation: Some(Activation::GeluTanh),
        dropout: true,
        ..Case::plain(rows, m, vec![2 * f / 3; 2])
    };
    vec![
        ("t5-base qkv", Case::plain(rows, m, vec![m; 3])),
        ("bert-base output", added(m)),
        ("bert-base up", up),
        ("bert-base down", added(f)),
        ("t5-v1.1-base gate and up", gated),
        ("t5-base vocabulary", Case::plain(size.target_rows(), m, vec![size.vocabulary])),
    ]
}

/// Layers to be packed; rows are of no account.
fn packed(size: &Size, names: &[&str]) -> Vec<(String, Case)> {
    let in_format = |format: Format| {
        let chosen = layers(size).into_iter().filter(|(name, _)| names.contains(name));
        chosen.map(move |(name, case)| (format!("{name}, {format}"), Case { format, ..case }))
    };
    Format::TRAINED.into_iter().flat_map(in_format).collect()
}

/// Matrix and bias of each part on the device.
struct Held<B: TrainBackend> {
    parts: Vec<(B::Tensor, Option<B::Tensor>)>,
    gated: bool,
}

impl<B: TrainBackend> Held<B> {
    fn new(backend: &B, case: &Case) -> Result<Self> {
        let part = |(i, &out): (usize, &usize)| {
            let seed = 10 + 2 * i as u64;
            let weight = data::matrix(backend, seed, [out, case.input])?;
            let bias = case.bias.then(|| data::rows(backend, seed + 1, [1, out])).transpose()?;
            Ok((weight, bias))
        };
        let parts = case.parts.iter().enumerate().map(part).collect::<Result<_>>()?;
        Ok(Self { parts, gated: case.gated })
    }

    fn masters(&self) -> Masters<'_, B::Tensor> {
        Masters {
            parts: self
                .parts
                .iter()
                .map(|(weight, bias)| MasterPart { weight, bias: bias.as_ref(), transposed: false })
                .collect(),
            gated: self.gated,
            scale: 1.0,
        }
    }
}

/// A layer is packed when a model is made or read.
pub(super) struct PackMasters;

impl Training for PackMasters {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        packed(size, &["bert-base up"])
    }
}

/// Masters are read, and one layout is written.
impl Bench for PackMasters {
    const NAME: &'static str = "pack_masters";
    type Case = Case;

    fn work(case: &Case) -> Work {
        case.packing()
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, format, held) = (backend.clone(), case.format, Held::new(backend, case)?);
        Ok(Box::new(move || backend.pack_masters(&held.masters(), format).map(drop)))
    }
}

/// Once a step for every layer.
pub(super) struct Repack;

impl Training for Repack {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        packed(size, &["bert-base up", "t5-base vocabulary"])
    }
}

/// Masters are read, and one layout is written.
impl Bench for Repack {
    const NAME: &'static str = "repack";
    type Case = Case;

    fn work(case: &Case) -> Work {
        case.packing()
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, held) = (backend.clone(), Held::new(backend, case)?);
        let mut layer = backend.pack_masters(&held.masters(), case.format)?;
        Ok(Box::new(move || backend.repack(&mut layer, &held.masters())))
    }
}

/// What comes out, and what the way back needs.
pub(super) struct LinearForward;

impl Training for LinearForward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        in_formats(layers(size))
    }
}

/// That of [`linear`](seq2seq_core::Backend::linear); the sums are written where they are kept.
impl Bench for LinearForward {
    const NAME: &'static str = "linear_forward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let output = case.output();
        let [activation, gated, residual] =
            [case.activation.is_some(), case.gated, case.residual].map(usize::from);
        let dropping = if case.dropout { DROPPING } else { 0 };
        let epilogue = case.biases() + output * (activation + gated + dropping + residual);
        let values = case.input + output * (1 + residual) + case.kept();
        Work {
            operations: case.rows * (2 * case.input * case.product() + epilogue),
            bytes: case.weights() + F32 * case.rows * values,
            format: case.format,
        }
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, case) = (backend.clone(), case.clone());
        let layer = backend.pack_masters(&Held::new(&backend, &case)?.masters(), case.format)?;
        let x = data::rows(&backend, 1, [case.rows, case.input])?;
        let residual = data::rows(&backend, 2, [case.rows, case.output()])?;
        Ok(Box::new(move || {
            let epilogue = case.epilogue(case.residual.then_some(&residual));
            backend.linear_forward(&x, &layer, &epilogue, true).map(drop)
        }))
    }
}

/// Gradients of input, matrices and biases.
pub(super) struct LinearBackward;

impl Training for LinearBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        in_formats(layers(size))
    }
}

/// Two products, 4 · N · in · out. An element of dz is dy times the slope, two operations; with a gate, activation and slope and
/// three products for its two halves. A bias is a sum over the rows.
impl Bench for LinearBackward {
    const NAME: &'static str = "linear_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let output = case.output();
        let slope = match (case.activation, case.gated) {
            (_, true) => 5,
            (Some(_), false) => 2,
            (None, false) => 0,
        };
        let dropping = if case.dropout { DROPPING } else { 0 };
        let each = output * (slope + dropping) + case.biases();
        let values = 2 * case.input + output + case.kept();
        Work {
            operations: case.rows * (4 * case.input * case.product() + each),
            bytes: case.format.bytes(case.product(), case.input)
                + F32 * (case.rows * values + case.masters()),
            format: case.format,
        }
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, case) = (backend.clone(), case.clone());
        let layer = backend.pack_masters(&Held::new(&backend, &case)?.masters(), case.format)?;
        let x = data::rows(&backend, 1, [case.rows, case.input])?;
        let dy = data::rows(&backend, 2, [case.rows, case.output()])?;
        let (_, sums) = backend.linear_forward(&x, &layer, &case.epilogue(None), true)?;
        Ok(Box::new(move || {
            let TrainEpilogue { activation, dropout, .. } = case.epilogue::<B::Tensor>(None);
            let of = Of { x: &x, sums: sums.as_ref(), activation, dropout, dy: &dy };
            let mut dx = None;
            let mut weights: Vec<_> = case.parts.iter().map(|_| None).collect();
            let mut biases: Vec<_> = case.parts.iter().map(|_| None).collect();
            let wanted = weights.iter_mut().zip(&mut biases);
            let parts = wanted.map(|(w, b)| [Some(w), case.bias.then_some(b)]).collect();
            backend.linear_backward(&layer, &of, LinearGradients { x: Some(&mut dx), parts })
        }))
    }
}
