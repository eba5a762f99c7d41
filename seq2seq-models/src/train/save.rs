//! Trained weights as the files of a model.

use super::{Learner, settings::SavedType};
use crate::{
    Error, Files, Result,
    checkpoint::writer::{self, TensorInfo},
    new_file,
    new_folder::NewFolder,
};
use half::{bf16, f16};
use seq2seq_core::DType;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

pub(crate) const WEIGHTS: &str = "model.safetensors";

impl SavedType {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// What config.json calls it.
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}

impl Learner {
    /// Writes the model, as it is now, to a folder that loads like the one that it came from. The folder appears when all
    /// is written, or not at all.
    ///
    /// # Errors
    /// Where `folder` holds something or cannot be written, and for weights that f16 cannot hold.
    pub fn save(&self, folder: impl AsRef<Path>, saved: SavedType) -> Result<()> {
        let folder = NewFolder::at(folder.as_ref())?;
        for (name, bytes) in carried(self.files(), saved)? {
            folder.write(&name, bytes)?;
        }
        write_weights(self, &folder.path().join(WEIGHTS), saved)?;
        folder.finish()
    }
}

/// The files beside the weights, config.json with the type that the weights are saved in.
pub(crate) fn carried(files: &Files, saved: SavedType) -> Result<Vec<(String, Vec<u8>)>> {
    let mut carried = files.carried()?;
    for (_, bytes) in carried.iter_mut().filter(|(name, _)| name == "config.json") {
        let mut config: Value = serde_json::from_slice(bytes).map_err(|e| {
            Error::file(files.path("config.json"), format!("is not the JSON expected: {e}"))
        })?;
        if let Some(keys) = config.as_object_mut() {
            keys.remove("torch_dtype");
            keys.insert("dtype".into(), saved.name().into());
        }
        *bytes = format!("{config:#}\n").into_bytes();
    }
    Ok(carried)
}

/// Replaces a file of weights by these.
pub(crate) fn write_weights(learner: &Learner, path: &Path, saved: SavedType) -> Result<()> {
    let tensors = model_tensors(learner)?;
    let infos = tensors.iter().map(|(info, parameter)| match parameter {
        Some(_) => TensorInfo { dtype: saved.dtype(), ..info.clone() },
        None => info.clone(),
    });
    let mut tensors: Vec<_> = infos.zip(tensors.iter().map(|(_, p)| p)).collect();
    tensors.sort_by_key(|(info, _)| std::cmp::Reverse(info.dtype.size()));
    let (infos, parameters): (Vec<_>, Vec<_>) = tensors.into_iter().unzip();
    let metadata = BTreeMap::from([("format", "pt".to_owned())]);
    let mut parameters = parameters.into_iter();
    new_file::replace(path, |temporary| {
        writer::write(temporary, path, &metadata, &infos, |info| match parameters.next() {
            Some(Some(parameter)) => encode(path, &info.name, &learner.value(parameter)?, saved),
            _ => learner.constant(&info.name),
        })
    })
}

/// The tensors that a file of the model has, in order, and of which parameter each is; `None` for what is not trained and
/// stays as it is.
///
/// A parameter may have a second name, as files made from tied modules have them: whoever reads them must find the same
/// under both.
pub(crate) fn model_tensors(learner: &Learner) -> Result<Vec<(TensorInfo, Option<String>)>> {
    let checkpoint = learner.checkpoint();
    let parameters: BTreeSet<String> = learner.parameters().into_iter().map(|p| p.name).collect();
    let tensor = |name: &str| checkpoint.tensor(name);
    let mut tensors = Vec::new();
    for name in checkpoint.names() {
        // What cannot be read the model has not read either.
        let Some(this) = tensor(name).unwrap_or(None) else { continue };
        let (dtype, shape) = (this.dtype(), this.shape().to_vec());
        let mut parameter = parameters.get(name).cloned();
        if parameter.is_none() {
            for other in &parameters {
                let Some(theirs) = tensor(other)? else { continue };
                if theirs.dtype() == dtype
                    && theirs.shape() == shape
                    && theirs.bytes() == this.bytes()
                {
                    parameter = Some(other.clone());
                    break;
                }
            }
        }
        tensors.push((TensorInfo { name: name.into(), dtype, shape }, parameter));
    }
    Ok(tensors)
}

fn encode(path: &Path, name: &str, values: &[f32], saved: SavedType) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = match saved {
        SavedType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        SavedType::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        SavedType::Bf16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
    };
    let finite = |v: &f32| match saved {
        SavedType::F32 => v.is_finite(),
        SavedType::F16 => f16::from_f32(*v).is_finite(),
        SavedType::Bf16 => bf16::from_f32(*v).is_finite(),
    };
    match values.iter().find(|v| !finite(v)) {
        None => Ok(bytes),
        Some(v) => Err(Error::file(
            path,
            format!("tensor '{name}' holds {v:e}, which {} cannot hold", saved.name()),
        )),
    }
}
