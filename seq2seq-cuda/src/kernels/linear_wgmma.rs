//! Linear layers on Hopper's own matrix units: the kernels of `linear_wgmma.cuh`, which `linear.rs` launches, and their choice.

use super::linear::{Choice, choice};
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
}

/// Those whose names begin with `$stem`.
macro_rules! kernels {
    ($artifact:ident, $stem:literal) => {
        Kernels {
            laid_out: [
                choice!($artifact concat!($stem, "_128x256"), 288, Some(128), 256, shared(128, 256, 4)),
                choice!($artifact concat!($stem, "_128x128"), 288, Some(128), 128, shared(128, 128, 6)),
                choice!($artifact concat!($stem, "_64x64"), 160, Some(64), 64, shared(64, 64, 6)),
                choice!($artifact concat!($stem, "_64x32"), 160, Some(64), 32, shared(64, 32, 8)),
                choice!($artifact concat!($stem, "_64x16"), 160, Some(64), 16, shared(64, 16, 16)),
            ],
            as_they_are: [
                choice!($artifact concat!($stem, "_8x64"), 160, Some(64), 64, shared(64, 64, 6)),
                choice!($artifact concat!($stem, "_8x32"), 160, Some(64), 32, shared(64, 32, 8)),
                choice!($artifact concat!($stem, "_8x16"), 160, Some(64), 16, shared(64, 16, 11)),
            ],
        }
    };
}

pub(super) static BF16_KERNELS: Kernels = kernels!(BF16, "linear_bf16_wgmma");
pub(super) static INT8_KERNELS: Kernels = kernels!(INT8, "linear_int8_wgmma");

impl Kernels {
    /// The largest kernel that the rows fill more than half of and whose blocks fill every multiprocessor; or else that of the
    /// most blocks. Of those that take rows as they are, or of the others.
    pub(super) fn choose(
        &self,
        rows: usize,
        channels: usize,
        multiprocessors: usize,
        as_they_are: bool,
    ) -> Choice {
        let kernels = if as_they_are { &self.as_they_are[..] } else { &self.laid_out[..] };
        let fills = |kernel: &&Choice| {
            let tile = kernel.rows.unwrap_or(rows);
            let blocks = rows.div_ceil(tile) * channels.div_ceil(kernel.channels);
            (tile == 64 || rows > tile / 2) && blocks >= multiprocessors
        };
        *kernels.iter().find(fills).unwrap_or(&kernels[kernels.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(rows: usize, channels: usize) -> &'static str {
        let [bf16, int8] = [&BF16_KERNELS, &INT8_KERNELS].map(|kernels| {
            kernels.choose(rows, channels, 132, false).kernel.name.split_once("_wgmma_").unwrap()
        });
        assert_eq!((bf16.0, int8), ("linear_bf16", ("linear_int8", bf16.1)));
        bf16.1
    }

    #[test]
    fn up_to_8_rows_are_rounded_by_kernels_like_those_of_more() {
        for channels in [768, 2048, 5632, 32128] {
            let [rounds, other] =
                [true, false].map(|r| BF16_KERNELS.choose(8, channels, 132, r).kernel);
            assert_eq!(
                rounds.name.split_once("_8x").unwrap().1,
                other.name.split_once("_64x").unwrap().1
            );
        }
    }

    #[test]
    fn few_rows_spread_the_weights() {
        assert_eq!(name(1, 768), "64x16");
        assert_eq!(name(16, 2048), "64x16");
        assert_eq!(name(1, 5632), "64x32");
        assert_eq!(name(8, 32128), "64x64");
        assert_eq!(name(64, 32128), "64x64");
    }

    #[test]
    fn large_tiles_are_for_what_fills_the_device() {
        assert_eq!(name(128, 768), "64x16");
        assert_eq!(name(65, 132 * 256), "128x256");
        assert_eq!(name(4096, 768), "128x128");
        assert_eq!(name(4096, 3072), "128x256");
    }

    #[test]
    fn stages_fit_a_multiprocessor() {
        for kernels in [&BF16_KERNELS, &INT8_KERNELS] {
            // Of a multiprocessor of Hopper, of which the system keeps 1 KB a block; scales of rows take another of int8's.
            let few = &kernels.as_they_are;
            assert!(few.iter().all(|k| 2 * (k.kernel.shared + 2048) <= 228 << 10));
            // What a block may be given.
            assert!(kernels.laid_out.iter().all(|k| k.kernel.shared <= 227 << 10));
        }
        assert_eq!(shared(128, 256, 4), (192 << 10) + 64);
    }
}
