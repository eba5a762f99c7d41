//! What a model learns from a row.

use super::word;
use crate::{
    Result,
    train::{
        denoise::{MaskedLm, Noise, SpanCorruption},
        vae::VaeSettings,
    },
};
use serde::{Deserialize, Serialize};

/// What a model learns from a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
pub enum ObjectiveSettings {
    /// To write the target behind the source: what an encoder-decoder does, and a decoder with the source as its prompt.
    /// The next token of each text, where rows are texts and the model has no encoder.
    Write {},
    /// To restore corrupted texts (BART).
    Denoise {
        /// One after the other.
        #[serde(default = "bart", deserialize_with = "word::or_tables")]
        noise: Vec<Noise>,
    },
    /// To write the spans behind their sentinels (T5).
    Spans(SpanCorruption),
    /// To name masked tokens (BERT).
    MaskedLm(MaskedLm),
    /// To name the class, which is the target of its row.
    Classify {},
    /// To name the class of each word of `{"tokens", "tags"}`.
    Tag {},
    /// To write each text again from a point of a latent space, as a variational autoencoder. Of pairs, the target from what
    /// the source is taken for.
    Vae(VaeSettings),
    /// To find the answer of `{"question", "context", "answer", "start"}` in its context.
    Answer {},
}

fn bart() -> Vec<Noise> {
    Noise::bart().to_vec()
}

impl ObjectiveSettings {
    /// Fails, naming the setting, where it makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Denoise { noise } => noise.iter().try_for_each(Noise::check),
            Self::Spans(spans) => spans.check(),
            Self::MaskedLm(masked) => masked.check(),
            Self::Vae(vae) => vae.check(),
            Self::Write {} | Self::Classify {} | Self::Tag {} | Self::Answer {} => Ok(()),
        }
    }

    /// How a variational autoencoder is trained, where it is one.
    pub(crate) fn vae(&self) -> Option<&VaeSettings> {
        match self {
            Self::Vae(vae) => Some(vae),
            _ => None,
        }
    }
}
