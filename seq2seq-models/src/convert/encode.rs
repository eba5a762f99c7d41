//! Weights as they are stored.

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, stored},
};
use half::bf16;
use seq2seq_core::{DType, Format, HostTensor, LinearPart, LinearSpec, backend::check, quant};

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
    /// Its values, rounded or quantised; outputs lie along the axis.
    Values { axis: usize },
    /// The scales of its quantised values.
    Scales { axis: usize },
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
        transposed: bool,
        format: Format,
    ) -> Result<Vec<Self>> {
        let tensor = tensor(checkpoint, source)?;
        let (dtype, axis) = (stored::dtype(format)?, usize::from(transposed));
        // What no backend would pack is not worth storing.
        let part = LinearPart { weight: tensor.clone(), bias: None, transposed };
        check::pack(&LinearSpec { parts: vec![part], gated: false, scale: 1.0 }, format)?;
        let content =
            if tensor.dtype() == dtype { Content::Same } else { Content::Values { axis } };
        let shape = tensor.shape().to_vec();
        let scales = (dtype == DType::I8).then(|| Self {
            name: stored::scale_name(&name),
            dtype: DType::F32,
            shape: vec![shape[axis]],
            content: Content::Scales { axis },
            source: source.to_owned(),
        });
        let values = Self { name, dtype, shape, content, source: source.to_owned() };
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
        match (self.content, self.dtype) {
            (Content::Same, _) => write(tensor.bytes()),
            (Content::Values { .. }, DType::BF16) => self.rounded(checkpoint, &tensor, write),
            (Content::Values { axis }, _) => {
                let (values, _) = self.quantised(checkpoint, &tensor, axis)?;
                write(&values.iter().map(|&v| v as u8).collect::<Vec<_>>())
            }
            (Content::Scales { axis }, _) => {
                let (_, scales) = self.quantised(checkpoint, &tensor, axis)?;
                scales.iter().try_for_each(|s| write(&s.to_le_bytes()))
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

    /// Values in their place, and a scale for each output along `axis`.
    fn quantised(
        &self,
        checkpoint: &Checkpoint,
        tensor: &HostTensor,
        axis: usize,
    ) -> Result<(Vec<i8>, Vec<f32>)> {
        let (rows, columns) = (tensor.shape()[0], tensor.shape()[1]);
        let values = tensor.to_f32();
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(self.not_a_number(checkpoint, at, values[at]));
        }
        let mut quantised = vec![0; values.len()];
        if axis == 0 {
            let channels = values.chunks(columns).zip(quantised.chunks_mut(columns));
            let scales = channels.map(|(v, q)| quant::channel::quantise(v, q)).collect();
            return Ok((quantised, scales));
        }
        let (mut channel, mut narrow) = (vec![0.0; rows], vec![0; rows]);
        let mut scales = Vec::with_capacity(columns);
        for column in 0..columns {
            let places = (column..values.len()).step_by(columns);
            places.clone().zip(&mut channel).for_each(|(at, v)| *v = values[at]);
            scales.push(quant::channel::quantise(&channel, &mut narrow));
            places.zip(&narrow).for_each(|(at, &q)| quantised[at] = q);
        }
        Ok((quantised, scales))
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
