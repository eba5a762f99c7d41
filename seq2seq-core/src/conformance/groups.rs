//! Groups of query rows that attend to source sequences.

use crate::Ragged;
use proptest::prelude::*;

/// Their lengths.
///
/// ```
/// use seq2seq_core::conformance::groups::Groups;
///
/// // Two sources, and three groups of queries: of one row, of two, and of none.
/// let groups = Groups { lengths: vec![5, 3], rows: vec![1, 2, 0] };
/// assert_eq!(groups.sources(), [0, 1, 0]);
/// assert_eq!((groups.source_rows().rows(), groups.group_rows().rows()), (8, 3));
/// ```
#[derive(Debug, Clone)]
pub struct Groups {
    /// Length of each source; there is at least one.
    pub lengths: Vec<usize>,
    /// Rows of each group; group i attends to source i·7 mod their number, so that several share one.
    pub rows: Vec<usize>,
}

impl Groups {
    /// One to four sources of `length`, and at most `most` groups, of one row mostly, as those of a decoding are.
    pub(super) fn some(
        length: impl Strategy<Value = usize>,
        most: usize,
    ) -> impl Strategy<Value = Self> {
        let lengths = proptest::collection::vec(length, 1..=4);
        let group = prop_oneof![1 => Just(0usize), 4 => Just(1usize), 2 => 2..=9usize];
        let rows = proptest::collection::vec(group, 0..=most);
        (lengths, rows).prop_map(|(lengths, rows)| Self { lengths, rows })
    }

    /// The source of each group.
    pub fn sources(&self) -> Vec<usize> {
        (0..self.rows.len()).map(|i| i * 7 % self.lengths.len()).collect()
    }

    /// How positions divide into sources.
    pub fn source_rows(&self) -> Ragged {
        Ragged::from_lengths(self.lengths.iter().copied())
    }

    /// How query rows divide into groups.
    pub fn group_rows(&self) -> Ragged {
        Ragged::from_lengths(self.rows.iter().copied())
    }
}
