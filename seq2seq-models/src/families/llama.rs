//! LLaMA (Touvron et al. 2023), generations 1 to 3.

use super::{
    Family, Unplanned,
    config::{activation, architecture, inverse_sqrt, read, unknown_architecture},
    heads,
    rope::Rope,
};
use crate::{checkpoint::NameTable, plan::*};
use seq2seq_core::NormKind;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: String,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    tie_word_embeddings: bool,
    attention_bias: bool,
    mlp_bias: bool,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
    attention_dropout: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 32000,
            hidden_size: 4096,
            intermediate_size: 11008,
            num_hidden_layers: 32,
            num_attention_heads: 32,
            num_key_value_heads: None,
            head_dim: None,
            hidden_act: "silu".into(),
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: false,
            attention_bias: false,
            mlp_bias: false,
            rope_theta: None,
            rope_scaling: None,
            rope_parameters: None,
            attention_dropout: 0.0,
        }
    }
}

pub(super) fn plan(config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(config)?;
    let head = match architecture(config, "LlamaForCausalLM") {
        "LlamaForCausalLM" => {
            heads::language(c.vocab_size, c.tie_word_embeddings, Presence::Never, 1.0)
        }
        "LlamaModel" => heads::hidden(false),
        other => return unknown_architecture(other, &["LlamaForCausalLM", "LlamaModel"]),
    };
    Ok(ModelPlan {
        family: Family::Llama,
        encoder: None,
        decoder: Some(decoder(&c)?),
        recurrent: None,
        head,
        decoder_input: DecoderInput::Given,
    })
}

fn decoder(c: &Config) -> Result<StackPlan, Unplanned> {
    let (heads, kv_heads) = (c.num_attention_heads, c.num_key_value_heads);
    // PARITY trap 37: the width of a head may be given.
    let head_dim = c.head_dim.or(c.hidden_size.checked_div(heads)).unwrap_or(0);
    // `rope_scaling` wins where both are given, as in transformers.
    let none = Rope::default();
    let rope = c.rope_scaling.as_ref().or(c.rope_parameters.as_ref()).unwrap_or(&none);
    let rotary = rope.plan(head_dim, c.rope_theta, c.max_position_embeddings)?;
    Ok(StackPlan {
        width: c.hidden_size,
        layers: c.num_hidden_layers,
        embedding: EmbeddingPlan {
            vocab: c.vocab_size,
            scale: 1.0,
            position: Position::Rotary(rotary),
            types: 0,
            norm: false,
        },
        attention: AttentionPlan {
            heads,
            kv_heads: kv_heads.unwrap_or(heads),
            head_dim,
            scale: inverse_sqrt(head_dim),
            scale_by_layer: false,
            causal: true,
            bias: c.attention_bias,
        },
        cross: None,
        feed_forward: FeedForwardPlan {
            width: c.intermediate_size,
            kind: Ffn::Gated(activation(&c.hidden_act)?),
            bias: c.mlp_bias,
        },
        norm: NormPlan { kind: NormKind::Rms, eps: c.rms_norm_eps },
        place: NormPlace::Pre,
        final_norm: true,
        dropout: DropoutPlan { attention: c.attention_dropout, ..DropoutPlan::default() },
    })
}

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &["model.", ""],
    rules: &[
        ("decoder.embed.tokens", &["embed_tokens"]),
        ("decoder.layers.#.attention.query", &["layers.#.self_attn.q_proj"]),
        ("decoder.layers.#.attention.key", &["layers.#.self_attn.k_proj"]),
        ("decoder.layers.#.attention.value", &["layers.#.self_attn.v_proj"]),
        ("decoder.layers.#.attention.output", &["layers.#.self_attn.o_proj"]),
        ("decoder.layers.#.attention.norm", &["layers.#.input_layernorm"]),
        ("decoder.layers.#.ffn.gate", &["layers.#.mlp.gate_proj"]),
        ("decoder.layers.#.ffn.up", &["layers.#.mlp.up_proj"]),
        ("decoder.layers.#.ffn.out", &["layers.#.mlp.down_proj"]),
        ("decoder.layers.#.ffn.norm", &["layers.#.post_attention_layernorm"]),
        ("decoder.norm", &["norm"]),
        ("head.language.out", &["lm_head"]),
    ],
    ignored: &["rotary_emb.inv_freq"],
    transposed: false,
};
