//! [`TrainBackend`] and what it stands on.

use crate::ops::train::{
    self, additive, attention, embed, linear, loss, muon, norm, optimiser, recurrent,
};
use crate::{
    Additive, AdditiveMemory, Cuda, Memory, Norm, RelativeBias, Tensor, TrainLinear,
    TrainRecurrent, kernels, ops,
};
use seq2seq_core::train::{
    Adafactor, AdamW, AdditiveBackward, AdditiveGradients, AttendBackward, CrossBackward, Dropout,
    Gradient, LinearBackward, LinearGradients, Looked, Loss, Masters, Muon, NormGradients,
    OptimiserOps, RecurBackward, RecurPass, Recurred, RecurrentMasters, Second, Sgd, Smoothing,
    TrainBackend, TrainEpilogue, TrainRecurrentOps, Wanted,
};
use seq2seq_core::{AttentionSpec, Format, Lookup, Pool, Ragged, Result};
use std::ops::Range;

impl OptimiserOps for Cuda {
    fn zeros(&self, rows: usize, columns: usize) -> Result<Tensor> {
        train::zeros(self, rows, columns)
    }

    fn sums_of_squares(&self, tensors: &[&Tensor]) -> Result<Vec<f64>> {
        let values: Vec<_> = tensors.iter().map(|x| x.values()).collect();
        Ok(kernels::elementwise::sums_of_squares(self, &values)?)
    }

    fn adamw(
        &self,
        settings: &AdamW,
        parameter: &mut Tensor,
        gradient: &Tensor,
        moments: &mut [Tensor; 2],
    ) -> Result<()> {
        optimiser::adamw(self, settings, parameter, gradient, moments)
    }

    fn sgd(
        &self,
        settings: &Sgd,
        parameter: &mut Tensor,
        gradient: &Tensor,
        velocity: &mut Option<Tensor>,
    ) -> Result<()> {
        optimiser::sgd(self, settings, parameter, gradient, velocity)
    }

    fn adafactor(
        &self,
        settings: &Adafactor,
        parameter: &mut Tensor,
        gradient: &Tensor,
        second: &mut Second<Tensor>,
    ) -> Result<()> {
        optimiser::adafactor(self, settings, parameter, gradient, second)
    }

    fn muon(
        &self,
        settings: &Muon,
        parameter: &mut Tensor,
        gradient: &Tensor,
        momentum: &mut Tensor,
    ) -> Result<()> {
        muon::muon(self, settings, parameter, gradient, momentum)
    }
}

impl TrainRecurrentOps for Cuda {
    type TrainRecurrent = TrainRecurrent;

    fn pack_recurrent(
        &self,
        masters: &RecurrentMasters<'_, Tensor>,
        format: Format,
    ) -> Result<TrainRecurrent> {
        recurrent::pack(self, masters, format)
    }

    fn repack_recurrent(
        &self,
        layer: &mut TrainRecurrent,
        masters: &RecurrentMasters<'_, Tensor>,
    ) -> Result<()> {
        recurrent::repack(self, layer, masters)
    }

    fn recur_forward(
        &self,
        x: &Tensor,
        rows: &Ragged,
        layer: &TrainRecurrent,
        state: Option<&Tensor>,
        keep: bool,
    ) -> Result<Recurred<Tensor>> {
        ops::recurrent::run(self, (x, rows), &layer.forward(), state, keep)
    }

    fn recur_backward(
        &self,
        layer: &TrainRecurrent,
        of: &RecurBackward<'_, Tensor>,
        x: Wanted<'_, Tensor>,
        state: Wanted<'_, Tensor>,
    ) -> Result<Tensor> {
        recurrent::backward(self, layer, of, x, state)
    }

    fn recur_weights_backward(
        &self,
        layer: &TrainRecurrent,
        passes: &[RecurPass<'_, Tensor>],
        gradients: Vec<[Wanted<'_, Tensor>; 2]>,
    ) -> Result<()> {
        recurrent::weights_backward(self, layer, passes, gradients)
    }

    fn columns_backward(
        &self,
        dy: &Tensor,
        from: usize,
        part: (usize, Range<usize>),
        gradient: &mut Gradient<Tensor>,
    ) -> Result<()> {
        additive::columns(self, dy, from, part, gradient)
    }

    fn stack_rows_backward(
        &self,
        dy: &Tensor,
        rows: Range<usize>,
        gradient: &mut Gradient<Tensor>,
    ) -> Result<()> {
        additive::stack_rows(self, dy, rows, gradient)
    }

    fn renew_additive(&self, held: &mut Additive, v: &Tensor) -> Result<()> {
        additive::renew_v(held, v)
    }

    fn additive_attend_forward(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Additive,
        memory: &AdditiveMemory,
        sources: &[usize],
    ) -> Result<(Tensor, Tensor)> {
        ops::additive::attend_kept(self, q, (rows, sources), v, memory)
    }

    fn additive_attend_backward(
        &self,
        of: &AdditiveBackward<'_, Tensor, Additive, AdditiveMemory>,
        gradients: AdditiveGradients<'_, Tensor>,
    ) -> Result<()> {
        additive::backward(self, of, gradients)
    }
}

impl TrainBackend for Cuda {
    type TrainLinear = TrainLinear;

    fn pack_masters(&self, masters: &Masters<'_, Tensor>, format: Format) -> Result<TrainLinear> {
        linear::pack_masters(self, masters, format)
    }

    fn repack(&self, layer: &mut TrainLinear, masters: &Masters<'_, Tensor>) -> Result<()> {
        linear::repack(self, layer, masters)
    }

    fn linear_forward(
        &self,
        x: &Tensor,
        layer: &TrainLinear,
        epilogue: &TrainEpilogue<'_, Tensor>,
        keep: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        linear::forward(self, x, layer, epilogue, keep)
    }

    fn linear_backward(
        &self,
        layer: &TrainLinear,
        of: &LinearBackward<'_, Tensor>,
        gradients: LinearGradients<'_, Tensor>,
    ) -> Result<()> {
        linear::backward(self, layer, of, gradients)
    }

    fn embed_masters(&self, lookups: &[Lookup<'_, Tensor>]) -> Result<Tensor> {
        embed::embed(self, lookups)
    }

    fn embed_backward(
        &self,
        looked: Looked<'_>,
        dy: &Tensor,
        table: &mut Gradient<Tensor>,
    ) -> Result<()> {
        embed::backward(self, looked, dy, table)
    }

    fn renew_norm(&self, held: &mut Norm, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        norm::renew(held, weight, bias)
    }

    fn norm_backward(
        &self,
        x: &Tensor,
        held: &Norm,
        dy: &Tensor,
        gradients: NormGradients<'_, Tensor>,
    ) -> Result<()> {
        norm::backward(self, x, held, dy, gradients)
    }

    fn renew_relative_bias(&self, bias: &mut RelativeBias, table: &Tensor) -> Result<()> {
        attention::renew_relative_bias(self, bias, table)
    }

    /// In either precision, as it is asked for: the matrix units are faster in bf16.
    fn trained_attention(&self, spec: &AttentionSpec) -> AttentionSpec {
        spec.clone()
    }

    fn attend_forward(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias>,
        dropout: Option<Dropout>,
    ) -> Result<(Tensor, Tensor)> {
        attention::attend_forward(self, qkv, rows, spec, bias, dropout)
    }

    fn attend_backward(
        &self,
        of: &AttendBackward<'_, Tensor, RelativeBias>,
        qkv: Wanted<'_, Tensor>,
        table: Wanted<'_, Tensor>,
    ) -> Result<()> {
        attention::attend_backward(self, of, qkv, table)
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
        attention::cross_attend_forward(self, (q, rows), (memory, sources), spec, dropout)
    }

    fn cross_attend_backward(
        &self,
        of: &CrossBackward<'_, Tensor, Memory>,
        q: Wanted<'_, Tensor>,
        kv: Wanted<'_, Tensor>,
    ) -> Result<()> {
        attention::cross_attend_backward(self, of, q, kv)
    }

    fn gather_rows_backward(
        &self,
        dy: &Tensor,
        rows: &[usize],
        count: usize,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        embed::gather_rows_backward(self, dy, rows, count, dx)
    }

    fn pool_backward(
        &self,
        dy: &Tensor,
        rows: &Ragged,
        pool: Pool,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        embed::pool_backward(self, dy, rows, pool, dx)
    }

    fn apply_dropout(&self, x: &Tensor, dropout: Dropout) -> Result<Tensor> {
        loss::apply_dropout(self, x, dropout)
    }

    fn cross_entropy(
        &self,
        logits: &Tensor,
        targets: &[Option<u32>],
        smoothing: Smoothing,
    ) -> Result<(Loss, Tensor)> {
        loss::cross_entropy(self, logits, targets, smoothing)
    }

    fn add(&self, x: Tensor, gradient: &mut Gradient<Tensor>) -> Result<()> {
        train::add(self, x, gradient)
    }
}
