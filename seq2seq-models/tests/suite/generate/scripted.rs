//! A language model that is a hash of what it reads: the Rust side of `make_expected.py`.

use seq2seq_core::{Backend, HostTensor, Ragged, reference::Reference};
use seq2seq_models::{Error, Result, generate::DecodeSession};

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Numbers in [-4, 4), exact in f32, of the source and the last `window` ids (0: all, and their number).
pub(crate) fn logits(source: &[u32], history: &[u32], window: usize, vocab: usize) -> Vec<f32> {
    let (start, seen) = match window {
        0 => (history.len() as u64, history),
        n => (0, &history[history.len().saturating_sub(n)..]),
    };
    let state = source.iter().chain([&999]).chain(seen).fold(start, |state, &t| {
        mix(state.wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(t)))
    });
    (1..=vocab as u64)
        .map(|v| {
            let x = mix(state ^ v.wrapping_mul(0xD134_2543_DE82_EF95));
            ((x >> 40) as i64 - (1 << 23)) as f32 * (2.0f32).powi(-21)
        })
        .collect()
}

/// A session over [`logits`] that checks how it is used.
pub(crate) struct Scripted {
    pub(crate) backend: Reference,
    pub(crate) vocab: usize,
    pub(crate) window: usize,
    sources: Vec<Vec<u32>>,
    /// The source and the ids of each hypothesis.
    hypotheses: Vec<(usize, Vec<u32>)>,
    beams: usize,
    recording: bool,
    /// Rows of logits computed so far.
    pub(crate) work: usize,
}

impl Scripted {
    /// `beams` is how many hypotheses a source may be spread over.
    pub(crate) fn new(sources: Vec<Vec<u32>>, beams: usize, vocab: usize, window: usize) -> Self {
        let hypotheses = (0..sources.len()).map(|i| (i, Vec::new())).collect();
        let (backend, recording, work) = (Reference, false, 0);
        Self { backend, vocab, window, sources, hypotheses, beams, recording, work }
    }

    /// What [`DecodeSession::take_weights`] gives for a hypothesis: its source, then its ids.
    pub(crate) fn weights_of(source: usize, ids: &[u32]) -> Vec<f32> {
        std::iter::once(source as f32).chain(ids.iter().map(|&t| t as f32)).collect()
    }
}

impl DecodeSession<Reference> for Scripted {
    fn step(&mut self, ids: &[u32], rows: &Ragged) -> Result<<Reference as Backend>::Tensor> {
        assert_eq!((rows.sequences(), rows.rows()), (self.hypotheses.len(), ids.len()));
        let mut values = Vec::new();
        for ((source, history), range) in self.hypotheses.iter_mut().zip(rows.ranges()) {
            assert!(!range.is_empty());
            history.extend(&ids[range]);
            values.extend(logits(&self.sources[*source], history, self.window, self.vocab));
        }
        self.work += self.hypotheses.len();
        let shape = vec![self.hypotheses.len(), self.vocab];
        Ok(self.backend.upload(&HostTensor::from_f32(shape, &values)?)?)
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        let old = std::mem::take(&mut self.hypotheses);
        self.hypotheses = parents.iter().map(|&p| old[p].clone()).collect();
        let sources: Vec<usize> = self.hypotheses.iter().map(|h| h.0).collect();
        assert!(sources.is_sorted(), "parents must be listed source by source: {sources:?}");
        let most = sources.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(0);
        assert!(
            most <= self.beams,
            "{most} hypotheses of one source, {} were announced",
            self.beams
        );
        Ok(())
    }

    fn record_weights(&mut self) -> Result<()> {
        self.recording = true;
        Ok(())
    }

    fn take_weights(&mut self) -> Vec<Vec<Vec<f32>>> {
        assert!(self.recording);
        let rows: Vec<_> = self.hypotheses.iter().map(|(s, h)| Self::weights_of(*s, h)).collect();
        let negated = rows.iter().map(|r| r.iter().map(|w| -w).collect()).collect();
        vec![rows, negated]
    }

    fn backend(&self) -> &Reference {
        &self.backend
    }

    fn vocab(&self) -> usize {
        self.vocab
    }
}

/// A session that fails at its second step.
pub(crate) struct Failing(pub(crate) Scripted);

impl DecodeSession<Reference> for Failing {
    fn step(&mut self, ids: &[u32], rows: &Ragged) -> Result<<Reference as Backend>::Tensor> {
        match self.0.work {
            0 => self.0.step(ids, rows),
            _ => Err(Error::Input("the second step fails".into())),
        }
    }

    fn reorder(&mut self, parents: &[usize]) -> Result<()> {
        self.0.reorder(parents)
    }

    fn record_weights(&mut self) -> Result<()> {
        self.0.record_weights()
    }

    fn take_weights(&mut self) -> Vec<Vec<Vec<f32>>> {
        self.0.take_weights()
    }

    fn backend(&self) -> &Reference {
        self.0.backend()
    }

    fn vocab(&self) -> usize {
        self.0.vocab()
    }
}
