//! Linear layers for training: packed for both directions, and the products of their gradients.
//!
//! ```text
//! dX = dZ W      W packed with its rows as the steps of the reduction, in blocks of channels
//! dW = dZᵀ X     dZ turned, X packed: the reduction is over the rows of the batch
//! ```
//!
//! All three products of a layer run on the kernels of the forward. A gated layer is packed with gate and up side by side,
//! so that its sums can be kept.

use super::masters::{Back, Columns, Forward, Stacked, outputs};
use super::products::{Operand, residual};
use crate::gemm::Linear;
use crate::kernels::backward::linear::{Activate, Deactivate};
use crate::kernels::backward::sum::ColumnSums;
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

/// The most steps of a reduction over channels that are taken at once: a panel of them stays in the second cache. Over a
/// vocabulary it would be megabytes, read again for every few rows.
const BLOCK: usize = 4096;
/// Channels of a weight whose gradient is made at once: of a vocabulary there is no second copy of dZ, turned.
const CHANNELS: usize = 4096;
/// Columns of a bias that one worker sums over all rows.
const COLUMNS: usize = 128;

/// A layer that is trained.
///
/// [`Autodiff`](seq2seq_core::autodiff::Autodiff) does all of this for whole models. One step of one layer, by hand:
///
/// ```
/// use seq2seq_core::{
///     Backend, Format, HostTensor,
///     train::{
///         LinearBackward, LinearGradients, MasterPart, Masters, OptimiserOps, Sgd, TrainBackend,
///         TrainEpilogue,
///     },
/// };
/// use seq2seq_cpu::{Cpu, CpuOptions, Tensor, TrainLinear};
///
/// fn masters(weight: &Tensor) -> Masters<'_, Tensor> {
///     let part = MasterPart { weight, bias: None, transposed: false };
///     Masters { parts: vec![part], gated: false, scale: 1.0 }
/// }
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let row = |values: &[f32]| cpu.upload(&HostTensor::from_f32(vec![1, values.len()], values)?);
/// let mut weight = row(&[0.5, -1.0])?;
/// let mut layer: TrainLinear = cpu.pack_masters(&masters(&weight), Format::F32)?;
///
/// let x = row(&[2.0, 4.0])?;
/// let none = TrainEpilogue { activation: None, dropout: None, residual: None };
/// let (y, sums) = cpu.linear_forward(&x, &layer, &none, true)?;
/// assert_eq!(cpu.download(&y)?, [-3.0]);
///
/// // The loss is y itself.
/// let (dy, mut dweight) = (row(&[1.0])?, None);
/// let of = LinearBackward { x: &x, sums: sums.as_ref(), activation: None, dropout: None, dy: &dy };
/// let gradients = LinearGradients { x: None, parts: vec![[Some(&mut dweight), None]] };
/// cpu.linear_backward(&layer, &of, gradients)?;
/// if let Some(dweight) = &dweight {
///     assert_eq!(cpu.download(dweight)?, [2.0, 4.0]);
///     let sgd = Sgd { rate: 0.125, momentum: 0.0, decay: 0.0, gradient_scale: 1.0 };
///     cpu.sgd(&sgd, &mut weight, dweight, &mut None)?;
/// }
/// cpu.repack(&mut layer, &masters(&weight))?;
/// assert_eq!(cpu.download(&cpu.linear_forward(&x, &layer, &none, false)?.0)?, [-5.5]);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TrainLinear {
    /// Never gated: gate and up stand side by side.
    forward: Linear,
    /// x · W, for the gradient of the input, in blocks of [`BLOCK`] channels at most.
    back: Vec<Linear>,
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
        Self { output: outputs(part), transposed: part.transposed }
    }
}

impl TrainLinear {
    pub(super) fn pack(cpu: &Cpu, masters: &Masters<'_, Tensor>, format: Format) -> Result<Self> {
        check::train_format(format)?;
        let shape = check::pack(&spec(masters)?, format)?;
        let (scale, gated) = (masters.scale, masters.gated);
        let size = [shape.input, shape.product];
        let forward = Linear::unfilled(cpu.isa(), size, scale, format);
        let back = blocks(shape.product)
            .map(|block| Linear::unfilled(cpu.isa(), [block.len(), shape.input], scale, format))
            .collect();
        let parts = masters.parts.iter().map(Part::of).collect();
        let mut this = Self { forward, back, shape, gated, scale, format, parts };
        this.fill(cpu, masters)?;
        Ok(this)
    }

    pub(super) fn repack(&mut self, cpu: &Cpu, masters: &Masters<'_, Tensor>) -> Result<()> {
        let sizes = masters.parts.iter().map(|p| [p.weight.rows(), p.weight.width()]);
        let same = sizes.eq(self.parts().map(|(size, _)| size))
            && masters.parts.iter().map(Part::of).eq(self.parts.iter().copied());
        match same {
            true => self.fill(cpu, masters),
            false => check::repack(self.shape, check::pack(&spec(masters)?, self.format)?, false),
        }
    }

    /// Packs both directions from masters that have the shape of the layer.
    fn fill(&mut self, cpu: &Cpu, masters: &Masters<'_, Tensor>) -> Result<()> {
        let stacked = Stacked::new(&masters.parts, self.shape.input);
        let mut first = 0;
        for part in &masters.parts {
            let held = self.forward.bias_mut(first..first + outputs(part));
            match part.bias {
                Some(bias) if !bias.row(0).iter().all(|b| b.is_finite()) => {
                    return Err(check::not_finite("pack", "bias"));
                }
                Some(bias) => held.copy_from_slice(bias.row(0)),
                None => held.fill(0.0),
            }
            first += outputs(part);
        }
        if !self.forward.fill(cpu.threads(), &Forward(&stacked)) {
            return Err(check::not_finite("pack", "weight"));
        }
        for (layer, channels) in self.back.iter_mut().zip(blocks(self.shape.product)) {
            layer.fill(cpu.threads(), &Back { stacked: &stacked, channels });
        }
        Ok(())
    }

    fn parts(&self) -> impl ExactSizeIterator<Item = ([usize; 2], usize)> {
        let input = self.shape.input;
        self.parts.iter().map(move |&Part { output, transposed }| {
            (if transposed { [input, output] } else { [output, input] }, output)
        })
    }
}

/// The masters as a layer to be packed, for its checks.
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

fn host(x: &Tensor) -> Result<HostTensor> {
    let mut bytes = Vec::with_capacity(4 * x.rows() * x.width());
    // The order of bytes in memory is that of files, as the kernels need it.
    (0..x.rows()).for_each(|i| bytes.extend_from_slice(cast_slice(x.row(i))));
    let range = 0..bytes.len();
    HostTensor::from_shared(DType::F32, vec![x.rows(), x.width()], Arc::new(bytes), range)
}

/// Nearly equal blocks of `0..channels`.
fn blocks(channels: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    let count = channels.div_ceil(BLOCK);
    (0..count).map(move |i| channels * i / count..channels * (i + 1) / count)
}

/// dz · W, added to `held` where there is something.
fn input_gradient(cpu: &Cpu, dz: &Tensor, layer: &TrainLinear, held: &mut Gradient<Tensor>) {
    if dz.rows() == 0 {
        held.get_or_insert_with(|| Tensor::scratch(0, layer.shape.input));
        return;
    }
    for (layer, channels) in layer.back.iter().zip(blocks(layer.shape.product)) {
        Operand::of(dz, channels).add_product(cpu, layer, held);
    }
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
                mask(cpu.isa(), dropout, row, factors);
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
                mask(cpu.isa(), dropout, row, factors);
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

/// The operands of the gradients of weights that do not depend on the part.
struct Input<'a> {
    x: &'a Tensor,
    /// x in panels.
    panels: Option<Linear>,
    /// x turned.
    turned: Option<Operand<'a>>,
}

impl Input<'_> {
    /// The gradient of the weight of a part, whose channels are `columns` of `dz`.
    fn weight_gradient(
        &mut self,
        cpu: &Cpu,
        layer: &TrainLinear,
        part: Part,
        (dz, columns): (&Tensor, Range<usize>),
        gradient: &mut Gradient<Tensor>,
    ) {
        let x = self.x;
        let panels = |x, columns| {
            let source = Columns { x, columns };
            Linear::of_source(cpu.threads(), cpu.isa(), &source, layer.scale, layer.format)
        };
        let input = layer.shape.input;
        if part.transposed {
            let turned = || Operand::turned(cpu, layer.forward.element(), x, 0..input);
            let x = self.turned.get_or_insert_with(turned);
            return x.add_product(cpu, &panels(dz, columns), gradient);
        }
        let before = gradient.take();
        let mut out = Tensor::scratch(part.output, input);
        let stride = out.stride();
        let panels = self.panels.get_or_insert_with(|| panels(x, 0..input));
        let chunks = out.values_mut().chunks_mut(CHANNELS * stride);
        for (first, out) in (0..part.output).step_by(CHANNELS).zip(chunks) {
            let last = part.output.min(first + CHANNELS);
            let columns = columns.start + first..columns.start + last;
            let dz = Operand::turned(cpu, panels.element(), dz, columns);
            let before = before.as_ref().map(|x| residual(x, first));
            dz.multiply(cpu, panels, before, (out, stride));
        }
        *gradient = Some(out);
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
        input_gradient(cpu, dz, layer, gradient);
    }
    let mut input = Input { x: of.x, panels: None, turned: None };
    let mut first = 0;
    for (&part, [weight, bias]) in layer.parts.iter().zip(gradients.parts) {
        let columns = first..first + part.output;
        first = columns.end;
        if let Some(gradient) = weight {
            input.weight_gradient(cpu, layer, part, (dz, columns.clone()), gradient);
        }
        if let Some(gradient) = bias {
            bias_gradient(cpu, dz, columns, gradient);
        }
    }
    Ok(())
}
