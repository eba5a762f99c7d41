//! Linear layers on Hopper's own matrix units: the kernels of `linear_wgmma.cuh`, which `linear.rs` launches, and their choice.

use super::linear::{Choice, choice};
use super::linear_cost::{self, Product, Slab};
use crate::module::{Artifact, artifact};

pub(crate) static BF16: Artifact = artifact!("linear_bf16_wgmma", "compute_90a", "sm_90a");
static INT8: Artifact = artifact!("linear_int8_wgmma", "compute_90a", "sm_90a");

/// Shared memory of a kernel: `stages` of `rows` of x and `channels` of weights, 128 bytes a slab of each; then two barriers of
/// eight bytes a stage. The sums, rows apart by 8 more than their length, fit into the stages in the end.
const fn shared(rows: u32, channels: u32, stages: u32) -> u32 {
    let bytes = stages * (rows + channels) * 128;
    assert!(rows * (channels + 8) * 4 <= bytes);
    bytes + stages * 16
}

/// Those of a format. A slab has as many bytes in either, so their sizes are the same.
pub(super) struct Kernels {
    /// Products of 64 rows a group of four warps, and a warp that copies. Larger ones come first: they ask less of the caches.
    laid_out: [Choice; 5],
    /// The same of up to 8 rows as they are, which they round themselves.
    as_they_are: [Choice; 3],
    slab: Slab,
}

/// Those whose names begin with `$stem`.
macro_rules! kernels {
    ($artifact:ident, $stem:literal, $slab:expr) => {
        Kernels {
            laid_out: [
                choice!($artifact concat!($stem, "_128x256"), 288, Some(128), 256, shared(128, 256, 4)),
                choice!($artifact concat!($stem, "_128x128"), 288, Some(128), 128, shared(128, 128, 3)).in_pairs(),
                choice!($artifact concat!($stem, "_64x64"), 160, Some(64), 64, shared(64, 64, 6)).in_pairs(),
                choice!($artifact concat!($stem, "_64x32"), 160, Some(64), 32, shared(64, 32, 8)).in_pairs(),
                choice!($artifact concat!($stem, "_64x16"), 160, Some(64), 16, shared(64, 16, 16)),
            ],
            as_they_are: [
                choice!($artifact concat!($stem, "_8x64"), 160, Some(64), 64, shared(64, 64, 6)),
                choice!($artifact concat!($stem, "_8x32"), 160, Some(64), 32, shared(64, 32, 8)),
                choice!($artifact concat!($stem, "_8x16"), 160, Some(64), 16, shared(64, 16, 11)),
            ],
            slab: $slab,
        }
    };
}

pub(super) static BF16_KERNELS: Kernels =
    kernels!(BF16, "linear_bf16_wgmma", linear_cost::BF16_WGMMA);
pub(super) static INT8_KERNELS: Kernels =
    kernels!(INT8, "linear_int8_wgmma", linear_cost::INT8_WGMMA);

impl Kernels {
    /// For rows that are laid out.
    pub(super) fn of_rows(&self, product: Product, multiprocessors: usize) -> Choice {
        let kernels = self.laid_out.each_ref();
        Choice::quickest(&kernels, &self.slab, product, multiprocessors)
    }

    /// For up to 8 rows as they are, which wait for weights alone: the largest kernel whose blocks fill every multiprocessor, or
    /// else that of the most blocks.
    pub(super) fn of_few_rows(&self, channels: usize, multiprocessors: usize) -> Choice {
        let kernels = &self.as_they_are;
        let fills = |kernel: &&Choice| channels.div_ceil(kernel.channels) >= multiprocessors;
        *kernels.iter().find(fills).unwrap_or(&kernels[kernels.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so many columns of bf16; int8, of which a slab has twice as many, has the same tile for twice as many.
    fn name(rows: usize, channels: usize, columns: usize) -> &'static str {
        let choose = |kernels: &Kernels, columns| {
            let name = kernels.of_rows(Product { rows, channels, columns }, 132).kernel.name;
            name.split_once("_wgmma_").unwrap().1
        };
        let bf16 = choose(&BF16_KERNELS, columns);
        assert_eq!(bf16, choose(&INT8_KERNELS, 2 * columns));
        bf16
    }

    #[test]
    fn few_rows_spread_the_weights() {
        let few = |channels| BF16_KERNELS.of_few_rows(channels, 132).kernel.name;
        for (channels, tile) in [(768, "8x16"), (2048, "8x16"), (5632, "8x32"), (32128, "8x64")] {
            assert_eq!(few(channels).split_once("_wgmma_").unwrap().1, tile);
        }
        assert_eq!(name(16, 768, 768), "64x16");
        assert_eq!(name(16, 2048, 2048), "64x32");
        assert_eq!(name(64, 5632, 2048), "64x64");
        assert_eq!(name(64, 32128, 768), "64x64");
    }

    #[test]
    fn large_tiles_are_for_what_fills_the_device() {
        assert_eq!(name(128, 768, 768), "64x16");
        assert_eq!(name(8192, 768, 768), "128x128");
        // With few columns what is stored counts, which a second block of 128 x 128 covers; with many, what is read.
        assert_eq!(name(8192, 3072, 768), "128x128");
        assert_eq!(name(8192, 2048, 5632), "128x256");
        // One wave of 128 blocks, four multiprocessors idle, beside two of smaller ones.
        assert_eq!(name(2048, 2048, 2048), "128x256");
        // 72 blocks, beside 288 of which each reads a quarter as much for a sixteenth of the products.
        assert_eq!(name(512, 2304, 768), "128x128");
    }

    #[test]
    fn stages_fit_a_multiprocessor() {
        for kernels in [&BF16_KERNELS, &INT8_KERNELS] {
            // Of a multiprocessor of Hopper, of which the system keeps 1 KB a block; scales of rows take another of int8's.
            let few = &kernels.as_they_are;
            assert!(few.iter().all(|k| 2 * (k.kernel.shared + 2048) <= 228 << 10));
            kernels.laid_out.iter().for_each(|k| assert_eq!(k.in_pairs, k.fits_twice("sm_90a")));
            // What a block may be given.
            assert!(kernels.laid_out.iter().all(|k| k.kernel.shared <= 227 << 10));
        }
        assert_eq!(shared(128, 256, 4), (192 << 10) + 64);
    }
}
