//! Attention of many rows with dropout: its kernels, which take what those of `attention.rs` do and the dropout behind it.

use super::attention::{WIDTHS, shared};
use crate::module::{Artifact, Kernel, artifact};

static ARTIFACT: Artifact = artifact!("attention_dropped");
pub(super) static TILED: [Kernel; WIDTHS.len()] = [
    tiled("attention_dropped_32", 0),
    tiled("attention_dropped_64", 1),
    tiled("attention_dropped_128", 2),
    tiled("attention_dropped_256", 3),
];

const fn tiled(name: &'static str, instance: usize) -> Kernel {
    Kernel::new(&ARTIFACT, name).with_shared(shared(instance, WIDTHS[instance]) as u32)
}
