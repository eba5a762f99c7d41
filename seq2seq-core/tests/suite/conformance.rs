//! The suite on the reference itself.

use seq2seq_core::conformance::{Outcome, same_bits};
use seq2seq_core::reference::Reference;

seq2seq_core::conformance_suite!(Some(Reference));
seq2seq_core::training_suite!(Some(Reference));

#[test]
fn two_references_give_the_same_bits() -> Outcome {
    same_bits(&Reference, &Reference)?;
    seq2seq_core::conformance::train::same_bits(&Reference, &Reference)
}
