//! Requests, checked and packed.

use crate::{
    Error, Result,
    blocks::{Ids, Tokens},
    plan::{DecoderInput, StackPlan},
};
use seq2seq_core::{DecoderOps, Ragged};

/// A batch of sequences, packed.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) ids: Vec<u32>,
    pub(crate) types: Option<Vec<u32>>,
    pub(crate) rows: Ragged,
}

impl Packed {
    /// Checks and packs the sequences that a stack is to read; `name` is that of the input in transformers.
    ///
    /// Fails, naming sequence and position, for an empty batch, an empty sequence, more tokens than positions, and
    /// ids outside the vocabulary.
    pub(crate) fn new(name: &str, sequences: &[Vec<u32>], plan: &StackPlan) -> Result<Self> {
        let held = |i, length| plan.check_positions(name, i, length);
        Self::checked(name, sequences, plan.embedding.vocab, held)
    }

    /// The same for a stack of `vocab` ids that reads any number of tokens.
    pub(crate) fn unbounded(name: &str, sequences: &[Vec<u32>], vocab: usize) -> Result<Self> {
        Self::checked(name, sequences, vocab, |_, _| Ok(()))
    }

    fn checked(
        name: &str,
        sequences: &[Vec<u32>],
        vocab: usize,
        held: impl Fn(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        if sequences.is_empty() {
            return Err(Error::Input(format!("{name}: there are no sequences")));
        }
        for (i, ids) in sequences.iter().enumerate() {
            if ids.is_empty() {
                return Err(Error::Input(format!(
                    "{name}: sequence {i} is empty; give it at least one token"
                )));
            }
            held(i, ids.len())?;
            check_ids(name, i, ids, vocab, "the vocabulary")?;
        }
        Ok(Self {
            ids: sequences.concat(),
            types: None,
            rows: Ragged::from_lengths(sequences.iter().map(Vec::len)),
        })
    }

    /// Adds segment ids, which must be as many as the tokens. A model without segments takes zeros for none.
    pub(crate) fn with_types(mut self, types: &[Vec<u32>], plan: &StackPlan) -> Result<Self> {
        const NAME: &str = "token_type_ids";
        let kinds = plan.embedding.types;
        if !types.iter().map(Vec::len).eq(self.rows.lengths()) {
            return Err(Error::Input(format!("{NAME}: there must be one for each of input_ids")));
        }
        for (i, ids) in types.iter().enumerate() {
            check_ids(NAME, i, ids, kinds.max(1), "the segments")?;
        }
        self.types = (kinds > 0).then(|| types.concat());
        Ok(self)
    }

    /// The packed ids as a stack reads them from their beginning.
    pub(crate) fn tokens<B: DecoderOps>(&self) -> Tokens<'_, B> {
        let (ids, types) = (Ids::Known(&self.ids), self.types.as_deref());
        Tokens { ids, types, rows: &self.rows, starts: &[] }
    }
}

/// Fails for an id outside a table of `limit` rows; `of` says what the table is.
pub(crate) fn check_ids(name: &str, i: usize, ids: &[u32], limit: usize, of: &str) -> Result<()> {
    match ids.iter().position(|&id| id as usize >= limit) {
        None => Ok(()),
        Some(at) => Err(Error::Input(format!(
            "{name}: sequence {i}, position {at}: id {} is outside {of} of {limit}",
            ids[at]
        ))),
    }
}

/// What the decoder reads where the request does not say: made from the encoder's input, one sequence for each.
pub(crate) fn decoder_ids(sources: &[Vec<u32>], rule: DecoderInput) -> Result<Vec<Vec<u32>>> {
    let shift = |first: Option<u32>, ids: &[u32]| {
        let kept = ids.len().saturating_sub(1);
        first.into_iter().chain(ids[..kept].iter().copied()).collect()
    };
    match rule {
        DecoderInput::Given => Err(Error::Input(
            "decoder_input_ids are missing; this model's decoder needs them".into(),
        )),
        DecoderInput::Shifted(start) => Ok(sources.iter().map(|s| shift(Some(start), s)).collect()),
        DecoderInput::Wrapped => Ok(sources.iter().map(|s| shift(s.last().copied(), s)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoders_read_shifted_input() {
        let sources = [vec![5, 6, 2], vec![7]];
        let shifted = decoder_ids(&sources, DecoderInput::Shifted(9)).unwrap();
        assert_eq!(shifted, [vec![9, 5, 6], vec![9]]);
        let wrapped = decoder_ids(&sources, DecoderInput::Wrapped).unwrap();
        assert_eq!(wrapped, [vec![2, 5, 6], vec![7]]);
        assert!(decoder_ids(&sources, DecoderInput::Given).is_err());
    }
}
