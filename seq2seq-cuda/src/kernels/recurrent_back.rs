//! One position of a recurrent layer on the way back.

use super::column_threads;
use super::recurrent::Order;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::backend::check::RecurrentShape;
use seq2seq_core::{Cell, Rows};

static ARTIFACT: Artifact = artifact!("recurrent_back");
static LSTM: Kernel = Kernel::new(&ARTIFACT, "recur_lstm_back");
static GRU: Kernel = Kernel::new(&ARTIFACT, "recur_gru_back");
static END: Kernel = Kernel::new(&ARTIFACT, "recur_end_back");
static BEFORE: Kernel = Kernel::new(&ARTIFACT, "recur_before");

/// One direction of a layer over a batch. The first two are in the order of length, `[sequences, M]`.
pub(crate) struct DirectionBack<'a> {
    /// What comes back to h from the position behind.
    pub(crate) carry: Buffer<f32>,
    /// The same to c, in an LSTM; in a GRU what goes back to h beside the product.
    pub(crate) second: Buffer<f32>,
    pub(crate) shape: RecurrentShape,
    /// 0, or 1 for the one that reads backwards.
    pub(crate) index: usize,
    pub(crate) order: &'a Order,
    /// What the forward kept, began with and gave.
    pub(crate) kept: &'a Tensor,
    pub(crate) state: Option<&'a Tensor>,
    pub(crate) y: &'a Tensor,
    pub(crate) dy: Option<&'a Tensor>,
}

/// What a direction writes: du, and dx where it is wanted.
pub(crate) type OutBack<'a> = (&'a mut Tensor, Option<&'a mut Tensor>);

impl DirectionBack<'_> {
    fn launch<'k>(&self, cuda: &'k Cuda, kernel: &'k Kernel, count: usize) -> Launch<'k> {
        let threads = column_threads(self.shape.width);
        Launch::new(cuda, kernel).grid(count, self.shape.width.div_ceil(threads), 1).block(threads)
    }

    /// Position `position` of the first `count` sequences, which have it; `step` becomes du of each.
    pub(crate) fn position(
        &mut self,
        cuda: &Cuda,
        (position, count): (usize, usize),
        out: OutBack<'_>,
        step: &mut Buffer<f32>,
    ) -> Result<()> {
        let RecurrentShape { cell, width, .. } = self.shape;
        assert!(count <= self.order.places.len() && step.len() >= count * cell.gates() * width);
        let launch = self.launch(cuda, if cell == Cell::Lstm { &LSTM } else { &GRU }, count);
        let launch = self.sequences(launch, out).size(position).out(step);
        // SAFETY: the first `count` sequences have the position, so that rows lie inside; `step` has room for each.
        unsafe { launch.run() }
    }

    /// Adds `SEQUENCES_BACK_PARAMETERS` of `recurrent_back.cuh`: the columns of the direction lie inside the rows of all that is
    /// read and written.
    pub(super) fn sequences<'l>(
        &mut self,
        launch: Launch<'l>,
        (du, dx): OutBack<'_>,
    ) -> Launch<'l> {
        let RecurrentShape { cell, width, .. } = self.shape;
        let (sequences, lstm) = (self.order.places.len(), cell == Cell::Lstm);
        let (gates, output) = (cell.gates(), self.shape.output());
        assert_eq!([self.carry.len(), self.second.len()], [sequences * width; 2]);
        let rows = self.y.rows();
        let size = |t: &Tensor| (t.rows(), t.width());
        assert_eq!(size(self.y), (rows, output));
        assert_eq!(size(self.kept), (rows, cell.kept() * output));
        assert!(self.dy.is_none_or(|dy| size(dy) == (rows, output)));
        assert!(self.state.is_none_or(|s| size(s) == (sequences, self.shape.state())));
        assert_eq!(size(du), (rows, self.shape.input()));
        assert!(dx.as_ref().is_none_or(|dx| size(dx) == (rows, self.shape.input())));
        let first = self.index * width;
        let of = |t: Option<&Tensor>, column: usize| t.map_or(0, |t| t.values().at(column));
        launch
            .arg(of(Some(self.kept), cell.kept() * first))
            .arg(of(Some(self.y), first))
            .arg(of(self.dy, first))
            .arg(of(self.state, first))
            .arg(&self.order.places)
            .arg(&self.order.first)
            .arg(&self.order.last)
            .size(self.index)
            .size(width)
            .size(cell.kept() * output)
            .size(output)
            .size(self.shape.state())
            .size(self.shape.input())
            .size(if lstm { output } else { 0 })
            .out(&mut self.carry)
            .out(&mut self.second)
            .arg(of(Some(du), gates * first))
            .arg(of(dx.as_deref(), gates * first))
    }

    /// What is left goes to the gradient of the state.
    pub(crate) fn end(&self, cuda: &Cuda, state: &mut Tensor) -> Result<()> {
        let sequences = self.order.places.len();
        assert_eq!((state.rows(), state.width()), (sequences, self.shape.state()));
        let vectors = [&self.carry, &self.second];
        for (v, carry) in vectors.into_iter().take(self.shape.cell.vectors()).enumerate() {
            let column = v * self.shape.output() + self.index * self.shape.width;
            let launch = self
                .launch(cuda, &END, sequences)
                .arg(carry)
                .arg(&self.order.places)
                .size(self.shape.width)
                .size(state.width())
                .arg(state.values().at(column));
            // SAFETY: places are rows of the state, and the column lies inside; it is borrowed for writing.
            unsafe { launch.run() }?;
        }
        Ok(())
    }
}

/// The h that each row of direction `index` began with, `[N, M]`: that of row `before[n]` of `y`, or of sequence
/// -1 - `before[n]` of the state.
pub(crate) fn before(
    cuda: &Cuda,
    (shape, index): (RecurrentShape, usize),
    (y, state): (&Tensor, Option<&Tensor>),
    before: &[i32],
) -> Result<Tensor> {
    let (rows, width) = (y.rows(), shape.width);
    assert_eq!((rows, shape.output()), (before.len(), y.width()));
    let sequences = state.map_or(usize::MAX, Rows::rows);
    let inside = |&b: &i32| match usize::try_from(b) {
        Ok(row) => row < rows,
        Err(_) => ((-1 - b) as usize) < sequences,
    };
    assert!(before.iter().all(inside));
    let index_of = cuda.upload_values(before)?;
    let mut h = cuda.tensor(rows, width)?;
    let threads = column_threads(width);
    let launch = Launch::new(cuda, &BEFORE)
        .grid(rows, width.div_ceil(threads), 1)
        .block(threads)
        .arg(y.values().at(index * width))
        .arg(state.map_or(0, |s| s.values().at(index * width)))
        .arg(&index_of)
        .size(width)
        .size(y.width())
        .size(shape.state())
        .out(h.values_mut());
    // SAFETY: rows and sequences lie inside, as was just checked.
    unsafe { launch.run() }?;
    Ok(h)
}
