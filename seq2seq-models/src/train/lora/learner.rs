//! Adapters on a model under training.

use super::{Layer, Lora, LoraOptions, load, save};
use crate::{Error, Learner, Result};
use seq2seq_core::autodiff::LowRank;
use std::{collections::HashSet, path::Path};

impl Learner {
    /// Puts adapters on the linear layers that `options` name, and trains those alone: all else is frozen. Their
    /// parameters are called `….lora_A.weight` and `….lora_B.weight`; those of a tensor that lies `[in, out]` are kept
    /// transposed. Gives how many matrices have one.
    ///
    /// # Errors
    /// Targets that match nothing, a rank of 0, and a model that has adapters.
    pub fn add_lora(&mut self, options: &LoraOptions) -> Result<usize> {
        let (lora, changes) = Lora::new(Layer::all(&self.linears, &self.plan), options)?;
        self.adapt(lora, &changes)
    }

    /// As [`add_lora`](Self::add_lora), with the adapters of a folder that [`save_lora`](Self::save_lora) or peft wrote.
    ///
    /// # Errors
    /// Folders that hold something else, adapters of another model or of a kind that A and B alone do not make, and a model
    /// that has adapters.
    pub fn load_lora(&mut self, folder: impl AsRef<Path>) -> Result<usize> {
        let layers = Layer::all(&self.linears, &self.plan);
        let (lora, changes) = load(folder.as_ref(), layers)?;
        self.adapt(lora, &changes)
    }

    fn adapt(&mut self, lora: Lora, changes: &[LowRank]) -> Result<usize> {
        if self.lora.is_some() {
            return Err(Error::input("the model has adapters already; load it again for others"));
        }
        let mut pairs = lora.layers.iter().zip(changes);
        pairs.try_for_each(|(layer, change)| self.learn.adapt(&layer.weight, change))?;
        let own: HashSet<String> = lora.layers.iter().flat_map(Layer::parameters).collect();
        self.learn.freeze(&|name| !own.contains(name));
        Ok(self.lora.insert(lora).layers.len())
    }

    /// Writes the adapters as peft does, into a new folder that it reads; `base` says whose they are: a folder or an id on
    /// the hub.
    ///
    /// # Errors
    /// Where there are none, and where the folder holds something or cannot be written.
    pub fn save_lora(&self, folder: impl AsRef<Path>, base: &str) -> Result<()> {
        let lora = self.lora.as_ref().ok_or_else(no_adapters)?;
        let factors = |layer: &Layer| {
            let [left, right] = layer.parameters();
            Ok(layer.factors(lora.rank, self.value(&left)?, self.value(&right)?))
        };
        save(folder.as_ref(), lora, &self.plan, base, factors)
    }

    /// Adds the adapters to the weights that they are for, as [`value`](Self::value) then gives them: a model saved so needs
    /// no adapters. Until [`unmerge_lora`](Self::unmerge_lora) nothing is trained.
    ///
    /// # Errors
    /// Where there are none.
    pub fn merge_lora(&mut self) -> Result<()> {
        self.merge(true)
    }

    /// Takes the adapters out of the weights again, which have the bits that they had.
    ///
    /// # Errors
    /// Where there are none.
    pub fn unmerge_lora(&mut self) -> Result<()> {
        self.merge(false)
    }

    fn merge(&mut self, merged: bool) -> Result<()> {
        if self.lora.is_none() {
            return Err(no_adapters());
        }
        self.learn.merge_adapters(merged);
        Ok(())
    }
}

fn no_adapters() -> Error {
    Error::input("the model has no adapters; add or load some first")
}
