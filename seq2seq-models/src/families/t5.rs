//! T5 (Raffel et al. 2020), its versions 1.1 and FLAN, and mT5.

use super::{
    Family, Unplanned,
    config::{self, activation, architecture, read, unknown_architecture},
    heads,
};
use crate::{checkpoint::NameTable, plan::*};
use seq2seq_core::{Activation, BucketSpec, NormKind};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_decoder_layers: Option<usize>,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    layer_norm_epsilon: f32,
    feed_forward_proj: Option<String>,
    tie_word_embeddings: Option<bool>,
    scale_decoder_outputs: Option<bool>,
    dropout_rate: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 32128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: None,
            tie_word_embeddings: None,
            scale_decoder_outputs: None,
            dropout_rate: 0.1,
        }
    }
}

pub(super) fn keys() -> &'static [&'static str] {
    config::keys::<Config>()
}

pub(super) fn plan(family: Family, config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(config)?;
    let decoder_layers = c.num_decoder_layers.unwrap_or(c.num_layers);
    let both = (
        Some(stack(family, &c, c.num_layers, false)?),
        Some(stack(family, &c, decoder_layers, true)?),
    );
    let name = architecture(config, "T5ForConditionalGeneration");
    let ((encoder, decoder), head) = match name.trim_start_matches('M') {
        // The second is what the first checkpoints call the same model.
        "T5ForConditionalGeneration" | "T5WithLMHeadModel" => {
            // PARITY traps 5 and 6. Whether the matrix is tied, the checkpoint tells by having one or not.
            let scaled = c.scale_decoder_outputs.unwrap_or(c.tie_word_embeddings != Some(false));
            let scale = match family == Family::T5 && scaled {
                true => (c.d_model as f64).sqrt().recip() as f32,
                false => 1.0,
            };
            (both, heads::language(c.vocab_size, true, Presence::Never, scale))
        }
        "T5Model" => (both, heads::hidden(false)),
        "T5EncoderModel" => ((both.0, None), heads::hidden(false)),
        _ => {
            return unknown_architecture(
                name,
                &["T5ForConditionalGeneration", "T5Model", "T5EncoderModel"],
            );
        }
    };
    Ok(ModelPlan::of_stacks(family, encoder, decoder, head))
}

fn stack(family: Family, c: &Config, layers: usize, decoder: bool) -> Result<StackPlan, Unplanned> {
    let buckets = BucketSpec {
        buckets: c.relative_attention_num_buckets,
        max_distance: c.relative_attention_max_distance,
        bidirectional: !decoder, // PARITY trap 3
    };
    Ok(StackPlan {
        width: c.d_model,
        layers,
        embedding: EmbeddingPlan {
            vocab: c.vocab_size,
            width: None,
            scale: 1.0, // PARITY trap 9
            position: Position::None,
            types: 0,
            norm: false,
        },
        attention: AttentionPlan {
            heads: c.num_heads,
            kv_heads: c.num_heads,
            head_dim: c.d_kv, // PARITY trap 1, for the scale too
            scale: 1.0,
            scale_by_layer: false,
            causal: decoder,
            bias: false,
            output_bias: false,
            relative_bias: Some(buckets),
            head_norm: false,
            window: None,
        },
        cross: decoder.then_some(c.d_model),
        feed_forward: FeedForwardPlan {
            width: c.d_ff,
            kind: feed_forward(family, c)?,
            bias: false,
        },
        norm: NormPlan { kind: NormKind::Rms, eps: c.layer_norm_epsilon }, // PARITY trap 8
        place: NormPlace::Pre,
        final_norm: true,
        dropout: DropoutPlan {
            embedding: c.dropout_rate,
            attention: c.dropout_rate,
            attention_output: c.dropout_rate,
            activation: c.dropout_rate,
            feed_forward_output: c.dropout_rate,
            last: c.dropout_rate,
        },
    })
}

/// `relu`, `gated-silu` and so on; the gelu of `gated-gelu` is the one by tanh (PARITY trap 7).
fn feed_forward(family: Family, c: &Config) -> Result<Ffn, Unplanned> {
    let default = if family == Family::Mt5 { "gated-gelu" } else { "relu" };
    match c.feed_forward_proj.as_deref().unwrap_or(default) {
        "gated-gelu" => Ok(Ffn::Gated(Activation::GeluTanh)),
        other => match other.strip_prefix("gated-") {
            Some(name) => Ok(Ffn::Gated(activation(name)?)),
            None => Ok(Ffn::Plain(activation(other)?)),
        },
    }
}

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &[""],
    rules: &[&[
        ("*.embed.tokens", &["*.embed_tokens", "shared", "lm_head"]),
        ("*.relative_bias", &["*.block.0.layer.0.SelfAttention.relative_attention_bias"]), // PARITY trap 2
        ("*.layers.#.attention.query", &["*.block.#.layer.0.SelfAttention.q"]),
        ("*.layers.#.attention.key", &["*.block.#.layer.0.SelfAttention.k"]),
        ("*.layers.#.attention.value", &["*.block.#.layer.0.SelfAttention.v"]),
        ("*.layers.#.attention.output", &["*.block.#.layer.0.SelfAttention.o"]),
        ("*.layers.#.attention.norm", &["*.block.#.layer.0.layer_norm"]),
        ("*.layers.#.cross.query", &["*.block.#.layer.1.EncDecAttention.q"]),
        ("*.layers.#.cross.key", &["*.block.#.layer.1.EncDecAttention.k"]),
        ("*.layers.#.cross.value", &["*.block.#.layer.1.EncDecAttention.v"]),
        ("*.layers.#.cross.output", &["*.block.#.layer.1.EncDecAttention.o"]),
        ("*.layers.#.cross.norm", &["*.block.#.layer.1.layer_norm"]),
        ("encoder.layers.#.ffn.in", &["encoder.block.#.layer.1.DenseReluDense.wi"]),
        ("encoder.layers.#.ffn.gate", &["encoder.block.#.layer.1.DenseReluDense.wi_0"]),
        ("encoder.layers.#.ffn.up", &["encoder.block.#.layer.1.DenseReluDense.wi_1"]),
        ("encoder.layers.#.ffn.out", &["encoder.block.#.layer.1.DenseReluDense.wo"]),
        ("encoder.layers.#.ffn.norm", &["encoder.block.#.layer.1.layer_norm"]),
        ("decoder.layers.#.ffn.in", &["decoder.block.#.layer.2.DenseReluDense.wi"]),
        ("decoder.layers.#.ffn.gate", &["decoder.block.#.layer.2.DenseReluDense.wi_0"]),
        ("decoder.layers.#.ffn.up", &["decoder.block.#.layer.2.DenseReluDense.wi_1"]),
        ("decoder.layers.#.ffn.out", &["decoder.block.#.layer.2.DenseReluDense.wo"]),
        ("decoder.layers.#.ffn.norm", &["decoder.block.#.layer.2.layer_norm"]),
        ("*.norm", &["*.final_layer_norm"]),
        ("head.language.out", &["lm_head"]),
    ]],
    ignored: &["EncDecAttention.relative_attention_bias.weight"], // PARITY trap 2
    transposed: false,
};
