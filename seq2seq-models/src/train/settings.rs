//! What a training is told: the fields of its `config.toml`.
//!
//! The same training, from a file and put together:
//!
//! ```
//! use seq2seq_models::train::{
//!     SavedType, Settings,
//!     denoise::SpanCorruption,
//!     schedule::Decay,
//!     settings::{
//!         AverageSettings, DataSettings, EvaluationSettings, GroupSettings, ObjectiveSettings, OptimiserKind,
//!         OptimiserSettings, ScheduleSettings, TokenizerSettings,
//!     },
//!     tokenizers::Kind,
//! };
//!
//! # let work = tempfile::tempdir()?;
//! # let file = work.path().join("config.toml");
//! std::fs::write(&file, r#"
//!     train = "texts.txt"
//!     valid = "more.txt"
//!     output = "trained"
//!     family = "t5"
//!     save_as = "bf16"
//!     tokenizer = { kind = "bpe", vocab_size = 4000, extra_ids = 100 }
//!     data = { objective = "spans", batch_tokens = 4096 }
//!     optimiser = { kind = "adafactor", rate = 1e-2, accumulate = 2 }
//!     schedule = { decay = "inverse_sqrt", warmup = 200 }
//!     average = { decay = 0.99 }
//!     evaluation = { every = 500, patience = 3 }
//!
//!     [[parameters]]
//!     names = ["*.relative_attention_bias.weight"]
//!     rate = 10
//!     decay = 0
//! "#)?;
//! // What `--set` gives lies over the file.
//! let read = Settings::from_toml(Some(&file), &["steps=5000".into()])?;
//!
//! let settings = Settings {
//!     train: vec!["texts.txt".into()],
//!     valid: vec!["more.txt".into()],
//!     output: "trained".into(),
//!     family: Some("t5".into()),
//!     steps: 5000,
//!     save_as: SavedType::Bf16,
//!     tokenizer: TokenizerSettings {
//!         kind: Kind::Bpe,
//!         vocab_size: Some(4000),
//!         extra_ids: 100,
//!         ..TokenizerSettings::default()
//!     },
//!     data: DataSettings {
//!         objective: ObjectiveSettings::Spans(SpanCorruption::default()),
//!         batch_tokens: 4096,
//!         ..DataSettings::default()
//!     },
//!     optimiser: OptimiserSettings {
//!         kind: OptimiserKind::Adafactor,
//!         rate: Some(1e-2),
//!         accumulate: 2,
//!         ..OptimiserSettings::default()
//!     },
//!     schedule: ScheduleSettings {
//!         decay: Decay::InverseSqrt { timescale: None },
//!         warmup: Some(200),
//!         ..ScheduleSettings::default()
//!     },
//!     average: Some(AverageSettings { decay: 0.99, ..AverageSettings::default() }),
//!     evaluation: EvaluationSettings { every: Some(500), patience: Some(3), ..EvaluationSettings::default() },
//!     groups: vec![GroupSettings {
//!         names: vec!["*.relative_attention_bias.weight".into()],
//!         rate: 10.0,
//!         decay: Some(0.0),
//!         kind: None,
//!         frozen: false,
//!     }],
//!     ..Settings::default()
//! };
//! settings.check()?; // reads nothing
//! assert_eq!(read, settings);
//!
//! let misspelt = Settings::from_toml(None, &["schedule.decy=cosine".into()]);
//! assert!(misspelt.is_err_and(|error| error.to_string().contains("'decay' may be meant")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod architecture;
mod file;
mod objective;
mod optimiser;
pub(super) mod word;

pub use architecture::Architecture;
pub use objective::ObjectiveSettings;
pub use optimiser::{GroupSettings, OptimiserKind, OptimiserSettings};

use super::{
    data::Overlong, lora::LoraOptions, metrics::Metric, sampling::SamplingSettings,
    schedule::Decay, tokenizers::Kind,
};
use crate::{Device, Error, Result, families::Family};
use seq2seq_core::{Format, train::Smoothing};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A training, from data to output. [`Settings::from_toml`] reads it from a file; every field has a default but `train`,
/// `output`, and one of `model` and `family`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Files of rows to learn from.
    #[serde(with = "file::paths")]
    pub train: Vec<PathBuf>,
    /// Files of rows to be measured by; none for no evaluation.
    #[serde(with = "file::paths")]
    pub valid: Vec<PathBuf>,
    /// The folder of the trained model, its log and its checkpoint.
    pub output: PathBuf,
    /// The folder of a model to go on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// The family of a new model: `t5`, `bart`, `gpt2` or `rnn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Steps of the optimiser.
    pub steps: u64,
    /// Minutes spent in steps, in place of `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// What everything random hangs on: new weights, order of rows, dropout, corruption.
    pub seed: u64,
    /// Steps between checkpoints; as many as between evaluations where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_every: Option<u64>,
    /// Steps between lines of the log.
    pub log_every: u64,
    /// `f32`, or `bf16` for products in bf16 over weights in f32.
    #[serde(with = "file::text")]
    pub format: Format,
    /// Whether only the input of each layer is kept and the layer computed again on the way back: less memory and one more
    /// forward, the same bits. Not for recurrent models.
    pub checkpointing: bool,
    /// What computes: `cpu`, `cuda:N`, `tch:cpu`, `tch:cuda:N`.
    #[serde(with = "file::text")]
    pub device: Device,
    /// Threads; one for each core where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// What a new model is: keys of its config.json over those of the family's small model.
    #[serde(skip_serializing_if = "Architecture::is_empty")]
    pub architecture: Architecture,
    /// What a new model reads text by.
    pub tokenizer: TokenizerSettings,
    /// What is made of the rows.
    pub data: DataSettings,
    /// How weights change.
    pub optimiser: OptimiserSettings,
    /// Parameters for which something else holds; of two that match a parameter, the later is for it.
    #[serde(rename = "parameters", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSettings>,
    /// Low-rank adapters that are trained in place of the model's own weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraOptions>,
    /// Scheduled sampling of a recurrent decoder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<SamplingSettings>,
    /// How the learning rate goes.
    pub schedule: ScheduleSettings,
    /// A running mean of the weights, which is measured and saved in their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<AverageSettings>,
    /// How the model is measured on the way.
    pub evaluation: EvaluationSettings,
    /// How the weights of the result are stored: `f32`, `f16` or `bf16`.
    pub save_as: SavedType,
}

/// What a new model reads text by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerSettings {
    /// A folder with a tokenizer. Where absent, one is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// What tokens are, of one that is made from the rows: `bytes`, `bpe` or `unigram`.
    #[serde(with = "file::text")]
    pub kind: Kind,
    /// The most tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocab_size: Option<usize>,
    /// Sentinels for span corruption.
    pub extra_ids: usize,
    /// Whether there is a token for the mask.
    pub mask: bool,
}

/// What is made of the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSettings {
    /// What the model is to learn from a row.
    #[serde(deserialize_with = "word::or_table")]
    pub objective: ObjectiveSettings,
    /// The most tokens of a batch, sources and targets together, and so of a row.
    pub batch_tokens: usize,
    /// The most tokens of a source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_source: Option<usize>,
    /// The most tokens of a target or text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_target: Option<usize>,
    /// `truncate` longer rows, or `refuse` them.
    pub overlong: Overlong,
    /// Rows that are read and sorted by length together.
    pub window: usize,
}

/// How the learning rate goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleSettings {
    /// What follows the warm-up.
    #[serde(deserialize_with = "word::or_table")]
    pub decay: Decay,
    /// Steps of the warm-up; `warmup_ratio` of all where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u64>,
    /// The share of the training that is warm-up.
    pub warmup_ratio: f64,
}

/// A running mean of the weights (Polyak and Juditsky 1992), exponential: a = decay a + (1 - decay) w.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AverageSettings {
    /// What is kept; at first less, (1 + n) / (10 + n) for the nth time.
    pub decay: f64,
    /// Steps between two additions.
    pub every: u64,
}

/// How the model is measured on the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationSettings {
    /// Steps between evaluations; a tenth of all where absent, or `minutes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Rows for which text is generated and compared with the target; 0 for none.
    pub generate: usize,
    /// What the texts are measured by.
    #[serde(with = "file::texts")]
    pub metrics: Vec<Metric>,
    /// What the best model is best in: `loss`, `token_accuracy`, or one of the metrics.
    pub best: String,
    /// Evaluations without a better one after which training ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Beams of the search.
    pub num_beams: usize,
    /// The most tokens of a text; 16 more than the longest target where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
}

/// The element type of saved weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum SavedType {
    #[default]
    F32,
    F16,
    Bf16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            valid: Vec::new(),
            output: PathBuf::new(),
            model: None,
            family: None,
            steps: 1000,
            minutes: None,
            seed: 1,
            save_every: None,
            log_every: 10,
            format: Format::F32,
            checkpointing: false,
            device: Device::Cpu,
            threads: None,
            architecture: Architecture::default(),
            tokenizer: TokenizerSettings::default(),
            data: DataSettings::default(),
            optimiser: OptimiserSettings::default(),
            groups: Vec::new(),
            lora: None,
            sampling: None,
            schedule: ScheduleSettings::default(),
            average: None,
            evaluation: EvaluationSettings::default(),
            save_as: SavedType::F32,
        }
    }
}

impl Default for TokenizerSettings {
    fn default() -> Self {
        Self { folder: None, kind: Kind::Bytes, vocab_size: None, extra_ids: 0, mask: false }
    }
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            objective: ObjectiveSettings::Write {},
            batch_tokens: 2048,
            max_source: None,
            max_target: None,
            overlong: Overlong::Truncate,
            window: 4096,
        }
    }
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self { decay: Decay::Linear { min_ratio: 0.0 }, warmup: None, warmup_ratio: 0.05 }
    }
}

impl Default for AverageSettings {
    fn default() -> Self {
        Self { decay: 0.995, every: 4 }
    }
}

impl Default for EvaluationSettings {
    fn default() -> Self {
        Self {
            every: None,
            generate: 100,
            metrics: vec![Metric::ExactMatch, Metric::Bleu, Metric::Chrf],
            best: "loss".into(),
            patience: None,
            num_beams: 1,
            max_new_tokens: None,
        }
    }
}

impl EvaluationSettings {
    /// Whether the best by one is compared with the best by the other as like with like: by the same measure, and where that is
    /// of texts, of texts that are generated in the same way.
    pub(super) fn compares_with(&self, other: &Self) -> bool {
        let writing = |s: &Self| (s.generate, s.num_beams, s.max_new_tokens);
        let of_loss = ["loss", "token_accuracy"].contains(&&self.best[..]);
        self.best == other.best && (of_loss || writing(self) == writing(other))
    }
}

impl Settings {
    /// Looks the settings over before anything is read or computed.
    ///
    /// # Errors
    /// Where something is missing or makes no sense, naming the setting.
    pub fn check(&self) -> Result<()> {
        let fail = |reason: String| Err(Error::Input(reason));
        if self.train.is_empty() {
            return fail("'train' is missing: name the files to learn from".into());
        }
        if self.output.as_os_str().is_empty() {
            return fail("'output' is missing: name the folder to be written".into());
        }
        match (&self.model, &self.family) {
            (None, None) => {
                return fail("name a 'model' to go on from, or a 'family' to start anew".into());
            }
            (Some(_), Some(_)) => {
                return fail("'model' and 'family' are both named; a model has its family".into());
            }
            (Some(_), None) if !self.architecture.is_empty() => {
                return fail("'architecture' is for a new model; this one has its own".into());
            }
            (Some(_), None) if self.tokenizer != TokenizerSettings::default() => {
                return fail("'tokenizer' is for a new model; this one has its own".into());
            }
            (None, Some(_)) if self.lora.is_some() => {
                return fail("'lora' adapts a model that there is: name it by 'model'".into());
            }
            _ => {}
        }
        if self.steps == 0 || self.minutes.is_some_and(|m| !(m > 0.0 && m.is_finite())) {
            return fail("a training must have steps: 'steps' or 'minutes' is not above 0".into());
        }
        for (name, count) in [
            ("log_every", Some(self.log_every)),
            ("save_every", self.save_every),
            ("evaluation.every", self.evaluation.every),
            ("evaluation.patience", self.evaluation.patience),
            ("evaluation.num_beams", Some(self.evaluation.num_beams as u64)),
            ("optimiser.accumulate", Some(self.optimiser.accumulate as u64)),
            ("average.every", self.average.map(|a| a.every)),
        ] {
            if count == Some(0) {
                return fail(format!("'{name}' is 0; it must be at least 1"));
            }
        }
        for (name, share) in [
            ("schedule.warmup_ratio", self.schedule.warmup_ratio),
            ("optimiser.smoothing", f64::from(self.optimiser.smoothing)),
            ("average.decay", self.average.map_or(0.0, |a| a.decay)),
        ] {
            if !(0.0..1.0).contains(&share) {
                return fail(format!("'{name}' is {share}; it must be at least 0 and below 1"));
            }
        }
        let best = &self.evaluation.best[..];
        if !["loss", "token_accuracy"].contains(&best)
            && !self.evaluation.metrics.iter().any(|m| m.name() == best)
        {
            return fail(format!(
                "'evaluation.best' is '{best}'; it must be loss, token_accuracy or one of 'evaluation.metrics'"
            ));
        }
        if !Format::TRAINED.contains(&self.format) {
            return fail(format!("'format' is {}; training is in f32 or bf16", self.format));
        }
        self.sampling.map_or(Ok(()), |sampling| sampling.check())?;
        if self.sampling.is_some() && self.data.objective.vae().is_some() {
            return fail(
                "'sampling' and the objective 'vae' do not go together; 'data.objective.word_dropout' has the decoder rely less on what it reads"
                    .into(),
            );
        }
        self.data.objective.check()?;
        self.optimiser.check("optimiser")?;
        self.groups.iter().enumerate().try_for_each(|(i, g)| g.check(&format!("parameters[{i}]")))
    }

    /// The share of the training, from 0 to 1, that is done after so many steps and seconds spent in them.
    pub fn done(&self, step: u64, seconds: f64) -> f64 {
        match self.minutes {
            Some(minutes) => (seconds / (60.0 * minutes)).min(1.0),
            None => step as f64 / self.steps as f64,
        }
    }

    /// The family of a new model.
    pub(crate) fn new_family(&self) -> Result<Option<Family>> {
        let Some(name) = &self.family else { return Ok(None) };
        match &name[..] {
            "t5" => Ok(Some(Family::T5)),
            "bart" => Ok(Some(Family::Bart)),
            "gpt2" => Ok(Some(Family::Gpt2)),
            "rnn" | "rnn_seq2seq" => Ok(Some(Family::RnnSeq2Seq)),
            _ => Err(Error::Input(format!(
                "'family' is '{name}'; a new model is one of t5, bart, gpt2, rnn"
            ))),
        }
    }

    /// The label smoothing of the loss.
    pub(crate) fn smoothing(&self) -> Smoothing {
        match (self.optimiser.smoothing, self.optimiser.fairseq_smoothing) {
            (0.0, _) => Smoothing::None,
            (e, false) => Smoothing::Uniform(e),
            (e, true) => Smoothing::Others(e),
        }
    }
}
