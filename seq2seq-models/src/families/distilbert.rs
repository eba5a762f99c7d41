//! DistilBERT (Sanh et al. 2019).

use super::{
    Family, Unplanned,
    config::{
        activation, architecture, classes, head_dim, inverse_sqrt, read, unknown_architecture,
    },
    heads,
};
use crate::{checkpoint::NameTable, plan::*};
use seq2seq_core::{Activation, NormKind};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    max_position_embeddings: usize,
    n_layers: usize,
    n_heads: usize,
    dim: usize,
    hidden_dim: usize,
    activation: String,
    tie_word_embeddings: bool,
    dropout: f32,
    attention_dropout: f32,
    qa_dropout: f32,
    seq_classif_dropout: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            max_position_embeddings: 512,
            n_layers: 6,
            n_heads: 12,
            dim: 768,
            hidden_dim: 3072,
            activation: "gelu".into(),
            tie_word_embeddings: true,
            dropout: 0.1,
            attention_dropout: 0.1,
            qa_dropout: 0.1,
            seq_classif_dropout: 0.2,
        }
    }
}

pub(super) fn plan(config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(config)?;
    let head = match architecture(config, "DistilBertModel") {
        "DistilBertModel" => heads::hidden(false), // PARITY trap 33
        "DistilBertForMaskedLM" => heads::masked_language(
            c.vocab_size,
            None,
            activation(&c.activation)?,
            c.tie_word_embeddings,
        ),
        // PARITY trap 33
        "DistilBertForSequenceClassification" => {
            let dropout = [0.0, c.seq_classif_dropout];
            heads::classify(PoolRow::First, Activation::Relu, classes(config, 2)?, dropout)
        }
        "DistilBertForTokenClassification" => heads::tag(classes(config, 2)?),
        "DistilBertForQuestionAnswering" => heads::answer(),
        other => return unknown_architecture(other, &ARCHITECTURES),
    };
    Ok(ModelPlan::of_stacks(Family::DistilBert, Some(encoder(&c, head.kind)?), None, head))
}

fn encoder(c: &Config, head: HeadKind) -> Result<StackPlan, Unplanned> {
    let head_dim = head_dim(c.dim, c.n_heads)?;
    // Where `sinusoidal_pos_embds` is set, the sines are in the checkpoint as a table like any other.
    let position = Position::Learned { rows: c.max_position_embeddings, offset: 0, padding: None };
    Ok(StackPlan {
        width: c.dim,
        layers: c.n_layers,
        embedding: EmbeddingPlan {
            vocab: c.vocab_size,
            width: None,
            scale: 1.0,
            position,
            types: 0,
            norm: true,
        },
        attention: AttentionPlan {
            heads: c.n_heads,
            kv_heads: c.n_heads,
            head_dim,
            scale: inverse_sqrt(head_dim),
            scale_by_layer: false,
            causal: false,
            bias: true,
            output_bias: true,
            relative_bias: None,
            head_norm: false,
            window: None,
        },
        cross: None,
        feed_forward: FeedForwardPlan {
            width: c.hidden_dim,
            kind: Ffn::Plain(activation(&c.activation)?),
            bias: true,
        },
        norm: NormPlan { kind: NormKind::Layer, eps: 1e-12 }, // PARITY trap 33
        place: NormPlace::Post,
        final_norm: false,
        // What an attention gives is added as it is.
        dropout: DropoutPlan {
            embedding: c.dropout,
            attention: c.attention_dropout,
            feed_forward_output: c.dropout,
            last: match head {
                HeadKind::Tag => c.dropout,
                HeadKind::Answer => c.qa_dropout,
                _ => 0.0,
            },
            ..DropoutPlan::default()
        },
    })
}

const ARCHITECTURES: [&str; 5] = [
    "DistilBertModel",
    "DistilBertForMaskedLM",
    "DistilBertForSequenceClassification",
    "DistilBertForTokenClassification",
    "DistilBertForQuestionAnswering",
];

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &["distilbert.", ""],
    rules: &[&[
        ("encoder.embed.tokens", &["embeddings.word_embeddings"]),
        ("encoder.embed.positions", &["embeddings.position_embeddings"]),
        ("encoder.embed.norm", &["embeddings.LayerNorm"]),
        ("encoder.layers.#.attention.query", &["transformer.layer.#.attention.q_lin"]),
        ("encoder.layers.#.attention.key", &["transformer.layer.#.attention.k_lin"]),
        ("encoder.layers.#.attention.value", &["transformer.layer.#.attention.v_lin"]),
        ("encoder.layers.#.attention.output", &["transformer.layer.#.attention.out_lin"]),
        ("encoder.layers.#.attention.norm", &["transformer.layer.#.sa_layer_norm"]),
        ("encoder.layers.#.ffn.in", &["transformer.layer.#.ffn.lin1"]),
        ("encoder.layers.#.ffn.out", &["transformer.layer.#.ffn.lin2"]),
        ("encoder.layers.#.ffn.norm", &["transformer.layer.#.output_layer_norm"]),
        ("head.masked.dense", &["vocab_transform"]),
        ("head.masked.norm", &["vocab_layer_norm"]),
        ("head.masked.out", &["vocab_projector"]),
        ("head.classify.dense", &["pre_classifier"]),
        ("head.classify.out", &["classifier"]),
        ("head.tag.out", &["classifier"]),
        ("head.answer.out", &["qa_outputs"]),
    ]],
    ignored: &["embeddings.position_ids"],
    transposed: false,
};
