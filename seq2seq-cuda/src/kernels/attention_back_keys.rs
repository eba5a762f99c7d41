//! The gradients of keys and values.

use super::attention::{WIDTHS, by_width, instance};
use super::attention_back::{Pass, THREADS, shared};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;

static ARTIFACT: Artifact = artifact!("attention_back_keys");
static KEYS: [Kernel; WIDTHS.len()] = by_width!("attention_back_keys", |name, _| {
    Kernel::new(&ARTIFACT, name).with_shared(SHARED as u32)
});
/// Two slabs of vectors, and m p and ds of a tile, which take the place of those of keys.
const SHARED: usize = shared(6);

/// Keys of a tile of an instance.
pub(super) fn tile(instance: usize) -> usize {
    [64, 64, 32, 32][instance]
}

impl Pass<'_> {
    /// The gradients of keys and values, where these stand in `dkv`, which is as wide as they are.
    pub(crate) fn keys(&self, cuda: &Cuda, dkv: &mut Tensor) -> Result<()> {
        self.check();
        assert_eq!((dkv.rows(), dkv.width()), (self.kv.rows(), self.kv.width()));
        let launch = Launch::new(cuda, &KEYS[instance(self.spec.head_dim)])
            .grid(self.plan.key_items.len(), self.spec.kv_heads, 1)
            .block(THREADS)
            .shared(SHARED);
        let launch = self
            .arguments(launch)
            .arg(&self.plan.key_items)
            .arg(self.plan.list.as_ref().map_or(0, Buffer::address))
            .arg(self.keys_at(dkv))
            .arg(self.values_at(dkv));
        // SAFETY: sizes agree, as was checked; the plan is of these rows and sources, and dkv is borrowed for writing.
        unsafe { launch.run() }
    }
}
