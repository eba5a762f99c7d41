//! Greedy search and sampling: each returned sequence is one hypothesis, which takes the best id or draws one.
//!
//! Where the backend chooses ahead of the host, a step is asked for before the ids are known that it reads: the host hears of them,
//! tells the sink and makes the rules of the next choice while the device is at that step. What has ended is found one step
//! late, and what the step gave for it is dropped. Results, and all that a sink hears and when, are those of a search that waits.

use super::{
    DecodeSession, Plan, Sink, feeder::Feeder, log::Step, no_id_left, plan::Mode, results::Results,
    rng,
};
use crate::{Generated, Result};
use seq2seq_core::{DecoderOps, LogitRule, Pick, Picked, ScoreOrder};
use std::{ops::ControlFlow, time::Instant};

/// A sequence in the making.
struct Hypothesis {
    row: usize,
    /// Which of the row's return sequences it is.
    sequence: usize,
    /// The prompt and what was generated.
    ids: Vec<u32>,
    log_prob: f64,
    /// How each generated id came about. Empty unless asked for.
    steps: Vec<Step>,
    ended: bool,
}

/// Decodes every row of `plan`.
pub(super) fn run<B: DecoderOps, S: DecodeSession<B> + ?Sized>(
    plan: &Plan<'_>,
    session: &mut S,
    sink: &mut dyn Sink,
) -> Result<Vec<Vec<Generated>>> {
    let backend = session.backend().clone();
    let start = Instant::now();
    let mut results = Results::new(plan, plan.hypotheses());
    let mut live = begin(plan);
    let mut feeder = Feeder::new(session, plan)?;
    let mut logits = feeder.prefill(plan)?;
    // The session begins with one hypothesis a row, whose scores all return sequences of the row read.
    let mut slots: Vec<usize> = live.iter().map(|h| h.row).collect();
    if plan.hypotheses() > 1 {
        logits = backend.gather_rows(&logits, &slots)?;
    }
    let mut choice = Choice::default();
    loop {
        choice.prepare(plan, &live);
        let (chosen, ahead) = match backend.chooses_ahead() {
            true => {
                let chosen = backend.choose(&logits, &choice.rules, &choice.pick(plan))?;
                choice.keep_likeliest(&mut feeder, &backend, &logits)?;
                // The next step may have their memory.
                drop(logits);
                // What it fails with counts only if the step is needed.
                let ahead = match may_go_on(plan, &live, &feeder) {
                    true => feeder.step_chosen(&chosen).transpose(),
                    false => None,
                };
                (backend.chosen(&chosen)?, ahead)
            }
            false => {
                let chosen = choice.pick(plan).at_once(&backend, &logits, &choice.rules)?;
                choice.keep_likeliest(&mut feeder, &backend, &logits)?;
                drop(logits);
                (chosen, None)
            }
        };
        let mut flow = append(plan, &mut live, &slots, &chosen, sink)?;
        if plan.max_time.is_some_and(|limit| start.elapsed() > limit) {
            live.iter_mut().for_each(|h| h.ended = true);
        }
        flow = merge(flow, retire(plan, &mut live, &mut slots, &feeder, &mut results, sink));
        if !live.is_empty() {
            flow = merge(flow, sink.step());
        }
        if flow.is_break() {
            live.iter_mut().for_each(|h| h.ended = true);
            let _ = retire(plan, &mut live, &mut slots, &feeder, &mut results, &mut ());
        }
        if live.is_empty() {
            return Ok(results.into_rows());
        }
        logits = match ahead.transpose()? {
            Some(ahead) => {
                let all_go_on = live.len() == feeder.hypotheses();
                feeder.reorder(&slots)?;
                if all_go_on { ahead } else { backend.gather_rows(&ahead, &slots)? }
            }
            None => {
                feeder.reorder(&slots)?;
                feeder.step(live.iter().map(|h| h.ids[h.ids.len() - 1]))?
            }
        };
        slots.clear();
        slots.extend(0..live.len());
    }
}

/// Whether the session holds all hypotheses as they are, and each goes on unless its next id ends it: there is a position for that
/// id to be fed at.
fn may_go_on<S: ?Sized>(plan: &Plan<'_>, live: &[Hypothesis], feeder: &Feeder<'_, S>) -> bool {
    let below_length = |h: &Hypothesis| h.ids.len() + 1 < plan.rows[h.row].max_length;
    live.len() == feeder.hypotheses() && live.iter().all(below_length)
}

fn begin(plan: &Plan<'_>) -> Vec<Hypothesis> {
    let sequences = plan.hypotheses();
    let begin = |row: usize, sequence| {
        let ids = plan.history_with_room(row);
        Hypothesis { row, sequence, ids, log_prob: 0.0, steps: Vec::new(), ended: false }
    };
    (0..plan.rows.len()).flat_map(|row| (0..sequences).map(move |s| begin(row, s))).collect()
}

/// Buffers of the choice that are used again at each step.
#[derive(Default)]
struct Choice {
    rules: Vec<Vec<LogitRule>>,
    uniforms: Vec<f32>,
    step: u32,
}

impl Choice {
    /// Of the next step: the rules of each hypothesis, and its number where it draws.
    fn prepare(&mut self, plan: &Plan<'_>, live: &[Hypothesis]) {
        plan.rules.fill(live.iter().map(|h| plan.view(h.row, &h.ids)), &mut self.rules);
        self.uniforms.clear();
        if let Mode::Sample { seed, .. } = &plan.mode {
            let uniform = |h: &Hypothesis| {
                rng::uniform(*seed, plan.rows[h.row].number, h.sequence as u32, self.step)
            };
            self.uniforms.extend(live.iter().map(uniform));
        }
        self.step += 1;
    }

    /// How each hypothesis comes by its id.
    fn pick<'a>(&'a self, plan: &'a Plan<'_>) -> Pick<'a> {
        match &plan.mode {
            Mode::Sample { warp, .. } => Pick::Draw { warp, uniforms: &self.uniforms },
            _ => Pick::Best,
        }
    }

    /// Keeps the likeliest ids of each hypothesis, where they are asked for.
    fn keep_likeliest<B: DecoderOps, S: ?Sized>(
        &self,
        feeder: &mut Feeder<'_, S>,
        backend: &B,
        logits: &B::Tensor,
    ) -> Result<()> {
        feeder.keep_likeliest(backend, logits, ScoreOrder::RulesThenNormalise, &self.rules)
    }
}

/// Gives each hypothesis its id.
fn append(
    plan: &Plan<'_>,
    live: &mut [Hypothesis],
    slots: &[usize],
    chosen: &Picked,
    sink: &mut dyn Sink,
) -> Result<ControlFlow<()>> {
    let mut flow = ControlFlow::Continue(());
    for (i, h) in live.iter_mut().enumerate() {
        let (id, score) = (chosen.ids[i], chosen.scores[i]);
        if !score.is_finite() {
            return Err(no_id_left(h.row));
        }
        h.ended = plan.stop.ends(&h.ids, id, plan.rows[h.row].max_length);
        h.ids.push(id);
        h.log_prob += f64::from(score);
        if plan.keeps_steps() {
            h.steps.push(Step { slot: slots[i], row: i, log_prob: score });
        }
        flow = merge(flow, sink.ids(h.row, h.sequence, &[id]));
    }
    Ok(flow)
}

/// Moves what has ended to the results; `slots` keeps those of the others.
fn retire<S: ?Sized>(
    plan: &Plan<'_>,
    live: &mut Vec<Hypothesis>,
    slots: &mut Vec<usize>,
    feeder: &Feeder<'_, S>,
    results: &mut Results,
    sink: &mut dyn Sink,
) -> ControlFlow<()> {
    let mut flow = ControlFlow::Continue(());
    let mut ended = live.iter().map(|h| h.ended);
    slots.retain(|_| !ended.next().unwrap_or(true));
    for h in live.extract_if(.., |h| h.ended) {
        let score = plan.score(h.row, h.log_prob as f32, h.ids.len());
        let generated = plan.generated(h.row, &h.ids, score, &h.steps, feeder.log());
        flow = merge(flow, results.put(h.row, h.sequence, generated, sink));
    }
    flow
}

/// Break if either is.
fn merge(a: ControlFlow<()>, b: ControlFlow<()>) -> ControlFlow<()> {
    if a.is_break() { a } else { b }
}
