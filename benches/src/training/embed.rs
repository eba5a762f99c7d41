//! Tables that rows are looked up in.

use super::{Size, Training, data};
use crate::bench::{Bench, Call};
use crate::work::{F32, Work};
use seq2seq_core::train::{Looked, TrainBackend};
use seq2seq_core::{Format, Lookup, Result};
use std::collections::HashSet;

/// Bytes of an id.
const ID: usize = 4;

/// Which rows are looked up.
#[derive(Debug, Clone, Copy)]
enum Ids {
    /// Any of the table: words.
    Words,
    /// Those of the table in turn: positions.
    Positions,
    /// The first: the type of a sequence.
    Types,
}

/// A lookup for each of N rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    rows: usize,
    width: usize,
    table_rows: usize,
    ids: Ids,
    /// Whether the table has a gradient already.
    added: bool,
}

impl Case {
    fn words(size: &Size) -> Self {
        let (rows, width) = (size.rows(), size.width);
        Self { rows, width, table_rows: size.vocabulary, ids: Ids::Words, added: false }
    }

    fn ids(&self) -> Vec<u32> {
        match self.ids {
            Ids::Words => data::ids(1, self.rows, self.table_rows),
            Ids::Positions => (0..self.rows).map(|i| (i % self.table_rows) as u32).collect(),
            Ids::Types => vec![0; self.rows],
        }
    }

    /// Rows of the table that are looked up at least once.
    fn used(&self) -> usize {
        self.ids().into_iter().collect::<HashSet<_>>().len()
    }
}

/// Straight from the masters.
pub(super) struct EmbedMasters;

impl Training for EmbedMasters {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        let case = Case::words(size);
        vec![(format!("t5-base words, {} rows", case.rows), case)]
    }
}

/// Each row that is looked up is read once, however often it is.
impl Bench for EmbedMasters {
    const NAME: &'static str = "embed_masters";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let bytes = F32 * case.width * (case.used() + case.rows) + ID * case.rows;
        Work { operations: 0, bytes, format: Format::F32 }
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, ids) = (backend.clone(), case.ids());
        let table = data::rows(&backend, 2, [case.table_rows, case.width])?;
        Ok(Box::new(move || {
            backend.embed_masters(&[Lookup { table: &table, ids: &ids, scale: 1.0 }]).map(drop)
        }))
    }
}

/// The gradient of the table.
pub(super) struct EmbedBackward;

impl Training for EmbedBackward {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        let words = Case::words(size);
        let of = |ids, table_rows| Case { ids, table_rows, ..words };
        let named = |name: &str, case: Case| (format!("{name}, {} rows", case.rows), case);
        vec![
            named("t5-base words", words),
            named("t5-base words added to the logits'", Case { added: true, ..words }),
            named("bert-base positions", of(Ids::Positions, 4 * size.source)),
            named("bert-base types", of(Ids::Types, 2)),
        ]
    }
}

/// A sum an element. A gradient that is begun is written as a whole; of another, the rows that are looked up are read and written.
impl Bench for EmbedBackward {
    const NAME: &'static str = "embed_backward";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let table = if case.added { 2 * case.used() } else { case.table_rows };
        let bytes = F32 * case.width * (case.rows + table) + ID * case.rows;
        Work { operations: case.rows * case.width, bytes, format: Format::F32 }
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, ids, table_rows) = (backend.clone(), case.ids(), case.table_rows);
        let dy = data::rows(&backend, 2, [case.rows, case.width])?;
        let mut before = match case.added {
            true => Some(data::rows(&backend, 3, [table_rows, case.width])?),
            false => None,
        };
        let added = case.added;
        Ok(Box::new(move || {
            let looked = Looked { ids: &ids, scale: 1.0, table_rows };
            let mut begun = None;
            let table = if added { &mut before } else { &mut begun };
            backend.embed_backward(looked, &dy, table)
        }))
    }
}
