//! The conformance suite on libtorch's CPU operations.
#![deny(unused_macro_rules)]

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

/// In f32 all of it within the same bounds, but for the bits of a row in another batch: libtorch's products of matrices sum in
/// another order when there are more rows or fewer, or when the same rows begin at another address.
mod native {
    use super::{Precision, tch};
    use seq2seq_core::conformance::{Outcome, cache};

    macro_rules! check {
        // A row or a sequence alone and in a batch.
        (linear_is_batch_invariant: $check:path) => {};
        (attend_is_batch_invariant: $check:path) => {};
        (cache_is_batch_invariant: $check:path) => {};
        (cross_attend_is_batch_invariant: $check:path) => {};
        (additive_attend_is_batch_invariant: $check:path) => {};
        (recur_is_batch_invariant: $check:path) => {};
        // A sequence in pieces of other sizes.
        (recur_in_pieces_gives_the_bits_of_the_whole: $check:path) => {};
        (cache_gives_the_bits_of_the_whole: $check:path) => {};
        (cache_reorders_as_if_recomputed: $check:path) => {};
        (cache_follows_what_was_chosen: $check:path) => {};
        ($test:ident: $check:path) => {
            #[test]
            fn $test() -> Outcome {
                $check(&tch(Precision::Native))
            }
        };
    }
    seq2seq_core::conformance_suite!(each check);
    seq2seq_core::training_suite!(each check);
    // In place of the last two.
    check!(cache_steps_match_reference: cache::steps_match_reference);
}
