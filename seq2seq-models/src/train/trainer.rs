//! A training from its settings to a folder that serves.
//!
//! The folder holds the model, as any other folder does, and `training/`:
//!
//! | file | |
//! |---|---|
//! | `config.toml` | the settings, all of them |
//! | `checkpoint.safetensors` | where the training stands: weights, what optimisers keep, the place in the data |
//! | `metrics.jsonl` | what happened |
//! | `lock` | held while the training runs, so that there is one at a time |
//!
//! Each file is replaced whole, so that a training that is killed at any moment goes on from its last checkpoint, to
//! the bits of one that was not. The model's own file is that of the best evaluation; of the last checkpoint, where
//! there are no rows to evaluate.
//!
//! ```
//! use seq2seq_models::train::{
//!     Observer, Settings, Trainer,
//!     settings::EvaluationSettings,
//!     trainer::{Best, End, Progress},
//! };
//! use std::ops::ControlFlow;
//!
//! /// Breaks a training off after some steps, as a signal would.
//! struct Steps(usize);
//!
//! impl Observer for Steps {
//!     fn goes_on(&mut self) -> ControlFlow<()> {
//!         self.0 -= 1;
//!         if self.0 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
//!     }
//!
//!     fn saved(&mut self, step: u64) {
//!         println!("a checkpoint of step {step}");
//!     }
//! }
//!
//! # let work = tempfile::tempdir()?;
//! # let output = work.path().join("trained");
//! let settings = Settings {
//!     train: vec!["../recipes/numbers/train.tsv".into()],
//!     valid: vec!["../recipes/numbers/valid.tsv".into()],
//!     output: output.clone(),
//!     family: Some("t5".into()),
//!     architecture: "d_model = 32\nd_ff = 64\nnum_layers = 1\nnum_decoder_layers = 1".parse()?,
//!     steps: 4,
//!     evaluation: EvaluationSettings { generate: 0, ..EvaluationSettings::default() },
//!     ..Settings::default()
//! };
//! let mut trainer = Trainer::new(settings.clone(), false)?;
//! assert_eq!(trainer.run(&mut Steps(3))?, End::BrokenOff);
//! drop(trainer); // another process could go on now: the folder's lock is free
//!
//! let mut trainer = Trainer::new(settings, true)?;
//! assert_eq!(trainer.progress().step, 3);
//! assert_eq!(trainer.run(&mut ())?, End::Done);
//! let Progress { step, best, tokens, .. } = trainer.progress();
//! println!("{step} steps on {tokens} tokens");
//! assert!(best.is_some_and(|Best { step, goodness }| step <= 4 && goodness < 0.0)); // the loss negated
//! let log = std::fs::read_to_string(output.join("training/metrics.jsonl"))?;
//! assert_eq!(log.lines().filter(|line| line.contains("evaluate")).count(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod finite;
mod folder;
mod groups;
mod lock;
mod source;
mod step;

use super::{
    Learner,
    average::Average,
    checkpoint::{self, State},
    data::{BatchOptions, Batcher, Corpus, Order},
    evaluation::{Evaluation, Evaluator},
    log::{LatentReport, Log, StepReport},
    new_model,
    objective::Objective,
    schedule::Schedule,
    settings::Settings,
};
use crate::Result;
pub(crate) use finite::not_measured;
use folder::Folder;
use groups::Groups;
use serde::{Deserialize, Serialize};
use source::Source;
use std::ops::ControlFlow;

/// Is told what happens in a training.
pub trait Observer {
    /// After every [`log_every`](Settings::log_every) steps. Breaking off leaves a checkpoint to go on from.
    fn stepped(&mut self, report: &StepReport) -> ControlFlow<()> {
        let _ = report;
        ControlFlow::Continue(())
    }

    /// After every step, and the evaluation behind it. Breaking off leaves a checkpoint to go on from.
    fn goes_on(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// After an evaluation; `best` where none was better before.
    fn evaluated(&mut self, evaluation: &Evaluation, best: bool) {
        let _ = (evaluation, best);
    }

    /// After a checkpoint has been written.
    fn saved(&mut self, step: u64) {
        let _ = step;
    }
}

/// Nobody watches.
impl Observer for () {}

/// Why a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All steps have been taken.
    Done,
    /// Evaluations no longer became better.
    NoBetter,
    /// The observer broke off.
    BrokenOff,
}

/// How far a training has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps of the optimiser.
    pub step: u64,
    /// Passes forward and back.
    pub passes: u64,
    /// Time spent in steps.
    pub seconds: f64,
    /// Target tokens that were learned from.
    pub tokens: u64,
    /// The best evaluation.
    pub best: Option<Best>,
    /// Evaluations since the best.
    pub stale: u64,
    /// Since the last line of the log.
    window: Window,
}

/// An evaluation than which none is better.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps taken before it.
    pub step: u64,
    /// The value that is compared; the loss negated.
    pub goodness: f64,
}

/// Sums over some steps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Window {
    loss: f64,
    correct: u64,
    targets: u64,
    tokens: u64,
    seconds: f64,
    /// Of a variational autoencoder.
    #[serde(default)]
    latent: LatentWindow,
}

/// What a loss was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct LatentWindow {
    reconstruction: f64,
    divergence: f64,
    rows: u64,
}

/// A training. See the [module](self) for what it writes.
///
/// ```
/// use seq2seq_models::train::{Trainer, settings::Settings};
///
/// # let work = tempfile::tempdir()?;
/// # let output = work.path().join("trained");
/// let settings = Settings {
///     train: vec!["../recipes/numbers/train.tsv".into()], // TAB between source and target
///     output: output.clone(),
///     family: Some("t5".into()),
///     steps: 2,
///     ..Settings::default()
/// };
/// Trainer::new(settings, false)?.run(&mut ())?;
/// let model = seq2seq_models::Model::load(output, &Default::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer {
    settings: Settings,
    folder: Folder,
    log: Log,
    learner: Learner,
    objective: Objective,
    groups: Groups,
    schedule: Schedule,
    batcher: Batcher,
    evaluator: Option<Evaluator>,
    average: Option<Average>,
    progress: Progress,
    last: Last,
}

/// What the last step came to.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    gradient_norm: f64,
    rate: f64,
    epoch: u64,
    /// Of a variational autoencoder.
    kl_weight: Option<f64>,
}

/// Parts that a training by time is divided into for its schedule.
const PARTS: u64 = 1_000_000;

impl Trainer {
    /// A training at its beginning; with `resume`, where the output folder says that it stands, if it does.
    ///
    /// # Errors
    /// Settings that make no sense, files that cannot be read, an output folder that holds something (without
    /// `resume`) or in which another training is running, and a checkpoint that is damaged or of a training with other settings.
    pub fn new(settings: Settings, resume: bool) -> Result<Self> {
        settings.check()?;
        let mut settings = settings;
        if let Some(family) = settings.new_family()? {
            settings.architecture.check(family)?;
            if settings.groups.is_empty() {
                settings.groups = new_model::groups(family);
            }
        }
        if settings.data.objective.vae().is_some() && settings.family.is_some() {
            new_model::with_latent(&mut settings.architecture)?;
        }
        let (mut folder, saved) = Folder::open(&settings, resume)?;
        let corpus = Corpus::open(&settings.train)?;
        let source = match &saved {
            None => Source::new(&settings, corpus)?,
            Some(saved) => Source::resumed(&settings, &folder, saved, corpus)?,
        };
        let Source { learner, decoding, encoder, corpus } = source;
        let objective = Objective::new(
            &settings.data.objective,
            learner.plan(),
            &decoding,
            encoder.tokenizer(),
            corpus.kind(),
            settings.seed,
        )?;
        let groups = Groups::new(&settings, &learner)?;
        let evaluator = match settings.valid.is_empty() {
            true => None,
            false => {
                let corpus = Corpus::open(&settings.valid)?;
                let (data, evaluation) = (&settings.data, &settings.evaluation);
                let encoder = encoder.clone();
                Some(Evaluator::new(corpus, encoder, data, evaluation, &objective, &decoding)?)
            }
        };
        let options = BatchOptions {
            tokens: settings.data.batch_tokens,
            window: settings.data.window,
            order: Order::Shuffled { seed: settings.seed },
        };
        let mut batcher = Batcher::new(corpus, encoder, options)?;
        let (mut average, mut progress) = (None, Progress::default());
        match &saved {
            None => {
                folder.begin(&settings, &learner)?;
                if let Some(settings) = settings.average {
                    average = Some(Average::new(settings, &learner)?);
                }
            }
            Some(saved) => {
                saved.restore(&learner)?;
                batcher.resume(saved.state.position)?;
                if let (Some(settings), Some(added)) = (settings.average, saved.state.averaged) {
                    average = Some(Average::restored(settings, added, saved.average(&learner)?));
                }
                progress = saved.state.progress.clone();
                let then = &saved.state.settings.evaluation;
                if !settings.evaluation.compares_with(then) {
                    anew(&mut progress, &then.best, &settings.evaluation.best);
                }
                folder.resume(&settings)?;
            }
        }
        let log = Log::open(&folder.log(), progress.step)?;
        let schedule = schedule(&settings);
        Ok(Self {
            settings,
            folder,
            log,
            learner,
            objective,
            groups,
            schedule,
            batcher,
            evaluator,
            average,
            progress,
            last: Last::default(),
        })
    }

    /// The model under training.
    pub fn learner(&self) -> &Learner {
        &self.learner
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The share of the training that is done, from 0 to 1.
    pub fn done(&self) -> f64 {
        self.settings.done(self.progress.step, self.progress.seconds)
    }

    /// Takes all steps that are left.
    ///
    /// # Errors
    /// Rows that cannot be used, a loss, a gradient, a weight or an evaluation that is no number, files that cannot be
    /// written. The last checkpoint stays.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<End> {
        let patience = self.settings.evaluation.patience.unwrap_or(u64::MAX);
        loop {
            if self.progress.stale >= patience {
                return Ok(End::NoBetter);
            }
            let before = self.done();
            if before >= 1.0 {
                return Ok(End::Done);
            }
            self.step()?;
            let told = self.report(observer)?;
            let ended = self.done() >= 1.0;
            let evaluates = self.is_due(before, self.settings.evaluation.every) || ended;
            let measures = evaluates && self.evaluator.is_some();
            if measures {
                self.check_weights(self.progress.step)?;
                self.evaluate(observer)?;
            }
            let broken_off = told.is_break() || observer.goes_on().is_break();
            let saves = match self.settings.save_every {
                None => evaluates,
                every => self.is_due(before, every) || ended,
            };
            if saves || broken_off {
                // An evaluation has looked at them.
                if !measures {
                    self.check_weights(self.progress.step)?;
                }
                self.save()?;
                observer.saved(self.progress.step);
            }
            if broken_off && !ended {
                return Ok(End::BrokenOff);
            }
        }
    }

    /// Whether something happens after this step: every so many, or at every tenth of the training.
    fn is_due(&self, before: f64, every: Option<u64>) -> bool {
        match every {
            Some(every) => self.progress.step.is_multiple_of(every),
            None => (10.0 * before).floor() < (10.0 * self.done()).floor(),
        }
    }

    /// Writes a line of the log where one is due.
    fn report(&mut self, observer: &mut dyn Observer) -> Result<ControlFlow<()>> {
        if !self.progress.step.is_multiple_of(self.settings.log_every) && self.done() < 1.0 {
            return Ok(ControlFlow::Continue(()));
        }
        let window = std::mem::take(&mut self.progress.window);
        let targets = window.targets.max(1) as f64;
        let Last { gradient_norm, rate, epoch, kl_weight } = self.last;
        let LatentWindow { reconstruction, divergence, rows } = window.latent;
        let latent = kl_weight.map(|kl_weight| LatentReport {
            reconstruction: reconstruction / targets,
            kl: divergence / rows.max(1) as f64,
            kl_weight,
        });
        let report = StepReport {
            step: self.progress.step,
            loss: window.loss / targets,
            token_accuracy: 100.0 * window.correct as f64 / targets,
            rate,
            gradient_norm,
            epoch,
            tokens: self.progress.tokens,
            tokens_per_second: window.tokens as f64 / window.seconds.max(f64::MIN_POSITIVE),
            seconds: self.progress.seconds,
            latent,
        };
        self.log.step(&report)?;
        Ok(observer.stepped(&report))
    }

    /// Measures the model, and keeps it where it is the best.
    fn evaluate(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let Self { evaluator, learner, objective, average, folder, settings, .. } = self;
        let Some(evaluator) = evaluator else { return Ok(()) };
        let (step, before) = (self.progress.step, self.progress.best);
        let mut measure = || {
            let evaluation = evaluator.evaluate(step, learner, objective)?;
            let goodness = evaluation.goodness(&settings.evaluation.best)?;
            let best = before.is_none_or(|best| goodness > best.goodness);
            if best {
                folder.write_model(learner, settings)?;
            }
            Ok((evaluation, goodness, best))
        };
        let (evaluation, goodness, best) = match average {
            Some(average) => average.with(learner, measure)?,
            None => measure()?,
        };
        if best {
            (self.progress.best, self.progress.stale) = (Some(Best { step, goodness }), 0);
        } else {
            self.progress.stale += 1;
        }
        self.log.evaluation(&evaluation, best)?;
        observer.evaluated(&evaluation, best);
        Ok(())
    }

    /// Writes a checkpoint, and the model where no evaluation chooses one.
    fn save(&mut self) -> Result<()> {
        let Self { learner, average, folder, settings, .. } = self;
        if self.evaluator.is_none() {
            let write = || folder.write_model(learner, settings);
            match average {
                Some(average) => average.with(learner, write)?,
                None => write()?,
            }
        }
        let state = State {
            settings: settings.clone(),
            progress: self.progress.clone(),
            position: self.batcher.position(),
            averaged: average.as_ref().map(Average::added),
        };
        checkpoint::save(&folder.checkpoint(), learner, average.as_ref(), &state)
    }
}

/// Forgets the best evaluation, which was the best by another measure.
fn anew(progress: &mut Progress, then: &str, now: &str) {
    if let Some(best) = progress.best.take() {
        tracing::warn!(
            "the best model so far, of step {}, was so by {then}; it is now by {now} ('evaluation') that models are compared, and \
             the next evaluation is the first of them",
            best.step
        );
    }
    progress.stale = 0;
}

fn schedule(settings: &Settings) -> Schedule {
    let steps = if settings.minutes.is_some() { PARTS } else { settings.steps };
    let share = (settings.schedule.warmup_ratio * steps as f64).round() as u64;
    let warmup = match (settings.schedule.warmup, settings.minutes) {
        (Some(warmup), None) => warmup,
        // How many steps there will be is not known.
        _ => share,
    };
    Schedule { decay: settings.schedule.decay, warmup, steps }
}
