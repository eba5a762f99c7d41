//! How a product is divided among workers and tiles: plain arithmetic on sizes.
//!
//! None of it touches the order of a summation, so it may depend on anything.

use super::micro::Fetch;
use std::ops::Range;

/// Bytes of activations that stay in the shared cache while the panels stream past them.
const ROW_BLOCK_BYTES: usize = 8 << 20;

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

/// How many blocks `rows` rows of `row_bytes` are taken in, one after the other.
pub(super) fn row_blocks(rows: usize, row_bytes: usize) -> usize {
    (rows * row_bytes).div_ceil(ROW_BLOCK_BYTES).max(1)
}

/// What tile `tile` of `tiles` brings nearer, with tiles of at most `max_rows` rows.
///
/// A single tile waits for memory: it looks far ahead, 6144 bytes. A few tiles are over before the next panel has come, so each
/// fetches its share of it. With many tiles the time in a panel is long, and looking ahead a little is enough.
///
/// Where many begins was measured: above 64 rows with the tiles of 12 rows of AVX-512, on Zen 5; above 256 with the smaller
/// ones of AVX2, on Zen 3, where sharing is 5% faster with 128 rows, 10% with 72, and makes no difference from 512 on.
pub(super) fn fetch(tile: usize, tiles: usize, rows: usize, max_rows: usize) -> Fetch {
    let few = if max_rows > 6 { 64 } else { 256 };
    match tiles {
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
        assert_eq!(fetch(0, 1, 8, 12), Fetch::Far(6144));
        assert_eq!(fetch(1, 2, 16, 12), Fetch::Share { tile: 1, tiles: 2 });
        assert_eq!(fetch(3, 11, 128, 12), Fetch::Near(2048));
        assert_eq!(fetch(3, 22, 128, 6), Fetch::Share { tile: 3, tiles: 22 });
        assert_eq!(fetch(3, 86, 512, 6), Fetch::Near(2048));
    }
}
