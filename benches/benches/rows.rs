//! What is done to rows: embedding, normalising, pooling, and the windows of convolutions.
#![allow(missing_docs)] // criterion's macros

mod compare;

use criterion::{Criterion, criterion_group, criterion_main};
use seq2seq_core::conformance::{Timed, embed::Embed, norm::Norm, pool::Pooling, windows::Seen};

fn embed(c: &mut Criterion) {
    compare::compare::<Embed>(c, "rows", Embed::real());
}

fn norm(c: &mut Criterion) {
    compare::compare::<Norm>(c, "rows", Norm::real());
}

fn pool(c: &mut Criterion) {
    compare::compare::<Pooling>(c, "rows", Pooling::real());
}

fn windows(c: &mut Criterion) {
    compare::compare::<Seen>(c, "rows", Seen::real());
}

criterion_group!(name = benches; config = compare::criterion(); targets = embed, norm, pool, windows);
criterion_main!(benches);
