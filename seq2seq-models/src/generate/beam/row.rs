use crate::{
    Result,
    generate::{EarlyStopping, Plan, no_id_left, rng, rules::View},
};
use seq2seq_core::{ScoreOrder, TopK, Warp, noise::gumbel};

/// What transformers adds to a score to put a hypothesis out of the running: finite, so that it may come back where
/// there is nothing else (PARITY trap 53). Scores this low are those of placeholders.
const NOWHERE: f32 = -1e9;

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
    /// The hypothesis of the session that each generated id was chosen from. Empty unless weights are asked for.
    origins: Vec<usize>,
}

/// A hypothesis that has ended.
#[derive(Debug, Clone)]
pub(super) struct Finished {
    pub(super) ids: Vec<u32>,
    /// Normalised by length.
    pub(super) score: f32,
    pub(super) origins: Vec<usize>,
}

/// One id after one running hypothesis.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    beam: usize,
    id: u32,
    score: f32,
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
}

impl RowSearch {
    pub(super) fn new(plan: &Plan<'_>, row: usize, spec: &BeamSpec) -> Self {
        let beam = |i: usize| {
            let ids = plan.history_with_room(row);
            // Only the first counts, lest all beams become the same.
            let score = if i == 0 { 0.0 } else { NOWHERE };
            Running { ids, score, parent: 0, origins: Vec::new() }
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
        }
    }

    pub(super) fn row(&self) -> usize {
        self.row
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
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

    fn noise_seed(&self, plan: &Plan<'_>, sampling: &BeamSampling, slot: usize) -> u64 {
        let row = &plan.rows[self.row];
        let step = self.running[0].ids.len() - row.history.len();
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
            self.finished = std::mem::take(&mut self.running)
                .into_iter()
                .filter(|r| r.score > NOWHERE)
                .map(|r| Finished {
                    score: plan.score(self.row, r.score, r.ids.len()),
                    ids: r.ids,
                    origins: r.origins,
                })
                .collect();
        }
    }

    /// The best finished hypotheses. Fails where there is none, as when the rules ban every id.
    pub(super) fn into_finished(mut self, returned: usize) -> Result<Vec<Finished>> {
        if self.finished.is_empty() {
            return Err(no_id_left(self.row));
        }
        self.finished.truncate(returned);
        Ok(self.finished)
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
            let scores = top.scores[entries.clone()].iter().map(|s| s + running.score);
            let ids = top.ids[entries].iter().copied();
            let sampling = spec.sampling.as_ref();
            let seed =
                sampling.map(|s| self.noise_seed(plan, s, self.slot(beam) - self.first_slot));
            let candidate = |(id, score)| {
                let key = f64::from(score) + seed.map_or(0.0, |seed| gumbel(seed, id));
                Candidate { beam, id, score, key, ends: overtime }
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
                let origins = match plan.weights {
                    true => extended(&parent.origins, self.slot(c.beam)),
                    false => Vec::new(),
                };
                self.finished.push(Finished { ids, score, origins });
            }
        }
        self.finished.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.finished.truncate(spec.beams);
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
            if plan.weights {
                next.origins.clone_from(&parent.origins);
                next.origins.push(self.first_slot + if self.slots == 1 { 0 } else { c.beam });
            }
        }
        std::mem::swap(&mut self.running, &mut self.next);
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
