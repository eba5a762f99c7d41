//! Rows in the order of a seed, as ragged batches bounded by a count of tokens.
//!
//! An epoch goes through the rows in a permuted order, [`BatchOptions::window`] of them at a time. The rows of a window
//! are sorted by length and cut into batches, and the batches of the window are put in a random order. So a batch holds
//! rows of like lengths, memory is bounded by the window, and a [`Position`] of a few numbers suffices to go on.

use super::{Corpus, Example, Row, RowEncoder, corpus::fnv, permutation::Permutation};
use crate::{
    Error, Result,
    train::random::{Draws, Purpose},
};
use seq2seq_core::Ragged;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The order of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Windows as they stand in the files, the shortest rows of each first: for evaluation.
    InFiles,
    /// Another one every epoch.
    Shuffled {
        /// What the orders hang on.
        seed: u64,
    },
}

/// How rows come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// The most tokens of a batch, sources and targets together, and so of a row.
    pub tokens: usize,
    /// The rows that are read and sorted by length together: 4096 make batches of some thousand tokens even enough.
    pub window: usize,
    /// Which rows come when.
    pub order: Order,
}

/// Sequences end to end, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequences {
    /// All ids, N of them.
    pub ids: Vec<u32>,
    /// Which of them are whose.
    pub ragged: Ragged,
}

/// What one step computes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The number of each row in the corpus.
    pub rows: Vec<usize>,
    /// What is read; empty sequences where rows are texts.
    pub source: Sequences,
    /// What is to be written, or the texts.
    pub target: Sequences,
    /// The segment of each id of `source`, where rows are questions.
    pub segments: Vec<u32>,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Whether it is the last of the epoch.
    pub ends_epoch: bool,
}

impl Batch {
    /// Tokens of sources and targets.
    pub fn tokens(&self) -> usize {
        self.source.ids.len() + self.target.ids.len()
    }
}

/// Where a [`Batcher`] stands, to be written into a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The first row of the window, counted in the order of the epoch.
    pub window: u64,
    /// The batches of the window that have been taken.
    pub taken: u64,
    /// What the position belongs to: the rows, and all settings that their batches hang on.
    pub fingerprint: u64,
}

/// Batches without end, one epoch after the other.
#[derive(Debug)]
pub struct Batcher {
    corpus: Corpus,
    encoder: RowEncoder,
    options: BatchOptions,
    epoch: u64,
    /// Places in the order of the epoch; the rows that lie here are those of `batches`.
    window: Range<usize>,
    batches: Vec<Vec<(usize, Example)>>,
    taken: usize,
    /// Whether somebody has been told that rows are cut.
    told: bool,
}

impl Batcher {
    /// At the beginning of the first epoch. Nothing is read yet.
    ///
    /// # Errors
    /// When a batch or a window has no room for anything.
    pub fn new(corpus: Corpus, encoder: RowEncoder, options: BatchOptions) -> Result<Self> {
        if options.tokens == 0 || options.window == 0 {
            return Err(Error::input("batches and windows must have room for at least one token"));
        }
        let mut this = Self {
            corpus,
            encoder,
            options,
            epoch: 0,
            window: 0..0,
            batches: Vec::new(),
            taken: 0,
            told: false,
        };
        this.window = this.window_from(0);
        Ok(this)
    }

    /// The rows that batches come from.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// The next batch.
    ///
    /// # Errors
    /// A row that cannot be read or encoded, or that has more tokens than a batch may have where that is refused
    /// ([`RowEncoder::overlong`]): with its file and line.
    pub fn next_batch(&mut self) -> Result<Batch> {
        if self.batches.is_empty() {
            self.batches = self.read(self.epoch, self.window.clone())?;
        }
        let examples = std::mem::take(&mut self.batches[self.taken]);
        self.taken += 1;
        let ends_window = self.taken == self.batches.len();
        let ends_epoch = ends_window && self.window.end == self.corpus.rows();
        let batch = batch(examples, self.epoch, ends_epoch);
        if ends_epoch {
            self.epoch += 1;
        }
        if ends_window {
            self.window = self.window_from(if ends_epoch { 0 } else { self.window.end });
            self.batches.clear();
            self.taken = 0;
        }
        Ok(batch)
    }

    /// Where it stands: what [`next_batch`](Self::next_batch) gives from here on.
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            window: self.window.start as u64,
            taken: self.taken as u64,
            fingerprint: self.fingerprint(),
        }
    }

    /// Goes to a position, from which the same batches follow as did where it was taken.
    ///
    /// # Errors
    /// When it was taken among other rows or with other settings, or a row cannot be read; then it stays where it was.
    pub fn resume(&mut self, position: Position) -> Result<()> {
        if position.fingerprint != self.fingerprint() {
            return Err(Error::input(
                "the position is not one among these batches: the rows of the data, the seed, the tokens of a batch or \
                 the longest lengths have changed since it was saved; start anew, or with the data and settings of then",
            ));
        }
        let outside = || Error::input("the position lies outside of the data; it is damaged");
        let index = |number| usize::try_from(number).map_err(|_| outside());
        let (start, taken) = (index(position.window)?, index(position.taken)?);
        if start >= self.corpus.rows() || start % self.options.window != 0 {
            return Err(outside());
        }
        let window = self.window_from(start);
        let batches = self.read(position.epoch, window.clone())?;
        if taken >= batches.len() {
            return Err(outside());
        }
        (self.epoch, self.window, self.batches, self.taken) =
            (position.epoch, window, batches, taken);
        Ok(())
    }

    fn window_from(&self, start: usize) -> Range<usize> {
        start..start.saturating_add(self.options.window).min(self.corpus.rows())
    }

    fn fingerprint(&self) -> u64 {
        let BatchOptions { tokens, window, order } = self.options;
        let RowEncoder { max_source, max_target, max_together, overlong, eos, classes, .. } =
            &self.encoder;
        let together = max_together.map_or(String::new(), |most| format!(" {most}"));
        let settings = format!(
            "{tokens} {window} {order:?} {max_source:?} {max_target:?} {overlong:?} {eos:?} {classes:?}{together}"
        );
        fnv(self.corpus.fingerprint(), settings.as_bytes())
    }

    /// The batches of a window.
    fn read(&mut self, epoch: u64, window: Range<usize>) -> Result<Vec<Vec<(usize, Example)>>> {
        let start = window.start as u64;
        let order = match self.options.order {
            Order::InFiles => None,
            Order::Shuffled { seed } => {
                Some(Permutation::new(self.corpus.rows() as u64, seed, epoch))
            }
        };
        let rows = window.map(|at| order.as_ref().map_or(at, |o| o.at(at as u64) as usize));
        let mut examples =
            rows.map(|row| Ok((row, self.row(row)?.1))).collect::<Result<Vec<_>>>()?;
        // Stable: rows of one length stay in the order of the epoch.
        examples.sort_by_key(|(_, e)| (e.source.len(), e.target.len()));
        let mut batches = cut(examples, self.options.tokens);
        if let Order::Shuffled { seed } = self.options.order {
            Draws::new(seed, Purpose::Batches, epoch, start).shuffle(&mut batches);
        }
        Ok(batches)
    }

    /// A row, and its ids, which fit into a batch.
    pub(crate) fn row(&mut self, row: usize) -> Result<(Row, Example)> {
        let text = self.corpus.row(row)?;
        let encoded = self.encoder.encode_within(&text, self.options.tokens);
        let (example, cut) = encoded.map_err(|e| self.corpus.error(row, e))?;
        if let Some(longer) = cut.filter(|_| !std::mem::replace(&mut self.told, true)) {
            let notice =
                format!("{longer}, and is cut to these, as is every other row that is too long");
            tracing::warn!("{}", self.corpus.error(row, notice));
        }
        Ok((text, example))
    }
}

/// Fills batches one after the other. No example is longer than a batch.
fn cut(examples: Vec<(usize, Example)>, tokens: usize) -> Vec<Vec<(usize, Example)>> {
    let mut batches = Vec::new();
    let mut room = 0;
    for example in examples {
        let length = example.1.tokens();
        if length > room || batches.is_empty() {
            batches.push(Vec::new());
            room = tokens;
        }
        room -= length;
        if let Some(batch) = batches.last_mut() {
            batch.push(example);
        }
    }
    batches
}

fn batch(examples: Vec<(usize, Example)>, epoch: u64, ends_epoch: bool) -> Batch {
    let pack = |part: fn(&Example) -> &Vec<u32>| Sequences {
        ids: examples.iter().flat_map(|(_, e)| part(e)).copied().collect(),
        ragged: Ragged::from_lengths(examples.iter().map(|(_, e)| part(e).len())),
    };
    let (source, target) = (pack(|e| &e.source), pack(|e| &e.target));
    let segments = examples.iter().flat_map(|(_, e)| &e.segments).copied().collect();
    let rows = examples.into_iter().map(|(row, _)| row).collect();
    Batch { rows, source, target, segments, epoch, ends_epoch }
}

#[cfg(test)]
mod tests;
