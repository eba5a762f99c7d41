//! The operations of training: forward with what is kept, back, the loss, and the steps of the optimisers.
#![allow(missing_docs)] // criterion's macros

mod compare;

use criterion::{Criterion, criterion_group, criterion_main};
use seq2seq_benches::training::{self, Size, Training, Visit};
use std::convert::Infallible;

struct Compare<'a>(&'a mut Criterion);

impl Visit for Compare<'_> {
    type Error = Infallible;

    fn visit<O: Training>(&mut self) -> Result<(), Infallible> {
        compare::compare::<O>(self.0, "training", O::cases(&Size::BASE));
        Ok(())
    }
}

fn training(c: &mut Criterion) {
    let Ok(()) = training::each(&mut Compare(c));
}

criterion_group!(name = benches; config = compare::criterion(); targets = training);
criterion_main!(benches);
