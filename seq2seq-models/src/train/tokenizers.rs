//! Tokenizers made anew, as `tokenizer.json` and `tokenizer_config.json`, which transformers reads as well.
//!
//! | kind | tokens | text of any language comes back |
//! |---|---|---|
//! | [`Kind::Bytes`] | the 256 bytes, with the ids of ByT5 | to the byte |
//! | [`Kind::Bpe`] | bytes, and what they are often merged to | to the byte |
//! | [`Kind::Unigram`] | likely pieces of words, and bytes for the rest | but for spaces at its beginning |
//!
//! All of them begin with `<pad>`, `</s>` and `<unk>` (0, 1, 2) and put `</s>` behind a text, as T5 does.
//!
//! The same rows give the same files, on any number of threads.
//!
//! ```
//! use seq2seq_models::{Tokenizer, train::{data::Corpus, tokenizers::{Kind, NewTokenizer, TokenizerOptions}}};
//!
//! # let work = tempfile::tempdir()?;
//! # let folder = &work.path().join("tokenizer");
//! let mut corpus = Corpus::open(&["../recipes/numbers/train.tsv"])?;
//! let text = "three hundred, naïve";
//! let mut lengths = Vec::new();
//! for kind in [Kind::Bytes, Kind::Bpe, Kind::Unigram] {
//!     let options = match kind {
//!         Kind::Bytes => TokenizerOptions::new(kind),
//!         // Sentinels for span corruption, too.
//!         _ => TokenizerOptions { vocab_size: Some(400), extra_ids: 4, ..TokenizerOptions::new(kind) },
//!     };
//!     let tokenizer = NewTokenizer::train(&options, Some(&mut corpus))?.tokenizer()?;
//!     let ids = tokenizer.encode(text)?.ids().to_vec();
//!     assert_eq!(tokenizer.decode(&ids, true)?, text);
//!     assert_eq!(ids.last().copied(), tokenizer.eos_id());
//!     lengths.push(ids.len());
//! }
//! assert!(lengths[0] > lengths[1] && lengths[0] > lengths[2], "{lengths:?}");
//!
//! // A folder of it, which transformers reads as well.
//! NewTokenizer::train(&TokenizerOptions::new(Kind::Bytes), None)?.save(folder)?;
//! assert_eq!(Tokenizer::from_folder(folder)?.encode(text)?.len(), lengths[0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bpe;
mod bytes;
mod unigram;

use super::data::{Corpus, Row};
use crate::{Error, Files, Result, Tokenizer, new_folder::NewFolder};
use serde_json::json;
use std::{fmt, path::Path, str::FromStr};
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, PreTokenizerWrapper,
    processors::template::TemplateProcessing,
};

const PAD: &str = "<pad>";
const EOS: &str = "</s>";
const UNK: &str = "<unk>";
const MASK: &str = "<mask>";
/// The most tokens that are made. Known vocabularies are a tenth of it; what trains takes memory for all that are asked for.
const MOST: usize = 1 << 24;
/// In the order of their ids.
const SPECIAL: [&str; 3] = [PAD, EOS, UNK];

/// What tokens are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Byte b is token b + 3 (Xue et al. 2022, "ByT5: towards a token-free future with pre-trained byte-to-byte
    /// models"). Needs no training.
    Bytes,
    /// Byte pair encoding over bytes (Sennrich et al. 2016; Radford et al. 2019): neighbours that are frequent become one
    /// token, again and again, within words as GPT-2 divides them.
    Bpe,
    /// The pieces under which words are likeliest (Kudo 2018), `▁` standing for the space before a word; characters that
    /// the rows do not have fall into bytes.
    Unigram,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Bytes, Self::Bpe, Self::Unigram];

    /// `bytes`, `bpe`, `unigram`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Bpe => "bpe",
            Self::Unigram => "unigram",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            format!("no kind of tokenizer is called '{name}' (there is: bpe, unigram, bytes)")
        })
    }
}

/// What a tokenizer is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// What tokens are.
    pub kind: Kind,
    /// The most tokens, special ones included. `None` is 8000, or what bytes need.
    pub vocab_size: Option<usize>,
    /// Sentinels for span corruption, `<extra_id_0>` and so on, at the end of the vocabulary.
    pub extra_ids: usize,
    /// Whether there is a `<mask>`, for the denoising of BART and BERT. It is the last token.
    pub mask: bool,
}

impl TokenizerOptions {
    /// No more than `kind` needs.
    pub fn new(kind: Kind) -> Self {
        Self { kind, vocab_size: None, extra_ids: 0, mask: false }
    }

    /// Fails where there would be more tokens than can be made.
    fn check(&self) -> Result<()> {
        for (what, tokens) in
            [("the vocabulary", self.vocab_size.unwrap_or(0)), ("the sentinels", self.extra_ids)]
        {
            if tokens > MOST {
                return Err(Error::Input(format!(
                    "{what} would be {tokens} tokens; at most {MOST} can be made"
                )));
            }
        }
        Ok(())
    }

    /// The tokens behind those that are trained.
    fn appended(&self) -> Vec<String> {
        let sentinels = (0..self.extra_ids).map(|i| format!("<extra_id_{i}>"));
        sentinels.chain(self.mask.then(|| MASK.into())).collect()
    }

    /// How many tokens are left for what is trained. `least` of them are there in any case.
    fn room(&self, least: usize) -> Result<usize> {
        let size = self.vocab_size.unwrap_or(8000);
        let taken = SPECIAL.len() + self.appended().len();
        size.checked_sub(taken).filter(|&room| room >= least).ok_or_else(|| {
            Error::Input(format!(
                "a vocabulary of {size} is too small: {taken} special tokens and {least} bytes or characters need {}",
                taken + least
            ))
        })
    }
}

/// A tokenizer that is in no folder yet.
///
/// ```
/// use seq2seq_models::train::{data::Corpus, tokenizers::{Kind, NewTokenizer, TokenizerOptions}};
///
/// let mut corpus = Corpus::open(&["../recipes/numbers/train.tsv"])?;
/// let options = TokenizerOptions { vocab_size: Some(300), ..TokenizerOptions::new(Kind::Bpe) };
/// let new = NewTokenizer::train(&options, Some(&mut corpus))?;
/// let tokenizer = new.tokenizer()?;
/// let encoding = tokenizer.encode("eight hundred")?;
/// assert_eq!(tokenizer.decode(encoding.ids(), true)?, "eight hundred");
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NewTokenizer {
    json: String,
    config: String,
    tokens: usize,
}

/// A model with what goes before and behind it.
struct Parts {
    model: ModelWrapper,
    pre_tokenizer: PreTokenizerWrapper,
    decoder: DecoderWrapper,
}

impl NewTokenizer {
    /// Trains a tokenizer on all texts of `corpus`, sources as well as targets; bytes need none.
    ///
    /// # Errors
    /// Where a corpus is missing or cannot be read, or the vocabulary is too small for what must be in it or
    /// larger than 2²⁴ tokens.
    pub fn train(options: &TokenizerOptions, corpus: Option<&mut Corpus>) -> Result<Self> {
        options.check()?;
        let needed = || {
            Error::Input(format!(
                "a tokenizer of kind {} is trained: give rows of text",
                options.kind
            ))
        };
        let parts = match options.kind {
            Kind::Bytes => bytes::parts(options)?,
            Kind::Bpe => bpe::train(options, corpus.ok_or_else(needed)?)?,
            Kind::Unigram => unigram::train(options, corpus.ok_or_else(needed)?)?,
        };
        Self::assemble(options, parts).map_err(failed)
    }

    fn assemble(options: &TokenizerOptions, parts: Parts) -> tokenizers::Result<Self> {
        let appended = options.appended();
        let mut tokenizer = tokenizers::Tokenizer::new(parts.model);
        tokenizer.with_pre_tokenizer(Some(parts.pre_tokenizer));
        tokenizer.with_decoder(Some(parts.decoder));
        tokenizer.with_post_processor(Some(
            TemplateProcessing::builder()
                .try_single(format!("$A {EOS}"))?
                .try_pair(format!("$A {EOS} $B {EOS}"))?
                .special_tokens(vec![(EOS, 1)])
                .build()?,
        ));
        let special = SPECIAL.into_iter().chain(appended.iter().map(|t| &t[..]));
        tokenizer.add_special_tokens(special.map(|token| AddedToken::from(token, true)))?;
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": PAD, "eos_token": EOS, "unk_token": UNK,
            "clean_up_tokenization_spaces": false,
        });
        if options.extra_ids > 0 {
            config["additional_special_tokens"] = appended[..options.extra_ids].into();
        }
        if options.mask {
            config["mask_token"] = MASK.into();
        }
        let mut config = serde_json::to_string_pretty(&config)?;
        config.push('\n');
        let tokens = tokenizer.get_vocab_size(true);
        Ok(Self { json: tokenizer.to_string(true)?, config, tokens })
    }

    /// The number of tokens; fewer than asked for where the rows have no more.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// It, ready for use.
    ///
    /// # Errors
    /// Where its files make no tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let files = self.files().map(|(name, text)| (name, text.as_bytes().to_vec().into()));
        Tokenizer::from_files(&Files::embedded("a new tokenizer", files))
    }

    /// Names and contents.
    pub fn files(&self) -> [(&'static str, &str); 2] {
        [("tokenizer.json", &self.json), ("tokenizer_config.json", &self.config)]
    }

    /// Writes the files to a folder, which appears when all is written.
    ///
    /// # Errors
    /// Where `folder` is something else than a new or an empty folder, or cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let new = NewFolder::at(folder)?;
        for (name, text) in self.files() {
            new.write(name, text)?;
        }
        new.finish()
    }
}

fn failed(error: tokenizers::Error) -> Error {
    Error::Input(format!("the tokenizer cannot be made: {error}"))
}

/// All texts of a corpus, up to the first one that cannot be read.
struct Texts<'a> {
    corpus: &'a mut Corpus,
    next: usize,
    /// The target of the last row, whose source has been given.
    target: Option<String>,
    error: Option<Error>,
}

impl<'a> Texts<'a> {
    fn of(corpus: &'a mut Corpus) -> Self {
        Self { corpus, next: 0, target: None, error: None }
    }

    /// To be called at the end.
    fn finish(self) -> Result<()> {
        self.error.map_or(Ok(()), Err)
    }
}

impl Iterator for Texts<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if let Some(target) = self.target.take() {
            return Some(target);
        }
        if self.next == self.corpus.rows() || self.error.is_some() {
            return None;
        }
        self.next += 1;
        match self.corpus.row(self.next - 1) {
            Ok(Row::Text(text)) => Some(text),
            Ok(Row::Tagged { tokens, .. }) => Some(tokens.join(" ")),
            Ok(
                Row::Pair { source, target }
                | Row::Question { question: source, context: target, .. },
            ) => {
                self.target = Some(target);
                Some(source)
            }
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}

/// The words of a text, in whatever characters its pre-tokenizer gives them.
fn words(
    pre_tokenizer: &impl tokenizers::PreTokenizer,
    text: &str,
) -> tokenizers::Result<Vec<String>> {
    let mut text = tokenizers::PreTokenizedString::from(text);
    pre_tokenizer.pre_tokenize(&mut text)?;
    let splits =
        text.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::None);
    Ok(splits.into_iter().map(|(word, ..)| word.to_owned()).collect())
}

#[cfg(test)]
mod tests;
