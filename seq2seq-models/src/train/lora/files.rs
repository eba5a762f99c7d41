//! Adapters as peft writes and reads them: `adapter_config.json` and `adapter_model.safetensors`.

use super::{Layer, Lora, check_dropout};
use crate::{
    Error, Files, Result,
    plan::{HeadKind, ModelPlan},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use seq2seq_core::autodiff::LowRank;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
/// Where a training puts them in its output folder.
pub(in crate::train) const FOLDER: &str = "adapter";
/// What peft puts before the names of modules.
const PREFIX: &str = "base_model.model.";

/// `adapter_config.json`: what peft needs of it.
#[derive(Debug, Serialize)]
struct Config<'a> {
    peft_type: &'a str,
    task_type: Option<&'static str>,
    base_model_name_or_path: &'a str,
    r: usize,
    lora_alpha: f32,
    lora_dropout: f32,
    /// Names of modules.
    target_modules: Vec<&'a str>,
    /// Whether weights are `[in, out]`.
    fan_in_fan_out: bool,
    bias: &'a str,
    inference_mode: bool,
    use_rslora: bool,
}

/// The files of the adapters, of which `factors` gives A and B, by their names.
pub(in crate::train) fn rendered(
    lora: &Lora,
    plan: &ModelPlan,
    base: &str,
    factors: impl Fn(&Layer) -> Result<[Vec<f32>; 2]>,
) -> Result<[(&'static str, Vec<u8>); 2]> {
    let config = Config {
        peft_type: "LORA",
        task_type: match plan.head.kind {
            HeadKind::Language if plan.is_encoder_decoder() => Some("SEQ_2_SEQ_LM"),
            HeadKind::Language => Some("CAUSAL_LM"),
            HeadKind::Classify => Some("SEQ_CLS"),
            HeadKind::Tag => Some("TOKEN_CLS"),
            HeadKind::Answer => Some("QUESTION_ANS"),
            HeadKind::Hidden => Some("FEATURE_EXTRACTION"),
            HeadKind::MaskedLanguage | HeadKind::Replaced => None,
        },
        base_model_name_or_path: base,
        r: lora.rank,
        lora_alpha: lora.alpha,
        lora_dropout: lora.dropout,
        target_modules: lora.layers.iter().map(|l| l.name.as_str()).collect(),
        fan_in_fan_out: lora.layers.iter().any(|l| l.transposed),
        bias: "none",
        inference_mode: true,
        use_rslora: false,
    };
    let failed = |e: &dyn std::fmt::Display| Error::Input(format!("the adapters: {e}"));
    let mut json = serde_json::to_vec_pretty(&config).map_err(|e| failed(&e))?;
    json.push(b'\n');
    let mut tensors = Vec::new();
    for layer in &lora.layers {
        let shapes = [vec![lora.rank, layer.inputs], vec![layer.outputs, lora.rank]];
        for ((factor, shape), values) in ["A", "B"].into_iter().zip(shapes).zip(factors(layer)?) {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            tensors.push((key(layer, factor), shape, bytes));
        }
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|e| failed(&e))?;
        Ok((name.as_str(), view))
    });
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| failed(&e))?;
    Ok([(CONFIG, json), (WEIGHTS, bytes)])
}

/// Reads adapters for some of `layers`.
pub(in crate::train) fn load(folder: &Path, layers: Vec<Layer>) -> Result<(Lora, Vec<LowRank>)> {
    let files = Files::folder(folder)?;
    let wrong = |name: &str, reason: String| Error::file(files.path(name), reason);
    let missing = |name: &str| wrong(name, "no such file; an adapter has one".into());
    let json: Value = files.json(CONFIG)?.ok_or_else(|| missing(CONFIG))?;
    check(&json).map_err(|reason| wrong(CONFIG, reason))?;
    let number = |name: &str| json.get(name).and_then(Value::as_f64);
    let rank = json.get("r").and_then(Value::as_u64).and_then(|r| usize::try_from(r).ok());
    let (Some(rank @ 1..), Some(alpha)) = (rank, number("lora_alpha")) else {
        return Err(wrong(CONFIG, "r must be a number from 1, lora_alpha a number".into()));
    };
    let dropout = number("lora_dropout").unwrap_or(0.0);
    if !(0.0..1.0).contains(&dropout) {
        let reason = format!("lora_dropout is {dropout}; it is from 0 to below 1");
        return Err(wrong(CONFIG, reason));
    }
    let alpha = match json.get("use_rslora") {
        // alpha / √r, as alpha / r
        Some(Value::Bool(true)) => alpha * (rank as f64).sqrt(),
        _ => alpha,
    };
    let bytes = files.read(WEIGHTS)?.ok_or_else(|| missing(WEIGHTS))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(WEIGHTS, e.to_string()))?;
    let mut read = 0;
    let mut take = |layer: &Layer, factor: &str, shape: [usize; 2]| {
        let key = key(layer, factor);
        let Ok(tensor) = file.tensor(&key) else { return Ok(None) };
        read += 1;
        let found = (tensor.dtype(), tensor.shape());
        if found != (Dtype::F32, &shape) {
            let reason = format!("'{key}' is {found:?}; F32 of {shape:?} was expected");
            return Err(wrong(WEIGHTS, reason));
        }
        let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
        Ok(Some(values.collect::<Vec<_>>()))
    };
    let (alpha, dropout) = (alpha as f32, dropout as f32);
    let mut lora = Lora { rank, alpha, dropout, layers: Vec::new() };
    let mut changes = Vec::new();
    for layer in layers {
        let a = take(&layer, "A", [rank, layer.inputs])?;
        let b = take(&layer, "B", [layer.outputs, rank])?;
        match (a, b) {
            (Some(a), Some(b)) => {
                changes.push(layer.change(&lora, &a, &b)?);
                lora.layers.push(layer);
            }
            (None, None) => {}
            _ => return Err(wrong(WEIGHTS, format!("'{}' has one factor of two", layer.name))),
        }
    }
    if read < file.len() || lora.layers.is_empty() {
        let known = |name: &&str| {
            lora.layers.iter().any(|l| ["A", "B"].iter().any(|factor| key(l, factor) == **name))
        };
        let names = file.names();
        let other = names.into_iter().find(|name| !known(name)).unwrap_or("nothing");
        let reason = format!("holds {other}, which is no factor of a linear layer of this model");
        return Err(wrong(WEIGHTS, reason));
    }
    check_dropout(&lora.layers, dropout)?;
    Ok((lora, changes))
}

/// Fails on settings that would make another model than A and B do.
fn check(config: &Value) -> std::result::Result<(), String> {
    let of = |name: &str| config.get(name).unwrap_or(&Value::Null);
    if of("peft_type") != "LORA" {
        return Err(format!("peft_type is {}; only LORA is read", of("peft_type")));
    }
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text == "none",
        _ => false,
    };
    const OTHER: [&str; 9] = [
        "use_dora",
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
        "bias",
        "lora_bias",
        "layer_replication",
        "trainable_token_indices",
        "target_parameters",
    ];
    match OTHER.into_iter().find(|name| !empty(of(name))) {
        None => Ok(()),
        Some(name) => Err(format!("{name} is {}, which is not supported", of(name))),
    }
}

fn key(layer: &Layer, factor: &str) -> String {
    format!("{PREFIX}{}.lora_{factor}.weight", layer.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn other_kinds_of_adapters_are_refused() {
        check(&json!({"peft_type": "LORA", "bias": "none", "rank_pattern": {}})).unwrap();
        for (config, says) in [
            (json!({"peft_type": "IA3"}), "IA3"),
            (json!({"peft_type": "LORA", "use_dora": true}), "use_dora"),
            (json!({"peft_type": "LORA", "rank_pattern": {"q": 4}}), "rank_pattern"),
            (json!({"peft_type": "LORA", "bias": "all"}), "bias"),
            (json!({"peft_type": "LORA", "modules_to_save": ["classifier"]}), "modules_to_save"),
        ] {
            assert!(check(&config).unwrap_err().contains(says));
        }
    }
}
