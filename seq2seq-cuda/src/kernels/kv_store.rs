//! Keys and values in pages.

use super::angles::Angles;
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::{AttentionSpec, Error, Rows};

static ARTIFACT: Artifact = artifact!("kv_store");
static STORE: Kernel = Kernel::new(&ARTIFACT, "kv_store");

/// Positions of a page, and of a chunk that attention sums by.
pub(crate) const CHUNK: usize = 64;

/// Shape of a page: of each layer, of each key-value head, 64 keys and 64 values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageShape {
    layers: usize,
    /// Values of a layer.
    layer: usize,
}

impl PageShape {
    /// # Errors
    /// Where a page is too large to be told.
    pub(crate) fn new(layers: usize, kv_heads: usize, width: usize) -> Result<Self, Error> {
        let sizes = [kv_heads, 2 * CHUNK];
        let all = sizes.iter().try_fold(width.checked_next_multiple_of(4), |n, &by| {
            Some(n.and_then(|n| n.checked_mul(by)))
        });
        match all.flatten() {
            Some(layer) if layer.checked_mul(layers).is_some_and(|n| n < 1 << 40) => {
                Ok(Self { layers, layer })
            }
            _ => {
                let reason =
                    format!("{layers} layers of {kv_heads} heads of {width}: sizes overflow");
                Err(Error::invalid("kv_cache", reason))
            }
        }
    }

    /// Values of a page.
    pub(crate) fn len(&self) -> usize {
        self.layers * self.layer
    }

    /// Values before those of a layer.
    pub(crate) fn before(&self, layer: usize) -> i64 {
        (layer * self.layer) as i64
    }
}

/// New rows: for each the page that it goes to and its position.
pub(crate) struct Places {
    pages: Buffer<u64>,
    positions: Buffer<i32>,
}

impl Places {
    /// From the address of the page and the position of each row.
    pub(crate) fn new(cuda: &Cuda, places: &[(u64, usize)]) -> Result<Self> {
        let pages: Vec<u64> = places.iter().map(|p| p.0).collect();
        let positions: Vec<i32> = places.iter().map(|p| p.1 as i32).collect();
        Ok(Self { pages: cuda.upload_values(&pages)?, positions: cuda.upload_values(&positions)? })
    }
}

/// Lays out keys and values of the rows of `x`; keys begin at column `keys`, values behind them. `layer` is how many values
/// of a page come before its layer.
///
/// # Safety
/// Each page is allocated, and at least as long as `layer` and the layer behind it.
pub(crate) unsafe fn store(
    cuda: &Cuda,
    (x, keys): (&Tensor, usize),
    (places, layer): (&Places, i64),
    spec: &AttentionSpec,
    angles: Option<&Angles>,
) -> Result<()> {
    assert_eq!((x.rows(), x.rows()), (places.pages.len(), places.positions.len()));
    assert!(keys + 2 * spec.kv_width() <= x.width(), "columns of keys and values");
    let (angles, pairs) = Angles::of(angles);
    let launch = Launch::new(cuda, &STORE)
        .grid(x.rows(), 1, 1)
        .block(super::column_threads(spec.kv_width().div_ceil(4)))
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
    use super::PageShape;

    #[test]
    fn pages_hold_whole_quads() {
        let page = PageShape::new(3, 2, 5).unwrap();
        assert_eq!((page.len(), page.before(2)), (3 * 2 * 128 * 8, 2 * 2 * 128 * 8));
        for (layers, heads, width) in [(usize::MAX, 1, 1), (1, usize::MAX, 1), (1, 1, usize::MAX)] {
            assert!(PageShape::new(layers, heads, width).is_err());
        }
    }
}
