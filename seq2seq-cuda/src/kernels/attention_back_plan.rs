//! Which block takes which rows and which keys on the way back through attention, and the tables that say so.

use super::additive_back::by_source;
use super::attention::instance;
use super::attention_back_keys;
use super::kv_store::{CHUNK, first_pages};
use crate::Cuda;
use crate::driver::Result;
use crate::memory::Buffer;
use seq2seq_core::{AttentionSpec, Precision, Ragged};

/// Query vectors of a tile.
pub(super) const VECTORS: usize = 64;

/// Who attends to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Each row to its own sequence, or to what of it is not behind the row.
    Within { rows: Ragged, causal: bool },
    /// The rows of group i to all of source `sources[i]`.
    Across { rows: Ragged, sources: Vec<usize>, source_rows: Ragged },
}

impl Seen {
    pub(crate) fn rows(&self) -> &Ragged {
        match self {
            Self::Within { rows, .. } | Self::Across { rows, .. } => rows,
        }
    }

    pub(super) fn source_rows(&self) -> &Ragged {
        match self {
            Self::Within { rows, .. } => rows,
            Self::Across { source_rows, .. } => source_rows,
        }
    }

    pub(super) fn causal(&self) -> bool {
        matches!(self, Self::Within { causal: true, .. })
    }

    /// The source of each group of rows.
    fn source(&self, group: usize) -> usize {
        match self {
            Self::Within { .. } => group,
            Self::Across { sources, .. } => sources[group],
        }
    }
}

/// The part of a block: the first of its rows and how many they are, the first key and how many, where it begins, and the first page of
/// the source, where its keys and values are in pages.
type Item = [i32; 8];

/// Of each block of the kernel for queries: the first place of its sums by distance, in two halves, how many a head has, and its
/// last row in its sequence.
type Places = [i32; 4];

/// The positions of a source, and its first page.
type Source = (std::ops::Range<usize>, usize);

fn sources(seen: &Seen) -> Vec<Source> {
    let rows = seen.source_rows();
    rows.ranges().zip(first_pages(rows).0).collect()
}

fn item(rows: (usize, usize), (keys, page): &Source, start: usize) -> Item {
    [rows.0, rows.1, keys.start, keys.len(), start, *page, 0, 0].map(|n| n as i32)
}

/// For each tile of `tile` keys of a source; `starts` is where the list of the rows of each source begins.
fn key_items(seen: &Seen, starts: &[u32], tile: usize) -> Vec<Item> {
    let of = |(s, source): (usize, Source)| {
        let rows = (starts[s] as usize, (starts[s + 1] - starts[s]) as usize);
        (0..source.0.len()).step_by(tile).map(move |start| item(rows, &source, start))
    };
    sources(seen).into_iter().enumerate().flat_map(of).collect()
}

/// For each tile of query vectors of a group of rows.
fn query_items(seen: &Seen, group: usize) -> Vec<Item> {
    let sources = sources(seen);
    let of = |(i, rows): (usize, std::ops::Range<usize>)| {
        let (source, rows) = (sources[seen.source(i)].clone(), (rows.start, rows.len()));
        let starts = (0..rows.1 * group).step_by(VECTORS);
        starts.map(move |start| item(rows, &source, start))
    };
    seen.rows().ranges().enumerate().flat_map(of).collect()
}

/// Where the sums by distance of each block go, and how many there are in all. A block of rows `low..=last` that sees `keys`
/// meets the distances from `-last` to `keys - 1 - low`, or where it is causal to 0.
fn places(items: &[Item], causal: bool, (heads, group): (usize, usize)) -> (Vec<Places>, usize) {
    let mut count = 0;
    let of = |item: &Item| {
        let [_, rows, _, keys, start, ..] = item.map(|n| n as usize);
        let past = (start + VECTORS).min(rows * group);
        let (low, last) = (start / group, (past - 1) / group);
        let distances = if causal { last + 1 } else { keys + last - low };
        let at = count as u64;
        count += heads * distances;
        [at as u32 as i32, (at >> 32) as i32, distances as i32, last as i32]
    };
    let places = items.iter().map(of).collect();
    (places, count)
}

/// What of an attention the tables depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    instance: usize,
    precision: Precision,
}

impl Shape {
    fn new(spec: &AttentionSpec, precision: Precision) -> Self {
        let instance = instance(spec.head_dim);
        Self { heads: spec.heads, kv_heads: spec.kv_heads, instance, precision }
    }

    /// Keys of a block of the kernel for keys.
    fn key_tile(self) -> usize {
        match self.precision {
            Precision::F32 => attention_back_keys::tile(self.instance),
            // A page.
            Precision::Bf16 => CHUNK,
        }
    }
}

/// The tables of a way back, on the device; the same for all layers.
pub(crate) struct Plan {
    seen: Seen,
    shape: Shape,
    /// Of the kernel for keys.
    pub(super) key_items: Buffer<Item>,
    /// The rows of each source; none where they follow each other.
    pub(super) list: Option<Buffer<u32>>,
    /// Of the kernel for queries.
    pub(super) query_items: Buffer<Item>,
    pub(super) places: Buffer<Places>,
    /// Sums by distance of all blocks and heads.
    pub(super) distances: usize,
    /// Of each row in its sequence.
    positions: Buffer<i32>,
}

impl Plan {
    /// Of an attention that is in `precision`.
    pub(crate) fn new(
        cuda: &Cuda,
        seen: &Seen,
        (spec, precision): (&AttentionSpec, Precision),
    ) -> Result<Self> {
        let (shape, group) = (Shape::new(spec, precision), spec.heads / spec.kv_heads);
        let rows = seen.rows();
        let sources: Vec<usize> = (rows.lengths().enumerate())
            .flat_map(|(i, length)| std::iter::repeat_n(seen.source(i), length))
            .collect();
        let (starts, list) = by_source(&sources, seen.source_rows().sequences());
        let in_order = list.iter().zip(0u32..).all(|(&row, i)| row == i);
        let key_items = key_items(seen, &starts, shape.key_tile());
        let query_items = query_items(seen, group);
        let (places, distances) = match seen {
            Seen::Within { causal, .. } => places(&query_items, *causal, (spec.heads, group)),
            Seen::Across { .. } => (Vec::new(), 0),
        };
        let positions: Vec<i32> = rows.lengths().flat_map(|length| 0..length as i32).collect();
        Ok(Self {
            seen: seen.clone(),
            shape,
            key_items: cuda.upload_values(&key_items)?,
            list: if in_order { None } else { Some(cuda.upload_values(&list)?) },
            query_items: cuda.upload_values(&query_items)?,
            places: cuda.upload_values(&places)?,
            distances,
            positions: cuda.upload_values(&positions)?,
        })
    }

    /// Whether it was made for this.
    pub(crate) fn suits(
        &self,
        seen: &Seen,
        (spec, precision): (&AttentionSpec, Precision),
    ) -> bool {
        self.shape == Shape::new(spec, precision) && self.seen == *seen
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Sums by distance of all blocks and heads.
    pub(crate) fn distances(&self) -> usize {
        self.distances
    }

    /// Of each row in its sequence.
    pub(crate) fn positions(&self) -> &Buffer<i32> {
        &self.positions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_tiled_with_the_rows_that_see_them() {
        let rows = Ragged::from_lengths([2, 3, 1]);
        let source_rows = Ragged::from_lengths([70, 0, 5]);
        let seen = Seen::Across { rows, sources: vec![2, 0, 2], source_rows };
        let (starts, list) = by_source(&[2, 2, 0, 0, 0, 2], 3);
        assert_eq!((&starts[..], &list[..]), (&[0, 3, 3, 6][..], &[2, 3, 4, 0, 1, 5][..]));
        let items = key_items(&seen, &starts, 64);
        let wanted =
            [[0, 3, 0, 70, 0, 0, 0, 0], [0, 3, 0, 70, 64, 0, 0, 0], [3, 3, 70, 5, 0, 2, 0, 0]];
        assert_eq!(items, wanted);
        // Twenty-five heads over one of keys.
        let items = query_items(&seen, 25);
        let wanted = [
            [0, 2, 70, 5, 0, 2, 0, 0],
            [2, 3, 0, 70, 0, 0, 0, 0],
            [2, 3, 0, 70, 64, 0, 0, 0],
            [5, 1, 70, 5, 0, 2, 0, 0],
        ];
        assert_eq!(items, wanted);
    }

    /// Every distance of a block has a place, and no two have one.
    #[test]
    fn distances_have_places_of_their_own() {
        for (causal, group) in [(false, 1), (true, 1), (false, 3), (true, 6)] {
            let rows = Ragged::from_lengths([130, 0, 1, 63]);
            let seen = Seen::Within { rows, causal };
            let items = query_items(&seen, group);
            let heads = 2 * group;
            let (places, count) = places(&items, causal, (heads, group));
            let mut at = 0;
            for (item, place) in items.iter().zip(&places) {
                let [_, rows, _, keys, start, ..] = item.map(|n| n as isize);
                let vectors = start..(start + VECTORS as isize).min(rows * group as isize);
                let met = vectors.map(|v| v / group as isize).flat_map(|row| {
                    let seen = if causal { row + 1 } else { keys };
                    (0..seen).map(move |key| key - row + place[3] as isize)
                });
                let met: std::collections::BTreeSet<isize> = met.collect();
                assert_eq!(met, (0..place[2] as isize).collect());
                assert_eq!((place[0], place[1]), (at, 0));
                at += place[2] * heads as i32;
            }
            assert_eq!(at as usize, count);
        }
    }
}
