//! Linear layers, f32 and bf16.

use super::{add_wanted, dropped, gradients, leaf, rounded};
use crate::fault::Result;
use crate::ops::linear::Linear;
use crate::tensor::to_host;
use crate::{Tch, Tensor};
use seq2seq_core::backend::check;
use seq2seq_core::train::{LinearBackward, LinearGradients, MasterPart, Masters, TrainEpilogue};
use seq2seq_core::{Format, HostTensor, LinearPart, LinearSpec, Rows};

/// A layer and how its parts lie in their checkpoint.
///
/// The way back is that of libtorch's own autograd:
///
/// ```
/// use seq2seq_core::{
///     Backend, Format, HostTensor,
///     train::{LinearBackward, LinearGradients, MasterPart, Masters, TrainBackend, TrainEpilogue},
/// };
/// use seq2seq_tch::{Tch, TchOptions, Tensor, TrainLinear};
///
/// let tch = Tch::new(TchOptions::default())?;
/// let row = |values: &[f32]| tch.upload(&HostTensor::from_f32(vec![1, values.len()], values)?);
/// let (weight, x) = (row(&[0.5, -1.0])?, row(&[2.0, 4.0])?);
/// let part = MasterPart { weight: &weight, bias: None, transposed: false };
/// let masters = Masters { parts: vec![part], gated: false, scale: 1.0 };
/// let layer: TrainLinear = tch.pack_masters(&masters, Format::F32)?;
///
/// let none = TrainEpilogue { activation: None, dropout: None, residual: None };
/// let (y, sums) = tch.linear_forward(&x, &layer, &none, true)?;
/// assert_eq!(tch.download(&y)?, [-3.0]);
///
/// // The loss is y itself.
/// let (dy, mut dx, mut dweight) = (row(&[1.0])?, None, None);
/// let of = LinearBackward { x: &x, sums: sums.as_ref(), activation: None, dropout: None, dy: &dy };
/// let gradients = LinearGradients { x: Some(&mut dx), parts: vec![[Some(&mut dweight), None]] };
/// tch.linear_backward(&layer, &of, gradients)?;
/// let download = |x: Option<Tensor>| x.map(|x| tch.download(&x)).transpose();
/// assert_eq!(download(dx)?, Some(vec![0.5, -1.0]));
/// assert_eq!(download(dweight)?, Some(vec![2.0, 4.0]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TrainLinear {
    layer: Linear,
    format: Format,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    output: usize,
    transposed: bool,
}

/// Masters on the host.
pub(super) fn part(part: &MasterPart<'_, Tensor>) -> Result<LinearPart> {
    let MasterPart { weight, bias, transposed } = *part;
    let host = |x: &Tensor, shape| -> Result<HostTensor> {
        Ok(HostTensor::from_f32(shape, &to_host(x.values())?)?)
    };
    let bias = bias.map(|b| host(b, vec![b.rows() * b.width()])).transpose()?;
    Ok(LinearPart { weight: host(weight, weight.shape().to_vec())?, bias, transposed })
}

impl TrainLinear {
    pub(crate) fn pack(tch: &Tch, masters: &Masters<'_, Tensor>, format: Format) -> Result<Self> {
        check::train_format(format)?;
        let own = |p: &MasterPart<'_, Tensor>| Part {
            output: if p.transposed { p.weight.width() } else { p.weight.rows() },
            transposed: p.transposed,
        };
        let parts = masters.parts.iter().map(part).collect::<Result<_>>()?;
        let spec = LinearSpec { parts, gated: masters.gated, scale: masters.scale };
        let layer = tch.pack_linear(&spec, format)?;
        Ok(Self { layer, format, parts: masters.parts.iter().map(own).collect() })
    }

    pub(crate) fn repack(&mut self, tch: &Tch, masters: &Masters<'_, Tensor>) -> Result<()> {
        let packed = Self::pack(tch, masters, self.format)?;
        check::repack(self.layer.shape(), packed.layer.shape(), packed.parts == self.parts)?;
        *self = packed;
        Ok(())
    }

    fn shapes(&self) -> impl ExactSizeIterator<Item = ([usize; 2], usize)> {
        let input = self.layer.shape().input;
        self.parts.iter().map(move |&Part { output, transposed }| {
            (if transposed { [input, output] } else { [output, input] }, output)
        })
    }
}

pub(crate) fn forward(
    tch: &Tch,
    x: &Tensor,
    layer: &TrainLinear,
    epilogue: &TrainEpilogue<'_, Tensor>,
    keep: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let TrainLinear { layer, .. } = layer;
    let shape = layer.shape();
    check::linear_forward(x, shape, epilogue.residual, epilogue.dropout)?;
    let sums = layer.products(tch, x.values())?;
    let y = layer.act(&sums, epilogue.activation)?;
    let mut y = dropped(tch, y, epilogue.dropout, [x.rows(), shape.output])?;
    if let Some(residual) = epilogue.residual {
        y = y.f_add(&residual.values().f_to_kind(y.kind())?)?;
    }
    let needed = keep && (layer.gated() || epilogue.activation.is_some());
    let sums = needed.then(|| Tensor::new(x.rows(), shape.product, sums)).transpose()?;
    Ok((Tensor::new(x.rows(), shape.output, y)?, sums))
}

pub(crate) fn backward(
    tch: &Tch,
    layer: &TrainLinear,
    of: &LinearBackward<'_, Tensor>,
    wanted: LinearGradients<'_, Tensor>,
) -> Result<()> {
    let (shape, gated) = (layer.layer.shape(), layer.layer.gated());
    check::linear_backward(of, (shape, gated), layer.shapes(), &wanted)?;
    let (rows, bf16) = (of.x.rows(), layer.format == Format::Bf16);
    let dy = dropped(tch, tch.wide(of.dy)?, of.dropout, [rows, shape.output])?;
    let dz = match of.sums {
        Some(sums) if gated || of.activation.is_some() => {
            let sums = leaf(&tch.wide(sums)?)?;
            let y = layer.layer.act(&sums, of.activation)?;
            gradients(&y, &dy, &[&sums])?.swap_remove(0)
        }
        _ => dy,
    };
    let weights = layer.layer.floats()?;
    let db = dz.f_sum_dim_intlist([0i64].as_slice(), false, None)?;
    let (dz, x) = (rounded(tch, &dz, bf16)?, rounded(tch, &tch.wide(of.x)?, bf16)?);
    let scale = layer.layer.scale();
    if wanted.x.is_some() {
        let dx = dz.f_matmul(&weights.f_to_kind(tch.kind())?)?.f_mul_scalar(scale)?;
        add_wanted(tch, wanted.x, [rows, shape.input], &dx)?;
    }
    let mut from = 0;
    for ((part, (size, output)), [weight, bias]) in
        layer.parts.iter().zip(layer.shapes()).zip(wanted.parts)
    {
        let columns = output as i64;
        if weight.is_some() {
            let dz = dz.f_narrow(1, from, columns)?;
            let dw = match part.transposed {
                false => dz.f_tr()?.f_matmul(&x)?,
                true => x.f_tr()?.f_matmul(&dz)?,
            };
            add_wanted(tch, weight, size, &dw.f_mul_scalar(scale)?)?;
        }
        add_wanted(tch, bias, [1, output], &db.f_narrow(0, from, columns)?)?;
        from += columns;
    }
    Ok(())
}
