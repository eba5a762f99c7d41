//! Tensors on their way from a checkpoint into a backend: found by our paths, held to the shapes of the plan.

use super::{finite::first_not_finite, names::NameTable, tensors::Checkpoint};
use crate::{Error, Result, plan::NormPlan};
use seq2seq_core::{Backend, DType, Format, HostTensor, LinearPart, LinearSpec, NormKind, NormSpec};
use std::{cell::RefCell, collections::BTreeSet, fmt::Display};

/// Loads one model: knows the backend, the checkpoint, and what has been taken from it.
pub(crate) struct Loader<'a, B: Backend> {
    pub(crate) backend: &'a B,
    checkpoint: &'a Checkpoint,
    names: &'static NameTable,
    format: Format,
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
}

impl Taken {
    /// Bytes of the weights when linear layers are packed in `format`.
    pub(crate) fn bytes(&self, format: Format) -> usize {
        let scales = if format == Format::Int8 { self.channels * 4 } else { 0 };
        self.packed * format.weight_bytes() + scales + self.table_bytes + self.vectors * 4
    }
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

    /// Where loading begins.
    pub(crate) fn root(&self) -> Scope<'_, 'a, B> {
        Scope { loader: self, path: String::new() }
    }

    /// Tensors of the checkpoint that the model has no use for.
    pub(crate) fn unused(&self) -> Vec<String> {
        let taken = self.taken.borrow();
        let rest = self.checkpoint.names().filter(|n| !taken.names.contains(*n));
        rest.filter(|n| !self.names.ignores(n) && !self.is_copy(n)).map(String::from).collect()
    }

    /// Ends loading.
    pub(crate) fn finish(self) -> (Taken, Vec<Error>) {
        (self.taken.into_inner(), self.problems.map(RefCell::into_inner).unwrap_or_default())
    }

    /// Whether a tensor is another name for one that was taken, as files made from PyTorch's pickles have them.
    fn is_copy(&self, name: &str) -> bool {
        let Ok(Some(tensor)) = self.checkpoint.tensor(name) else { return false };
        self.taken.borrow().names.iter().any(|other| {
            self.checkpoint.tensor(other).is_ok_and(|o| {
                o.is_some_and(|o| o.shape() == tensor.shape() && o.bytes() == tensor.bytes())
            })
        })
    }

    /// The tensor at our path, with its name in the file; `None` where no candidate is there.
    fn find(&self, path: &str, shape: &[usize]) -> Result<Option<(HostTensor, String)>> {
        for name in self.names.candidates(path) {
            let Some(tensor) = self.checkpoint.tensor(&name)? else { continue };
            let file = || self.checkpoint.path_of(&name);
            if !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16) {
                let found = format!("{:?}", tensor.dtype());
                return Err(Error::TensorType { path: file(), tensor: name.clone(), found });
            }
            // Row vectors are stored as [1, n] here and there (BART's final_logits_bias).
            let squeezed = tensor.shape().strip_prefix(&[1]).filter(|s| *s == shape);
            let tensor = match squeezed {
                Some(shape) => tensor.reshape(shape.to_vec())?,
                None => tensor,
            };
            if tensor.shape() != shape {
                let (expected, found) = (shape.to_vec(), tensor.shape().to_vec());
                return Err(Error::TensorShape { path: file(), tensor: name.clone(), expected, found });
            }
            let mut taken = self.taken.borrow_mut();
            if taken.names.insert(name.clone()) {
                taken.parameters += tensor.len();
            }
            return Ok(Some((tensor, name)));
        }
        Ok(None)
    }

    fn missing(&self, path: &str) -> Error {
        let names = self.names.candidates(path);
        let tensor = names.first().cloned().unwrap_or_else(|| path.to_string());
        Error::TensorMissing { path: self.checkpoint.path_of(&tensor), tensor, tried: names.join(", ") }
    }

    /// The tensor at our path. When collecting problems, an empty one stands in for one that is wrong.
    fn require(&self, path: &str, shape: &[usize]) -> Result<(HostTensor, String)> {
        let found = self.find(path, shape).and_then(|t| t.ok_or_else(|| self.missing(path)));
        match (&self.problems, found) {
            (Some(problems), Err(e)) => {
                problems.borrow_mut().push(e);
                Ok((HostTensor::from_f32(vec![0], &[])?, path.to_string()))
            }
            (_, found) => found,
        }
    }

    /// Fails, naming the tensor, where an element is NaN or infinite.
    fn check_finite(&self, tensor: &HostTensor, name: &str) -> Result<()> {
        match first_not_finite(tensor) {
            None => Ok(()),
            Some((at, value)) => Err(Error::TensorValue {
                path: self.checkpoint.path_of(name),
                tensor: name.into(),
                at,
                value,
            }),
        }
    }
}

/// One of the matrices of a linear layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) outputs: usize,
    pub(crate) bias: bool,
}

/// A place in the tree of our paths.
pub(crate) struct Scope<'s, 'a, B: Backend> {
    loader: &'s Loader<'a, B>,
    path: String,
}

impl<'s, 'a, B: Backend> Scope<'s, 'a, B> {
    /// The backend that is loaded into.
    pub(crate) fn backend(&self) -> &'a B {
        self.loader.backend
    }

    /// The scope one segment, or several, further down.
    pub(crate) fn at(&self, segment: impl Display) -> Self {
        Self { loader: self.loader, path: self.join(segment) }
    }

    fn join(&self, segment: impl Display) -> String {
        match self.path.is_empty() {
            true => segment.to_string(),
            false => format!("{}.{segment}", self.path),
        }
    }

    /// Whether the family has a name for this module at all.
    pub(crate) fn knows(&self, module: &str) -> bool {
        self.loader.names.knows(&self.join(module))
    }

    /// Whether the checkpoint holds this tensor.
    pub(crate) fn holds(&self, tensor: &str) -> bool {
        let names = self.loader.names.candidates(&self.join(tensor));
        names.iter().any(|n| self.loader.checkpoint.contains(n))
    }

    /// A `[rows, width]` table for lookups, left where it lies in the file.
    pub(crate) fn embedding(&self, module: &str, rows: usize, width: usize) -> Result<B::Embedding> {
        let path = self.join(format_args!("{module}.weight"));
        let (table, name) = self.loader.require(&path, &[rows, width])?;
        self.loader.check_finite(&table, &name)?;
        self.loader.taken.borrow_mut().table_bytes += table.bytes().len();
        Ok(self.backend().embedding(&table)?)
    }

    /// A `[rows, width]` table, not looked at: for what checks its numbers itself or is small.
    pub(crate) fn table(&self, module: &str, rows: usize, width: usize) -> Result<HostTensor> {
        let path = self.join(format_args!("{module}.weight"));
        Ok(self.loader.require(&path, &[rows, width])?.0)
    }

    /// The weights of a normalisation over rows of `width`.
    pub(crate) fn norm(&self, module: &str, plan: &NormPlan, width: usize) -> Result<B::Norm> {
        let vector = |leaf: &str| {
            let path = self.join(format_args!("{module}.{leaf}"));
            let (vector, name) = self.loader.require(&path, &[width])?;
            self.loader.check_finite(&vector, &name)?;
            self.loader.taken.borrow_mut().vectors += width;
            Ok::<_, Error>(vector)
        };
        let weight = vector("weight")?;
        let bias = (plan.kind == NormKind::Layer).then(|| vector("bias")).transpose()?;
        let spec = NormSpec { kind: plan.kind, eps: plan.eps, weight, bias };
        Ok(self.backend().norm_weights(&spec)?)
    }

    /// A linear layer from its parts, side by side.
    pub(crate) fn linear(&self, inputs: usize, parts: &[Part]) -> Result<B::Linear> {
        self.pack(inputs, parts, false)
    }

    /// A gated linear layer: parts are gate and up.
    pub(crate) fn gated(&self, inputs: usize, gate: Part, up: Part) -> Result<B::Linear> {
        self.pack(inputs, &[gate, up], true)
    }

    fn pack(&self, inputs: usize, parts: &[Part], gated: bool) -> Result<B::Linear> {
        let transposed = self.loader.names.transposed;
        let mut names = Vec::new();
        let mut load = |path: String, shape: &[usize]| {
            let (tensor, name) = self.loader.require(&path, shape)?;
            names.push((tensor.clone(), name));
            Ok::<_, Error>(tensor)
        };
        let mut packed = Vec::new();
        for part in parts {
            let shape = if transposed { [inputs, part.outputs] } else { [part.outputs, inputs] };
            let weight = load(self.join(format_args!("{}.weight", part.name)), &shape)?;
            let bias = part
                .bias
                .then(|| load(self.join(format_args!("{}.bias", part.name)), &[part.outputs]))
                .transpose()?;
            packed.push(LinearPart { weight, bias, transposed });
        }
        self.pack_spec(&LinearSpec { parts: packed, gated, scale: 1.0 }, &names)
    }

    /// An output layer: its own matrix where the checkpoint has one, else (where weights are tied) the table of the
    /// tokens under `tied`. The bias may be a buffer that files lack, which then is zero (PARITY trap 16).
    pub(crate) fn output(&self, shape: OutputShape, tied: Option<&Self>) -> Result<B::Linear> {
        let own = self.join("out.weight");
        let path = match tied {
            Some(tied) if !self.holds("out.weight") => tied.join("tokens.weight"),
            _ => own,
        };
        let (weight, name) = self.loader.require(&path, &[shape.outputs, shape.inputs])?;
        let mut names = vec![(weight.clone(), name)];
        let bias_path = self.join("out.bias");
        let bias = match shape.bias {
            Presence::Never => None,
            Presence::IfStored => self.loader.find(&bias_path, &[shape.outputs])?,
            Presence::Always => Some(self.loader.require(&bias_path, &[shape.outputs])?),
        };
        names.extend(bias.clone());
        let mut spec = LinearSpec::single(weight, bias.map(|(bias, _)| bias));
        spec.scale = shape.scale;
        self.pack_spec(&spec, &names)
    }

    fn pack_spec(&self, spec: &LinearSpec, names: &[(HostTensor, String)]) -> Result<B::Linear> {
        {
            let mut taken = self.loader.taken.borrow_mut();
            for part in &spec.parts {
                let outputs = part.weight.shape()[usize::from(part.transposed && part.weight.shape().len() > 1)];
                taken.packed += part.weight.len();
                taken.channels += outputs;
                taken.vectors += part.bias.as_ref().map_or(0, HostTensor::len);
            }
        }
        self.backend().pack(spec, self.loader.format).map_err(|error| {
            // Packing reads every weight and finds what is no number; here it gets a name.
            let check = |(tensor, name): &(HostTensor, String)| self.loader.check_finite(tensor, name).err();
            names.iter().find_map(check).unwrap_or(Error::Op(error))
        })
    }
}

/// The shape of an output layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutputShape {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) bias: Presence,
    /// Multiplies the product before the bias.
    pub(crate) scale: f32,
}

/// Whether a tensor is part of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is not.
    Never,
    /// It counts as zero where the file lacks it.
    IfStored,
    /// A file without it is damaged.
    Always,
}
