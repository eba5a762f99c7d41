//! The compiled tiles of a kernel, by their height.

use super::RawTile;
use std::ops::Range;

/// Tiles that differ in their number of rows only.
pub(super) struct Heights {
    /// Rows of the lowest.
    least: usize,
    /// Each has one row more than the one before.
    tiles: &'static [unsafe fn(&RawTile)],
}

impl Heights {
    /// Tiles of `rows` rows, one after the other; there may be none.
    pub(super) const fn new(rows: &[usize], tiles: &'static [unsafe fn(&RawTile)]) -> Self {
        assert!(rows.len() == tiles.len());
        let mut i = 1;
        while i < rows.len() {
            assert!(rows[i] == rows[0] + i, "heights with a gap");
            i += 1;
        }
        Self { least: if rows.is_empty() { 1 } else { rows[0] }, tiles }
    }

    /// The numbers of rows that there are tiles of.
    pub(super) fn all(&self) -> Range<usize> {
        self.least..self.least + self.tiles.len()
    }

    /// The most rows, 0 where there is no tile.
    pub(super) fn most(&self) -> usize {
        self.all().end - 1
    }

    /// The tile of `rows` rows.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn of(&self, rows: usize) -> unsafe fn(&RawTile) {
        assert!(self.all().contains(&rows), "no tile of {rows} rows among {:?}", self.all());
        self.tiles[rows - self.least]
    }
}
