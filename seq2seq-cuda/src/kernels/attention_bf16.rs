//! Attention of many rows in bf16, on the matrix units: its kernels.

use super::attention::{WIDTHS, instance};
use super::kv_store::CHUNK;
use crate::module::{Artifact, Kernel, artifact};

static ARTIFACT: Artifact = artifact!("attention_bf16");
static WIDE: Artifact = artifact!("attention_bf16_wide");
static LOW: [Kernel; 4] = [
    kernel(&ARTIFACT, "attention_bf16_32_64", 0, 64),
    kernel(&ARTIFACT, "attention_bf16_64_64", 1, 64),
    kernel(&WIDE, "attention_bf16_128_64", 2, 64),
    kernel(&WIDE, "attention_bf16_256_64", 3, 64),
];
static HIGH: [Kernel; 2] = [
    kernel(&ARTIFACT, "attention_bf16_32_128", 0, 128),
    kernel(&ARTIFACT, "attention_bf16_64_128", 1, 128),
];

/// Threads of a block.
pub(super) const THREADS: usize = 128;

const fn kernel(
    artifact: &'static Artifact,
    name: &'static str,
    instance: usize,
    vectors: usize,
) -> Kernel {
    Kernel::new(artifact, name).with_shared(shared(WIDTHS[instance], vectors) as u32)
}

/// Bytes of shared memory of a tile: queries, a chunk of keys and one of values, two bytes a column of the instance.
pub(super) const fn shared(width: usize, vectors: usize) -> usize {
    (vectors + 2 * CHUNK) * width * 2
}

/// Query vectors of a tile, for heads of `width` and so many vectors of each sequence. High tiles read less from shared memory:
/// where there are registers for them, vectors to fill them, and `blocks` of them at least, or multiprocessors are idle.
pub(super) fn tile(
    width: usize,
    of_sequences: impl Iterator<Item = usize>,
    blocks: usize,
) -> usize {
    let (most, high) = of_sequences
        .fold((0, 0), |(most, high), vectors| (most.max(vectors), high + vectors.div_ceil(128)));
    if instance(width) < HIGH.len() && most > 64 && high >= blocks { 128 } else { 64 }
}

/// The kernel for tiles of so many vectors.
pub(super) fn of(width: usize, vectors: usize) -> &'static Kernel {
    match vectors {
        64 => &LOW[instance(width)],
        _ => &HIGH[instance(width)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_high_where_they_can_be_and_are_full() {
        let high =
            |width, vectors: &[usize], blocks| tile(width, vectors.iter().copied(), blocks) == 128;
        // Vectors, width, blocks.
        assert!(high(64, &[65], 1) && !high(64, &[64, 64], 1));
        assert!(high(20, &[200], 1) && !high(65, &[200], 1) && !high(256, &[200], 1));
        assert!(high(64, &[129, 3], 3) && !high(64, &[129, 3], 4));
        let kernels = LOW.iter().chain(&HIGH);
        // What a block can have on every GPU from Ampere on.
        assert!(kernels.clone().all(|k| k.shared <= 99 << 10));
        assert_eq!(kernels.map(|k| k.shared >> 10).collect::<Vec<_>>(), [12, 24, 48, 96, 16, 32]);
        assert_eq!(of(50, 128).name, "attention_bf16_64_128");
        assert_eq!(of(100, 64).name, "attention_bf16_128_64");
    }
}
