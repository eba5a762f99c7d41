use crate::{
    failure::{Failure, Result},
    output::Output,
};
use seq2seq_models::{TextStream, Tokenizer, generate::Sink};
use std::ops::ControlFlow;

/// Writes the text of one sequence as it comes.
pub(super) struct Streaming<'a> {
    text: TextStream<'a>,
    output: &'a mut Output,
    failed: Option<Failure>,
}

impl<'a> Streaming<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, output: &'a mut Output) -> Self {
        Self { text: tokenizer.stream(true), output, failed: None }
    }

    /// Writes what was held back, and ends the line.
    pub(super) fn finish(self) -> Result<()> {
        if let Some(failure) = self.failed {
            return Err(failure);
        }
        self.output.text(&self.text.finish()?)?;
        self.output.text("\n")?;
        self.output.flush()
    }

    fn write(&mut self, ids: &[u32]) -> Result<()> {
        for &id in ids {
            let piece = self.text.push(id)?;
            if !piece.is_empty() {
                self.output.text(&piece)?;
                self.output.flush()?;
            }
        }
        Ok(())
    }
}

impl Sink for Streaming<'_> {
    fn ids(&mut self, _row: usize, _sequence: usize, ids: &[u32]) -> ControlFlow<()> {
        match self.write(ids) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    }
}
