//! A training from its settings to a folder that serves.
//!
//! The folder holds the model, as any other folder does, and `training/`:
//!
//! | file | |
//! |---|---|
//! | `config.toml` | the settings, all of them |
//! | `checkpoint.safetensors` | where the training stands: weights, what optimisers keep, the place in the data |
//! | `metrics.jsonl` | what happened |
//!
//! Each file is replaced whole, so that a training that is killed at any moment goes on from its last checkpoint, to
//! the bits of one that was not. The model's own file is that of the best evaluation; of the last checkpoint, where
//! there are no rows to evaluate.

mod folder;
mod groups;
mod source;

use super::{
    Learner, PassOptions,
    average::Average,
    checkpoint::{self, State},
    data::{self, BatchOptions, Batcher, Corpus, Order},
    evaluation::{Evaluation, Evaluator},
    log::{Log, StepReport},
    new_model,
    objective::Objective,
    random::{self, Purpose},
    sampling::Sampling,
    schedule::Schedule,
    settings::Settings,
};
use crate::{Error, Result};
use folder::Folder;
use groups::Groups;
use seq2seq_core::train::Loss;
use serde::{Deserialize, Serialize};
use source::Source;
use std::{ops::ControlFlow, time::Instant};

/// Is told what happens in a training.
pub trait Observer {
    /// After every [`log_every`](Settings::log_every) steps. Breaking off leaves a checkpoint to go on from.
    fn stepped(&mut self, report: &StepReport) -> ControlFlow<()> {
        let _ = report;
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
}

/// A training. See the [module](self) for what it writes.
///
/// ```
/// use seq2seq_models::train::{Trainer, settings::Settings};
///
/// # let work = tempfile::tempdir().unwrap();
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
/// # Ok::<(), seq2seq_models::Error>(())
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
}

/// Parts that a training by time is divided into for its schedule.
const PARTS: u64 = 1_000_000;

impl Trainer {
    /// A training at its beginning; with `resume`, where the output folder says that it stands, if it does.
    ///
    /// # Errors
    /// Settings that make no sense, files that cannot be read, an output folder that holds something (without
    /// `resume`), and a checkpoint that is damaged or of a training with other settings.
    pub fn new(settings: Settings, resume: bool) -> Result<Self> {
        settings.check()?;
        let mut settings = settings;
        if let (Some(family), true) = (settings.new_family()?, settings.groups.is_empty()) {
            settings.groups = new_model::groups(family);
        }
        let (folder, saved) = Folder::open(&settings, resume)?;
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
    /// Rows that cannot be used, a loss or a gradient that is no number, files that cannot be written. The last checkpoint
    /// stays.
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
            let broken_off = self.report(observer)?.is_break();
            let ended = self.done() >= 1.0;
            let evaluates = self.is_due(before, self.settings.evaluation.every) || ended;
            if evaluates && self.evaluator.is_some() {
                self.evaluate(observer)?;
            }
            let saves = match self.settings.save_every {
                None => evaluates,
                every => self.is_due(before, every) || ended,
            };
            if saves || broken_off {
                self.save()?;
                observer.saved(self.progress.step);
            }
            if broken_off {
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

    /// One step: passes over some batches, and the optimisers.
    fn step(&mut self) -> Result<()> {
        let began = Instant::now();
        let factor = match self.settings.minutes {
            None => self.schedule.factor(self.progress.step),
            Some(_) => self.schedule.factor((self.done() * PARTS as f64) as u64),
        };
        let step = self.progress.step + 1;
        let scheduled = self.settings.sampling;
        let probability = scheduled.map(|s| s.probability(self.progress.step, self.done()));
        let (mut loss, mut tokens) = (Loss::default(), 0);
        let mut rows = None;
        for _ in 0..self.settings.optimiser.accumulate {
            let batch = self.batcher.next_batch()?;
            let (seed, pass) = (self.settings.seed, self.progress.passes);
            let sampling = probability.map(|probability| Sampling { probability, seed, pass });
            let options = PassOptions {
                // Passes are numbered anew after 2³², with another seed.
                dropout: Some((
                    random::key(self.settings.seed, Purpose::Dropout, self.progress.passes >> 32),
                    self.progress.passes as u32,
                )),
                smoothing: self.settings.smoothing(),
                checkpointing: self.settings.checkpointing,
                sampling,
            };
            let part = self.objective.batch(&batch).and_then(|b| self.learner.learn(&b, &options));
            let part = part.map_err(|e| self.batcher.corpus().error(batch.rows[0], e))?;
            if !part.sum.is_finite() {
                return Err(self.not_finite(step, "loss", part.sum, &batch));
            }
            loss += part;
            tokens += batch.tokens() as u64;
            self.progress.passes += 1;
            rows = Some(batch);
        }
        let mut norm = 0.0;
        if loss.tokens > 0 {
            norm = self.learner.gradient_norm()? / loss.tokens as f64;
            if let (false, Some(batch)) = (norm.is_finite(), &rows) {
                return Err(self.not_finite(step, "norm of the gradient", norm, batch));
            }
            // PyTorch's clip_grad_norm_, to its last digit.
            let clip = self.settings.optimiser.clip;
            let clipped = if clip > 0.0 { (clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
            let scale = (clipped / loss.tokens as f64) as f32;
            let (groups, counter) = (&self.groups, u32::try_from(step).unwrap_or(u32::MAX));
            self.learner
                .step_each(|parameter| groups.optimiser(&parameter.name, factor, counter, scale))
                .map_err(|e| Error::Input(format!("step {step}: {e}")))?;
        }
        if let Some(average) = &mut self.average {
            average.update(step, &self.learner)?;
        }
        let window = &mut self.progress.window;
        window.loss += loss.sum;
        window.correct += loss.correct as u64;
        window.targets += loss.tokens as u64;
        window.tokens += tokens;
        let seconds = began.elapsed().as_secs_f64();
        window.seconds += seconds;
        self.progress.seconds += seconds;
        self.progress.tokens += loss.tokens as u64;
        self.progress.step = step;
        let epoch = rows.map_or(0, |batch| batch.epoch);
        self.last = Last { gradient_norm: norm, rate: self.groups.rate(factor), epoch };
        Ok(())
    }

    /// Writes a line of the log where one is due.
    fn report(&mut self, observer: &mut dyn Observer) -> Result<ControlFlow<()>> {
        if !self.progress.step.is_multiple_of(self.settings.log_every) && self.done() < 1.0 {
            return Ok(ControlFlow::Continue(()));
        }
        let window = std::mem::take(&mut self.progress.window);
        let targets = window.targets.max(1) as f64;
        let Last { gradient_norm, rate, epoch } = self.last;
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

    /// The error for a number that is none: which step, which rows, which parameter.
    fn not_finite(&self, step: u64, what: &str, value: f64, batch: &data::Batch) -> Error {
        let not_finite = |name: &str| {
            let gradient = self.learner.gradient(name).ok().flatten();
            gradient.is_some_and(|g| g.iter().any(|v| !v.is_finite()))
        };
        let parameter = self.learner.parameters().into_iter().find(|p| not_finite(&p.name));
        let parameter = match parameter {
            Some(p) => format!("the gradient of '{}' is not finite", p.name),
            None => "all gradients are finite".into(),
        };
        self.learner.clear_gradients();
        self.batcher.corpus().error(
            batch.rows[0],
            format!(
                "step {step}: the {what} is {value} in a batch of {} rows, of which this is one; {parameter}. \
                 A smaller 'optimiser.rate' or a longer warm-up may help; the last checkpoint is as it was",
                batch.rows.len()
            ),
        )
    }
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
