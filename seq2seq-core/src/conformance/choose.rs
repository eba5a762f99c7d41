//! Choosing one id a row, and looking up what was chosen before the host need know it.

use super::sample::{Case, Draw};
use super::values::{Profile, Random, tensor, values};
use super::{Cases, Outcome, bits, each, fail, host, width};
use crate::{
    DType, Error, Lookup, Pick, Result, Sampled, ScoreOrder, SeqBackend, TopK, Warp, backend::check,
};
use proptest::prelude::*;

/// Ids and log-probabilities.
fn same(what: &str, expected: &Sampled, got: &Sampled) -> Outcome {
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
        let expected: Result<Sampled, Error> = Err(check::nothing_to_draw(1));
        if drawn() != expected {
            return fail(format!("{bad} in a row drew {:?}", drawn()));
        }
    }
    Ok(())
}
