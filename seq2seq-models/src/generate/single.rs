//! Greedy search and sampling: each returned sequence is one hypothesis, which takes the best id or draws one.

use super::{
    DecodeSession, Plan, Sink, feeder::Feeder, log::Step, no_id_left, plan::Mode, results::Results,
    rng,
};
use crate::{Generated, Result};
use seq2seq_core::{DecoderOps, LogitRule, Sampled, ScoreOrder};
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
        let chosen = choice.choose(plan, &backend, &logits, &live)?;
        feeder.keep_likeliest(&backend, &logits, ScoreOrder::RulesThenNormalise, &choice.rules)?;
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
        feeder.reorder(&slots)?;
        logits = feeder.step(live.iter().map(|h| h.ids[h.ids.len() - 1]))?;
        slots.clear();
        slots.extend(0..live.len());
    }
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
    /// An id for each hypothesis and its log-probability.
    fn choose<B: DecoderOps>(
        &mut self,
        plan: &Plan<'_>,
        backend: &B,
        logits: &B::Tensor,
        live: &[Hypothesis],
    ) -> Result<Sampled> {
        plan.rules.fill(live.iter().map(|h| plan.view(h.row, &h.ids)), &mut self.rules);
        let chosen = match &plan.mode {
            Mode::Sample { warp, seed, .. } => {
                let uniform = |h: &Hypothesis| {
                    rng::uniform(*seed, plan.rows[h.row].number, h.sequence as u32, self.step)
                };
                self.uniforms.clear();
                self.uniforms.extend(live.iter().map(uniform));
                backend.sample(logits, &self.rules, warp, &self.uniforms)?
            }
            _ => {
                let order = ScoreOrder::RulesThenNormalise;
                let best = backend.top_k(logits, 1, order, &self.rules)?;
                Sampled { ids: best.ids, scores: best.scores }
            }
        };
        self.step += 1;
        Ok(chosen)
    }
}

/// Gives each hypothesis its id.
fn append(
    plan: &Plan<'_>,
    live: &mut [Hypothesis],
    slots: &[usize],
    chosen: &Sampled,
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
