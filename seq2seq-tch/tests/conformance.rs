//! The conformance suite on libtorch's CPU operations.

use seq2seq_tch::{Precision, Tch, TchOptions};

fn tch(precision: Precision) -> Tch {
    Tch::new(TchOptions { precision, threads: Some(2), ..TchOptions::default() })
        .expect("libtorch computes on the processor")
}

mod exact {
    use super::Precision;
    seq2seq_core::conformance_suite!(Some(super::tch(Precision::Exact)));
    seq2seq_core::training_suite!(Some(super::tch(Precision::Exact)));
}
