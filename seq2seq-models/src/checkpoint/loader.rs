//! Tensors on their way from a checkpoint into a backend: found by our paths, held to the shapes of the plan.

use super::{
    finite::{first_beyond, first_not_finite},
    formats::{self, Formats, layer_format},
    names::NameTable,
    scope::Scope,
    stored,
    tensors::Checkpoint,
};
use crate::{Error, Result};
use seq2seq_core::{Backend, DType, Format, HostTensor, Precision, Quantisation};
use std::{
    cell::{RefCell, RefMut},
    collections::BTreeSet,
};

/// Loads one model: knows the backend, the checkpoint, and what has been taken from it.
pub(crate) struct Loader<'a, B: Backend> {
    pub(crate) backend: &'a B,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) names: &'static NameTable,
    formats: &'a Formats,
    /// Which exceptions of `formats` were for some layer.
    used: RefCell<Vec<bool>>,
    taken: RefCell<Taken>,
    /// The names of tensors whose elements are known to be numbers.
    finite: RefCell<BTreeSet<String>>,
    /// Whether packing reads nothing.
    on_paper: bool,
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
    /// Bytes of tables that stay as they are in the file.
    pub(crate) table_bytes: usize,
    /// Bytes of tables that were taken before: one view of the file, but another copy in a device's own memory.
    pub(crate) repeated_table_bytes: usize,
    /// Elements of norm weights and biases.
    pub(crate) vectors: usize,
    /// The names of tables that rows are looked up in.
    pub(crate) tables: BTreeSet<String>,
    /// Linear layers, in the order in which they were packed; a table that also serves as the output layer is one too.
    pub(crate) linears: Vec<TakenLinear>,
    /// What was looked for and is not there, while problems are collected.
    pub(crate) missing: Vec<Missing>,
}

/// A tensor that was looked for and is not there.
#[derive(Debug)]
pub(crate) struct Missing {
    /// Our path.
    pub(crate) path: String,
    /// Every name under which it would have been found, the preferred first.
    pub(crate) names: Vec<String>,
    /// The shape that it is to have.
    pub(crate) shape: Vec<usize>,
    /// Whether the model needs it.
    pub(crate) required: bool,
}

/// A linear layer.
#[derive(Debug)]
pub(crate) struct TakenLinear {
    /// What it is packed in.
    pub(crate) format: Format,
    /// Its matrices, side by side.
    pub(crate) parts: Vec<Matrix>,
    /// Whether their tensors are `[in, out]`.
    pub(crate) transposed: bool,
}

/// A matrix of a linear layer.
#[derive(Debug)]
pub(crate) struct Matrix {
    /// Our path.
    pub(crate) module: String,
    /// The name of its tensor.
    pub(crate) weight: String,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

impl TakenLinear {
    fn bytes(&self, format: Format) -> usize {
        self.parts.iter().map(|m| format.bytes(m.outputs, m.inputs)).sum()
    }
}

impl Taken {
    /// Bytes of the weights of the model as it is loaded.
    pub(crate) fn loaded_bytes(&self) -> usize {
        self.linears.iter().map(|l| l.bytes(l.format)).sum::<usize>() + self.other_bytes()
    }

    /// Bytes of the weights of a model that is loaded in `format`, without exceptions.
    pub(crate) fn bytes(&self, format: Format) -> usize {
        let in_format = |l: &TakenLinear| match l.parts.first() {
            Some(first) => l.bytes(layer_format(format, &first.module)),
            None => 0,
        };
        self.linears.iter().map(in_format).sum::<usize>() + self.other_bytes()
    }

    fn other_bytes(&self) -> usize {
        self.table_bytes + self.vectors * 4
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
    /// Of a matrix, whether it lies `[in, out]`.
    pub(super) transposed: bool,
}

impl Found {
    /// The same tensor as a constant of the model.
    pub(super) fn unnamed(self) -> Self {
        Self { tensor: self.tensor.unnamed(), ..self }
    }
}

impl<'a, B: Backend> Loader<'a, B> {
    pub(crate) fn new(
        backend: &'a B,
        checkpoint: &'a Checkpoint,
        names: &'static NameTable,
        formats: &'a Formats,
    ) -> Self {
        let formats = checkpoint.stored_formats().unwrap_or(formats);
        let used = RefCell::new(vec![false; formats.exceptions.len()]);
        let (taken, finite) = (RefCell::default(), RefCell::default());
        Self {
            backend,
            checkpoint,
            names,
            formats,
            used,
            taken,
            finite,
            on_paper: false,
            problems: None,
        }
    }

    /// For a backend that ignores its weights: what it has packed may be no numbers.
    pub(crate) fn on_paper(self) -> Self {
        Self { on_paper: true, ..self }
    }

    /// Collects problems in place of failing at the first; only for a backend that ignores its weights.
    pub(crate) fn collecting(self) -> Self {
        Self { problems: Some(RefCell::default()), ..self.on_paper() }
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
        let tensor = |name: &str| self.checkpoint.as_stored(name).ok().flatten();
        let Some(this) = tensor(name) else { return false };
        taken.iter().filter_map(|name| tensor(name)).any(|other| {
            other.dtype() == this.dtype()
                && other.shape() == this.shape()
                && other.bytes() == this.bytes()
        })
    }

    /// The format of the layer that these modules make up.
    pub(super) fn format_of(&self, modules: &[String]) -> Format {
        self.formats.of(modules, &mut self.used.borrow_mut())
    }

    /// That of the model's attentions.
    pub(super) fn precision(&self) -> Precision {
        self.formats.precision()
    }

    /// Fails where an exception from the format was for no layer.
    pub(crate) fn check_exceptions(&self) -> Result<()> {
        let used = self.used.borrow();
        match self.formats.exceptions.iter().zip(used.iter()).find(|(_, used)| !**used) {
            None => Ok(()),
            Some((exception, _)) => {
                let taken = self.taken.borrow();
                let matrices = taken.linears.iter().flat_map(|l| &l.parts);
                Err(formats::unused(exception, matrices.map(|m| m.module.clone())))
            }
        }
    }

    /// Ends loading: what was taken, and the problems where they were collected.
    pub(crate) fn finish(self) -> (Taken, Vec<Error>) {
        (self.taken.into_inner(), self.problems.map(RefCell::into_inner).unwrap_or_default())
    }

    /// The tensor at our path; `None` where the checkpoint has it under none of its names.
    pub(super) fn find(&self, path: &str, shape: &[usize]) -> Result<Option<Found>> {
        let found = self.tolerate(self.look_up(path, shape), || Ok(None))?;
        if found.is_none() {
            self.note_missing(path, shape, false);
        }
        Ok(found)
    }

    /// The tensor at our path, which must be there.
    pub(super) fn require(&self, path: &str, shape: &[usize]) -> Result<Found> {
        self.or_missing(path, shape, self.look_up(path, shape))
    }

    /// The matrix of a linear layer that is packed in `format`, at our path, which must be there. `shape` is that of
    /// checkpoints, `[in, out]` where `transposed`.
    pub(super) fn weight(
        &self,
        path: &str,
        shape: [usize; 2],
        transposed: bool,
        format: Format,
    ) -> Result<Found> {
        let found = match self.checkpoint.stored() {
            None => self.look_up(path, &shape),
            Some(_) => self.look_up_stored(path, stored::Matrix { shape, transposed, format }),
        };
        // What is stored in groups lies the other way round already.
        let lies = |found: Found| {
            let groups = matches!(found.tensor.quantisation(), Some(Quantisation::Groups { .. }));
            Found { transposed: transposed && !groups, ..found }
        };
        self.or_missing(path, &shape, found).map(lies)
    }

    fn or_missing(
        &self,
        path: &str,
        shape: &[usize],
        found: Result<Option<Found>>,
    ) -> Result<Found> {
        if let Ok(None) = found {
            self.note_missing(path, shape, true);
        }
        let found = found.and_then(|t| t.ok_or_else(|| self.missing(path)));
        self.tolerate(found, || {
            let tensor = HostTensor::from_f32(vec![0], &[])?;
            Ok(Found { tensor, name: path.into(), first: false, transposed: false })
        })
    }

    /// When collecting, notes that there is no such tensor.
    pub(super) fn note_missing(&self, path: &str, shape: &[usize], required: bool) {
        if self.collects() {
            let (path, names) = (path.to_owned(), self.names.candidates(path));
            let shape = shape.to_vec();
            self.taken().missing.push(Missing { path, names, shape, required });
        }
    }

    /// Fails, naming the tensor, where an element is NaN or infinite. What has been looked at, here or in packing, is not looked at
    /// again.
    pub(super) fn check_finite(&self, Found { tensor, name, .. }: &Found) -> Result<()> {
        if self.finite.borrow().contains(name) {
            return Ok(());
        }
        let checked = match first_not_finite(tensor) {
            None => {
                self.note_finite(name);
                Ok(())
            }
            Some((at, value)) => {
                let path = self.checkpoint.path_of(name);
                Err(Error::TensorValue { path, tensor: name.clone(), at, value })
            }
        };
        self.tolerate(checked, || Ok(()))
    }

    /// Takes note that all elements of a tensor are numbers.
    fn note_finite(&self, name: &str) {
        self.finite.borrow_mut().insert(name.to_owned());
    }

    /// The same of a tensor that was packed: packing fails where they are not.
    pub(super) fn note_packed(&self, name: &str) {
        if !self.on_paper {
            self.note_finite(name);
        }
    }

    /// Fails, naming the tensor, where an element is too large for the format.
    pub(super) fn check_range(
        &self,
        Found { tensor, name, .. }: &Found,
        format: Format,
    ) -> Result<()> {
        match first_beyond(tensor, format) {
            None => Ok(()),
            Some((at, value)) => {
                let (path, tensor) = (self.checkpoint.path_of(name), name.clone());
                Err(Error::TensorRange { path, tensor, at, value, format })
            }
        }
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
    fn look_up_stored(&self, path: &str, matrix: stored::Matrix) -> Result<Option<Found>> {
        let names = self.names.candidates(path);
        let Some(own) = names.into_iter().find(|name| self.checkpoint.contains(name)) else {
            return Ok(None);
        };
        let linear = stored::linear_name(&own);
        let name = if self.checkpoint.contains(&linear) { linear } else { own.clone() };
        let Some(tensor) = self.checkpoint.tensor(&name)? else { return Ok(None) };
        self.check_type(&name, &tensor, matrix.dtype(), matrix.format)?;
        self.check_shape(&name, &tensor, &matrix.stored_shape())?;
        let first = {
            let mut taken = self.taken();
            let first = taken.names.insert(own);
            taken.names.insert(name.clone());
            if first {
                taken.parameters += matrix.shape.iter().product::<usize>();
            }
            first
        };
        let tensor = match matrix.scales() {
            None => tensor,
            Some((dtype, shape)) => {
                let scale_name = stored::scale_name(&name);
                let Some(scales) = self.checkpoint.tensor(&scale_name)? else {
                    let (path, tried) = (self.checkpoint.path_of(&name), scale_name.clone());
                    return Err(Error::TensorMissing { path, tensor: scale_name, tried });
                };
                self.taken().names.insert(scale_name.clone());
                self.check_type(&scale_name, &scales, Some(dtype), matrix.format)?;
                self.check_shape(&scale_name, &scales, &shape)?;
                matrix.quantised(tensor, &scales.to_f32()).map_err(|e| match e {
                    stored::Damage::Channel(at, reason) => {
                        let reason = format!("tensor '{name}', output {at}: {reason}");
                        Error::file(self.checkpoint.path_of(&name), reason)
                    }
                    stored::Damage::Tensor(e) => e.into(),
                })?
            }
        };
        Ok(Some(Found { tensor, name, first, transposed: false }))
    }

    /// Holds a stored tensor to the type of its format; without one, to any float type.
    fn check_type(
        &self,
        name: &str,
        tensor: &HostTensor,
        dtype: Option<DType>,
        format: Format,
    ) -> Result<()> {
        let found = tensor.dtype();
        if dtype.map_or(found.is_float(), |dtype| dtype == found) {
            return Ok(());
        }
        let expected = dtype.map_or("a float type".into(), |dtype| format!("{dtype:?}"));
        let reason = format!(
            "tensor '{name}' holds {found:?}, but weights are said to be stored in {format}, where it is {expected}"
        );
        Err(Error::file(self.checkpoint.path_of(name), reason))
    }

    fn check_shape(&self, name: &str, tensor: &HostTensor, shape: &[usize]) -> Result<()> {
        if tensor.shape() == shape {
            return Ok(());
        }
        let (expected, found) = (shape.to_vec(), tensor.shape().to_vec());
        let path = self.checkpoint.path_of(name);
        Err(Error::TensorShape { path, tensor: name.to_owned(), expected, found })
    }

    /// Holds a tensor to its type and shape, and counts it.
    fn take(&self, name: String, tensor: HostTensor, shape: &[usize]) -> Result<Found> {
        let path = || self.checkpoint.path_of(&name);
        let mut taken = self.taken();
        let first = taken.names.insert(name.clone());
        if !tensor.dtype().is_float() {
            let found = format!("{:?}", tensor.dtype());
            return Err(Error::TensorType { path: path(), tensor: name.clone(), found });
        }
        // Row vectors are stored as [1, n] here and there (BART's final_logits_bias).
        let tensor = match tensor.shape().strip_prefix(&[1]) {
            Some(rest) if rest == shape => tensor.reshape(shape.to_vec())?,
            _ => tensor,
        };
        self.check_shape(&name, &tensor, shape)?;
        if first {
            taken.parameters += tensor.len();
        }
        Ok(Found { tensor: tensor.named(name.as_str()), name, first, transposed: false })
    }

    fn missing(&self, path: &str) -> Error {
        let names = self.names.candidates(path);
        let tensor = names.first().cloned().unwrap_or_else(|| path.to_string());
        let path = self.checkpoint.path_of(&tensor);
        Error::TensorMissing { path, tensor, tried: names.join(", ") }
    }
}
