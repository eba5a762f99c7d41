//! LSTM and GRU over sequences. Where the weights of h fit on the chip, one launch a direction; else at each position the product with
//! h, one linear layer over the sequences that have it, and the equations of the cell.

use super::linear::{self, Linear};
use crate::Cuda;
use crate::kernels::linear::{Fused, linear};
use crate::kernels::recurrent::{Direction, Order};
use crate::kernels::recurrent_chip::Chip;
use crate::kernels::rows::View;
use crate::memory::{Buffer, Tensor, Together};
use seq2seq_core::backend::check::{self, RecurrentShape};
use seq2seq_core::train::Recurred;
use seq2seq_core::{Format, LinearSpec, Ragged, RecurrentSpec, Result, Rows};

/// The recurrent half of a layer in the device's memory.
///
/// A sequence can be run piece by piece, with the bits of the whole:
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let cuda = gpu::cuda();
/// use seq2seq_core::{
///     Backend, Cell, Format, HostTensor, LinearPart, Ragged, RecurrentOps, RecurrentSpec,
/// };
/// use seq2seq_cuda::Recurrent;
///
/// let weight = HostTensor::from_f32(vec![4, 1], &[0.5, -1.0, 0.25, 0.75])?;
/// let direction = LinearPart { weight, bias: None, transposed: false };
/// let spec = RecurrentSpec { cell: Cell::Lstm, directions: vec![direction] };
/// let layer: Recurrent = cuda.recurrent(&spec, Format::F32)?;
///
/// // What a linear layer made of the inputs: i, f, g and o of two positions.
/// let x = [0.3, 1.0, -0.2, 0.5, 0.7, -1.0, 2.0, 0.1];
/// let x = cuda.upload(&HostTensor::from_f32(vec![2, 4], &x)?)?;
/// let (h, end) = cuda.recur(&x, &Ragged::from_lengths([2]), &layer, None)?;
///
/// let (step, mut state, mut steps) = (Ragged::single_rows(1), None, Vec::new());
/// for row in 0..2 {
///     let (h, end) = cuda.recur(&cuda.gather_rows(&x, &[row])?, &step, &layer, state.as_ref())?;
///     steps.extend(cuda.download(&h)?);
///     state = Some(end);
/// }
/// assert_eq!(steps, cuda.download(&h)?);
/// assert_eq!(steps[1], cuda.download(&end)?[0]); // h, and behind it c
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub struct Recurrent {
    shape: RecurrentShape,
    /// Where the weights fit on the chip; for all directions.
    chip: Option<Chip>,
    directions: Vec<Linear>,
}

/// A layer as it runs forward.
pub(crate) struct Layer<'a> {
    pub(crate) shape: RecurrentShape,
    pub(crate) chip: Option<Chip>,
    pub(crate) directions: Vec<&'a Linear>,
}

pub(crate) fn pack(cuda: &Cuda, spec: &RecurrentSpec, format: Format) -> Result<Recurrent> {
    let shape = check::recurrent(spec, format)?;
    let pack = |part: &seq2seq_core::LinearPart| {
        let spec = LinearSpec { parts: vec![part.clone()], gated: false, scale: 1.0 };
        linear::pack(cuda, &spec, format)
    };
    let directions = spec.directions.iter().map(pack).collect::<Result<_>>()?;
    Ok(Recurrent { shape, chip: Chip::of(cuda, shape, format)?, directions })
}

/// The sequences by length, longest first; and for each position how many have it.
fn by_length(rows: &Ragged) -> (Vec<usize>, Vec<usize>) {
    let mut places: Vec<usize> = (0..rows.sequences()).collect();
    places.sort_by_key(|&i| std::cmp::Reverse(rows.length(i)));
    let have = |t| places.partition_point(|&i| rows.length(i) > t);
    let counts = (0..rows.longest()).map(have).collect();
    (places, counts)
}

/// The sequences of a batch by length on the device, and for each position how many have it.
pub(crate) fn order(cuda: &Cuda, rows: &Ragged) -> Result<(Order, Vec<usize>)> {
    let (places, counts) = by_length(rows);
    let order = Together::upload(cuda.pool(), |tables| {
        let mut table = |of: &dyn Fn(usize) -> usize| {
            tables.add(&places.iter().map(|&i| of(i) as u32).collect::<Vec<_>>())
        };
        let (first, last) = (table(&|i| rows.range(i).start), table(&|i| rows.range(i).end));
        Order { places: table(&|i| i), first, last }
    })?;
    Ok((order, counts))
}

pub(crate) fn recur(
    cuda: &Cuda,
    x: &Tensor,
    rows: &Ragged,
    layer: &Recurrent,
    state: Option<&Tensor>,
) -> Result<(Tensor, Tensor)> {
    let Recurrent { shape, chip, ref directions } = *layer;
    let layer = Layer { shape, chip, directions: directions.iter().collect() };
    let recurred = run(cuda, (x, rows), &layer, state, false)?;
    Ok((recurred.y, recurred.end))
}

/// With what the way back needs, where `keep` is set.
pub(crate) fn run(
    cuda: &Cuda,
    (x, rows): (&Tensor, &Ragged),
    layer: &Layer<'_>,
    state: Option<&Tensor>,
    keep: bool,
) -> Result<Recurred<Tensor>> {
    let &Layer { shape, chip, .. } = layer;
    check::recur(x, rows, shape, state)?;
    let mut y = cuda.tensor(x.rows(), shape.output())?;
    let mut end = begin(cuda, rows.sequences(), shape, state)?;
    let width = shape.cell.kept() * shape.output();
    let mut kept = keep.then(|| cuda.tensor(x.rows(), width)).transpose()?;
    let (order, counts) = order(cuda, rows)?;
    let widest = counts.first().copied().unwrap_or(0);
    let gates = shape.cell.gates() * shape.width;
    let mut u = cuda.buffer(if chip.is_some() { 0 } else { widest * gates })?;
    for (index, weights) in layer.directions.iter().enumerate() {
        let mut direction = Direction::begin(cuda, (shape, index), &order, x, &end)?;
        if let Some(chip) = chip {
            let out = (&mut y, &mut end, kept.as_mut());
            chip.run(cuda, &direction, weights, (counts.len(), widest), out)?;
            continue;
        }
        for (position, &count) in counts.iter().enumerate() {
            let h = View::rows(&direction.h, count, shape.width);
            linear(cuda, h, weights, Fused::default(), &mut u)?;
            let out = (&mut y, &mut end, kept.as_mut());
            direction.step(cuda, (position, count), &u, out)?;
        }
    }
    Ok(Recurred { y, end, kept })
}

/// What the sequences begin with: a copy of `state`, or zeros.
pub(crate) fn begin(
    cuda: &Cuda,
    sequences: usize,
    shape: RecurrentShape,
    state: Option<&Tensor>,
) -> Result<Tensor> {
    let width = shape.state();
    Ok(match state {
        Some(state) => {
            let mut copy = cuda.tensor(sequences, width)?;
            copy.values_mut().copy_from(0, state.values(), 0, sequences * width)?;
            copy
        }
        None => Tensor::of(sequences, width, Buffer::filled(cuda.pool(), sequences * width, 0)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequences_that_have_a_position_come_first() {
        let rows = Ragged::from_lengths([2, 0, 3, 2]);
        assert_eq!(by_length(&rows), (vec![2, 0, 3, 1], vec![3, 3, 1]));
        assert_eq!(by_length(&Ragged::from_lengths([0, 0])), (vec![0, 1], vec![]));
    }
}
