//! Linear layers for training: packed for both directions, and the products of their gradients.
//!
//! ```text
//! dX = dZ W      W packed with its rows as the steps of the reduction
//! dW = dZᵀ X     dZ turned, X packed in stripes: the reduction is over the rows of the batch
//! ```
//!
//! All three products of a layer run on the kernels of the forward. A gated layer is packed with gate and up side by side,
//! so that its sums can be kept.

use crate::gemm::{Linear, RowSource};
use crate::kernels::backward::linear::{Activate, Deactivate};
use crate::kernels::backward::sum::{ColumnSums, Transpose};
use crate::kernels::dropout::mask;
use crate::memory::{Chunks, Tensor};
use crate::{Cpu, simd::dispatch};
use bytemuck::cast_slice;
use seq2seq_core::backend::check::{self, LinearShape};
use seq2seq_core::train::{
    Dropout, Gradient, LinearBackward, LinearGradients, MasterPart, Masters, TrainEpilogue,
};
use seq2seq_core::{DType, Epilogue, Format, HostTensor, LinearPart, LinearSpec, Result, Rows};
use std::{ops::Range, sync::Arc};

/// Columns of a bias that one worker sums over all rows.
const COLUMNS: usize = 128;

/// A layer that is trained.
#[derive(Debug)]
pub struct TrainLinear {
    /// Never gated: gate and up stand side by side.
    forward: Linear,
    /// x · W, for the gradient of the input.
    back: Linear,
    shape: LinearShape,
    gated: bool,
    scale: f32,
    format: Format,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    output: usize,
    transposed: bool,
}

impl Part {
    fn of(part: &MasterPart<'_, Tensor>) -> Self {
        let output = if part.transposed { part.weight.width() } else { part.weight.rows() };
        Self { output, transposed: part.transposed }
    }
}

/// The weights of all parts, one below the other: row k is output channel k.
struct Stacked<'a> {
    /// Each with its first channel; a transposed one turned.
    parts: Vec<(Range<usize>, &'a Tensor)>,
    input: usize,
}

impl RowSource for Stacked<'_> {
    fn steps(&self) -> usize {
        self.parts.last().map_or(0, |(channels, _)| channels.end)
    }

    fn columns(&self) -> usize {
        self.input
    }

    #[inline]
    fn read(&self, k: usize, from: usize, out: &mut [f32]) {
        let part = self.parts.iter().find(|(channels, _)| k < channels.end);
        if let Some((channels, weight)) = part {
            out.copy_from_slice(&weight.row(k - channels.start)[from..from + out.len()]);
        }
    }
}

/// Columns of a tensor.
pub(super) struct Columns<'a> {
    pub(super) x: &'a Tensor,
    pub(super) columns: Range<usize>,
}

impl RowSource for Columns<'_> {
    fn steps(&self) -> usize {
        self.x.rows()
    }

    fn columns(&self) -> usize {
        self.columns.len()
    }

    #[inline]
    fn read(&self, k: usize, from: usize, out: &mut [f32]) {
        let from = self.columns.start + from;
        out.copy_from_slice(&self.x.row(k)[from..from + out.len()]);
    }
}

/// Columns as rows.
pub(super) fn turned(cpu: &Cpu, x: &Tensor, columns: Range<usize>) -> Tensor {
    const ROWS: usize = 16;
    let mut out = Tensor::scratch(columns.len(), x.rows());
    let (stride, rows) = (out.stride(), x.rows());
    let chunks = Chunks::new(out.values_mut(), ROWS * stride);
    cpu.threads().each_part(chunks, 2 * ROWS * rows, |i, out| {
        let first = columns.start + i * ROWS;
        let columns = first..(first + out.len() / stride).min(columns.end);
        dispatch(cpu.isa(), Transpose { x, rows, columns, out, stride });
    });
    out
}

impl TrainLinear {
    pub(super) fn pack(cpu: &Cpu, masters: &Masters<'_, Tensor>, format: Format) -> Result<Self> {
        check::train_format(format)?;
        let spec = spec(masters)?;
        let shape = check::pack(&spec, format)?;
        let forward = forward_of(cpu, spec, format)?;
        let turned = turned_parts(cpu, masters);
        let stacked = stacked(masters, &turned, shape.input);
        let back = Linear::of_rows(cpu.threads(), cpu.isa(), &stacked, masters.scale, format);
        let parts = masters.parts.iter().map(Part::of).collect();
        let (gated, scale) = (masters.gated, masters.scale);
        Ok(Self { forward, back, shape, gated, scale, format, parts })
    }

    pub(super) fn repack(&mut self, cpu: &Cpu, masters: &Masters<'_, Tensor>) -> Result<()> {
        let spec = spec(masters)?;
        let shape = check::pack(&spec, self.format)?;
        let forward = forward_of(cpu, spec, self.format)?;
        let same_parts = masters.parts.iter().map(Part::of).eq(self.parts.iter().copied());
        check::repack(self.shape, shape, same_parts)?;
        self.forward = forward;
        let turned = turned_parts(cpu, masters);
        self.back.fill(cpu.threads(), &stacked(masters, &turned, shape.input));
        Ok(())
    }

    fn parts(&self) -> impl ExactSizeIterator<Item = ([usize; 2], usize)> {
        let input = self.shape.input;
        self.parts.iter().map(move |&Part { output, transposed }| {
            (if transposed { [input, output] } else { [output, input] }, output)
        })
    }
}

/// The masters as a layer to be packed.
fn spec(masters: &Masters<'_, Tensor>) -> Result<LinearSpec> {
    let parts = masters.parts.iter().map(host_part).collect::<Result<_>>()?;
    Ok(LinearSpec { parts, gated: masters.gated, scale: masters.scale })
}

/// Masters on the host.
pub(super) fn host_part(p: &MasterPart<'_, Tensor>) -> Result<LinearPart> {
    let vector = |b: &Tensor| host(b)?.reshape(vec![b.rows() * b.width()]);
    let (bias, transposed) = (p.bias.map(vector).transpose()?, p.transposed);
    Ok(LinearPart { weight: host(p.weight)?, bias, transposed })
}

/// Without a gate, so that its sums can be kept.
fn forward_of(cpu: &Cpu, spec: LinearSpec, format: Format) -> Result<Linear> {
    let spec = LinearSpec { gated: false, ..spec };
    Linear::pack(cpu.threads(), cpu.isa(), &spec, format)
}

fn host(x: &Tensor) -> Result<HostTensor> {
    let mut bytes = Vec::with_capacity(4 * x.rows() * x.width());
    // The order of bytes in memory is that of files, as the kernels need it.
    (0..x.rows()).for_each(|i| bytes.extend_from_slice(cast_slice(x.row(i))));
    let range = 0..bytes.len();
    HostTensor::from_shared(DType::F32, vec![x.rows(), x.width()], Arc::new(bytes), range)
}

/// The transposed parts, turned.
fn turned_parts(cpu: &Cpu, masters: &Masters<'_, Tensor>) -> Vec<Option<Tensor>> {
    let turn = |p: &MasterPart<'_, Tensor>| {
        p.transposed.then(|| turned(cpu, p.weight, 0..p.weight.width()))
    };
    masters.parts.iter().map(turn).collect()
}

fn stacked<'a>(
    masters: &Masters<'a, Tensor>,
    turned: &'a [Option<Tensor>],
    input: usize,
) -> Stacked<'a> {
    let mut first = 0;
    let parts = masters.parts.iter().zip(turned).map(|(part, turned)| {
        let weight = turned.as_ref().unwrap_or(part.weight);
        first += weight.rows();
        (first - weight.rows()..first, weight)
    });
    Stacked { parts: parts.collect(), input }
}

/// x · layer, added to `held` where there is something.
pub(super) fn product(
    cpu: &Cpu,
    x: &Tensor,
    layer: &Linear,
    held: &mut Gradient<Tensor>,
) -> Result<()> {
    let residual = held.take();
    let epilogue = Epilogue { residual: residual.as_ref(), ..Epilogue::NONE };
    *held = Some(crate::ops::linear::linear(cpu.threads(), x, layer, epilogue)?);
    Ok(())
}

pub(super) fn forward(
    cpu: &Cpu,
    x: &Tensor,
    layer: &TrainLinear,
    epilogue: &TrainEpilogue<'_, Tensor>,
    keep: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let TrainEpilogue { activation, dropout, residual } = *epilogue;
    check::linear_forward(x, layer.shape, residual, dropout)?;
    if !layer.gated && dropout.is_none() && (activation.is_none() || !keep) {
        let epilogue = Epilogue { activation, residual, ..Epilogue::NONE };
        let y = crate::ops::linear::linear(cpu.threads(), x, &layer.forward, epilogue)?;
        return Ok((y, None));
    }
    let sums = crate::ops::linear::linear(cpu.threads(), x, &layer.forward, Epilogue::NONE)?;
    let width = layer.shape.output;
    let mut y = Tensor::scratch(x.rows(), width);
    let mut masks = masks(dropout, x.rows(), width);
    let parts = (Chunks::<f32>::rows(&mut y), masks.as_mut().map(Chunks::<f32>::rows));
    cpu.threads().each_part(parts, 16 * width, |row, (y, factors)| {
        let (z, up) = sums.row(row).split_at(width);
        let mask = factors.map(|factors| {
            let factors = &mut factors[..width];
            if let Some(dropout) = dropout {
                mask(dropout, row, factors);
            }
            &*factors
        });
        let (up, residual) = (layer.gated.then_some(up), residual.map(|r| r.row(row)));
        let y = &mut y[..width];
        dispatch(cpu.isa(), Activate { activation, z, up, mask, residual, y });
    });
    let keep = keep && (layer.gated || activation.is_some());
    Ok((y, keep.then_some(sums)))
}

/// Room for the factors of dropout.
fn masks(dropout: Option<Dropout>, rows: usize, width: usize) -> Option<Tensor> {
    dropout.map(|_| Tensor::scratch(rows, width))
}

/// The gradient of the sums, `[N, product]`; `None` where it is `dy` itself.
fn gradient_of_sums(
    cpu: &Cpu,
    layer: &TrainLinear,
    of: &LinearBackward<'_, Tensor>,
) -> Option<Tensor> {
    if !layer.gated && of.activation.is_none() && of.dropout.is_none() {
        return None;
    }
    let (rows, width) = (of.x.rows(), layer.shape.output);
    let mut dz = Tensor::scratch(rows, layer.shape.product);
    let mut masks = masks(of.dropout, rows, width);
    let parts = (Chunks::<f32>::rows(&mut dz), masks.as_mut().map(Chunks::<f32>::rows));
    cpu.threads().each_part(parts, 24 * width, |row, (dz, factors)| {
        let (dz, dup) = dz.split_at_mut(width);
        let mask = factors.map(|factors| {
            let factors = &mut factors[..width];
            if let Some(dropout) = of.dropout {
                mask(dropout, row, factors);
            }
            &*factors
        });
        let dy = of.dy.row(row);
        // Without an activation z does not matter.
        let (z, up) = of.sums.map_or((dy, &[][..]), |sums| sums.row(row).split_at(width));
        let up = layer.gated.then_some(up);
        let activation = of.activation;
        dispatch(cpu.isa(), Deactivate { activation, z, up, mask, dy, dz, dup });
    });
    Some(dz)
}

/// The gradient of the weight of a part, whose channels are `columns` of `dz`.
fn weight_gradient(
    cpu: &Cpu,
    layer: &TrainLinear,
    part: Part,
    (x, dz, columns): (&Tensor, &Tensor, Range<usize>),
    gradient: &mut Gradient<Tensor>,
) -> Result<()> {
    let (threads, isa) = (cpu.threads(), cpu.isa());
    let panels =
        |source: &Columns<'_>| Linear::of_rows(threads, isa, source, layer.scale, layer.format);
    let all = 0..layer.shape.input;
    match part.transposed {
        false => {
            let panels = panels(&Columns { x, columns: all });
            product(cpu, &turned(cpu, dz, columns), &panels, gradient)
        }
        true => {
            let panels = panels(&Columns { x: dz, columns });
            product(cpu, &turned(cpu, x, all), &panels, gradient)
        }
    }
}

/// The sums of some columns over the rows.
pub(super) fn bias_gradient(
    cpu: &Cpu,
    dz: &Tensor,
    columns: Range<usize>,
    gradient: &mut Gradient<Tensor>,
) {
    let width = columns.len();
    let out = super::begun(cpu, gradient, [1, width]);
    let chunks = Chunks::new(&mut out.values_mut()[..width], COLUMNS);
    cpu.threads().each_part(chunks, dz.rows() * COLUMNS, |i, out| {
        let first = columns.start + i * COLUMNS;
        let columns = first..first + out.len();
        dispatch(cpu.isa(), ColumnSums { x: dz, columns, out });
    });
}

pub(super) fn backward(
    cpu: &Cpu,
    layer: &TrainLinear,
    of: &LinearBackward<'_, Tensor>,
    gradients: LinearGradients<'_, Tensor>,
) -> Result<()> {
    check::linear_backward(of, (layer.shape, layer.gated), layer.parts(), &gradients)?;
    let held = gradient_of_sums(cpu, layer, of);
    let dz = held.as_ref().unwrap_or(of.dy);
    if let Some(gradient) = gradients.x {
        product(cpu, dz, &layer.back, gradient)?;
    }
    let mut first = 0;
    for (&part, [weight, bias]) in layer.parts.iter().zip(gradients.parts) {
        let columns = first..first + part.output;
        first = columns.end;
        if let Some(gradient) = weight {
            weight_gradient(cpu, layer, part, (of.x, dz, columns.clone()), gradient)?;
        }
        if let Some(gradient) = bias {
            bias_gradient(cpu, dz, columns, gradient);
        }
    }
    Ok(())
}
