//! Mutable memory in parts, for threads that each write their own.
//!
//! The parts of a [`Split`] do not overlap; [`Threads::each_part`](crate::threads::Threads::each_part) hands out each once.
//! So kernels run in parallel without unsafe code of their own.

use super::Tensor;
use seq2seq_core::Rows;
use std::marker::PhantomData;
use std::slice;

/// Parts that do not overlap.
///
/// # Safety
/// For different indices below `count`, what [`part`](Self::part) gives does not overlap.
pub(crate) unsafe trait Split: Sync {
    /// One part, which only its holder can reach.
    type Part;

    /// How many parts there are.
    fn count(&self) -> usize;

    /// Part `i`.
    ///
    /// # Safety
    /// `i` is below `count`, and this is the only call with it.
    unsafe fn part(&self, i: usize) -> Self::Part;
}

/// A pointer to the start of a slice that somebody has borrowed mutably for `'a`.
struct Start<'a, T>(*mut T, PhantomData<&'a mut [T]>);

// SAFETY: through it, threads reach the parts that they were handed, as if each had been sent its `&mut [T]`.
unsafe impl<T: Send> Sync for Start<'_, T> {}
// SAFETY: as for Sync.
unsafe impl<T: Send> Send for Start<'_, T> {}

/// Consecutive runs of a slice: part i is `bounds[i]..bounds[i + 1]`.
pub(crate) struct Runs<'a, T> {
    start: Start<'a, T>,
    bounds: &'a [usize],
}

impl<'a, T> Runs<'a, T> {
    /// # Panics
    /// When `bounds` fall, or lead out of `values`.
    pub(crate) fn new(values: &'a mut [T], bounds: &'a [usize]) -> Self {
        assert!(bounds.is_sorted() && bounds.last().is_none_or(|&end| end <= values.len()));
        Self { start: Start(values.as_mut_ptr(), PhantomData), bounds }
    }
}

// SAFETY: the bounds do not fall, so runs do not overlap.
unsafe impl<'a, T: Send> Split for Runs<'a, T> {
    type Part = &'a mut [T];

    fn count(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    unsafe fn part(&self, i: usize) -> &'a mut [T] {
        let (from, to) = (self.bounds[i], self.bounds[i + 1]);
        // SAFETY: `new` saw the bounds lie in the slice, which is borrowed for 'a; nobody else has this run.
        unsafe { slice::from_raw_parts_mut(self.start.0.add(from), to - from) }
    }
}

/// Runs of equal length; the last may be shorter.
pub(crate) struct Chunks<'a, T> {
    start: Start<'a, T>,
    len: usize,
    chunk: usize,
}

impl<'a, T> Chunks<'a, T> {
    /// # Panics
    /// When `chunk` is 0.
    pub(crate) fn new(values: &'a mut [T], chunk: usize) -> Self {
        assert!(chunk > 0);
        Self { len: values.len(), start: Start(values.as_mut_ptr(), PhantomData), chunk }
    }

    /// The rows of a tensor, each with the gap behind it.
    pub(crate) fn rows(x: &'a mut Tensor) -> Chunks<'a, f32> {
        let stride = x.stride();
        Chunks::new(x.values_mut(), stride)
    }
}

// SAFETY: chunk i ends where chunk i + 1 begins.
unsafe impl<'a, T: Send> Split for Chunks<'a, T> {
    type Part = &'a mut [T];

    fn count(&self) -> usize {
        self.len.div_ceil(self.chunk)
    }

    unsafe fn part(&self, i: usize) -> &'a mut [T] {
        let from = i * self.chunk;
        let len = self.chunk.min(self.len - from);
        // SAFETY: `from` is below `len` for an index below `count`; the slice is borrowed for 'a; nobody else has this
        // chunk.
        unsafe { slice::from_raw_parts_mut(self.start.0.add(from), len) }
    }
}

/// A tensor cut into rows at `bounds` and into columns of `width`: part i is column group `i % columns` of row group
/// `i / columns`.
pub(crate) struct Tiles<'a> {
    start: Start<'a, f32>,
    /// The first column.
    first: usize,
    stride: usize,
    bounds: &'a [usize],
    width: usize,
    columns: usize,
}

impl<'a> Tiles<'a> {
    /// # Panics
    /// When `bounds` fall or lead out of `x`, or `columns` columns of width `width` do.
    pub(crate) fn new(
        x: &'a mut Tensor,
        bounds: &'a [usize],
        columns: usize,
        width: usize,
    ) -> Self {
        let [tiles] = Self::beside(x, bounds, [(columns, width)]);
        tiles
    }

    /// As [`new`](Self::new), several times, each with the columns that follow those of the one before.
    pub(crate) fn beside<const N: usize>(
        x: &'a mut Tensor,
        bounds: &'a [usize],
        groups: [(usize, usize); N],
    ) -> [Self; N] {
        assert!(bounds.is_sorted() && bounds.last().is_none_or(|&end| end <= x.rows()));
        assert!(groups.iter().map(|(columns, width)| columns * width).sum::<usize>() <= x.width());
        let stride = x.stride();
        let (start, mut next) = (x.values_mut().as_mut_ptr(), 0);
        groups.map(|(columns, width)| {
            let first = next;
            next += columns * width;
            Self { start: Start(start, PhantomData), first, stride, bounds, width, columns }
        })
    }
}

// SAFETY: tiles of different row groups share no row, others no column, nor do those of another splitting of `beside`.
unsafe impl<'a> Split for Tiles<'a> {
    type Part = Tile<'a>;

    fn count(&self) -> usize {
        self.bounds.len().saturating_sub(1) * self.columns
    }

    unsafe fn part(&self, i: usize) -> Tile<'a> {
        let (group, column) = (i / self.columns, i % self.columns);
        let (from, to) = (self.bounds[group], self.bounds[group + 1]);
        let offset = from * self.stride + self.first + column * self.width;
        // SAFETY: `beside` saw that rows and columns lie in the tensor. (An empty group may begin at its end.)
        let start = unsafe { self.start.0.add(if from == to { 0 } else { offset }) };
        let start = Start(start, PhantomData);
        Tile { start, stride: self.stride, rows: to - from, width: self.width }
    }
}

/// A tensor cut into runs of columns: part i is columns `bounds[i]..bounds[i + 1]` of every row.
pub(crate) struct Columns<'a> {
    start: Start<'a, f32>,
    stride: usize,
    rows: usize,
    bounds: &'a [usize],
}

impl<'a> Columns<'a> {
    /// # Panics
    /// When `bounds` fall or lead out of `x`.
    pub(crate) fn new(x: &'a mut Tensor, bounds: &'a [usize]) -> Self {
        assert!(bounds.is_sorted() && bounds.last().is_none_or(|&end| end <= x.width()));
        let (stride, rows) = (x.stride(), x.rows());
        Self { start: Start(x.values_mut().as_mut_ptr(), PhantomData), stride, rows, bounds }
    }
}

// SAFETY: the bounds do not fall, so different parts share no column.
unsafe impl<'a> Split for Columns<'a> {
    type Part = Tile<'a>;

    fn count(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    unsafe fn part(&self, i: usize) -> Tile<'a> {
        let (from, to) = (self.bounds[i], self.bounds[i + 1]);
        // SAFETY: `new` saw that the columns lie in each row. (Without rows there may be no values.)
        let start = unsafe { self.start.0.add(if self.rows == 0 { 0 } else { from }) };
        let start = Start(start, PhantomData);
        Tile { start, stride: self.stride, rows: self.rows, width: to - from }
    }
}

/// A tensor whose rows are vectors, several for each direction of a recurrent layer, cut into runs of units: part i is units
/// `bounds[i]..bounds[i + 1]` of each vector of their direction.
pub(crate) struct Vectors<'a> {
    start: Start<'a, f32>,
    stride: usize,
    rows: usize,
    /// Units of all directions, one after the other.
    bounds: &'a [usize],
    /// Units of a direction.
    width: usize,
    /// Vectors of a direction.
    count: usize,
}

impl<'a> Vectors<'a> {
    /// # Panics
    /// When `bounds` fall, lead out of `x`, or a part has units of two directions.
    pub(crate) fn new(
        x: &'a mut Tensor,
        bounds: &'a [usize],
        (width, count): (usize, usize),
    ) -> Self {
        let inside = |w: &[usize]| w[0] <= w[1] && w[1] <= (w[0] / width + 1) * width;
        assert!(width > 0 && bounds.windows(2).all(inside));
        assert!(bounds.last().is_none_or(|&end| end.div_ceil(width) * width * count <= x.width()));
        let (stride, rows) = (x.stride(), x.rows());
        let start = Start(x.values_mut().as_mut_ptr(), PhantomData);
        Self { start, stride, rows, bounds, width, count }
    }
}

// SAFETY: the bounds do not fall, so different parts share no unit of a vector; vectors do not overlap, as a part has units of
// one direction.
unsafe impl<'a> Split for Vectors<'a> {
    type Part = VectorTile<'a>;

    fn count(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    unsafe fn part(&self, i: usize) -> VectorTile<'a> {
        let (from, to) = (self.bounds[i], self.bounds[i + 1]);
        let column = from / self.width * self.width * self.count + from % self.width;
        // SAFETY: `new` saw that the units of each vector lie in each row. (Without rows there may be no values.)
        let start = unsafe { self.start.0.add(if self.rows == 0 { 0 } else { column }) };
        let start = Start(start, PhantomData);
        let (stride, rows, step, count) = (self.stride, self.rows, self.width, self.count);
        VectorTile { start, stride, rows, units: to - from, step, count }
    }
}

/// Some units of each vector of some rows.
pub(crate) struct VectorTile<'a> {
    start: Start<'a, f32>,
    stride: usize,
    rows: usize,
    units: usize,
    /// From a vector to the next.
    step: usize,
    count: usize,
}

impl VectorTile<'_> {
    /// The units of each vector of row `i`; of vectors that there are not, none.
    ///
    /// # Panics
    /// When there is no row `i`.
    pub(crate) fn row<const N: usize>(&mut self, i: usize) -> [&mut [f32]; N] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        std::array::from_fn(|vector| match vector < self.count {
            false => &mut [][..],
            // SAFETY: row and vector were just seen to be in the tile, which lies in the tensor and belongs to this holder
            // alone; vectors begin `step` apart and have at most as many units, so no two of these slices overlap.
            true => unsafe {
                let at = i * self.stride + vector * self.step;
                slice::from_raw_parts_mut(self.start.0.add(at), self.units)
            },
        })
    }
}

/// Some columns of some rows.
pub(crate) struct Tile<'a> {
    start: Start<'a, f32>,
    stride: usize,
    rows: usize,
    width: usize,
}

impl Tile<'_> {
    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The distance from one row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The columns of row `i` of the tile.
    ///
    /// # Panics
    /// When there are not that many rows.
    pub(crate) fn row(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: the row was just seen to be in the tile, which lies in the tensor and belongs to this holder alone.
        unsafe { slice::from_raw_parts_mut(self.start.0.add(i * self.stride), self.width) }
    }
}

// SAFETY: there are no parts where there is none, and those of `S` otherwise.
unsafe impl<S: Split> Split for Option<S> {
    type Part = Option<S::Part>;

    fn count(&self) -> usize {
        self.as_ref().map_or(usize::MAX, S::count)
    }

    unsafe fn part(&self, i: usize) -> Option<S::Part> {
        // SAFETY: the caller's promise.
        self.as_ref().map(|split| unsafe { split.part(i) })
    }
}

// SAFETY: the parts of either do not overlap, and the two are of different memory, borrowed mutably for each.
unsafe impl<A: Split, B: Split> Split for (A, B) {
    type Part = (A::Part, B::Part);

    fn count(&self) -> usize {
        self.0.count().min(self.1.count())
    }

    unsafe fn part(&self, i: usize) -> Self::Part {
        // SAFETY: the caller's promise.
        unsafe { (self.0.part(i), self.1.part(i)) }
    }
}
