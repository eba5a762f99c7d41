use super::lost::LostLog;
use crate::{
    Result,
    generate::{EarlyStopping, LossReason, Plan, log::Step, no_id_left, rng, rules::View},
};
use seq2seq_core::{Beams, ScoreOrder, TopK, Warp, noise::gumbel};
use std::ops::Range;

/// What transformers adds to a score to put a hypothesis out of the running: finite, so that it may come back where
/// there is nothing else (PARITY trap 53). Scores this low are those of placeholders.
const NOWHERE: f32 = Beams::ENDED;

/// How beam search goes about it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::generate) struct BeamSpec {
    /// Hypotheses that run, and that may have finished.
    pub(in crate::generate) beams: usize,
    /// Finished hypotheses that are returned.
    pub(in crate::generate) returned: usize,
    /// Continuations looked at in each step: enough that `beams` run on when the others end (PARITY trap 48).
    pub(in crate::generate) keep: usize,
    pub(in crate::generate) early_stopping: EarlyStopping,
    /// Beam search takes log-probabilities first and applies the rules to them (PARITY trap 47).
    pub(in crate::generate) order: ScoreOrder,
    /// How continuations are drawn; without, the best are taken.
    pub(in crate::generate) sampling: Option<BeamSampling>,
}

impl BeamSpec {
    /// Continuations of each hypothesis among which are the best of all.
    pub(super) fn continuations(&self, plan: &Plan<'_>) -> usize {
        self.keep.min(plan.vocab)
    }
}

/// How beam sampling draws the continuations of a step: without replacement, with probabilities in proportion to e^score
/// over all beams and ids together (PARITY trap 76).
///
/// That is to take those with the largest sums of score and Gumbel noise (see [`gumbel`]), as each beam can for its own.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::generate) struct BeamSampling {
    pub(in crate::generate) warp: Warp,
    pub(in crate::generate) seed: u64,
}

/// A hypothesis that may grow.
#[derive(Debug)]
struct Running {
    ids: Vec<u32>,
    /// Sum of the scores of its ids.
    score: f32,
    /// The beam that it continues.
    parent: usize,
    /// How each generated id came about. Empty unless asked for.
    steps: Vec<Step>,
}

/// A hypothesis that has ended.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) ids: Vec<u32>,
    /// Normalised by length.
    pub(super) score: f32,
    pub(super) steps: Vec<Step>,
}

/// One id after one running hypothesis.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    beam: usize,
    id: u32,
    score: f32,
    /// What the id adds to the score.
    log_prob: f32,
    /// What it is chosen by: its score, with noise where it is drawn.
    key: f64,
    ends: bool,
}

/// The search of one row.
pub(super) struct RowSearch {
    row: usize,
    /// The first hypothesis of this row in the session.
    first_slot: usize,
    /// Hypotheses of this row in the session: 1 at first, whose scores all beams read, then one a beam.
    slots: usize,
    running: Vec<Running>,
    /// Next step's `running`; its buffers are those of the step before.
    next: Vec<Running>,
    /// Best first, at most `beams`.
    finished: Vec<Finished>,
    candidates: Vec<Candidate>,
    done: bool,
    /// Absent where nobody asks what is lost.
    lost: Option<LostLog>,
}

impl RowSearch {
    /// `notes_lost`: whether it is wanted which hypotheses leave.
    pub(super) fn new(plan: &Plan<'_>, row: usize, spec: &BeamSpec, notes_lost: bool) -> Self {
        let beam = |i: usize| {
            let ids = plan.history_with_room(row);
            // Only the first counts, lest all beams become the same.
            let score = if i == 0 { 0.0 } else { NOWHERE };
            Running { ids, score, parent: 0, steps: Vec::new() }
        };
        Self {
            row,
            first_slot: row,
            slots: 1,
            running: (0..spec.beams).map(beam).collect(),
            next: (0..spec.beams).map(beam).collect(),
            finished: Vec::new(),
            candidates: Vec::new(),
            done: false,
            lost: notes_lost.then(LostLog::default),
        }
    }

    pub(super) fn row(&self) -> usize {
        self.row
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The hypotheses of this row in the session.
    pub(super) fn slots(&self) -> Range<usize> {
        self.first_slot..self.first_slot + self.slots
    }

    /// The score of each running hypothesis.
    pub(super) fn scores(&self) -> impl Iterator<Item = f32> {
        self.running.iter().map(|r| r.score)
    }

    /// Whether the next id ends no hypothesis by its length.
    pub(super) fn is_below_length(&self, plan: &Plan<'_>) -> bool {
        self.running[0].ids.len() + 1 < plan.rows[self.row].max_length
    }

    /// What the rules of each hypothesis in the session may look at.
    pub(super) fn views<'v>(&'v self, plan: &'v Plan<'_>) -> impl Iterator<Item = View<'v>> {
        self.running[..self.slots].iter().map(|r| plan.view(self.row, &r.ids))
    }

    /// The seeds of the noise on the scores of each hypothesis in the session.
    pub(super) fn noise_seeds(
        &self,
        plan: &Plan<'_>,
        sampling: &BeamSampling,
    ) -> impl Iterator<Item = u64> {
        (0..self.slots).map(|slot| self.noise_seed(plan, sampling, slot))
    }

    /// Ids that have been generated for each running hypothesis.
    fn step(&self, plan: &Plan<'_>) -> usize {
        self.running[0].ids.len() - plan.rows[self.row].history.len()
    }

    fn noise_seed(&self, plan: &Plan<'_>, sampling: &BeamSampling, slot: usize) -> u64 {
        let row = &plan.rows[self.row];
        let step = self.step(plan);
        rng::noise_seed(sampling.seed, row.number, slot as u32, step as u32)
    }

    /// The last id of each running hypothesis.
    pub(super) fn last_ids(&self) -> impl Iterator<Item = u32> {
        self.running.iter().filter_map(|r| r.ids.last().copied())
    }

    /// Appends, for each running hypothesis, the one of the session that it continues; from now on those are its own.
    pub(super) fn place(&mut self, parents: &mut Vec<usize>) {
        let first = parents.len();
        parents.extend(self.running.iter().map(|r| self.slot(r.parent)));
        (self.first_slot, self.slots) = (first, self.running.len());
    }

    /// One step. `top` are the best continuations of each hypothesis in the session.
    pub(super) fn advance(
        &mut self,
        plan: &Plan<'_>,
        spec: &BeamSpec,
        top: &TopK,
        overtime: bool,
    ) -> Result<()> {
        self.collect(plan, spec, top, overtime)?;
        self.finish(plan, spec);
        self.run_on(plan, spec);
        let full = self.finished.len() == spec.beams;
        self.done = self.candidates.iter().all(|c| c.ends)
            || full && spec.early_stopping == EarlyStopping::Yes
            || !self.may_improve(plan, spec);
        Ok(())
    }

    /// Ends the search; where nothing has finished, what is running counts as finished.
    pub(super) fn stop_here(&mut self, plan: &Plan<'_>) {
        self.done = true;
        if self.finished.is_empty() {
            for r in self.running.iter_mut().filter(|r| r.score > NOWHERE) {
                self.finished.push(Finished {
                    score: plan.score(self.row, r.score, r.ids.len()),
                    ids: r.ids.clone(),
                    steps: r.steps.clone(),
                });
                // It is one or the other.
                r.score = NOWHERE;
            }
        }
    }

    /// The best finished hypotheses, and the others where they are asked for. Fails where there is none, as when the rules
    /// ban every id.
    pub(super) fn into_finished(
        mut self,
        plan: &Plan<'_>,
        returned: usize,
    ) -> Result<(Vec<Finished>, Option<LostLog>)> {
        if self.finished.is_empty() {
            return Err(no_id_left(self.row));
        }
        let step = self.step(plan);
        self.keep_best(returned, step);
        if let Some(lost) = &mut self.lost {
            for r in self.running.iter().filter(|r| r.score > NOWHERE) {
                let score = plan.score(self.row, r.score, r.ids.len());
                lost.note(step, &r.ids, score, LossReason::Unfinished);
            }
        }
        Ok((self.finished, self.lost))
    }

    /// Drops the finished hypotheses behind the first `count`.
    fn keep_best(&mut self, count: usize, step: usize) {
        if let Some(lost) = &mut self.lost {
            for f in self.finished.iter().skip(count) {
                lost.note(step, &f.ids, f.score, LossReason::Surpassed);
            }
        }
        self.finished.truncate(count);
    }

    /// The hypothesis of the session whose scores `beam` reads.
    fn slot(&self, beam: usize) -> usize {
        self.first_slot + if self.slots == 1 { 0 } else { beam }
    }

    /// The best `keep` continuations of all beams together, best first, equal ones by beam, then by id; or `keep` drawn
    /// ones in the order of the draws.
    fn collect(
        &mut self,
        plan: &Plan<'_>,
        spec: &BeamSpec,
        top: &TopK,
        overtime: bool,
    ) -> Result<()> {
        self.candidates.clear();
        for (beam, running) in self.running.iter().enumerate() {
            let entries = self.slot(beam) * top.k..(self.slot(beam) + 1) * top.k;
            let scores = top.scores[entries.clone()].iter().copied();
            let ids = top.ids[entries].iter().copied();
            let sampling = spec.sampling.as_ref();
            let seed =
                sampling.map(|s| self.noise_seed(plan, s, self.slot(beam) - self.first_slot));
            let candidate = |(id, log_prob)| {
                let score = log_prob + running.score;
                let key = f64::from(score) + seed.map_or(0.0, |seed| gumbel(seed, id));
                Candidate { beam, id, score, log_prob, key, ends: overtime }
            };
            self.candidates.extend(ids.zip(scores).map(candidate));
        }
        if self.candidates.iter().any(|c| c.score.is_nan()) {
            return Err(no_id_left(self.row));
        }
        self.candidates.sort_by(|a, b| b.key.total_cmp(&a.key));
        self.candidates.truncate(spec.keep);
        let max_length = plan.rows[self.row].max_length;
        for c in &mut self.candidates {
            c.ends |= plan.stop.ends(&self.running[c.beam].ids, c.id, max_length);
        }
        Ok(())
    }

    /// Lets those of the first `beams` continuations that end take a place among the finished (PARITY trap 49).
    fn finish(&mut self, plan: &Plan<'_>, spec: &BeamSpec) {
        for c in self.candidates[..spec.beams].iter().filter(|c| c.ends) {
            let parent = &self.running[c.beam];
            let score = plan.score(self.row, c.score, parent.ids.len() + 1);
            if score > NOWHERE {
                let ids = extended(&parent.ids, c.id);
                let steps = match plan.keeps_steps() {
                    true => extended(&parent.steps, self.step_of(c)),
                    false => Vec::new(),
                };
                self.finished.push(Finished { ids, score, steps });
                if let Some(lost) = &mut self.lost {
                    lost.has_ended(c.beam);
                }
            }
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        let step = self.step(plan) + 1;
        self.keep_best(spec.beams, step);
    }

    /// How the id of `c` comes about.
    fn step_of(&self, c: &Candidate) -> Step {
        let slot = self.slot(c.beam);
        Step { slot, row: slot, log_prob: c.log_prob }
    }

    /// The best `beams` continuations that do not end become the running hypotheses.
    fn run_on(&mut self, plan: &Plan<'_>, spec: &BeamSpec) {
        for c in &mut self.candidates {
            c.score += if c.ends { NOWHERE } else { 0.0 };
        }
        self.candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        for (next, c) in self.next.iter_mut().zip(&self.candidates[..spec.beams]) {
            let parent = &self.running[c.beam];
            next.ids.clone_from(&parent.ids);
            next.ids.push(c.id);
            (next.score, next.parent) = (c.score, c.beam);
            if plan.keeps_steps() {
                let slot = self.first_slot + if self.slots == 1 { 0 } else { c.beam };
                next.steps.clone_from(&parent.steps);
                next.steps.push(Step { slot, row: slot, log_prob: c.log_prob });
            }
        }
        self.note_outrun(plan);
        std::mem::swap(&mut self.running, &mut self.next);
    }

    /// Notes the running hypotheses that none of the next ones and none of those that have ended continues.
    fn note_outrun(&mut self, plan: &Plan<'_>) {
        let step = self.step(plan) + 1;
        let Some(lost) = &mut self.lost else { return };
        let goes_on = |beam| self.next.iter().any(|n| n.parent == beam && n.score > NOWHERE);
        for (beam, r) in self.running.iter().enumerate() {
            if r.score > NOWHERE && !goes_on(beam) && !lost.ended(beam) {
                let score = plan.score(self.row, r.score, r.ids.len());
                lost.note(step, &r.ids, score, LossReason::Outrun);
            }
        }
        lost.next_step();
    }

    /// Whether a running hypothesis may yet become better than the worst finished one (PARITY trap 51).
    fn may_improve(&self, plan: &Plan<'_>, spec: &BeamSpec) -> bool {
        let best = &self.running[0];
        let length = match spec.early_stopping {
            EarlyStopping::Never if plan.length_penalty > 0.0 => plan.rows[self.row].max_length,
            _ => best.ids.len(),
        };
        let worst = match self.finished.len() == spec.beams {
            true => self.finished[spec.beams - 1].score,
            false => NOWHERE,
        };
        plan.score(self.row, best.score, length) > worst
    }
}

fn extended<T: Copy>(items: &[T], last: T) -> Vec<T> {
    let mut all = Vec::with_capacity(items.len() + 1);
    all.extend_from_slice(items);
    all.push(last);
    all
}
