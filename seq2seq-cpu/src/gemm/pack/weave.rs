//! Columns side by side, unit by unit.

use super::super::micro::Layout;
use crate::{
    isa::Isa,
    kernels::backward::copy::{Part, TransposePart},
    simd::dispatch,
};
use bytemuck::{Pod, cast_slice, cast_slice_mut};

/// The columns of a panel in the type of their weights, one after the other.
pub(super) struct Woven<'a, T> {
    pub(super) layout: Layout,
    pub(super) values: &'a [T],
    /// Values from one column to the next.
    pub(super) stride: usize,
    /// Values of a column, whole units.
    pub(super) length: usize,
}

impl<T: Pod> Woven<'_, T> {
    /// Writes a unit of `UNIT` values of each column in turn.
    ///
    /// Units of four bytes, which columns have in their own order, are the words of a matrix that is turned by vectors.
    pub(super) fn write<const UNIT: usize>(&self, isa: Isa, panel: &mut [u8]) {
        let columns = self.layout.columns;
        let in_order = (0..columns).all(|i| self.layout.column_at(i) == i);
        if UNIT * size_of::<T>() == 4 && in_order {
            let (words, stride) = (self.length / UNIT, self.stride / UNIT);
            // Words are moved and not read as numbers.
            let from =
                Part { values: cast_slice(self.values), stride, rows: columns, columns: words };
            let out = cast_slice_mut(panel);
            return dispatch(isa, TransposePart { from, out, stride: columns });
        }
        let starts: Vec<usize> =
            (0..columns).map(|i| self.layout.column_at(i) * self.stride).collect();
        let (places, _) = cast_slice_mut::<u8, T>(panel).as_chunks_mut::<UNIT>();
        for (i, side_by_side) in places.chunks_exact_mut(columns).enumerate() {
            for (place, start) in side_by_side.iter_mut().zip(&starts) {
                place.copy_from_slice(&self.values[start + i * UNIT..][..UNIT]);
            }
        }
        debug_assert_eq!(places.len(), columns * self.length / UNIT);
    }
}
