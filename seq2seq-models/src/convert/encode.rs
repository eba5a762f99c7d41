//! Weights as they are stored.

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, stored},
};
use half::bf16;
use seq2seq_core::{
    DType, Format, HostTensor, LinearPart, LinearSpec,
    backend::check,
    quant::{self, group},
};
use std::ops::Range;

/// One tensor of the file to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) content: Content,
    /// The tensor that it is made from.
    pub(super) source: String,
}

/// What an entry holds of its source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Content {
    /// Its bytes.
    Same,
    /// Its values, rounded or quantised.
    Values(stored::Matrix),
    /// The scales of its quantised values.
    Scales(stored::Matrix),
}

impl Entry {
    /// Bytes of the entry.
    pub(super) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
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
        let content = match tensor.dtype() == dtype {
            true => Content::Same,
            false => Content::Values(matrix),
        };
        let source = source.to_owned();
        let scales = matrix.scales().map(|(dtype, shape)| Self {
            name: stored::scale_name(&name),
            dtype,
            shape,
            content: Content::Scales(matrix),
            source: source.clone(),
        });
        let values = Self { name, dtype, shape: matrix.stored_shape().to_vec(), content, source };
        Ok(std::iter::once(values).chain(scales).collect())
    }

    /// A tensor as it is.
    pub(super) fn same(checkpoint: &Checkpoint, name: &str) -> Result<Self> {
        let tensor = tensor(checkpoint, name)?;
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        let (name, source) = (name.to_owned(), name.to_owned());
        Ok(Self { name, dtype, shape, content: Content::Same, source })
    }

    /// The bytes that stand in the file, handed to `write` bit by bit.
    pub(super) fn write(
        &self,
        checkpoint: &Checkpoint,
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let tensor = tensor(checkpoint, &self.source)?;
        match self.content {
            Content::Same => write(tensor.bytes()),
            Content::Values(matrix) => match matrix.format {
                Format::Int8 => {
                    let mut values = vec![0; tensor.len()];
                    let mut channel = vec![0; matrix.inputs()];
                    self.channels(checkpoint, &tensor, matrix, |places, v| {
                        quant::channel::quantise(v, &mut channel);
                        places.zip(&channel).for_each(|(at, &q)| values[at] = q as u8);
                        Ok(())
                    })?;
                    write(&values)
                }
                Format::Int4 => {
                    let mut codes = vec![0; matrix.inputs()];
                    let mut scales = vec![0.0; group::groups(matrix.inputs())];
                    self.channels(checkpoint, &tensor, matrix, |_, v| {
                        group::quantise(v, &mut codes, &mut scales);
                        write(&stored::pack_codes(&codes).collect::<Vec<_>>())
                    })
                }
                Format::F32 | Format::Bf16 => self.rounded(checkpoint, &tensor, write),
            },
            Content::Scales(matrix) => {
                let mut values = vec![0; matrix.inputs()];
                let mut codes = vec![0; matrix.inputs()];
                let mut scales = vec![0.0; group::groups(matrix.inputs())];
                self.channels(checkpoint, &tensor, matrix, |_, v| match matrix.format {
                    Format::Int4 => {
                        group::quantise(v, &mut codes, &mut scales);
                        let bytes = scales.iter().flat_map(|&s| bf16::from_f32(s).to_le_bytes());
                        write(&bytes.collect::<Vec<_>>())
                    }
                    _ => write(&quant::channel::quantise(v, &mut values).to_le_bytes()),
                })
            }
        }
    }

    /// bf16, nearest, ties to even.
    fn rounded(
        &self,
        checkpoint: &Checkpoint,
        tensor: &HostTensor,
        mut write: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        const RUN: usize = 4096;
        let mut values = [0.0; RUN];
        let mut at = 0;
        while at < tensor.len() {
            let run = &mut values[..RUN.min(tensor.len() - at)];
            tensor.read_f32(at, run);
            let rounded: Vec<bf16> = run.iter().map(|&v| bf16::from_f32(v)).collect();
            if let Some(i) = rounded.iter().position(|v| !v.is_finite()) {
                return Err(self.not_a_number(checkpoint, at + i, run[i]));
            }
            write(&rounded.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())?;
            at += run.len();
        }
        Ok(())
    }

    /// Calls `each` with the weights of every output channel and their places in the tensor.
    fn channels(
        &self,
        checkpoint: &Checkpoint,
        tensor: &HostTensor,
        matrix: stored::Matrix,
        mut each: impl FnMut(std::iter::StepBy<Range<usize>>, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let values = tensor.to_f32();
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(self.not_a_number(checkpoint, at, values[at]));
        }
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

    fn not_a_number(&self, checkpoint: &Checkpoint, at: usize, value: f32) -> Error {
        let (path, tensor) = (checkpoint.path_of(&self.source), self.source.clone());
        match value.is_finite() {
            false => Error::TensorValue { path, tensor, at, value },
            true => {
                let reason = format!("tensor '{tensor}' holds {value:e}, too large for bf16");
                Error::file(path, reason)
            }
        }
    }
}

/// The name of an element type in safetensors.
pub(super) fn type_name(dtype: DType) -> String {
    // Ours are named as theirs.
    format!("{dtype:?}")
}

fn tensor(checkpoint: &Checkpoint, name: &str) -> Result<HostTensor> {
    checkpoint.tensor(name)?.ok_or_else(|| {
        let (path, tensor) = (checkpoint.path_of(name), name.to_owned());
        Error::TensorMissing { path, tried: tensor.clone(), tensor }
    })
}
