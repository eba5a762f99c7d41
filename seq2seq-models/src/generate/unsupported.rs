//! Settings of transformers' `GenerationConfig` that ask for something this engine does not do, and those that have no
//! bearing on the result.

use super::{ConfigLayers, Origin};
use crate::{Error, Result};
use serde_json::Value;

/// A field that changes what is generated, and what it asks for.
struct Mode {
    field: &'static str,
    asks_for: &'static str,
    /// Whether a value leaves generation as it is.
    neutral: fn(&Value) -> bool,
}

fn at_most_zero(v: &Value) -> bool {
    v.as_f64().is_some_and(|v| v <= 0.0)
}

fn at_most_one(v: &Value) -> bool {
    v.as_f64().is_some_and(|v| v <= 1.0)
}

fn one(v: &Value) -> bool {
    v.as_f64() == Some(1.0)
}

fn is_false(v: &Value) -> bool {
    v == false
}

fn nothing(_: &Value) -> bool {
    false
}

const MODES: [Mode; 14] = [
    Mode { field: "penalty_alpha", asks_for: "contrastive search", neutral: at_most_zero },
    Mode {
        field: "num_beam_groups",
        asks_for: "diverse (group) beam search",
        neutral: at_most_one,
    },
    Mode {
        field: "diversity_penalty",
        asks_for: "diverse (group) beam search",
        neutral: at_most_zero,
    },
    Mode { field: "constraints", asks_for: "constrained beam search", neutral: nothing },
    Mode { field: "force_words_ids", asks_for: "constrained beam search", neutral: nothing },
    Mode { field: "guidance_scale", asks_for: "classifier-free guidance", neutral: one },
    Mode { field: "dola_layers", asks_for: "DoLa decoding", neutral: nothing },
    Mode { field: "prompt_lookup_num_tokens", asks_for: "assisted decoding", neutral: nothing },
    Mode { field: "assistant_early_exit", asks_for: "assisted decoding", neutral: nothing },
    Mode { field: "use_mtp", asks_for: "assisted decoding", neutral: is_false },
    Mode { field: "token_healing", asks_for: "token healing", neutral: is_false },
    Mode { field: "watermarking_config", asks_for: "watermarking", neutral: nothing },
    Mode { field: "top_h", asks_for: "top-h sampling", neutral: nothing },
    Mode { field: "low_memory", asks_for: "sequential beam search", neutral: is_false },
];

/// Fields about speed, memory and the form of the answer, and fields that matter only to a mode above.
/// `remove_invalid_values` replaces scores that are not numbers, of which there are none here: that is an error.
const WITHOUT_EFFECT: [&str; 30] = [
    "_commit_hash",
    "_from_model_config",
    "assistant_confidence_threshold",
    "assistant_ensemble_weight",
    "assistant_lookbehind",
    "cache_config",
    "cache_implementation",
    "compile_config",
    "continuous_batching_config",
    "disable_compile",
    "is_assistant",
    "max_cache_len",
    "max_matching_ngram_size",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "prefill_chunk_size",
    "remove_invalid_values",
    "return_dict",
    "return_dict_in_generate",
    "return_legacy_cache",
    "speculation_type",
    "target_lookbehind",
    "trust_remote_code",
    "transformers_version",
    "use_cache",
    "use_model_defaults",
];

/// The fields whose value decides whether a generation can be done.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    MODES.iter().map(|m| m.field)
}

/// Whether a field is known to have no effect.
pub(super) fn is_without_effect(field: &str) -> bool {
    WITHOUT_EFFECT.contains(&field)
}

/// Fails where the settings ask for another way of decoding than there is.
pub(super) fn check(layers: &ConfigLayers) -> Result<()> {
    for mode in &MODES {
        if let Some(value) = layers.raw(mode.field)
            && !(mode.neutral)(value)
        {
            let unset = match layers.origin(mode.field) {
                Origin::Caller => "leave it out",
                _ => "override it with a neutral value or take it out of the file",
            };
            return Err(Error::Input(format!(
                "{}: {} = {value} asks for {}, which is not supported; {unset}",
                layers.origin(mode.field),
                mode.field,
                mode.asks_for,
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check_json(value: Value) -> Result<()> {
        check(&ConfigLayers::new().with_fields(&value)?)
    }

    #[test]
    fn other_modes_are_refused_by_name() {
        for (value, word) in [
            (json!({"penalty_alpha": 0.6, "top_k": 4}), "contrastive"),
            (json!({"num_beam_groups": 2}), "group"),
            (json!({"force_words_ids": [[3]]}), "constrained"),
            (json!({"guidance_scale": 1.5}), "guidance"),
            (json!({"prompt_lookup_num_tokens": 3}), "assisted"),
            (json!({"watermarking_config": {}}), "watermarking"),
        ] {
            let e = check_json(value.clone()).unwrap_err().to_string();
            assert!(e.contains(word), "{value}: {e}");
        }
    }

    #[test]
    fn neutral_values_pass() {
        check_json(json!({
            "penalty_alpha": 0.0, "num_beam_groups": 1, "diversity_penalty": 0.0, "guidance_scale": 1,
            "constraints": null, "token_healing": false, "use_cache": true, "num_beams": 4,
        }))
        .unwrap();
    }
}
