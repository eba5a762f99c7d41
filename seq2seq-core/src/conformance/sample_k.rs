//! Drawing k ids without replacement: log-softmax, rules, warps, noise, order.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::sample_k, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! sample_k::matches_reference(&backend)?;
//! sample_k::is_batch_invariant(&backend)?;
//! sample_k::bears_rows_without_a_distribution(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::{ScoreOrder, Warp, reference::Reference};
//! use seq2seq_core::conformance::{Timed, sample_k::{Case, DrawK, Prepared}, top_k::Logits};
//!
//! // Eight draws for each of four beams; no id comes twice in a row.
//! let case = Case {
//!     rows: 4, vocab: 100, k: 8, order: ScoreOrder::NormaliseThenRules, logits: Logits::Model, rules: false,
//!     warp: Warp::default(), seed: 1,
//! };
//! let mut prepared: Prepared<Reference> = DrawK::prepare(&Reference, &case)?;
//! let drawn = DrawK::call(&Reference, &mut prepared)?;
//! for row in drawn.ids.chunks(drawn.k) {
//!     assert!(row.iter().enumerate().all(|(i, id)| !row[..i].contains(id)));
//! }
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::sample::{doubt, moved, warp};
use super::tolerance::Approx;
use super::top_k::{LOGITS, Logits, ORDERS, logits, normalised, random_rules, ruled};
use super::values::Random;
use super::{Cases, Op, Outcome, Timed, bits, each, fail, rows_of, within};
use crate::reference::{sample, sample_k as oracle};
use crate::{Backend, HostTensor, LogitRule, Result, ScoreOrder, SeqBackend, TopK, Warp};
use proptest::prelude::*;

/// Draws, k a row.
#[derive(Debug, Clone)]
pub struct Case {
    /// N
    pub rows: usize,
    /// V
    pub vocab: usize,
    /// Entries a row.
    pub k: usize,
    /// When the log-softmax is taken.
    pub order: ScoreOrder,
    /// The logits.
    pub logits: Logits,
    /// Whether rows have rules.
    pub rules: bool,
    /// Which part of the distribution.
    pub warp: Warp,
    /// Of all values and of the noise.
    pub seed: u64,
}

impl Case {
    fn logits(&self) -> HostTensor {
        logits(self.logits, self.seed, self.rows, self.vocab)
    }

    fn rules(&self) -> Vec<Vec<LogitRule>> {
        let mut random = Random::new(self.seed + 19);
        match self.rules {
            true => (0..self.rows).map(|_| random_rules(&mut random, self.vocab)).collect(),
            false => Vec::new(),
        }
    }

    fn seeds(&self) -> Vec<u64> {
        let mut random = Random::new(self.seed + 23);
        (0..self.rows).map(|_| random.bits()).collect()
    }
}

/// A case on a backend.
pub struct Prepared<B: Backend> {
    logits: B::Tensor,
    rules: Vec<Vec<LogitRule>>,
    seeds: Vec<u64>,
    case: Case,
}

/// [`DecoderOps::sample_k`](crate::DecoderOps::sample_k).
pub struct DrawK;

impl DrawK {
    fn draw<B: SeqBackend>(backend: &B, case: &Case) -> Result<TopK> {
        Self::call(backend, &mut Self::prepare(backend, case)?)
    }
}

impl Timed for DrawK {
    const NAME: &'static str = "sample_k";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = TopK;

    /// 4 beams.
    fn real() -> Vec<(String, Case)> {
        let (logits, order) = (Logits::Model, ScoreOrder::NormaliseThenRules);
        let off = Warp { min_keep: 2, ..Warp::default() };
        let case =
            |warp| Case { rows: 4, vocab: 32128, k: 8, order, logits, rules: false, warp, seed: 1 };
        let top_k = case(Warp { top_k: 50, ..off });
        vec![("t5, 4 beams, all".into(), case(off)), ("t5, 4 beams, top 50".into(), top_k)]
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Prepared<B>> {
        let logits = backend.upload(&case.logits())?;
        Ok(Prepared { logits, rules: case.rules(), seeds: case.seeds(), case: case.clone() })
    }

    fn call<B: SeqBackend>(backend: &B, p: &mut Prepared<B>) -> Result<TopK> {
        let Case { k, order, warp, .. } = &p.case;
        backend.sample_k(&p.logits, *k, *order, &p.rules, warp, &p.seeds)
    }
}

impl Op for DrawK {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        let TopK { ids, scores, .. } = DrawK::draw(backend, case)?;
        Ok(ids.into_iter().map(|id| id as f32).chain(scores).collect())
    }
}

impl Cases for DrawK {
    fn cases() -> BoxedStrategy<Case> {
        let vocab = prop_oneof![4 => super::width(), 1 => Just(500usize)];
        let order = proptest::sample::select(&ORDERS[..]);
        let logits =
            prop_oneof![3 => Just(Logits::Model), 2 => proptest::sample::select(&LOGITS[..])];
        let k = prop_oneof![1 => Just(1usize), 5 => 2..=16usize, 1 => Just(usize::MAX)];
        (0..=6usize, (vocab, k), order, logits, any::<bool>(), warp(), 0..1000u64)
            .prop_map(|(rows, (vocab, k), order, logits, rules, warp, seed)| {
                let k = k.min(vocab);
                Case { rows, vocab, k, order, logits, rules, warp, seed }
            })
            .boxed()
    }
}

/// What the reference makes of scores within `bounds`, each moved by several times its error, equal ones alike:
/// the ids that it draws, and which are left by the warp.
fn drawn(case: &Case, bounds: &[Approx], seed: u64, trial: u64) -> (Vec<u32>, Vec<bool>) {
    let sign = |salt: u64| match Random::new(salt ^ (trial << 40)).bits() & 1 {
        _ if trial == 0 => 0.0,
        0 => 4.0,
        _ => -4.0,
    };
    let scores: Vec<f32> = bounds.iter().map(|b| b.value as f32).collect();
    let step = doubt(&scores, case.warp.temperature) as f32;
    let move_by = |score: f32, like: f32, error: f64| match score.is_finite() {
        true => score + (sign(u64::from(like.to_bits()) + 100) * error) as f32,
        false => score,
    };
    let shift = |(&s, b): (&f32, &Approx)| move_by(s, s, b.error);
    let mut moved_scores: Vec<f32> = scores.iter().zip(bounds).map(shift).collect();
    if moved_scores.iter().any(|s| *s > f32::NEG_INFINITY) {
        sample::apply(&moved(&case.warp, |n| sign(n) as f32 * step), &mut moved_scores);
    }
    let kept: Vec<bool> = moved_scores.iter().map(|s| *s > f32::NEG_INFINITY).collect();
    // Noise is added to what these have become: beside 1e30, as some begin, it would be lost.
    let left = warped(case, bounds, &kept);
    let shift = |(b, &s): (&Approx, &f32)| move_by(b.value as f32, s, b.error);
    let left: Vec<f32> = left.iter().zip(&scores).map(shift).collect();
    let mut ids = oracle::draws(&left, seed);
    ids.truncate(case.k);
    (ids, kept)
}

/// The bound of the score of each id once `kept` of `bounds` have passed the warp.
fn warped(case: &Case, bounds: &[Approx], kept: &[bool]) -> Vec<Approx> {
    let temperature = Approx::exact(1.0 / f64::from(case.warp.temperature));
    let divide = |(b, kept): (&Approx, &bool)| match kept {
        true => b.times(temperature),
        false => Approx::exact(f32::NEG_INFINITY),
    };
    let scores: Vec<Approx> = bounds.iter().zip(kept).map(divide).collect();
    match case.order {
        ScoreOrder::NormaliseThenRules => scores,
        _ => normalised(&scores),
    }
}

/// Ids and their order are those of the reference, except where rounding decides; scores lie within their bounds.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(DrawK::cases(), |case| {
        let got = DrawK::draw(backend, case)?;
        let (logits, lists) = (case.logits().to_f32(), case.rules());
        let count = case.rows * case.k;
        if (got.k, got.ids.len(), got.scores.len()) != (case.k, count, count) {
            return fail(format!("{} ids for {} rows", got.ids.len(), case.rows));
        }
        for (n, (logits, seed)) in logits.chunks(case.vocab).zip(case.seeds()).enumerate() {
            let rule_list = lists.get(n).map_or(&[][..], Vec::as_slice);
            let bounds = ruled(logits, rule_list, case.order);
            let (ids, kept) = drawn(case, &bounds, seed, 0);
            let settled =
                (1..12).all(|t| drawn(case, &bounds, seed, t) == (ids.clone(), kept.clone()));
            let row = n * case.k..(n + 1) * case.k;
            if !settled {
                let mut distinct = got.ids[row.clone()].to_vec();
                distinct.sort_unstable();
                distinct.dedup();
                if distinct.len() < case.k || distinct.iter().any(|&id| id as usize >= case.vocab) {
                    return fail(format!("row {n}: {:?} are not ids", &got.ids[row]));
                }
                continue;
            }
            if got.ids[row.clone()] != ids {
                return fail(format!("row {n}: {:?}, expected {ids:?}", &got.ids[row]));
            }
            let scores = warped(case, &bounds, &kept);
            let chosen: Vec<Approx> = ids.iter().map(|&id| scores[id as usize]).collect();
            within(&format!("scores of row {n}"), &chosen, &got.scores[row])?;
        }
        Ok(())
    })
}

/// A row alone draws the ids that it draws among the others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(DrawK::cases(), |case| {
        let (whole, logits) = (DrawK::draw(backend, case)?, case.logits());
        let (rule_lists, seeds) = (case.rules(), case.seeds());
        for (n, seed) in seeds.iter().enumerate() {
            let x = backend.upload(&rows_of(&logits, [n]))?;
            let rules = rule_lists.get(n..n + 1).unwrap_or_default();
            let got = backend.sample_k(&x, case.k, case.order, rules, &case.warp, &[*seed])?;
            let row = n * case.k..(n + 1) * case.k;
            if got.ids != whole.ids[row.clone()] {
                return fail(format!("row {n} alone: {:?}, not {:?}", got.ids, &whole.ids[row]));
            }
            bits(&format!("scores of row {n} alone"), &whole.scores[row], &got.scores)?;
        }
        Ok(())
    })
}

/// A row with NaN has NaN scores and ids that are still ids; one whose ids are all banned has minus infinity. The other
/// rows stay as they are.
pub fn bears_rows_without_a_distribution<B: SeqBackend>(backend: &B) -> Outcome {
    each((DrawK::cases(), any::<prop::sample::Index>()), |(case, at)| {
        if case.rows == 0 {
            return Ok(());
        }
        let case = Case { logits: Logits::Model, rules: false, ..case.clone() };
        let (values, seeds) = (case.logits().to_f32(), case.seeds());
        let expected = DrawK::draw(backend, &case)?;
        let hit = at.index(values.len());
        let row = hit / case.vocab;
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (mut values, mut expected) = (values.clone(), expected.clone());
            match bad {
                f32::NEG_INFINITY => values[row * case.vocab..][..case.vocab].fill(bad),
                _ => values[hit] = bad,
            }
            let x = backend.upload(&super::host(case.rows, case.vocab, &values))?;
            let got = backend.sample_k(&x, case.k, case.order, &[], &case.warp, &seeds)?;
            let entries = row * case.k..(row + 1) * case.k;
            expected.ids[entries.clone()].iter_mut().zip(0..).for_each(|(id, i)| *id = i);
            expected.scores[entries].fill(if bad < 0.0 { bad } else { f32::NAN });
            if got.ids != expected.ids {
                return fail(format!("{bad}: ids {:?}, expected {:?}", got.ids, expected.ids));
            }
            bits("scores", &expected.scores, &got.scores)?;
        }
        Ok(())
    })
}
