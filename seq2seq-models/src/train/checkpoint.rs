//! A training as a file, from which it goes on as if it had never stopped.
//!
//! It is a safetensors file, so that others can look into it:
//!
//! | tensor | |
//! |---|---|
//! | `model/NAME` | the tensors of the model, parameters in f32 |
//! | `adapter/NAME` | the factors of LoRA |
//! | `optimiser/NAME/KEPT` | what optimisers keep of a parameter: `first`, `second`, `velocity`, … |
//! | `average/NAME` | the running mean |
//! | `checksum` | CRC-32 of all bytes before it |
//!
//! Its metadata are `format` = `seq2seq-training`, `version`, and `state`, all else as JSON.

use super::{
    Learner, OptimiserTensor, average::Average, data::Position, save::model_tensors,
    settings::Settings, trainer::Progress,
};
use crate::{
    Error, Files, Result,
    checkpoint::{
        mapping::Mapped,
        safetensors::read_header,
        writer::{self, TensorInfo},
    },
    new_file,
};
use seq2seq_core::DType;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const FORMAT: &str = "seq2seq-training";
const VERSION: &str = "1";
const CHECKSUM: &str = "checksum";

/// Everything beside tensors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) progress: Progress,
    pub(crate) position: Position,
    /// How often the average has been added to.
    pub(crate) averaged: Option<u64>,
}

/// Writes the file, or leaves the one that is there.
pub(crate) fn save(
    path: &Path,
    learner: &Learner,
    average: Option<&Average>,
    state: &State,
) -> Result<()> {
    let state = serde_json::to_string(state).map_err(|e| Error::file(path, e.to_string()))?;
    let metadata = BTreeMap::from([
        ("format", FORMAT.to_owned()),
        ("version", VERSION.to_owned()),
        ("state", state),
    ]);
    let (mut infos, mut sources) = (Vec::new(), Vec::new());
    let mut add = |name: String, dtype, shape: Vec<usize>, source| {
        infos.push(TensorInfo { name, dtype, shape });
        sources.push(source);
    };
    for (info, parameter) in model_tensors(learner)? {
        let dtype = if parameter.is_some() { DType::F32 } else { info.dtype };
        let source = parameter.map_or(Source::Constant(info.name.clone()), Source::Parameter);
        add(format!("model/{}", info.name), dtype, info.shape, source);
    }
    let adapters = learner.lora_parameters();
    for parameter in learner.parameters().into_iter().filter(|p| adapters.contains(&p.name)) {
        let name = format!("adapter/{}", parameter.name);
        add(name, DType::F32, parameter.shape, Source::Parameter(parameter.name));
    }
    for kept in learner.optimiser_tensors() {
        let name = format!("optimiser/{}/{}", kept.parameter, kept.name);
        add(name, DType::F32, kept.shape.to_vec(), Source::Optimiser(kept));
    }
    for (i, (name, values)) in average.iter().flat_map(|a| a.values()).enumerate() {
        add(format!("average/{name}"), DType::F32, vec![values.len()], Source::Average(i));
    }
    // Narrow constants would leave what follows misaligned.
    let mut order: Vec<usize> = (0..infos.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(infos[i].dtype.size()));
    let mut infos: Vec<TensorInfo> = order.iter().map(|&i| infos[i].clone()).collect();
    infos.push(TensorInfo { name: CHECKSUM.into(), dtype: DType::U8, shape: vec![4] });
    let mut order = order.iter();
    let mut sum = crc32fast::Hasher::new();
    new_file::replace(path, |temporary| {
        writer::write(temporary, path, &metadata, &infos, |_| {
            let Some(&i) = order.next() else {
                return Ok(sum.clone().finalize().to_le_bytes().to_vec());
            };
            let data = match &sources[i] {
                Source::Constant(name) => learner.constant(name)?,
                Source::Parameter(name) => bytes(&learner.value(name)?),
                Source::Optimiser(kept) => bytes(&learner.optimiser_value(kept)?),
                Source::Average(i) => bytes(average.map_or(&[], |average| &average.values()[*i].1)),
            };
            sum.update(&data);
            Ok(data)
        })
    })
}

enum Source {
    Constant(String),
    Parameter(String),
    Optimiser(OptimiserTensor),
    /// By its place.
    Average(usize),
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A file of a training, opened and checked.
pub(crate) struct Saved {
    path: PathBuf,
    file: Mapped,
    tensors: BTreeMap<String, Tensor>,
    pub(crate) state: State,
}

struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    range: std::ops::Range<usize>,
}

impl Saved {
    /// `None` where there is no such file.
    ///
    /// Fails where it is damaged, or is something else.
    pub(crate) fn open(folder: &Files, name: &str) -> Result<Option<Self>> {
        let path = folder.path(name);
        let Some(file) = folder.map(name)? else { return Ok(None) };
        let bytes = (*file.bytes).as_ref();
        let header = read_header(&path, bytes)?;
        let word = |key: &str| header.metadata.get(key).map_or("", String::as_str);
        if word("format") != FORMAT {
            return Err(Error::file(path, "is no checkpoint of a training"));
        }
        if word("version") != VERSION {
            let reason = format!(
                "is a checkpoint of version '{}'; this program reads {VERSION}",
                word("version")
            );
            return Err(Error::file(path, reason));
        }
        let mut tensors = BTreeMap::new();
        for (name, entry) in &header.tensors {
            let dtype = entry.element().ok_or_else(|| entry.unreadable(&path, name))?;
            let (shape, range) = (entry.shape.clone(), entry.range.clone());
            tensors.insert(name.clone(), Tensor { dtype, shape, range });
        }
        check_sum(&path, bytes, &tensors)?;
        let state = serde_json::from_str(word("state"))
            .map_err(|e| Error::file(&path, format!("its state is not the JSON expected: {e}")))?;
        Ok(Some(Self { path, file, tensors, state }))
    }

    fn data(&self, tensor: &Tensor) -> &[u8] {
        &(*self.file.bytes).as_ref()[tensor.range.clone()]
    }

    fn values(&self, name: &str, tensor: &Tensor) -> Result<Vec<f32>> {
        if tensor.dtype != DType::F32 {
            let found = format!("{:?}", tensor.dtype);
            let path = self.path.clone();
            return Err(Error::TensorType { path, tensor: name.into(), found });
        }
        let (values, _) = self.data(tensor).as_chunks();
        Ok(values.iter().map(|&v| f32::from_le_bytes(v)).collect())
    }

    /// The model's weights as a file of a model's folder.
    pub(crate) fn weights(&self) -> Vec<u8> {
        let model = self.tensors.iter().filter_map(|(name, tensor)| {
            let name = name.strip_prefix("model/")?.to_owned();
            Some((TensorInfo { name, dtype: tensor.dtype, shape: tensor.shape.clone() }, tensor))
        });
        let mut model: Vec<_> = model.collect();
        model.sort_by_key(|(info, _)| std::cmp::Reverse(info.dtype.size()));
        let mut file = writer::header(&BTreeMap::new(), model.iter().map(|(info, _)| info));
        model.iter().for_each(|(_, tensor)| file.extend(self.data(tensor)));
        file
    }

    /// Gives the learner its adapters, and what its optimisers had kept.
    pub(crate) fn restore(&self, learner: &Learner) -> Result<()> {
        let adapters = learner.lora_parameters();
        let adapter = |parameter: &str| {
            let name = format!("adapter/{parameter}");
            let tensor = self.tensors.get(&name).ok_or_else(|| {
                Error::file(&self.path, format!("has no tensor '{name}', though LoRA is trained"))
            })?;
            self.values(&name, tensor)
        };
        if !adapters.is_empty() {
            learner.set_values(|p| adapters.contains(p).then(|| adapter(p)).transpose())?;
        }
        learner.restore_optimiser(|parameter| {
            let prefix = format!("optimiser/{parameter}/");
            let kept = self
                .tensors
                .range(prefix.clone()..)
                .map_while(|(name, tensor)| Some((name, name.strip_prefix(&prefix)?, tensor)));
            let kept = kept.map(|(name, kept, tensor)| {
                let shape = tensor.shape[..].try_into().map_err(|_| {
                    Error::file(&self.path, format!("tensor '{name}' is no matrix"))
                })?;
                let (parameter, kept) = (parameter.to_owned(), kept.to_owned());
                let kept = OptimiserTensor { parameter, name: kept, shape };
                Ok((kept, self.values(name, tensor)?))
            });
            kept.collect()
        })
    }

    /// The running mean of each of these parameters.
    pub(crate) fn average(&self, learner: &Learner) -> Result<Vec<(String, Vec<f32>)>> {
        let parameters = learner.parameters().into_iter();
        let values = parameters.map(|p| {
            let name = format!("average/{}", p.name);
            let tensor = self.tensors.get(&name).ok_or_else(|| {
                Error::file(
                    &self.path,
                    format!("has no tensor '{name}', though weights are averaged"),
                )
            })?;
            let values = self.values(&name, tensor)?;
            match values.len() == p.shape.iter().product::<usize>() {
                true => Ok((p.name, values)),
                false => Err(Error::file(&self.path, format!("tensor '{name}' has another size"))),
            }
        });
        values.collect()
    }
}

fn check_sum(path: &Path, bytes: &[u8], tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let damaged = || Error::file(path, "is damaged: its tensors are not what was written");
    let begin = tensors.values().map(|t| t.range.start).min();
    let (Some(begin), Some(sum)) = (begin, tensors.get(CHECKSUM)) else { return Err(damaged()) };
    let found = crc32fast::hash(&bytes[begin..sum.range.start]);
    match bytes[sum.range.clone()] == found.to_le_bytes() {
        true => Ok(()),
        false => Err(damaged()),
    }
}
