//! GPT-2 (Radford et al. 2019).

use super::{
    Family, Unplanned,
    config::{self, activation, architecture, head_dim, inverse_sqrt, read, unknown_architecture},
    heads,
};
use crate::{checkpoint::NameTable, plan::*};
use seq2seq_core::NormKind;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: String,
    layer_norm_epsilon: f32,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    add_cross_attention: bool,
    tie_word_embeddings: bool,
    embd_pdrop: f32,
    attn_pdrop: f32,
    resid_pdrop: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 50257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: "gelu_new".into(),
            layer_norm_epsilon: 1e-5,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            add_cross_attention: false,
            tie_word_embeddings: true,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            resid_pdrop: 0.1,
        }
    }
}

pub(super) fn keys() -> &'static [&'static str] {
    config::keys::<Config>()
}

pub(super) fn plan(config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(config)?;
    let head = match architecture(config, "GPT2LMHeadModel") {
        "GPT2LMHeadModel" => {
            heads::language(c.vocab_size, c.tie_word_embeddings, Presence::Never, 1.0)
        }
        "GPT2Model" => heads::hidden(false),
        other => return unknown_architecture(other, &["GPT2LMHeadModel", "GPT2Model"]),
    };
    if c.add_cross_attention {
        return Err(Unplanned::Invalid(
            "add_cross_attention: GPT-2 as the decoder of another model".into(),
        ));
    }
    Ok(ModelPlan::of_stacks(Family::Gpt2, None, Some(decoder(&c)?), head))
}

fn decoder(c: &Config) -> Result<StackPlan, Unplanned> {
    let head_dim = head_dim(c.n_embd, c.n_head)?;
    Ok(StackPlan {
        width: c.n_embd,
        layers: c.n_layer,
        embedding: EmbeddingPlan {
            vocab: c.vocab_size,
            width: None,
            scale: 1.0,
            position: Position::Learned { rows: c.n_positions, offset: 0, padding: None },
            types: 0,
            norm: false,
        },
        attention: AttentionPlan {
            heads: c.n_head,
            kv_heads: c.n_head,
            head_dim,
            scale: if c.scale_attn_weights { inverse_sqrt(head_dim) } else { 1.0 },
            scale_by_layer: c.scale_attn_by_inverse_layer_idx, // PARITY trap 36
            causal: true,
            bias: true,
            output_bias: true,
            relative_bias: None,
            head_norm: false,
            window: None,
        },
        cross: None,
        feed_forward: FeedForwardPlan {
            width: c.n_inner.unwrap_or(4 * c.n_embd),
            kind: Ffn::Plain(activation(&c.activation_function)?),
            bias: true,
        },
        norm: NormPlan { kind: NormKind::Layer, eps: c.layer_norm_epsilon },
        place: NormPlace::Pre,
        final_norm: true,
        dropout: DropoutPlan {
            embedding: c.embd_pdrop,
            attention: c.attn_pdrop,
            attention_output: c.resid_pdrop,
            feed_forward_output: c.resid_pdrop,
            ..DropoutPlan::default()
        },
    })
}

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &["transformer.", ""],
    rules: &[&[
        ("decoder.embed.tokens", &["wte"]),
        ("decoder.embed.positions", &["wpe"]),
        ("decoder.layers.#.attention.qkv", &["h.#.attn.c_attn"]),
        ("decoder.layers.#.attention.output", &["h.#.attn.c_proj"]),
        ("decoder.layers.#.attention.norm", &["h.#.ln_1"]),
        ("decoder.layers.#.ffn.in", &["h.#.mlp.c_fc"]),
        ("decoder.layers.#.ffn.out", &["h.#.mlp.c_proj"]),
        ("decoder.layers.#.ffn.norm", &["h.#.ln_2"]),
        ("decoder.norm", &["ln_f"]),
        ("head.language.out", &["lm_head"]),
    ]],
    ignored: &[".attn.bias", ".attn.masked_bias"], // PARITY trap 36
    transposed: true,
};
