//! LLaMA (Touvron et al. 2023), generations 1 to 3, and what is LLaMA but for a few settings: Mistral (Jiang et al. 2023),
//! Qwen2 (Yang et al. 2024) and Qwen3 (Yang et al. 2025).

use super::{
    Family, Unplanned,
    config::{activation, architecture, inverse_sqrt, read, unknown_architecture, with_defaults},
    heads,
    rope::Rope,
};
use crate::{checkpoint::NameTable, plan::*};
use seq2seq_core::NormKind;
use serde::Deserialize;
use serde_json::{Value, json};

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
    sliding_window: Option<usize>,
    use_sliding_window: bool,
    max_window_layers: usize,
    layer_types: Option<Vec<String>>,
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
            sliding_window: Some(4096),
            use_sliding_window: false,
            max_window_layers: 28,
            layer_types: None,
        }
    }
}

const QWEN: [(&str, usize); 4] = [
    ("vocab_size", 151_936),
    ("intermediate_size", 22016),
    ("num_key_value_heads", 32),
    ("max_position_embeddings", 32768),
];

/// Those that differ from LLaMA's.
fn defaults(family: Family) -> Vec<(&'static str, Value)> {
    match family {
        Family::Mistral => vec![
            ("intermediate_size", json!(14336)),
            ("num_key_value_heads", json!(8)),
            ("max_position_embeddings", json!(131_072)),
        ],
        Family::Qwen2 => QWEN.map(|(key, n)| (key, json!(n))).into(),
        Family::Qwen3 => {
            QWEN.into_iter().chain([("head_dim", 128)]).map(|(key, n)| (key, json!(n))).collect()
        }
        _ => Vec::new(),
    }
}

pub(super) fn plan(family: Family, config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(&with_defaults(config, &defaults(family)))?;
    let architectures = match family {
        Family::Mistral => ["MistralForCausalLM", "MistralModel"],
        Family::Qwen2 => ["Qwen2ForCausalLM", "Qwen2Model"],
        Family::Qwen3 => ["Qwen3ForCausalLM", "Qwen3Model"],
        _ => ["LlamaForCausalLM", "LlamaModel"],
    };
    let name = architecture(config, architectures[0]);
    let head = match architectures.iter().position(|known| *known == name) {
        Some(0) => heads::language(c.vocab_size, c.tie_word_embeddings, Presence::Never, 1.0),
        Some(_) => heads::hidden(false),
        None => return unknown_architecture(name, &architectures),
    };
    Ok(ModelPlan::of_stacks(family, None, Some(decoder(family, &c)?), head))
}

fn decoder(family: Family, c: &Config) -> Result<StackPlan, Unplanned> {
    let (heads, kv_heads) = (c.num_attention_heads, c.num_key_value_heads);
    // PARITY trap 37: the width of a head may be given.
    let head_dim = c.head_dim.or(c.hidden_size.checked_div(heads)).unwrap_or(0);
    // `rope_scaling` wins where both are given, as in transformers.
    let none = Rope::default();
    let rope = c.rope_scaling.as_ref().or(c.rope_parameters.as_ref()).unwrap_or(&none);
    let rotary = rope.plan(head_dim, c.rope_theta, c.max_position_embeddings)?;
    // PARITY trap 81
    let [bias, output_bias, feed_forward_bias] = match family {
        Family::Mistral => [false; 3],
        Family::Qwen2 => [true, false, false],
        Family::Qwen3 => [c.attention_bias, c.attention_bias, false],
        _ => [c.attention_bias, c.attention_bias, c.mlp_bias],
    };
    Ok(StackPlan {
        width: c.hidden_size,
        layers: c.num_hidden_layers,
        embedding: EmbeddingPlan {
            vocab: c.vocab_size,
            width: None,
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
            bias,
            output_bias,
            relative_bias: None,
            head_norm: family == Family::Qwen3, // PARITY trap 83
            window: window(family, c)?,
        },
        cross: None,
        feed_forward: FeedForwardPlan {
            width: c.intermediate_size,
            kind: Ffn::Gated(activation(&c.hidden_act)?),
            bias: feed_forward_bias,
        },
        norm: NormPlan { kind: NormKind::Rms, eps: c.rms_norm_eps },
        place: NormPlace::Pre,
        final_norm: true,
        dropout: DropoutPlan { attention: c.attention_dropout, ..DropoutPlan::default() },
    })
}

/// The window, where some layer sees through one and a text of the model's positions is longer (PARITY trap 82).
fn window(family: Family, c: &Config) -> Result<Option<usize>, Unplanned> {
    let slides = match (family, &c.layer_types) {
        (Family::Mistral, _) => true,
        (Family::Qwen2 | Family::Qwen3, Some(types)) => {
            const KNOWN: [&str; 2] = ["full_attention", "sliding_attention"];
            if let Some(other) = types.iter().find(|kind| !KNOWN.contains(&kind.as_str())) {
                return Err(Unplanned::Unknown {
                    what: "layer_types",
                    found: other.clone(),
                    known: KNOWN.join(", "),
                });
            }
            c.use_sliding_window && types.iter().any(|kind| kind == KNOWN[1])
        }
        (Family::Qwen2 | Family::Qwen3, None) => {
            c.use_sliding_window && c.max_window_layers < c.num_hidden_layers
        }
        _ => false,
    };
    Ok(c.sliding_window.filter(|window| slides && *window < c.max_position_embeddings))
}

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &["model.", ""],
    rules: &[&[
        ("decoder.embed.tokens", &["embed_tokens"]),
        ("decoder.layers.#.attention.query", &["layers.#.self_attn.q_proj"]),
        ("decoder.layers.#.attention.key", &["layers.#.self_attn.k_proj"]),
        ("decoder.layers.#.attention.value", &["layers.#.self_attn.v_proj"]),
        ("decoder.layers.#.attention.output", &["layers.#.self_attn.o_proj"]),
        ("decoder.layers.#.attention.query_norm", &["layers.#.self_attn.q_norm"]),
        ("decoder.layers.#.attention.key_norm", &["layers.#.self_attn.k_norm"]),
        ("decoder.layers.#.attention.norm", &["layers.#.input_layernorm"]),
        ("decoder.layers.#.ffn.gate", &["layers.#.mlp.gate_proj"]),
        ("decoder.layers.#.ffn.up", &["layers.#.mlp.up_proj"]),
        ("decoder.layers.#.ffn.out", &["layers.#.mlp.down_proj"]),
        ("decoder.layers.#.ffn.norm", &["layers.#.post_attention_layernorm"]),
        ("decoder.norm", &["norm"]),
        ("head.language.out", &["lm_head"]),
    ]],
    ignored: &["rotary_emb.inv_freq"],
    transposed: false,
};
