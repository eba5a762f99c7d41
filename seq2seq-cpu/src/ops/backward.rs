//! What training adds: [`TrainBackend`] and [`OptimiserOps`](seq2seq_core::train::OptimiserOps), each method one function.

mod additive;
mod attention;
mod columns;
mod embed;
pub(crate) mod linear;
mod loss;
mod masters;
mod muon;
mod norm;
mod optimiser;
mod products;
mod recurrent;
mod windows;

pub use linear::TrainLinear;
pub use recurrent::TrainRecurrent;

use crate::kernels::backward::sum::AddScaled;
use crate::memory::{Chunks, Tensor};
use crate::ops::additive::{Additive, AdditiveMemory};
use crate::simd::dispatch;
use crate::{Cpu, Memory, Norm, RelativeBias};
use seq2seq_core::train::{
    AdditiveBackward, AdditiveGradients, AttendBackward, CrossBackward, Dropout, Gradient,
    LinearBackward, LinearGradients, Looked, Loss, Masters, NormGradients, RecurBackward,
    RecurPass, Recurred, RecurrentMasters, Smoothing, TrainBackend, TrainConvolutionOps,
    TrainEpilogue, TrainRecurrentOps, Wanted,
};
use seq2seq_core::{
    AttentionSpec, Format, Grid, Lookup, Pool, Ragged, Result, Rows, Windows, backend::check,
};
use std::ops::Range;

/// gradient += x
fn add(cpu: &Cpu, x: Tensor, gradient: &mut Gradient<Tensor>) {
    let Some(held) = gradient else {
        *gradient = Some(x);
        return;
    };
    let width = x.width();
    cpu.threads().each_part(Chunks::<f32>::rows(held), width, |row, out| {
        dispatch(cpu.isa(), AddScaled { out: &mut out[..width], x: x.row(row), factor: 1.0 });
    });
}

/// The gradient to be added to; one of zeros where there was none.
fn begun<'a>(
    cpu: &Cpu,
    gradient: &'a mut Gradient<Tensor>,
    [rows, width]: [usize; 2],
) -> &'a mut Tensor {
    gradient.get_or_insert_with(|| zeros(cpu, rows, width))
}

fn zeros(cpu: &Cpu, rows: usize, width: usize) -> Tensor {
    let mut x = Tensor::scratch(rows, width);
    cpu.threads().each_part(Chunks::<f32>::rows(&mut x), width, |_, row: &mut [f32]| row.fill(0.0));
    x
}

impl TrainBackend for Cpu {
    type TrainLinear = TrainLinear;

    fn pack_masters(&self, masters: &Masters<'_, Tensor>, format: Format) -> Result<TrainLinear> {
        TrainLinear::pack(self, masters, format)
    }

    fn repack(&self, layer: &mut TrainLinear, masters: &Masters<'_, Tensor>) -> Result<()> {
        layer.repack(self, masters)
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
        crate::memory::keep_steps();
        linear::backward(self, layer, of, gradients)
    }

    fn embed_masters(&self, lookups: &[Lookup<'_, Tensor>]) -> Result<Tensor> {
        embed::forward(self, lookups)
    }

    fn embed_backward(
        &self,
        looked: Looked<'_>,
        dy: &Tensor,
        table: &mut Gradient<Tensor>,
    ) -> Result<()> {
        embed::backward(self, looked, dy, table)
    }

    fn renew_norm(&self, norm: &mut Norm, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
        norm::renew(norm, weight, bias)
    }

    fn norm_backward(
        &self,
        x: &Tensor,
        norm: &Norm,
        dy: &Tensor,
        gradients: NormGradients<'_, Tensor>,
    ) -> Result<()> {
        norm::backward(self, x, norm, dy, gradients)
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
        check::dropout(dropout)?;
        crate::ops::attention::attend_forward(self, (qkv, rows), spec, bias, dropout)
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
        check::dropout(dropout)?;
        crate::ops::cross::cross_attend_forward(self, q, (rows, sources), memory, spec, dropout)
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
        check::gather_rows_backward(dy, rows, count, dx)?;
        let dx = begun(self, dx, [count, dy.width()]);
        let (stride, width) = (dx.stride(), dy.width());
        let values = dx.values_mut();
        for (i, &row) in rows.iter().enumerate() {
            let out = &mut values[row * stride..row * stride + width];
            dispatch(self.isa(), AddScaled { out, x: dy.row(i), factor: 1.0 });
        }
        Ok(())
    }

    fn pool_backward(
        &self,
        dy: &Tensor,
        rows: &Ragged,
        pool: Pool,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        check::pool_backward(dy, rows, dx)?;
        let dx = begun(self, dx, [rows.rows(), dy.width()]);
        let (stride, width) = (dx.stride(), dy.width());
        let values = dx.values_mut();
        for (i, range) in rows.ranges().enumerate() {
            let (range, factor) = match pool {
                Pool::First => (range.start..range.start + 1, 1.0),
                Pool::Last => (range.end - 1..range.end, 1.0),
                Pool::Mean => (range.clone(), 1.0 / range.len() as f32),
            };
            for row in range {
                let out = &mut values[row * stride..row * stride + width];
                dispatch(self.isa(), AddScaled { out, x: dy.row(i), factor });
            }
        }
        Ok(())
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
        check::gradient("add", gradient.as_ref(), [x.rows(), x.width()])?;
        add(self, x, gradient);
        Ok(())
    }
}

impl TrainRecurrentOps for Cpu {
    type TrainRecurrent = TrainRecurrent;

    fn pack_recurrent(
        &self,
        masters: &RecurrentMasters<'_, Tensor>,
        format: Format,
    ) -> Result<TrainRecurrent> {
        TrainRecurrent::pack(self, masters, format)
    }

    fn repack_recurrent(
        &self,
        layer: &mut TrainRecurrent,
        masters: &RecurrentMasters<'_, Tensor>,
    ) -> Result<()> {
        layer.repack(self, masters)
    }

    fn recur_forward(
        &self,
        x: &Tensor,
        rows: &Ragged,
        layer: &TrainRecurrent,
        state: Option<&Tensor>,
        keep: bool,
    ) -> Result<Recurred<Tensor>> {
        crate::ops::recurrent::recur(self, x, rows, layer.forward(), state, keep)
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
        columns::columns_backward(self, dy, from, part, gradient)
    }

    fn stack_rows_backward(
        &self,
        dy: &Tensor,
        rows: Range<usize>,
        gradient: &mut Gradient<Tensor>,
    ) -> Result<()> {
        columns::stack_rows_backward(self, dy, rows, gradient)
    }

    fn renew_additive(&self, held: &mut Additive, v: &Tensor) -> Result<()> {
        additive::renew(held, v)
    }

    fn additive_attend_forward(
        &self,
        q: &Tensor,
        rows: &Ragged,
        v: &Additive,
        memory: &AdditiveMemory,
        sources: &[usize],
    ) -> Result<(Tensor, Tensor)> {
        additive::forward(self, q, (rows, sources), v, memory)
    }

    fn additive_attend_backward(
        &self,
        of: &AdditiveBackward<'_, Tensor, Additive, AdditiveMemory>,
        gradients: AdditiveGradients<'_, Tensor>,
    ) -> Result<()> {
        additive::backward(self, of, gradients)
    }
}

impl TrainConvolutionOps for Cpu {
    fn windows_backward(
        &self,
        dy: &Tensor,
        grids: &[Grid],
        windows: &Windows,
        channels: usize,
        dx: &mut Gradient<Tensor>,
    ) -> Result<()> {
        windows::windows_backward(self, dy, grids, windows, channels, dx)
    }
}
