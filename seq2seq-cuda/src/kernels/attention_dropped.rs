//! Attention of many rows with dropout: its kernels, which take what those of `attention.rs` do and the dropout behind it.

use super::attention::{WIDTHS, by_width, shared};
use crate::module::{Artifact, Kernel, artifact};

static ARTIFACT: Artifact = artifact!("attention_dropped");
pub(super) static TILED: [Kernel; WIDTHS.len()] =
    by_width!("attention_dropped", |name, instance| {
        Kernel::new(&ARTIFACT, name).with_shared(shared(instance, WIDTHS[instance]) as u32)
    });
