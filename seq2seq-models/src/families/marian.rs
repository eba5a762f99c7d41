//! Marian (Junczys-Dowmunt et al. 2018), the translation models of OPUS-MT; Pegasus (Zhang et al. 2020); and M2M100 (Fan et al.
//! 2020), which NLLB (Costa-jussà et al. 2022) is, too: BART's blocks over sinusoids.

use super::{
    Family, Unplanned,
    bart::{self, Config},
    config::{architecture, read, unknown_architecture, with_defaults},
    heads,
};
use crate::{checkpoint::NameTable, plan::*};
use serde::Deserialize;
use serde_json::{Value, json};

/// Marian's.
#[derive(Deserialize)]
#[serde(default)]
struct Vocabularies {
    decoder_vocab_size: Option<usize>,
    share_encoder_decoder_embeddings: bool,
}

impl Default for Vocabularies {
    fn default() -> Self {
        Self { decoder_vocab_size: None, share_encoder_decoder_embeddings: true }
    }
}

/// Those that differ from BART's.
fn defaults(family: Family) -> Vec<(&'static str, Value)> {
    match family {
        Family::Marian => vec![("vocab_size", json!(58101))],
        Family::M2m100 => vec![
            ("vocab_size", json!(128_112)),
            ("activation_function", json!("relu")),
            ("scale_embedding", json!(true)),
            ("attention_dropout", json!(0.1)),
        ],
        _ => Vec::new(),
    }
}

pub(super) fn plan(family: Family, config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(&with_defaults(config, &defaults(family)))?;
    // PARITY trap 19
    let target = match (family, read::<Vocabularies>(config)?) {
        (
            Family::Marian,
            Vocabularies { share_encoder_decoder_embeddings: false, decoder_vocab_size },
        ) => decoder_vocab_size.unwrap_or(c.vocab_size),
        _ => c.vocab_size,
    };
    let architectures = match family {
        Family::Pegasus => ["PegasusForConditionalGeneration", "PegasusModel"],
        Family::M2m100 => ["M2M100ForConditionalGeneration", "M2M100Model"],
        _ => ["MarianMTModel", "MarianModel"],
    };
    // PARITY trap 16
    let bias = if family == Family::M2m100 { Presence::Never } else { Presence::IfStored };
    let name = architecture(config, architectures[0]);
    let head = match architectures.iter().position(|known| *known == name) {
        Some(0) => heads::language(target, c.tie_word_embeddings, bias, 1.0),
        Some(_) => heads::hidden(false),
        None => return unknown_architecture(name, &architectures),
    };
    let position = positions(family, &c, config)?;
    let embedding = |vocab| EmbeddingPlan {
        vocab,
        width: None,
        scale: c.embedding_scale(),
        position: position.clone(),
        types: 0,
        norm: false, // PARITY trap 13
    };
    let place = if family == Family::Marian { NormPlace::Post } else { NormPlace::Pre }; // PARITY trap 14
    Ok(ModelPlan::of_stacks(
        family,
        Some(c.stack(false, embedding(c.vocab_size), place)?),
        Some(c.stack(true, embedding(target), place)?),
        head,
    ))
}

/// PARITY traps 17 and 18
fn positions(family: Family, c: &Config, config: &Value) -> Result<Position, Unplanned> {
    #[derive(Deserialize)]
    struct Padding {
        pad_token_id: Option<u32>,
    }
    let rows = c.max_position_embeddings;
    if family != Family::M2m100 {
        let layout = SinusoidLayout::Halves;
        return Ok(Position::Sinusoidal { rows, layout, offset: 0, padding: None });
    }
    let padding = read::<Padding>(config)?.pad_token_id.unwrap_or(1);
    Ok(Position::Sinusoidal {
        rows,
        layout: SinusoidLayout::Tensor2Tensor,
        offset: padding as usize + 1,
        padding: Some(padding),
    })
}

/// BART's names; the sinusoids of old files are computed afresh (PARITY trap 19).
pub(super) const NAMES: NameTable =
    NameTable { ignored: &["embed_positions.weight", "embed_positions.weights"], ..bart::NAMES };
