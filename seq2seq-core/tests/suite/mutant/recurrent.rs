//! Recurrent layers and additive attention, with one fault at a time.

use super::{Fault, Mutant, changed};
use seq2seq_core::reference::{self, Reference, Tensor};
use seq2seq_core::*;

/// Cuts rows into pieces of `width` columns and gives the pieces in `order`.
fn pieces_in(x: &Tensor, width: usize, order: &[usize]) -> Result<Tensor> {
    let parts: Vec<_> = (order.iter())
        .map(|&at| Part { tensor: x, columns: at * width..(at + 1) * width })
        .collect();
    Reference.columns(&parts)
}

/// A layer, and its cell, directions and width.
pub(crate) struct Recurrent {
    layer: reference::recurrent::Recurrent,
    spec: RecurrentSpec,
}

impl Recurrent {
    fn width(&self) -> usize {
        self.spec.directions[0].weight.shape()[1]
    }
}

impl RecurrentOps for Mutant {
    type Recurrent = Recurrent;
    type Additive = reference::additive::Additive;
    type AdditiveMemory = reference::additive::AdditiveMemory;

    fn recurrent(&self, spec: &RecurrentSpec, format: Format) -> Result<Recurrent> {
        let mut spec = spec.clone();
        if self.is(Fault::RecurrentBiasForgotten) {
            spec.directions.iter_mut().for_each(|part| part.bias = None);
        }
        let format = match format {
            Format::F16 if self.is(Fault::F16AsBf16) => Format::Bf16,
            format => format,
        };
        Ok(Recurrent { layer: Reference.recurrent(&spec, format)?, spec })
    }

    fn recur(
        &self,
        x: &Tensor,
        rows: &Ragged,
        layer: &Recurrent,
        state: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let (m, cell) = (layer.width(), layer.spec.cell);
        let directions = layer.spec.directions.len();
        let state = if self.is(Fault::StateForgotten) { None } else { state };
        let x = match self.0 {
            // Input and forget gate, or reset and update gate.
            Fault::GatesSwapped if directions == 1 => {
                pieces_in(x, m, &[1, 0, 2, 3][..cell.gates()])?
            }
            Fault::RecurrentTenThousandth => changed(x, |v| *v *= 1.0001)?,
            _ => x.clone(),
        };
        let (mut out, mut end) = Reference.recur(&x, rows, &layer.layer, state)?;
        match self.0 {
            Fault::CellStateForgotten if cell == Cell::Lstm => {
                let half = directions * m;
                let h = Part { tensor: &end, columns: 0..half };
                let h = Reference.columns(&[h])?;
                end = Reference.columns(&[Part::all(&h), Part::all(&h)])?;
            }
            Fault::SecondDirectionForwards if directions == 2 => {
                let spec =
                    RecurrentSpec { directions: vec![layer.spec.directions[1].clone()], cell };
                let gates = cell.gates() * m;
                let x = Reference.columns(&[Part { tensor: &x, columns: gates..2 * gates }])?;
                let alone = Reference.recurrent(&spec, Format::F32)?;
                let (second, _) = Reference.recur(&x, rows, &alone, None)?;
                let first = Part { tensor: &out, columns: 0..m };
                out = Reference.columns(&[first, Part::all(&second)])?;
            }
            Fault::RecurHidesNan => {
                out = changed(&out, |v| *v = if v.is_nan() { 0.0 } else { *v })?;
            }
            _ => {}
        }
        Ok((self.in_batches(Fault::RecurUlpInBatches, out, rows.sequences())?, end))
    }

    fn columns(&self, parts: &[Part<'_, Tensor>]) -> Result<Tensor> {
        match self.0 {
            Fault::ColumnsFromTheFirst => {
                let from_first = |p: &Part<'_, Tensor>| 0..p.columns.len();
                let parts: Vec<_> = parts
                    .iter()
                    .map(|p| Part { tensor: p.tensor, columns: from_first(p) })
                    .collect();
                Reference.columns(&parts)
            }
            _ => Reference.columns(parts),
        }
    }

    fn stack_rows(&self, parts: &[&Tensor]) -> Result<Tensor> {
        let mut parts = parts.to_vec();
        if self.is(Fault::RowsStackedBackwards) {
            parts.reverse();
        }
        Reference.stack_rows(&parts)
    }

    fn additive(&self, v: &HostTensor) -> Result<Self::Additive> {
        let off = if self.is(Fault::AdditiveScaleOff) { 1.01 } else { 1.0 };
        let values: Vec<f32> = v.to_f32().into_iter().map(|v| v * off).collect();
        Reference.additive(&HostTensor::from_f32(v.shape().to_vec(), &values)?)
    }

    fn additive_memory(
        &self,
        keys: &Tensor,
        values: &Tensor,
        rows: &Ragged,
    ) -> Result<Self::AdditiveMemory> {
        Reference.additive_memory(keys, values, rows)
    }

    fn additive_attend(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Self::Additive,
        memory: &Self::AdditiveMemory,
        sources: &[usize],
        weights: Option<&mut Vec<f32>>,
    ) -> Result<Tensor> {
        self.attend_sources(sources, weights, |sources, weights| {
            Reference.additive_attend(q, rows, v, memory, sources, Some(weights))
        })
    }
}
