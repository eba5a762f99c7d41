//! Recurrent layers: packed for both directions, and back.

use super::linear::{TrainLinear, pack_masters, product, repack as repack_linear};
use super::{add, add_columns, renew, zeros};
use crate::Cuda;
use crate::kernels::linear::{Fused, linear};
use crate::kernels::recurrent_back::{DirectionBack, before};
use crate::kernels::recurrent_back_chip::ChipBack;
use crate::kernels::recurrent_chip::Chip;
use crate::kernels::rows::View;
use crate::memory::Tensor;
use crate::ops::columns::stack_rows;
use crate::ops::recurrent::{Layer, begin, order};
use seq2seq_core::backend::check::{self, RecurrentShape};
use seq2seq_core::train::{
    MasterPart, Masters, RecurBackward, RecurPass, RecurrentMasters, Wanted,
};
use seq2seq_core::{
    Cell, DType, Format, HostTensor, LinearPart, Ragged, RecurrentSpec, Result, Rows,
};
use std::sync::Arc;

/// The recurrent half of a layer, packed for both directions.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{
///     Backend, Cell, Format, HostTensor, Ragged,
///     train::{MasterPart, RecurBackward, Recurred, RecurrentMasters, TrainRecurrentOps},
/// };
/// use seq2seq_cuda::TrainRecurrent;
///
/// let upload = |rows, values: &[f32]| {
///     cuda.upload(&HostTensor::from_f32(vec![rows, values.len() / rows], values)?)
/// };
/// let weight = upload(4, &[0.5, -1.0, 0.25, 0.75])?;
/// let direction = MasterPart { weight: &weight, bias: None, transposed: false };
/// let masters = RecurrentMasters { cell: Cell::Lstm, directions: vec![direction] };
/// let layer: TrainRecurrent = cuda.pack_recurrent(&masters, Format::F32)?;
///
/// // One position of an LSTM whose gates were all given 0: c' and h' are 0.
/// let (rows, x) = (Ragged::from_lengths([1]), upload(1, &[0.0; 4])?);
/// let Recurred { y, kept, .. } = cuda.recur_forward(&x, &rows, &layer, None, true)?;
/// assert_eq!(cuda.download(&y)?, [0.0]);
///
/// // The loss is h', of which σ(o) σ(i) tanh'(g) = 1/4 comes back to g, and nothing to the others.
/// let (dy, mut dx) = (upload(1, &[1.0])?, None);
/// if let Some(kept) = &kept {
///     let of = RecurBackward { rows: &rows, state: None, y: &y, kept, dy: Some(&dy), dend: None };
///     cuda.recur_backward(&layer, &of, Some(&mut dx), None)?;
/// }
/// let dx = dx.map(|dx| cuda.download(&dx)).transpose()?;
/// assert_eq!(dx.as_deref(), Some(&[0.0, 0.0, 0.25, 0.0][..]));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct TrainRecurrent {
    pub(crate) shape: RecurrentShape,
    /// For the way forward, where the weights fit on the chip.
    chip: Option<Chip>,
    /// The same for the way back.
    chip_back: Option<ChipBack>,
    pub(crate) directions: Vec<TrainLinear>,
}

impl TrainRecurrent {
    /// The way forward.
    pub(crate) fn forward(&self) -> Layer<'_> {
        let directions = self.directions.iter().map(|d| &d.forward).collect();
        Layer { shape: self.shape, chip: self.chip, directions }
    }
}

/// The shape of the masters, with the checks of a layer that is packed from them.
fn shape(masters: &RecurrentMasters<'_, Tensor>, format: Format) -> Result<RecurrentShape> {
    check::train_format(format)?;
    check::recurrent_masters(masters)?;
    let of = |shape: Vec<usize>| {
        // Only the shape is looked at; where values are, they are looked at when they are packed.
        let bytes = vec![0u8; shape.iter().product::<usize>() * DType::F32.size()];
        let range = 0..bytes.len();
        HostTensor::from_shared(DType::F32, shape, Arc::new(bytes), range)
    };
    let part = |part: &MasterPart<'_, Tensor>| {
        let weight = of(vec![part.weight.rows(), part.weight.width()])?;
        let bias = part.bias.map(|b| of(vec![b.width()])).transpose()?;
        Ok(LinearPart { weight, bias, transposed: part.transposed })
    };
    let directions = masters.directions.iter().map(part).collect::<Result<_>>()?;
    check::recurrent(&RecurrentSpec { cell: masters.cell, directions }, format)
}

fn layer<'a>(masters: &RecurrentMasters<'a, Tensor>, direction: usize) -> Masters<'a, Tensor> {
    let MasterPart { weight, bias, transposed } = masters.directions[direction];
    let parts = vec![MasterPart { weight, bias, transposed }];
    Masters { parts, gated: false, scale: 1.0 }
}

pub(crate) fn pack(
    cuda: &Cuda,
    masters: &RecurrentMasters<'_, Tensor>,
    format: Format,
) -> Result<TrainRecurrent> {
    let shape = shape(masters, format)?;
    let pack = |d| pack_masters(cuda, &layer(masters, d), format);
    Ok(TrainRecurrent {
        shape,
        chip: Chip::of(cuda, shape, format)?,
        chip_back: ChipBack::of(cuda, shape, format)?,
        directions: (0..shape.directions).map(pack).collect::<Result<_>>()?,
    })
}

pub(crate) fn repack(
    cuda: &Cuda,
    held: &mut TrainRecurrent,
    masters: &RecurrentMasters<'_, Tensor>,
) -> Result<()> {
    let format = held.directions.first().map_or(Format::F32, |l| l.forward.format);
    check::repack_recurrent(held.shape, shape(masters, format)?)?;
    for (d, direction) in held.directions.iter_mut().enumerate() {
        repack_linear(cuda, direction, &layer(masters, d))?;
    }
    Ok(())
}

pub(crate) fn backward(
    cuda: &Cuda,
    held: &TrainRecurrent,
    of: &RecurBackward<'_, Tensor>,
    x: Wanted<'_, Tensor>,
    state: Wanted<'_, Tensor>,
) -> Result<Tensor> {
    let shape = held.shape;
    check::recur_backward(of, shape, (&x, &state))?;
    let (rows, sequences, width) = (of.y.rows(), of.rows.sequences(), shape.width);
    let mut du = cuda.tensor(rows, shape.input())?;
    let mut dx = x.is_some().then(|| cuda.tensor(rows, shape.input())).transpose()?;
    let mut dstate = begin(cuda, sequences, shape, of.dend)?;
    let (order, counts) = order(cuda, of.rows)?;
    let (widest, gates) = (counts.first().copied().unwrap_or(0), shape.cell.gates() * width);
    let mut step = cuda.buffer(if held.chip_back.is_some() { 0 } else { widest * gates })?;
    for (index, weights) in held.directions.iter().enumerate() {
        let vector = |v: usize| {
            let view = View::of(&dstate).columns(v * shape.output() + index * width, width);
            crate::kernels::recurrent::ordered(cuda, view, &order.places)
        };
        let lstm = shape.cell == Cell::Lstm;
        let mut back = DirectionBack {
            carry: vector(0)?,
            second: if lstm { vector(1)? } else { cuda.buffer(sequences * width)? },
            shape,
            index,
            order: &order,
            kept: of.kept,
            state: of.state,
            y: of.y,
            dy: of.dy,
        };
        if let Some(chip) = held.chip_back {
            let out = (&mut du, dx.as_mut());
            chip.run(cuda, &mut back, &weights.back, (counts.len(), widest), out)?;
            back.end(cuda, &mut dstate)?;
            continue;
        }
        for (position, &count) in counts.iter().enumerate().rev() {
            back.position(cuda, (position, count), (&mut du, dx.as_mut()), &mut step)?;
            // Sequences that have not begun to come back keep what they ended with.
            let step = View::rows(&step, count, gates);
            let residual = (!lstm).then_some(&back.second);
            let fused = Fused { residual, ..Fused::default() };
            linear(cuda, step, &weights.back, fused, &mut back.carry)?;
        }
        back.end(cuda, &mut dstate)?;
    }
    if let (Some(x), Some(dx)) = (x, dx) {
        add(cuda, dx, x)?;
    }
    if let Some(state) = state {
        add(cuda, dstate, state)?;
    }
    Ok(du)
}

/// Of each row, the row that direction `index` passes before it, or -1 less its sequence where there is none.
fn passed_before(rows: &Ragged, index: usize) -> Vec<i32> {
    let of = |(s, range): (usize, std::ops::Range<usize>)| {
        let first = if index == 1 { range.end.saturating_sub(1) } else { range.start };
        range.map(move |n| match n == first {
            true => -1 - s as i32,
            false if index == 1 => n as i32 + 1,
            false => n as i32 - 1,
        })
    };
    rows.ranges().enumerate().flat_map(of).collect()
}

pub(crate) fn weights_backward(
    cuda: &Cuda,
    held: &TrainRecurrent,
    passes: &[RecurPass<'_, Tensor>],
    gradients: Vec<[Wanted<'_, Tensor>; 2]>,
) -> Result<()> {
    let shape = held.shape;
    check::recur_weights_backward(passes, shape, &gradients)?;
    let gates = shape.cell.gates() * shape.width;
    let du: Vec<&Tensor> = passes.iter().map(|of| of.du).collect();
    let du = if du.is_empty() { zeros(cuda, 0, shape.input())? } else { stack_rows(cuda, &du)? };
    for (index, [weight, bias]) in gradients.into_iter().enumerate() {
        let own = View::of(&du).columns(index * gates, gates);
        add_columns(cuda, own, None, bias)?;
        if weight.is_none() {
            continue;
        }
        let of = |of: &RecurPass<'_, Tensor>| {
            let index_of = passed_before(of.rows, index);
            before(cuda, (shape, index), (of.y, of.state), &index_of)
        };
        let h = passes.iter().map(of).collect::<crate::driver::Result<Vec<_>>>()?;
        let h: Vec<&Tensor> = h.iter().collect();
        let h = if h.is_empty() { zeros(cuda, 0, shape.width)? } else { stack_rows(cuda, &h)? };
        let format = held.directions[index].forward.format;
        renew(weight, |held| {
            product(cuda, [own.turned(), View::of(&h).turned()], (format, 1.0), held)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_before_are_those_that_were_passed() {
        let rows = Ragged::from_lengths([2, 0, 3]);
        assert_eq!(passed_before(&rows, 0), [-1, 0, -3, 2, 3]);
        assert_eq!(passed_before(&rows, 1), [1, -1, 3, 4, -3]);
    }
}
