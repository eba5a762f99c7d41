//! Attention of many rows in bf16 with dropout: its kernels, which take what those of `attention_bf16.rs` do, and the dropout in place
//! of where rows are laid out.

use super::attention::{WIDTHS, by_width, instance};
use super::attention_bf16::shared;
use crate::module::{Artifact, Kernel, artifact};

static ARTIFACT: Artifact = artifact!("attention_bf16_dropped");
static TILED: [Kernel; WIDTHS.len()] = by_width!("attention_bf16_dropped", |name, instance| {
    Kernel::new(&ARTIFACT, name).with_shared(shared(WIDTHS[instance], VECTORS) as u32)
});

/// Query vectors of a tile.
pub(super) const VECTORS: usize = 64;

/// The kernel for heads of `width`.
pub(super) fn of(width: usize) -> &'static Kernel {
    &TILED[instance(width)]
}
