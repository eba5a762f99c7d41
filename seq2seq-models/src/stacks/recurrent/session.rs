//! A decoding in progress.

use super::{RecurrentModel, State};
use crate::{Error, Result, blocks::Ids, generate::DecodeSession};
use seq2seq_core::{Epilogue, Ragged, SeqBackend, Stage};
use std::ops::Range;

/// The state of the hypotheses of one request.
///
/// A step allocates nothing of its own once the number of hypotheses has settled. After an error a session is of no
/// further use.
pub(crate) struct Session<'m, B: SeqBackend> {
    model: &'m RecurrentModel<B>,
    state: State<B>,
    /// For the next order of the hypotheses.
    spare: Vec<usize>,
    last_rows: Vec<usize>,
    recording: Option<Recording>,
}

/// Attention probabilities of the last step.
#[derive(Default)]
struct Recording {
    /// For each row and source position.
    weights: Vec<f32>,
    /// Where those of each hypothesis' last row stand.
    ranges: Vec<Range<usize>>,
}

impl<'m, B: SeqBackend> Session<'m, B> {
    /// One hypothesis a source, of length 0.
    pub(super) fn new(model: &'m RecurrentModel<B>, state: State<B>) -> Self {
        Self { model, state, spare: Vec::new(), last_rows: Vec::new(), recording: None }
    }

    /// The scores behind the last of each hypothesis' new rows.
    fn scores(&mut self, ids: Ids<'_, B>, rows: &Ragged) -> Result<B::Tensor> {
        let RecurrentModel { backend, decoder, output, .. } = self.model;
        let weights = self.recording.as_mut().map(|recording| {
            recording.weights.clear();
            &mut recording.weights
        });
        let mut x = decoder.forward(backend, ids, rows, &mut self.state, weights)?;
        self.locate_weights(rows);
        if rows.rows() > rows.sequences() {
            self.last_rows.clear();
            self.last_rows.extend(rows.ranges().map(|r| r.end - 1));
            x = backend.gather_rows(&x, &self.last_rows)?;
        }
        let logits = backend.linear(&x, output, Epilogue::NONE)?;
        backend.observe(Stage::Head, &logits)?;
        Ok(logits)
    }

    /// Finds what was recorded for the last row of each hypothesis.
    fn locate_weights(&mut self, rows: &Ragged) {
        let Some(recording) = &mut self.recording else { return };
        let State { moving, source_rows, .. } = &self.state;
        let mut end = 0;
        recording.ranges.clear();
        recording.ranges.extend(rows.lengths().zip(&moving.sources).map(|(new, &source)| {
            let row = source_rows.length(source);
            end += new * row;
            end - row..end
        }));
    }
}

impl<B: SeqBackend> DecodeSession<B> for Session<'_, B> {
    fn step(&mut self, ids: &[u32], rows: &Ragged) -> Result<B::Tensor> {
        let hypotheses = self.state.moving.sources.len();
        seq2seq_core::Error::expect("step", "hypotheses", hypotheses, rows.sequences())?;
        if rows.lengths().any(|new| new == 0) {
            return Err(seq2seq_core::Error::invalid("step", "a hypothesis has no new ids").into());
        }
        // One id a hypothesis, again and again: steps are alike.
        match rows.rows() == rows.sequences() {
            true => self.model.backend.step(|| self.scores(Ids::Known(ids), rows)),
            false => self.scores(Ids::Known(ids), rows),
        }
    }

    fn step_chosen(&mut self, chosen: &B::Chosen, rows: &Ragged) -> Result<Option<B::Tensor>> {
        let hypotheses = self.state.moving.sources.len();
        seq2seq_core::Error::expect("step", "hypotheses", hypotheses, rows.sequences())?;
        let backend = &self.model.backend;
        let step = || {
            self.state.moving.follow(backend, chosen)?;
            self.scores(Ids::Chosen(chosen), rows)
        };
        backend.step(step).map(Some)
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        self.state.moving.reorder(&self.model.backend, parents, &mut self.spare)
    }

    fn record_weights(&mut self) -> Result<()> {
        if !self.model.decoder.attends() {
            return Err(Error::input(
                "cross-attention weights: the decoder of this model has no attention",
            ));
        }
        self.recording = Some(Recording::default());
        Ok(())
    }

    fn take_weights(&mut self) -> Vec<Vec<Vec<f32>>> {
        let Some(Recording { weights, ranges }) = &self.recording else { return Vec::new() };
        let of = |range: &Range<usize>| weights.get(range.clone()).map(<[f32]>::to_vec);
        vec![ranges.iter().filter_map(of).collect()]
    }

    fn backend(&self) -> &B {
        &self.model.backend
    }

    fn vocab(&self) -> usize {
        self.model.plan.target_vocab
    }
}
