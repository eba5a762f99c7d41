//! Adapters as peft writes and reads them: `adapter_config.json` and `adapter_model.safetensors`.

use crate::{
    Error, Files, Result,
    checkpoint::safetensors::{Header, read_header},
};
use seq2seq_core::{HostTensor, host::SharedBytes};
use serde_json::Value;

pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";
/// What peft puts before the names of modules.
pub(crate) const PREFIX: &str = "base_model.model.";

/// The name of a factor, A or B, of the adapter of `module`.
pub(crate) fn factor_name(module: &str, factor: &str) -> String {
    format!("{PREFIX}{module}.lora_{factor}.weight")
}

/// The transpose of a matrix of so many rows, such as a factor for weights that lie `[in, out]`.
pub(crate) fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows.max(1);
    (0..columns).flat_map(|j| (0..rows).map(move |i| values[i * columns + j])).collect()
}

/// The files of low-rank adapters. Their tensors are views of the mapped file.
pub(crate) struct Peft {
    files: Files,
    config: Value,
    header: Header,
    bytes: SharedBytes,
    /// Rows of A where `rank_pattern` says nothing else.
    pub(crate) rank: usize,
    alpha: f64,
    /// Whether alpha is divided by √rank in place of the rank (Kalajdzievski 2023, rsLoRA).
    by_root: bool,
    pub(crate) dropout: f32,
}

impl Peft {
    /// Opens a folder.
    ///
    /// # Errors
    /// Files that are missing or damaged, and adapters of a kind that A, B and alpha alone do not make.
    pub(crate) fn open(files: Files) -> Result<Self> {
        let wrong = |name: &str, reason: String| Error::file(files.path(name), reason);
        let missing = |name: &str| wrong(name, "no such file; an adapter has one".into());
        let config: Value = files.json(CONFIG)?.ok_or_else(|| missing(CONFIG))?;
        if config.get("peft_type") != Some(&"LORA".into()) {
            let kind = config.get("peft_type").unwrap_or(&Value::Null);
            return Err(wrong(CONFIG, format!("peft_type is {kind}; only LORA is read")));
        }
        refuse(&config, &OTHER).map_err(|reason| wrong(CONFIG, reason))?;
        let number = |name: &str| config.get(name).and_then(Value::as_f64);
        let rank = config.get("r").and_then(Value::as_u64).and_then(|r| usize::try_from(r).ok());
        let (Some(rank @ 1..), Some(alpha)) = (rank, number("lora_alpha")) else {
            return Err(wrong(CONFIG, "r must be a number from 1, lora_alpha a number".into()));
        };
        let dropout = number("lora_dropout").unwrap_or(0.0);
        if !(0.0..1.0).contains(&dropout) {
            let reason = format!("lora_dropout is {dropout}; it is from 0 to below 1");
            return Err(wrong(CONFIG, reason));
        }
        let by_root = config.get("use_rslora") == Some(&true.into());
        let mapped = files.map(WEIGHTS)?.ok_or_else(|| missing(WEIGHTS))?;
        let header = read_header(&files.path(WEIGHTS), (*mapped.bytes).as_ref())?;
        let (bytes, dropout) = (mapped.bytes, dropout as f32);
        Ok(Self { files, config, header, bytes, rank, alpha, by_root, dropout })
    }

    /// Fails where the configuration sets one of `names`.
    pub(crate) fn refuse(&self, names: &[&str]) -> Result<()> {
        refuse(&self.config, names).map_err(|reason| Error::file(self.files.path(CONFIG), reason))
    }

    /// What B A is multiplied by where A has `rank` rows.
    pub(crate) fn scale(&self, rank: usize) -> f32 {
        (self.alpha(rank) / rank as f64) as f32
    }

    /// The alpha of which the rank's share is the scale.
    pub(crate) fn alpha(&self, rank: usize) -> f64 {
        self.alpha * if self.by_root { (rank as f64).sqrt() } else { 1.0 }
    }

    /// The names of all tensors, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// The tensor of this name, of floats.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<HostTensor>> {
        let Some(entry) = self.header.tensors.get(name) else { return Ok(None) };
        let dtype = entry.element().filter(|dtype| dtype.is_float());
        let dtype = dtype.ok_or_else(|| entry.unreadable(&self.files.path(WEIGHTS), name))?;
        let (shape, range) = (entry.shape.clone(), entry.range.clone());
        Ok(Some(HostTensor::from_shared(dtype, shape, self.bytes.clone(), range)?))
    }

    /// The error for what is wrong with the tensors.
    pub(crate) fn wrong(&self, reason: String) -> Error {
        Error::file(self.files.path(WEIGHTS), reason)
    }
}

/// What A and B would make another model with.
const OTHER: [&str; 7] = [
    "use_dora",
    "alpha_pattern",
    "bias",
    "lora_bias",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
];

fn refuse(config: &Value, names: &[&str]) -> std::result::Result<(), String> {
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text == "none",
        _ => false,
    };
    let of = |name: &str| config.get(name).unwrap_or(&Value::Null);
    match names.iter().find(|name| !empty(of(name))) {
        None => Ok(()),
        Some(name) => Err(format!("{name} is {}, which is not supported", of(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::borrow::Cow;

    /// Files of a configuration and no tensors.
    fn files(config: &Value) -> Files {
        let weights = [&2u64.to_le_bytes()[..], b"{}"].concat();
        let json = config.to_string().into_bytes();
        Files::embedded("adapter", [(CONFIG, Cow::from(json)), (WEIGHTS, Cow::from(weights))])
    }

    fn complaint(config: Value) -> String {
        Peft::open(files(&config)).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn other_kinds_of_adapters_are_refused() {
        let with = |key: &str, value: Value| {
            let mut config = json!({"peft_type": "LORA", "bias": "none", "r": 2, "lora_alpha": 3});
            config[key] = value;
            complaint(config)
        };
        assert_eq!(with("alpha_pattern", json!({})), "");
        for (key, value) in [
            ("peft_type", json!("IA3")),
            ("use_dora", json!(true)),
            ("alpha_pattern", json!({"q": 4})),
            ("bias", json!("all")),
            ("r", json!(0)),
            ("lora_alpha", json!("16")),
            ("lora_dropout", json!(1.0)),
        ] {
            let says = with(key, value);
            assert!(says.contains(key) && says.contains(CONFIG), "{key}: {says}");
        }
        assert!(complaint(json!({})).contains("peft_type is null"));
    }

    #[test]
    fn the_scale_is_alpha_over_the_rank_or_its_root() {
        let scale = |by_root: bool| {
            let config =
                json!({"peft_type": "LORA", "r": 4, "lora_alpha": 6, "use_rslora": by_root});
            let peft = Peft::open(files(&config)).unwrap();
            (peft.scale(4), peft.scale(9))
        };
        assert_eq!(scale(false), (1.5, 6.0 / 9.0));
        assert_eq!(scale(true), (3.0, 2.0));
    }
}
