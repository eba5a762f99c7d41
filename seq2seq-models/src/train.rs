//! Training: a model that learns, and what it learns from and is measured by.
//!
//! Where to begin: [`Trainer`] makes a folder that serves from [`Settings`] and files of rows, and goes on where it was killed.
//! [`Learner`] is for a loop of one's own: it takes a [`Batch`] of ids forward and back, and steps.
//!
//! | to | take |
//! |---|---|
//! | train by settings | [`Trainer`], which tells an [`Observer`] what happens; [`trainer`] says what it writes, [`settings`] what it is told |
//! | train step by step | [`Learner`], [`PassOptions`]; parameters have the names of their checkpoint |
//! | begin a model that nobody has trained yet | [`NewModel`], [`Architecture`], and a tokenizer of [`tokenizers`] |
//! | train little of a model | [`LoraOptions`]: low-rank adapters, saved and read as peft does |
//! | read rows from files, in ragged batches | [`data`] |
//! | corrupt texts that are to be restored | [`denoise`] |
//! | train sentence variational autoencoders | [`vae`] |
//! | have a decoder read what it would have written | [`Sampling`] |
//! | set the learning rate from step to step | [`schedule`] |
//! | measure generated text against references | [`metrics`] |
//! | draw numbers that can be taken up again at any point | [`random`] |
//!
//! # Watched
//!
//! ```
//! use seq2seq_models::train::{
//!     Evaluation, LatentEvaluation, LatentReport, Observer, Sample, Settings, StepReport, Trainer,
//!     settings::EvaluationSettings,
//! };
//! use std::ops::ControlFlow;
//!
//! /// Prints what happens, and keeps the losses.
//! #[derive(Default)]
//! struct Print {
//!     losses: Vec<f64>,
//! }
//!
//! impl Observer for Print {
//!     fn stepped(&mut self, report: &StepReport) -> ControlFlow<()> {
//!         println!("step {}: {:.3} nats a token, rate {:.1e}", report.step, report.loss, report.rate);
//!         if let Some(LatentReport { kl, kl_weight, .. }) = report.latent {
//!             println!("  {kl:.2} nats a row of divergence, of which {kl_weight} counts");
//!         }
//!         ControlFlow::Continue(())
//!     }
//!
//!     fn evaluated(&mut self, evaluation: &Evaluation, best: bool) {
//!         let best = if best { ", the best so far" } else { "" };
//!         println!("step {}: perplexity {:.2}{best}", evaluation.step, evaluation.perplexity);
//!         if let Some(LatentEvaluation { elbo, .. }) = evaluation.latent {
//!             println!("  a bound of {elbo:.2} nats a row");
//!         }
//!         for Sample { source, target, written } in evaluation.samples.iter().take(3) {
//!             println!("  {source}: '{written}' for '{target}'");
//!         }
//!         self.losses.push(evaluation.loss);
//!     }
//! }
//!
//! # let work = tempfile::tempdir()?;
//! # let output = work.path().join("trained");
//! let settings = Settings {
//!     train: vec!["../recipes/numbers/train.tsv".into()],
//!     valid: vec!["../recipes/numbers/valid.tsv".into()],
//!     output,
//!     family: Some("t5".into()),
//!     architecture: "d_model = 32\nd_ff = 64\nnum_layers = 1\nnum_decoder_layers = 1".parse()?,
//!     steps: 4,
//!     evaluation: EvaluationSettings { every: Some(2), generate: 2, ..EvaluationSettings::default() },
//!     ..Settings::default()
//! };
//! let mut print = Print::default();
//! Trainer::new(settings, false)?.run(&mut print)?;
//! assert_eq!(print.losses.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A loop of one's own
//!
//! ```
//! use seq2seq_models::{
//!     Forward, Learner, LoadOptions, Model,
//!     seq2seq_core::{autodiff::Optimiser, train::{AdamW, Loss, Smoothing}},
//!     train::{Batch, ParameterInfo, PassOptions, SavedType},
//! };
//!
//! /// Sources and targets for an encoder-decoder, whose decoder begins with `start`.
//! fn batch(pairs: &[(&[u32], &[u32])], start: u32) -> Batch {
//!     let shifted = |target: &[u32]| [&[start], &target[..target.len() - 1]].concat();
//!     Batch {
//!         input: Forward {
//!             input_ids: pairs.iter().map(|(source, _)| source.to_vec()).collect(),
//!             decoder_input_ids: Some(pairs.iter().map(|(_, target)| shifted(target)).collect()),
//!             ..Forward::default()
//!         },
//!         targets: pairs.iter().flat_map(|(_, target)| target.iter().copied().map(Some)).collect(),
//!     }
//! }
//!
//! # let (folder, work) = ("../fixtures/t5_v1_0", tempfile::tempdir()?);
//! # let output = &work.path().join("trained");
//! let learner = Learner::load(folder, &LoadOptions::default())?;
//! learner.freeze(|name| name.starts_with("shared.")); // the table of tokens stays
//! let batches = [
//!     batch(&[(&[14, 15, 1], &[15, 14, 1]), (&[9, 1], &[9, 9, 1])], 0),
//!     batch(&[(&[20, 21, 22, 1], &[22, 21, 20, 1])], 0),
//! ];
//! let mut losses = Vec::new();
//! for step in 1..=8 {
//!     let mut loss = Loss::default();
//!     for (i, batch) in batches.iter().enumerate() {
//!         // Each pass has a number of its own.
//!         let pass = 2 * step + i as u32;
//!         let options =
//!             PassOptions { dropout: Some((1, pass)), smoothing: Smoothing::Uniform(0.1), ..PassOptions::default() };
//!         loss += learner.learn(batch, &options)?; // gradients add up until the step
//!     }
//!     // The gradient of the mean loss, clipped to a norm of 1.
//!     let tokens = loss.tokens as f64;
//!     let clip = (tokens / learner.gradient_norm()?).min(1.0);
//!     let adam = AdamW { rate: 3e-3, step, gradient_scale: (clip / tokens) as f32, ..AdamW::default() };
//!     learner.step_each(|parameter: &ParameterInfo| {
//!         let decay = if parameter.shape.len() == 2 { 0.01 } else { 0.0 };
//!         Optimiser::AdamW(AdamW { decay, ..adam })
//!     })?;
//!     losses.push(loss.sum / tokens);
//! }
//! assert!(losses[7] < losses[0], "{losses:?}");
//! assert!(learner.parameters().iter().any(|parameter| parameter.frozen));
//!
//! learner.save(output, SavedType::Bf16)?;
//! let model = Model::load(output, &LoadOptions::default())?;
//! # assert!(model.plan().generates());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What an optimiser keeps can be had and given back, so that such a loop can be gone on with:
//!
//! ```
//! use seq2seq_models::{
//!     Forward, Learner, LoadOptions, Result,
//!     seq2seq_core::{autodiff::Optimiser, train::AdamW},
//!     train::{Batch, OptimiserTensor, OptimiserValues, PassOptions},
//! };
//! use std::collections::BTreeMap;
//!
//! /// What is kept, by parameter.
//! fn kept(learner: &Learner) -> Result<BTreeMap<String, Vec<OptimiserValues>>> {
//!     let mut kept: BTreeMap<String, Vec<OptimiserValues>> = BTreeMap::new();
//!     for tensor in learner.optimiser_tensors() {
//!         let OptimiserTensor { parameter, name, shape } = &tensor;
//!         println!("{name} of {parameter}, {shape:?}");
//!         let values = learner.optimiser_value(&tensor)?;
//!         kept.entry(parameter.clone()).or_default().push((tensor, values));
//!     }
//!     Ok(kept)
//! }
//!
//! # let folder = "../fixtures/gpt2";
//! let step = |learner: &Learner, step| {
//!     let input = Forward { input_ids: vec![vec![4, 5, 6]], ..Forward::default() };
//!     learner.learn(&Batch { input, targets: vec![Some(5), Some(6), Some(60)] }, &PassOptions::default())?;
//!     learner.step(&Optimiser::AdamW(AdamW { step, ..AdamW::default() }))
//! };
//! let learner = Learner::load(folder, &LoadOptions::default())?;
//! step(&learner, 1)?;
//!
//! let other = Learner::load(folder, &LoadOptions::default())?;
//! other.set_values(|name| learner.value(name).map(Some))?;
//! let kept = kept(&learner)?;
//! other.restore_optimiser(|name| Ok(kept.get(name).cloned().unwrap_or_default()))?;
//!
//! step(&learner, 2)?;
//! step(&other, 2)?;
//! for parameter in learner.parameters() {
//!     assert_eq!(learner.value(&parameter.name)?, other.value(&parameter.name)?); // to the bit
//! }
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! # Scheduled sampling
//!
//! ```
//! use seq2seq_models::{
//!     Forward, Learner, LoadOptions,
//!     seq2seq_core::{autodiff::Optimiser, train::AdamW},
//!     train::{Batch, PassOptions, Sampling, SamplingSettings, TruthDecay},
//! };
//!
//! # let folder = "../fixtures/rnn_gru_luong_general";
//! let learner = Learner::load(folder, &LoadOptions::default())?;
//! let batch = Batch {
//!     input: Forward {
//!         input_ids: vec![vec![5, 6, 7], vec![9]],
//!         decoder_input_ids: Some(vec![vec![1, 6, 9], vec![1, 7]]),
//!         ..Forward::default()
//!     },
//!     targets: [6, 9, 2, 7, 2].map(Some).to_vec(),
//! };
//! let settings = SamplingSettings { probability: 0.5, decay: TruthDecay::Linear { steps: Some(4) } };
//! let steps = 8;
//! for step in 0..steps {
//!     // From none of its own tokens to half of them.
//!     let probability = settings.probability(step, step as f64 / steps as f64);
//!     let sampling = Some(Sampling { probability, seed: 1, pass: step });
//!     let loss = learner.learn(&batch, &PassOptions { sampling, ..PassOptions::default() })?;
//!     let gradient_scale = 1.0 / loss.tokens as f32;
//!     learner.step(&Optimiser::AdamW(AdamW { step: step as u32 + 1, gradient_scale, ..AdamW::default() }))?;
//! }
//! assert_eq!((settings.probability(0, 0.0), settings.probability(4, 0.5)), (0.0, 0.5));
//! # Ok::<(), seq2seq_models::Error>(())
//! ```

mod average;
mod checkpoint;
pub mod data;
pub mod denoise;
mod evaluation;
mod learner;
mod log;
mod lora;
pub mod metrics;
mod new_model;
mod objective;
pub mod random;
mod sampling;
mod save;
pub mod schedule;
pub mod settings;
pub mod tokenizers;
pub mod trainer;
pub mod vae;

pub use evaluation::{Evaluation, LatentEvaluation, Sample};
pub(crate) use learner::Learning;
pub use learner::{Batch, Learner, OptimiserTensor, OptimiserValues, ParameterInfo, PassOptions};
pub use log::{LatentReport, StepReport};
pub use lora::LoraOptions;
pub use new_model::NewModel;
pub use sampling::{Sampling, SamplingSettings, TruthDecay};
pub use settings::{Architecture, SavedType, Settings};
pub use trainer::{Observer, Trainer};
pub use vae::{Annealing, Elbo, LatentPass, VaeSettings};
