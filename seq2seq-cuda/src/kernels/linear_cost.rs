//! How long a tile kernel of the matrix units is expected to take, by counting. All tiles of a kind of operands give the same bits,
//! so what this says matters for time alone. Nothing of it has been measured. The rates are those of an H200, by which an A100 and
//! an A10 choose as by their own; GeForce cards, whose units are slower, would take another tile for some products in bf16.

/// Bytes a cycle that a multiprocessor has from the second cache while all of them read: some 10 TB/s of 132 at 1.7 GHz.
const SHARED_RATE: usize = 46;
/// The same while few of them read: what one can take.
const OWN_RATE: usize = 64;
/// Bytes a cycle and multiprocessor from and to memory: 4.8 TB/s of 132 at 1.8 GHz.
const MEMORY_RATE: usize = 20;
/// Cycles before a block's first product: a launch's way to it and the first stage, which comes from memory.
const START: usize = 1500;

/// A product `[rows, columns] x [columns, channels]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub(super) rows: usize,
    pub(super) channels: usize,
    pub(super) columns: usize,
}

/// What a block takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    pub(super) rows: usize,
    pub(super) channels: usize,
    /// Whether a multiprocessor has room for two of its blocks.
    pub(super) in_pairs: bool,
}

/// What a slab of columns asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slab {
    columns: usize,
    /// Of a row or a channel.
    bytes: usize,
    /// Products of a cycle at most.
    products: usize,
    /// Whether the unit reads both operands from shared memory itself, the channels anew for each 64 rows.
    from_shared: bool,
}

/// mma.sync: as an A100 has it.
pub(super) const BF16: Slab = Slab { columns: 32, bytes: 64, products: 1024, from_shared: false };
pub(super) const INT8: Slab = Slab { columns: 64, bytes: 64, products: 2048, from_shared: false };
/// wgmma.
pub(super) const BF16_WGMMA: Slab =
    Slab { columns: 64, bytes: 128, products: 2048, from_shared: true };
pub(super) const INT8_WGMMA: Slab =
    Slab { columns: 128, bytes: 128, products: 4096, from_shared: true };

/// Cycles that `product` takes in such tiles.
pub(super) fn cycles(of: &Slab, product: Product, tile: Tile, multiprocessors: usize) -> usize {
    let Product { rows, channels, columns } = product;
    let slabs = columns.div_ceil(of.columns);
    let blocks = rows.div_ceil(tile.rows) * channels.div_ceil(tile.channels);
    let busy = blocks.clamp(1, multiprocessors);
    // What few multiprocessors leave, the others have.
    let rate = |of_all: usize| (of_all * multiprocessors / busy).min(OWN_RATE);
    let multiplying = (tile.rows * tile.channels * of.columns).div_ceil(of.products);
    // A line of 128 bytes a cycle.
    let lines = (tile.rows + tile.rows / 64 * tile.channels) * of.bytes / 128;
    let from_shared = if of.from_shared { lines } else { 0 };
    let read = (tile.rows + tile.channels) * of.bytes / rate(SHARED_RATE);
    let slab = multiplying.max(from_shared).max(read);
    // Results leave when the products are done, which another block of the multiprocessor covers where there
    // is room for one.
    let stored = tile.rows.min(rows) * tile.channels.min(channels) * size_of::<f32>();
    let ends = START + stored / rate(MEMORY_RATE);
    let one_after_another = blocks.div_ceil(multiprocessors);
    let tiles =
        one_after_another * slabs * slab + if tile.in_pairs { 1 } else { one_after_another } * ends;
    // Whatever the tiles: both operands and the results pass once.
    let passing = slabs * (rows + channels) * of.bytes + rows * channels * size_of::<f32>();
    tiles.max(START + passing / (MEMORY_RATE * multiprocessors))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TILE: Tile = Tile { rows: 128, channels: 256, in_pairs: false };

    #[test]
    fn the_peak_of_a_product_is_the_unit_s() {
        // 64 blocks of rows by 8 of channels: 3.9 a multiprocessor.
        let product = Product { rows: 8192, channels: 2048, columns: 1 << 16 };
        let found = cycles(&BF16_WGMMA, product, TILE, 132);
        let least = 8192usize * 2048 / 132 * (1 << 16) / 2048;
        assert!((1.0..1.1).contains(&(found as f64 / least as f64)), "{found} of {least}");
    }

    #[test]
    fn few_rows_take_what_their_weights_do() {
        let product = Product { rows: 16, channels: 32128, columns: 768 };
        let found = cycles(&BF16_WGMMA, product, Tile { rows: 64, channels: 64, ..TILE }, 132);
        assert!(found >= 32128 * 768 * 2 / (MEMORY_RATE * 132));
    }
}
