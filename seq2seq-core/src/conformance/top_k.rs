//! The k best ids: rules, log-softmax, order.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::top_k, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! top_k::matches_reference(&backend)?;
//! top_k::is_batch_invariant(&backend)?;
//! top_k::bears_nan(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```
//!
//! # Cases
//!
//! ```
//! use seq2seq_core::reference::Reference;
//! use seq2seq_core::conformance::{Op, Timed, top_k::{Case, Choose, LOGITS, Logits, ORDERS, Prepared}};
//!
//! // Whatever the logits are like, and whenever they are normalised, the best come first.
//! for (logits, order) in LOGITS.into_iter().flat_map(|logits| ORDERS.map(|order| (logits, order))) {
//!     let case = Case { rows: 2, vocab: 50, k: 3, order, logits, rules: logits != Logits::Banned, seed: 1 };
//!     let mut prepared: Prepared<Reference> = Choose::prepare(&Reference, &case)?;
//!     let best = Choose::call(&Reference, &mut prepared)?;
//!     assert!(best.scores.chunks(3).all(|row| row.is_sorted_by(|a, b| a >= b)));
//!     assert_eq!(Choose::run(&Reference, &case)?[6..], best.scores); // behind the ids
//! }
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

use super::tolerance::{self, Approx};
use super::values::{Profile, Random, values};
use super::{Cases, Failure, Op, Outcome, Timed, bits, each, fail, host, on_host, within};
use crate::reference::{rules, top_k::ranking};
use crate::{Backend, HostTensor, LogitRule, Result, ScoreOrder, SeqBackend, TopK};
use proptest::prelude::*;

/// Every order of log-softmax and rules.
pub const ORDERS: [ScoreOrder; 3] = [
    ScoreOrder::NormaliseThenRules,
    ScoreOrder::NormaliseRulesNormalise,
    ScoreOrder::RulesThenNormalise,
];

/// What the logits look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// As a model gives them: normal, deviation 3.
    Model,
    /// A few whole numbers: many ties.
    Ties,
    /// One value.
    Equal,
    /// Some minus infinity already.
    Banned,
    /// Thousands below and above the others.
    Large,
    /// Around 10³⁰.
    Huge,
}

/// Every kind of logits.
pub const LOGITS: [Logits; 6] =
    [Logits::Model, Logits::Ties, Logits::Equal, Logits::Banned, Logits::Large, Logits::Huge];

/// `[n, vocab]` logits.
pub(super) fn logits(kind: Logits, seed: u64, n: usize, vocab: usize) -> HostTensor {
    let mut random = Random::new(seed + 5);
    let mut x = values(Profile::Normal, seed, n * vocab);
    let constant = x.first().copied().unwrap_or(0.0);
    for v in &mut x {
        *v = match kind {
            Logits::Model => 3.0 * *v,
            Logits::Ties => v.round(),
            Logits::Equal => constant,
            Logits::Banned if random.uniform() < 0.3 => f32::NEG_INFINITY,
            Logits::Banned => *v,
            Logits::Large => 5000.0 * *v,
            Logits::Huge => 1e30 * v.round(),
        };
    }
    host(n, vocab, &x)
}

/// Up to three rules of any kind, each id once in each.
pub(super) fn random_rules(random: &mut Random, vocab: usize) -> Vec<LogitRule> {
    let ids = |random: &mut Random| {
        let mut ids: Vec<u32> = (0..random.below(6)).map(|_| random.below(vocab) as u32).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let rule = |random: &mut Random| match random.below(9) {
        0..=1 => {
            let ids = ids(random);
            LogitRule::Add(ids.into_iter().map(|id| (id, (3.0 * random.normal()) as f32)).collect())
        }
        2..=3 => LogitRule::Penalise { ids: ids(random), penalty: 0.5 + random.uniform() as f32 },
        4..=5 => LogitRule::Ban(ids(random)),
        6..=7 => LogitRule::Grow { ids: ids(random), factor: random.normal() as f32 },
        _ => {
            let mut ids = ids(random);
            ids.push(random.below(vocab) as u32);
            LogitRule::Only(ids)
        }
    };
    (0..random.below(4)).map(|_| rule(random)).collect()
}

/// One choice.
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
    /// Of all values.
    pub seed: u64,
}

impl Case {
    fn logits(&self) -> HostTensor {
        logits(self.logits, self.seed, self.rows, self.vocab)
    }

    fn rules(&self) -> Vec<Vec<LogitRule>> {
        let mut random = Random::new(self.seed + 11);
        match self.rules {
            true => (0..self.rows).map(|_| random_rules(&mut random, self.vocab)).collect(),
            false => Vec::new(),
        }
    }
}

/// A case on a backend.
pub struct Prepared<B: Backend> {
    logits: B::Tensor,
    k: usize,
    order: ScoreOrder,
    rules: Vec<Vec<LogitRule>>,
}

/// [`DecoderOps::top_k`](crate::DecoderOps::top_k).
pub struct Choose;

impl Choose {
    fn choose<B: SeqBackend>(backend: &B, case: &Case) -> Result<TopK> {
        Self::call(backend, &mut Self::prepare(backend, case)?)
    }
}

impl Timed for Choose {
    const NAME: &'static str = "top_k";
    type Prepared<B: SeqBackend> = Prepared<B>;
    type Output<B: SeqBackend> = TopK;

    /// Greedy search, and 4 beams.
    fn real() -> Vec<(String, Case)> {
        let logits = Logits::Model;
        let case =
            |rows, k, order| Case { rows, vocab: 32128, k, order, logits, rules: false, seed: 1 };
        vec![
            ("t5, greedy".into(), case(1, 1, ScoreOrder::RulesThenNormalise)),
            ("t5, 4 beams".into(), case(4, 8, ScoreOrder::NormaliseThenRules)),
        ]
    }

    fn prepare<B: SeqBackend>(backend: &B, case: &Case) -> Result<Prepared<B>> {
        let logits = backend.upload(&case.logits())?;
        Ok(Prepared { logits, k: case.k, order: case.order, rules: case.rules() })
    }

    fn call<B: SeqBackend>(backend: &B, p: &mut Prepared<B>) -> Result<TopK> {
        backend.top_k(&p.logits, p.k, p.order, &p.rules)
    }
}

impl Op for Choose {
    type Case = Case;

    fn run<B: SeqBackend>(backend: &B, case: &Case) -> Result<Vec<f32>> {
        let TopK { ids, scores, .. } = Choose::choose(backend, case)?;
        Ok(ids.into_iter().map(|id| id as f32).chain(scores).collect())
    }
}

impl Cases for Choose {
    fn cases() -> BoxedStrategy<Case> {
        let vocab = prop_oneof![6 => super::width(), 1 => Just(1000usize)];
        let order = proptest::sample::select(&ORDERS[..]);
        let logits = proptest::sample::select(&LOGITS[..]);
        let k = prop_oneof![3 => Just(1usize), 5 => 2..=16usize, 1 => Just(usize::MAX)];
        (0..=6usize, vocab, k, order, logits, any::<bool>(), 0..1000u64)
            .prop_map(|(rows, vocab, k, order, logits, rules, seed)| Case {
                rows,
                vocab,
                k: k.min(vocab),
                order,
                logits,
                rules,
                seed,
            })
            .boxed()
    }
}

/// The bound of a score that a rule changes.
fn change(rule: &LogitRule, scores: &mut [Approx]) {
    let exact = |v: f32| Approx::exact(v);
    let ban = exact(f32::NEG_INFINITY);
    match rule {
        LogitRule::Add(pairs) => {
            for &(id, v) in pairs {
                scores[id as usize] = scores[id as usize].plus(exact(v));
            }
        }
        LogitRule::Penalise { ids, penalty } => {
            for &id in ids {
                let s = &mut scores[id as usize];
                let by = if s.value < 0.0 { *penalty } else { penalty.recip() };
                // Within its error of 0 it may be multiplied or divided; the reciprocal here is rounded.
                let either = f64::from(penalty.max(penalty.recip()));
                let doubt = if s.value.abs() <= s.error { 2.0 * s.error * either } else { 0.0 };
                *s = s.times(exact(by)).times(exact(1.0));
                s.error += doubt;
            }
        }
        LogitRule::Ban(ids) => ids.iter().for_each(|&id| scores[id as usize] = ban),
        LogitRule::Only(ids) => {
            scores.fill(ban);
            ids.iter().for_each(|&id| scores[id as usize] = exact(0.0));
        }
        LogitRule::Grow { ids, factor } => {
            for &id in ids {
                let s = scores[id as usize];
                if s.value == f64::NEG_INFINITY {
                    continue;
                }
                let size = Approx::new(s.value.abs(), s.error);
                // A score and its own magnitude: their errors do not cancel.
                scores[id as usize] = s.plus(size.times(exact(*factor)));
            }
        }
    }
}

/// The bound of the score that every id of one row has once the rules are applied.
pub(super) fn ruled(logits: &[f32], rule_list: &[LogitRule], order: ScoreOrder) -> Vec<Approx> {
    if order == ScoreOrder::RulesThenNormalise {
        // Rules on logits are f32 operations, the same everywhere.
        let mut ruled = logits.to_vec();
        rules::apply(rule_list, &mut ruled);
        return ruled.into_iter().map(Approx::exact).collect();
    }
    let mut scores = tolerance::log_softmax(logits, 0.0);
    rule_list.iter().for_each(|rule| change(rule, &mut scores));
    scores
}

/// The bounds of the log-softmax of scores that are within bounds.
pub(super) fn normalised(scores: &[Approx]) -> Vec<Approx> {
    let rounded: Vec<f32> = scores.iter().map(|s| s.value as f32).collect();
    let doubtful = scores.iter().filter(|s| s.value.is_finite() && s.error > 0.0);
    let error = doubtful.map(|s| s.error + tolerance::U * s.value.abs()).fold(0.0, f64::max);
    tolerance::log_softmax(&rounded, error)
}

/// The bound of the score of every id of one row.
fn bounds(logits: &[f32], rule_list: &[LogitRule], order: ScoreOrder) -> Vec<Approx> {
    let scores = ruled(logits, rule_list, order);
    match order {
        ScoreOrder::NormaliseThenRules => scores,
        _ => normalised(&scores),
    }
}

/// `order` is best first over distinct ids, and each score is what its id and its rank allow.
fn check_row(logits: &[f32], bounds: &[Approx], ids: &[u32], scores: &[f32]) -> Outcome {
    let mut seen = vec![false; bounds.len()];
    for &id in ids {
        match seen.get_mut(id as usize) {
            Some(seen @ false) => *seen = true,
            _ => return fail(format!("id {id} twice or out of range in {ids:?}")),
        }
    }
    let chosen: Vec<Approx> = ids.iter().map(|&id| bounds[id as usize]).collect();
    within("score of an id", &chosen, scores)?;
    for i in 1..ids.len() {
        // Of equal scores the lower id comes first, unless they are only equal once rounded.
        let logit = |i: usize| logits[ids[i] as usize];
        let in_order = ids[i - 1] < ids[i] || logit(i - 1) > logit(i);
        if scores[i - 1] < scores[i] || (scores[i - 1] == scores[i] && !in_order) {
            return fail(format!("{ids:?} with {scores:?} are out of order at {i}"));
        }
    }
    // The r-th best of values that are each off by at most their error.
    let ranked = |sign: f64| {
        let shift =
            |b: &Approx| if b.value.is_finite() { b.value + sign * b.error } else { b.value };
        let mut shifted: Vec<f64> = bounds.iter().map(shift).collect();
        shifted.sort_by(|a, b| b.total_cmp(a));
        shifted
    };
    let (least, most) = (ranked(-1.0), ranked(1.0));
    match (0..scores.len()).find(|&r| !(least[r]..=most[r]).contains(&f64::from(scores[r]))) {
        None => Ok(()),
        Some(r) => fail(format!(
            "score {} is not that of rank {r}, {} to {}",
            scores[r], least[r], most[r]
        )),
    }
}

/// After rules on logits the ids are those of the reference exactly; otherwise every rank has a score that the
/// error of a log-softmax allows.
pub fn matches_reference<B: SeqBackend>(backend: &B) -> Outcome {
    each(Choose::cases(), |case| {
        let (got, logits, rule_lists) =
            (Choose::choose(backend, case)?, case.logits().to_f32(), case.rules());
        if got.k != case.k
            || got.ids.len() != case.rows * case.k
            || got.scores.len() != got.ids.len()
        {
            return fail(format!("{} ids for {} rows", got.ids.len(), case.rows));
        }
        for (n, logits) in logits.chunks(case.vocab).enumerate() {
            let rule_list = rule_lists.get(n).map_or(&[][..], Vec::as_slice);
            let range = n * case.k..(n + 1) * case.k;
            let (ids, scores) = (&got.ids[range.clone()], &got.scores[range]);
            let bounds = bounds(logits, rule_list, case.order);
            let row = |f: Failure| Failure(format!("row {n}: {f}"));
            if case.order == ScoreOrder::RulesThenNormalise {
                let mut ruled = logits.to_vec();
                rules::apply(rule_list, &mut ruled);
                let best = &ranking(&ruled)[..case.k];
                if ids != best {
                    return fail(format!("row {n}: {ids:?}, expected {best:?}"));
                }
                let chosen: Vec<Approx> = ids.iter().map(|&id| bounds[id as usize]).collect();
                within("score of an id", &chosen, scores).map_err(row)?;
            } else {
                check_row(logits, &bounds, ids, scores).map_err(row)?;
            }
        }
        Ok(())
    })
}

/// A row alone gives the ids and bits that it gives among the others.
pub fn is_batch_invariant<B: SeqBackend>(backend: &B) -> Outcome {
    each(Choose::cases(), |case| {
        let (whole, logits, rule_lists) =
            (Choose::choose(backend, case)?, case.logits(), case.rules());
        for n in 0..case.rows {
            let x = backend.upload(&super::rows_of(&logits, [n]))?;
            let rules = rule_lists.get(n..n + 1).unwrap_or_default();
            let got = backend.top_k(&x, case.k, case.order, rules)?;
            let range = n * case.k..(n + 1) * case.k;
            if got.ids != whole.ids[range.clone()] {
                return fail(format!("row {n} alone: {:?}, not {:?}", got.ids, &whole.ids[range]));
            }
            bits(&format!("scores of row {n} alone"), &whole.scores[range], &got.scores)?;
        }
        Ok(())
    })
}

/// A row with NaN has NaN scores and ids that are still ids; the other rows stay as they are.
pub fn bears_nan<B: SeqBackend>(backend: &B) -> Outcome {
    each((Choose::cases(), any::<prop::sample::Index>()), |(case, at)| {
        if case.rows == 0 {
            return Ok(());
        }
        let case = Case { logits: Logits::Model, rules: false, ..case.clone() };
        let at = at.index(case.rows * case.vocab);
        let mut x = case.logits().to_f32();
        x[at] = f32::NAN;
        let mut got = TopK::default();
        on_host(backend, &host(case.rows, case.vocab, &x), |x| {
            got = backend.top_k(x, case.k, case.order, &[])?;
            backend.gather_rows(x, &[])
        })?;
        let mut expected = Choose::choose(backend, &case)?;
        let row = at / case.vocab * case.k..(at / case.vocab + 1) * case.k;
        let mut ids = got.ids[row.clone()].to_vec();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < case.k || ids.iter().any(|&id| id as usize >= case.vocab) {
            return fail(format!("ids {:?} beside NaN", &got.ids[row]));
        }
        expected.scores[row.clone()].fill(f32::NAN);
        expected.ids[row.clone()].copy_from_slice(&got.ids[row]);
        match expected.ids == got.ids {
            true => bits("scores", &expected.scores, &got.scores),
            false => fail("NaN in one row changed another".into()),
        }
    })
}
