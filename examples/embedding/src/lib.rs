//! How to embed the engine: a text model in a few lines, shared by the programs in `bin/`.
//!
//! | program | shows |
//! |---|---|
//! | `library` | one call |
//! | `service` | tasks of Tokio that share one model, and a request that is given up |
//! | `custom_backend` | a backend that changes one operation and inherits the rest |

use seq2seq_models::generate::{GenerationConfig, Sink};
use seq2seq_models::{Model, Prompt, Result, Tokenizer};

/// An encoder-decoder and its tokenizer. Cheap to clone: both are shared.
#[derive(Clone)]
pub struct Text {
    model: Model,
    tokenizer: std::sync::Arc<Tokenizer>,
}

impl Text {
    /// With the tokenizer of the model's folder.
    ///
    /// # Errors
    /// Where the folder has none.
    pub fn new(model: Model) -> Result<Self> {
        let tokenizer = Tokenizer::from_files(model.files())?.into();
        Ok(Self { model, tokenizer })
    }

    /// What the model makes of `input`, by beam search with 4 beams. `sink` may stop it before any step.
    ///
    /// # Errors
    /// Inputs that the model cannot take.
    pub fn write(&self, input: &str, sink: &mut dyn Sink) -> Result<String> {
        let prompt = Prompt::new(self.tokenizer.encode(input)?.ids());
        let config = GenerationConfig { num_beams: Some(4), ..GenerationConfig::default() };
        let rows = self.model.generate(&[prompt], &config, sink)?;
        match rows.first().and_then(|sequences| sequences.first()) {
            Some(best) => self.tokenizer.decode(&best.ids, true),
            None => Ok(String::new()),
        }
    }
}
