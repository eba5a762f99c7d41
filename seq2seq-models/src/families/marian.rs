//! Marian (Junczys-Dowmunt et al. 2018): the translation models of OPUS-MT.

use super::{
    Family, Unplanned,
    bart::{self, Config},
    config::{architecture, read, unknown_architecture},
    heads,
};
use crate::{checkpoint::NameTable, plan::*};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(default)]
struct Vocabularies {
    vocab_size: usize,
    decoder_vocab_size: Option<usize>,
    share_encoder_decoder_embeddings: bool,
}

impl Default for Vocabularies {
    fn default() -> Self {
        Self { vocab_size: 58101, decoder_vocab_size: None, share_encoder_decoder_embeddings: true }
    }
}

pub(super) fn plan(config: &Value) -> Result<ModelPlan, Unplanned> {
    let c: Config = read(config)?;
    let v: Vocabularies = read(config)?;
    // PARITY trap 19
    let target = match v.share_encoder_decoder_embeddings {
        true => v.vocab_size,
        false => v.decoder_vocab_size.unwrap_or(v.vocab_size),
    };
    let head = match architecture(config, "MarianMTModel") {
        // PARITY trap 16
        "MarianMTModel" => heads::language(target, c.tie_word_embeddings, Presence::IfStored, 1.0),
        "MarianModel" => heads::hidden(false),
        other => return unknown_architecture(other, &["MarianMTModel", "MarianModel"]),
    };
    let rows = c.max_position_embeddings;
    let embedding = |vocab| EmbeddingPlan {
        vocab,
        scale: c.embedding_scale(),
        position: Position::Sinusoidal { rows, layout: SinusoidLayout::Halves }, // PARITY trap 17
        types: 0,
        norm: false, // PARITY trap 13
    };
    Ok(ModelPlan {
        family: Family::Marian,
        encoder: Some(c.stack(false, embedding(v.vocab_size), NormPlace::Post)?), // PARITY trap 14
        decoder: Some(c.stack(true, embedding(target), NormPlace::Post)?),
        recurrent: None,
        head,
        decoder_input: DecoderInput::Given,
    })
}

/// BART's names; the sinusoids of old files are computed afresh (PARITY trap 19).
pub(super) const NAMES: NameTable =
    NameTable { ignored: &["embed_positions.weight"], ..bart::NAMES };
