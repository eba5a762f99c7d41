//! RoBERTa (Liu et al. 2019): BERT's encoder with other positions and heads. XLM-RoBERTa (Conneau et al. 2020) and CamemBERT
//! (Martin et al. 2020) are the same model under other names; MPNet makes its own of it.

use super::{
    Family, Unplanned,
    bert::{self, Config},
    config::{architecture, classes, read, unknown_architecture, with_defaults},
    heads,
};
use crate::{
    checkpoint::{NameTable, Rule},
    plan::*,
};
use seq2seq_core::Activation;
use serde_json::{Value, json};

pub(super) fn plan(family: Family, config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(&with_defaults(config, &defaults(family)))?;
    let architectures = match family {
        Family::Camembert => &CAMEMBERT,
        Family::Mpnet => &MPNET,
        Family::XlmRoberta => &XLM_ROBERTA,
        _ => &ROBERTA,
    };
    let name = architecture(config, architectures[0]);
    let at = architectures.iter().position(|known| *known == name);
    let head = match at.map(|at| ROBERTA[at]) {
        Some("RobertaModel") => heads::hidden(true),
        // Whatever activation the blocks have, this head's is gelu (PARITY trap 32).
        Some("RobertaForMaskedLM") => {
            heads::masked_language(c.vocab_size, None, Activation::Gelu, c.tie_word_embeddings)
        }
        Some("RobertaForSequenceClassification") => {
            let dropout = [c.head_dropout(); 2];
            heads::classify(PoolRow::First, Activation::Tanh, classes(config, 2)?, dropout)
        }
        Some("RobertaForTokenClassification") => heads::tag(classes(config, 2)?),
        Some("RobertaForQuestionAnswering") => heads::answer(),
        _ => return unknown_architecture(name, architectures),
    };
    let padding = c.pad_token_id.unwrap_or(1);
    let position = Position::Learned {
        rows: c.max_position_embeddings,
        offset: padding as usize + 1, // PARITY trap 32
        padding: Some(padding),
    };
    Ok(ModelPlan::of_stacks(family, Some(c.stack(position, head.kind)?), None, head))
}

/// Those that differ from BERT's.
fn defaults(family: Family) -> Vec<(&'static str, Value)> {
    let vocab = match family {
        Family::Roberta => Some(50265),
        Family::Mpnet => Some(30527),
        _ => None,
    };
    let vocab = vocab.map(|n| ("vocab_size", json!(n)));
    vocab.into_iter().chain([("pad_token_id", json!(1))]).collect()
}

const ROBERTA: [&str; 5] = [
    "RobertaModel",
    "RobertaForMaskedLM",
    "RobertaForSequenceClassification",
    "RobertaForTokenClassification",
    "RobertaForQuestionAnswering",
];

/// In the order of RoBERTa's.
const XLM_ROBERTA: [&str; 5] = [
    "XLMRobertaModel",
    "XLMRobertaForMaskedLM",
    "XLMRobertaForSequenceClassification",
    "XLMRobertaForTokenClassification",
    "XLMRobertaForQuestionAnswering",
];

/// In the order of RoBERTa's.
const CAMEMBERT: [&str; 5] = [
    "CamembertModel",
    "CamembertForMaskedLM",
    "CamembertForSequenceClassification",
    "CamembertForTokenClassification",
    "CamembertForQuestionAnswering",
];

/// In the order of RoBERTa's.
const MPNET: [&str; 5] = [
    "MPNetModel",
    "MPNetForMaskedLM",
    "MPNetForSequenceClassification",
    "MPNetForTokenClassification",
    "MPNetForQuestionAnswering",
];

/// The pooler, and the head that fills in what is masked.
pub(super) const LANGUAGE: &[Rule] = &[
    ("head.hidden.dense", &["pooler.dense"]),
    ("head.masked.dense", &["lm_head.dense"]),
    ("head.masked.norm", &["lm_head.layer_norm"]),
    // Where both are stored, the second is tied to the first or without effect (PARITY trap 79).
    ("head.masked.out.bias", &["lm_head.decoder.bias", "lm_head.bias"]),
    ("head.masked.out", &["lm_head.decoder"]),
];

/// The heads for classes and answers.
pub(super) const CLASSES: &[Rule] = &[
    ("head.classify.dense", &["classifier.dense"]),
    ("head.classify.out", &["classifier.out_proj"]),
    ("head.tag.out", &["classifier"]),
    ("head.answer.out", &["qa_outputs"]),
];

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &["roberta.", ""],
    rules: &[bert::ENCODER, LANGUAGE, CLASSES],
    ignored: &["embeddings.position_ids"],
    transposed: false,
};
