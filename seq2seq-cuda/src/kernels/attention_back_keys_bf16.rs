//! The gradients of keys and values, on the matrix units.

use super::attention::{WIDTHS, by_width, instance};
use super::attention_back_bf16::{Pass, THREADS, TILE, VECTOR};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;

static ARTIFACT: Artifact = artifact!("attention_back_keys_bf16");
static KEYS: [Kernel; WIDTHS.len()] = by_width!("attention_back_keys_bf16", |name, instance| {
    Kernel::new(&ARTIFACT, name).with_shared(shared(instance) as u32)
});
/// Columns that a block makes at most.
const COLUMNS: usize = 128;

/// Bytes of shared memory: keys and values of a block, queries and dy of each tile of vectors, and what is known of these.
const fn shared(instance: usize) -> usize {
    let (vectors, stages) = [(64, 2), (64, 2), (32, 2), (32, 1)][instance];
    2 * TILE * WIDTHS[instance] * 2 + stages * vectors * (2 * WIDTHS[instance] * 2 + VECTOR)
}

impl Pass<'_> {
    /// The gradients of keys and values into `dkv`, keys from column `keys` on and values behind them.
    pub(crate) fn keys(&self, cuda: &Cuda, (dkv, keys): (&mut Tensor, usize)) -> Result<()> {
        self.check();
        let (spec, rows) = (self.spec, self.plan.seen().source_rows().rows());
        assert!(dkv.rows() == rows && dkv.width() >= keys + 2 * spec.kv_width());
        let kernel = &KEYS[instance(spec.head_dim)];
        let launch = Launch::new(cuda, kernel)
            .grid(self.plan.key_items.len(), spec.kv_heads, spec.head_dim.div_ceil(COLUMNS))
            .block(THREADS)
            .shared(kernel.shared as usize);
        let launch = self
            .arguments(launch)
            .arg(&self.plan.key_items)
            .arg(self.plan.list.as_ref().map_or(0, Buffer::address))
            .arg(dkv.values().at(keys))
            .arg(dkv.values().at(keys + spec.kv_width()))
            .size(dkv.width());
        // SAFETY: sizes agree, as was checked; the plan is of these rows and sources, and dkv is borrowed for writing.
        unsafe { launch.run() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_room_on_every_gpu() {
        assert_eq!(KEYS.each_ref().map(|k| k.shared), [27136, 51712, 66816, 98_944]);
        assert!(KEYS.iter().all(|k| k.shared <= 99 << 10));
    }
}
