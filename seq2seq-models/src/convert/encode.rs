//! Weights as they are stored.

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, stored, writer::TensorInfo},
};
use half::{bf16, f16};
use seq2seq_core::{
    DType, Format, HostTensor, LinearPart, LinearSpec,
    backend::check,
    quant::{self, group},
};
use std::{iter::StepBy, ops::Range};

/// One tensor of the file to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) tensor: TensorInfo,
    pub(super) content: Content,
    /// The tensor that it is made from.
    pub(super) source: String,
}

/// What an entry holds of its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Content {
    /// Its bytes.
    Same,
    /// Its values in bf16 or f16, which the entry is of.
    Rounded,
    /// Its values in integers.
    Quantised(stored::Matrix),
    /// The scales of its integers, which are written with them.
    Scales,
}

impl Entry {
    /// Its name in the file.
    pub(super) fn name(&self) -> &str {
        &self.tensor.name
    }

    /// Bytes of the entry.
    pub(super) fn bytes(&self) -> usize {
        self.tensor.bytes()
    }

    /// The entries of a matrix of a linear layer under `name`.
    pub(super) fn linear(
        checkpoint: &Checkpoint,
        source: &str,
        name: String,
        matrix: stored::Matrix,
    ) -> Result<Vec<Self>> {
        let tensor = tensor(checkpoint, source)?;
        // What no backend would pack is not worth storing.
        let part = LinearPart { weight: tensor.clone(), bias: None, transposed: matrix.transposed };
        let spec = LinearSpec { parts: vec![part], gated: false, scale: 1.0 };
        check::pack(&spec, matrix.format)?;
        let dtype = matrix.dtype().unwrap_or(tensor.dtype());
        let content = match dtype {
            _ if tensor.dtype() == dtype => Content::Same,
            DType::BF16 | DType::F16 => Content::Rounded,
            _ => Content::Quantised(matrix),
        };
        let source = source.to_owned();
        let scales = matrix.scales().map(|(dtype, shape)| Self {
            tensor: TensorInfo { name: stored::scale_name(&name), dtype, shape },
            content: Content::Scales,
            source: source.clone(),
        });
        let shape = matrix.stored_shape().to_vec();
        let values = Self { tensor: TensorInfo { name, dtype, shape }, content, source };
        Ok(std::iter::once(values).chain(scales).collect())
    }

    /// A tensor as it is.
    pub(super) fn same(checkpoint: &Checkpoint, name: &str) -> Result<Self> {
        let tensor = tensor(checkpoint, name)?;
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        let (name, source) = (name.to_owned(), name.to_owned());
        let tensor = TensorInfo { name, dtype, shape };
        Ok(Self { tensor, content: Content::Same, source })
    }

    /// Hands the bytes that stand in the file to `write`, bit by bit. Gives those of the scales that belong to them, which
    /// are none where the entry is no integers.
    pub(super) fn write(
        &self,
        checkpoint: &Checkpoint,
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let tensor = tensor(checkpoint, &self.source)?;
        match self.content {
            Content::Same => write(tensor.bytes()).map(|()| Vec::new()),
            Content::Rounded => self.rounded(checkpoint, &tensor, write).map(|()| Vec::new()),
            Content::Quantised(matrix) => self.quantised(checkpoint, &tensor, matrix, write),
            // Its matrix gives them.
            Content::Scales => Ok(Vec::new()),
        }
    }

    /// bf16 or f16, nearest, ties to even.
    fn rounded(
        &self,
        checkpoint: &Checkpoint,
        tensor: &HostTensor,
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        const RUN: usize = 4096;
        let format = if self.tensor.dtype == DType::F16 { Format::F16 } else { Format::Bf16 };
        let (mut values, mut bytes) = ([0.0; RUN], Vec::with_capacity(2 * RUN));
        for from in (0..tensor.len()).step_by(RUN) {
            let run = &mut values[..RUN.min(tensor.len() - from)];
            tensor.read_f32(from, run);
            bytes.clear();
            for (i, &value) in run.iter().enumerate() {
                match round(format, value) {
                    Some(rounded) => bytes.extend(rounded),
                    None => return Err(self.no_place(checkpoint, (from + i, value), format)),
                }
            }
            write(&bytes)?;
        }
        Ok(())
    }

    /// Integers, and the bytes of their scales.
    fn quantised(
        &self,
        checkpoint: &Checkpoint,
        tensor: &HostTensor,
        matrix: stored::Matrix,
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let values = tensor.to_f32();
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(self.no_place(checkpoint, (at, values[at]), matrix.format));
        }
        let (inputs, mut of_all) = (matrix.inputs(), Vec::new());
        if matrix.format == Format::Int4 {
            let (mut codes, mut scales) = (vec![0; inputs], vec![0.0; group::groups(inputs)]);
            channels(&values, matrix, |_, channel| {
                group::quantise(channel, &mut codes, &mut scales);
                of_all.extend(scales.iter().flat_map(|&s| bf16::from_f32(s).to_le_bytes()));
                write(&stored::pack_codes(&codes).collect::<Vec<_>>())
            })?;
        } else {
            let (mut integers, mut narrow) = (vec![0; values.len()], vec![0; inputs]);
            channels(&values, matrix, |places, channel| {
                of_all.extend(quant::channel::quantise(channel, &mut narrow).to_le_bytes());
                places.zip(&narrow).for_each(|(at, &q)| integers[at] = q as u8);
                Ok(())
            })?;
            write(&integers)?;
        }
        Ok(of_all)
    }

    /// The error for an element that is no number, or none in the format.
    fn no_place(
        &self,
        checkpoint: &Checkpoint,
        (at, value): (usize, f32),
        format: Format,
    ) -> Error {
        let (path, tensor) = (checkpoint.path_of(&self.source), self.source.clone());
        match value.is_finite() {
            false => Error::TensorValue { path, tensor, at, value },
            true => Error::TensorRange { path, tensor, at, value, format },
        }
    }
}

/// A value in bf16 or f16 as it is stored; `None` where it is infinite there, or no number.
fn round(format: Format, value: f32) -> Option<[u8; 2]> {
    if format == Format::F16 {
        let rounded = f16::from_f32(value);
        return rounded.is_finite().then(|| rounded.to_le_bytes());
    }
    let rounded = bf16::from_f32(value);
    rounded.is_finite().then(|| rounded.to_le_bytes())
}

/// Calls `each` with the places of every output channel in the tensor and the weights there.
fn channels(
    values: &[f32],
    matrix: stored::Matrix,
    mut each: impl FnMut(StepBy<Range<usize>>, &[f32]) -> Result<()>,
) -> Result<()> {
    let (outputs, inputs) = (matrix.outputs(), matrix.inputs());
    let mut channel = vec![0.0; inputs];
    for output in 0..outputs {
        let places = match matrix.transposed {
            true => (output..values.len()).step_by(outputs),
            false => (output * inputs..(output + 1) * inputs).step_by(1),
        };
        places.clone().zip(&mut channel).for_each(|(at, v)| *v = values[at]);
        each(places, &channel)?;
    }
    Ok(())
}

fn tensor(checkpoint: &Checkpoint, name: &str) -> Result<HostTensor> {
    checkpoint.tensor(name)?.ok_or_else(|| {
        let (path, tensor) = (checkpoint.path_of(name), name.to_owned());
        Error::TensorMissing { path, tried: tensor.clone(), tensor }
    })
}
