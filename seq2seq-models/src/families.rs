//! What each family of checkpoints says: its configuration, its plan, its tensor names. No mathematics.

mod bart;
mod bert;
mod config;
mod distilbert;
mod electra;
mod gpt2;
mod heads;
mod llama;
mod marian;
mod mpnet;
mod rnn;
mod roberta;
mod rope;
mod t5;

use crate::{
    Error, Result,
    checkpoint::{Checkpoint, NameTable},
    plan::ModelPlan,
};
use serde_json::Value;
use std::fmt;

/// A family of models, by `model_type` in config.json.
///
/// ```
/// use seq2seq_models::{Family, Files};
///
/// /// What a config.json says of the family.
/// #[derive(serde::Deserialize)]
/// struct Config {
///     model_type: String,
/// }
///
/// # let folder = "../fixtures/qwen3";
/// // Whether a folder is of a known family, before its weights are there.
/// let config: Option<Config> = Files::folder(folder)?.json("config.json")?;
/// let named = |config: Config| Family::ALL.iter().find(|family| family.name() == config.model_type);
/// assert_eq!(config.and_then(named), Some(&Family::Qwen3));
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Family {
    Bart,
    Bert,
    Camembert,
    DistilBert,
    Electra,
    Gpt2,
    Llama,
    M2m100,
    Marian,
    Mbart,
    Mistral,
    Mpnet,
    Mt5,
    Pegasus,
    Qwen2,
    Qwen3,
    RnnSeq2Seq,
    Roberta,
    T5,
    XlmRoberta,
}

impl Family {
    /// Every family.
    pub const ALL: &'static [Self] = &[
        Self::Bart,
        Self::Bert,
        Self::Camembert,
        Self::DistilBert,
        Self::Electra,
        Self::Gpt2,
        Self::Llama,
        Self::M2m100,
        Self::Marian,
        Self::Mbart,
        Self::Mistral,
        Self::Mpnet,
        Self::Mt5,
        Self::Pegasus,
        Self::Qwen2,
        Self::Qwen3,
        Self::RnnSeq2Seq,
        Self::Roberta,
        Self::T5,
        Self::XlmRoberta,
    ];

    /// Its `model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bart => "bart",
            Self::Bert => "bert",
            Self::Camembert => "camembert",
            Self::DistilBert => "distilbert",
            Self::Electra => "electra",
            Self::Gpt2 => "gpt2",
            Self::Llama => "llama",
            Self::M2m100 => "m2m_100",
            Self::Marian => "marian",
            Self::Mbart => "mbart",
            Self::Mistral => "mistral",
            Self::Mpnet => "mpnet",
            Self::Mt5 => "mt5",
            Self::Pegasus => "pegasus",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::RnnSeq2Seq => "rnn_seq2seq",
            Self::Roberta => "roberta",
            Self::T5 => "t5",
            Self::XlmRoberta => "xlm-roberta",
        }
    }

    /// What loads the encoder of its encoder-decoders alone.
    pub(crate) fn encoder_architecture(self) -> Option<&'static str> {
        match self {
            Self::Mt5 => Some("MT5EncoderModel"),
            Self::T5 => Some("T5EncoderModel"),
            _ => None,
        }
    }

    /// How its checkpoints name our tensors.
    pub(crate) fn names(self) -> &'static NameTable {
        match self {
            Self::Bart | Self::Mbart => &bart::NAMES,
            Self::Bert => &bert::NAMES,
            Self::DistilBert => &distilbert::NAMES,
            Self::Electra => &electra::NAMES,
            Self::Gpt2 => &gpt2::NAMES,
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3 => &llama::NAMES,
            Self::Marian | Self::Pegasus | Self::M2m100 => &marian::NAMES,
            Self::Mpnet => &mpnet::NAMES,
            Self::Mt5 | Self::T5 => &t5::NAMES,
            Self::RnnSeq2Seq => &rnn::NAMES,
            Self::Roberta | Self::XlmRoberta | Self::Camembert => &roberta::NAMES,
        }
    }

    /// The keys of config.json that are read of it, where it is one that new models are made of.
    pub(crate) fn keys(self) -> impl Iterator<Item = &'static str> {
        let own = match self {
            Self::Bart => bart::keys(),
            Self::Gpt2 => gpt2::keys(),
            Self::RnnSeq2Seq => rnn::keys(),
            Self::T5 => t5::keys(),
            _ => &[],
        };
        own.iter().copied().chain(config::OF_ALL)
    }

    fn plan(self, config: &Value) -> Result<ModelPlan, Unplanned> {
        match self {
            Self::Bart | Self::Mbart => bart::plan(self, config),
            Self::Bert => bert::plan(config),
            Self::DistilBert => distilbert::plan(config),
            Self::Electra => electra::plan(config),
            Self::Gpt2 => gpt2::plan(config),
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3 => llama::plan(self, config),
            Self::Marian | Self::Pegasus | Self::M2m100 => marian::plan(self, config),
            Self::Mpnet => mpnet::plan(config),
            Self::Mt5 | Self::T5 => t5::plan(self, config),
            Self::RnnSeq2Seq => rnn::plan(config),
            Self::Roberta | Self::XlmRoberta | Self::Camembert => roberta::plan(self, config),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a configuration gives no plan.
enum Unplanned {
    /// A model that this library does not know.
    Unknown { what: &'static str, found: String, known: String },
    /// A value that cannot be.
    Invalid(String),
}

impl From<String> for Unplanned {
    fn from(reason: String) -> Self {
        Self::Invalid(reason)
    }
}

/// The plan that a checkpoint's configuration describes.
pub(crate) fn plan(checkpoint: &Checkpoint) -> Result<ModelPlan> {
    let path = || checkpoint.files().path("config.json");
    family(checkpoint.config())
        .and_then(|family| {
            let plan = family.plan(checkpoint.config())?;
            plan.check()?;
            Ok(plan)
        })
        .map_err(|e| match e {
            Unplanned::Unknown { what, found, known } => {
                Error::UnknownModel { path: path(), what, found, known }
            }
            Unplanned::Invalid(reason) => Error::file(path(), reason),
        })
}

fn family(config: &Value) -> Result<Family, Unplanned> {
    let found = match config.get("model_type") {
        Some(Value::String(name)) => name,
        Some(other) => {
            return Err(Unplanned::Invalid(format!("model_type is {other}, not a name")));
        }
        None => return Err(Unplanned::Invalid("has no model_type".into())),
    };
    let known = Family::ALL.iter().find(|f| f.name() == found).copied();
    known.ok_or_else(|| Unplanned::Unknown {
        what: "model_type",
        found: found.clone(),
        known: Family::ALL.iter().map(|f| f.name()).collect::<Vec<_>>().join(", "),
    })
}
