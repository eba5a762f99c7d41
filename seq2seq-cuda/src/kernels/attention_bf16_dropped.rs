//! Attention of many rows in bf16 with dropout: its kernels, which take what those of `attention_bf16.rs` do, and the dropout in place
//! of where rows are laid out.

use super::attention::{WIDTHS, instance};
use super::attention_bf16::shared;
use crate::module::{Artifact, Kernel, artifact};

static ARTIFACT: Artifact = artifact!("attention_bf16_dropped");
static TILED: [Kernel; WIDTHS.len()] = [
    tiled("attention_bf16_dropped_32", 0),
    tiled("attention_bf16_dropped_64", 1),
    tiled("attention_bf16_dropped_128", 2),
    tiled("attention_bf16_dropped_256", 3),
];

/// Query vectors of a tile.
pub(super) const VECTORS: usize = 64;

const fn tiled(name: &'static str, instance: usize) -> Kernel {
    Kernel::new(&ARTIFACT, name).with_shared(shared(WIDTHS[instance], VECTORS) as u32)
}

/// The kernel for heads of `width`.
pub(super) fn of(width: usize) -> &'static Kernel {
    &TILED[instance(width)]
}
