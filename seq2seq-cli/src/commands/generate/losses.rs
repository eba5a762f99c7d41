//! The hypotheses that beam search loses.

use seq2seq_models::generate::{Lost, Sink};
use serde::Serialize;
use std::collections::BTreeMap;

/// A hypothesis that beam search lost.
#[derive(Debug, Clone, Serialize)]
pub(in crate::commands) struct LostHypothesis {
    /// The step of the search in which it left, counted from 1.
    pub(in crate::commands) step: usize,
    pub(in crate::commands) reason: &'static str,
    /// Normalised by length.
    pub(in crate::commands) score: f32,
    /// The generated ones.
    pub(in crate::commands) ids: Vec<u32>,
}

/// Hears of them.
#[derive(Debug, Default)]
pub(in crate::commands) struct Losses {
    /// By place in the batch.
    rows: BTreeMap<usize, Vec<LostHypothesis>>,
}

impl Losses {
    /// Those of one row, without the first `given` ids of each.
    pub(in crate::commands) fn of(&self, row: usize, given: usize) -> Vec<LostHypothesis> {
        let without = |l: &LostHypothesis| LostHypothesis {
            ids: l.ids.iter().skip(given).copied().collect(),
            ..l.clone()
        };
        self.rows.get(&row).into_iter().flatten().map(without).collect()
    }
}

impl Sink for Losses {
    fn hears_lost(&self) -> bool {
        true
    }

    fn lost(&mut self, row: usize, lost: &Lost<'_>) {
        let Lost { step, ids, score, reason } = *lost;
        let entry = LostHypothesis { step, reason: reason.name(), score, ids: ids.to_vec() };
        self.rows.entry(row).or_default().push(entry);
    }
}
