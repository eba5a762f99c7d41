//! Batches of unequal lengths, packed without padding.

use crate::{Error, Result};
use std::ops::Range;

/// How N packed rows divide into sequences: sequence `i` owns rows `offsets[i]..offsets[i + 1]`.
///
/// Activations are always `[N, width]`; there is no padding and no mask. A sequence may be empty.
///
/// ```
/// let rows = seq2seq_core::Ragged::from_lengths([3, 0, 2]);
/// assert_eq!((rows.sequences(), rows.rows(), rows.longest()), (3, 5, 3));
/// assert_eq!(rows.range(2), 3..5);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ragged {
    offsets: Vec<usize>,
}

impl Ragged {
    /// From the length of each sequence.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut this = Self { offsets: vec![0] };
        this.set_lengths(lengths);
        this
    }

    /// `sequences` sequences of one row each: a decode step.
    pub fn single_rows(sequences: usize) -> Self {
        Self { offsets: (0..=sequences).collect() }
    }

    /// Refills in place, without allocating where the number of sequences does not grow.
    pub fn set_lengths(&mut self, lengths: impl IntoIterator<Item = usize>) {
        self.offsets.truncate(1);
        let mut end = 0;
        self.offsets.extend(lengths.into_iter().map(|n| {
            end += n;
            end
        }));
    }

    /// The number of sequences, B.
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The number of packed rows, N.
    pub fn rows(&self) -> usize {
        self.offsets[self.offsets.len() - 1]
    }

    /// The rows of sequence `i`.
    ///
    /// # Panics
    /// When there is no sequence `i`.
    pub fn range(&self, i: usize) -> Range<usize> {
        self.offsets[i]..self.offsets[i + 1]
    }

    /// The length of sequence `i`.
    ///
    /// # Panics
    /// When there is no sequence `i`.
    pub fn length(&self, i: usize) -> usize {
        self.range(i).len()
    }

    /// The longest length; 0 for an empty batch.
    pub fn longest(&self) -> usize {
        self.lengths().max().unwrap_or(0)
    }

    /// The lengths in order.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.ranges().map(|r| r.len())
    }

    /// The row ranges in order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.offsets.windows(2).map(|w| w[0]..w[1])
    }

    /// The B + 1 offsets, beginning with 0.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The index of the last row of each sequence; fails when one is empty.
    pub fn last_rows(&self) -> Result<Vec<usize>> {
        self.ranges()
            .enumerate()
            .map(|(i, r)| match r.is_empty() {
                true => Err(Error::invalid("last_rows", format!("sequence {i} is empty"))),
                false => Ok(r.end - 1),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_lengths() {
        let r = Ragged::from_lengths([2, 0, 3]);
        assert_eq!((r.sequences(), r.rows(), r.longest()), (3, 5, 3));
        assert_eq!(r.ranges().collect::<Vec<_>>(), [0..2, 2..2, 2..5]);
        assert!(r.last_rows().is_err());
        assert_eq!(Ragged::single_rows(2), Ragged::from_lengths([1, 1]));
        assert_eq!(Ragged::from_lengths([]).longest(), 0);
    }
}
