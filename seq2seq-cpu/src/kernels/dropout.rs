//! The factors of one row under dropout.

use crate::{
    isa::Isa,
    simd::{self, Simd},
};
use seq2seq_core::train::Dropout;

struct Mask<'a> {
    dropout: Dropout,
    row: usize,
    out: &'a mut [f32],
}

impl simd::Kernel for Mask<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.dropout.factors(self.row, self.out);
    }
}

/// For each column of `row` 0 or the scale of what is kept.
pub(crate) fn mask(isa: Isa, dropout: Dropout, row: usize, out: &mut [f32]) {
    simd::dispatch(isa, Mask { dropout, row, out });
}
