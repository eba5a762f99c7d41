//! A backend that computes as another does, to the bit, and notes what it is told of.

mod ops;

use super::figures::{StageReport, StageSums};
use seq2seq_core::{
    AttentionSpec, Backend, HostTensor, Ragged, Result, Rows, Stage, reference::attention,
};
use std::{
    sync::Arc,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// What has been noted. It is shared by all clones of a backend.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    /// Whether anything is noted: looked at before the lock is taken.
    on: AtomicBool,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// In the order in which they first came; absent where they are not watched.
    stages: Option<Vec<StageSums>>,
    /// When the stage began that is being computed.
    began: Option<Instant>,
    attention: Option<Attention>,
}

/// Self-attention of one sequence.
#[derive(Debug)]
struct Attention {
    /// The first position whose attention is wanted.
    first: usize,
    /// `[layer]`, each `[position][head][earlier position]` flattened.
    layers: Vec<Vec<f32>>,
}

impl Watcher {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// From now on, stages are noted.
    pub(super) fn begin(&self) {
        let (stages, began) = (Some(Vec::new()), Some(Instant::now()));
        *self.notes() = Notes { stages, began, attention: None };
        self.on.store(true, Ordering::Relaxed);
    }

    /// What has been noted of the stages; no more is.
    pub(super) fn end(&self) -> Vec<StageReport> {
        self.on.store(false, Ordering::Relaxed);
        let stages = self.notes().stages.take().unwrap_or_default();
        stages.into_iter().map(StageSums::finish).collect()
    }

    /// From now on, the attention of positions from `first` on is kept.
    pub(super) fn begin_attention(&self, first: usize) {
        let attention = Some(Attention { first, layers: Vec::new() });
        *self.notes() = Notes { attention, ..Notes::default() };
        self.on.store(true, Ordering::Relaxed);
    }

    /// What has been kept of the attention; no more is.
    pub(super) fn end_attention(&self) -> Vec<Vec<f32>> {
        self.on.store(false, Ordering::Relaxed);
        self.notes().attention.take().map(|a| a.layers).unwrap_or_default()
    }
}

/// The backend around `inner`.
#[derive(Clone)]
pub(crate) struct Watch<B> {
    inner: B,
    watcher: Arc<Watcher>,
}

impl<B: Backend> Watch<B> {
    pub(crate) fn new(inner: B, watcher: Arc<Watcher>) -> Self {
        Self { inner, watcher }
    }

    /// A pass begins: what came before it is no part of its first stage.
    fn begin_pass(&self) {
        if self.watcher.is_on() {
            self.watcher.notes().began = Some(Instant::now());
        }
    }

    /// Notes a stage that gave `x`.
    fn note(&self, name: impl FnOnce() -> String, x: &B::Tensor) -> Result<()> {
        match self.watcher.is_on() {
            true => self.note_values(name(), [x.rows(), x.width()], || self.inner.download(x)),
            false => Ok(()),
        }
    }

    /// Notes the choice of ids from `logits`.
    fn note_choice(&self, logits: &B::Tensor) -> Result<()> {
        match self.watcher.is_on() {
            true => {
                let shape = [logits.rows(), logits.width()];
                self.note_values("choice".into(), shape, || Ok(Vec::new()))
            }
            false => Ok(()),
        }
    }

    fn note_values(
        &self,
        name: String,
        shape: [usize; 2],
        values: impl FnOnce() -> Result<Vec<f32>>,
    ) -> Result<()> {
        let mut notes = self.watcher.notes();
        let seconds = notes.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        let Some(stages) = &mut notes.stages else { return Ok(()) };
        let place = stages.iter().position(|s| s.name == name).unwrap_or_else(|| {
            stages.push(StageSums::new(name));
            stages.len() - 1
        });
        stages[place].add(shape, seconds, &values()?);
        // Looking at the values is no part of the next stage.
        notes.began = Some(Instant::now());
        Ok(())
    }

    /// Keeps the probabilities of an attention over one whole sequence.
    fn note_attention(&self, qkv: &B::Tensor, rows: &Ragged, spec: &AttentionSpec) -> Result<()> {
        if !self.watcher.is_on() {
            return Ok(());
        }
        let mut notes = self.watcher.notes();
        let Some(kept) = &mut notes.attention else { return Ok(()) };
        let shape = vec![qkv.rows(), qkv.width()];
        let values = HostTensor::from_f32(shape, &self.inner.download(qkv)?)?;
        kept.layers.push(attention::probabilities(&values, kept.first..rows.rows(), spec)?);
        Ok(())
    }

    /// The name of a stage.
    fn note_stage(&self, stage: Stage, x: &B::Tensor) -> Result<()> {
        self.note(|| stage.to_string(), x)
    }
}
