//! The definition of every backward, loss and optimiser step, in plain loops.
//!
//! The loops are generic over `Real`: over f64 they give the values, which are added to a gradient and rounded to f32
//! once; over a number that carries its error they give what the conformance suite allows.

pub(crate) mod additive;
pub(crate) mod attention;
mod columns;
pub(crate) mod embed;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod muon;
pub(crate) mod norm;
mod optimiser;
pub(crate) mod pool;
pub(crate) mod recurrent;
pub(crate) mod windows;

pub use linear::TrainLinear;
pub use recurrent::TrainRecurrent;

use super::{
    Reference, Tensor,
    additive::{Additive, AdditiveMemory},
    attention::RelativeBias,
    cross::Memory,
    norm::Norm,
    real::Real,
};
use crate::backend::check;
use crate::train::{
    AdditiveBackward, AdditiveGradients, AttendBackward, CrossBackward, Dropout, Gradient,
    LinearBackward, LinearGradients, Looked, Loss, Masters, NormGradients, RecurBackward,
    RecurPass, Recurred, RecurrentMasters, Smoothing, TrainBackend, TrainConvolutionOps,
    TrainEpilogue, TrainRecurrentOps, Wanted,
};
use crate::{AttentionSpec, Format, Grid, Lookup, Pool, Ragged, Result, Rows, Windows};
use std::ops::Range;

/// Adds `values`, rounding once.
fn add<R: Real>(gradient: &mut Gradient<Tensor>, rows: usize, width: usize, values: &[R]) {
    let held = gradient.get_or_insert_with(|| Tensor::new(rows, width, vec![0.0; rows * width]));
    for (held, value) in held.values.iter_mut().zip(values) {
        *held = (f64::from(*held) + value.value()) as f32;
    }
}

/// Adds `values` where they are wanted.
fn add_wanted<R: Real>(wanted: Wanted<'_, Tensor>, rows: usize, width: usize, values: &[R]) {
    if let Some(gradient) = wanted {
        add(gradient, rows, width, values);
    }
}

/// The exact numbers of a tensor.
fn numbers<R: Real>(x: &Tensor) -> Vec<R> {
    R::all(&x.values)
}

/// The factor of an element; 1 without dropout.
pub(crate) fn kept<R: Real>(dropout: Option<Dropout>, row: usize, column: usize) -> R {
    R::exact(dropout.map_or(1.0, |d| d.factor(row, column).into()))
}

impl TrainBackend for Reference {
    type TrainLinear = TrainLinear;

    fn pack_masters(&self, masters: &Masters<'_, Tensor>, format: Format) -> Result<TrainLinear> {
        TrainLinear::pack(masters, format)
    }

    fn repack(&self, layer: &mut TrainLinear, masters: &Masters<'_, Tensor>) -> Result<()> {
        layer.repack(masters)
    }

    fn linear_forward(
        &self,
        x: &Tensor,
        layer: &TrainLinear,
        epilogue: &TrainEpilogue<'_, Tensor>,
        keep: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        linear::forward(x, layer, epilogue, keep)
    }

    fn linear_backward(
        &self,
        layer: &TrainLinear,
        of: &LinearBackward<'_, Tensor>,
        gradients: LinearGradients<'_, Tensor>,
    ) -> Result<()> {
        linear::backward(layer, of, gradients)
    }

    fn embed_masters(&self, lookups: &[Lookup<'_, Tensor>]) -> Result<Tensor> {
        embed::forward(lookups)
    }

    fn embed_backward(
        &self,
        looked: Looked<'_>,
        dy: &Tensor,
        table: &mut Gradient<Tensor>,
    ) -> Result<()> {
        embed::backward(looked, dy, table)
    }

    fn renew_norm(&self, norm: &mut Norm, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        norm.renew(weight, bias)
    }

    fn norm_backward(
        &self,
        x: &Tensor,
        norm: &Norm,
        dy: &Tensor,
        gradients: NormGradients<'_, Tensor>,
    ) -> Result<()> {
        norm::backward(x, norm, dy, gradients)
    }

    fn renew_relative_bias(&self, bias: &mut RelativeBias, table: &Tensor) -> Result<()> {
        bias.renew(table)
    }

    fn attend_forward(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        spec: &AttentionSpec,
        bias: Option<&RelativeBias>,
        dropout: Option<Dropout>,
    ) -> Result<(Tensor, Tensor)> {
        attention::attend(qkv, rows, spec, bias, dropout)
    }

    fn attend_backward(
        &self,
        of: &AttendBackward<'_, Tensor, RelativeBias>,
        qkv: Wanted<'_, Tensor>,
        table: Wanted<'_, Tensor>,
    ) -> Result<()> {
        attention::attend_backward(of, qkv, table)
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
        attention::cross_attend(q, rows, memory, sources, spec, dropout)
    }

    fn cross_attend_backward(
        &self,
        of: &CrossBackward<'_, Tensor, Memory>,
        q: Wanted<'_, Tensor>,
        kv: Wanted<'_, Tensor>,
    ) -> Result<()> {
        attention::cross_attend_backward(of, q, kv)
    }

    fn gather_rows_backward(
        &self,
        dy: &Tensor,
        rows: &[usize],
        count: usize,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        pool::gather_rows_backward(dy, rows, count, dx)
    }

    fn pool_backward(
        &self,
        dy: &Tensor,
        rows: &Ragged,
        pool: Pool,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        pool::pool_backward(dy, rows, pool, dx)
    }

    fn apply_dropout(&self, x: &Tensor, dropout: Dropout) -> Result<Tensor> {
        check::dropout(Some(dropout))?;
        let width = x.width;
        let factor = |(i, &v): (usize, &f32)| v * dropout.factor(i / width, i % width);
        Ok(Tensor::new(x.rows, width, x.values.iter().enumerate().map(factor).collect()))
    }

    fn cross_entropy(
        &self,
        logits: &Tensor,
        targets: &[Option<u32>],
        smoothing: Smoothing,
    ) -> Result<(Loss, Tensor)> {
        loss::cross_entropy(logits, targets, smoothing)
    }

    fn add(&self, x: Tensor, gradient: &mut Gradient<Tensor>) -> Result<()> {
        check::gradient("add", gradient.as_ref(), [x.rows(), x.width()])?;
        match gradient {
            None => *gradient = Some(x),
            Some(_) => add(gradient, x.rows, x.width, &numbers::<f64>(&x)),
        }
        Ok(())
    }
}

impl TrainRecurrentOps for Reference {
    type TrainRecurrent = TrainRecurrent;

    fn pack_recurrent(
        &self,
        masters: &RecurrentMasters<'_, Tensor>,
        format: Format,
    ) -> Result<TrainRecurrent> {
        TrainRecurrent::pack(masters, format)
    }

    fn repack_recurrent(
        &self,
        layer: &mut TrainRecurrent,
        masters: &RecurrentMasters<'_, Tensor>,
    ) -> Result<()> {
        layer.repack(masters)
    }

    fn recur_forward(
        &self,
        x: &Tensor,
        rows: &Ragged,
        layer: &TrainRecurrent,
        state: Option<&Tensor>,
        keep: bool,
    ) -> Result<Recurred<Tensor>> {
        recurrent::forward(x, rows, layer, state, keep)
    }

    fn recur_backward(
        &self,
        layer: &TrainRecurrent,
        of: &RecurBackward<'_, Tensor>,
        x: Wanted<'_, Tensor>,
        state: Wanted<'_, Tensor>,
    ) -> Result<Tensor> {
        recurrent::backward(layer, of, x, state)
    }

    fn recur_weights_backward(
        &self,
        layer: &TrainRecurrent,
        passes: &[RecurPass<'_, Tensor>],
        gradients: Vec<[Wanted<'_, Tensor>; 2]>,
    ) -> Result<()> {
        recurrent::weights_backward(layer, passes, gradients)
    }

    fn columns_backward(
        &self,
        dy: &Tensor,
        from: usize,
        part: (usize, Range<usize>),
        gradient: &mut Gradient<Tensor>,
    ) -> Result<()> {
        columns::columns_backward(dy, from, part, gradient)
    }

    fn stack_rows_backward(
        &self,
        dy: &Tensor,
        rows: Range<usize>,
        gradient: &mut Gradient<Tensor>,
    ) -> Result<()> {
        columns::stack_rows_backward(dy, rows, gradient)
    }

    fn renew_additive(&self, held: &mut Additive, v: &Tensor) -> Result<()> {
        held.renew(v)
    }

    fn additive_attend_forward(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Additive,
        memory: &AdditiveMemory,
        sources: &[usize],
    ) -> Result<(Tensor, Tensor)> {
        additive::forward(q, rows, v, memory, sources)
    }

    fn additive_attend_backward(
        &self,
        of: &AdditiveBackward<'_, Tensor, Additive, AdditiveMemory>,
        gradients: AdditiveGradients<'_, Tensor>,
    ) -> Result<()> {
        additive::backward(of, gradients)
    }
}

impl TrainConvolutionOps for Reference {
    fn windows_backward(
        &self,
        dy: &Tensor,
        grids: &[Grid],
        windows: &Windows,
        channels: usize,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        windows::windows_backward(dy, grids, windows, channels, dx)
    }
}
