//! What the families say of new models: sizes, names, and how weights are drawn.

use super::{draw::Draw, fan};
use crate::{
    Error, Result, Tokenizer,
    checkpoint::Missing,
    families::Family,
    plan::{ModelPlan, StackPlan},
    train::settings::{Architecture, GroupSettings, OptimiserKind},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The configuration of a small model: some three million weights, that a processor trains in minutes. Nothing is dropped: so
/// short a training ends before a small model has learned its rows by heart.
pub(super) fn small(family: Family) -> Result<Value> {
    match family {
        Family::T5 => Ok(json!({
            "model_type": "t5", "architectures": ["T5ForConditionalGeneration"],
            "d_model": 192, "d_kv": 32, "d_ff": 768, "num_heads": 6, "num_layers": 3,
            "num_decoder_layers": 3, "dropout_rate": 0.0, "feed_forward_proj": "relu",
            "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
            "layer_norm_epsilon": 1e-6, "is_encoder_decoder": true, "tie_word_embeddings": true,
        })),
        Family::Bart => Ok(json!({
            "model_type": "bart", "architectures": ["BartForConditionalGeneration"],
            "d_model": 192, "encoder_layers": 3, "decoder_layers": 3, "encoder_ffn_dim": 768,
            "decoder_ffn_dim": 768, "encoder_attention_heads": 6, "decoder_attention_heads": 6,
            "max_position_embeddings": 512, "activation_function": "gelu", "dropout": 0.0,
            "attention_dropout": 0.0, "activation_dropout": 0.0, "init_std": 0.02,
            "scale_embedding": false, "is_encoder_decoder": true, "tie_word_embeddings": true,
        })),
        Family::Gpt2 => Ok(json!({
            "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"],
            "n_embd": 192, "n_layer": 4, "n_head": 6, "n_positions": 512,
            "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "embd_pdrop": 0.0,
            "attn_pdrop": 0.0, "resid_pdrop": 0.0, "initializer_range": 0.02,
            "tie_word_embeddings": true,
        })),
        Family::RnnSeq2Seq => Ok(json!({
            "model_type": "rnn_seq2seq", "architectures": ["RnnSeq2Seq"],
            "cell": "lstm", "embedding_size": 192, "hidden_size": 384, "num_layers": 1,
            "bidirectional": true, "attention": "bahdanau", "is_encoder_decoder": true,
        })),
        other => Err(Error::Input(format!(
            "new models are of the families t5, bart, gpt2, rnn; {other} is trained further only"
        ))),
    }
}

/// What a small model is where it has a latent: attention would lead past it, and z is read at every step.
pub(in crate::train) fn latent(family: Family) -> Result<Value> {
    match family {
        Family::RnnSeq2Seq => Ok(json!({"attention": "none", "input_feeding": true})),
        other => Err(Error::Input(format!(
            "'architecture.latent' is for a new model of the family rnn; {other} has none"
        ))),
    }
}

/// The keys of config.json that a new model may have: those that are read of its family, and those that others read in what a
/// small model is.
pub(in crate::train) fn keys(family: Family) -> Result<BTreeSet<String>> {
    let small = small(family)?;
    let written = small.as_object().into_iter().flat_map(|object| object.keys().cloned());
    Ok(family.keys().map(String::from).chain(written).collect())
}

/// Gives a new variational autoencoder a latent, where its settings do not.
pub(in crate::train) fn with_latent(architecture: &mut Architecture) -> Result<()> {
    match architecture.contains("latent") {
        true => Ok(()),
        false => architecture.set("latent", BTreeMap::from([("size", 32)])),
    }
}

/// Parameters of a new model for which something else holds, unless the settings have groups of their own.
///
/// The matrices within the blocks of a transformer are trained by Muon: on numbers written as words (500 rows, 150 steps) a T5
/// came to 76% of what it had not seen, by AdamW alone to 8%. T5's position biases begin near zero and come to several
/// units before a head can tell neighbours apart; at the rate of the others that takes a thousand steps, in which nothing is
/// copied in order.
pub(in crate::train) fn groups(family: Family) -> Vec<GroupSettings> {
    let group = |name: &str, rate, decay, kind| GroupSettings {
        names: vec![name.into()],
        rate,
        decay,
        kind,
        frozen: false,
    };
    let muon = |name| group(name, 1.5, None, Some(OptimiserKind::Muon));
    match family {
        Family::T5 => {
            let biases = group("*.relative_attention_bias.weight", 10.0, Some(0.0), None);
            vec![muon("*.block.*.weight"), biases]
        }
        Family::Bart => vec![muon("*.layers.*.weight")],
        Family::Gpt2 => vec![muon("transformer.h.*.weight")],
        _ => Vec::new(),
    }
}

/// What decoders begin with.
pub(super) fn decoder_start(
    family: Family,
    tokenizer: &Tokenizer,
    pad: u32,
    eos: u32,
) -> Option<u32> {
    match family {
        Family::T5 => Some(pad),
        Family::Bart => Some(eos),
        Family::RnnSeq2Seq => Some(tokenizer.bos_id().unwrap_or(pad)),
        _ => None,
    }
}

/// The name that a new tensor has in its file: the one that modules share, where they can.
pub(super) fn name(family: Family, missing: &Missing) -> String {
    let shared = |name: &&String| name.rsplit('.').nth(1) == Some("shared");
    let shares = matches!(family, Family::T5 | Family::Bart);
    let shared = missing.names.iter().find(shared).filter(|_| shares);
    shared.or(missing.names.first()).unwrap_or(&missing.path).clone()
}

/// Whether a new model has a tensor that it could do without.
pub(super) fn wants(plan: &ModelPlan, config: &Value, path: &str) -> bool {
    if path == "head.language.out.weight" {
        return config.get("tie_word_embeddings") == Some(&Value::Bool(false));
    }
    // PyTorch's recurrent layers have their biases.
    plan.recurrent.is_some() && path.ends_with(".bias") && !path.starts_with("head.")
}

/// How the values of a tensor are drawn: as `_init_weights` of transformers has it for T5, BART and GPT-2, and as
/// PyTorch's modules do for recurrent models, but for their embeddings.
pub(super) fn draw(plan: &ModelPlan, path: &str, shape: &[usize]) -> Draw {
    let part = |suffix: &str| path.ends_with(suffix);
    if part(".norm.weight") {
        return Draw::Constant(1.0);
    }
    if let Some(recurrent) = &plan.recurrent {
        let width =
            if path.starts_with("encoder.") { recurrent.encoder_width } else { recurrent.width };
        return match () {
            () if part(".tokens.weight") => Draw::Normal(fan(recurrent.embedding)),
            () if path.contains(".layers.") && !path.contains(".bridge.") => {
                Draw::Uniform(fan(width))
            }
            () if part("cross.v") => Draw::Uniform(fan(shape[0])),
            () if part(".bias") => Draw::Constant(0.0),
            () => Draw::Uniform(fan(shape.last().copied().unwrap_or(1))),
        };
    }
    if part(".bias") {
        return Draw::Constant(0.0);
    }
    let stack = match path.starts_with("encoder.") {
        true => plan.encoder.as_ref(),
        false => plan.last_stack(),
    };
    match (plan.family, stack) {
        (Family::T5, Some(stack)) => Draw::Normal(t5(stack, path)),
        // Radford et al. 2019, section 2.3: what is added to the residual stream, 2 L times.
        (Family::Gpt2, Some(stack))
            if part(".attention.output.weight") || part(".ffn.out.weight") =>
        {
            Draw::Normal(0.02 * fan(2 * stack.layers))
        }
        _ => Draw::Normal(0.02),
    }
}

fn t5(stack: &StackPlan, path: &str) -> f64 {
    let inner = stack.attention.heads * stack.attention.head_dim;
    match path.rsplit('.').nth(1) {
        // Scores are not scaled in T5.
        Some("query") => fan(stack.width * stack.attention.head_dim),
        Some("output") => fan(inner),
        Some("out") if path.contains(".ffn.") => fan(stack.feed_forward.width),
        Some("tokens" | "out") => 1.0,
        _ => fan(stack.width),
    }
}
