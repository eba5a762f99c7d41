//! Tensors on their way from a checkpoint into a backend: found by our paths, held to the shapes of the plan.

use super::{
    finite::first_not_finite, names::NameTable, scope::Scope, stored, tensors::Checkpoint,
};
use crate::{Error, Result};
use seq2seq_core::{Backend, DType, Format, HostTensor};
use std::{
    cell::{RefCell, RefMut},
    collections::BTreeSet,
};

/// Loads one model: knows the backend, the checkpoint, and what has been taken from it.
pub(crate) struct Loader<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) names: &'static NameTable,
    pub(super) format: Format,
    taken: RefCell<Taken>,
    /// Problems are collected here in place of ending the load at the first.
    problems: Option<RefCell<Vec<Error>>>,
}

/// What a model takes from its checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The names of the tensors.
    pub(crate) names: BTreeSet<String>,
    /// Elements of all tensors, shared ones once.
    pub(crate) parameters: usize,
    /// Elements of packed weights; a table that also serves as the output layer is packed too.
    pub(crate) packed: usize,
    /// Output channels of packed weights.
    pub(crate) channels: usize,
    /// Bytes of tables that stay as they are in the file.
    pub(crate) table_bytes: usize,
    /// Elements of norm weights and biases.
    pub(crate) vectors: usize,
    /// The names of tables that rows are looked up in.
    pub(crate) tables: BTreeSet<String>,
    /// Linear layers, in the order in which they were packed.
    pub(crate) linears: Vec<TakenLinear>,
}

/// The matrices of a linear layer.
#[derive(Debug)]
pub(crate) struct TakenLinear {
    /// The names of their tensors, in the order of the parts.
    pub(crate) weights: Vec<String>,
    /// Whether they are `[in, out]`.
    pub(crate) transposed: bool,
}

impl Taken {
    /// Bytes of the weights when linear layers are packed in `format`.
    pub(crate) fn bytes(&self, format: Format) -> usize {
        let scales = if format == Format::Int8 { self.channels * 4 } else { 0 };
        self.packed * format.weight_bytes() + scales + self.table_bytes + self.vectors * 4
    }
}

/// A tensor and where it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) tensor: HostTensor,
    /// Its name in the file.
    pub(super) name: String,
    /// Whether nothing else of the model had taken it before.
    pub(super) first: bool,
}

impl<'a, B: Backend> Loader<'a, B> {
    pub(crate) fn new(
        backend: &'a B,
        checkpoint: &'a Checkpoint,
        names: &'static NameTable,
        format: Format,
    ) -> Self {
        Self { backend, checkpoint, names, format, taken: RefCell::default(), problems: None }
    }

    /// Collects problems in place of failing at the first; only for a backend that ignores its weights.
    pub(crate) fn collecting(mut self) -> Self {
        self.problems = Some(RefCell::default());
        self
    }

    /// Whether problems are collected.
    pub(super) fn collects(&self) -> bool {
        self.problems.is_some()
    }

    /// Where loading begins.
    pub(crate) fn root(&self) -> Scope<'_, 'a, B> {
        Scope::root(self)
    }

    /// The count of what was taken.
    pub(super) fn taken(&self) -> RefMut<'_, Taken> {
        self.taken.borrow_mut()
    }

    /// Tensors of the checkpoint that the model has no use for.
    pub(crate) fn unused(&self) -> Vec<String> {
        let taken = &self.taken.borrow().names;
        let unused = |name: &&str| {
            !taken.contains(*name) && !self.names.ignores(name) && !self.is_copy(name, taken)
        };
        self.checkpoint.names().filter(unused).map(String::from).collect()
    }

    /// Whether a tensor is another name for one that was taken, as files made from PyTorch's pickles have them.
    fn is_copy(&self, name: &str, taken: &BTreeSet<String>) -> bool {
        let tensor = |name: &str| self.checkpoint.tensor(name).ok().flatten();
        let Some(this) = tensor(name) else { return false };
        taken.iter().filter_map(|name| tensor(name)).any(|other| {
            other.dtype() == this.dtype()
                && other.shape() == this.shape()
                && other.bytes() == this.bytes()
        })
    }

    /// Ends loading: what was taken, and the problems where they were collected.
    pub(crate) fn finish(self) -> (Taken, Vec<Error>) {
        (self.taken.into_inner(), self.problems.map(RefCell::into_inner).unwrap_or_default())
    }

    /// The tensor at our path; `None` where the checkpoint has it under none of its names.
    pub(super) fn find(&self, path: &str, shape: &[usize]) -> Result<Option<Found>> {
        self.tolerate(self.look_up(path, shape), || Ok(None))
    }

    /// The tensor at our path, which must be there.
    pub(super) fn require(&self, path: &str, shape: &[usize]) -> Result<Found> {
        self.or_missing(path, self.look_up(path, shape))
    }

    /// The matrix of a linear layer at our path, `[in, out]` where `transposed`, which must be there.
    pub(super) fn weight(&self, path: &str, shape: [usize; 2], transposed: bool) -> Result<Found> {
        let found = match self.checkpoint.stored() {
            None => self.look_up(path, &shape),
            Some(format) => self.look_up_stored(path, &shape, format, transposed),
        };
        self.or_missing(path, found)
    }

    fn or_missing(&self, path: &str, found: Result<Option<Found>>) -> Result<Found> {
        let found = found.and_then(|t| t.ok_or_else(|| self.missing(path)));
        self.tolerate(found, || {
            let tensor = HostTensor::from_f32(vec![0], &[])?;
            Ok(Found { tensor, name: path.into(), first: false })
        })
    }

    /// Fails, naming the tensor, where an element is NaN or infinite.
    pub(super) fn check_finite(&self, Found { tensor, name, .. }: &Found) -> Result<()> {
        let checked = match first_not_finite(tensor) {
            None => Ok(()),
            Some((at, value)) => {
                let path = self.checkpoint.path_of(name);
                Err(Error::TensorValue { path, tensor: name.clone(), at, value })
            }
        };
        self.tolerate(checked, || Ok(()))
    }

    /// When collecting, notes a problem and goes on with a stand-in.
    fn tolerate<T>(&self, result: Result<T>, stand_in: impl FnOnce() -> Result<T>) -> Result<T> {
        match (result, &self.problems) {
            (Err(problem), Some(problems)) => {
                problems.borrow_mut().push(problem);
                stand_in()
            }
            (result, _) => result,
        }
    }

    fn look_up(&self, path: &str, shape: &[usize]) -> Result<Option<Found>> {
        for name in self.names.candidates(path) {
            if let Some(tensor) = self.checkpoint.tensor(&name)? {
                return self.take(name, tensor, shape).map(Some);
            }
        }
        Ok(None)
    }

    /// A weight that is in its format already.
    fn look_up_stored(
        &self,
        path: &str,
        shape: &[usize],
        format: Format,
        transposed: bool,
    ) -> Result<Option<Found>> {
        let names = self.names.candidates(path);
        let Some(own) = names.into_iter().find(|name| self.checkpoint.contains(name)) else {
            return Ok(None);
        };
        let linear = stored::linear_name(&own);
        let name = if self.checkpoint.contains(&linear) { linear } else { own.clone() };
        let Some(tensor) = self.checkpoint.tensor(&name)? else { return Ok(None) };
        let file = || self.checkpoint.path_of(&name);
        let dtype = stored::dtype(format)?;
        if tensor.dtype() != dtype {
            let reason = format!(
                "tensor '{name}' holds {:?}, but weights are said to be stored in {format}, as {dtype:?}",
                tensor.dtype()
            );
            return Err(Error::file(file(), reason));
        }
        if tensor.shape() != shape {
            let (expected, found) = (shape.to_vec(), tensor.shape().to_vec());
            return Err(Error::TensorShape { path: file(), tensor: name, expected, found });
        }
        let first = {
            let mut taken = self.taken();
            let first = taken.names.insert(own);
            taken.names.insert(name.clone());
            if first {
                taken.parameters += tensor.len();
            }
            first
        };
        let tensor = match dtype {
            DType::I8 => self.quantised(&name, tensor, usize::from(!transposed))?,
            _ => tensor,
        };
        Ok(Some(Found { tensor, name, first }))
    }

    /// Quantised values with their scales; sums run along `inputs`.
    fn quantised(&self, name: &str, values: HostTensor, inputs: usize) -> Result<HostTensor> {
        let path = self.checkpoint.path_of(name);
        let (outputs, scale_name) = (1 - inputs, stored::scale_name(name));
        let Some(scales) = self.checkpoint.tensor(&scale_name)? else {
            let tried = scale_name.clone();
            return Err(Error::TensorMissing { path, tensor: scale_name, tried });
        };
        self.taken().names.insert(scale_name.clone());
        if scales.dtype() != DType::F32 {
            let reason =
                format!("tensor '{scale_name}' holds {:?}, scales are F32", scales.dtype());
            return Err(Error::file(path, reason));
        }
        if scales.shape() != [values.shape()[outputs]] {
            let (expected, found) = (vec![values.shape()[outputs]], scales.shape().to_vec());
            return Err(Error::TensorShape { path, tensor: scale_name, expected, found });
        }
        let scales = scales.to_f32();
        stored::check_int8(&values, &scales, outputs).map_err(|(channel, reason)| {
            Error::file(path, format!("tensor '{name}', output {channel}: {reason}"))
        })?;
        Ok(HostTensor::quantised(values, &scales, outputs)?)
    }

    /// Holds a tensor to its type and shape, and counts it.
    fn take(&self, name: String, tensor: HostTensor, shape: &[usize]) -> Result<Found> {
        let path = || self.checkpoint.path_of(&name);
        let mut taken = self.taken();
        let first = taken.names.insert(name.clone());
        if !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16) {
            let found = format!("{:?}", tensor.dtype());
            return Err(Error::TensorType { path: path(), tensor: name.clone(), found });
        }
        // Row vectors are stored as [1, n] here and there (BART's final_logits_bias).
        let tensor = match tensor.shape().strip_prefix(&[1]) {
            Some(rest) if rest == shape => tensor.reshape(shape.to_vec())?,
            _ => tensor,
        };
        if tensor.shape() != shape {
            let (expected, found) = (shape.to_vec(), tensor.shape().to_vec());
            return Err(Error::TensorShape { path: path(), tensor: name.clone(), expected, found });
        }
        if first {
            taken.parameters += tensor.len();
        }
        Ok(Found { tensor, name, first })
    }

    fn missing(&self, path: &str) -> Error {
        let names = self.names.candidates(path);
        let tensor = names.first().cloned().unwrap_or_else(|| path.to_string());
        let path = self.checkpoint.path_of(&tensor);
        Error::TensorMissing { path, tensor, tried: names.join(", ") }
    }
}
