//! Adapters on a model under training.

use super::{Layer, Lora, LoraOptions, load, rendered};
use crate::{Error, Learner, Result, new_folder::NewFolder};
use seq2seq_core::autodiff::LowRank;
use std::{collections::HashSet, path::Path};

impl Learner {
    /// Puts adapters on the linear layers that `options` name, and trains those alone: all else is frozen. Their
    /// parameters are called `….lora_A.weight` and `….lora_B.weight`; those of a tensor that lies `[in, out]` are kept
    /// transposed. Gives how many matrices have one.
    ///
    /// ```
    /// use seq2seq_models::{Learner, LoadOptions, train::LoraOptions};
    ///
    /// # let (folder, work) = ("../fixtures/gpt2", tempfile::tempdir()?);
    /// # let adapters = work.path().join("adapters");
    /// let mut learner = Learner::load(folder, &LoadOptions::default())?;
    /// learner.add_lora(&LoraOptions { rank: 4, ..LoraOptions::default() })?;
    /// // … steps …
    /// learner.save_lora(&adapters, "gpt2")?; // as peft does
    /// learner.merge_lora()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        let count = self.lora.insert(lora).layers.len();
        self.freeze(|_| false);
        Ok(count)
    }

    /// Writes the adapters as peft does, into a new folder that it reads; `base` says whose they are: a folder or an id on
    /// the hub.
    ///
    /// # Errors
    /// Where there are none, and where the folder holds something or cannot be written.
    pub fn save_lora(&self, folder: impl AsRef<Path>, base: &str) -> Result<()> {
        let files = self.lora_files(base)?;
        let folder = NewFolder::at(folder.as_ref())?;
        for (name, bytes) in files {
            folder.write(name, bytes)?;
        }
        folder.finish()
    }

    /// The files of the adapters by their names.
    pub(in crate::train) fn lora_files(&self, base: &str) -> Result<[(&'static str, Vec<u8>); 2]> {
        let lora = self.lora.as_ref().ok_or_else(no_adapters)?;
        let factors = |layer: &Layer| {
            let [left, right] = layer.parameters();
            Ok(layer.factors(lora.rank, self.value(&left)?, self.value(&right)?))
        };
        rendered(lora, &self.plan, base, factors)
    }

    /// The parameters of adapters.
    pub(in crate::train) fn lora_parameters(&self) -> HashSet<String> {
        self.lora.iter().flat_map(|lora| lora.layers.iter().flat_map(Layer::parameters)).collect()
    }

    /// Does something with the adapters, if there are any, added to the weights.
    pub(in crate::train) fn merged<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.learn.merge_adapters(true);
        let done = act();
        self.learn.merge_adapters(false);
        done
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
