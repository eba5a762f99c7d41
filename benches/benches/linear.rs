//! Linear layers: those of the conformance suite and of whole models, in each format.
#![allow(missing_docs)] // criterion's macros

mod compare;

use criterion::{Criterion, criterion_group, criterion_main};
use seq2seq_benches::shapes;
use seq2seq_core::conformance::linear::Linear;

fn linear(c: &mut Criterion) {
    compare::compare::<Linear>(c, "linear", shapes::linears());
}

criterion_group!(name = benches; config = compare::criterion(); targets = linear);
criterion_main!(benches);
