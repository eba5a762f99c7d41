//! Two instances of a backend, such as one with one thread and one with two.

use super::groups::Groups;
use super::{
    Cases, Outcome, Timed, additive, attention, bits, cache, cases_on, cross, each, embed, linear,
    norm, pool, recurrent, sample, sample_k, top_k, windows,
};
use crate::{BucketSpec, Pool, Precision, SeqBackend, Warp};

fn compare<O: Cases>(a: &impl SeqBackend, b: &impl SeqBackend, large: Vec<O::Case>) -> Outcome {
    let same = |case: &O::Case| bits("the second backend", &O::run(a, case)?, &O::run(b, case)?);
    for case in &large {
        same(case).map_err(|f| super::Failure(format!("{f}\n{case:?}")))?;
    }
    each(cases_on::<O>(a), same)
}

/// Every operation gives the same bits on both backends: on the generated cases, and on some that are large enough
/// for work to be divided.
///
/// ```
/// use seq2seq_core::{SeqBackend, conformance::{Outcome, same_bits}};
///
/// /// `on` gives the backend with so many threads.
/// fn threads_change_no_bit<B: SeqBackend>(on: impl Fn(usize) -> B) -> Outcome {
///     same_bits(&on(1), &on(2))?;
///     same_bits(&on(1), &on(3))
/// }
/// ```
pub fn same_bits(a: &impl SeqBackend, b: &impl SeqBackend) -> Outcome {
    let layer = |format| {
        [1, 5, 130].map(|rows| linear::Case {
            format,
            residual: true,
            activation: Some(crate::Activation::Gelu),
            ..linear::Case::plain(rows, 300, 1000)
        })
    };
    compare::<linear::Linear>(a, b, a.formats().iter().copied().flat_map(layer).collect())?;

    let (_, norm) = norm::Norm::real().swap_remove(0);
    compare::<norm::Norm>(a, b, vec![norm::Case { rows: 500, ..norm }])?;
    let tables = vec![embed::Table { rows: 90, dtype: crate::DType::F32, scale: 2.0 }; 2];
    compare::<embed::Embed>(a, b, vec![embed::Case { rows: 500, width: 768, tables, seed: 1 }])?;
    let pooled = pool::Case { lengths: vec![100; 9], width: 768, pool: Pool::Mean, seed: 1 };
    compare::<pool::Pooling>(a, b, vec![pooled])?;

    let (_, sound) = windows::Seen::real().swap_remove(0);
    compare::<windows::Seen>(a, b, vec![sound])?;

    let attention = attention::Case {
        head_dim: 40,
        causal: true,
        rotary: Some(true),
        buckets: Some(BucketSpec { buckets: 32, max_distance: 128, bidirectional: false }),
        ..attention::Case::plain(vec![150, 3, 64], 6, 3)
    };
    compare::<attention::Attend>(a, b, vec![attention.clone()])?;
    compare::<cache::Step>(a, b, vec![attention.clone()])?;
    let decoding = cache::Case { attention, layers: 2, beams: 5, steps: 6, most: 1 };
    compare::<cache::Decode>(a, b, vec![decoding])?;
    let step = cross::Case {
        groups: Groups { lengths: vec![200, 90], rows: vec![1; 12] },
        heads: 8,
        kv_heads: 8,
        head_dim: 64,
        sharpness: 1.0,
        precision: Precision::F32,
        seed: 1,
    };
    compare::<cross::CrossAttend>(a, b, vec![step])?;

    let (_, recur) = recurrent::Recur::real().swap_remove(0);
    let recur = |format| recurrent::Case {
        lengths: vec![9, 3, 5],
        width: 300,
        directions: 2,
        format,
        ..recur.clone()
    };
    compare::<recurrent::Recur>(a, b, a.formats().iter().copied().map(recur).collect())?;
    let step = additive::Case {
        groups: Groups { lengths: vec![200, 90], rows: vec![1; 12] },
        keys: 200,
        width: 300,
        sharpness: 1.0,
        seed: 1,
    };
    compare::<additive::AdditiveAttend>(a, b, vec![step])?;

    let logits = top_k::Logits::Model;
    let choice =
        |order| top_k::Case { rows: 5, vocab: 9000, k: 10, order, logits, rules: true, seed: 1 };
    compare::<top_k::Choose>(a, b, top_k::ORDERS.map(choice).into())?;
    let warp = Warp { top_p: 0.9, ..Warp::default() };
    let draw = sample::Case { rows: 5, vocab: 9000, logits, rules: true, warp, seed: 1 };
    compare::<sample::Draw>(a, b, vec![draw])?;
    let order = crate::ScoreOrder::NormaliseThenRules;
    let draws =
        sample_k::Case { rows: 5, vocab: 9000, k: 10, order, logits, rules: true, warp, seed: 1 };
    compare::<sample_k::DrawK>(a, b, vec![draws])
}
