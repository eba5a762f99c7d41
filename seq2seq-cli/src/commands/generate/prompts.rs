//! Lines of input as prompts that a model can read.

use crate::{
    failure::{Failure, Result},
    load,
    records::{Place, Record},
};
use seq2seq_models::{Model, Prompt, Tokenizer};
use serde::Deserialize;

/// A line of input.
#[derive(Debug, Default, Deserialize)]
pub(in crate::commands) struct Line {
    text: Option<String>,
    input_ids: Option<Vec<u32>>,
    decoder_input_ids: Option<Vec<u32>>,
}

impl Line {
    pub(in crate::commands) fn of_text(text: String) -> Self {
        Self { text: Some(text), ..Self::default() }
    }
}

/// A prompt and where it came from.
pub(in crate::commands) struct Piece {
    pub(in crate::commands) row: usize,
    pub(in crate::commands) place: Place,
    pub(in crate::commands) prompt: Prompt,
    /// Tokens that it counts for in a batch.
    pub(in crate::commands) cost: usize,
}

/// Turns lines into prompts that the model can read.
pub(in crate::commands) struct Reader<'a> {
    pub(in crate::commands) model: &'a Model,
    pub(in crate::commands) tokenizer: Option<&'a Tokenizer>,
    /// Hypotheses that a prompt may spread over.
    pub(in crate::commands) hypotheses: usize,
    /// Positions that each may come to hold, for a prompt of one token.
    pub(in crate::commands) positions: usize,
}

impl Reader<'_> {
    /// Checks a line by itself, so that what is wrong with it is not found out in a batch.
    pub(in crate::commands) fn piece(&self, record: Record<Line>) -> Result<Piece> {
        let Record { row, place, value } = record;
        let prompt = self.prompt(value).map_err(|e| e.at(&place))?;
        let length = prompt.input_ids.len();
        let cost = match self.model.plan().is_encoder_decoder() {
            true => length.saturating_add(self.hypotheses.saturating_mul(self.positions)),
            false => self.hypotheses.saturating_mul(self.positions.saturating_add(length)),
        };
        Ok(Piece { row, place, prompt, cost })
    }

    fn prompt(&self, line: Line) -> Result<Prompt> {
        let input_ids = match (line.text, line.input_ids) {
            (Some(text), None) => {
                load::required(self.tokenizer, self.model)?.encode(&text)?.ids().to_vec()
            }
            (None, Some(ids)) => ids,
            (Some(_), Some(_)) => {
                return Err(Failure::input("has both `text` and `input_ids`; give one"));
            }
            (None, None) => return Err(Failure::input("has neither `text` nor `input_ids`")),
        };
        self.check(&input_ids)?;
        Ok(Prompt { input_ids, decoder_input_ids: line.decoder_input_ids })
    }

    /// Ids within the vocabulary that they are read by, some for an encoder, and no more than there are positions.
    fn check(&self, ids: &[u32]) -> Result<()> {
        let plan = self.model.plan();
        if ids.is_empty() && plan.has_encoder() {
            return Err(Failure::input("there are no tokens for the encoder to read"));
        }
        let vocab = plan.input_vocab();
        if let Some((at, id)) = ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab) {
            return Err(Failure::input(format!(
                "id {id} at position {at} is outside the vocabulary of {vocab}"
            )));
        }
        load::check_length(self.model, ids.len())
    }
}
