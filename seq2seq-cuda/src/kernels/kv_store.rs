//! Keys and values in pages, in f32 or bf16.

use super::angles::Angles;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Table, Tensor, Together};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::{AttentionSpec, Error, Precision, Ragged, Rows};

static ARTIFACT: Artifact = artifact!("kv_store", step);
static STORE: Kernel = Kernel::new(&ARTIFACT, "kv_store");
static STORE_BF16: Kernel = Kernel::new(&ARTIFACT, "kv_store_bf16");

/// Positions of a page, and of a chunk that attention sums by.
pub(crate) const CHUNK: usize = 64;

/// The first page of each sequence, and how many pages there are, where sequences have pages of their own that follow each other.
pub(crate) fn first_pages(rows: &Ragged) -> (Vec<usize>, usize) {
    let mut count = 0;
    let first = |length: usize| {
        let first = count;
        count += length.div_ceil(CHUNK);
        first
    };
    (rows.lengths().map(first).collect(), count)
}

/// Shape of a page: of each layer, of each key-value head, 64 keys and 64 values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageShape {
    precision: Precision,
    layers: usize,
    /// Words of 32 bits of a layer: an f32 or two bf16 each.
    layer: usize,
}

/// Columns that a thread stores at once; a head has a multiple of them.
const fn columns(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 4,
        Precision::Bf16 => 8,
    }
}

impl PageShape {
    /// # Errors
    /// Where a page is too large to be told.
    pub(crate) fn new(
        precision: Precision,
        layers: usize,
        kv_heads: usize,
        width: usize,
    ) -> Result<Self, Error> {
        // Both have 16 bytes for so many columns.
        let quads = width.div_ceil(columns(precision));
        let sizes = [4, kv_heads, 2 * CHUNK];
        let all = sizes.iter().try_fold(quads, |n, &by| n.checked_mul(by));
        match all {
            Some(layer) if layer.checked_mul(layers).is_some_and(|n| n < 1 << 40) => {
                Ok(Self { precision, layers, layer })
            }
            _ => {
                let reason =
                    format!("{layers} layers of {kv_heads} heads of {width}: sizes overflow");
                Err(Error::invalid("kv_cache", reason))
            }
        }
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Words of a page.
    pub(crate) fn len(&self) -> usize {
        self.layers * self.layer
    }

    /// Words before those of a layer.
    pub(crate) fn before(&self, layer: usize) -> i64 {
        (layer * self.layer) as i64
    }
}

/// New rows: for each the page that it goes to and its position.
pub(crate) struct Places {
    pages: Table<u64>,
    positions: Table<i32>,
}

impl Places {
    /// Among `tables`: from the address of the page, or its place in a block of memory, and the position of each row.
    pub(crate) fn new(tables: &mut Together, places: &[(u64, usize)]) -> Self {
        let pages: Vec<u64> = places.iter().map(|p| p.0).collect();
        let positions: Vec<i32> = places.iter().map(|p| p.1 as i32).collect();
        Self { pages: tables.add(&pages), positions: tables.add(&positions) }
    }
}

/// Lays out keys and values of the rows of `x`; keys begin at column `keys`, values behind them, in the given precision.
/// `layer` is how many words of a page come before its layer, and before the block where pages are given by their places in one.
///
/// # Safety
/// Each page is allocated for this precision, and at least as long as `layer` and the layer behind it.
pub(crate) unsafe fn store(
    cuda: &Cuda,
    (x, keys): (&Tensor, usize),
    (places, layer): (&Places, i64),
    precision: Precision,
    spec: &AttentionSpec,
    angles: Option<&Angles>,
) -> Result<()> {
    assert_eq!((x.rows(), x.rows()), (places.pages.len(), places.positions.len()));
    assert!(keys + 2 * spec.kv_width() <= x.width(), "columns of keys and values");
    let (angles, pairs) = Angles::of(angles);
    let kernel = match precision {
        Precision::F32 => &STORE,
        Precision::Bf16 => &STORE_BF16,
    };
    let launch = Launch::new(cuda, kernel)
        .grid(x.rows(), 1, 1)
        .block(super::column_threads(spec.kv_width().div_ceil(columns(precision))))
        .arg(x.values())
        .size(x.width())
        .size(keys)
        .arg(&places.pages)
        .arg(&places.positions)
        .arg(layer)
        .arg(angles)
        .size(pairs)
        .size(spec.kv_heads)
        .size(spec.head_dim);
    // SAFETY: the rows have keys and values from `keys` on; the caller answers for the pages, and whoever made the angles
    // for their reaching as far as the positions.
    unsafe { launch.run() }
}

#[cfg(test)]
mod tests {
    use super::{PageShape, first_pages};
    use seq2seq_core::{Precision, Ragged};

    #[test]
    fn sequences_have_pages_of_their_own() {
        let rows = Ragged::from_lengths([64, 0, 65, 1]);
        assert_eq!(first_pages(&rows), (vec![0, 1, 1, 3], 4));
    }

    #[test]
    fn pages_hold_whole_quads() {
        let page = PageShape::new(Precision::F32, 3, 2, 5).unwrap();
        assert_eq!((page.len(), page.before(2)), (3 * 2 * 128 * 8, 2 * 2 * 128 * 8));
        // Half as many words, two numbers each.
        let page = PageShape::new(Precision::Bf16, 3, 2, 5).unwrap();
        assert_eq!((page.len(), page.before(2)), (3 * 2 * 128 * 4, 2 * 2 * 128 * 4));
        for (layers, heads, width) in [(usize::MAX, 1, 1), (1, usize::MAX, 1), (1, 1, usize::MAX)] {
            assert!(PageShape::new(Precision::Bf16, layers, heads, width).is_err());
        }
    }
}
