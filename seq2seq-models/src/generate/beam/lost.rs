//! The hypotheses that a search leaves behind, noted only for those who listen.

use crate::generate::{LossReason, Lost, Plan, Sink};

/// What one row has lost.
#[derive(Debug, Default)]
pub(super) struct LostLog {
    entries: Vec<Entry>,
    /// Running hypotheses of which a continuation has ended in this step.
    ended: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    step: usize,
    /// The prompt included.
    ids: Vec<u32>,
    score: f32,
    reason: LossReason,
}

impl LostLog {
    /// Notes a hypothesis that left in step `step`, prompt included in `ids`; `score` is normalised.
    pub(super) fn note(&mut self, step: usize, ids: &[u32], score: f32, reason: LossReason) {
        self.entries.push(Entry { step, ids: ids.to_vec(), score, reason });
    }

    /// A continuation of running hypothesis `beam` has ended: whatever else comes of it, it was not outrun.
    pub(super) fn has_ended(&mut self, beam: usize) {
        self.ended.push(beam);
    }

    /// Whether a continuation of `beam` has ended since the last [`next_step`](Self::next_step).
    pub(super) fn ended(&self, beam: usize) -> bool {
        self.ended.contains(&beam)
    }

    pub(super) fn next_step(&mut self) {
        self.ended.clear();
    }

    /// Tells `sink`, in the order of the steps, and the best of a step first.
    pub(super) fn tell(mut self, plan: &Plan<'_>, row: usize, sink: &mut dyn Sink) {
        self.entries.sort_by(|a, b| a.step.cmp(&b.step).then(b.score.total_cmp(&a.score)));
        for Entry { step, ids, score, reason } in &self.entries {
            let ids = plan.returned_ids(row, ids);
            sink.lost(row, &Lost { step: *step, ids, score: *score, reason: *reason });
        }
    }
}
