//! Low-rank adapters over a checkpoint: what its tensors are with the adapters added.
//!
//! A matrix W with an adapter is W + scale · B A (Hu et al. 2021, LoRA), in f32, made whenever it is asked for and not
//! kept: a model that is loaded so holds what it would hold without adapters.

use super::{Files, NameTable, tensors::Checkpoint};
use crate::{
    Error, Result,
    peft::{PREFIX, Peft, WEIGHTS, factor_name, transposed},
};
use rayon::prelude::*;
use seq2seq_core::HostTensor;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The tensors of a checkpoint that adapters make others of, by their names there.
pub(super) struct Adapter {
    path: PathBuf,
    changes: BTreeMap<String, Change>,
    /// What takes the place of the checkpoint's (peft's `modules_to_save`).
    saved: BTreeMap<String, HostTensor>,
}

/// What is added to a matrix.
#[derive(Debug)]
struct Change {
    /// `[rank, inputs]`
    a: HostTensor,
    /// `[outputs, rank]`
    b: HostTensor,
    scale: f32,
    /// Whether matrices of linear layers are `[inputs, outputs]`, but for an output layer that is stored as a table is.
    transposed: bool,
}

impl Adapter {
    /// The adapters in `files` for the tensors of `checkpoint`.
    pub(super) fn open(files: Files, checkpoint: &Checkpoint, names: &NameTable) -> Result<Self> {
        let path = files.path(WEIGHTS);
        let peft = Peft::open(files)?;
        let mut this = Self { path, changes: BTreeMap::new(), saved: BTreeMap::new() };
        for key in peft.names() {
            let Some(module) = key.strip_prefix(PREFIX) else {
                return Err(peft.wrong(format!("'{key}' does not begin with {PREFIX}")));
            };
            let place = |tensor: &str| place(checkpoint, names, tensor);
            if let Some(module) = module.strip_suffix(".lora_A.weight") {
                let change = Change::read(&peft, module, names.transposed)?;
                let Some(name) = place(&format!("{module}.weight")) else {
                    return Err(peft.wrong(format!(
                        "'{key}': the checkpoint has no matrix of its own for this module; the adapters are of another \
                         model, or of an output layer that shares the table of tokens"
                    )));
                };
                this.changes.insert(name, change);
            } else if let Some(module) = module.strip_suffix(".lora_B.weight") {
                if peft.tensor(&factor_name(module, "A"))?.is_none() {
                    return Err(peft.wrong(format!("'{module}' has one factor of two")));
                }
            } else if module.contains(".lora_") {
                return Err(peft.wrong(format!("'{key}' is no factor of a linear layer")));
            } else if let Some(tensor) = peft.tensor(key)? {
                this.saved.insert(place(module).unwrap_or_else(|| module.to_owned()), tensor);
            }
        }
        match this.changes.is_empty() && this.saved.is_empty() {
            true => Err(peft.wrong("holds no adapters".into())),
            false => Ok(this),
        }
    }

    /// The file, where this tensor is its own.
    pub(super) fn path_of(&self, name: &str) -> Option<&Path> {
        self.saved.contains_key(name).then_some(&self.path)
    }

    /// The names of tensors that are its own.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.saved.keys().map(String::as_str)
    }

    /// What takes the place of a tensor.
    pub(super) fn saved(&self, name: &str) -> Option<&HostTensor> {
        self.saved.get(name)
    }

    /// A tensor of the checkpoint with what is added to it.
    pub(super) fn changed(&self, name: &str, tensor: HostTensor) -> Result<HostTensor> {
        let Some(change) = self.changes.get(name) else { return Ok(tensor) };
        if !tensor.dtype().is_float() {
            return Ok(tensor); // which is an error of its own
        }
        change.added_to(&tensor).ok_or_else(|| {
            let [a, b] = [&change.a, &change.b].map(HostTensor::shape);
            let shape = tensor.shape();
            Error::file(
                &self.path,
                format!("A of {a:?} and B of {b:?} are no change of '{name}', which is {shape:?}"),
            )
        })
    }
}

/// What the checkpoint calls a tensor of transformers' model, which may have the prefix of models with a head where the file has
/// none, and the other way round.
fn place(checkpoint: &Checkpoint, names: &NameTable, tensor: &str) -> Option<String> {
    let with = names.prefixes.iter().map(|prefix| format!("{prefix}{tensor}"));
    let without = names.prefixes.iter().filter_map(|p| tensor.strip_prefix(p).map(String::from));
    std::iter::once(tensor.to_owned())
        .chain(without)
        .chain(with)
        .find(|name| checkpoint.contains(name))
}

impl Change {
    fn read(peft: &Peft, module: &str, transposed: bool) -> Result<Self> {
        let factor = |name: &str| {
            let key = factor_name(module, name);
            let tensor = peft.tensor(&key)?;
            tensor.ok_or_else(|| peft.wrong(format!("'{module}' has one factor of two")))
        };
        let (a, b) = (factor("A")?, factor("B")?);
        match (a.shape(), b.shape()) {
            (&[rank, _], &[_, columns]) if rank == columns && rank > 0 => {
                Ok(Self { a, b, scale: peft.scale(rank), transposed })
            }
            (a, b) => Err(peft.wrong(format!("'{module}': A of {a:?} does not fit B of {b:?}"))),
        }
    }

    /// `tensor` with the change; `None` where their sizes do not agree.
    fn added_to(&self, tensor: &HostTensor) -> Option<HostTensor> {
        let (&[rank, inputs], &[outputs, _]) = (self.a.shape(), self.b.shape()) else {
            return None;
        };
        let turned = self.transposed && tensor.shape() == [inputs, outputs];
        if !turned && tensor.shape() != [outputs, inputs] {
            return None;
        }
        let (a, b) = (self.a.to_f32(), self.b.to_f32());
        // L R, of which L has a row for each row of the matrix.
        let (left, right, shape) = match turned {
            false => (b, a, [outputs, inputs]),
            true => (transposed(&a, rank), transposed(&b, outputs), [inputs, outputs]),
        };
        let mut values = tensor.to_f32();
        let columns = shape[1].max(1);
        values.par_chunks_mut(columns).zip(left.par_chunks(rank)).for_each_init(
            || vec![0.0; columns],
            |sum, (row, left)| {
                sum.fill(0.0);
                for (l, right) in left.iter().zip(right.chunks(columns)) {
                    sum.iter_mut().zip(right).for_each(|(sum, r)| *sum += l * r);
                }
                row.iter_mut().zip(&*sum).for_each(|(w, sum)| *w += self.scale * sum);
            },
        );
        HostTensor::from_f32(shape.to_vec(), &values).ok()
    }
}
