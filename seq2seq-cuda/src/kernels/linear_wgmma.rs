//! Linear layers in bf16 on Hopper: the kernels of `linear_bf16_wgmma.cu`, which `linear.rs` launches, and their choice.

use super::linear::{Choice, choice};
use crate::module::{Artifact, artifact};

pub(crate) static ARTIFACT: Artifact = artifact!("linear_bf16_wgmma", "compute_90a", "sm_90a");

/// Shared memory of a kernel: `stages` of `rows` of x and `channels` of weights, 128 bytes a slab of each; then two barriers of
/// eight bytes a stage. The sums, rows apart by 8 more than their length, fit into the stages in the end.
const fn shared(rows: u32, channels: u32, stages: u32) -> u32 {
    let bytes = stages * (rows + channels) * 128;
    assert!(rows * (channels + 8) * 4 <= bytes);
    bytes + stages * 16
}

/// Products of 64 rows a group of four warps, and a warp that copies. Larger ones come first: they ask less of the caches.
static KERNELS: [Choice; 5] = [
    choice!(ARTIFACT "linear_bf16_wgmma_128x256", 288, Some(128), 256, shared(128, 256, 4)),
    choice!(ARTIFACT "linear_bf16_wgmma_128x128", 288, Some(128), 128, shared(128, 128, 6)),
    choice!(ARTIFACT "linear_bf16_wgmma_64x64", 160, Some(64), 64, shared(64, 64, 6)),
    choice!(ARTIFACT "linear_bf16_wgmma_64x32", 160, Some(64), 32, shared(64, 32, 8)),
    choice!(ARTIFACT "linear_bf16_wgmma_64x16", 160, Some(64), 16, shared(64, 16, 16)),
];

/// The same of up to 8 rows as they are, which they round themselves.
static OF_8_ROWS: [Choice; 3] = [
    choice!(ARTIFACT "linear_bf16_wgmma_8x64", 160, Some(64), 64, shared(64, 64, 6)),
    choice!(ARTIFACT "linear_bf16_wgmma_8x32", 160, Some(64), 32, shared(64, 32, 8)),
    choice!(ARTIFACT "linear_bf16_wgmma_8x16", 160, Some(64), 16, shared(64, 16, 11)),
];

/// The largest kernel that the rows fill more than half of and whose blocks fill every multiprocessor; or else that of the
/// most blocks. Of those that take rows as they are, or of the others.
pub(super) fn choose(
    rows: usize,
    channels: usize,
    multiprocessors: usize,
    as_they_are: bool,
) -> Choice {
    let kernels = if as_they_are { &OF_8_ROWS[..] } else { &KERNELS[..] };
    let fills = |kernel: &&Choice| {
        let tile = kernel.rows.unwrap_or(rows);
        let blocks = rows.div_ceil(tile) * channels.div_ceil(kernel.channels);
        (tile == 64 || rows > tile / 2) && blocks >= multiprocessors
    };
    *kernels.iter().find(fills).unwrap_or(&kernels[kernels.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(rows: usize, channels: usize) -> &'static str {
        choose(rows, channels, 132, false).kernel.name
    }

    #[test]
    fn up_to_8_rows_are_rounded_by_kernels_like_those_of_more() {
        for channels in [768, 2048, 5632, 32128] {
            let [rounds, other] = [true, false].map(|r| choose(8, channels, 132, r).kernel);
            assert_eq!(
                rounds.name.split_once("_8x").unwrap().1,
                other.name.split_once("_64x").unwrap().1
            );
        }
    }

    #[test]
    fn few_rows_spread_the_weights() {
        assert_eq!(name(1, 768), "linear_bf16_wgmma_64x16");
        assert_eq!(name(16, 2048), "linear_bf16_wgmma_64x16");
        assert_eq!(name(1, 5632), "linear_bf16_wgmma_64x32");
        assert_eq!(name(8, 32128), "linear_bf16_wgmma_64x64");
        assert_eq!(name(64, 32128), "linear_bf16_wgmma_64x64");
    }

    #[test]
    fn large_tiles_are_for_what_fills_the_device() {
        assert_eq!(name(128, 768), "linear_bf16_wgmma_64x16");
        assert_eq!(name(65, 132 * 256), "linear_bf16_wgmma_128x256");
        assert_eq!(name(4096, 768), "linear_bf16_wgmma_128x128");
        assert_eq!(name(4096, 3072), "linear_bf16_wgmma_128x256");
    }

    #[test]
    fn stages_fit_a_multiprocessor() {
        // Of a multiprocessor of Hopper, of which the system keeps 1 KB a block.
        assert!(OF_8_ROWS.iter().all(|k| 2 * (k.kernel.shared + 1024) <= 228 << 10));
        // What a block may be given.
        assert!(KERNELS.iter().all(|k| k.kernel.shared <= 227 << 10));
        assert_eq!(shared(128, 256, 4), (192 << 10) + 64);
    }
}
