//! One position of a recurrent layer on the way back.

use super::column_threads;
use super::recurrent::{Order, at};
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

/// One direction of a layer over a batch. The first four are in the order of length, `[sequences, M]`, but for `step`,
/// `[sequences, gates · M]`.
pub(crate) struct DirectionBack<'a> {
    /// What comes back to h, and in an LSTM to c, from the position behind.
    pub(crate) carry: Buffer<f32>,
    pub(crate) carry_c: Buffer<f32>,
    /// What goes back to h beside the product, in a GRU.
    pub(crate) through: Buffer<f32>,
    /// du of the position.
    pub(crate) step: Buffer<f32>,
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

impl DirectionBack<'_> {
    fn launch<'k>(&self, cuda: &'k Cuda, kernel: &'k Kernel, count: usize) -> Launch<'k> {
        let threads = column_threads(self.shape.width);
        Launch::new(cuda, kernel).grid(count, self.shape.width.div_ceil(threads), 1).block(threads)
    }

    /// Position `position` of the first `count` sequences, which have it: writes du, and dx where it is wanted.
    pub(crate) fn position(
        &mut self,
        cuda: &Cuda,
        (position, count): (usize, usize),
        du: &mut Tensor,
        dx: Option<&mut Tensor>,
    ) -> Result<()> {
        let RecurrentShape { cell, width, .. } = self.shape;
        let (sequences, lstm) = (self.order.places.len(), cell == Cell::Lstm);
        let (gates, output) = (cell.gates(), self.shape.output());
        assert!(count <= sequences && self.carry.len() == sequences * width);
        assert!(self.step.len() >= count * gates * width);
        let second = if lstm { &self.carry_c } else { &self.through };
        assert!(second.len() == sequences * width);
        let rows = self.y.rows();
        let size = |t: &Tensor| (t.rows(), t.width());
        assert_eq!(size(self.y), (rows, output));
        assert_eq!(size(self.kept), (rows, cell.kept() * output));
        assert!(self.dy.is_none_or(|dy| size(dy) == (rows, output)));
        assert!(self.state.is_none_or(|s| size(s) == (sequences, self.shape.state())));
        assert_eq!(size(du), (rows, self.shape.input()));
        assert!(dx.as_ref().is_none_or(|dx| size(dx) == (rows, self.shape.input())));
        let first = self.index * width;
        let of = |t: Option<&Tensor>, column: usize| t.map_or(0, |t| at(t.values(), column));
        let mut launch = self.launch(cuda, if lstm { &LSTM } else { &GRU }, count);
        launch = launch.arg(of(Some(self.kept), cell.kept() * first));
        if !lstm {
            launch = launch.arg(of(Some(self.y), first));
        }
        launch = launch
            .arg(of(self.dy, first))
            .arg(of(self.state, first))
            .arg(&self.order.places)
            .arg(&self.order.first)
            .arg(&self.order.last)
            .size(position)
            .size(self.index)
            .size(width)
            .size(cell.kept() * output)
            .size(output)
            .size(self.shape.state());
        if lstm {
            launch = launch.size(output);
        }
        launch = launch.size(self.shape.input()).arg(&self.carry);
        launch = if lstm { launch.out(&mut self.carry_c) } else { launch.out(&mut self.through) };
        let gate_column = gates * first;
        let du = of(Some(&*du), gate_column);
        let dx = of(dx.as_deref(), gate_column);
        let launch = launch.out(&mut self.step).arg(du).arg(dx);
        // SAFETY: sizes agree, as was just checked; the first `count` sequences have the position, so that rows lie inside;
        // du and dx are borrowed for writing.
        unsafe { launch.run() }
    }

    /// What is left goes to the gradient of the state.
    pub(crate) fn end(&self, cuda: &Cuda, state: &mut Tensor) -> Result<()> {
        let sequences = self.order.places.len();
        assert_eq!((state.rows(), state.width()), (sequences, self.shape.state()));
        let vectors = [&self.carry, &self.carry_c];
        for (v, carry) in vectors.into_iter().take(self.shape.cell.vectors()).enumerate() {
            let column = v * self.shape.output() + self.index * self.shape.width;
            let launch = self
                .launch(cuda, &END, sequences)
                .arg(carry)
                .arg(&self.order.places)
                .size(self.shape.width)
                .size(state.width())
                .arg(at(state.values(), column));
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
        .arg(at(y.values(), index * width))
        .arg(state.map_or(0, |s| at(s.values(), index * width)))
        .arg(&index_of)
        .size(width)
        .size(y.width())
        .size(shape.state())
        .out(h.values_mut());
    // SAFETY: rows and sequences lie inside, as was just checked.
    unsafe { launch.run() }?;
    Ok(h)
}
