//! A model that can be looked into: what each of its stages computed and how long it took, and whom a decoder's tokens
//! attended to.
//!
//! The model runs on a backend that wraps the real one (`watch`) and is told of every stage
//! ([`Backend::observe`](seq2seq_core::Backend::observe)). Other models run on the real one, where that call is empty.
//!
//! ```
//! use seq2seq_models::{
//!     Files, Forward, LoadOptions,
//!     seq2seq_core::Format,
//!     trace::{StageReport, Traced, ValueReport},
//! };
//!
//! /// The first stage whose rows are longer than `most`, as where a format with few large numbers overflows.
//! fn long(stages: &[StageReport], most: f64) -> Option<&StageReport> {
//!     stages.iter().find(|stage| stage.values.is_some_and(|ValueReport { norm, .. }| norm > most))
//! }
//!
//! # let folder = "../fixtures/t5_v1_0";
//! let options = LoadOptions { format: Format::Bf16, ..LoadOptions::default() };
//! let traced = Traced::load(Files::folder(folder)?, &options)?;
//! let request = Forward {
//!     input_ids: vec![vec![14, 15, 9, 1], vec![8, 1]],
//!     decoder_input_ids: Some(vec![vec![0, 5], vec![0]]),
//!     ..Forward::default()
//! };
//! let (outputs, stages) = traced.watch(|| traced.model().forward(&request));
//! outputs?;
//! assert_eq!((stages[0].rows, stages[0].width), (6, 30)); // all tokens that the encoder reads
//! assert!(long(&stages, 1e6).is_none(), "{stages:?}");
//!
//! // Which stages took the most time.
//! let mut slowest: Vec<&StageReport> = stages.iter().collect();
//! slowest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
//! println!("{} took {} s", slowest[0].name, slowest[0].seconds);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! Whom the tokens of a decoder attended to:
//!
//! ```
//! use seq2seq_models::{Files, LoadOptions, trace::Traced};
//!
//! # let folder = "../fixtures/gpt2";
//! let traced = Traced::load(Files::folder(folder)?, &LoadOptions::default())?;
//! let ids = [4, 5, 6, 7];
//! let layers = traced.self_attention(&ids, 2)?; // of the positions 2 and 3
//! for (i, layer) in layers.iter().enumerate() {
//!     // [position][head][earlier position]
//!     let heads = layer.len() / (2 * ids.len());
//!     for (row, probabilities) in layer.chunks(ids.len()).enumerate() {
//!         println!("layer {i}, position {}, head {}: {probabilities:?}", 2 + row / heads, row % heads);
//!         assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
//!     }
//!     assert_eq!(layer[3], 0.0); // position 2 sees nothing of position 3
//! }
//! # Ok::<(), seq2seq_models::Error>(())
//! ```

mod figures;
pub(crate) mod watch;

pub use figures::{StageReport, ValueReport};

use crate::{Error, Files, Forward, LoadOptions, Model, Result, model::Observer};
use std::sync::Arc;
use watch::Watcher;

/// A model and the one who watches it. One request at a time is watched.
///
/// ```
/// use seq2seq_models::{Files, LoadOptions, Prompt, generate::GenerationConfig, trace::Traced};
///
/// # let folder = "../fixtures/t5_v1_0";
/// let traced = Traced::load(Files::folder(folder)?, &LoadOptions::default())?;
/// let prompt = Prompt::new([14, 15, 9, 1]);
/// let write = || traced.model().generate(&[prompt], &GenerationConfig::default(), &mut ());
/// let (written, stages) = traced.watch(write);
/// for stage in &stages {
///     println!("{} {} x {} in {} s", stage.name, stage.rows, stage.width, stage.seconds);
/// }
/// assert_eq!(stages[0].name, "encoder.embed");
/// # written?;
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
pub struct Traced {
    model: Model,
    watcher: Arc<Watcher>,
}

impl Traced {
    /// Loads a model to be looked into.
    ///
    /// # Errors
    /// Those of [`Model::load`].
    pub fn load(files: Files, options: &LoadOptions) -> Result<Self> {
        let watcher = Arc::new(Watcher::default());
        let model = Model::load_observed(files, options, Observer::Watcher(&watcher))?;
        Ok(Self { model, watcher })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Does `work`, and reports what the stages of the model computed meanwhile, in the order in which they first came. A
    /// stage that came several times, as those of a decoder do in every step, is one entry.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<StageReport>) {
        self.watcher.begin();
        let done = work();
        (done, self.watcher.end())
    }

    /// The self-attention of a decoder-only model over `ids`, of the positions from `first` on: `[layer]`, each
    /// `[position][head][earlier position]` flattened, ids.len() values a head, 0 for what comes later.
    ///
    /// # Errors
    /// Models with an encoder, ids that [`Model::forward`] refuses, and a `first` behind them.
    pub fn self_attention(&self, ids: &[u32], first: usize) -> Result<Vec<Vec<f32>>> {
        if self.model.plan().has_encoder() {
            return Err(Error::input(
                "self-attention is given for decoder-only models; this one has an encoder",
            ));
        }
        if first >= ids.len() {
            let reason = format!("attention from position {first} on, of {} ids", ids.len());
            return Err(Error::Input(reason));
        }
        let request = Forward { input_ids: vec![ids.to_vec()], ..Forward::default() };
        self.watcher.begin_attention(first);
        let done = self.model.forward(&request);
        let layers = self.watcher.end_attention();
        done.map(|_| layers)
    }
}
