//! Requests and results of a loaded model.

/// What one call of a model reads: sequences of unequal lengths, no padding.
#[derive(Debug, Clone, Default)]
pub struct Forward {
    /// Token ids of each sequence (encoder input, or the text of a decoder-only model).
    pub input_ids: Vec<Vec<u32>>,
    /// Segment ids, as long as `input_ids`; zeros where absent.
    pub token_type_ids: Option<Vec<Vec<u32>>>,
    /// Ids given to the decoder of an encoder-decoder; an error for other models.
    pub decoder_input_ids: Option<Vec<Vec<u32>>>,
}

/// One named result, as transformers names it: `logits`, `last_hidden_state`, `pooler_output`, `start_logits`,
/// `end_logits`, `encoder_last_hidden_state`.
#[derive(Debug, Clone)]
pub struct ForwardOutput {
    /// The name.
    pub name: &'static str,
    /// Rows of each sequence: its length, or 1 where the result is one row a sequence.
    pub rows: Vec<usize>,
    /// Whether there is one row a position (`[B, T, width]` when padded) or one a sequence (`[B, width]`).
    pub per_position: bool,
    /// Columns. `start_logits` and `end_logits` have 1 and are `[B, T]` in transformers.
    pub width: usize,
    /// Packed rows, row-major.
    pub values: Vec<f32>,
}

/// What one generation starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Source ids (encoder-decoder) or prompt ids (decoder-only).
    pub input_ids: Vec<u32>,
    /// Ids the decoder of an encoder-decoder begins with, in place of its start token.
    pub decoder_input_ids: Option<Vec<u32>>,
}

impl Prompt {
    /// From the ids of a source, or of a text to go on with.
    pub fn new(input_ids: impl Into<Vec<u32>>) -> Self {
        Self { input_ids: input_ids.into(), decoder_input_ids: None }
    }
}

/// What a variational autoencoder takes a source for: a Gaussian over points z of its latent space, each dimension by
/// itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// The mean of each dimension: the point that a source is decoded from again.
    pub mean: Vec<f32>,
    /// The natural logarithm of the variance of each dimension.
    pub log_variance: Vec<f32>,
}

/// One returned sequence.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Generated {
    /// What `generate()` returns without padding: with the decoder start for encoder-decoders, only the new ids for
    /// decoder-only models.
    pub ids: Vec<u32>,
    /// Sum of log-probabilities over length^length_penalty: `sequences_scores` of beam search, the same formula
    /// for greedy search and sampling.
    pub score: f32,
    /// Cross-attention of each generated token where asked for: `[token][layer][head][source position]`.
    pub weights: Option<Vec<Vec<Vec<f32>>>>,
    /// How each generated token was chosen, where asked for.
    pub choices: Option<Vec<Choice>>,
}

/// How one token was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its log-probability, as it is added up for the score: after all rules, and when sampling after the warps.
    pub log_prob: f32,
    /// The likeliest ids and their log-probabilities, best first, after the rules and before any warp: the chosen one,
    /// where it is among them, and its runners-up. Those of the hypothesis that the token continues.
    pub likeliest: Vec<(u32, f32)>,
}
