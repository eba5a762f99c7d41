//! Drawing ids: rules, warps, the inverse of the cumulative distribution.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::sample, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! sample::matches_reference(&backend)?;
//! sample::is_batch_invariant(&backend)?;
//! sample::follows_the_distribution(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{Warp, reference::Reference};
//! use seq2seq_core::conformance::{Timed, sample::{Case, Draw, Prepared}, top_k::Logits};
//!
//! let warp = Warp { top_p: 0.9, ..Warp::default() };
//! let case = Case { rows: 4, vocab: 100, logits: Logits::Model, rules: true, warp, seed: 1 };
//! let mut prepared: Prepared<Reference> = Draw::prepare(&Reference, &case)?;
//! let drawn = Draw::call(&Reference, &mut prepared)?;
//! // A draw is a function: the same random numbers draw the same ids.
//! assert_eq!((drawn.ids.len(), &drawn), (4, &Draw::call(&Reference, &mut prepared)?));
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::tolerance::{self, Approx};
use super::top_k::{LOGITS, Logits, logits, random_rules};
use super::values::Random;
use super::{Cases, Op, Outcome, Timed, bits, each, fail, rows_of, within};
use crate::reference::{rules, sample as oracle, top_k::log_softmax};
use crate::{Backend, HostTensor, LogitRule, Result, Sampled, SeqBackend, Warp};
use proptest::prelude::*;

/// Draws, one a row.
#[derive(Debug, Clone)]
pub struct Case {
    /// N
    pub rows: usize,
    /// V
    pub vocab: usize,
    /// The logits.
    pub logits: Logits,
    /// Whether rows have rules.
    pub rules: bool,
    /// Which part of the distribution.
    pub warp: Warp,
    /// Of all values.
    pub seed: u64,
}

impl Case {
    pub(super) fn logits(&self) -> HostTensor {
        logits(self.logits, self.seed, self.rows, self.vocab)
    }

    pub(super) fn rules(&self) -> Vec<Vec<LogitRule>> {
        let mut random = Random::new(self.seed + 13);
        // Never so many that nothing is left.
        let list = |_| {
            let rules = random_rules(&mut random, self.vocab);
            let mut left = vec![0.0; self.vocab];
            rules::apply(&rules, &mut left);
            let enough = left.iter().any(|s| *s > f32::NEG_INFINITY);
            if self.vocab > 20 && enough { rules } else { Vec::new() }
        };
        if self.rules { (0..self.rows).map(list).collect() } else { Vec::new() }
    }

    pub(super) fn uniforms(&self) -> Vec<f32> {
        let mut random = Random::new(self.seed + 17);
        let draw = |_| match random.below(8) {
            0 => 0.0,
            1 => 1.0 - f32::EPSILON / 2.0,
            _ => (random.uniform() as f32).min(1.0 - f32::EPSILON / 2.0),
        };
        (0..self.rows).map(draw).collect()
    }
}

/// A case on a backend.
pub struct Prepared<B: Backend> {
    logits: B::Tensor,
    rules: Vec<Vec<LogitRule>>,
    warp: Warp,
    uniforms: Vec<f32>,
}

/// Any warp; most of its parts are off.
pub(super) fn warp() -> impl Strategy<Value = Warp> {
    let or = |off: f32, on: std::ops::Range<f32>| prop_oneof![3 => Just(off), 2 => on];
    let top_k = prop_oneof![3 => Just(0usize), 2 => 1..60usize];
    let cuts = (or(0.0, 0.001..0.3), or(0.0, 0.001..0.3));
    let keep = (top_k, prop_oneof![2 => Just(1usize), 1 => 2..=4usize]);
    let shares = (or(1.0, 0.1..0.99), or(0.0, 0.01..0.9), or(1.0, 0.1..0.99));
    (or(1.0, 0.3..2.0), keep, shares, cuts).prop_map(
        |(
            temperature,
            (top_k, min_keep),
            (top_p, min_p, typical_p),
            (epsilon_cutoff, eta_cutoff),
        )| {
            Warp {
                temperature,
                top_k,
                top_p,
                min_p,
                typical_p,
                epsilon_cutoff,
                eta_cutoff,
                min_keep,
            }
        },
    )
}

/// [`DecoderOps::sample`](crate::DecoderOps::sample).
pub struct Draw;

impl Draw {
    fn draw<B: SeqBackend>(backend: &B, case: &Case) -> Result<Sampled> {
        Self::call(backend, &mut Self::prepare(backend, case)?)
    }
}

impl Timed for Draw {
    const NAME: &'static str = "sample";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = Sampled;

    fn real() -> Vec<(String, Case)> {
        let logits = Logits::Model;
        let case = |warp| Case { rows: 1, vocab: 32128, logits, rules: false, warp, seed: 1 };
        let top_k = Warp { top_k: 50, ..Warp::default() };
        vec![
            ("t5, all".into(), case(Warp::default())),
            ("t5, top 50".into(), case(top_k)),
            ("t5, top 50, p 0.95".into(), case(Warp { top_p: 0.95, ..top_k })),
        ]
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Prepared<B>> {
        let logits = backend.upload(&case.logits())?;
        Ok(Prepared { logits, rules: case.rules(), warp: case.warp, uniforms: case.uniforms() })
    }

    fn call<B: SeqBackend>(backend: &B, p: &mut Prepared<B>) -> Result<Sampled> {
        backend.sample(&p.logits, &p.rules, &p.warp, &p.uniforms)
    }
}

impl Op for Draw {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        let Sampled { ids, scores } = Draw::draw(backend, case)?;
        Ok(ids.into_iter().map(|id| id as f32).chain(scores).collect())
    }
}

impl Cases for Draw {
    fn cases() -> BoxedStrategy<Case> {
        let vocab = prop_oneof![4 => super::width(), 1 => Just(500usize)];
        let logits =
            prop_oneof![3 => Just(Logits::Model), 2 => proptest::sample::select(&LOGITS[..])];
        (0..=6usize, vocab, logits, any::<bool>(), warp(), 0..1000u64)
            .prop_map(|(rows, vocab, logits, rules, warp, seed)| {
                // With 30 % banned, one id in 17 rows of 2 or 3 would have none left.
                let logits = if vocab < 20 { Logits::Model } else { logits };
                Case { rows, vocab, logits, rules, warp, seed }
            })
            .boxed()
    }
}

/// What the reference draws from scores that rules have passed, and the scores that it drew from.
fn decide(scores: &[f32], warp: &Warp, uniform: f64) -> Option<(u32, Vec<f32>)> {
    let mut warped = scores.to_vec();
    oracle::apply(warp, &mut warped);
    oracle::draw(&warped, uniform).map(|(id, _)| (id, warped))
}

/// How far off a probability or a sum of probabilities may be: the error of a log-probability that is not negligible,
/// and that of adding V of them twice over (the sum of the softmax, the cumulative one).
pub(super) fn doubt(scores: &[f32], temperature: f32) -> f64 {
    let scaled: Vec<f32> = scores.iter().map(|s| s / temperature).collect();
    let bounds = tolerance::log_softmax(&scaled, 0.0);
    let errors = bounds.iter().filter(|b| b.value > -25.0).map(|b| b.error);
    errors.fold(0.0, f64::max) + tolerance::gamma(2 * scores.len())
}

/// `warp` with its thresholds moved by `off(n)`, the n-th by its own.
pub(super) fn moved(warp: &Warp, off: impl Fn(u64) -> f32) -> Warp {
    let within =
        |v: f32, none: f32, moved: f32| if v == none { v } else { moved.clamp(1e-6, 1.0 - 1e-6) };
    Warp {
        top_p: within(warp.top_p, 1.0, warp.top_p + off(1)),
        min_p: within(warp.min_p, 0.0, warp.min_p * (1.0 + off(2))),
        typical_p: within(warp.typical_p, 1.0, warp.typical_p + off(3)),
        epsilon_cutoff: within(warp.epsilon_cutoff, 0.0, warp.epsilon_cutoff * (1.0 + off(4))),
        eta_cutoff: within(warp.eta_cutoff, 0.0, warp.eta_cutoff * (1.0 + off(5))),
        ..*warp
    }
}

/// The choice of the reference, unless it hangs on rounding: it must stay the same when every logit, threshold and the
/// uniform are moved by more than a correct backend may be off. Equal logits are moved alike, so ties stay ties.
fn settled(scores: &[f32], warp: &Warp, uniform: f32) -> Option<(u32, Vec<f32>)> {
    let (id, warped) = decide(scores, warp, f64::from(uniform))?;
    let step = 4.0 * doubt(scores, warp.temperature);
    let kept = |scores: &[f32]| scores.iter().map(|s| *s > f32::NEG_INFINITY).collect::<Vec<_>>();
    for trial in 0..12u64 {
        let sign = |salt: u64| -> f32 {
            let bit = Random::new(salt ^ (trial << 40)).bits() & 1;
            (if bit == 0 { step } else { -step }) as f32
        };
        let jittered: Vec<f32> = scores
            .iter()
            .map(|&s| s + sign(u64::from(s.to_bits()) + 100) * warp.temperature)
            .collect();
        let moved = moved(warp, sign);
        let uniform = (f64::from(uniform) + f64::from(sign(6))).clamp(0.0, 1.0 - 1e-12);
        let (other, other_warped) = decide(&jittered, &moved, uniform)?;
        if other != id || kept(&warped) != kept(&other_warped) {
            return None;
        }
    }
    Some((id, warped))
}

fn ruled(case: &Case) -> Vec<Vec<f32>> {
    let (logits, lists) = (case.logits().to_f32(), case.rules());
    let row = |(n, row): (usize, &[f32])| {
        let mut row = row.to_vec();
        rules::apply(lists.get(n).map_or(&[][..], Vec::as_slice), &mut row);
        row
    };
    logits.chunks(case.vocab).enumerate().map(row).collect()
}

/// Ids are those of the reference, except where rounding decides; their log-probabilities lie within the bound of a
/// log-softmax.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(Draw::cases(), |case| {
        let got = Draw::draw(backend, case)?;
        if got.ids.len() != case.rows || got.scores.len() != case.rows {
            return fail(format!("{} ids for {} rows", got.ids.len(), case.rows));
        }
        for (n, (scores, uniform)) in ruled(case).iter().zip(case.uniforms()).enumerate() {
            let Some((id, warped)) = settled(scores, &case.warp, uniform) else { continue };
            if got.ids[n] != id {
                return fail(format!("row {n}: id {}, expected {id}", got.ids[n]));
            }
            let bound: Approx = tolerance::log_softmax(&warped, 0.0)[id as usize];
            within(&format!("log-probability of row {n}"), &[bound], &got.scores[n..=n])?;
        }
        Ok(())
    })
}

/// A row alone draws the id that it draws among the others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(Draw::cases(), |case| {
        let (whole, logits) = (Draw::draw(backend, case)?, case.logits());
        let (rule_lists, uniforms) = (case.rules(), case.uniforms());
        for n in 0..case.rows {
            let x = backend.upload(&rows_of(&logits, [n]))?;
            let rules = rule_lists.get(n..n + 1).unwrap_or_default();
            let got = backend.sample(&x, rules, &case.warp, &uniforms[n..=n])?;
            if got.ids != whole.ids[n..=n] {
                return fail(format!("row {n} alone: {:?}, not {}", got.ids, whole.ids[n]));
            }
            bits("its log-probability", &whole.scores[n..=n], &got.scores)?;
        }
        Ok(())
    })
}

/// Uniforms spread evenly over [0, 1) draw each id in proportion: a count is off by one for each end of the id's
/// interval that falls between two of them, and by the error of the cumulative sums.
pub fn follows_the_distribution<B: SeqBackend>(backend: &B) -> Outcome {
    const DRAWS: usize = 1000;
    let uniforms: Vec<f32> = (0..DRAWS).map(|i| (i as f32 + 0.5) / DRAWS as f32).collect();
    each((1..=60usize, warp(), 0..1000u64), |&(vocab, warp, seed)| {
        let row = logits(Logits::Model, seed, 1, vocab);
        let scores = row.to_f32();
        let Some((_, warped)) = settled(&scores, &warp, 0.0) else { return Ok(()) };
        let x = backend.upload(&rows_of(&row, std::iter::repeat_n(0, DRAWS)))?;
        let mut counts = vec![0usize; vocab];
        for id in backend.sample(&x, &[], &warp, &uniforms)?.ids {
            counts[id as usize] += 1;
        }
        let allowed = 1.0 + 2.0 * DRAWS as f64 * doubt(&scores, warp.temperature);
        for (id, l) in log_softmax(&warped).iter().enumerate() {
            let expected = DRAWS as f64 * l.exp();
            if (counts[id] as f64 - expected).abs() > allowed {
                return fail(format!("id {id} drawn {} times, expected {expected}", counts[id]));
            }
        }
        Ok(())
    })
}
