//! The traits of training.

use crate::ops::{
    additive::{Additive, AdditiveMemory},
    attention::RelativeBias,
    backward::{
        self, additive, attention, embed, linear, loss, norm, optimiser, pool, recurrent, windows,
    },
    cross::Memory,
    embed as lookup,
    norm::Norm,
};
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::{
    Adafactor, AdamW, AdditiveBackward, AdditiveGradients, AttendBackward, CrossBackward, Dropout,
    Gradient, LinearBackward, LinearGradients, Looked, Loss, Masters, Muon, NormGradients,
    OptimiserOps, RecurBackward, RecurPass, Recurred, RecurrentMasters, Second, Sgd, Smoothing,
    TrainBackend, TrainConvolutionOps, TrainEpilogue, TrainRecurrentOps, Wanted,
};
use seq2seq_core::{AttentionSpec, Format, Grid, Lookup, Pool, Ragged, Result, Windows};
use std::ops::Range;

pub use linear::TrainLinear;
pub use recurrent::TrainRecurrent;

impl TrainBackend for Tch {
    type TrainLinear = TrainLinear;

    fn pack_masters(&self, masters: &Masters<'_, Tensor>, format: Format) -> Result<TrainLinear> {
        Ok(TrainLinear::pack(self, masters, format)?)
    }

    fn repack(&self, layer: &mut TrainLinear, masters: &Masters<'_, Tensor>) -> Result<()> {
        Ok(layer.repack(self, masters)?)
    }

    fn linear_forward(
        &self,
        x: &Tensor,
        layer: &TrainLinear,
        epilogue: &TrainEpilogue<'_, Tensor>,
        keep: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        Ok(linear::forward(self, x, layer, epilogue, keep)?)
    }

    fn linear_backward(
        &self,
        layer: &TrainLinear,
        of: &LinearBackward<'_, Tensor>,
        gradients: LinearGradients<'_, Tensor>,
    ) -> Result<()> {
        Ok(linear::backward(self, layer, of, gradients)?)
    }

    fn embed_masters(&self, lookups: &[Lookup<'_, Tensor>]) -> Result<Tensor> {
        Ok(lookup::embed(self, lookups, Tensor::shape, Tensor::values)?)
    }

    fn embed_backward(
        &self,
        looked: Looked<'_>,
        dy: &Tensor,
        table: &mut Gradient<Tensor>,
    ) -> Result<()> {
        Ok(embed::backward(self, looked, dy, table)?)
    }

    fn renew_norm(&self, norm: &mut Norm, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        Ok(norm::renew(norm, weight, bias)?)
    }

    fn norm_backward(
        &self,
        x: &Tensor,
        norm: &Norm,
        dy: &Tensor,
        gradients: NormGradients<'_, Tensor>,
    ) -> Result<()> {
        Ok(norm::backward(self, x, norm, dy, gradients)?)
    }

    fn renew_relative_bias(&self, bias: &mut RelativeBias, table: &Tensor) -> Result<()> {
        Ok(attention::renew(bias, table)?)
    }

    fn attend_forward(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias>,
        dropout: Option<Dropout>,
    ) -> Result<(Tensor, Tensor)> {
        Ok(attention::attend(self, qkv, rows, (spec, bias), dropout)?)
    }

    fn attend_backward(
        &self,
        of: &AttendBackward<'_, Tensor, RelativeBias>,
        qkv: Wanted<'_, Tensor>,
        table: Wanted<'_, Tensor>,
    ) -> Result<()> {
        Ok(attention::attend_backward(self, of, qkv, table)?)
    }

    fn cross_attend_forward(
        &self,
        q: &Tensor,
        rows: &Ragged,
        memory: &Memory,
        sources: &[usize],
        spec: &AttentionSpec,
        dropout: Option<Dropout>,
    ) -> Result<(Tensor, Tensor)> {
        Ok(attention::cross_attend(self, q, memory, (rows, sources), spec, dropout)?)
    }

    fn cross_attend_backward(
        &self,
        of: &CrossBackward<'_, Tensor, Memory>,
        q: Wanted<'_, Tensor>,
        kv: Wanted<'_, Tensor>,
    ) -> Result<()> {
        Ok(attention::cross_attend_backward(self, of, q, kv)?)
    }

    fn gather_rows_backward(
        &self,
        dy: &Tensor,
        rows: &[usize],
        count: usize,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        Ok(pool::gather_rows_backward(self, dy, rows, count, dx)?)
    }

    fn pool_backward(
        &self,
        dy: &Tensor,
        rows: &Ragged,
        pool: Pool,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        Ok(pool::pool_backward(self, dy, rows, pool, dx)?)
    }

    fn apply_dropout(&self, x: &Tensor, dropout: Dropout) -> Result<Tensor> {
        check::dropout(Some(dropout))?;
        let [rows, width] = x.shape();
        let y = backward::dropped(self, self.wide(x)?, Some(dropout), x.shape())?;
        Ok(Tensor::new(rows, width, y)?)
    }

    fn cross_entropy(
        &self,
        logits: &Tensor,
        targets: &[Option<u32>],
        smoothing: Smoothing,
    ) -> Result<(Loss, Tensor)> {
        Ok(loss::cross_entropy(self, logits, targets, smoothing)?)
    }

    fn add(&self, x: Tensor, gradient: &mut Gradient<Tensor>) -> Result<()> {
        check::gradient("add", gradient.as_ref(), x.shape())?;
        match gradient {
            None => *gradient = Some(x),
            Some(_) => backward::add(self, gradient, x.shape(), x.values())?,
        }
        Ok(())
    }
}

impl TrainRecurrentOps for Tch {
    type TrainRecurrent = TrainRecurrent;

    fn pack_recurrent(
        &self,
        masters: &RecurrentMasters<'_, Tensor>,
        format: Format,
    ) -> Result<TrainRecurrent> {
        Ok(TrainRecurrent::pack(self, masters, format)?)
    }

    fn repack_recurrent(
        &self,
        layer: &mut TrainRecurrent,
        masters: &RecurrentMasters<'_, Tensor>,
    ) -> Result<()> {
        Ok(layer.repack(self, masters)?)
    }

    fn recur_forward(
        &self,
        x: &Tensor,
        rows: &Ragged,
        layer: &TrainRecurrent,
        state: Option<&Tensor>,
        keep: bool,
    ) -> Result<Recurred<Tensor>> {
        Ok(recurrent::forward(self, x, rows, layer, (state, keep))?)
    }

    fn recur_backward(
        &self,
        layer: &TrainRecurrent,
        of: &RecurBackward<'_, Tensor>,
        x: Wanted<'_, Tensor>,
        state: Wanted<'_, Tensor>,
    ) -> Result<Tensor> {
        Ok(recurrent::backward(self, layer, of, x, state)?)
    }

    fn recur_weights_backward(
        &self,
        layer: &TrainRecurrent,
        passes: &[RecurPass<'_, Tensor>],
        gradients: Vec<[Wanted<'_, Tensor>; 2]>,
    ) -> Result<()> {
        Ok(recurrent::weights_backward(self, layer, passes, gradients)?)
    }

    fn columns_backward(
        &self,
        dy: &Tensor,
        from: usize,
        part: (usize, Range<usize>),
        gradient: &mut Gradient<Tensor>,
    ) -> Result<()> {
        Ok(pool::columns_backward(self, dy, from, part, gradient)?)
    }

    fn stack_rows_backward(
        &self,
        dy: &Tensor,
        rows: Range<usize>,
        gradient: &mut Gradient<Tensor>,
    ) -> Result<()> {
        Ok(pool::stack_rows_backward(self, dy, rows, gradient)?)
    }

    fn renew_additive(&self, held: &mut Additive, v: &Tensor) -> Result<()> {
        Ok(additive::renew(held, v)?)
    }

    fn additive_attend_forward(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Additive,
        memory: &AdditiveMemory,
        sources: &[usize],
    ) -> Result<(Tensor, Tensor)> {
        Ok(additive::forward(self, q, (rows, sources), v, memory)?)
    }

    fn additive_attend_backward(
        &self,
        of: &AdditiveBackward<'_, Tensor, Additive, AdditiveMemory>,
        gradients: AdditiveGradients<'_, Tensor>,
    ) -> Result<()> {
        Ok(additive::backward(self, of, gradients)?)
    }
}

impl OptimiserOps for Tch {
    fn zeros(&self, rows: usize, columns: usize) -> Result<Tensor> {
        Ok(optimiser::zero_tensor(self, rows, columns)?)
    }

    fn sums_of_squares(&self, tensors: &[&Tensor]) -> Result<Vec<f64>> {
        Ok(optimiser::sums_of_squares(tensors)?)
    }

    fn adamw(
        &self,
        settings: &AdamW,
        parameter: &mut Tensor,
        gradient: &Tensor,
        moments: &mut [Tensor; 2],
    ) -> Result<()> {
        Ok(optimiser::adamw(self, settings, parameter, gradient, moments)?)
    }

    fn sgd(
        &self,
        settings: &Sgd,
        parameter: &mut Tensor,
        gradient: &Tensor,
        velocity: &mut Option<Tensor>,
    ) -> Result<()> {
        Ok(optimiser::sgd(self, settings, parameter, gradient, velocity)?)
    }

    fn adafactor(
        &self,
        settings: &Adafactor,
        parameter: &mut Tensor,
        gradient: &Tensor,
        second: &mut Second<Tensor>,
    ) -> Result<()> {
        Ok(optimiser::adafactor(self, settings, parameter, gradient, second)?)
    }

    fn muon(
        &self,
        settings: &Muon,
        parameter: &mut Tensor,
        gradient: &Tensor,
        momentum: &mut Tensor,
    ) -> Result<()> {
        Ok(optimiser::muon(self, settings, parameter, gradient, momentum)?)
    }
}

impl TrainConvolutionOps for Tch {
    fn windows_backward(
        &self,
        dy: &Tensor,
        grids: &[Grid],
        windows: &Windows,
        channels: usize,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        Ok(windows::windows_backward(self, dy, grids, windows, channels, dx)?)
    }
}
