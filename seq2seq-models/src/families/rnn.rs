//! Recurrent encoder-decoders, a family of our own whose tensors are named as PyTorch's modules name them.
//!
//! | tensor | shape |
//! |---|---|
//! | `encoder.embed_tokens.weight`, `decoder.embed_tokens.weight`, or `shared.weight` for both | `[V, E]` |
//! | `encoder.rnn.*`, `decoder.rnn.*`: those of `nn.LSTM` or `nn.GRU`: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, `weight_ih_l0_reverse`, … | as there; the first layer of the decoder reads the embedding and behind it what is fed |
//! | `bridge.h.<layer>`, in an LSTM `bridge.c.<layer>`, with `.weight` and `.bias`, of a dense bridge | `[M, C]`, `[M]` |
//! | `latent.mean`, `latent.log_variance`, with `.weight` and `.bias`; then the bridge is `[M, Z]` | `[Z, C]`, `[Z]` |
//! | `attention.query.weight`: bahdanau, luong_concat; luong_general | `[A, M]`; `[C, M]` |
//! | `attention.key.weight`, `attention.v`: bahdanau, luong_concat | `[A, C]`, `[A]` |
//! | `attention.output.weight`, with attention | `[M, C + M]` |
//! | `lm_head.weight`, unless it is the decoder's table | `[V, M]` |
//!
//! Biases of recurrent layers and of `attention.*` and `lm_head` are read where the file has them.

use super::{
    Family, Unplanned,
    config::{self, architecture, read, unknown_architecture},
    heads,
};
use crate::{checkpoint::NameTable, plan::*};
use seq2seq_core::Cell;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Config {
    cell: CellName,
    vocab_size: usize,
    decoder_vocab_size: Option<usize>,
    embedding_size: usize,
    hidden_size: usize,
    encoder_hidden_size: Option<usize>,
    #[serde(default = "one")]
    num_layers: usize,
    #[serde(default)]
    bidirectional: bool,
    #[serde(default)]
    attention: AttentionName,
    attention_size: Option<usize>,
    input_feeding: Option<bool>,
    bridge: Option<BridgeName>,
    latent: Option<Latent>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    dropout: f32,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum CellName {
    Lstm,
    Gru,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum AttentionName {
    #[default]
    None,
    Bahdanau,
    LuongDot,
    LuongGeneral,
    LuongConcat,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum BridgeName {
    Copy,
    Dense,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Latent {
    size: usize,
}

fn one() -> usize {
    1
}

const ARCHITECTURE: &str = "RnnSeq2Seq";

pub(super) fn keys() -> &'static [&'static str] {
    config::keys::<Config>()
}

pub(super) fn plan(config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(config)?;
    let name = architecture(config, ARCHITECTURE);
    if name != ARCHITECTURE {
        return unknown_architecture(name, &[ARCHITECTURE]);
    }
    let width = c.attention_size.unwrap_or(c.hidden_size);
    let attention = match c.attention {
        AttentionName::None => RecurrentAttention::None,
        AttentionName::Bahdanau => RecurrentAttention::Bahdanau { width },
        AttentionName::LuongDot => RecurrentAttention::LuongDot,
        AttentionName::LuongGeneral => RecurrentAttention::LuongGeneral,
        AttentionName::LuongConcat => RecurrentAttention::LuongConcat { width },
    };
    let fed = matches!(attention, RecurrentAttention::Bahdanau { .. });
    let directions = if c.bidirectional { 2 } else { 1 };
    let target_vocab = c.decoder_vocab_size.unwrap_or(c.vocab_size);
    let recurrent = RecurrentPlan {
        cell: match c.cell {
            CellName::Lstm => Cell::Lstm,
            CellName::Gru => Cell::Gru,
        },
        layers: c.num_layers,
        bidirectional: c.bidirectional,
        source_vocab: c.vocab_size,
        target_vocab,
        embedding: c.embedding_size,
        encoder_width: c.encoder_hidden_size.unwrap_or(c.hidden_size / directions),
        width: c.hidden_size,
        attention,
        input_feeding: c.input_feeding.unwrap_or(fed),
        bridge: match c.bridge {
            Some(BridgeName::Copy) => Bridge::Copy,
            Some(BridgeName::Dense) => Bridge::Dense,
            None if c.latent.is_some() => Bridge::Dense,
            None => Bridge::Copy,
        },
        latent: c.latent.map(|latent| latent.size),
        dropout: c.dropout,
    };
    if c.tie_word_embeddings && c.embedding_size != c.hidden_size {
        return Err(Unplanned::Invalid(format!(
            "embeddings of {} cannot score states of {}; they must be equal, or 'tie_word_embeddings' false",
            c.embedding_size, c.hidden_size
        )));
    }
    Ok(ModelPlan {
        family: Family::RnnSeq2Seq,
        encoder: None,
        decoder: None,
        recurrent: Some(recurrent),
        head: heads::language(target_vocab, c.tie_word_embeddings, Presence::IfStored, 1.0),
        decoder_input: DecoderInput::Given,
    })
}

pub(super) const NAMES: NameTable = NameTable {
    prefixes: &[""],
    rules: &[&[
        ("*.embed.tokens", &["*.embed_tokens", "shared"]),
        ("*.layers.#.forward.input.weight", &["*.rnn.weight_ih_l#"]),
        ("*.layers.#.forward.input.bias", &["*.rnn.bias_ih_l#"]),
        ("*.layers.#.forward.hidden.weight", &["*.rnn.weight_hh_l#"]),
        ("*.layers.#.forward.hidden.bias", &["*.rnn.bias_hh_l#"]),
        ("*.layers.#.reverse.input.weight", &["*.rnn.weight_ih_l#_reverse"]),
        ("*.layers.#.reverse.input.bias", &["*.rnn.bias_ih_l#_reverse"]),
        ("*.layers.#.reverse.hidden.weight", &["*.rnn.weight_hh_l#_reverse"]),
        ("*.layers.#.reverse.hidden.bias", &["*.rnn.bias_hh_l#_reverse"]),
        ("decoder.layers.#.bridge.h", &["bridge.h.#"]),
        ("decoder.layers.#.bridge.c", &["bridge.c.#"]),
        ("encoder.latent.mean", &["latent.mean"]),
        ("encoder.latent.log_variance", &["latent.log_variance"]),
        ("decoder.cross.query", &["attention.query"]),
        ("decoder.cross.key", &["attention.key"]),
        ("decoder.cross.v", &["attention.v"]),
        ("decoder.cross.output", &["attention.output"]),
        ("head.language.out", &["lm_head"]),
    ]],
    ignored: &[],
    transposed: false,
};

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(more: Value) -> Value {
        let mut config = json!({
            "cell": "gru", "vocab_size": 50, "embedding_size": 6, "hidden_size": 8,
            "bidirectional": true,
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    }

    fn planned(more: Value) -> RecurrentPlan {
        match plan(&config(more)) {
            Ok(plan) => plan.recurrent.unwrap(),
            Err(Unplanned::Invalid(reason)) => panic!("{reason}"),
            Err(Unplanned::Unknown { found, .. }) => panic!("{found}"),
        }
    }

    #[test]
    fn what_is_left_out_follows_from_the_rest() {
        let plan = planned(json!({"attention": "bahdanau"}));
        assert_eq!((plan.layers, plan.encoder_width, plan.memory(), plan.fed()), (1, 4, 8, 8));
        assert_eq!(plan.attention, RecurrentAttention::Bahdanau { width: 8 });
        assert!(plan.is_sequential() && plan.input_feeding);
        let plan = planned(json!({"attention": "luong_dot", "decoder_vocab_size": 60}));
        assert_eq!((plan.source_vocab, plan.target_vocab, plan.fed()), (50, 60, 0));
        assert!(!plan.is_sequential());
        let plan = planned(json!({"input_feeding": true, "encoder_hidden_size": 5}));
        assert_eq!((plan.memory(), plan.fed(), plan.is_sequential()), (10, 10, false));
        let plan = planned(json!({"latent": {"size": 3}, "encoder_hidden_size": 5}));
        assert_eq!((plan.latent, plan.bridge, plan.given()), (Some(3), Bridge::Dense, 3));
        assert_eq!(plan.fed(), 0);
        let plan = planned(json!({"latent": {"size": 3}, "input_feeding": true}));
        assert_eq!((plan.fed(), plan.is_sequential()), (3, false));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let dense = |more: Value| {
            let mut config = config(more);
            config["bridge"] = "dense".into();
            config["encoder_hidden_size"] = 7.into();
            config
        };
        for (config, says) in [
            (config(json!({"cell": "rnn"})), "'cell'"),
            (config(json!({"attention": "dot"})), "'attention'"),
            (config(json!({"num_layers": 0})), "number of layers is 0"),
            (config(json!({"hidden_size": 0})), "is 0"),
            (config(json!({"encoder_hidden_size": 7})), "'bridge' dense"),
            (dense(json!({"attention": "luong_dot"})), "use luong_general"),
            (
                config(json!({"attention": "bahdanau", "input_feeding": false})),
                "'input_feeding' cannot be false",
            ),
            (config(json!({"tie_word_embeddings": true})), "embeddings of 6"),
            (config(json!({"dropout": 1.0})), "'dropout' is 1"),
            (config(json!({"latent": {"size": 0}})), "size of the latent is 0"),
            (config(json!({"latent": {"width": 4}})), "'latent"),
            (config(json!({"latent": {"size": 4}, "bridge": "copy"})), "'bridge' must be dense"),
            (
                config(json!({"latent": {"size": 4}, "attention": "bahdanau"})),
                "'attention' bahdanau would lead past the latent",
            ),
        ] {
            let reason = match plan(&config).and_then(|plan| Ok(plan.check()?)) {
                Err(Unplanned::Invalid(reason)) => reason,
                _ => panic!("{config} is accepted"),
            };
            assert!(reason.contains(says), "{reason}");
        }
        assert!(plan(&dense(json!({"attention": "luong_general"}))).is_ok());
        let other = plan(&config(json!({"architectures": ["Other"]})));
        assert!(matches!(other, Err(Unplanned::Unknown { what: "architecture", .. })));
    }
}
