//! Recurrent layers: the product of the state is measured on the states that the layer came to.

use super::{Probe, Versions};
use seq2seq_core::{
    ConvolutionOps, Format, Part, Ragged, RecurrentOps, RecurrentSpec, Result, Rows, SeqBackend,
    inherit,
};
use std::sync::atomic::Ordering;

/// A recurrent layer and, for each direction, its matrix by itself.
pub(crate) struct ProbedRecurrent<B: SeqBackend> {
    inner: B::Recurrent,
    layer: usize,
    directions: Vec<Versions<B>>,
    /// M
    width: usize,
}

impl<B: SeqBackend> Probe<B> {
    /// Measures the matrix of each direction on the states that it met: those of `state` and all of `out` but the last.
    fn measure_recurrent(
        &self,
        layer: &ProbedRecurrent<B>,
        rows: &Ragged,
        state: Option<&B::Tensor>,
        out: &B::Tensor,
    ) -> Result<()> {
        for (d, versions) in layer.directions.iter().enumerate() {
            let columns = d * layer.width..(d + 1) * layer.width;
            let of = |tensor| self.inner.columns(&[Part { tensor, columns: columns.clone() }]);
            let met = rows.ranges().flat_map(|range| match d {
                0 => range.start..range.end.saturating_sub(1).max(range.start),
                _ => (range.start + 1).min(range.end)..range.end,
            });
            let mut states = self.inner.gather_rows(&of(out)?, &met.collect::<Vec<_>>())?;
            if let Some(state) = state {
                let begun = rows.lengths().enumerate().filter(|(_, n)| *n > 0).map(|(i, _)| i);
                let begun = self.inner.gather_rows(&of(state)?, &begun.collect::<Vec<_>>())?;
                states = self.inner.stack_rows(&[&states, &begun])?;
            }
            if states.rows() > 0 {
                self.measure_part(&states, versions, layer.layer, d)?;
            }
        }
        Ok(())
    }
}

impl<B: SeqBackend> ConvolutionOps for Probe<B> {
    inherit! { inner: B => windows }
}

impl<B: SeqBackend> RecurrentOps for Probe<B> {
    type Recurrent = ProbedRecurrent<B>;

    inherit! { inner: B =>
        Additive, AdditiveMemory,
        columns, stack_rows, additive, additive_memory, additive_attend
    }

    fn recurrent(&self, spec: &RecurrentSpec, format: Format) -> Result<ProbedRecurrent<B>> {
        let inner = self.inner.recurrent(spec, format)?;
        let width = spec.directions.first().map_or(0, |part| part.weight.shape()[1]);
        let versions = |part| self.versions(part, 1.0, format);
        let directions =
            spec.directions.iter().cloned().map(versions).collect::<Result<Vec<_>>>()?;
        let layer = self.place(directions.len());
        Ok(ProbedRecurrent { inner, layer, directions, width })
    }

    fn recur(
        &self,
        x: &B::Tensor,
        rows: &Ragged,
        layer: &ProbedRecurrent<B>,
        state: Option<&B::Tensor>,
    ) -> Result<(B::Tensor, B::Tensor)> {
        let (out, end) = self.inner.recur(x, rows, &layer.inner, state)?;
        if self.recorder.on.load(Ordering::Relaxed) {
            self.measure_recurrent(layer, rows, state, &out)?;
        }
        Ok((out, end))
    }
}
