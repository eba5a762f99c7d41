//! One position of a recurrent layer.

use super::column_threads;
use super::rows::View;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Table, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::backend::check::RecurrentShape;
use seq2seq_core::{Cell, Rows};

static ARTIFACT: Artifact = artifact!("recurrent");
static BEGIN: Kernel = Kernel::new(&ARTIFACT, "recur_begin");
static LSTM: Kernel = Kernel::new(&ARTIFACT, "recur_lstm");
static GRU: Kernel = Kernel::new(&ARTIFACT, "recur_gru");

/// The sequences of a batch by length, longest first, on the device.
pub(crate) struct Order {
    /// The place of each in the batch.
    pub(crate) places: Table<u32>,
    /// Its first row, and the row behind its last.
    pub(crate) first: Table<u32>,
    pub(crate) last: Table<u32>,
}

/// What a direction writes: y, the state, and what is kept for the way back where that is wanted.
pub(crate) type Out<'a> = (&'a mut Tensor, &'a mut Tensor, Option<&'a mut Tensor>);

/// One direction of a layer over a batch. `h` is in the order of length; `y` and `state` in that of the batch.
pub(crate) struct Direction<'a> {
    pub(crate) shape: RecurrentShape,
    /// 0, or 1 for the one that reads backwards.
    pub(crate) index: usize,
    pub(crate) order: &'a Order,
    pub(crate) x: &'a Tensor,
    pub(crate) h: Buffer<f32>,
}

impl<'a> Direction<'a> {
    /// With the h that the sequences begin with.
    pub(crate) fn begin(
        cuda: &Cuda,
        (shape, index): (RecurrentShape, usize),
        order: &'a Order,
        x: &'a Tensor,
        state: &Tensor,
    ) -> Result<Self> {
        let width = shape.width;
        assert_eq!(shape.state(), state.width());
        assert!(index < shape.directions);
        let view = View::of(state).columns(index * width, width);
        let h = ordered(cuda, view, &order.places)?;
        Ok(Self { shape, index, order, x, h })
    }

    /// Position `position` of the first `count` sequences, which have it; `u` is U h + b of each.
    pub(crate) fn step(
        &mut self,
        cuda: &Cuda,
        (position, count): (usize, usize),
        u: &Buffer<f32>,
        out: Out<'_>,
    ) -> Result<()> {
        let RecurrentShape { cell, width, .. } = self.shape;
        let gates = cell.gates() * width;
        assert!(count <= self.order.places.len() && u.len() >= count * gates);
        let threads = column_threads(width);
        let kernel = if cell == Cell::Lstm { &LSTM } else { &GRU };
        let launch =
            Launch::new(cuda, kernel).grid(count, width.div_ceil(threads), 1).block(threads);
        let launch = self.sequences(launch, out).size(position).arg(u).out(&mut self.h);
        // SAFETY: the first `count` sequences have the position, so rows lie inside x and y; u has a row, and h, of each.
        unsafe { launch.run() }
    }

    /// Adds `SEQUENCES_PARAMETERS` of `recurrent.cuh`: the columns of the direction lie inside the rows of x, y, state and kept.
    pub(super) fn sequences<'l>(
        &self,
        launch: Launch<'l>,
        (y, state, kept): Out<'_>,
    ) -> Launch<'l> {
        let RecurrentShape { cell, width, .. } = self.shape;
        let (output, stride) = (self.shape.output(), cell.kept() * self.shape.output());
        assert_eq!((self.x.width(), y.width()), (self.shape.input(), output));
        assert_eq!((self.x.rows(), self.shape.state()), (y.rows(), state.width()));
        assert_eq!(state.rows(), self.order.places.len());
        assert!(kept.as_ref().is_none_or(|k| (k.rows(), k.width()) == (y.rows(), stride)));
        let first = self.index * width;
        launch
            .arg(self.x.values().at(cell.gates() * first))
            .arg(&self.order.places)
            .arg(&self.order.first)
            .arg(&self.order.last)
            .size(self.index)
            .size(width)
            .size(self.x.width())
            .size(output)
            .size(state.width())
            .size(stride)
            .size(if cell == Cell::Lstm { output } else { 0 })
            .arg(y.values().at(first))
            .arg(state.values().at(first))
            .arg(kept.map_or(0, |k| k.values().at(cell.kept() * first)))
    }
}

/// The rows of `view` in the order of `places`.
pub(crate) fn ordered(cuda: &Cuda, view: View<'_>, places: &Table<u32>) -> Result<Buffer<f32>> {
    view.check();
    assert_eq!((view.rows, view.strides[1]), (places.len(), 1));
    let mut out = cuda.buffer(view.rows * view.width)?;
    let threads = column_threads(view.width);
    let launch = Launch::new(cuda, &BEGIN)
        .grid(view.rows, view.width.div_ceil(threads), 1)
        .block(threads)
        .arg(view.address())
        .arg(places)
        .size(view.width)
        .size(view.strides[0])
        .out(&mut out);
    // SAFETY: places are a permutation of the view's rows.
    unsafe { launch.run() }?;
    Ok(out)
}
