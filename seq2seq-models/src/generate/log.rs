//! What is kept of every step, until it is known which hypotheses are returned.

use crate::Choice;
use seq2seq_core::TopK;

/// How one id of a hypothesis came about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// The hypothesis of the session that it was chosen from.
    pub(super) slot: usize,
    /// The row of scores that it was chosen from: `slot`, but in the first step of several sequences of one source.
    pub(super) row: usize,
    /// What it added to the score.
    pub(super) log_prob: f32,
}

/// Cross-attention and likeliest ids of the steps so far, each as far as it is asked for.
#[derive(Default)]
pub(super) struct StepLog {
    /// `[step][layer][hypothesis]`, each `[head][source position]` flattened.
    weights: Vec<Vec<Vec<Vec<f32>>>>,
    /// `[step]`, each with a row a hypothesis.
    likeliest: Vec<TopK>,
}

impl StepLog {
    /// Keeps what `DecodeSession::take_weights` gave after a step.
    pub(super) fn keep_weights(&mut self, weights: Vec<Vec<Vec<f32>>>) {
        self.weights.push(weights);
    }

    /// Keeps the likeliest ids of each hypothesis of a step.
    pub(super) fn keep_likeliest(&mut self, top: TopK) {
        self.likeliest.push(top);
    }

    /// `[token][layer][head][source position]`, the last two flattened, of a sequence whose token t came about by
    /// `steps[t]`.
    pub(super) fn weights(&self, steps: &[Step]) -> Vec<Vec<Vec<f32>>> {
        let layer = |rows: &Vec<Vec<f32>>, row: usize| rows.get(row).cloned().unwrap_or_default();
        let step = |(layers, step): (&Vec<Vec<Vec<f32>>>, &Step)| {
            layers.iter().map(|rows| layer(rows, step.slot)).collect()
        };
        self.weights.iter().zip(steps).map(step).collect()
    }

    /// The choices of such a sequence.
    pub(super) fn choices(&self, steps: &[Step]) -> Vec<Choice> {
        let choice = |(top, step): (&TopK, &Step)| {
            let entries = step.row * top.k..(step.row + 1) * top.k;
            let ids = top.ids.get(entries.clone()).unwrap_or_default();
            let scores = top.scores.get(entries).unwrap_or_default();
            let likeliest = ids.iter().copied().zip(scores.iter().copied()).collect();
            Choice { log_prob: step.log_prob, likeliest }
        };
        self.likeliest.iter().zip(steps).map(choice).collect()
    }
}
