//! How a product is divided among workers and tiles: plain arithmetic on sizes.
//!
//! None of it touches the order of a summation, so it may depend on anything.

use super::micro::Fetch;
use std::ops::Range;

/// Bytes of activations that stay in the shared cache while the panels stream past them.
const ROW_BLOCK_BYTES: usize = 8 << 20;

/// From that many bytes on a second cache is large: blocks of rows that stay in it gain nothing in whole models (Emerald Rapids).
const LARGE_CACHE: usize = 1 << 20;

/// Fewer rows than that are no block: they would ask memory for all weights faster than it gives them. A weight of four bytes then
/// serves 64 operations, so 180 GFLOP/s of two cores on AVX2 read 11 GB/s.
const LEAST_BLOCK: usize = 32;

/// Part `i` of `parts` nearly equal parts of `0..total`.
pub(super) fn share(total: usize, parts: usize, i: usize) -> Range<usize> {
    total * i / parts..total * (i + 1) / parts
}

/// A product cut into blocks of rows and panels, one for each worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grid {
    /// Into how many parts the rows are cut.
    pub(super) row_parts: usize,
    /// Into how many parts the panels are cut.
    pub(super) panel_parts: usize,
}

impl Grid {
    /// For `workers` workers; a worker's time is its panels times its tiles.
    ///
    /// Rows are cut only where that gives the slowest worker less to do, as each cut of the rows reads all panels again.
    pub(super) fn new(tiles: usize, panels: usize, workers: usize) -> Self {
        let grid = |row_parts: usize| Self {
            row_parts,
            panel_parts: (workers / row_parts).clamp(1, panels.max(1)),
        };
        let time =
            |g: &Self| tiles.div_ceil(g.row_parts).max(1) * panels.div_ceil(g.panel_parts).max(1);
        let all = (1..=workers.min(tiles).max(1)).map(grid);
        all.min_by_key(time).unwrap_or(grid(1))
    }

    /// The number of blocks.
    pub(super) fn parts(&self) -> usize {
        self.row_parts * self.panel_parts
    }
}

/// The time of a product whose tiles read `bytes` of panels in all, in the element-wise steps that threads count in:
/// weights pass at some 64 bytes a nanosecond, elements at 8.
pub(super) fn cost(bytes: usize) -> usize {
    bytes / 8
}

/// Tiles of at most `max_rows` rows that `rows` rows make.
pub(super) fn tiles(rows: usize, max_rows: usize) -> usize {
    rows.div_ceil(max_rows)
}

/// How many blocks `rows` rows of `row_bytes` are taken in, one after the other, where the second cache has `cache` bytes.
///
/// Three quarters of a small cache hold a block, if that is enough for [`LEAST_BLOCK`] rows. BERT 8x128 on Zen 3, where that is
/// 384 KiB: f32 1.353 and 1.277 s, int8 1.063 and 0.910, against blocks of 8 MiB.
pub(super) fn row_blocks(rows: usize, row_bytes: usize, cache: usize) -> usize {
    let near = cache / 4 * 3;
    let block = match cache < LARGE_CACHE && row_bytes * LEAST_BLOCK <= near {
        true => near,
        false => ROW_BLOCK_BYTES,
    };
    (rows * row_bytes).div_ceil(block).max(1)
}

/// `range` in groups of `size`; the last one may be smaller.
pub(super) fn groups(range: Range<usize>, size: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(size).map(move |start| start..range.end.min(start + size))
}

/// Whether `rows` rows pass two panels of `panel_bytes` at once, by tiles of at most `max_rows` rows: they are read half as often.
/// While two panels pass the next two come, and all have to stay in a second cache of `cache` bytes.
pub(super) fn in_pairs(rows: usize, max_rows: usize, panel_bytes: usize, cache: usize) -> bool {
    max_rows > 0 && tiles(rows, max_rows) >= Fetch::MANY && 4 * panel_bytes <= cache
}

/// What tile `tile` of `tiles` brings nearer while `rows` rows pass `panels` panels at once; tiles of one panel have at most
/// `max_rows` rows.
///
/// Where two panels pass there are many tiles, and each fetches its share of the next two. Of one panel:
///
/// A single tile waits for memory: it looks far ahead, 6144 bytes. A few tiles are over before the next panel has come, so each
/// fetches its share of it. With many tiles the time in a panel is long, and looking ahead a little is enough.
///
/// Where many begins was measured: above 64 rows with the tiles of 12 rows of AVX-512, on Zen 5; above 256 with the smaller
/// ones of AVX2, on Zen 3, where sharing is 5% faster with 128 rows, 10% with 72, and makes no difference from 512 on.
pub(super) fn fetch(
    (tile, tiles): (usize, usize),
    rows: usize,
    panels: usize,
    max_rows: usize,
) -> Fetch {
    let few = if max_rows > 6 { 64 } else { 256 };
    match tiles {
        _ if panels == 2 => Fetch::Share { tile, tiles },
        0..=1 => Fetch::Far(6144),
        _ if rows <= few => Fetch::Share { tile, tiles },
        _ => Fetch::Near(2048),
    }
}

/// What tile `tile` of a step of a recurrent layer brings nearer. The panels of a block's gates follow each other in a tile,
/// and the next block may be another thread's: so a tile looks ahead in what it reads itself, the first, which waits for the
/// third cache, further than those behind it.
pub(super) fn fetch_in_step(tile: usize) -> Fetch {
    Fetch::Near(if tile == 0 { 4096 } else { 2048 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_complete() {
        for total in [0, 1, 5, 24, 1004] {
            for parts in 1..8 {
                let shares: Vec<_> = (0..parts).map(|i| share(total, parts, i)).collect();
                assert_eq!(shares[0].start, 0);
                assert_eq!(shares[parts - 1].end, total);
                assert!(shares.windows(2).all(|w| w[0].end == w[1].start));
                let lengths = || shares.iter().map(|s| s.len());
                assert!(lengths().max().unwrap() - lengths().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn grids_cut_rows_only_where_it_pays() {
        let grid = |tiles, panels, workers| {
            let g = Grid::new(tiles, panels, workers);
            (g.row_parts, g.panel_parts)
        };
        // Enough panels: never the rows.
        assert_eq!(grid(11, 24, 2), (1, 2));
        assert_eq!(grid(1, 24, 2), (1, 2));
        // One panel, many tiles.
        assert_eq!(grid(11, 1, 2), (2, 1));
        // One panel, one tile: one worker.
        assert_eq!(grid(1, 1, 2), (1, 1));
        // 24 panels over 16 workers would leave 8 of them idle for half of the time.
        assert_eq!(grid(12, 24, 16), (2, 8));
        assert_eq!(grid(0, 0, 4), (1, 1));
        for workers in 1..20 {
            for panels in 1..9 {
                let g = Grid::new(7, panels, workers);
                assert!(g.parts() <= workers && g.row_parts <= 7 && g.panel_parts <= panels);
            }
        }
    }

    #[test]
    fn the_way_to_fetch_follows_the_rows() {
        assert_eq!(fetch((0, 1), 8, 1, 12), Fetch::Far(6144));
        assert_eq!(fetch((1, 2), 16, 1, 12), Fetch::Share { tile: 1, tiles: 2 });
        assert_eq!(fetch((3, 11), 128, 1, 12), Fetch::Near(2048));
        assert_eq!(fetch((3, 22), 128, 2, 12), Fetch::Share { tile: 3, tiles: 22 });
        assert_eq!(fetch((3, 22), 128, 1, 6), Fetch::Share { tile: 3, tiles: 22 });
        assert_eq!(fetch((3, 86), 512, 1, 6), Fetch::Near(2048));
    }

    #[test]
    fn blocks_of_rows_stay_in_the_smaller_caches() {
        let (small, large) = (512 << 10, 2 << 20);
        assert_eq!(row_blocks(1024, 768 * 4, small), 8);
        assert_eq!(row_blocks(1024, 768 * 4, large), 1);
        assert_eq!(row_blocks(4096, 768 * 4, large), 2);
        // 17 rows of these would be a block.
        assert_eq!(row_blocks(128, 5632 * 4, small), 1);
        assert_eq!(row_blocks(0, 768 * 4, small), 1);
    }

    #[test]
    fn two_panels_at_once_want_many_rows_and_a_cache() {
        let panel = |k: usize| k * 32 * 4;
        assert!(in_pairs(128, 6, panel(768), 1 << 20));
        assert!(!in_pairs(90, 6, panel(768), 1 << 20));
        assert!(!in_pairs(128, 6, panel(3072), 1 << 20));
        assert!(in_pairs(128, 6, panel(3072), 2 << 20));
        assert!(!in_pairs(1000, 0, panel(768), 1 << 20));
    }

    #[test]
    fn groups_are_as_large_as_they_can_be() {
        assert_eq!(groups(3..8, 2).collect::<Vec<_>>(), [3..5, 5..7, 7..8]);
        assert_eq!(groups(3..3, 2).count(), 0);
    }
}
