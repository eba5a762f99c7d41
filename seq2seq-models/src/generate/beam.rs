//! Beam search and beam sampling as transformers 5 does them (PARITY traps 47 to 53, 76).
//!
//! A row keeps `num_beams` running hypotheses. Each step takes the best continuations of all of them, or draws some: those that end
//! compete, by their length-normalised scores, for a place among the finished ones; the others run on. Rows are
//! searched side by side, and a row that is done leaves the session.
//!
//! Where the backend chooses ahead of the host, it also finds which continuations run on, and their step is asked for before the
//! host knows them: it does all of the above while the device is at that step. A row that is done is found one step late, and
//! what the step gave for it is dropped. Results, and all that a sink hears and when, are those of a search that waits.

mod lost;
mod row;

use super::{DecodeSession, Plan, Sink, feeder::Feeder, results::Results};
use crate::{Generated, Result};
use row::RowSearch;
pub(super) use row::{BeamSampling, BeamSpec};
use seq2seq_core::{Beams, DecoderOps, LogitRule, Pick, Picked, TopK};
use std::{ops::ControlFlow, time::Instant};

/// Decodes every row of `plan`, as `spec` has it.
pub(super) fn run<B: DecoderOps, S: DecodeSession<B> + ?Sized>(
    plan: &Plan<'_>,
    spec: &BeamSpec,
    session: &mut S,
    sink: &mut dyn Sink,
) -> Result<Vec<Vec<Generated>>> {
    let backend = session.backend().clone();
    let start = Instant::now();
    let hears_lost = sink.hears_lost();
    let mut results = Results::new(plan, spec.returned);
    let mut live: Vec<_> =
        (0..plan.rows.len()).map(|row| RowSearch::new(plan, row, spec, hears_lost)).collect();
    let mut feeder = Feeder::new(session, plan)?;
    let mut logits = feeder.prefill(plan)?;
    let mut choice = Choice::default();
    let k = spec.continuations(plan);
    let (mut parents, mut kept) = (Vec::new(), Vec::new());
    loop {
        let (top, ahead) = match backend.chooses_ahead() && may_go_on(plan, spec, &live, &feeder) {
            true => {
                let chosen = choice.choose_ahead(plan, spec, &backend, &logits, &live)?;
                // The next step may have their memory.
                drop(logits);
                // What it fails with counts only if the step is needed.
                let ahead = feeder.step_chosen(&chosen).transpose();
                let Picked { ids, scores, .. } = backend.chosen(&chosen)?;
                (TopK { k, ids, scores }, ahead)
            }
            false => {
                let top = choice.choose(plan, spec, &backend, &logits, &live)?;
                feeder.keep_likeliest(&backend, &logits, spec.order, &choice.rules)?;
                drop(logits);
                (top, None)
            }
        };
        let overtime = plan.max_time.is_some_and(|limit| start.elapsed() > limit);
        for search in &mut live {
            search.advance(plan, spec, &top, overtime)?;
        }
        let flow = retire(plan, spec, &mut live, &feeder, &mut results, sink)?;
        if flow.is_break() || (!live.is_empty() && sink.step().is_break()) {
            live.iter_mut().for_each(|search| search.stop_here(plan));
            let _ = retire(plan, spec, &mut live, &feeder, &mut results, &mut ())?;
        }
        if live.is_empty() {
            return Ok(results.into_rows());
        }
        kept.clear();
        kept.extend(live.iter().flat_map(RowSearch::slots));
        parents.clear();
        for search in &mut live {
            search.place(&mut parents);
        }
        logits = match ahead.transpose()? {
            // The session has them in the places of those that they continue.
            Some(ahead) => {
                let all_go_on = kept.len() == feeder.hypotheses();
                feeder.reorder(&kept)?;
                if all_go_on { ahead } else { backend.gather_rows(&ahead, &kept)? }
            }
            None => {
                feeder.reorder(&parents)?;
                feeder.step(live.iter().flat_map(RowSearch::last_ids))?
            }
        };
    }
}

/// Whether the backend can tell which continuations run on, and each of them has a position for its id to be fed at. The session
/// holds all running hypotheses, which it does not before the first choice; nothing but an id ends one; and nothing is kept of
/// each step.
fn may_go_on<S: ?Sized>(
    plan: &Plan<'_>,
    spec: &BeamSpec,
    live: &[RowSearch],
    feeder: &Feeder<'_, S>,
) -> bool {
    spec.sampling.is_none()
        && plan.stop.reads_ids_alone()
        && !feeder.keeps_steps()
        && live.len() * spec.beams == feeder.hypotheses()
        && live.iter().all(|search| search.is_below_length(plan))
}

/// Buffers of the choice that are used again at each step.
#[derive(Default)]
struct Choice {
    rules: Vec<Vec<LogitRule>>,
    seeds: Vec<u64>,
    scores: Vec<f32>,
}

impl Choice {
    /// Of each hypothesis of the session.
    fn fill_rules(&mut self, plan: &Plan<'_>, live: &[RowSearch]) {
        plan.rules.fill(live.iter().flat_map(|search| search.views(plan)), &mut self.rules);
    }

    /// The best continuations of each hypothesis of the session, and which of them run on; the host need know neither yet.
    fn choose_ahead<B: DecoderOps>(
        &mut self,
        plan: &Plan<'_>,
        spec: &BeamSpec,
        backend: &B,
        logits: &B::Tensor,
        live: &[RowSearch],
    ) -> Result<B::Chosen> {
        self.fill_rules(plan, live);
        self.scores.clear();
        self.scores.extend(live.iter().flat_map(RowSearch::scores));
        let beams = Beams {
            width: spec.beams,
            k: spec.continuations(plan),
            keep: spec.keep,
            order: spec.order,
            scores: &self.scores,
            endings: plan.stop.ids(),
        };
        Ok(backend.choose(logits, &self.rules, &Pick::Beams(beams))?)
    }

    /// Continuations of each hypothesis of the session, among which are the best of each row, or those that are drawn.
    fn choose<B: DecoderOps>(
        &mut self,
        plan: &Plan<'_>,
        spec: &BeamSpec,
        backend: &B,
        logits: &B::Tensor,
        live: &[RowSearch],
    ) -> Result<TopK> {
        let k = spec.continuations(plan);
        self.fill_rules(plan, live);
        let Self { rules, seeds, .. } = self;
        Ok(match &spec.sampling {
            None => backend.top_k(logits, k, spec.order, rules)?,
            Some(sampling) => {
                seeds.clear();
                seeds.extend(live.iter().flat_map(|search| search.noise_seeds(plan, sampling)));
                backend.sample_k(logits, k, spec.order, rules, &sampling.warp, seeds)?
            }
        })
    }
}

/// Moves the rows that are done to the results.
fn retire<S: ?Sized>(
    plan: &Plan<'_>,
    spec: &BeamSpec,
    live: &mut Vec<RowSearch>,
    feeder: &Feeder<'_, S>,
    results: &mut Results,
    sink: &mut dyn Sink,
) -> Result<ControlFlow<()>> {
    let mut flow = ControlFlow::Continue(());
    for search in live.extract_if(.., |search| search.is_done()) {
        let row = search.row();
        let (best, lost) = search.into_finished(plan, spec.returned)?;
        if let Some(lost) = lost {
            lost.tell(plan, row, sink);
        }
        let sequences = best
            .into_iter()
            .map(|f| plan.generated(row, &f.ids, f.score, &f.steps, feeder.log()))
            .collect();
        if results.put_row(row, sequences, sink).is_break() {
            flow = ControlFlow::Break(());
        }
    }
    Ok(flow)
}
