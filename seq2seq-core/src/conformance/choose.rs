//! Choosing ids, and looking up what was chosen before the host need know it.
//!
//! # Checks
//!
//! ```
//! use seq2seq_core::{conformance::choose, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! choose::gives_the_bits_of_top_k_and_sample(&backend)?;
//! choose::embed_chosen_gives_the_bits_of_embed(&backend)?;
//! choose::bears_rows_without_a_distribution(&backend)?;
//! choose::beams_go_on_with_the_best(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```

use super::sample::{Case, Draw};
use super::top_k::LOGITS;
use super::values::{Profile, Random, tensor, values};
use super::{Cases, Outcome, bits, each, fail, host, width};
use crate::{
    Beams, DType, Error, Lookup, Pick, Picked, Result, Sampled, ScoreOrder, SeqBackend, TopK, Warp,
    backend::check,
};
use proptest::prelude::*;

/// Ids and log-probabilities of hypotheses of which each goes on.
fn same(what: &str, expected: &Sampled, got: &Picked) -> Outcome {
    if got.continued.is_some() {
        return fail(format!("{what}: hypotheses continue others"));
    }
    if expected.ids != got.ids {
        return fail(format!("{what}: ids {:?}, expected {:?}", got.ids, expected.ids));
    }
    bits(what, &expected.scores, &got.scores)
}

/// What the operation gives that waits for the ids.
fn waiting<B: SeqBackend>(backend: &B, case: &Case, best: bool) -> Result<Sampled> {
    let (x, rules) = (backend.upload(&case.logits())?, case.rules());
    if !best {
        return backend.sample(&x, &rules, &case.warp, &case.uniforms());
    }
    let TopK { ids, scores, .. } = backend.top_k(&x, 1, ScoreOrder::RulesThenNormalise, &rules)?;
    Ok(Sampled { ids, scores })
}

fn choose<B: SeqBackend>(backend: &B, case: &Case, best: bool) -> Result<B::Chosen> {
    let (x, uniforms) = (backend.upload(&case.logits())?, case.uniforms());
    let draw = Pick::Draw { warp: &case.warp, uniforms: &uniforms };
    backend.choose(&x, &case.rules(), if best { &Pick::Best } else { &draw })
}

/// Whoever waits has the bits of [`top_k`](crate::DecoderOps::top_k) or [`sample`](crate::DecoderOps::sample), as often as it is
/// asked for.
pub fn gives_the_bits_of_top_k_and_sample<B: SeqBackend>(backend: &B) -> Outcome {
    each((Draw::cases(), any::<bool>()), |(case, best)| {
        let chosen = choose(backend, case, *best)?;
        let expected = waiting(backend, case, *best)?;
        same("chosen", &expected, &backend.chosen(&chosen)?)?;
        same("chosen, again", &expected, &backend.chosen(&chosen)?)
    })
}

/// What was chosen is looked up as ids that the host knows, up to so many other tables beside it; whether the ids are waited
/// for before, behind, or never.
pub fn embed_chosen_gives_the_bits_of_embed<B: SeqBackend>(backend: &B) -> Outcome {
    let dtype = proptest::sample::select(&[DType::F32, DType::F16, DType::BF16][..]);
    let cases = (Draw::cases(), any::<bool>(), width(), 0..=5usize, dtype);
    each(cases, |(case, best, width, others, dtype)| {
        let mut random = Random::new(case.seed + 23);
        let mut table = |rows: usize| {
            let x = values(Profile::Normal, random.bits(), rows * width);
            backend.embedding(&tensor(*dtype, vec![rows, *width], &x))
        };
        let (own, more) = (table(case.vocab)?, random_rows(case, *others));
        let more: Vec<_> =
            more.into_iter().map(|(rows, ids)| Ok((table(rows)?, ids))).collect::<Result<_>>()?;
        let others: Vec<_> =
            more.iter().map(|(table, ids)| Lookup { table, ids, scale: 0.5 }).collect();
        let known = waiting(backend, case, *best)?;
        let mut lookups = vec![Lookup { table: &own, ids: &known.ids, scale: 1.5 }];
        lookups.extend_from_slice(&others);
        let expected = backend.download(&backend.embed(&lookups)?)?;
        let chosen = choose(backend, case, *best)?;
        let unseen = backend.embed_chosen((&own, 1.5), &chosen, &others)?;
        same("chosen, behind", &known, &backend.chosen(&chosen)?)?;
        let seen = backend.embed_chosen((&own, 1.5), &chosen, &others)?;
        drop(chosen);
        for x in [&unseen, &seen] {
            bits("embed_chosen", &expected, &backend.download(x)?)?;
        }
        Ok(())
    })
}

/// Rows of other tables, and ids in them.
fn random_rows(case: &Case, tables: usize) -> Vec<(usize, Vec<u32>)> {
    let mut random = Random::new(case.seed + 29);
    let mut table = |_| {
        let rows = 1 + random.below(40);
        (rows, (0..case.rows).map(|_| random.below(rows) as u32).collect())
    };
    (0..tables).map(&mut table).collect()
}

/// A draw from a row without a distribution fails as [`sample`](crate::DecoderOps::sample) does, at once or when it is waited for,
/// and may be looked up before; the best id of such a row is what [`top_k`](crate::DecoderOps::top_k) gives.
pub fn bears_rows_without_a_distribution<B: SeqBackend>(backend: &B) -> Outcome {
    const VOCAB: usize = 7;
    let table = backend.embedding(&host(VOCAB, 3, &[1.0; 3 * VOCAB]))?;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut logits = vec![0.5; 3 * VOCAB];
        match bad == f32::NEG_INFINITY {
            true => logits[VOCAB..2 * VOCAB].fill(bad),
            false => logits[VOCAB + 4] = bad,
        }
        let x = backend.upload(&host(3, VOCAB, &logits))?;
        let best = backend.choose(&x, &[], &Pick::Best)?;
        backend.embed_chosen((&table, 1.0), &best, &[])?;
        let TopK { ids, scores, .. } = backend.top_k(&x, 1, ScoreOrder::RulesThenNormalise, &[])?;
        same("the best", &Sampled { ids, scores }, &backend.chosen(&best)?)?;
        let draw = Pick::Draw { warp: &Warp::default(), uniforms: &[0.3; 3] };
        let drawn = || {
            let chosen = backend.choose(&x, &[], &draw)?;
            backend.download(&backend.embed_chosen((&table, 1.0), &chosen, &[])?)?;
            backend.chosen(&chosen)
        };
        let expected: Result<Picked, Error> = Err(check::nothing_to_draw(1));
        if drawn() != expected {
            return fail(format!("{bad} in a row drew {:?}", drawn()));
        }
    }
    Ok(())
}

/// A step of a beam search of random size: the scores of its hypotheses, often equal, some of them those of placeholders.
#[derive(Debug)]
struct Step {
    /// The logits of all hypotheses and their rules.
    case: Case,
    width: usize,
    k: usize,
    keep: usize,
    order: ScoreOrder,
    endings: Vec<u32>,
}

impl Step {
    fn cases() -> impl Strategy<Value = Self> {
        let sizes = (1..=4usize, 1..=9usize, prop_oneof![2..=12usize, 13..=300usize, Just(5000)]);
        let kinds = (proptest::sample::select(&LOGITS[..]), any::<bool>(), 0..1000u64);
        const ORDERS: &[ScoreOrder] = &[
            ScoreOrder::NormaliseThenRules,
            ScoreOrder::NormaliseRulesNormalise,
            ScoreOrder::RulesThenNormalise,
        ];
        let spec = (1..=20usize, 1..=4usize, 0..=3usize, proptest::sample::select(ORDERS));
        (sizes, kinds, spec).prop_map(
            |((sources, width, vocab), (logits, rules, seed), (k, each, endings, order))| {
                let case = Case {
                    rows: sources * width,
                    vocab,
                    logits,
                    rules,
                    warp: Warp::default(),
                    seed,
                };
                let mut random = Random::new(seed + 31);
                // Low ids are the best of equal ones.
                let mut below = |n: usize| random.below(n.min(8)) as u32;
                let endings = (0..endings).map(|_| below(vocab)).collect();
                Self { case, width, k: k.min(vocab), keep: each * width, order, endings }
            },
        )
    }

    fn scores(&self) -> Vec<f32> {
        let mut random = Random::new(self.case.seed + 37);
        let mut score = |_| match random.below(10) {
            0 => 0.0,
            1 => Beams::ENDED,
            2..=5 => -0.5,
            _ => -4.0 * random.uniform() as f32 - 0.1,
        };
        (0..self.case.rows).map(&mut score).collect()
    }
}

/// The ids are those of [`top_k`](crate::DecoderOps::top_k), and the hypotheses that go on those of [`Beams`], whichever are
/// equal or end; they are looked up and followed as those that the host knows.
pub fn beams_go_on_with_the_best<B: SeqBackend>(backend: &B) -> Outcome {
    each(Step::cases(), |step| {
        let Step { case, width, k, keep, order, endings } = step;
        let (x, rules, scores) = (backend.upload(&case.logits())?, case.rules(), step.scores());
        let beams =
            Beams { width: *width, k: *k, keep: *keep, order: *order, scores: &scores, endings };
        let top = backend.top_k(&x, *k, *order, &rules)?;
        let chosen = backend.choose(&x, &rules, &Pick::Beams(beams))?;
        let table = values(Profile::Normal, case.seed, case.vocab * 3);
        let table = backend.embedding(&host(case.vocab, 3, &table))?;
        let state = values(Profile::Normal, case.seed + 1, case.rows * 5);
        let state = backend.upload(&host(case.rows, 5, &state))?;
        let embedded = backend.embed_chosen((&table, 1.5), &chosen, &[])?;
        let Some(gathered) = backend.gather_chosen(&state, &chosen)? else {
            return fail("gather_chosen: hypotheses continue themselves".into());
        };
        let picked = backend.chosen(&chosen)?;
        if picked.ids != top.ids {
            return fail(format!("ids {:?}, expected {:?}", picked.ids, top.ids));
        }
        bits("scores", &top.scores, &picked.scores)?;
        let expected = beams.continued(&top);
        if picked.continued.as_ref() != Some(&expected) {
            return fail(format!("{:?} go on, expected {expected:?}", picked.continued));
        }
        let lookup = Lookup { table: &table, ids: &expected.ids, scale: 1.5 };
        let rows = backend.download(&backend.embed(&[lookup])?)?;
        bits("embed_chosen", &rows, &backend.download(&embedded)?)?;
        let rows = backend.download(&backend.gather_rows(&state, &expected.parents)?)?;
        bits("gather_chosen", &rows, &backend.download(&gathered)?)
    })?;
    bears_nan(backend)
}

/// Scores that are not numbers are given, and whatever goes on there is a hypothesis of the same source.
fn bears_nan<B: SeqBackend>(backend: &B) -> Outcome {
    for (at, scores) in [(2, [-1.0; 6]), (40, [f32::NAN, -1.0, -1.0, -1.0, -1.0, f32::NAN])] {
        let mut logits = vec![0.5; 6 * 7];
        logits[at] = f32::NAN;
        let x = backend.upload(&host(6, 7, &logits))?;
        let order = ScoreOrder::NormaliseThenRules;
        let beams = Beams { width: 3, k: 4, keep: 6, order, scores: &scores, endings: &[1] };
        let picked = backend.chosen(&backend.choose(&x, &[], &Pick::Beams(beams))?)?;
        let ids_are = picked.next_ids().len() == 6 && picked.next_ids().iter().all(|&id| id < 7);
        let Some(parents) = picked.parents() else { return fail("nobody goes on".into()) };
        let sources: Vec<usize> = parents.iter().map(|parent| parent / 3).collect();
        if !ids_are || sources != [0, 0, 0, 1, 1, 1] {
            return fail(format!("{:?} go on", picked.continued));
        }
        let nan = picked.scores[at / 7 * 4..][..4].iter().all(|score| score.is_nan());
        if !nan {
            return fail(format!("NaN is hidden in {:?}", picked.scores));
        }
    }
    Ok(())
}
