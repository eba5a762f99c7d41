use serde::Deserialize;

/// What is used of `tokenizer_config.json` and `special_tokens_map.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenizerConfig {
    #[serde(deserialize_with = "null_is_false")]
    pub(super) clean_up_tokenization_spaces: bool,
    /// Read as a float: 10^30 stands for "no limit".
    model_max_length: Option<f64>,
    pub(super) mask_token: Option<TokenName>,
    pub(super) pad_token: Option<TokenName>,
    pub(super) unk_token: Option<TokenName>,
    pub(super) cls_token: Option<TokenName>,
    pub(super) bos_token: Option<TokenName>,
    pub(super) eos_token: Option<TokenName>,
}

/// A token by its text, or with attributes that `tokenizer.json` repeats.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum TokenName {
    Text(String),
    Attributes { content: String },
}

impl TokenName {
    pub(super) fn content(&self) -> &str {
        match self {
            Self::Text(content) | Self::Attributes { content } => content,
        }
    }
}

fn null_is_false<'de, D: serde::Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    Option::deserialize(d).map(Option::unwrap_or_default)
}

impl TokenizerConfig {
    /// Takes the special tokens that this one does not name.
    pub(super) fn fill_from(&mut self, other: Self) {
        self.mask_token = self.mask_token.take().or(other.mask_token);
        self.pad_token = self.pad_token.take().or(other.pad_token);
        self.unk_token = self.unk_token.take().or(other.unk_token);
        self.cls_token = self.cls_token.take().or(other.cls_token);
        self.bos_token = self.bos_token.take().or(other.bos_token);
        self.eos_token = self.eos_token.take().or(other.eos_token);
    }

    pub(super) fn max_length(&self) -> Option<usize> {
        self.model_max_length.filter(|&n| (1.0..1e9).contains(&n)).map(|n| n as usize)
    }
}
