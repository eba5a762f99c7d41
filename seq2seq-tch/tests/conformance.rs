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

/// As PyTorch computes: within the same bounds in f32. Not asked of it are the same bits in another batch, and layers in bf16,
/// whose results it rounds to bf16.
mod native {
    use super::Precision;
    use seq2seq_core::conformance::{
        Outcome, additive, attention, columns, cross, embed, errors, norm, pool, sample, sample_k,
        top_k,
    };
    use seq2seq_tch::Tch;

    fn holds(check: fn(&Tch) -> Outcome) -> Outcome {
        check(&super::tch(Precision::Native))
    }

    #[test]
    fn rows_match_reference() -> Outcome {
        holds(norm::matches_reference)?;
        holds(norm::propagates_nan)?;
        holds(embed::matches_reference)?;
        holds(pool::matches_reference)?;
        holds(pool::gather_rows_copies)?;
        holds(columns::columns_copies)?;
        holds(columns::stack_rows_copies)
    }

    #[test]
    fn attention_matches_reference() -> Outcome {
        holds(attention::matches_reference)?;
        holds(cross::matches_reference)?;
        holds(cross::weights_sum_to_one)?;
        holds(additive::matches_reference)
    }

    #[test]
    fn choices_match_reference() -> Outcome {
        holds(top_k::matches_reference)?;
        holds(top_k::bears_nan)?;
        holds(sample::matches_reference)?;
        holds(sample_k::matches_reference)
    }

    #[test]
    fn errors_are_those_of_the_reference() -> Outcome {
        holds(errors::are_those_of_the_reference)?;
        holds(errors::empty_batches_are_allowed)
    }
}
