//! ELECTRA (Clark et al. 2020): BERT's encoder over tables of a width of their own, and other heads.

use super::{
    Family, Unplanned,
    bert::{self, Config},
    config::{activation, architecture, classes, read, unknown_architecture, with_defaults},
    heads, roberta,
};
use crate::{checkpoint::NameTable, plan::*};
use seq2seq_core::Activation;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(default)]
struct Width {
    embedding_size: usize,
}

impl Default for Width {
    fn default() -> Self {
        Self { embedding_size: 128 }
    }
}

pub(super) fn plan(config: &Value) -> Result<ModelPlan, Unplanned> {
    let defaults = [("hidden_size", 256), ("num_attention_heads", 4), ("intermediate_size", 1024)];
    let c: Config = read(&with_defaults(config, &defaults.map(|(key, n)| (key, json!(n)))))?;
    let width = read::<Width>(config)?.embedding_size;
    let width = (width != c.hidden_size).then_some(width); // PARITY trap 84
    let head = match architecture(config, "ElectraModel") {
        "ElectraModel" => heads::hidden(false),
        "ElectraForPreTraining" => heads::replaced(activation(&c.hidden_act)?),
        // Whatever activation the blocks have, that of these heads is gelu (PARITY trap 84).
        "ElectraForMaskedLM" => {
            heads::masked_language(c.vocab_size, width, Activation::Gelu, c.tie_word_embeddings)
        }
        "ElectraForSequenceClassification" => {
            let dropout = [c.head_dropout(); 2];
            heads::classify(PoolRow::First, Activation::Gelu, classes(config, 2)?, dropout)
        }
        "ElectraForTokenClassification" => heads::tag(classes(config, 2)?),
        "ElectraForQuestionAnswering" => heads::answer(),
        other => return unknown_architecture(other, &ARCHITECTURES),
    };
    let rows = c.max_position_embeddings;
    let position = Position::Learned { rows, offset: 0, padding: None };
    let mut encoder = c.stack(position, head.kind)?;
    encoder.embedding.width = width;
    Ok(ModelPlan::of_stacks(Family::Electra, Some(encoder), None, head))
}

const ARCHITECTURES: [&str; 6] = [
    "ElectraModel",
    "ElectraForPreTraining",
    "ElectraForMaskedLM",
    "ElectraForSequenceClassification",
    "ElectraForTokenClassification",
    "ElectraForQuestionAnswering",
];

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &["electra.", ""],
    rules: &[
        bert::ENCODER,
        &[
            ("encoder.embed.project", &["embeddings_project"]),
            ("head.replaced.dense", &["discriminator_predictions.dense"]),
            ("head.replaced.out", &["discriminator_predictions.dense_prediction"]),
            ("head.masked.dense", &["generator_predictions.dense"]),
            ("head.masked.norm", &["generator_predictions.LayerNorm"]),
            ("head.masked.out", &["generator_lm_head"]),
        ],
        roberta::CLASSES,
    ],
    ignored: &["embeddings.position_ids"],
    transposed: false,
};
