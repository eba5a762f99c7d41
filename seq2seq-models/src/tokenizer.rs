//! Text to ids and back, as `tokenizer.json` describes it.
//!
//! The settings for truncation and padding inside `tokenizer.json` are **ignored**: they describe how the model was
//! trained, and following them would cut texts without a word (the file of all-MiniLM-L6-v2 cuts at 128 tokens and pads
//! to 128). Whoever wants a limit asks for it ([`Tokenizer::encode_truncated`]).

mod clean_up;
mod config;
mod encoding;
mod stream;
#[cfg(test)]
pub(crate) mod test_tokenizers;
pub(crate) mod token_bytes;

pub use encoding::Encoding;
pub use stream::TextStream;

use crate::{Error, Files, Result};
use config::TokenizerConfig;
use std::path::{Path, PathBuf};
use tokenizers::{Decoder, ModelWrapper, PostProcessor, PostProcessorWrapper, TruncationDirection};

/// What holds the vocabulary and all rules.
const FILE: &str = "tokenizer.json";

/// The tokenizer of one checkpoint. `Sync`: one serves all threads.
///
/// ```
/// use seq2seq_models::Tokenizer;
///
/// # let folder = "../fixtures/gpt2_text";
/// let tokenizer = Tokenizer::from_folder(folder)?;
/// let encoding = tokenizer.encode("The cat sat.")?;
/// assert_eq!(tokenizer.decode(encoding.ids(), true)?, "The cat sat.");
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tokenizer {
    /// Without its post-processor: this trims offsets, which must happen once, after texts have been cut.
    inner: tokenizers::Tokenizer,
    post_processor: Option<PostProcessorWrapper>,
    config: TokenizerConfig,
}

impl Tokenizer {
    /// Reads `tokenizer.json` and, where there are any, `tokenizer_config.json` and `special_tokens_map.json`.
    ///
    /// # Errors
    /// When `tokenizer.json` is missing (Marian folders, and older ones of mBART and T5, hold only sentencepiece models,
    /// which are not read; the error says what to do) or a file is malformed.
    pub fn from_files(files: &Files) -> Result<Self> {
        let Some(json) = files.read(FILE)? else {
            return Err(Error::file(files.path(FILE), no_tokenizer(files)));
        };
        let mut config: TokenizerConfig = files.json("tokenizer_config.json")?.unwrap_or_default();
        if let Some(special) = files.json("special_tokens_map.json")? {
            config.fill_from(special);
        }
        Self::new(&json, config, files.path(FILE))
    }

    /// As [`from_files`](Self::from_files), from a folder.
    ///
    /// # Errors
    /// Those of [`from_files`](Self::from_files), and when there is no such folder.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self> {
        Self::from_files(&Files::folder(folder.as_ref())?)
    }

    fn new(json: &[u8], config: TokenizerConfig, path: PathBuf) -> Result<Self> {
        let malformed =
            |e: tokenizers::Error| Error::File { path: path.clone(), reason: e.to_string() };
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(malformed)?;
        inner.with_truncation(None).map_err(malformed)?;
        inner.with_padding(None);
        let post_processor = inner.get_post_processor().cloned();
        inner.with_post_processor(None::<PostProcessorWrapper>);
        Ok(Self { inner, post_processor, config })
    }

    /// The ids of `text` with the special tokens that the model expects around it.
    ///
    /// # Errors
    /// Text that the tokenizer has no token for.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        self.finish(self.bare(text)?, None)
    }

    /// The ids of a pair, such as a question and a context, with special tokens and segment ids.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode).
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<Encoding> {
        self.finish(self.bare(first)?, Some(self.bare(second)?))
    }

    /// As [`encode`](Self::encode), with tokens cut from the end of the text until, special tokens included, at most
    /// `limit` are left.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode), and when `limit` has no room for one token besides the special ones.
    pub fn encode_truncated(&self, text: &str, limit: usize) -> Result<Encoding> {
        let room = self.room(limit, false)?;
        let mut text = self.bare(text)?;
        text.truncate(room, 0, TruncationDirection::Right);
        self.finish(text, None)
    }

    /// A pair in windows: `first` whole, `second` cut into overlapping pieces such that no window is longer than
    /// `limit` tokens and consecutive pieces share `stride` tokens. Never empty.
    ///
    /// # Errors
    /// When `first` leaves no more than `stride` tokens of a window for `second`.
    pub fn encode_windows(
        &self,
        first: &str,
        second: &str,
        limit: usize,
        stride: usize,
    ) -> Result<Vec<Encoding>> {
        let first = self.bare(first)?;
        let room = self.room(limit, true)?.saturating_sub(first.len());
        if room <= stride {
            return Err(Error::Input(format!(
                "the first text has {} tokens; windows of {limit} that overlap by {stride} leave no room for the second",
                first.len()
            )));
        }
        let mut second = self.bare(second)?;
        second.truncate(room, stride, TruncationDirection::Right);
        let rest = second.take_overflowing();
        std::iter::once(second)
            .chain(rest)
            .map(|piece| self.finish(first.clone(), Some(piece)))
            .collect()
    }

    /// Tokens of a window of `limit` that are left beside the special ones.
    fn room(&self, limit: usize, pair: bool) -> Result<usize> {
        let added = self.post_processor.as_ref().map_or(0, |p| p.added_tokens(pair));
        limit.checked_sub(added).filter(|&room| room > 0).ok_or_else(|| {
            Error::Input(format!("a limit of {limit} tokens: {added} special tokens leave no room"))
        })
    }

    fn bare(&self, text: &str) -> Result<tokenizers::Encoding> {
        self.inner
            .encode_char_offsets(text, false)
            .map_err(|e| Error::Input(format!("the tokenizer cannot encode the text: {e}")))
    }

    fn finish(
        &self,
        first: tokenizers::Encoding,
        second: Option<tokenizers::Encoding>,
    ) -> Result<Encoding> {
        let whole = match &self.post_processor {
            Some(processor) => processor.process(first, second, true),
            None => <dyn PostProcessor>::default_process(
                [first].into_iter().chain(second).collect(),
                true,
            )
            .map(|parts| tokenizers::Encoding::merge(parts, false)),
        };
        whole
            .map(Encoding::new)
            .map_err(|e| Error::Input(format!("the tokenizer cannot add special tokens: {e}")))
    }

    /// The text of `ids`, as `decode` of transformers gives it: ids outside the vocabulary are passed over, and
    /// spaces before punctuation go where `clean_up_tokenization_spaces` says so.
    ///
    /// # Errors
    /// Where the decoder of `tokenizer.json` fails.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        let text = self.decode_raw(ids, skip_special_tokens)?;
        Ok(if self.cleans_up() { clean_up::clean_up(&text) } else { text })
    }

    /// Decodes ids one at a time; the pieces add up to what [`decode`](Self::decode) gives.
    pub fn stream(&self, skip_special_tokens: bool) -> TextStream<'_> {
        TextStream::new(self, skip_special_tokens)
    }

    fn decode_raw(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String> {
        self.inner
            .decode(ids, skip_special_tokens)
            .map_err(|e| Error::Input(format!("the tokenizer cannot decode: {e}")))
    }

    /// Joins tokens (not ids) into text: `convert_tokens_to_string` of transformers.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode).
    pub fn join_tokens(&self, tokens: Vec<String>) -> Result<String> {
        match self.inner.get_decoder() {
            Some(decoder) => decoder
                .decode(tokens)
                .map_err(|e| Error::Input(format!("the tokenizer cannot decode: {e}"))),
            None => Ok(tokens.join(" ")),
        }
    }

    /// transformers leaves the text of byte-pair models alone even where the configuration asks for cleaning.
    fn cleans_up(&self) -> bool {
        self.config.clean_up_tokenization_spaces
            && !matches!(self.inner.get_model(), ModelWrapper::BPE(_))
    }

    /// The number of tokens with the added ones.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a token of the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether `id` is a special token, one that decoding leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner
            .id_to_token(id)
            .is_some_and(|t| self.inner.get_added_vocabulary().is_special_token(&t))
    }

    /// Whether `id` is one byte of a character that the vocabulary lacks, such as `<0xE2>`.
    fn is_byte(&self, id: u32) -> bool {
        self.inner.id_to_token(id).is_some_and(|t| token_bytes::named_byte(&t).is_some())
    }

    /// The token to be filled in, such as `[MASK]`.
    pub fn mask_token(&self) -> Option<&str> {
        self.config.mask_token.as_ref().map(|t| t.content()).or_else(|| {
            ["[MASK]", "<mask>"]
                .into_iter()
                .find(|t| self.token_to_id(t).is_some_and(|id| self.is_special(id)))
        })
    }

    /// The id of the padding token.
    pub fn pad_id(&self) -> Option<u32> {
        self.id_of(self.config.pad_token.as_ref(), &["[PAD]", "<pad>"])
    }

    /// The id of the token for what the vocabulary lacks.
    pub fn unk_id(&self) -> Option<u32> {
        self.id_of(self.config.unk_token.as_ref(), &["[UNK]", "<unk>"])
    }

    /// The id of the token that ends a text.
    pub fn eos_id(&self) -> Option<u32> {
        self.id_of(self.config.eos_token.as_ref(), &["</s>", "<|endoftext|>", "[SEP]"])
    }

    /// The id of the token that begins a text; `None` where tokenizer_config.json names none.
    pub fn bos_id(&self) -> Option<u32> {
        self.id_of(self.config.bos_token.as_ref(), &[])
    }

    /// The id of the token that stands for the whole sequence.
    pub fn cls_id(&self) -> Option<u32> {
        self.id_of(self.config.cls_token.as_ref(), &["[CLS]", "<s>"])
    }

    fn id_of(&self, named: Option<&config::TokenName>, usual: &[&str]) -> Option<u32> {
        match named {
            Some(token) => self.token_to_id(token.content()),
            None => usual.iter().find_map(|t| self.token_to_id(t)),
        }
    }

    /// `model_max_length`: what the tokenizer's configuration takes for the longest input. `None` where it states
    /// none (transformers writes 10^30 then).
    pub fn max_length(&self) -> Option<usize> {
        self.config.max_length()
    }

    /// Whether tokens that continue a word are marked by a prefix (`##` in WordPiece).
    pub fn marks_subwords(&self) -> bool {
        match self.inner.get_model() {
            ModelWrapper::WordPiece(model) => !model.continuing_subword_prefix.is_empty(),
            ModelWrapper::BPE(model) => {
                model.continuing_subword_prefix.as_ref().is_some_and(|p| !p.is_empty())
            }
            _ => false,
        }
    }
}

/// Says which files the folder has instead and what to do.
fn no_tokenizer(files: &Files) -> String {
    let others = [
        "source.spm",
        "target.spm",
        "spiece.model",
        "sentencepiece.bpe.model",
        "vocab.json",
        "vocab.txt",
    ];
    let found: Vec<_> = others.into_iter().filter(|name| files.contains(name)).collect();
    if found.is_empty() {
        return "no such file; texts need one (ids can be given as `input_ids`)".into();
    }
    let hint = match found.contains(&"source.spm") {
        // transformers 5.23 has no tokenizer.json for these: its MarianTokenizer writes the same files again (ran).
        true => {
            "and transformers makes no tokenizer.json of a Marian folder. Give ids as `input_ids`, such as those of \
             `AutoTokenizer.from_pretrained(DIR)(TEXT).input_ids` in Python; it also decodes those that come out"
        }
        false => {
            "so make tokenizer.json of them once: in Python, with transformers and sentencepiece installed, \
             `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`. Or give ids as `input_ids`"
        }
    };
    format!("no such file; {} cannot be read directly, {hint}", found.join(" and "))
}

#[cfg(test)]
mod tests;
