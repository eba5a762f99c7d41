//! Recurrent layers over sequences and step by step, and additive attention.
#![allow(missing_docs)] // criterion's macros

mod compare;

use criterion::{Criterion, criterion_group, criterion_main};
use seq2seq_core::conformance::{Timed, additive::AdditiveAttend, recurrent::Recur};

fn recur(c: &mut Criterion) {
    compare::compare::<Recur>(c, "recurrent", Recur::real());
}

fn additive(c: &mut Criterion) {
    compare::compare::<AdditiveAttend>(c, "recurrent", AdditiveAttend::real());
}

criterion_group!(name = benches; config = compare::criterion(); targets = recur, additive);
criterion_main!(benches);
