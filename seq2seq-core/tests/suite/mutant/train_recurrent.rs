//! What training adds for recurrent models, with one fault at a time.

use super::{Fault, Mutant, changed};
use seq2seq_core::reference::additive::{Additive, AdditiveMemory};
use seq2seq_core::reference::backward::TrainRecurrent;
use seq2seq_core::reference::{Reference, Tensor};
use seq2seq_core::train::*;
use seq2seq_core::*;
use std::ops::Range;

impl TrainRecurrentOps for Mutant {
    type TrainRecurrent = TrainRecurrent;

    fn pack_recurrent(
        &self,
        masters: &RecurrentMasters<'_, Tensor>,
        format: Format,
    ) -> Result<TrainRecurrent> {
        let format = if self.is(Fault::BackInF32) { Format::F32 } else { format };
        Reference.pack_recurrent(masters, format)
    }

    fn repack_recurrent(
        &self,
        layer: &mut TrainRecurrent,
        masters: &RecurrentMasters<'_, Tensor>,
    ) -> Result<()> {
        match self.is(Fault::RepackForgotten) {
            true => Ok(()),
            false => Reference.repack_recurrent(layer, masters),
        }
    }

    fn recur_forward(
        &self,
        x: &Tensor,
        rows: &Ragged,
        layer: &TrainRecurrent,
        state: Option<&Tensor>,
        keep: bool,
    ) -> Result<Recurred<Tensor>> {
        let mut recurred = Reference.recur_forward(x, rows, layer, state, keep)?;
        if let (Fault::ResultKept, Some(kept)) = (self.0, &recurred.kept) {
            recurred.kept = Some(changed(kept, |v| *v = v.max(0.0))?);
        }
        Ok(recurred)
    }

    fn recur_backward(
        &self,
        layer: &TrainRecurrent,
        of: &RecurBackward<'_, Tensor>,
        x: Wanted<'_, Tensor>,
        state: Wanted<'_, Tensor>,
    ) -> Result<Tensor> {
        let dend = of.dend.filter(|_| !self.is(Fault::LastGradientForgotten));
        let began = of.state.filter(|_| !self.is(Fault::StateForgotten));
        let of = RecurBackward { dend, state: began, ..*of };
        match self.0 {
            Fault::FirstGradientForgotten => {
                Reference.recur_backward(layer, &of, x, None).and_then(|du| {
                    let Some(state) = state else { return Ok(du) };
                    let width = of.state.map_or(of.y.width(), Rows::width);
                    *state = Some(Reference.zeros(of.rows.sequences(), width)?);
                    Ok(du)
                })
            }
            Fault::ResetForgotten => {
                let mut dx = None;
                Reference.recur_backward(layer, &of, Some(&mut dx), None)?;
                Reference.recur_backward(layer, &of, x, state)?;
                dx.ok_or_else(|| Error::invalid("recur_backward", "no gradient"))
            }
            _ => Reference.recur_backward(layer, &of, x, state),
        }
    }

    fn recur_weights_backward(
        &self,
        layer: &TrainRecurrent,
        passes: &[RecurPass<'_, Tensor>],
        mut gradients: Vec<[Wanted<'_, Tensor>; 2]>,
    ) -> Result<()> {
        let began = |of: &RecurPass<'_, Tensor>| of.state.is_some();
        let passes: Vec<_> = passes
            .iter()
            .filter(|of| !self.is(Fault::PassesForgotten) || began(of))
            .map(|of| RecurPass { ..*of })
            .collect();
        if self.is(Fault::BiasGradientForgotten) {
            gradients.iter_mut().for_each(|[_, bias]| *bias = None);
        }
        Reference.recur_weights_backward(layer, &passes, gradients)
    }

    fn columns_backward(
        &self,
        dy: &Tensor,
        from: usize,
        (width, columns): (usize, Range<usize>),
        gradient: &mut Gradient<Tensor>,
    ) -> Result<()> {
        let columns = match self.is(Fault::ColumnsFromTheFirst) {
            true => 0..columns.len(),
            false => columns,
        };
        Reference.columns_backward(dy, from, (width, columns), gradient)
    }

    fn stack_rows_backward(
        &self,
        dy: &Tensor,
        rows: Range<usize>,
        gradient: &mut Gradient<Tensor>,
    ) -> Result<()> {
        let rows = if self.is(Fault::LastIsFirst) { 0..rows.len() } else { rows };
        Reference.stack_rows_backward(dy, rows, gradient)
    }

    fn renew_additive(&self, held: &mut Additive, v: &Tensor) -> Result<()> {
        match self.is(Fault::RepackForgotten) {
            true => Ok(()),
            false => Reference.renew_additive(held, v),
        }
    }

    fn additive_attend_forward(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Additive,
        memory: &AdditiveMemory,
        sources: &[usize],
    ) -> Result<(Tensor, Tensor)> {
        let (y, weights) = Reference.additive_attend_forward(q, rows, v, memory, sources)?;
        match self.is(Fault::ResultKept) {
            true => Ok((y, changed(&weights, |p| *p *= 1.001)?)),
            false => Ok((y, weights)),
        }
    }

    fn additive_attend_backward(
        &self,
        of: &AdditiveBackward<'_, Tensor, Additive, AdditiveMemory>,
        mut gradients: AdditiveGradients<'_, Tensor>,
    ) -> Result<()> {
        let first = vec![0; of.sources.len()];
        let sources = if self.is(Fault::FirstSourceForAll) { &first } else { of.sources };
        if let (Fault::GradientReplaced, Some(keys)) = (self.0, &mut gradients.keys) {
            **keys = None;
        }
        Reference.additive_attend_backward(&AdditiveBackward { sources, ..*of }, gradients)
    }
}
