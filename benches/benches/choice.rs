//! The choice of the next token: the best ids, and draws.
#![allow(missing_docs)] // criterion's macros

mod compare;

use criterion::{Criterion, criterion_group, criterion_main};
use seq2seq_core::conformance::{Timed, sample::Draw, sample_k::DrawK, top_k::Choose};

fn best(c: &mut Criterion) {
    compare::compare::<Choose>(c, "choice", Choose::real());
}

fn draw(c: &mut Criterion) {
    compare::compare::<Draw>(c, "choice", Draw::real());
}

fn draw_k(c: &mut Criterion) {
    compare::compare::<DrawK>(c, "choice", DrawK::real());
}

criterion_group!(name = benches; config = compare::criterion(); targets = best, draw, draw_k);
criterion_main!(benches);
