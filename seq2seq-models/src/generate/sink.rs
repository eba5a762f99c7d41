use crate::Generated;
use std::ops::ControlFlow;

/// Hears of a generation as it goes. `()` hears nothing.
///
/// Each method may end the whole generation by [`ControlFlow::Break`]; what there is by then is returned.
///
/// Text as it comes, for as long as somebody reads it:
///
/// ```
/// use seq2seq_models::{
///     LoadOptions, Model, Prompt, TextStream, Tokenizer,
///     generate::{GenerationConfig, Sink},
/// };
/// use std::{ops::ControlFlow, sync::mpsc::{self, Sender}};
///
/// /// Sends pieces of text to whoever asked; gives up when nobody receives them any more.
/// struct Reply<'a> {
///     text: TextStream<'a>,
///     pieces: Sender<String>,
/// }
///
/// impl Sink for Reply<'_> {
///     fn ids(&mut self, _row: usize, _sequence: usize, ids: &[u32]) -> ControlFlow<()> {
///         for &id in ids {
///             let sent = self.text.push(id).map(|piece| self.pieces.send(piece));
///             if !matches!(sent, Ok(Ok(()))) {
///                 return ControlFlow::Break(());
///             }
///         }
///         ControlFlow::Continue(())
///     }
/// }
///
/// # let folder = "../fixtures/t5_v1_0";
/// let model = Model::load(folder, &LoadOptions::default())?;
/// let tokenizer = Tokenizer::from_files(model.files())?;
/// let prompts = [Prompt::new(tokenizer.encode("The blue cat sat on the old river house.")?.ids())];
/// let config = GenerationConfig::default();
///
/// let (pieces, received) = mpsc::channel();
/// let mut reply = Reply { text: tokenizer.stream(true), pieces };
/// let written = model.generate(&prompts, &config, &mut reply)?;
/// let rest = reply.text.finish()?;
/// drop(reply.pieces);
/// let text = received.iter().collect::<String>() + &rest;
/// assert_eq!(text, tokenizer.decode(&written[0][0].ids, true)?);
///
/// // Whoever asked has gone: no more than one id is written, behind the decoder's start.
/// let (pieces, gone) = mpsc::channel();
/// drop(gone);
/// let ended = model.generate(&prompts, &config, &mut Reply { text: tokenizer.stream(true), pieces })?;
/// assert_eq!(ended[0][0].ids, written[0][0].ids[..2]);
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
pub trait Sink {
    /// New ids of return sequence `sequence` of input `row`. Greedy search and sampling only: beam search does not know
    /// its sequences before they are finished.
    fn ids(&mut self, row: usize, sequence: usize, ids: &[u32]) -> ControlFlow<()> {
        let _ = (row, sequence, ids);
        ControlFlow::Continue(())
    }

    /// All sequences of input `row`, the best first. Rows finish in any order, each once.
    fn finished(&mut self, row: usize, sequences: &[Generated]) -> ControlFlow<()> {
        let _ = (row, sequences);
        ControlFlow::Continue(())
    }

    /// Called before every step of the decoder. Where the device goes ahead of the host, the step may have begun; if this ends the
    /// generation, it is dropped.
    fn step(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Whether [`lost`](Self::lost) is to be called. Asked once, before the search; what is lost is looked for only then.
    fn hears_lost(&self) -> bool {
        false
    }

    /// A hypothesis of input `row` has left beam search and will not be returned. Before `finished` of that row.
    fn lost(&mut self, row: usize, lost: &Lost<'_>) {
        let _ = (row, lost);
    }
}

/// A hypothesis that is not returned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lost<'a> {
    /// The step in which it left, counted from 1. One that was outrun has an id less.
    pub step: usize,
    /// Its ids, as those of [`Generated`].
    pub ids: &'a [u32],
    /// Its score, normalised by its length as that of [`Generated`].
    pub score: f32,
    /// Why it left.
    pub reason: LossReason,
}

/// Why a hypothesis is not returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossReason {
    /// All of its continuations were worse than those of the others.
    Outrun,
    /// It was running when the search ended.
    Unfinished,
    /// It had ended, and others that ended were better.
    Surpassed,
}

impl LossReason {
    /// Its name: `outrun`, `unfinished` or `surpassed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outrun => "outrun",
            Self::Unfinished => "unfinished",
            Self::Surpassed => "surpassed",
        }
    }
}

impl Sink for () {}
