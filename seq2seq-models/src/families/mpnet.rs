//! MPNet (Song et al. 2020): RoBERTa without segments, with T5's bias in every layer.

use super::{Family, Unplanned, config::read, roberta};
use crate::{checkpoint::NameTable, plan::*};
use seq2seq_core::BucketSpec;
use serde::Deserialize;
use serde_json::{Value, json};

/// Buckets of the bias, whatever the configuration says of them (PARITY trap 85).
const BUCKETS: usize = 32;

#[derive(Deserialize)]
#[serde(default)]
struct Buckets {
    relative_attention_num_buckets: usize,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { relative_attention_num_buckets: BUCKETS }
    }
}

pub(super) fn plan(config: &Value) -> Result<ModelPlan, Unplanned> {
    let given = read::<Buckets>(config)?.relative_attention_num_buckets;
    if given != BUCKETS {
        return Err(Unplanned::Invalid(format!(
            "'relative_attention_num_buckets' is {given}; MPNet counts distances in {BUCKETS} buckets"
        )));
    }
    let mut plan = roberta::plan(Family::Mpnet, &without_keys_of_bert(config))?;
    if let Some(encoder) = &mut plan.encoder {
        encoder.attention.relative_bias =
            Some(BucketSpec { buckets: BUCKETS, max_distance: 128, bidirectional: true });
    }
    Ok(plan)
}

/// The configuration with what MPNet does not read set to what it computes.
fn without_keys_of_bert(config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(keys) = config.as_object_mut() {
        keys.remove("classifier_dropout");
        keys.remove("is_decoder");
        keys.remove("add_cross_attention");
        keys.insert("type_vocab_size".into(), json!(0));
        keys.insert("pad_token_id".into(), json!(1)); // PARITY trap 85
    }
    config
}

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &["mpnet.", ""],
    rules: &[
        &[
            ("encoder.embed.tokens", &["embeddings.word_embeddings"]),
            ("encoder.embed.positions", &["embeddings.position_embeddings"]),
            ("encoder.embed.norm", &["embeddings.LayerNorm"]),
            ("encoder.relative_bias", &["encoder.relative_attention_bias"]),
            ("encoder.layers.#.attention.query", &["encoder.layer.#.attention.attn.q"]),
            ("encoder.layers.#.attention.key", &["encoder.layer.#.attention.attn.k"]),
            ("encoder.layers.#.attention.value", &["encoder.layer.#.attention.attn.v"]),
            ("encoder.layers.#.attention.output", &["encoder.layer.#.attention.attn.o"]),
            ("encoder.layers.#.attention.norm", &["encoder.layer.#.attention.LayerNorm"]),
            ("encoder.layers.#.ffn.in", &["encoder.layer.#.intermediate.dense"]),
            ("encoder.layers.#.ffn.out", &["encoder.layer.#.output.dense"]),
            ("encoder.layers.#.ffn.norm", &["encoder.layer.#.output.LayerNorm"]),
        ],
        roberta::LANGUAGE,
        roberta::CLASSES,
    ],
    ignored: &["embeddings.position_ids"],
    transposed: false,
};
