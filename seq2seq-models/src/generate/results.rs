use super::{Plan, Sink};
use crate::Generated;
use std::ops::ControlFlow;

/// Collects finished sequences, row by row.
pub(super) struct Results {
    rows: Vec<Vec<Generated>>,
    missing: Vec<usize>,
}

impl Results {
    /// `sequences` to come for each row of `plan`.
    pub(super) fn new(plan: &Plan<'_>, sequences: usize) -> Self {
        let empty = Generated { ids: Vec::new(), score: 0.0, weights: None, choices: None };
        let rows = plan.rows.len();
        Self { rows: vec![vec![empty; sequences]; rows], missing: vec![sequences; rows] }
    }

    /// Keeps sequence `sequence` of `row`; tells `sink` once the row is complete.
    pub(super) fn put(
        &mut self,
        row: usize,
        sequence: usize,
        generated: Generated,
        sink: &mut dyn Sink,
    ) -> ControlFlow<()> {
        self.rows[row][sequence] = generated;
        self.missing[row] -= 1;
        match self.missing[row] {
            0 => sink.finished(row, &self.rows[row]),
            _ => ControlFlow::Continue(()),
        }
    }

    /// Keeps all sequences of `row`, which may be fewer than were asked for, and tells `sink`.
    pub(super) fn put_row(
        &mut self,
        row: usize,
        sequences: Vec<Generated>,
        sink: &mut dyn Sink,
    ) -> ControlFlow<()> {
        self.rows[row] = sequences;
        self.missing[row] = 0;
        sink.finished(row, &self.rows[row])
    }

    pub(super) fn into_rows(self) -> Vec<Vec<Generated>> {
        self.rows
    }
}
