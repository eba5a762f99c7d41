//! A model as a description: what stands where, in plain data.
//!
//! A family turns its configuration into a [`ModelPlan`]; the blocks and stacks are built from nothing else.
//!
//! # Sizes
//!
//! ```
//! use seq2seq_models::{
//!     Files, LoadOptions, inspect::inspect,
//!     plan::{AttentionPlan, EmbeddingPlan, FeedForwardPlan, Ffn, ModelPlan, OutputPlan, StackPlan},
//! };
//!
//! /// Elements of the matrices of a decoder-only model: its layers, its table of tokens, its output.
//! fn matrices(plan: &ModelPlan) -> Option<usize> {
//!     let stack: &StackPlan = plan.decoder.as_ref()?;
//!     let AttentionPlan { heads, kv_heads, head_dim, .. } = stack.attention;
//!     let FeedForwardPlan { width: inner, kind, .. } = stack.feed_forward;
//!     let attention = 2 * (heads + kv_heads) * head_dim * stack.width;
//!     let feed_forward = match kind {
//!         Ffn::Plain(_) => 2 * inner * stack.width,
//!         Ffn::Gated(_) => 3 * inner * stack.width,
//!     };
//!     let EmbeddingPlan { vocab, .. } = stack.embedding;
//!     let output = match plan.head.output {
//!         Some(OutputPlan { width, tied: false, .. }) => width * stack.width,
//!         _ => 0,
//!     };
//!     Some(stack.layers * (attention + feed_forward) + vocab * stack.width + output)
//! }
//!
//! # let folder = "../fixtures/llama";
//! let found = inspect(&LoadOptions::default().open(Files::folder(folder)?)?)?;
//! let stack = found.plan.decoder.as_ref().ok_or("no decoder")?;
//! // All that there is beside them is the scale of each norm: two a layer, and the last one.
//! let norms = (2 * stack.layers + 1) * stack.width;
//! assert_eq!(matrices(&found.plan), Some(found.parameters() - norms));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Positions
//!
//! ```
//! use seq2seq_models::{
//!     Files, LoadOptions, inspect::inspect,
//!     plan::{Position, RotaryPlan, RotaryScaling, SinusoidLayout, StackPlan, YarnAttention},
//! };
//!
//! /// How rows learn where they stand, in a word or two.
//! fn positions(stack: &StackPlan) -> String {
//!     let scaled = |scaling: RotaryScaling| match scaling {
//!         RotaryScaling::None => String::new(),
//!         RotaryScaling::Linear { factor } => format!(", linear {factor}"),
//!         RotaryScaling::Llama3 { factor, .. } => format!(", llama3 {factor}"),
//!         RotaryScaling::Yarn { factor, attention: YarnAttention::Paper, .. } => format!(", yarn {factor}"),
//!         RotaryScaling::Yarn { factor, .. } => format!(", yarn {factor} with a temperature"),
//!     };
//!     match &stack.embedding.position {
//!         Position::None if stack.attention.relative_bias.is_some() => "a bias for each distance".into(),
//!         Position::None => "none".into(),
//!         Position::Learned { rows, .. } => format!("a table of {rows}"),
//!         Position::Sinusoidal { layout: SinusoidLayout::Halves, .. } => "sines".into(),
//!         Position::Sinusoidal { layout: SinusoidLayout::Tensor2Tensor, .. } => "sines of tensor2tensor".into(),
//!         Position::Rotary(RotaryPlan { theta, scaling, .. }) => format!("rotary of {theta}{}", scaled(*scaling)),
//!     }
//! }
//!
//! for (family, expected) in [
//!     ("bert", "a table of 80"),
//!     ("t5_v1_0", "a bias for each distance"),
//!     ("marian_shared", "sines"),
//!     ("m2m_100", "sines of tensor2tensor"),
//!     ("qwen3", "rotary of 10000"),
//!     ("llama_yarn", "rotary of 1000, yarn 4"),
//! ] {
//!     # let family = format!("../fixtures/{family}");
//!     let plan = inspect(&LoadOptions::default().open(Files::folder(family)?)?)?.plan;
//!     assert_eq!(plan.first_stack().map(positions).as_deref(), Some(expected));
//! }
//! # Ok::<(), seq2seq_models::Error>(())
//! ```
//!
//! # Heads, norms, dropout
//!
//! ```
//! use seq2seq_models::{
//!     Files, LoadOptions, inspect::inspect,
//!     plan::{DecoderInput, DensePlan, DropoutPlan, HeadKind, HeadPlan, NormPlace, NormPlan, PoolRow},
//!     seq2seq_core::NormKind,
//! };
//!
//! /// What a folder can be asked for.
//! fn task(head: &HeadPlan) -> &'static str {
//!     match head.kind {
//!         HeadKind::Hidden => "embed",
//!         HeadKind::Language => "generate",
//!         HeadKind::MaskedLanguage => "fill-mask",
//!         HeadKind::Classify => "classify",
//!         HeadKind::Tag => "tag",
//!         HeadKind::Answer => "answer",
//!         HeadKind::Replaced => "find replaced tokens",
//!     }
//! }
//!
//! let plan = |folder| {
//!     # let folder = format!("../fixtures/{folder}");
//!     let checkpoint = LoadOptions::default().open(Files::folder(folder)?)?;
//!     Ok::<_, seq2seq_models::Error>(inspect(&checkpoint)?.plan)
//! };
//! let bart = plan("bart_sequence_classification")?;
//! assert_eq!(task(&bart.head), "classify");
//! // Its decoder reads the text behind this token; the row of the last end of a text is classified, by two layers.
//! assert_eq!(bart.decoder_input, DecoderInput::Shifted(2));
//! assert_eq!(bart.head.pool, Some(PoolRow::LastOf(2)));
//! assert!(matches!(bart.head.dense, Some(DensePlan { norm: false, .. })));
//!
//! let llama = plan("llama")?.decoder.ok_or("no decoder")?;
//! assert_eq!((llama.place, llama.norm), (NormPlace::Pre, NormPlan { kind: NormKind::Rms, eps: 1e-5 }));
//! assert_eq!(llama.dropout, DropoutPlan::default()); // none
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Recurrent models
//!
//! ```
//! use seq2seq_models::{
//!     Files, LoadOptions, inspect::inspect,
//!     plan::{Bridge, RecurrentAttention, RecurrentPlan},
//! };
//!
//! # let folder = "../fixtures/rnn_lstm_bahdanau";
//! let plan = inspect(&LoadOptions::default().open(Files::folder(folder)?)?)?.plan;
//! let recurrent: RecurrentPlan = plan.recurrent.ok_or("not recurrent")?;
//! let attention = recurrent.attention;
//! assert!(matches!(attention, RecurrentAttention::Bahdanau { width: 17 }) && attention.name() == "bahdanau");
//! // Both directions of the encoder side by side are what attention reads and what a step reads of it.
//! assert_eq!((recurrent.memory(), recurrent.fed()), (2 * recurrent.encoder_width, recurrent.memory()));
//! // They are not as wide as the decoder: a layer leads from one to the other.
//! assert!(recurrent.memory() != recurrent.width && recurrent.bridge == Bridge::Dense);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::{Error, Result, families::Family};
use seq2seq_core::{Activation, BucketSpec, NormKind};

mod head;
mod position;
mod recurrent;

pub use crate::checkpoint::Presence;
pub use head::{DensePlan, HeadKind, HeadPlan, OutputPlan, PoolRow};
pub use position::{Position, RotaryPlan, RotaryScaling, SinusoidLayout, YarnAttention};
pub use recurrent::{Bridge, RecurrentAttention, RecurrentPlan};

/// A whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPlan {
    /// Whose configuration and tensor names these are.
    pub family: Family,
    /// Reads the input; absent in decoder-only models.
    pub encoder: Option<StackPlan>,
    /// Writes the output; absent in encoder-only models.
    pub decoder: Option<StackPlan>,
    /// A recurrent encoder and decoder, in place of both of the above.
    pub recurrent: Option<RecurrentPlan>,
    /// What is made of the last stack's rows.
    pub head: HeadPlan,
    /// The decoder's input where a request gives none.
    pub decoder_input: DecoderInput,
}

/// A stack of equal blocks over embedded tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct StackPlan {
    /// M
    pub width: usize,
    /// L
    pub layers: usize,
    /// How ids become rows.
    pub embedding: EmbeddingPlan,
    /// Self-attention; cross-attention has its heads too.
    pub attention: AttentionPlan,
    /// The encoder's width, where each block attends to its output.
    pub cross: Option<usize>,
    /// The feed-forward half of a block.
    pub feed_forward: FeedForwardPlan,
    /// Every normalisation of the stack.
    pub norm: NormPlan,
    /// Before or after each half of a block.
    pub place: NormPlace,
    /// Whether a normalisation follows the last block.
    pub final_norm: bool,
    /// What is dropped while it is trained.
    pub dropout: DropoutPlan,
}

/// Rates of dropout in training, at the places where transformers has it; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DropoutPlan {
    /// Of embedded rows, normalised where they are.
    pub embedding: f32,
    /// Of the probabilities of every attention.
    pub attention: f32,
    /// Of what an attention adds to its residual.
    pub attention_output: f32,
    /// Between the projections of a feed-forward block.
    pub activation: f32,
    /// Of what a feed-forward block adds to its residual.
    pub feed_forward_output: f32,
    /// Of the rows that leave the stack, or that a head without another layer reads.
    pub last: f32,
}

/// How ids become rows.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingPlan {
    /// V
    pub vocab: usize,
    /// Columns of the tables, where a linear layer makes M of them (ELECTRA).
    pub width: Option<usize>,
    /// Multiplies token rows, and only them (PARITY trap 15).
    pub scale: f32,
    /// How a row learns where it stands.
    pub position: Position,
    /// Kinds of segments; 0 where the model has none.
    pub types: usize,
    /// Whether the sum is normalised (PARITY trap 13).
    pub norm: bool,
}

/// Self-attention.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionPlan {
    /// H
    pub heads: usize,
    /// G
    pub kv_heads: usize,
    /// D
    pub head_dim: usize,
    /// Multiplies query · key.
    pub scale: f32,
    /// Whether block i divides the scale by i + 1 as well (GPT-2, PARITY trap 36).
    pub scale_by_layer: bool,
    /// Whether a row sees only what came before it.
    pub causal: bool,
    /// Whether the projections of queries, keys and values have biases.
    pub bias: bool,
    /// Whether the projection of what they give has one.
    pub output_bias: bool,
    /// A bias for each distance, one table a stack (T5, PARITY trap 2).
    pub relative_bias: Option<BucketSpec>,
    /// Whether each head of queries and keys is normalised, before it is rotated.
    pub head_norm: bool,
    /// Positions back, its own among them, that a row of some layers sees; `None` for all. Within the first so many positions
    /// a window hides nothing, and the stack has no others.
    pub window: Option<usize>,
}

/// The feed-forward half of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedForwardPlan {
    /// F
    pub width: usize,
    /// What stands between its projections.
    pub kind: Ffn,
    /// Whether the projections have biases.
    pub bias: bool,
}

/// What stands between the two projections of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ffn {
    /// act(x W₁) W₂
    Plain(Activation),
    /// (act(x W) ∘ x V) W₂ (Shazeer 2020)
    Gated(Activation),
}

/// A normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormPlan {
    /// LayerNorm or RMSNorm.
    pub kind: NormKind,
    /// Added to the variance or the mean square.
    pub eps: f32,
}

/// Where a block normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// x + f(norm(x))
    Pre,
    /// norm(x + f(x))
    Post,
}

/// What an encoder-decoder's decoder reads where a request does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecoderInput {
    /// It must say; or there is no decoder to ask.
    Given,
    /// The encoder's input, shifted right behind this id (BART).
    Shifted(u32),
    /// The encoder's input with its last token, the language, moved to the front (mBART, PARITY trap 21).
    Wrapped,
}

impl StackPlan {
    /// Positions that the stack has rows for, or that its window spans; `None` where any number works.
    pub fn max_positions(&self) -> Option<usize> {
        let rows = match &self.embedding.position {
            Position::Learned { rows, offset, .. } => Some(rows.saturating_sub(*offset)),
            Position::Sinusoidal { rows, .. } => Some(*rows),
            Position::None | Position::Rotary(_) => None,
        };
        rows.into_iter().chain(self.attention.window).min()
    }

    /// Fails where sequence `i` of `name` would come to `tokens` tokens and the stack has positions for fewer.
    pub(crate) fn check_positions(&self, name: &str, i: usize, tokens: usize) -> Result<()> {
        let Some(held) = self.max_positions().filter(|held| tokens > *held) else { return Ok(()) };
        let reason = match self.attention.window == Some(held) {
            true => format!("past its sliding window of {held} this model is not computed here"),
            false => format!("the model has positions for {held}"),
        };
        Err(Error::Input(format!(
            "{name}: sequence {i} comes to {tokens} tokens, {reason}; shorten it or ask for fewer new tokens"
        )))
    }

    /// Why no such stack can be built, if so.
    fn check(&self) -> Result<(), String> {
        let a = &self.attention;
        let sizes = [
            ("width", self.width),
            ("vocabulary", self.embedding.vocab),
            ("width of the embedding", self.embedding.width.unwrap_or(1)),
            ("number of attention heads", a.heads),
            ("number of key-value heads", a.kv_heads),
            ("head width", a.head_dim),
            ("feed-forward width", self.feed_forward.width),
            ("window of the attention", a.window.unwrap_or(1)),
        ];
        if let Some((what, _)) = sizes.iter().find(|(_, n)| *n == 0) {
            return Err(format!("the {what} is 0"));
        }
        // No real model comes near; a size past it is a damaged file, and products of two stay far from overflow.
        if let Some((what, n)) = sizes.iter().find(|(_, n)| *n > 1 << 28) {
            return Err(format!("the {what} is {n}"));
        }
        if !a.heads.is_multiple_of(a.kv_heads) {
            return Err(format!(
                "{} heads do not divide among {} key-value heads",
                a.heads, a.kv_heads
            ));
        }
        if let Some(b) = &a.relative_bias
            && (b.buckets < 4 || b.max_distance <= b.buckets / 2)
        {
            return Err(format!(
                "{} position buckets cannot reach a distance of {}",
                b.buckets, b.max_distance
            ));
        }
        match &self.embedding.position {
            Position::Rotary(r) if r.columns > a.head_dim || !r.columns.is_multiple_of(2) => {
                Err(format!(
                    "{} of {} columns of a head cannot be rotated in pairs",
                    r.columns, a.head_dim
                ))
            }
            Position::Sinusoidal { rows, offset, .. }
                if rows.saturating_add(*offset).saturating_mul(self.width) > 1 << 30 =>
            {
                Err(format!(
                    "a table of {rows} positions by {} columns is out of reach",
                    self.width
                ))
            }
            Position::Sinusoidal { layout: SinusoidLayout::Tensor2Tensor, .. }
                if self.width < 4 =>
            {
                Err(format!("{} columns are too few for sinusoids", self.width))
            }
            _ => Ok(()),
        }
    }
}

impl ModelPlan {
    /// Of an encoder, a decoder, or both; a decoder's input is what a request gives.
    pub(crate) fn of_stacks(
        family: Family,
        encoder: Option<StackPlan>,
        decoder: Option<StackPlan>,
        head: HeadPlan,
    ) -> Self {
        let decoder_input = DecoderInput::Given;
        Self { family, encoder, decoder, recurrent: None, head, decoder_input }
    }

    /// The stack whose rows the head reads.
    pub fn last_stack(&self) -> Option<&StackPlan> {
        self.decoder.as_ref().or(self.encoder.as_ref())
    }

    /// The stack that reads the input.
    pub fn first_stack(&self) -> Option<&StackPlan> {
        self.encoder.as_ref().or(self.decoder.as_ref())
    }

    /// Whether there is both an encoder and a decoder.
    pub fn is_encoder_decoder(&self) -> bool {
        self.recurrent.is_some() || self.has_encoder() && self.decoder.is_some()
    }

    /// Whether an encoder reads the input.
    pub fn has_encoder(&self) -> bool {
        self.recurrent.is_some() || self.encoder.is_some()
    }

    /// Whether the model writes text.
    pub fn generates(&self) -> bool {
        let decodes = self.recurrent.is_some() || self.decoder.is_some();
        decodes && self.head.kind == HeadKind::Language
    }

    /// Ids that the input may hold.
    pub fn input_vocab(&self) -> usize {
        match &self.recurrent {
            Some(recurrent) => recurrent.source_vocab,
            None => self.first_stack().map_or(0, |stack| stack.embedding.vocab),
        }
    }

    /// Ids that the last stack reads, and that a model which writes chooses from.
    pub fn output_vocab(&self) -> usize {
        match &self.recurrent {
            Some(recurrent) => recurrent.target_vocab,
            None => self.last_stack().map_or(0, |stack| stack.embedding.vocab),
        }
    }

    /// Why no such model can be built, if so.
    pub(crate) fn check(&self) -> Result<(), String> {
        if let Some(recurrent) = &self.recurrent {
            return recurrent.check();
        }
        if self.last_stack().is_none() {
            return Err("a model needs an encoder or a decoder".into());
        }
        let named = [("encoder", &self.encoder), ("decoder", &self.decoder)];
        for (name, stack) in named.iter().filter_map(|(n, s)| s.as_ref().map(|s| (n, s))) {
            stack.check().map_err(|reason| format!("{name}: {reason}"))?;
        }
        Ok(())
    }
}
