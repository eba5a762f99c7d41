//! Layers of whole models, beside the cases of the conformance suite, which have few of each.

mod linear;

pub use linear::{linears, linears_in_fewer_bytes, products, some_linears_in_fewer_bytes};

use seq2seq_core::conformance::{Timed, attention, cache::Step, cross, groups::Groups};
use seq2seq_core::{BucketSpec, Precision};

/// Of T5-base, BERT-base and GPT-2.
const HEADS: usize = 12;

/// An attention in bf16.
fn in_bf16((name, case): (String, attention::Case)) -> (String, attention::Case) {
    (format!("{name}, bf16"), attention::Case { precision: Precision::Bf16, ..case })
}

/// Attention within sequences: the suite's, an encoder of T5-base, and GPT-2; some in bf16, and an encoder's batch as a GPU takes it.
pub fn attentions() -> Vec<(String, attention::Case)> {
    let buckets = BucketSpec { buckets: 32, max_distance: 128, bidirectional: true };
    let t5 = |n: usize| {
        let case = attention::Case::plain(vec![n], HEADS, HEADS);
        (format!("t5-base, {n}"), attention::Case { buckets: Some(buckets), ..case })
    };
    let gpt2 = |n: usize| {
        let case = attention::Case::plain(vec![n], HEADS, HEADS);
        (format!("gpt-2, {n}"), attention::Case { causal: true, ..case })
    };
    let models = [t5(64), t5(512), gpt2(128), gpt2(1024)];
    let bert = |name: &str, lengths| {
        (format!("bert-base, {name}"), attention::Case::plain(lengths, HEADS, HEADS))
    };
    let batch = bert("32 of 16 to 512", (1..=32).map(|i| i * 16).collect());
    let encoders = [t5(64), t5(512), bert("512", vec![512]), batch];
    let models = models.into_iter().chain(encoders.map(in_bf16)).chain([in_bf16(gpt2(1024))]);
    attention::Attend::real().into_iter().chain(models).collect()
}

/// Steps over a cache: the suite's, and GPT-2 with one hypothesis and with 8, also in bf16, as is LLaMA, whose heads share keys.
pub fn steps() -> Vec<(String, attention::Case)> {
    let gpt2 = |context: usize, rows: usize| {
        let case = attention::Case::plain(vec![context; rows], HEADS, HEADS);
        (format!("gpt-2, {rows} of context {context}"), case)
    };
    let models = [gpt2(128, 1), gpt2(1024, 1), gpt2(512, 8)];
    let llama = attention::Case { rotary: Some(true), ..attention::Case::plain(vec![1024], 32, 4) };
    let llama = ("tinyllama, context 1024".to_string(), llama);
    let models = models.into_iter().chain([gpt2(1024, 1), gpt2(512, 8), llama].map(in_bf16));
    Step::real().into_iter().chain(models).collect()
}

/// Attention to a memory: the suite's, also in bf16, and whole targets, as when a text is scored.
pub fn cross_attentions() -> Vec<(String, cross::Case)> {
    let whole = |source: usize, target: usize| {
        let groups = Groups { lengths: vec![source], rows: vec![target] };
        let name = format!("t5-base, {target} rows, source {source}");
        let heads = HEADS;
        let case = cross::Case {
            groups,
            heads,
            kv_heads: heads,
            head_dim: 64,
            sharpness: 1.0,
            precision: Precision::F32,
            seed: 1,
        };
        (name, case)
    };
    let in_bf16 = |(name, case): (String, cross::Case)| {
        (format!("{name}, bf16"), cross::Case { precision: Precision::Bf16, ..case })
    };
    let suite = cross::CrossAttend::real;
    let whole = [whole(64, 64), whole(512, 128)];
    suite().into_iter().chain(whole).chain(suite().into_iter().map(in_bf16)).collect()
}
