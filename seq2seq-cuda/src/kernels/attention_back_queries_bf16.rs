//! The gradient of queries, and the sums of those of the scores by distance, on the matrix units.

use super::attention::{WIDTHS, by_width, instance};
use super::attention_back_bf16::{Pass, THREADS, TILE, VECTOR};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;

static ARTIFACT: Artifact = artifact!("attention_back_queries_bf16");
static QUERIES: [Kernel; WIDTHS.len()] =
    by_width!("attention_back_queries_bf16", |name, instance| {
        Kernel::new(&ARTIFACT, name).with_shared(shared(instance) as u32)
    });

/// Bytes of shared memory: queries and dy of a block and what is known of them; of each tile its keys, and its values, whose place has
/// room for ds.
const fn shared(instance: usize) -> usize {
    let width = WIDTHS[instance];
    let (keys, stages) = if instance < 3 { (64, 2) } else { (32, 1) };
    let wider = if width > TILE { width } else { TILE };
    TILE * (2 * width * 2 + VECTOR) + stages * keys * (width + wider) * 2
}

impl Pass<'_> {
    /// The gradient of the queries, into the first columns of `dq`; and, where `distances` are wanted, the sums of each block by
    /// distance, as the plan places them.
    pub(crate) fn queries(
        &self,
        cuda: &Cuda,
        dq: Option<&mut Tensor>,
        distances: Option<&mut Buffer<f32>>,
    ) -> Result<()> {
        self.check();
        let (spec, rows) = (self.spec, self.plan.seen().rows().rows());
        assert!(dq.as_ref().is_none_or(|dq| dq.rows() == rows && dq.width() >= spec.inner()));
        assert!(distances.as_ref().is_none_or(|d| d.len() == self.plan.distances()));
        let kernel = &QUERIES[instance(spec.head_dim)];
        let launch = Launch::new(cuda, kernel)
            .grid(self.plan.query_items.len(), spec.kv_heads, 1)
            .block(THREADS)
            .shared(kernel.shared as usize);
        let (to, stride) = dq.map_or((0, 0), |dq| (dq.values().address(), dq.width()));
        let launch = self
            .arguments(launch)
            .arg(&self.plan.query_items)
            .arg(to)
            .size(stride)
            .arg(&self.plan.places)
            .arg(distances.map_or(0, |d| d.address()));
        // SAFETY: sizes agree, as was checked; the plan is of these rows and sources, and both targets are borrowed for writing.
        unsafe { launch.run() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_room_on_every_gpu() {
        assert_eq!(QUERIES.each_ref().map(|k| k.shared), [34048, 50432, 99_584, 99_584]);
        assert!(QUERIES.iter().all(|k| k.shared <= 99 << 10));
    }
}
