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
}

impl Sink for () {}
