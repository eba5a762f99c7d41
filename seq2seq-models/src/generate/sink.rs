use crate::Generated;
use std::ops::ControlFlow;

/// Hears of a generation as it goes. `()` hears nothing.
///
/// Each method may end the whole generation by [`ControlFlow::Break`]; what there is by then is returned.
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

    /// Called before every step of the decoder.
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
