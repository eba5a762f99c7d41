//! Adapters as peft writes and reads them: `adapter_config.json` and `adapter_model.safetensors`.

use super::{Layer, Lora, check_dropout};
use crate::{
    Error, Files, Result,
    peft::{CONFIG, Peft, WEIGHTS, factor_name},
    plan::{HeadKind, ModelPlan},
};
use safetensors::{Dtype, tensor::TensorView};
use seq2seq_core::autodiff::LowRank;
use serde::Serialize;
use std::path::Path;

/// Where a training puts them in its output folder.
pub(in crate::train) const FOLDER: &str = "adapter";

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
            tensors.push((factor_name(&layer.name, factor), shape, bytes));
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
    let peft = Peft::open(Files::folder(folder)?)?;
    peft.refuse(&["rank_pattern", "modules_to_save"])?;
    let (rank, dropout) = (peft.rank, peft.dropout);
    let mut read = 0;
    let mut take = |layer: &Layer, factor: &str, shape: [usize; 2]| {
        let key = factor_name(&layer.name, factor);
        let Some(tensor) = peft.tensor(&key)? else { return Ok(None) };
        read += 1;
        if tensor.shape() != shape {
            let found = tensor.shape();
            return Err(peft.wrong(format!("'{key}' is {found:?}; {shape:?} was expected")));
        }
        Ok(Some(tensor.to_f32()))
    };
    let mut lora = Lora { rank, alpha: peft.alpha(rank) as f32, dropout, layers: Vec::new() };
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
            _ => return Err(peft.wrong(format!("'{}' has one factor of two", layer.name))),
        }
    }
    if read < peft.names().count() || lora.layers.is_empty() {
        let known = |name: &&str| {
            lora.layers.iter().any(|l| ["A", "B"].iter().any(|f| factor_name(&l.name, f) == **name))
        };
        let other = peft.names().find(|name| !known(name)).unwrap_or("nothing");
        let reason = format!("holds {other}, which is no factor of a linear layer of this model");
        return Err(peft.wrong(reason));
    }
    check_dropout(&lora.layers, dropout)?;
    Ok((lora, changes))
}
