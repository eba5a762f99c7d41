//! Models that nobody has trained yet.
//!
//! What tensors a model has is found by loading it from nothing and noting what is missed; so a new model is whatever the
//! plan of its config.json is. Weights are drawn as the family's own code draws them.

mod draw;
mod families;

pub(super) use families::{groups, keys, latent, with_latent};

use super::random::{Draws, Purpose};
use crate::{
    Error, Files, Result, Tokenizer,
    checkpoint::{
        Checkpoint, Formats, Loader, Missing,
        writer::{self, TensorInfo},
    },
    families::Family,
    inspect::blank::Blank,
    stacks,
    train::{data::fnv, save::WEIGHTS, settings::Architecture},
};
use seq2seq_core::DType;
use serde_json::{Map, Value, json};
use std::{borrow::Cow, collections::BTreeMap};

/// A new model of a family.
///
/// ```
/// use seq2seq_models::{Family, Learner, LoadOptions};
/// use seq2seq_models::train::{NewModel, tokenizers::{Kind, NewTokenizer, TokenizerOptions}};
///
/// let tokenizer = NewTokenizer::train(&TokenizerOptions::new(Kind::Bytes), None)?;
/// let files = tokenizer.files().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
/// let architecture = &"d_model = 32\nnum_layers = 1".parse()?;
/// let new = NewModel { family: Family::T5, architecture, seed: 1 };
/// let learner = Learner::load_files(new.files(files.into())?, &LoadOptions::default())?;
/// assert_eq!(learner.plan().first_stack().map(|stack| stack.width), Some(32));
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug)]
pub struct NewModel<'a> {
    /// Which family: T5, BART, GPT-2, or the recurrent one.
    pub family: Family,
    /// What it is, beside what the family's small model is.
    pub architecture: &'a Architecture,
    /// What the weights hang on.
    pub seed: u64,
}

impl NewModel<'_> {
    /// The folder of the model, in memory; `tokenizer` holds the files of its tokenizer.
    ///
    /// # Errors
    /// For a family that is not begun anew, keys that make no model, and a tokenizer without an end of texts.
    pub fn files(&self, tokenizer: Vec<(String, Vec<u8>)>) -> Result<Files> {
        let mut files: Vec<(String, Cow<'static, [u8]>)> =
            tokenizer.into_iter().map(|(name, bytes)| (name, Cow::Owned(bytes))).collect();
        let reads = Tokenizer::from_files(&Files::embedded("the tokenizer", files.clone()))?;
        let (config, generation) = self.configs(&reads)?;
        for (name, json) in [("config.json", &config), ("generation_config.json", &generation)] {
            files.push((name.into(), Cow::Owned(format!("{json:#}\n").into_bytes())));
        }
        let none = writer::header(&BTreeMap::new(), []);
        let mut bare = files.clone();
        bare.push((WEIGHTS.into(), Cow::Owned(none)));
        let weights = self.weights(Files::embedded("the new model", bare))?;
        files.push((WEIGHTS.into(), Cow::Owned(weights)));
        Ok(Files::embedded("the new model", files))
    }

    /// config.json and generation_config.json.
    fn configs(&self, tokenizer: &Tokenizer) -> Result<(Value, Value)> {
        self.architecture.check(self.family)?;
        let mut config = families::small(self.family)?;
        let eos = tokenizer.eos_id().ok_or_else(|| {
            Error::input(
                "the tokenizer has no token for the end of a text; a model that writes needs one",
            )
        })?;
        let pad = tokenizer.pad_id().unwrap_or(eos);
        let begin = families::decoder_start(self.family, tokenizer, pad, eos);
        let mut ids = json!({"pad_token_id": pad, "eos_token_id": eos});
        if let Some(bos) = tokenizer.bos_id() {
            ids["bos_token_id"] = bos.into();
        }
        if let Some(begin) = begin {
            ids["decoder_start_token_id"] = begin.into();
        }
        let mut generation = ids.clone();
        generation["max_new_tokens"] = 256.into();
        merge(&mut config, &ids);
        config["vocab_size"] = tokenizer.vocab_size().into();
        let own = serde_json::to_value(self.architecture)
            .map_err(|e| Error::Input(format!("'architecture': {e}")))?;
        if own.get("latent").is_some() {
            merge(&mut config, &families::latent(self.family)?);
        }
        merge(&mut config, &own);
        Ok((config, generation))
    }

    /// The file of the weights of a folder that has none.
    fn weights(&self, files: Files) -> Result<Vec<u8>> {
        let checkpoint = Checkpoint::open(files, None)?;
        let plan = crate::families::plan(&checkpoint)?;
        let formats = Formats::default();
        let loader = Loader::new(&Blank, &checkpoint, plan.family.names(), &formats).collecting();
        stacks::load(&plan, &loader)?;
        let (taken, _) = loader.finish();
        let mut tensors = BTreeMap::new();
        for missing in taken.missing {
            if missing.required || families::wants(&plan, checkpoint.config(), &missing.path) {
                let name = families::name(self.family, &missing);
                tensors.entry(name).or_insert(missing);
            }
        }
        let info = |(name, missing): (&String, &Missing)| TensorInfo {
            name: name.clone(),
            dtype: DType::F32,
            shape: missing.shape.clone(),
        };
        let infos: Vec<TensorInfo> = tensors.iter().map(info).collect();
        let mut file = writer::header(&BTreeMap::from([("format", "pt".to_owned())]), &infos);
        for (name, missing) in &tensors {
            let draw = families::draw(&plan, &missing.path, &missing.shape);
            let mut draws = Draws::new(self.seed, Purpose::Weights, 0, fnv(0, name.as_bytes()));
            let elements = missing.shape.iter().product();
            draw.values(elements, &mut draws).for_each(|v| file.extend(v.to_le_bytes()));
        }
        Ok(file)
    }
}

/// Lays the keys of an object over those of another.
fn merge(config: &mut Value, over: &Value) {
    let keys = over.as_object().cloned().unwrap_or_else(Map::new);
    keys.into_iter().for_each(|(key, value)| config[key] = value);
}

/// How large weights are that follow each other: one over the root of what is summed.
fn fan(n: usize) -> f64 {
    (n.max(1) as f64).sqrt().recip()
}

#[cfg(test)]
mod tests;
