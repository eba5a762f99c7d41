//! The operations of training over the layers of a step: what each is given, and the least that it asks of a machine.
//!
//! [`each`] goes through every method of [`TrainBackend`](seq2seq_core::train::TrainBackend),
//! [`TrainRecurrentOps`](seq2seq_core::train::TrainRecurrentOps) and [`OptimiserOps`](seq2seq_core::train::OptimiserOps), in
//! each format that the method has. Cases are made of these methods alone and of a [`Size`]; what is timed is checked by
//! [`training_suite`](seq2seq_core::training_suite) on the same backends.
//!
//! Gradients are begun, not added to, as most of a step are: where a case adds to one, its name says so.

mod additive;
pub(crate) mod attention;
pub(crate) mod data;
mod embed;
mod linear;
mod loss;
mod norm;
mod optimiser;
mod recurrent;
mod rows;
mod windows;

use crate::bench::Bench;
use seq2seq_core::train::Dropout;

/// Of every case that drops.
const DROPOUT: Dropout = Dropout { rate: 0.1, seed: 1, step: 1, place: 1 };

/// Operations of dropout on an element: the comparison, the product, and a quarter of the ten rounds of Philox that have the
/// bits of four elements: two products and four exclusive ors a round.
const DROPPING: usize = 2 + 10 * 6 / 4;

/// How large models and batches are.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// M of a transformer.
    pub width: usize,
    /// H
    pub heads: usize,
    /// F
    pub feed_forward: usize,
    /// V
    pub vocabulary: usize,
    /// Sequences of a batch.
    pub sequences: usize,
    /// Positions of each.
    pub source: usize,
    /// Positions of each target.
    pub target: usize,
    /// M of a recurrent model.
    pub recurrent: usize,
    /// Sequences of its batch.
    pub sentences: usize,
    /// Positions of each.
    pub words: usize,
}

impl Size {
    /// T5-base and BERT-base, which are equally wide, over 8 sequences; LSTM and GRU of 1024 over 32 sentences.
    pub const BASE: Self = Self {
        width: 768,
        heads: 12,
        feed_forward: 3072,
        vocabulary: 32128,
        sequences: 8,
        source: 128,
        target: 64,
        recurrent: 1024,
        sentences: 32,
        words: 32,
    };

    /// N of an encoder.
    fn rows(&self) -> usize {
        self.sequences * self.source
    }

    /// N of a decoder, and of the logits.
    fn target_rows(&self) -> usize {
        self.sequences * self.target
    }
}

/// An operation of training.
pub trait Training: Bench {
    /// Its cases, by name.
    fn cases(size: &Size) -> Vec<(String, Self::Case)>;
}

/// What is done with each operation.
pub trait Visit {
    /// What may go wrong.
    type Error;

    /// Once an operation.
    ///
    /// # Errors
    /// Ends the visit.
    fn visit<O: Training>(&mut self) -> Result<(), Self::Error>;
}

/// Visits every operation of training.
///
/// # Errors
/// The first of the visitor.
pub fn each<V: Visit>(visitor: &mut V) -> Result<(), V::Error> {
    visitor.visit::<linear::PackMasters>()?;
    visitor.visit::<linear::Repack>()?;
    visitor.visit::<linear::LinearForward>()?;
    visitor.visit::<linear::LinearBackward>()?;
    visitor.visit::<embed::EmbedMasters>()?;
    visitor.visit::<embed::EmbedBackward>()?;
    visitor.visit::<norm::RenewNorm>()?;
    visitor.visit::<norm::NormBackward>()?;
    visitor.visit::<attention::RenewRelativeBias>()?;
    visitor.visit::<attention::AttendForward>()?;
    visitor.visit::<attention::AttendBackward>()?;
    visitor.visit::<attention::CrossAttendForward>()?;
    visitor.visit::<attention::CrossAttendBackward>()?;
    visitor.visit::<rows::GatherRowsBackward>()?;
    visitor.visit::<rows::PoolBackward>()?;
    visitor.visit::<rows::ApplyDropout>()?;
    visitor.visit::<rows::Add>()?;
    visitor.visit::<loss::CrossEntropy>()?;
    visitor.visit::<recurrent::PackRecurrent>()?;
    visitor.visit::<recurrent::RepackRecurrent>()?;
    visitor.visit::<recurrent::RecurForward>()?;
    visitor.visit::<recurrent::RecurBackward>()?;
    visitor.visit::<recurrent::RecurWeightsBackward>()?;
    visitor.visit::<rows::ColumnsBackward>()?;
    visitor.visit::<rows::StackRowsBackward>()?;
    visitor.visit::<windows::WindowsBackward>()?;
    visitor.visit::<additive::RenewAdditive>()?;
    visitor.visit::<additive::AdditiveAttendForward>()?;
    visitor.visit::<additive::AdditiveAttendBackward>()?;
    visitor.visit::<optimiser::Zeros>()?;
    visitor.visit::<optimiser::SumOfSquares>()?;
    visitor.visit::<optimiser::AdamWStep>()?;
    visitor.visit::<optimiser::SgdStep>()?;
    visitor.visit::<optimiser::AdafactorStep>()?;
    visitor.visit::<optimiser::MuonStep>()
}

#[cfg(test)]
mod tests;
