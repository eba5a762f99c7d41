//! Recurrent layers for training: packed for both directions, walked back, and the products of their weights' gradients.

use super::linear::{bias_gradient, host_part};
use super::masters::{Columns, Forward, Stacked};
use super::products::Operand;
use crate::Cpu;
use crate::gemm::{Back, BackCells, BackStep, Before, Linear, Recurrent, Source};
use crate::isa::Isa;
use crate::kernels::backward::sum::AddScaled;
use crate::memory::{Buffer, Chunks, Tensor};
use crate::ops::{columns::stack_rows, recurrent::longest_first};
use crate::simd::dispatch;
use seq2seq_core::backend::check::{self, RecurrentShape};
use seq2seq_core::train::{
    Gradient, MasterPart, RecurBackward, RecurPass, RecurrentMasters, Wanted,
};
use seq2seq_core::{Cell, Format, RecurrentSpec, Result, Rows};
use std::ops::Range;

/// The recurrent half of a layer that is trained.
///
/// ```
/// use seq2seq_core::{
///     Backend, Cell, Format, HostTensor, Ragged,
///     train::{MasterPart, RecurBackward, RecurPass, Recurred, RecurrentMasters, TrainRecurrentOps},
/// };
/// use seq2seq_cpu::{Cpu, CpuOptions, Tensor, TrainRecurrent};
///
/// let cpu = Cpu::new(CpuOptions::default())?;
/// let upload = |rows, values: &[f32]| {
///     cpu.upload(&HostTensor::from_f32(vec![rows, values.len() / rows], values)?)
/// };
/// let (weight, bias) = (upload(3, &[0.5, -1.0, 0.25])?, upload(1, &[0.1, 0.0, -0.3])?);
/// let direction = MasterPart { weight: &weight, bias: Some(&bias), transposed: false };
/// let masters = RecurrentMasters { cell: Cell::Gru, directions: vec![direction] };
/// let layer: TrainRecurrent = cpu.pack_recurrent(&masters, Format::F32)?;
///
/// // The loss is the sum of h over a sequence of two positions.
/// let (rows, x) = (Ragged::from_lengths([2]), upload(2, &[0.3, 1.0, -0.2, 0.7, -1.0, 2.0])?);
/// let Recurred { y, kept, .. } = cpu.recur_forward(&x, &rows, &layer, None, true)?;
/// let (dy, mut dx, mut dbias) = (upload(2, &[1.0, 1.0])?, None, None);
/// if let Some(kept) = &kept {
///     let of = RecurBackward { rows: &rows, state: None, y: &y, kept, dy: Some(&dy), dend: None };
///     let du = cpu.recur_backward(&layer, &of, Some(&mut dx), None)?;
///     // The weights' gradients, over as many passes as there were.
///     let pass = RecurPass { rows: &rows, state: None, y: &y, du: &du };
///     cpu.recur_weights_backward(&layer, &[pass], vec![[None, Some(&mut dbias)]])?;
/// }
///
/// // The bias of r, and that of z, is added to the input, so that its gradient is the sum of the input's.
/// let download = |x: Option<Tensor>| x.map(|x| cpu.download(&x)).transpose();
/// let (Some(dx), Some(dbias)) = (download(dx)?, download(dbias)?) else { unreachable!() };
/// assert!((0..2).all(|gate| (dbias[gate] - dx[gate] - dx[3 + gate]).abs() < 1e-6));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TrainRecurrent {
    forward: Recurrent,
    back: Back,
    format: Format,
}

impl TrainRecurrent {
    pub(super) fn pack(
        cpu: &Cpu,
        masters: &RecurrentMasters<'_, Tensor>,
        format: Format,
    ) -> Result<Self> {
        let forward = forward_of(cpu, masters, format)?;
        let (threads, isa) = (cpu.threads(), cpu.isa());
        let back = Back::pack(threads, isa, forward.shape(), &weights(masters), format);
        Ok(Self { forward, back, format })
    }

    pub(super) fn repack(
        &mut self,
        cpu: &Cpu,
        masters: &RecurrentMasters<'_, Tensor>,
    ) -> Result<()> {
        check::recurrent_masters(masters)?;
        let shape = self.forward.shape();
        if !has_shape(masters, shape) {
            let other = forward_of(cpu, masters, self.format)?;
            return check::repack_recurrent(shape, other.shape());
        }
        let of_parts = |part| Stacked::new(std::slice::from_ref(part), shape.width);
        let stacked: Vec<_> = masters.directions.iter().map(of_parts).collect();
        let turned: Vec<_> = stacked.iter().map(Forward).collect();
        let biases: Vec<_> =
            masters.directions.iter().map(|part| part.bias.map(|bias| bias.row(0))).collect();
        if !biases.iter().flatten().all(|bias| bias.iter().all(|b| b.is_finite())) {
            return Err(check::not_finite("pack", "bias"));
        }
        if !self.forward.fill(cpu.threads(), &turned, &biases) {
            return Err(check::not_finite("pack", "weight"));
        }
        self.back.fill(cpu.threads(), &weights(masters));
        Ok(())
    }

    pub(super) fn forward(&self) -> &Recurrent {
        &self.forward
    }
}

fn forward_of(
    cpu: &Cpu,
    masters: &RecurrentMasters<'_, Tensor>,
    format: Format,
) -> Result<Recurrent> {
    check::train_format(format)?;
    check::recurrent_masters(masters)?;
    let directions = masters.directions.iter().map(host_part).collect::<Result<_>>()?;
    let spec = RecurrentSpec { cell: masters.cell, directions };
    Recurrent::pack(cpu.threads(), cpu.isa(), &spec, format)
}

/// Whether these are the masters of a layer of that shape.
fn has_shape(masters: &RecurrentMasters<'_, Tensor>, shape: RecurrentShape) -> bool {
    let (gates, width) = (shape.cell.gates() * shape.width, shape.width);
    let has = |part: &MasterPart<'_, Tensor>| {
        let bias = part.bias.is_none_or(|bias| bias.width() == gates);
        !part.transposed && [part.weight.rows(), part.weight.width()] == [gates, width] && bias
    };
    (masters.cell, masters.directions.len()) == (shape.cell, shape.directions)
        && masters.directions.iter().all(has)
}

/// U of each direction by its rows.
fn weights<'a>(masters: &RecurrentMasters<'a, Tensor>) -> Vec<Columns<'a>> {
    let all = |x: &'a Tensor| Columns { x, columns: 0..x.width() };
    masters.directions.iter().map(|part| all(part.weight)).collect()
}

/// Where the positions of a step stand: rows of each direction.
fn places(
    of: &RecurBackward<'_, Tensor>,
    order: &[usize],
    t: usize,
    places: &mut [usize],
) -> usize {
    let live = order.partition_point(|&i| of.rows.length(i) > t);
    let (forwards, backwards) = places.split_at_mut(order.len());
    for (row, &i) in order[..live].iter().enumerate() {
        let range = of.rows.range(i);
        (forwards[row], backwards[row]) = (range.start + t, range.end - 1 - t);
    }
    live
}

/// Columns of the gradient of the last state, in the order of the sequences.
fn begin(of: &RecurBackward<'_, Tensor>, order: &[usize], columns: Range<usize>) -> Tensor {
    let width = columns.len();
    let mut out = Tensor::scratch(order.len(), width);
    let stride = out.stride();
    for (row, &i) in out.values_mut().chunks_exact_mut(stride).zip(order) {
        match of.dend {
            Some(dend) => row[..width].copy_from_slice(&dend.row(i)[columns.clone()]),
            None => row[..width].fill(0.0),
        }
    }
    out
}

/// All sequences side by side, a position of each at a time, the last first.
pub(super) fn backward(
    cpu: &Cpu,
    layer: &TrainRecurrent,
    of: &RecurBackward<'_, Tensor>,
    x: Wanted<'_, Tensor>,
    state: Wanted<'_, Tensor>,
) -> Result<Tensor> {
    let shape = layer.forward.shape();
    check::recur_backward(of, shape, (&x, &state))?;
    let (sequences, rows, width) = (of.rows.sequences(), of.rows.rows(), shape.output());
    let order = longest_first(of.rows);
    let lstm = shape.cell == Cell::Lstm;
    let mut dh = begin(of, &order, 0..width);
    let mut dc = lstm.then(|| begin(of, &order, width..2 * width));
    let mut behind = Tensor::scratch(sequences, shape.input());
    let mut next = Tensor::scratch(sequences, shape.input());
    let mut du = Tensor::scratch(rows, shape.input());
    let mut dx = (x.is_some() && !lstm).then(|| Tensor::scratch(rows, shape.input()));
    let mut positions = Buffer::<usize>::scratch(2 * sequences);
    let mut count = 0;
    for t in (0..of.rows.longest()).rev() {
        let live = places(of, &order, t, &mut positions);
        let (forwards, backwards) = positions.split_at(sequences);
        let before = match of.state {
            _ if t > 0 => Before::Position(of.y),
            Some(state) => Before::State(state, &order, if lstm { width } else { 0 }),
            None => Before::Nothing,
        };
        let cells = BackCells {
            rows: [&forwards[..live], &backwards[..live]],
            dy: of.dy,
            kept: of.kept,
            before,
            next: &mut next,
            du: &mut du,
            dx: dx.as_mut(),
        };
        let behind_of = (&behind, count);
        let step = BackStep { behind: behind_of, dh: &mut dh, dc: dc.as_mut(), cells: Some(cells) };
        layer.back.step(cpu.threads(), step);
        std::mem::swap(&mut behind, &mut next);
        count = live;
    }
    if let Some(gradient) = state {
        let step = BackStep { behind: (&behind, count), dh: &mut dh, dc: None, cells: None };
        layer.back.step(cpu.threads(), step);
        first_state(cpu, gradient, shape, &order, (&dh, dc.as_ref()));
    }
    if let Some(gradient) = x {
        match dx {
            Some(dx) => super::add(cpu, dx, gradient),
            None => add_copy(cpu, &du, gradient),
        }
    }
    Ok(du)
}

/// gradient += x
fn add_copy(cpu: &Cpu, x: &Tensor, gradient: &mut Gradient<Tensor>) {
    let (add, width) = (gradient.is_some(), x.width());
    let gradient = gradient.get_or_insert_with(|| Tensor::scratch(x.rows(), width));
    cpu.threads().each_part(Chunks::<f32>::rows(gradient), width / 2, |row, out| {
        let (out, x) = (&mut out[..width], x.row(row));
        match add {
            true => dispatch(cpu.isa(), AddScaled { out, x, factor: 1.0 }),
            false => out.copy_from_slice(x),
        }
    });
}

/// Adds what came to the first states, rows in the order of `order`.
fn first_state(
    cpu: &Cpu,
    gradient: &mut Gradient<Tensor>,
    shape: RecurrentShape,
    order: &[usize],
    (dh, dc): (&Tensor, Option<&Tensor>),
) {
    let (add, width) = (gradient.is_some(), shape.output());
    let gradient = gradient.get_or_insert_with(|| Tensor::scratch(order.len(), shape.state()));
    let stride = gradient.stride();
    let values = gradient.values_mut();
    for (row, &i) in order.iter().enumerate() {
        let out = &mut values[i * stride..][..shape.state()];
        for (out, part) in out.chunks_exact_mut(width).zip([Some(dh), dc].into_iter().flatten()) {
            let x = part.row(row);
            match add {
                true => dispatch(cpu.isa(), AddScaled { out, x, factor: 1.0 }),
                false => out.copy_from_slice(x),
            }
        }
    }
}

/// h of one direction before each position of some passes.
struct StateBefore<'a> {
    /// The row that holds it; zeros where there is none.
    rows: Vec<Option<&'a [f32]>>,
    columns: Range<usize>,
}

impl<'a> StateBefore<'a> {
    fn of(passes: &[RecurPass<'a, Tensor>], d: usize, width: usize) -> Self {
        let mut rows = Vec::with_capacity(passes.iter().map(|of| of.rows.rows()).sum());
        for of in passes {
            for (i, range) in of.rows.ranges().enumerate() {
                let first = || of.state.map(|state| state.row(i));
                rows.extend(range.clone().map(|n| match d {
                    0 if n > range.start => Some(of.y.row(n - 1)),
                    1 if n + 1 < range.end => Some(of.y.row(n + 1)),
                    _ => first(),
                }));
            }
        }
        Self { rows, columns: d * width..(d + 1) * width }
    }
}

impl Source for StateBefore<'_> {
    fn steps(&self) -> usize {
        self.rows.len()
    }

    fn columns(&self) -> usize {
        self.columns.len()
    }

    fn read(
        &self,
        _: Isa,
        steps: Range<usize>,
        columns: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        let from = self.columns.start;
        for (row, out) in self.rows[steps].iter().zip(out.chunks_mut(stride)) {
            let out = &mut out[..columns.len()];
            match row {
                Some(row) => out.copy_from_slice(&row[from + columns.start..from + columns.end]),
                None => out.fill(0.0),
            }
        }
    }
}

pub(super) fn weights_backward(
    cpu: &Cpu,
    layer: &TrainRecurrent,
    passes: &[RecurPass<'_, Tensor>],
    gradients: Vec<[Wanted<'_, Tensor>; 2]>,
) -> Result<()> {
    let shape = layer.forward.shape();
    check::recur_weights_backward(passes, shape, &gradients)?;
    let stacked;
    let du = match passes {
        [] => return Ok(()),
        [one] => one.du,
        _ => {
            stacked = stack_rows(cpu, &passes.iter().map(|of| of.du).collect::<Vec<_>>())?;
            &stacked
        }
    };
    let gates = shape.cell.gates() * shape.width;
    for (d, [weight, bias]) in gradients.into_iter().enumerate() {
        let columns = d * gates..(d + 1) * gates;
        if let Some(gradient) = weight {
            let h = StateBefore::of(passes, d, shape.width);
            let panels = Linear::of_source(cpu.threads(), cpu.isa(), &h, 1.0, layer.format);
            let du = Operand::turned(cpu, panels.element(), du, columns.clone());
            du.add_product(cpu, &panels, gradient);
        }
        if let Some(gradient) = bias {
            bias_gradient(cpu, du, columns, gradient);
        }
    }
    Ok(())
}
