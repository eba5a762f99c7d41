//! BART (Lewis et al. 2020) and mBART (Liu et al. 2020).

use super::{
    Family, Unplanned,
    config::{
        self, activation, architecture, classes, head_dim, inverse_sqrt, read, unknown_architecture,
    },
    heads,
};
use crate::{checkpoint::NameTable, plan::*};
use seq2seq_core::{Activation, NormKind};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Config {
    pub(super) vocab_size: usize,
    pub(super) max_position_embeddings: usize,
    encoder_layers: usize,
    encoder_ffn_dim: usize,
    encoder_attention_heads: usize,
    decoder_layers: usize,
    decoder_ffn_dim: usize,
    decoder_attention_heads: usize,
    activation_function: String,
    pub(super) d_model: usize,
    scale_embedding: bool,
    eos_token_id: Value,
    decoder_start_token_id: Option<u32>,
    pub(super) tie_word_embeddings: bool,
    dropout: f32,
    attention_dropout: f32,
    activation_dropout: f32,
    classifier_dropout: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 50265,
            max_position_embeddings: 1024,
            encoder_layers: 12,
            encoder_ffn_dim: 4096,
            encoder_attention_heads: 16,
            decoder_layers: 12,
            decoder_ffn_dim: 4096,
            decoder_attention_heads: 16,
            activation_function: "gelu".into(),
            d_model: 1024,
            scale_embedding: false,
            eos_token_id: 2.into(),
            decoder_start_token_id: Some(2),
            tie_word_embeddings: true,
            dropout: 0.1,
            attention_dropout: 0.0,
            activation_dropout: 0.0,
            classifier_dropout: 0.0,
        }
    }
}

impl Config {
    /// The encoder or the decoder of BART's relatives, which differ in their norms and positions.
    pub(super) fn stack(
        &self,
        decoder: bool,
        embedding: EmbeddingPlan,
        place: NormPlace,
    ) -> Result<StackPlan, Unplanned> {
        let (layers, heads, feed_forward) = match decoder {
            true => (self.decoder_layers, self.decoder_attention_heads, self.decoder_ffn_dim),
            false => (self.encoder_layers, self.encoder_attention_heads, self.encoder_ffn_dim),
        };
        let head_dim = head_dim(self.d_model, heads)?;
        Ok(StackPlan {
            width: self.d_model,
            layers,
            embedding,
            attention: AttentionPlan {
                heads,
                kv_heads: heads,
                head_dim,
                scale: inverse_sqrt(head_dim),
                scale_by_layer: false,
                causal: decoder,
                bias: true,
                output_bias: true,
                relative_bias: None,
                head_norm: false,
                window: None,
            },
            cross: decoder.then_some(self.d_model),
            feed_forward: FeedForwardPlan {
                width: feed_forward,
                kind: Ffn::Plain(activation(&self.activation_function)?),
                bias: true,
            },
            norm: NormPlan { kind: NormKind::Layer, eps: 1e-5 }, // PARITY trap 22
            place,
            final_norm: place == NormPlace::Pre, // PARITY trap 14
            dropout: DropoutPlan {
                embedding: self.dropout,
                attention: self.attention_dropout,
                attention_output: self.dropout,
                activation: self.activation_dropout,
                feed_forward_output: self.dropout,
                last: 0.0,
            },
        })
    }

    /// √M where it is asked for (PARITY trap 15).
    pub(super) fn embedding_scale(&self) -> f32 {
        if self.scale_embedding { (self.d_model as f64).sqrt() as f32 } else { 1.0 }
    }
}

pub(super) fn keys() -> &'static [&'static str] {
    config::keys::<Config>()
}

pub(super) fn plan(family: Family, config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(config)?;
    let name = architecture(config, "BartForConditionalGeneration");
    // mBART's are those of BART behind an M.
    let head = match name.trim_start_matches('M') {
        "BartForConditionalGeneration" => {
            // PARITY trap 16
            heads::language(c.vocab_size, c.tie_word_embeddings, Presence::IfStored, 1.0)
        }
        "BartModel" => heads::hidden(false),
        "BartForSequenceClassification" => {
            let eos = c.eos_token_id.as_u64().and_then(|id| u32::try_from(id).ok());
            let eos =
                eos.ok_or_else(|| "'eos_token_id': classification needs one id".to_string())?;
            let dropout = [c.classifier_dropout; 2];
            heads::classify(PoolRow::LastOf(eos), Activation::Tanh, classes(config, 3)?, dropout)
        }
        "BartForQuestionAnswering" => heads::answer(),
        _ => return unknown_architecture(name, &ARCHITECTURES),
    };
    let embedding = EmbeddingPlan {
        vocab: c.vocab_size,
        width: None,
        scale: c.embedding_scale(),
        position: Position::Learned {
            rows: c.max_position_embeddings.saturating_add(2), // PARITY trap 12
            offset: 2,
            padding: None,
        },
        types: 0,
        norm: true, // PARITY trap 13
    };
    let place = if family == Family::Mbart { NormPlace::Pre } else { NormPlace::Post }; // PARITY trap 14
    let start = c.decoder_start_token_id.map_or(DecoderInput::Given, DecoderInput::Shifted);
    Ok(ModelPlan {
        decoder_input: if family == Family::Mbart { DecoderInput::Wrapped } else { start },
        ..ModelPlan::of_stacks(
            family,
            Some(c.stack(false, embedding.clone(), place)?),
            Some(c.stack(true, embedding, place)?),
            head,
        )
    })
}

const ARCHITECTURES: [&str; 4] = [
    "BartForConditionalGeneration",
    "BartModel",
    "BartForSequenceClassification",
    "BartForQuestionAnswering",
];

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &["model.", ""],
    rules: &[&[
        ("*.embed.tokens", &["*.embed_tokens", "shared", "lm_head"]),
        ("*.embed.positions", &["*.embed_positions"]),
        ("*.embed.norm", &["*.layernorm_embedding"]),
        ("*.layers.#.attention.query", &["*.layers.#.self_attn.q_proj"]),
        ("*.layers.#.attention.key", &["*.layers.#.self_attn.k_proj"]),
        ("*.layers.#.attention.value", &["*.layers.#.self_attn.v_proj"]),
        ("*.layers.#.attention.output", &["*.layers.#.self_attn.out_proj"]),
        ("*.layers.#.attention.norm", &["*.layers.#.self_attn_layer_norm"]),
        ("*.layers.#.cross.query", &["*.layers.#.encoder_attn.q_proj"]),
        ("*.layers.#.cross.key", &["*.layers.#.encoder_attn.k_proj"]),
        ("*.layers.#.cross.value", &["*.layers.#.encoder_attn.v_proj"]),
        ("*.layers.#.cross.output", &["*.layers.#.encoder_attn.out_proj"]),
        ("*.layers.#.cross.norm", &["*.layers.#.encoder_attn_layer_norm"]),
        ("*.layers.#.ffn.in", &["*.layers.#.fc1"]),
        ("*.layers.#.ffn.out", &["*.layers.#.fc2"]),
        ("*.layers.#.ffn.norm", &["*.layers.#.final_layer_norm"]),
        ("*.norm", &["*.layer_norm"]),
        ("head.language.out.bias", &["final_logits_bias"]),
        ("head.language.out", &["lm_head"]),
        ("head.classify.dense", &["classification_head.dense"]),
        ("head.classify.out", &["classification_head.out_proj"]),
        ("head.answer.out", &["qa_outputs"]),
    ]],
    ignored: &[],
    transposed: false,
};
