//! Requests and results of a loaded model.
//!
//! Outputs are packed rows: those of a sequence begin where the ones before it end.
//!
//! ```
//! use seq2seq_models::{Forward, ForwardOutput, LoadOptions, Model};
//!
//! /// The rows of sequence `i`, `[rows, width]`.
//! fn of(output: &ForwardOutput, i: usize) -> &[f32] {
//!     let before: usize = output.rows[..i].iter().sum();
//!     &output.values[before * output.width..][..output.rows[i] * output.width]
//! }
//!
//! # let folder = "../fixtures/bert_question_answering";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let request = Forward {
//!     input_ids: vec![vec![2, 72, 67, 82, 3, 71, 3], vec![2, 72, 3, 71, 3]],
//!     token_type_ids: Some(vec![vec![0, 0, 0, 0, 0, 1, 1], vec![0, 0, 0, 1, 1]]), // a question, and a context
//!     ..Forward::default()
//! };
//! let outputs = model.forward(&request)?;
//! let starts = outputs.iter().find(|output| output.name == "start_logits").ok_or("no such head")?;
//! assert_eq!((starts.rows.as_slice(), starts.width, of(starts, 1).len()), (&[7, 5][..], 1, 5));
//!
//! // A sequence has the bits that it has alone.
//! let alone = Forward {
//!     input_ids: request.input_ids[1..].to_vec(),
//!     token_type_ids: request.token_type_ids.map(|ids| ids[1..].to_vec()),
//!     ..Forward::default()
//! };
//! let outputs = model.forward(&alone)?;
//! assert!(outputs.iter().any(|output| output.name == "start_logits" && output.values == of(starts, 1)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is generated, and how each of its tokens was chosen:
//!
//! ```
//! use seq2seq_models::{
//!     Choice, Generated, LoadOptions, Model, Prompt,
//!     generate::{GenerationConfig, Plan},
//! };
//!
//! # let folder = "../fixtures/t5_v1_0";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! // A source, and what its target is to begin with, in place of the decoder's start alone.
//! let prompt = Prompt { decoder_input_ids: Some(vec![0, 33]), ..Prompt::new([14, 15, 9, 1]) };
//! let layers = model.decoding().with(&GenerationConfig::default())?;
//! let plan = Plan::new(&layers, &model.context()?, &[prompt])?.with_choices(3);
//! let Generated { ids, score, choices, .. } = &model.run(&plan, &mut ())?[0][0];
//! assert_eq!(ids[..2], [0, 33]);
//!
//! let mut sum = 0.0f32;
//! for (id, Choice { log_prob, likeliest, .. }) in ids[2..].iter().zip(choices.iter().flatten()) {
//!     println!("{id}, in place of {:?}", &likeliest[1..]);
//!     assert_eq!(likeliest[0].0, *id); // greedy search takes the likeliest
//!     sum += log_prob;
//! }
//! // Over the length to the length penalty, which is 1 here.
//! assert!((sum / (ids.len() - 2) as f32 - score).abs() < 1e-5);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! What a variational autoencoder takes a source for:
//!
//! ```
//! use seq2seq_models::{LoadOptions, Model, Posterior, Prompt, generate::GenerationConfig};
//!
//! # let folder = "../fixtures/rnn_gru_latent";
//! let model = Model::load(folder, &LoadOptions::default())?;
//! let source = vec![5, 6, 2];
//! let Posterior { mean, log_variance } = &model.posteriors(&[source.clone()])?[0];
//! assert_eq!((Some(mean.len()), log_variance.len()), (model.latent_size(), mean.len()));
//!
//! // To decode from its mean is to reconstruct it.
//! let config = GenerationConfig::default();
//! let from_mean = model.generate_at(&[mean.clone()], &config, &mut ())?;
//! assert_eq!(from_mean, model.generate(&[Prompt::new(source)], &config, &mut ())?);
//! # Ok::<(), seq2seq_models::Error>(())
//! ```

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
    /// Cross-attention of each generated token where asked for: `[token][layer]`, each `[head][source position]` flattened,
    /// S values a head.
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
