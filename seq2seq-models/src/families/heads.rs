//! The heads that families share.

use crate::plan::{DensePlan, HeadKind, HeadPlan, OutputPlan, PoolRow, Presence};
use seq2seq_core::Activation;

/// The rows of the last stack; with a pooler (tanh of a square layer on the first row) where the checkpoint has one.
pub(super) fn hidden(pooler: bool) -> HeadPlan {
    let dense = DensePlan {
        width: None,
        activation: Activation::Tanh,
        norm: false,
        presence: Presence::IfStored,
        dropout: 0.0,
    };
    HeadPlan {
        kind: HeadKind::Hidden,
        pool: pooler.then_some(PoolRow::First),
        dropout: 0.0,
        dense: pooler.then_some(dense),
        output: None,
    }
}

/// Scores for the next token.
pub(super) fn language(vocab: usize, tied: bool, bias: Presence, scale: f32) -> HeadPlan {
    let output = OutputPlan { width: vocab, bias, tied, scale };
    HeadPlan {
        kind: HeadKind::Language,
        pool: None,
        dropout: 0.0,
        dense: None,
        output: Some(output),
    }
}

/// Scores for the token at each position: dense, activation, norm, then the table of the tokens with a bias. That table's width is
/// the stack's, or it is given.
pub(super) fn masked_language(
    vocab: usize,
    width: Option<usize>,
    activation: Activation,
    tied: bool,
) -> HeadPlan {
    HeadPlan {
        kind: HeadKind::MaskedLanguage,
        pool: None,
        dropout: 0.0,
        dense: Some(DensePlan {
            width,
            activation,
            norm: true,
            presence: Presence::Always,
            dropout: 0.0,
        }),
        output: Some(OutputPlan { width: vocab, bias: Presence::Always, tied, scale: 1.0 }),
    }
}

/// Scores for the classes of a sequence, from one of its rows. Elements are dropped of that row, and of what the square layer
/// gives.
pub(super) fn classify(
    pool: PoolRow,
    activation: Activation,
    classes: usize,
    dropout: [f32; 2],
) -> HeadPlan {
    let [row, dense] = dropout;
    HeadPlan {
        kind: HeadKind::Classify,
        pool: Some(pool),
        dropout: row,
        dense: Some(DensePlan {
            width: None,
            activation,
            norm: false,
            presence: Presence::Always,
            dropout: dense,
        }),
        output: Some(own(classes)),
    }
}

/// Scores for the classes of each token.
pub(super) fn tag(classes: usize) -> HeadPlan {
    rows(HeadKind::Tag, classes)
}

/// A score of each token, from a layer with an activation and one of one column.
pub(super) fn replaced(activation: Activation) -> HeadPlan {
    let dense = DensePlan {
        width: None,
        activation,
        norm: false,
        presence: Presence::Always,
        dropout: 0.0,
    };
    HeadPlan { dense: Some(dense), ..rows(HeadKind::Replaced, 1) }
}

/// Scores for the start and the end of an answer.
pub(super) fn answer() -> HeadPlan {
    rows(HeadKind::Answer, 2)
}

/// An output layer on every row. What is dropped of rows is the stack's matter ([`DropoutPlan::last`]).
///
/// [`DropoutPlan::last`]: crate::plan::DropoutPlan::last
fn rows(kind: HeadKind, width: usize) -> HeadPlan {
    HeadPlan { kind, pool: None, dropout: 0.0, dense: None, output: Some(own(width)) }
}

fn own(width: usize) -> OutputPlan {
    OutputPlan { width, bias: Presence::Always, tied: false, scale: 1.0 }
}
