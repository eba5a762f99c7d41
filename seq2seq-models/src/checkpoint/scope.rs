//! What blocks load themselves from: a place in the tree of our paths.

use super::loader::{Found, Loader, Matrix, TakenLinear};
use crate::{Result, plan::NormPlan};
use seq2seq_core::{
    Backend, Cell, Format, HostTensor, LinearPart, LinearSpec, NormKind, NormSpec, Precision,
    RecurrentOps, RecurrentSpec,
};
use std::fmt::Display;

/// A place in the tree of our paths (see [`NameTable`](super::NameTable)), such as `encoder.layers.3.attention`.
pub(crate) struct Scope<'s, 'a, B: Backend> {
    loader: &'s Loader<'a, B>,
    path: String,
}

/// One of the matrices of a linear layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// The last segment of its path.
    pub(crate) name: &'static str,
    pub(crate) outputs: usize,
    pub(crate) bias: bool,
}

/// A matrix that was found, and the module that it is the weight of.
struct FoundPart {
    module: String,
    weight: Found,
    bias: Option<Found>,
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
///
/// ```
/// use seq2seq_models::{Files, LoadOptions, inspect::inspect, plan::Presence};
///
/// # let [bare, classifier] = ["../fixtures/bert", "../fixtures/bert_sequence_classification"];
/// let pooler = |folder| {
///     let checkpoint = LoadOptions::default().open(Files::folder(folder)?)?;
///     Ok::<_, seq2seq_models::Error>(inspect(&checkpoint)?.plan.head.dense.map(|dense| dense.presence))
/// };
/// // A bare BERT may have been saved without its pooler; one that classifies cannot do without.
/// assert_eq!(pooler(bare)?, Some(Presence::IfStored));
/// assert_eq!(pooler(classifier)?, Some(Presence::Always));
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is not.
    Never,
    /// The model does without where the checkpoint lacks it.
    IfStored,
    /// A checkpoint without it is damaged.
    Always,
}

impl<'s, 'a, B: Backend> Scope<'s, 'a, B> {
    pub(super) fn root(loader: &'s Loader<'a, B>) -> Self {
        Self { loader, path: String::new() }
    }

    /// The backend that is loaded into.
    pub(crate) fn backend(&self) -> &'a B {
        self.loader.backend
    }

    /// That of the model's attentions.
    pub(crate) fn precision(&self) -> Precision {
        self.loader.precision()
    }

    /// The scope one segment further down.
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

    /// A `[rows, width]` table as it lies in the file, its elements known to be finite.
    pub(crate) fn table(&self, module: &str, rows: usize, width: usize) -> Result<HostTensor> {
        let found =
            self.loader.require(&self.join(format_args!("{module}.weight")), &[rows, width])?;
        // Checking lets go of what it has read; lookups bring back the rows that they read.
        self.loader.check_finite(&found)?;
        self.loader.taken().tables.insert(found.name.clone());
        let (mut taken, bytes) = (self.loader.taken(), found.tensor.bytes().len());
        match found.first {
            true => taken.table_bytes += bytes,
            false => taken.repeated_table_bytes += bytes,
        }
        Ok(found.tensor)
    }

    /// A `[rows, width]` table for lookups, which the backend reads where it lies.
    pub(crate) fn embedding(
        &self,
        module: &str,
        rows: usize,
        width: usize,
    ) -> Result<B::Embedding> {
        Ok(self.backend().embedding(&self.table(module, rows, width)?)?)
    }

    /// The weights of a normalisation over rows of `width`.
    pub(crate) fn norm(&self, module: &str, plan: &NormPlan, width: usize) -> Result<B::Norm> {
        let vector = |leaf: &str| -> Result<HostTensor> {
            let found =
                self.loader.require(&self.join(format_args!("{module}.{leaf}")), &[width])?;
            self.loader.check_finite(&found)?;
            self.loader.taken().vectors += width;
            Ok(found.tensor)
        };
        let weight = vector("weight")?;
        let bias = (plan.kind == NormKind::Layer).then(|| vector("bias")).transpose()?;
        Ok(self.backend().norm_weights(&NormSpec {
            kind: plan.kind,
            eps: plan.eps,
            weight,
            bias,
        })?)
    }

    /// A linear layer from its parts, side by side.
    pub(crate) fn linear(&self, inputs: usize, parts: &[Part]) -> Result<B::Linear> {
        self.load_parts(inputs, parts, false)
    }

    /// A gated linear layer.
    pub(crate) fn gated(&self, inputs: usize, gate: Part, up: Part) -> Result<B::Linear> {
        self.load_parts(inputs, &[gate, up], true)
    }

    /// The recurrent half of a layer from the matrices of its directions, with `width` columns each.
    pub(crate) fn recurrent(&self, cell: Cell, width: usize, parts: &[Part]) -> Result<B::Recurrent>
    where
        B: RecurrentOps,
    {
        let (found, format) = self.find_parts(width, parts)?;
        self.pack_with(found, format, |parts| {
            let spec = RecurrentSpec { cell, directions: parts };
            Ok(self.backend().recurrent(&spec, format)?)
        })
    }

    /// A vector for the scores of additive attention.
    pub(crate) fn additive(&self, tensor: &str, width: usize) -> Result<B::Additive>
    where
        B: RecurrentOps,
    {
        let found = self.loader.require(&self.join(tensor), &[width])?;
        self.loader.check_finite(&found)?;
        self.loader.taken().vectors += width;
        Ok(self.backend().additive(&found.tensor)?)
    }

    fn load_parts(&self, inputs: usize, parts: &[Part], gated: bool) -> Result<B::Linear> {
        let (found, format) = self.find_parts(inputs, parts)?;
        self.pack(found, LinearSpec { parts: Vec::new(), gated, scale: 1.0 }, format)
    }

    /// The parts of one layer, and the format that it is packed in.
    fn find_parts(&self, inputs: usize, parts: &[Part]) -> Result<(Vec<FoundPart>, Format)> {
        let transposed = self.loader.names.transposed;
        let modules: Vec<String> = parts.iter().map(|part| self.join(part.name)).collect();
        let format = self.loader.format_of(&modules);
        let mut found = Vec::new();
        for (&Part { outputs, bias, .. }, module) in parts.iter().zip(modules) {
            let shape = if transposed { [inputs, outputs] } else { [outputs, inputs] };
            let weight =
                self.loader.weight(&format!("{module}.weight"), shape, transposed, format)?;
            let path = format!("{module}.bias");
            let bias = bias.then(|| self.loader.require(&path, &[outputs])).transpose()?;
            found.push(FoundPart { module, weight, bias });
        }
        Ok((found, format))
    }

    /// An output layer: its own matrix where the checkpoint has one, else (where weights are tied) the table of the
    /// tokens under `tied`. The bias may be a buffer that files lack, which then is zero (PARITY trap 16).
    pub(crate) fn output(&self, shape: OutputShape, tied: Option<&Self>) -> Result<B::Linear> {
        let path = match tied {
            Some(tied) if !self.holds("out.weight") => {
                let own = self.join("out.weight");
                self.loader.note_missing(&own, &[shape.outputs, shape.inputs], false);
                tied.join("tokens.weight")
            }
            _ => self.join("out.weight"),
        };
        let module = self.join("out");
        let format = self.loader.format_of(std::slice::from_ref(&module));
        let weight = self.loader.weight(&path, [shape.outputs, shape.inputs], false, format)?;
        let path = self.join("out.bias");
        let bias = match shape.bias {
            Presence::Never => None,
            // A buffer is no parameter: without a name it is not trained.
            Presence::IfStored => self.loader.find(&path, &[shape.outputs])?.map(Found::unnamed),
            Presence::Always => Some(self.loader.require(&path, &[shape.outputs])?),
        };
        let spec = LinearSpec { parts: Vec::new(), gated: false, scale: shape.scale };
        self.pack(vec![FoundPart { module, weight, bias }], spec, format)
    }

    /// Fills `spec` with the parts and packs it.
    fn pack(
        &self,
        parts: Vec<FoundPart>,
        mut spec: LinearSpec,
        format: Format,
    ) -> Result<B::Linear> {
        self.pack_with(parts, format, |parts| {
            spec.parts = parts;
            Ok(self.backend().pack(&spec, format)?)
        })
    }

    /// Takes note of the parts and has them packed.
    fn pack_with<T>(
        &self,
        parts: Vec<FoundPart>,
        format: Format,
        pack: impl FnOnce(Vec<LinearPart>) -> Result<T>,
    ) -> Result<T> {
        let mut layer = TakenLinear { format, parts: Vec::new(), transposed: false };
        let mut linear_parts = Vec::new();
        for FoundPart { module, weight, bias } in &parts {
            let transposed = weight.transposed;
            if let [rows, columns] = *weight.tensor.shape() {
                let (outputs, inputs) = if transposed { (columns, rows) } else { (rows, columns) };
                let (module, weight) = (module.clone(), weight.name.clone());
                layer.parts.push(Matrix { module, weight, outputs, inputs });
                layer.transposed = transposed;
            }
            let (weight, bias) = (weight.tensor.clone(), bias.as_ref().map(|b| b.tensor.clone()));
            self.loader.taken().vectors += bias.as_ref().map_or(0, HostTensor::len);
            linear_parts.push(LinearPart { weight, bias, transposed });
        }
        self.loader.taken().linears.push(layer);
        let mut tensors = parts.iter().flat_map(|part| [Some(&part.weight), part.bias.as_ref()]);
        let mut check = || tensors.by_ref().flatten().try_for_each(|t| self.loader.check_finite(t));
        if self.loader.collects() {
            check()?;
        }
        // Packing reads every weight and finds what is no number, in the file or in the format; here that gets its name.
        let packed = pack(linear_parts).or_else(|e| {
            check()?;
            parts.iter().try_for_each(|p| self.loader.check_range(&p.weight, format))?;
            Err(e)
        });
        for FoundPart { weight, .. } in &parts {
            self.loader.checkpoint.release(&weight.name);
            if packed.is_ok() {
                self.loader.note_packed(&weight.name);
            }
        }
        packed
    }
}
