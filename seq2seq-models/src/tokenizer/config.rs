use serde::Deserialize;
use std::collections::BTreeMap;

/// What is used of `tokenizer_config.json` and `special_tokens_map.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenizerConfig {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) clean_up_tokenization_spaces: bool,
    /// Read as a float: 10^30 stands for "no limit".
    pub(super) model_max_length: Option<f64>,
    pub(super) mask_token: Option<TokenName>,
    pub(super) pad_token: Option<TokenName>,
    pub(super) unk_token: Option<TokenName>,
    pub(super) cls_token: Option<TokenName>,
    pub(super) bos_token: Option<TokenName>,
    pub(super) eos_token: Option<TokenName>,
    pub(super) sep_token: Option<TokenName>,
    #[serde(deserialize_with = "null_is_default")]
    additional_special_tokens: Listed,
    /// What transformers 5 calls those; some files have both.
    #[serde(deserialize_with = "null_is_default")]
    extra_special_tokens: Listed,
    /// Tokens that are not in the vocabulary's file, by their ids.
    #[serde(deserialize_with = "null_is_default")]
    pub(super) added_tokens_decoder: BTreeMap<u32, TokenName>,
    /// The class of transformers that reads the folder.
    pub(super) tokenizer_class: Option<String>,
    /// Of T5: how many sentinels there are.
    pub(super) extra_ids: Option<usize>,
    /// Of mBART: the languages of texts that are read, and written.
    pub(super) src_lang: Option<String>,
    pub(super) tgt_lang: Option<String>,
    /// Of Marian: whether the target has a vocabulary of its own.
    #[serde(deserialize_with = "null_is_default")]
    pub(super) separate_vocabs: bool,
}

/// A token by its text, or with attributes that `tokenizer.json` repeats.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum TokenName {
    Text(String),
    Attributes {
        content: String,
        #[serde(flatten)]
        flags: Flags,
    },
}

/// How a token is found in a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Flags {
    /// Whether it takes the spaces before it.
    pub(super) lstrip: bool,
    /// Whether it takes the spaces behind it.
    pub(super) rstrip: bool,
    /// Whether it is found as a whole word only.
    pub(super) single_word: bool,
}

impl TokenName {
    pub(super) fn content(&self) -> &str {
        match self {
            Self::Text(content) | Self::Attributes { content, .. } => content,
        }
    }

    pub(super) fn flags(&self) -> Flags {
        match self {
            Self::Text(_) => Flags::default(),
            Self::Attributes { flags, .. } => *flags,
        }
    }
}

fn null_is_default<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(
    d: D,
) -> Result<T, D::Error> {
    Option::deserialize(d).map(Option::unwrap_or_default)
}

/// Tokens in a list, or, as transformers may write it, by names that do not matter.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Listed {
    List(Vec<TokenName>),
    Map(BTreeMap<String, TokenName>),
}

impl Default for Listed {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Listed {
    fn tokens(&self) -> Vec<&TokenName> {
        match self {
            Self::List(tokens) => tokens.iter().collect(),
            Self::Map(tokens) => tokens.values().collect(),
        }
    }
}

impl TokenizerConfig {
    /// The special tokens, in the order in which transformers adds them to a vocabulary that lacks them.
    pub(super) fn special_tokens(&self) -> impl Iterator<Item = &TokenName> {
        let named = [
            &self.bos_token,
            &self.eos_token,
            &self.unk_token,
            &self.sep_token,
            &self.pad_token,
            &self.cls_token,
            &self.mask_token,
        ];
        named
            .into_iter()
            .flatten()
            .chain(self.additional_special_tokens.tokens())
            .chain(self.extra_special_tokens.tokens())
    }

    /// Takes the special tokens that this one does not name.
    pub(super) fn fill_from(&mut self, other: Self) {
        self.mask_token = self.mask_token.take().or(other.mask_token);
        self.pad_token = self.pad_token.take().or(other.pad_token);
        self.unk_token = self.unk_token.take().or(other.unk_token);
        self.cls_token = self.cls_token.take().or(other.cls_token);
        self.bos_token = self.bos_token.take().or(other.bos_token);
        self.eos_token = self.eos_token.take().or(other.eos_token);
        self.sep_token = self.sep_token.take().or(other.sep_token);
        if self.additional_special_tokens.tokens().is_empty() {
            self.additional_special_tokens = other.additional_special_tokens;
        }
    }

    pub(super) fn max_length(&self) -> Option<usize> {
        self.model_max_length.filter(|&n| (1.0..1e9).contains(&n)).map(|n| n as usize)
    }
}
