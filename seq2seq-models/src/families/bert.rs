//! BERT (Devlin et al. 2018).

use super::{
    Family, Unplanned,
    config::{
        activation, architecture, classes, head_dim, inverse_sqrt, read, unknown_architecture,
    },
    heads,
};
use crate::{
    checkpoint::{NameTable, Rule},
    plan::*,
};
use seq2seq_core::{Activation, NormKind};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) hidden_act: String,
    pub(super) max_position_embeddings: usize,
    pub(super) type_vocab_size: usize,
    pub(super) layer_norm_eps: f32,
    pub(super) pad_token_id: Option<u32>,
    pub(super) tie_word_embeddings: bool,
    is_decoder: bool,
    add_cross_attention: bool,
    hidden_dropout_prob: f32,
    attention_probs_dropout_prob: f32,
    classifier_dropout: Option<f32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12, // PARITY trap 31
            pad_token_id: Some(0),
            tie_word_embeddings: true,
            is_decoder: false,
            add_cross_attention: false,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
        }
    }
}

impl Config {
    /// The rate of heads for classes.
    pub(super) fn head_dropout(&self) -> f32 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    /// The stack of BERT and of RoBERTa, which differ in their positions. A decoder has the encoder's weights and names, and
    /// sees only what came before (PARITY trap 78).
    pub(super) fn stack(&self, position: Position, head: HeadKind) -> Result<StackPlan, Unplanned> {
        if self.add_cross_attention {
            let reason = "add_cross_attention: an encoder as the decoder of another model";
            return Err(Unplanned::Invalid(reason.into()));
        }
        let head_dim = head_dim(self.hidden_size, self.num_attention_heads)?;
        Ok(StackPlan {
            width: self.hidden_size,
            layers: self.num_hidden_layers,
            embedding: EmbeddingPlan {
                vocab: self.vocab_size,
                width: None,
                scale: 1.0,
                position,
                types: self.type_vocab_size,
                norm: true,
            },
            attention: AttentionPlan {
                heads: self.num_attention_heads,
                kv_heads: self.num_attention_heads,
                head_dim,
                scale: inverse_sqrt(head_dim),
                scale_by_layer: false,
                causal: self.is_decoder,
                bias: true,
                output_bias: true,
                relative_bias: None,
                head_norm: false,
                window: None,
            },
            cross: None,
            feed_forward: FeedForwardPlan {
                width: self.intermediate_size,
                kind: Ffn::Plain(activation(&self.hidden_act)?),
                bias: true,
            },
            norm: NormPlan { kind: NormKind::Layer, eps: self.layer_norm_eps },
            place: NormPlace::Post,
            final_norm: false,
            dropout: DropoutPlan {
                embedding: self.hidden_dropout_prob,
                attention: self.attention_probs_dropout_prob,
                attention_output: self.hidden_dropout_prob,
                feed_forward_output: self.hidden_dropout_prob,
                last: if head == HeadKind::Tag { self.head_dropout() } else { 0.0 },
                ..DropoutPlan::default()
            },
        })
    }
}

pub(super) fn plan(config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(config)?;
    let rows = c.max_position_embeddings;
    let head = match architecture(config, "BertModel") {
        "BertModel" => heads::hidden(true),
        "BertForMaskedLM" | "BertForPreTraining" => heads::masked_language(
            c.vocab_size,
            None,
            activation(&c.hidden_act)?,
            c.tie_word_embeddings,
        ),
        "BertForSequenceClassification" => {
            // The pooler, of which the head reads what is left.
            let dropout = [0.0, c.head_dropout()];
            heads::classify(PoolRow::First, Activation::Tanh, classes(config, 2)?, dropout)
        }
        "BertForTokenClassification" => heads::tag(classes(config, 2)?),
        "BertForQuestionAnswering" => heads::answer(),
        other => return unknown_architecture(other, &ARCHITECTURES),
    };
    let position = Position::Learned { rows, offset: 0, padding: None };
    Ok(ModelPlan::of_stacks(Family::Bert, Some(c.stack(position, head.kind)?), None, head))
}

const ARCHITECTURES: [&str; 6] = [
    "BertModel",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
];

/// The encoder, whose names its successors kept.
pub(super) const ENCODER: &[Rule] = &[
    ("encoder.embed.tokens", &["embeddings.word_embeddings"]),
    ("encoder.embed.positions", &["embeddings.position_embeddings"]),
    ("encoder.embed.types", &["embeddings.token_type_embeddings"]),
    ("encoder.embed.norm", &["embeddings.LayerNorm"]),
    ("encoder.layers.#.attention.query", &["encoder.layer.#.attention.self.query"]),
    ("encoder.layers.#.attention.key", &["encoder.layer.#.attention.self.key"]),
    ("encoder.layers.#.attention.value", &["encoder.layer.#.attention.self.value"]),
    ("encoder.layers.#.attention.output", &["encoder.layer.#.attention.output.dense"]),
    ("encoder.layers.#.attention.norm", &["encoder.layer.#.attention.output.LayerNorm"]),
    ("encoder.layers.#.ffn.in", &["encoder.layer.#.intermediate.dense"]),
    ("encoder.layers.#.ffn.out", &["encoder.layer.#.output.dense"]),
    ("encoder.layers.#.ffn.norm", &["encoder.layer.#.output.LayerNorm"]),
];

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &["bert.", ""],
    rules: &[
        ENCODER,
        &[
            ("head.hidden.dense", &["pooler.dense"]),
            ("head.masked.dense", &["cls.predictions.transform.dense"]),
            ("head.masked.norm", &["cls.predictions.transform.LayerNorm"]),
            // Where both are stored, the second is tied to the first or without effect (PARITY trap 79).
            ("head.masked.out.bias", &["cls.predictions.decoder.bias", "cls.predictions.bias"]),
            ("head.masked.out", &["cls.predictions.decoder"]),
            ("head.classify.dense", &["pooler.dense"]),
            ("head.classify.out", &["classifier"]),
            ("head.tag.out", &["classifier"]),
            ("head.answer.out", &["qa_outputs"]),
        ],
    ],
    ignored: &["embeddings.position_ids"],
    transposed: false,
};
