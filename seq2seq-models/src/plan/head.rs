//! What is made of the last stack's rows.

use super::Presence;
use seq2seq_core::Activation;

/// What the result of a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeadKind {
    /// The rows of the last stack.
    Hidden,
    /// Scores for the next token.
    Language,
    /// Scores for the token at each position.
    MaskedLanguage,
    /// Scores for the classes of a sequence.
    Classify,
    /// Scores for the classes of each token.
    Tag,
    /// A score of each token, above 0 where another is likely to have stood in its place (ELECTRA's discriminator).
    Replaced,
    /// Scores for the start and the end of an answer.
    Answer,
}

/// What is made of the last stack's rows, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadPlan {
    /// What the result means.
    pub kind: HeadKind,
    /// Takes one row of each sequence.
    pub pool: Option<PoolRow>,
    /// In training, the rate at which elements of that row are dropped.
    pub dropout: f32,
    /// A layer before the output.
    pub dense: Option<DensePlan>,
    /// The output layer.
    pub output: Option<OutputPlan>,
}

/// Which row stands for a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolRow {
    /// The first.
    First,
    /// That of the last token with this id in the input (PARITY trap 24).
    LastOf(u32),
}

/// A layer of a head before its output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DensePlan {
    /// Columns that it gives; M where absent.
    pub width: Option<usize>,
    /// Applied to its result.
    pub activation: Activation,
    /// Normalises what the activation gave.
    pub norm: bool,
    /// A pooler that bare models may have been saved without.
    pub presence: Presence,
    /// In training, the rate at which elements of what the activation gave are dropped.
    pub dropout: f32,
}

/// The output layer of a head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutputPlan {
    /// Classes, or V.
    pub width: usize,
    /// Whether it has a bias.
    pub bias: Presence,
    /// Whether it is the table of the tokens where the checkpoint has no matrix of its own.
    pub tied: bool,
    /// Multiplies the product before the bias (PARITY trap 5).
    pub scale: f32,
}
