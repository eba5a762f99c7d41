//! Text to ids and back, as `tokenizer.json` describes it, or in its absence the files of older checkpoints.
//!
//! The settings for truncation and padding inside `tokenizer.json` are **ignored**: they describe how the model was
//! trained, and following them would cut texts without a word (the file of all-MiniLM-L6-v2 cuts at 128 tokens and pads
//! to 128). Whoever wants a limit asks for it ([`Tokenizer::encode_truncated`]).

mod clean_up;
mod config;
mod encoding;
mod marian;
mod one_model;
mod rules;
mod sentencepiece;
mod stream;
#[cfg(test)]
pub(crate) mod test_tokenizers;
pub(crate) mod token_bytes;

pub use encoding::Encoding;
pub use stream::TextStream;

use crate::{Error, Files, Result};
use config::TokenizerConfig;
use rules::Rules;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokenizers::{PostProcessor, PostProcessorWrapper, TruncationDirection};

/// What holds the vocabulary and all rules, in most folders.
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
    rules: Built,
    config: TokenizerConfig,
}

/// What turns text into ids and back. Most folders have the same rules for all.
#[derive(Debug, Clone)]
struct Built {
    /// For texts that are read.
    source: Arc<dyn Rules>,
    /// For texts that a model learns to write.
    target: Arc<dyn Rules>,
    /// For ids that a model wrote.
    decoder: Arc<dyn Rules>,
    /// What is put around a text that is read. Apart from the other rules: it trims offsets, which must happen once,
    /// after texts have been cut.
    source_template: Option<PostProcessorWrapper>,
    /// What is put around a text that a model learns to write.
    target_template: Option<PostProcessorWrapper>,
}

/// Whether a folder has a tokenizer; `there` says which files it has.
#[cfg(feature = "hub")]
pub(crate) fn is_in(there: impl Fn(&str) -> bool) -> bool {
    there(FILE) || marian::NEEDED.into_iter().all(&there) || one_model::FILES.into_iter().any(there)
}

/// What says more of a tokenizer, where it is there.
const CONFIG: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// Files that a tokenizer may consist of, for whoever copies or downloads one; `there` says which the folder has. Where
/// there is a `tokenizer.json`, it is all that matters of the rest.
pub(crate) fn files(there: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static str> {
    let (json, others) = (there(FILE), marian::FILES.into_iter().chain(one_model::FILES));
    let others = others.filter(move |_| !json);
    [FILE].into_iter().chain(others).chain(CONFIG).filter(move |name| there(name))
}

impl Tokenizer {
    /// Reads the tokenizer of a folder: `tokenizer.json`; where there is none the files of Marian (`source.spm`,
    /// `target.spm`, `vocab.json`; `target_vocab.json` where the target has its own vocabulary), or the one model of
    /// T5, mT5, XLM-RoBERTa, CamemBERT and mBART (`spiece.model`, `sentencepiece.bpe.model`). And, where there are any,
    /// `tokenizer_config.json` and `special_tokens_map.json`.
    ///
    /// # Errors
    /// When the folder has no such files, or those of another tokenizer (`tokenizer.model`, `merges.txt`, `vocab.txt`; the
    /// error says what to do), and when one is malformed.
    pub fn from_files(files: &Files) -> Result<Self> {
        Self::find(files)?.ok_or_else(|| Error::file(files.path(FILE), no_tokenizer(files)))
    }

    /// As [`from_files`](Self::from_files), but `None` where the folder has no files that could be read.
    ///
    /// # Errors
    /// When a file is malformed.
    pub fn find(files: &Files) -> Result<Option<Self>> {
        let mut config: TokenizerConfig = files.json("tokenizer_config.json")?.unwrap_or_default();
        if let Some(special) = files.json("special_tokens_map.json")? {
            config.fill_from(special);
        }
        let rules = match files.read(FILE)? {
            Some(json) => Built::from_json(&json, files.path(FILE))?,
            None if files.contains(marian::SOURCE) => marian::build(files, &mut config)?,
            None => match one_model::build(files, &mut config)? {
                Some(rules) => rules,
                None => return Ok(None),
            },
        };
        Ok(Some(Self { rules, config }))
    }

    /// As [`from_files`](Self::from_files), from a folder.
    ///
    /// # Errors
    /// Those of [`from_files`](Self::from_files), and when there is no such folder.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self> {
        Self::from_files(&Files::folder(folder.as_ref())?)
    }

    /// The tokenizer of texts that a model learns to write, which `text_target=` of transformers asks for. It differs
    /// from that of texts that are read in folders of Marian, where each language has its own, and in those of mBART
    /// without `tokenizer.json`, where each language has a token that ends its texts.
    ///
    /// ```
    /// use seq2seq_models::Tokenizer;
    ///
    /// # let folder = "../fixtures/sentencepiece/marian";
    /// let sources = Tokenizer::from_folder(folder)?; // here `source.spm`, `target.spm` and `vocab.json`
    /// let targets = sources.for_targets();
    /// let text = "the house";
    /// let ids = targets.encode(text)?.ids().to_vec();
    /// assert_eq!(sources.decode(&ids, true)?, text); // what a model wrote is decoded as a target by either
    /// # Ok::<(), seq2seq_models::Error>(())
    /// ```
    pub fn for_targets(&self) -> Self {
        let mut rules = self.rules.clone();
        (rules.source, rules.source_template) =
            (rules.target.clone(), rules.target_template.clone());
        Self { rules, config: self.config.clone() }
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
    /// ```
    /// use seq2seq_models::Tokenizer;
    ///
    /// # let folder = "../fixtures/bert";
    /// let tokenizer = Tokenizer::from_folder(folder)?;
    /// let context = "the cat sat on the river and the dog ran to the house";
    /// let windows = tokenizer.encode_windows("where?", context, 12, 2)?;
    /// assert!(windows.len() > 1 && windows.iter().all(|window| window.len() <= 12));
    /// // A window's places are those in the whole context.
    /// let last = &windows[windows.len() - 1];
    /// assert_eq!(last.offsets()[last.len() - 2].1, context.len()); // before the token that ends it
    /// # Ok::<(), seq2seq_models::Error>(())
    /// ```
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
        let added = self.rules.source_template.as_ref().map_or(0, |p| p.added_tokens(pair));
        limit.checked_sub(added).filter(|&room| room > 0).ok_or_else(|| {
            Error::Input(format!("a limit of {limit} tokens: {added} special tokens leave no room"))
        })
    }

    fn bare(&self, text: &str) -> Result<tokenizers::Encoding> {
        self.rules.source.encode(text)
    }

    fn finish(
        &self,
        first: tokenizers::Encoding,
        second: Option<tokenizers::Encoding>,
    ) -> Result<Encoding> {
        let whole = match &self.rules.source_template {
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
        self.rules.decoder.decode(ids, skip_special_tokens)
    }

    /// Joins tokens (not ids) into text: `convert_tokens_to_string` of transformers.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode).
    pub fn join_tokens(&self, tokens: Vec<String>) -> Result<String> {
        self.rules.decoder.join(tokens)
    }

    /// transformers leaves the text of byte-pair models alone even where the configuration asks for cleaning.
    fn cleans_up(&self) -> bool {
        self.config.clean_up_tokenization_spaces && !self.rules.decoder.merges_pairs()
    }

    /// The number of tokens with the added ones.
    pub fn vocab_size(&self) -> usize {
        self.rules.source.vocab_size()
    }

    /// The id of a token of the vocabulary.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.rules.source.token_to_id(token)
    }

    /// Whether `id` is a special token, one that decoding leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.rules.decoder.is_special(id)
    }

    /// The bytes that a token adds to the text before it: with the space that its marker stands for, and with the part
    /// of a character where it is only that. Special tokens add their names. Empty for an id that is no token.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let rules = &self.rules.decoder;
        rules.id_to_token(id).map(|token| rules.token_bytes(token)).unwrap_or_default()
    }

    /// Whether `id` is one byte of a character that the vocabulary lacks, such as `<0xE2>`.
    fn is_byte(&self, id: u32) -> bool {
        self.rules.decoder.id_to_token(id).is_some_and(|t| token_bytes::named_byte(&t).is_some())
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
        self.rules.source.marks_subwords()
    }
}

impl Built {
    /// Of `tokenizer.json`.
    fn from_json(json: &[u8], path: PathBuf) -> Result<Self> {
        let malformed =
            |e: tokenizers::Error| Error::File { path: path.clone(), reason: e.to_string() };
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(malformed)?;
        inner.with_truncation(None).map_err(malformed)?;
        inner.with_padding(None);
        let template = inner.get_post_processor().cloned();
        inner.with_post_processor(None::<PostProcessorWrapper>);
        Ok(Self::same_for_all(inner, template.clone(), template))
    }

    fn same_for_all(
        rules: tokenizers::Tokenizer,
        source_template: Option<PostProcessorWrapper>,
        target_template: Option<PostProcessorWrapper>,
    ) -> Self {
        let source = Arc::new(rules);
        let (target, decoder) = (source.clone(), source.clone());
        Self { source, target, decoder, source_template, target_template }
    }
}

/// Says which files the folder has instead and what to do.
fn no_tokenizer(files: &Files) -> String {
    let others =
        ["spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "vocab.json", "vocab.txt"];
    let found: Vec<_> = others.into_iter().filter(|name| files.contains(name)).collect();
    if found.is_empty() {
        return "no such file; texts need one (ids can be given as `input_ids`)".into();
    }
    format!(
        "no such file; {} cannot be read directly, so make tokenizer.json of them once: in Python, with transformers and \
         sentencepiece installed, `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`. Or give ids as `input_ids`",
        found.join(" and ")
    )
}

#[cfg(test)]
mod tests;
