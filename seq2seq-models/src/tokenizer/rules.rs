//! What turns text into tokens and back, before special tokens are put around it.

use super::token_bytes;
use crate::{Error, Result};
use std::fmt::Debug;
use tokenizers::{Decoder, ModelWrapper};

/// The rules of one direction. A folder with `tokenizer.json` has one for all; others have one for the texts that are
/// read and one for those that are written.
pub(super) trait Rules: Debug + Send + Sync {
    /// The tokens of a text, none of them added.
    fn encode(&self, text: &str) -> Result<tokenizers::Encoding>;

    /// The text of ids; those outside the vocabulary are passed over.
    fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String>;

    /// The text of tokens.
    fn join(&self, tokens: Vec<String>) -> Result<String>;

    fn token_to_id(&self, token: &str) -> Option<u32>;

    fn id_to_token(&self, id: u32) -> Option<String>;

    /// Whether decoding may leave the token out.
    fn is_special(&self, id: u32) -> bool;

    /// The number of tokens with the added ones.
    fn vocab_size(&self) -> usize;

    /// The bytes that a token adds to the text before it.
    fn token_bytes(&self, token: String) -> Vec<u8>;

    /// Whether tokens come from merged pairs.
    fn merges_pairs(&self) -> bool;

    /// Whether tokens that continue a word are marked by a prefix.
    fn marks_subwords(&self) -> bool;
}

fn cannot_decode(e: tokenizers::Error) -> Error {
    Error::Input(format!("the tokenizer cannot decode: {e}"))
}

/// Of `tokenizer.json`, or what other files say in its terms.
impl Rules for tokenizers::Tokenizer {
    fn encode(&self, text: &str) -> Result<tokenizers::Encoding> {
        self.encode_char_offsets(text, false)
            .map_err(|e| Error::Input(format!("the tokenizer cannot encode the text: {e}")))
    }

    fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        (**self).decode(ids, skip_special_tokens).map_err(cannot_decode)
    }

    fn join(&self, tokens: Vec<String>) -> Result<String> {
        match self.get_decoder() {
            Some(decoder) => decoder.decode(tokens).map_err(cannot_decode),
            None => Ok(tokens.join(" ")),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        (**self).token_to_id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        (**self).id_to_token(id)
    }

    fn is_special(&self, id: u32) -> bool {
        (**self).id_to_token(id).is_some_and(|t| self.get_added_vocabulary().is_special_token(&t))
    }

    fn vocab_size(&self) -> usize {
        self.get_vocab_size(true)
    }

    fn token_bytes(&self, token: String) -> Vec<u8> {
        token_bytes::of(self, token)
    }

    fn merges_pairs(&self) -> bool {
        matches!(self.get_model(), ModelWrapper::BPE(_))
    }

    fn marks_subwords(&self) -> bool {
        match self.get_model() {
            ModelWrapper::WordPiece(model) => !model.continuing_subword_prefix.is_empty(),
            ModelWrapper::BPE(model) => {
                model.continuing_subword_prefix.as_ref().is_some_and(|p| !p.is_empty())
            }
            _ => false,
        }
    }
}
