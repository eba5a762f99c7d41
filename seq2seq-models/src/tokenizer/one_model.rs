//! Folders with one sentencepiece model and no `tokenizer.json`: T5, mT5, XLM-RoBERTa, CamemBERT, mBART.
//!
//! As transformers 5 has them, which makes a tokenizer of its crate `tokenizers` from the model's file. That departs from
//! sentencepiece: text is cut at any white space first, so that lines and tabs count as spaces; the model's bytes are
//! not fallen back to; its symbols and control pieces are found in text; and mBART's rules for characters are not used.

use super::{
    Built,
    config::{Flags, TokenName, TokenizerConfig},
    sentencepiece::{Algorithm, Charsmap, Kind, ModelFile},
};
use crate::{Error, Files, Result};
use serde::Deserialize;
use tokenizers::{
    AddedToken, PostProcessorWrapper, Tokenizer,
    models::unigram::Unigram,
    normalizers::Precompiled,
    pre_tokenizers::{
        metaspace::{Metaspace, PrependScheme},
        sequence::Sequence,
        whitespace::WhitespaceSplit,
    },
    processors::template::TemplateProcessing,
};

/// How a folder's model may be called.
pub(super) const FILES: [&str; 2] = ["spiece.model", "sentencepiece.bpe.model"];

/// Sentinels of a T5 whose configuration does not say how many.
const EXTRA_IDS: usize = 100;
/// More are taken for a damaged file.
const MOST_EXTRA_IDS: usize = 1 << 16;

/// mBART's languages, in the order of their ids.
const LANGUAGES: [&str; 25] = [
    "ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN",
    "it_IT", "ja_XX", "kk_KZ", "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO",
    "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN",
];
/// The language of a text unless the configuration says otherwise.
const LANGUAGE: &str = "en_XX";

/// What numbers the pieces, and puts tokens around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    T5,
    XlmRoberta,
    Camembert,
    MBart,
}

/// What is used of config.json.
#[derive(Deserialize)]
struct ModelConfig {
    model_type: Option<String>,
}

impl Class {
    /// That of a folder: as `tokenizer_config.json` says, else by the kind of model. `None` for others.
    fn of(files: &Files, config: &TokenizerConfig) -> Result<Option<Self>> {
        if let Some(name) = &config.tokenizer_class {
            return Ok(match name.trim_end_matches("Fast") {
                "T5Tokenizer" | "MT5Tokenizer" => Some(Self::T5),
                "XLMRobertaTokenizer" => Some(Self::XlmRoberta),
                "CamembertTokenizer" => Some(Self::Camembert),
                "MBartTokenizer" => Some(Self::MBart),
                _ => None,
            });
        }
        let model: Option<ModelConfig> = files.json("config.json")?;
        Ok(match model.and_then(|m| m.model_type).as_deref() {
            Some("t5" | "mt5") => Some(Self::T5),
            Some("xlm-roberta") => Some(Self::XlmRoberta),
            Some("camembert") => Some(Self::Camembert),
            Some("mbart") => Some(Self::MBart),
            _ => None,
        })
    }

    /// Special tokens that the configuration need not name.
    fn fill(self, config: &mut TokenizerConfig) {
        let fill = |token: &mut Option<TokenName>, name: &str| {
            token.get_or_insert_with(|| TokenName::Text(name.into()));
        };
        fill(&mut config.eos_token, "</s>");
        fill(&mut config.unk_token, "<unk>");
        fill(&mut config.pad_token, "<pad>");
        if self == Self::T5 {
            return;
        }
        fill(&mut config.bos_token, "<s>");
        fill(&mut config.sep_token, "</s>");
        fill(&mut config.cls_token, "<s>");
        fill(&mut config.mask_token, "<mask>");
        if let (Self::Camembert, Some(TokenName::Text(mask))) = (self, &config.mask_token) {
            let flags = Flags { lstrip: true, ..Flags::default() };
            config.mask_token = Some(TokenName::Attributes { content: mask.clone(), flags });
        }
    }

    /// All tokens with their scores, in the order of their ids, and the id of the one for what is unknown.
    fn vocabulary(self, file: &ModelFile, config: &TokenizerConfig) -> (Vec<(String, f64)>, usize) {
        let of = |token: &Option<TokenName>| name(token).to_owned();
        let pieces = |behind: usize| {
            file.pieces.iter().skip(behind).map(|p| (p.text.clone(), f64::from(p.score)))
        };
        let zero = |token: String| (token, 0.0);
        let fairseq =
            [&config.bos_token, &config.pad_token, &config.eos_token, &config.unk_token].map(of);
        match self {
            Self::T5 => {
                let extra = (0..config.extra_ids.unwrap_or(EXTRA_IDS)).rev();
                (pieces(0).chain(extra.map(|i| zero(sentinel(i)))).collect(), 2)
            }
            Self::XlmRoberta => {
                let mask = of(&config.mask_token);
                (fairseq.into_iter().map(zero).chain(pieces(3)).chain([zero(mask)]).collect(), 3)
            }
            Self::Camembert => {
                let [_, pad, _, unknown] = fairseq;
                let first = ["<s>NOTUSED".into(), pad, "</s>NOTUSED".into(), unknown];
                let unused = ("<unk>NOTUSED".to_owned(), -100.0);
                let mask = zero(of(&config.mask_token));
                let all =
                    first.into_iter().map(zero).chain([unused]).chain(pieces(1)).chain([mask]);
                (all.collect(), 3)
            }
            Self::MBart => {
                let languages = LANGUAGES.map(|l| zero(l.into()));
                let mask = zero(of(&config.mask_token));
                let all = fairseq.into_iter().map(zero).chain(pieces(3)).chain(languages);
                (all.chain([mask]).collect(), 3)
            }
        }
    }

    /// Special tokens beside those with a part to play.
    fn further(self, config: &TokenizerConfig) -> Vec<String> {
        match self {
            Self::T5 => (0..config.extra_ids.unwrap_or(EXTRA_IDS)).map(sentinel).collect(),
            Self::MBart => LANGUAGES.map(String::from).to_vec(),
            Self::XlmRoberta | Self::Camembert => Vec::new(),
        }
    }

    /// What is put around one text, and around two.
    fn template(self, config: &TokenizerConfig, language: &str) -> [Vec<String>; 2] {
        let (begin, end) = (name(&config.bos_token), name(&config.eos_token));
        let [single, pair]: [&[&str]; 2] = match self {
            Self::T5 => [&["$A", end], &["$A", end, "$B", end]],
            Self::XlmRoberta | Self::Camembert => {
                [&[begin, "$A", end], &[begin, "$A", end, end, "$B", end]]
            }
            Self::MBart => [&["$A", end, language], &["$A", "$B", end, language]],
        };
        [single, pair].map(|parts| parts.iter().map(|&p| p.to_owned()).collect())
    }
}

fn name(token: &Option<TokenName>) -> &str {
    token.as_ref().map_or("", TokenName::content)
}

fn sentinel(i: usize) -> String {
    format!("<extra_id_{i}>")
}

/// The tokenizer of a folder with one of [`FILES`]; `None` where the folder has none or is of a class that is not known.
///
/// # Errors
/// Files that are malformed or not supported.
pub(super) fn build(files: &Files, config: &mut TokenizerConfig) -> Result<Option<Built>> {
    let Some(name) = FILES.into_iter().find(|name| files.contains(name)) else { return Ok(None) };
    let Some(class) = Class::of(files, config)? else { return Ok(None) };
    let Some(bytes) = files.read(name)? else { return Ok(None) };
    let file = ModelFile::read(&bytes).map_err(|e| Error::file(files.path(name), e))?;
    class.fill(config);
    if let Some(count) = config.extra_ids.filter(|&count| count > MOST_EXTRA_IDS) {
        let reason = format!("extra_ids is {count}; {MOST_EXTRA_IDS} are the most");
        return Err(Error::file(files.path("tokenizer_config.json"), reason));
    }
    tokenizer(class, &file, config).map(Some).map_err(|e| Error::file(files.path(name), e))
}

fn tokenizer(class: Class, file: &ModelFile, config: &TokenizerConfig) -> Result<Built, String> {
    let text = |e: tokenizers::Error| e.to_string();
    if file.trainer.algorithm() != Algorithm::Unigram {
        return Err("is not a Unigram model, the only ones that are supported here".into());
    }
    let (vocabulary, unknown) = class.vocabulary(file, config);
    let mut rules = Tokenizer::new(Unigram::from(vocabulary, Some(unknown), false).map_err(text)?);
    let charsmap = &file.normalizer.precompiled_charsmap;
    // Read for the check alone: the crate trusts what it is given.
    if Charsmap::read(charsmap)?.is_some() && class != Class::MBart {
        let precompiled = Precompiled::from(charsmap).map_err(|e| e.to_string())?;
        rules.with_normalizer(Some(precompiled)).map_err(text)?;
    }
    let spaces = Metaspace::new('▁', PrependScheme::Always, true);
    let cut = Sequence::new(vec![WhitespaceSplit.into(), spaces.clone().into()]);
    rules.with_pre_tokenizer(Some(cut)).with_decoder(Some(spaces));
    rules.add_tokens(added(class, file, config)).map_err(text)?;
    let template = |language: Option<&String>| {
        let language = language.map_or(LANGUAGE, String::as_str);
        around(&rules, class.template(config, language))
    };
    let source = template(config.src_lang.as_ref())?;
    let target = template(config.tgt_lang.as_ref().or(config.src_lang.as_ref()))?;
    Ok(Built::same_for_all(rules, Some(source), Some(target)))
}

/// The tokens that are found in a text before it is cut, in the order in which those that the vocabulary lacks are
/// numbered.
fn added(class: Class, file: &ModelFile, config: &TokenizerConfig) -> Vec<AddedToken> {
    let named = |token: &TokenName, special| {
        let Flags { lstrip, rstrip, single_word } = token.flags();
        AddedToken::from(token.content(), special)
            .lstrip(lstrip)
            .rstrip(rstrip)
            .single_word(single_word)
            .normalized(false)
    };
    let special: Vec<&TokenName> = config.special_tokens().collect();
    let is_special = |token: &TokenName| special.iter().any(|s| s.content() == token.content());
    let listed = config.added_tokens_decoder.values().map(|t| named(t, is_special(t)));
    let of_file = file.pieces.iter().filter_map(|p| {
        let special = match p.kind {
            Kind::Control => true,
            Kind::UserDefined => false,
            _ => return None,
        };
        Some(AddedToken::from(&p.text[..], special).normalized(false))
    });
    let further = class.further(config).into_iter().map(|t| AddedToken::from(t, true));
    listed.chain(special.iter().map(|t| named(t, true))).chain(of_file).chain(further).collect()
}

/// What puts tokens around one text, and two.
fn around(
    rules: &Tokenizer,
    [single, pair]: [Vec<String>; 2],
) -> Result<PostProcessorWrapper, String> {
    let tokens: Vec<(String, u32)> = pair
        .iter()
        .filter(|part| !part.starts_with('$'))
        .map(|token| {
            let id = rules.token_to_id(token);
            id.map(|id| (token.clone(), id)).ok_or_else(|| format!("has no token '{token}'"))
        })
        .collect::<Result<_, _>>()?;
    let template = TemplateProcessing::builder()
        .try_single(single)
        .and_then(|builder| builder.try_pair(pair))
        .map_err(|e| e.to_string())
        .and_then(|builder| builder.special_tokens(tokens).build().map_err(|e| e.to_string()))?;
    Ok(template.into())
}
