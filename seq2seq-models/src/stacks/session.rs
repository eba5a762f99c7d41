//! A decoding in progress.

use super::{
    head::Head,
    stack::{Context, Stack},
};
use crate::{
    Error, Result,
    blocks::{Cross, Ids, Scratch, Tokens},
    generate::DecodeSession,
};
use seq2seq_core::{Ragged, SeqBackend};

/// The state of the hypotheses of one request: the cache, the encoder's output, how far each has come.
///
/// A step allocates nothing of its own once the number of hypotheses has settled. After an error a session is of no
/// further use.
pub(crate) struct Session<'m, B: SeqBackend> {
    parts: Parts<'m, B>,
    cache: B::KvCache,
    source: Option<Source<B>>,
    /// Positions that each hypothesis holds.
    lengths: Vec<usize>,
    /// For the next order of the hypotheses.
    spare: Vec<usize>,
    last_rows: Vec<usize>,
    scratch: Scratch,
    recording: Option<Recording>,
}

/// The weights that a session works with.
pub(crate) struct Parts<'m, B: SeqBackend> {
    pub(crate) backend: &'m B,
    pub(crate) decoder: &'m Stack<B>,
    pub(crate) head: &'m Head<B>,
}

/// The encoder's output as the decoder sees it.
pub(crate) struct Source<B: SeqBackend> {
    /// One a layer.
    pub(crate) memories: Vec<B::Memory>,
    /// How the encoder's rows divide into sources.
    pub(crate) rows: Ragged,
    /// The source of each hypothesis.
    pub(crate) of: Vec<usize>,
}

/// Cross-attention probabilities.
#[derive(Default)]
struct Recording {
    /// Those of the last step, one list a layer, for each row, head and source position.
    layers: Vec<Vec<f32>>,
    /// Where in each layer's list those of each hypothesis' last row stand.
    ranges: Vec<std::ops::Range<usize>>,
}

impl<'m, B: SeqBackend> Session<'m, B> {
    /// `sequences` hypotheses of length 0, which may spread over `beams` each and grow to `capacity` positions.
    pub(crate) fn new(
        parts: Parts<'m, B>,
        source: Option<Source<B>>,
        sequences: usize,
        beams: usize,
        capacity: usize,
    ) -> Result<Self> {
        let held = parts.decoder.plan().max_positions().unwrap_or(usize::MAX);
        Ok(Self {
            cache: parts.decoder.cache(parts.backend, sequences, beams, capacity.min(held))?,
            parts,
            source,
            lengths: vec![0; sequences],
            spare: Vec::new(),
            last_rows: Vec::new(),
            scratch: Scratch::default(),
            recording: None,
        })
    }

    /// Makes room in the cache for the new rows.
    fn extend(&mut self, rows: &Ragged) -> Result<()> {
        let Parts { backend, decoder, .. } = self.parts;
        seq2seq_core::Error::expect("step", "hypotheses", self.lengths.len(), rows.sequences())?;
        for (i, (length, new)) in self.lengths.iter().zip(rows.lengths()).enumerate() {
            decoder.plan().check_positions("decoding", i, length + new)?;
        }
        Ok(backend.extend(&mut self.cache, rows)?)
    }

    /// The new rows through the decoder: `[N, M]`.
    fn forward(&mut self, ids: Ids<'_, B>, rows: &Ragged) -> Result<B::Tensor> {
        let Parts { backend, decoder, .. } = self.parts;
        let weights = self.recording.as_mut().map(|r| {
            r.layers.iter_mut().for_each(Vec::clear);
            &mut r.layers[..]
        });
        let cross =
            self.source.as_ref().map(|s| Cross { memories: &s.memories, sources: &s.of, weights });
        let tokens = Tokens { ids, types: None, rows, starts: &self.lengths };
        let context = Context { cache: Some(&mut self.cache), cross };
        let x = decoder.forward(backend, &tokens, context, &mut self.scratch)?;
        for (length, new) in self.lengths.iter_mut().zip(rows.lengths()) {
            *length += new;
        }
        Ok(x)
    }

    /// The scores behind the last of each hypothesis' new rows.
    fn scores(&mut self, ids: Ids<'_, B>, rows: &Ragged) -> Result<B::Tensor> {
        let Parts { backend, head, .. } = self.parts;
        let mut x = self.forward(ids, rows)?;
        self.locate_weights(rows);
        if rows.rows() > rows.sequences() {
            self.last_rows.clear();
            self.last_rows.extend(rows.ranges().map(|r| r.end - 1));
            x = backend.gather_rows(&x, &self.last_rows)?;
        }
        head.apply(backend, &x)?.ok_or_else(no_scores)
    }

    /// Finds what was recorded for the last row of each hypothesis.
    fn locate_weights(&mut self, rows: &Ragged) {
        let (Some(recording), Some(source)) = (&mut self.recording, &self.source) else { return };
        let heads = self.parts.decoder.plan().attention.heads;
        let mut end = 0;
        recording.ranges.clear();
        recording.ranges.extend(rows.lengths().zip(&source.of).map(|(new, &s)| {
            let row = heads * source.rows.length(s);
            end += new * row;
            end - row..end
        }));
    }
}

impl<B: SeqBackend> DecodeSession<B> for Session<'_, B> {
    fn step(&mut self, ids: &[u32], rows: &Ragged) -> Result<B::Tensor> {
        if rows.lengths().any(|new| new == 0) {
            return Err(seq2seq_core::Error::invalid("step", "a hypothesis has no new ids").into());
        }
        self.extend(rows)?;
        // One id a hypothesis, again and again: steps are alike. A pass over prompts is like no other.
        match rows.rows() == rows.sequences() {
            true => self.parts.backend.step(|| self.scores(Ids::Known(ids), rows)),
            false => self.scores(Ids::Known(ids), rows),
        }
    }

    fn step_chosen(&mut self, chosen: &B::Chosen, rows: &Ragged) -> Result<Option<B::Tensor>> {
        let plan = self.parts.decoder.plan();
        let has_room = |&length: &usize| plan.max_positions().is_none_or(|most| length < most);
        if !self.lengths.iter().all(has_room) {
            return Ok(None);
        }
        // Sources and lengths are those of whatever hypothesis is continued.
        self.parts.backend.reorder_chosen(&mut self.cache, chosen)?;
        self.extend(rows)?;
        self.parts.backend.step(|| self.scores(Ids::Chosen(chosen), rows)).map(Some)
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        self.parts.backend.reorder(&mut self.cache, parents)?;
        let mut follow = |list: &mut Vec<usize>| {
            self.spare.clear();
            self.spare.extend(parents.iter().map(|&p| list[p]));
            std::mem::swap(list, &mut self.spare);
        };
        follow(&mut self.lengths);
        if let Some(source) = &mut self.source {
            follow(&mut source.of);
        }
        Ok(())
    }

    fn record_weights(&mut self) -> Result<()> {
        let Some(source) = &self.source else {
            return Err(Error::Input(
                "cross-attention weights: this model has no encoder to attend to".into(),
            ));
        };
        let layers = source.memories.iter().map(|_| Vec::new()).collect();
        self.recording = Some(Recording { layers, ranges: Vec::new() });
        Ok(())
    }

    fn take_weights(&mut self) -> Vec<Vec<Vec<f32>>> {
        let Some(Recording { layers, ranges }) = &self.recording else { return Vec::new() };
        let of_layer = |all: &Vec<f32>| {
            ranges.iter().filter_map(|r| all.get(r.clone())).map(<[f32]>::to_vec).collect()
        };
        layers.iter().map(of_layer).collect()
    }

    fn backend(&self) -> &B {
        self.parts.backend
    }

    fn vocab(&self) -> usize {
        self.parts.decoder.plan().embedding.vocab
    }
}

pub(super) fn no_scores() -> Error {
    Error::Input("this model has no output layer over the vocabulary; it cannot generate".into())
}
