//! Linear layers: packed for both directions, and back.
//!
//! The three products of a layer are one kernel's: y = x Wᵀ, dx = dz W with W laid out turned, and dW = dzᵀ x with dz read
//! turned and x laid out turned, as weights.

use super::{add_columns, renew};
use crate::Cuda;
use crate::kernels::linear::{Fused, linear};
use crate::kernels::linear_back::{self, Shaped};
use crate::kernels::rows::View;
use crate::memory::{Buffer, Tensor};
use crate::ops::linear::{Linear, lay_out, pack, unpacked};
use seq2seq_core::backend::check::{self, LinearShape};
use seq2seq_core::train::{LinearBackward, LinearGradients, MasterPart, Masters, TrainEpilogue};
use seq2seq_core::{Format, HostTensor, LinearPart, LinearSpec, Result, Rows};

/// A layer, packed for both directions.
///
/// [`Autodiff`](seq2seq_core::autodiff::Autodiff) does this for whole models. One layer, by hand:
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{
///     Backend, Format, HostTensor,
///     train::{LinearBackward, LinearGradients, MasterPart, Masters, TrainBackend, TrainEpilogue},
/// };
/// use seq2seq_cuda::{Tensor, TrainLinear};
///
/// let row = |values: &[f32]| cuda.upload(&HostTensor::from_f32(vec![1, values.len()], values)?);
/// let (weight, x) = (row(&[0.5, -1.0])?, row(&[2.0, 4.0])?);
/// let part = MasterPart { weight: &weight, bias: None, transposed: false };
/// let masters = Masters { parts: vec![part], gated: false, scale: 1.0 };
/// let layer: TrainLinear = cuda.pack_masters(&masters, Format::F32)?;
///
/// let none = TrainEpilogue { activation: None, dropout: None, residual: None };
/// let (y, sums) = cuda.linear_forward(&x, &layer, &none, true)?;
/// assert_eq!(cuda.download(&y)?, [-3.0]);
///
/// // The loss is y itself.
/// let (dy, mut dx, mut dweight) = (row(&[1.0])?, None, None);
/// let of = LinearBackward { x: &x, sums: sums.as_ref(), activation: None, dropout: None, dy: &dy };
/// let gradients = LinearGradients { x: Some(&mut dx), parts: vec![[Some(&mut dweight), None]] };
/// cuda.linear_backward(&layer, &of, gradients)?;
/// let download = |x: Option<Tensor>| x.map(|x| cuda.download(&x)).transpose();
/// assert_eq!(download(dx)?, Some(vec![0.5, -1.0]));
/// assert_eq!(download(dweight)?, Some(vec![2.0, 4.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct TrainLinear {
    pub(crate) forward: Linear,
    /// From the gradients of all products, part after part, to that of the input.
    pub(crate) back: Linear,
    parts: Vec<Part>,
}

/// How a part lies in its checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    output: usize,
    transposed: bool,
    bias: bool,
}

impl Part {
    fn of(part: &MasterPart<'_, Tensor>) -> Self {
        let MasterPart { weight, bias, transposed } = *part;
        let output = if transposed { weight.width() } else { weight.rows() };
        Self { output, transposed, bias: bias.is_some() }
    }
}

/// The weight of a part as `[out, in]`.
fn weight<'a>(part: &MasterPart<'a, Tensor>) -> View<'a> {
    let view = View::of(part.weight);
    if part.transposed { view.turned() } else { view }
}

/// A master on the host.
fn host(part: &MasterPart<'_, Tensor>) -> Result<LinearPart> {
    let MasterPart { weight, bias, transposed } = *part;
    let shape = vec![weight.rows(), weight.width()];
    let weight = HostTensor::from_f32(shape, &weight.values().download()?)?;
    let bias = bias.map(|b| HostTensor::from_f32(vec![b.values().len()], &b.values().download()?));
    Ok(LinearPart { weight, bias: bias.transpose()?, transposed })
}

/// Packs a layer that is trained from now on: by way of the host, with all of its checks.
pub(crate) fn pack_masters(
    cuda: &Cuda,
    masters: &Masters<'_, Tensor>,
    format: Format,
) -> Result<TrainLinear> {
    check::train_format(format)?;
    let parts = masters.parts.iter().map(host).collect::<Result<_>>()?;
    let spec = LinearSpec { parts, gated: masters.gated, scale: masters.scale };
    let forward = pack(cuda, &spec, format)?;
    let LinearShape { input, product, .. } = forward.shape;
    let shape = LinearShape { input: product, product: input, output: input };
    let back = unpacked(cuda, format, shape, masters.scale)?;
    let parts = masters.parts.iter().map(Part::of).collect();
    let mut layer = TrainLinear { forward, back, parts };
    layer.lay_back(cuda, masters, &mut Buffer::filled(cuda.pool(), 1, 0)?)?;
    Ok(layer)
}

impl TrainLinear {
    /// Lays the weights out for the way back.
    fn lay_back(
        &mut self,
        cuda: &Cuda,
        masters: &Masters<'_, Tensor>,
        bad: &mut Buffer<u32>,
    ) -> Result<()> {
        let mut from = 0;
        for part in &masters.parts {
            let view = weight(part);
            lay_out(cuda, &mut self.back, view.turned(), [0, 1, from], bad)?;
            from += view.rows;
        }
        Ok(())
    }

    /// Lays weights and biases out for the way forward; gate and up channels of a gated layer alternate.
    fn lay_forward(
        &mut self,
        cuda: &Cuda,
        masters: &Masters<'_, Tensor>,
        bad: &mut Buffer<u32>,
    ) -> Result<()> {
        let mut from = 0;
        for (i, part) in masters.parts.iter().enumerate() {
            let view = weight(part);
            let (channel, step) = if masters.gated { (i, 2) } else { (from, 1) };
            lay_out(cuda, &mut self.forward, view, [channel, step, 0], bad)?;
            if let Some(bias) = part.bias {
                let (from, to) = (bias.values(), &mut self.forward.bias);
                crate::kernels::columns::spread(cuda, from, to, channel, step)?;
            }
            from += view.rows;
        }
        Ok(())
    }

    /// Shapes of the weights in their checkpoint, and outputs, of the parts.
    fn parts(&self) -> impl ExactSizeIterator<Item = ([usize; 2], usize)> {
        let input = self.forward.shape.input;
        self.parts.iter().map(move |&Part { output, transposed, .. }| {
            (if transposed { [input, output] } else { [output, input] }, output)
        })
    }

    /// Whether the masters lie as those that it was packed from.
    fn fits(&self, masters: &Masters<'_, Tensor>) -> bool {
        let part = |(part, (shape, output)): (&MasterPart<'_, Tensor>, ([usize; 2], usize))| {
            [part.weight.rows(), part.weight.width()] == shape
                && part.bias.is_none_or(|b| (b.rows(), b.width()) == (1, output))
        };
        masters.gated == self.forward.gated
            && masters.scale == self.forward.scale
            && masters.parts.len() == self.parts.len()
            && masters.parts.iter().map(Part::of).eq(self.parts.iter().copied())
            && masters.parts.iter().zip(self.parts()).all(part)
    }
}

/// Packs the layer again, on the device where the masters lie as before. Waits to learn whether they are finite.
pub(crate) fn repack(
    cuda: &Cuda,
    layer: &mut TrainLinear,
    masters: &Masters<'_, Tensor>,
) -> Result<()> {
    if !layer.fits(masters) {
        let fresh = pack_masters(cuda, masters, layer.forward.format)?;
        let lie =
            |parts: &[Part]| -> Vec<_> { parts.iter().map(|p| (p.output, p.transposed)).collect() };
        let same = lie(&fresh.parts) == lie(&layer.parts);
        check::repack(layer.forward.shape, fresh.forward.shape, same)?;
        *layer = fresh;
        return Ok(());
    }
    let mut bad = Buffer::filled(cuda.pool(), 1, 0)?;
    layer.lay_forward(cuda, masters, &mut bad)?;
    layer.lay_back(cuda, masters, &mut bad)?;
    match bad.download()?[0] {
        0 => Ok(()),
        _ => Err(check::not_finite("pack", "weight")),
    }
}

pub(crate) fn forward(
    cuda: &Cuda,
    x: &Tensor,
    layer: &TrainLinear,
    epilogue: &TrainEpilogue<'_, Tensor>,
    keep: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let layer = &layer.forward;
    let TrainEpilogue { activation, dropout, residual } = *epilogue;
    check::linear_forward(x, layer.shape, residual, dropout)?;
    // Kept for the way back, without rows that are laid out for this layer.
    let rows = View::rows(x.values_to_keep(), x.rows(), x.width());
    let needed = keep && (layer.gated || activation.is_some());
    if !needed && dropout.is_none() {
        let mut y = cuda.tensor(x.rows(), layer.shape.output)?;
        let residual = residual.map(Tensor::values);
        let fused = Fused { activation, residual, ..Fused::default() };
        linear(cuda, rows, layer, fused, y.values_mut())?;
        return Ok((y, None));
    }
    let LinearShape { product, output, .. } = layer.shape;
    let mut z = cuda.buffer(x.rows() * product)?;
    linear(cuda, rows, layer, Fused { plain: true, ..Fused::default() }, &mut z)?;
    let mut y = cuda.tensor(x.rows(), output)?;
    let mut kept = needed.then(|| cuda.tensor(x.rows(), product)).transpose()?;
    let shaped = Shaped { activation, gated: layer.gated, dropout };
    linear_back::epilogue(cuda, &z, shaped, residual, (&mut y, kept.as_mut()))?;
    Ok((y, kept))
}

/// y = scale · a bᵀ, plus `before`: `[a.rows, b.rows]`.
pub(super) fn product(
    cuda: &Cuda,
    [a, b]: [View<'_>; 2],
    (format, scale): (Format, f32),
    before: Option<&Tensor>,
) -> Result<Tensor> {
    let shape = LinearShape { input: b.width, product: b.rows, output: b.rows };
    let mut layer = unpacked(cuda, format, shape, scale)?;
    // Activations may be infinite.
    lay_out(cuda, &mut layer, b, [0, 1, 0], &mut Buffer::filled(cuda.pool(), 1, 0)?)?;
    let mut y = cuda.tensor(a.rows, b.rows)?;
    let fused = Fused { residual: before.map(Tensor::values), ..Fused::default() };
    linear(cuda, a, &layer, fused, y.values_mut())?;
    Ok(y)
}

pub(crate) fn backward(
    cuda: &Cuda,
    layer: &TrainLinear,
    of: &LinearBackward<'_, Tensor>,
    gradients: LinearGradients<'_, Tensor>,
) -> Result<()> {
    let Linear { shape, gated, format, scale, .. } = layer.forward;
    check::linear_backward(of, (shape, gated), layer.parts(), &gradients)?;
    let mut dz = cuda.tensor(of.x.rows(), shape.product)?;
    let shaped = Shaped { activation: of.activation, gated, dropout: of.dropout };
    linear_back::slopes(cuda, of.dy, of.sums, shaped, &mut dz)?;
    renew(gradients.x, |before| {
        let mut dx = cuda.tensor(of.x.rows(), shape.input)?;
        let fused = Fused { residual: before.map(Tensor::values), ..Fused::default() };
        linear(cuda, View::of(&dz), &layer.back, fused, dx.values_mut())?;
        Ok(dx)
    })?;
    let mut from = 0;
    for (part, [weight, bias]) in layer.parts.iter().zip(gradients.parts) {
        let dz = View::of(&dz).columns(from, part.output);
        renew(weight, |before| {
            let factors = [dz.turned(), View::of(of.x).turned()];
            let [a, b] = if part.transposed { [factors[1], factors[0]] } else { factors };
            product(cuda, [a, b], (format, scale), before)
        })?;
        add_columns(cuda, dz, None, bias)?;
        from += part.output;
    }
    Ok(())
}
