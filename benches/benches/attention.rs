//! Attention: whole sequences, steps over a cache, and an encoder's memory.
#![allow(missing_docs)] // criterion's macros

mod compare;

use criterion::{Criterion, criterion_group, criterion_main};
use seq2seq_benches::shapes;
use seq2seq_core::conformance::{attention::Attend, cache::Step, cross::CrossAttend};

fn whole(c: &mut Criterion) {
    compare::compare::<Attend>(c, "attention", shapes::attentions());
}

fn step(c: &mut Criterion) {
    compare::compare::<Step>(c, "attention", shapes::steps());
}

fn memory(c: &mut Criterion) {
    compare::compare::<CrossAttend>(c, "attention", shapes::cross_attentions());
}

criterion_group!(name = benches; config = compare::criterion(); targets = whole, step, memory);
criterion_main!(benches);
