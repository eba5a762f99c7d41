//! The gradient of queries, and the sums of those of the scores by distance.

use super::attention::{WIDTHS, by_width, instance};
use super::attention_back::{Pass, THREADS, shared};
use crate::Cuda;
use crate::driver::Result;
use crate::launch::Launch;
use crate::memory::{Buffer, Tensor};
use crate::module::{Artifact, Kernel, artifact};
use seq2seq_core::Rows;

static ARTIFACT: Artifact = artifact!("attention_back_queries");
static QUERIES: [Kernel; WIDTHS.len()] = by_width!("attention_back_queries", |name, _| {
    Kernel::new(&ARTIFACT, name).with_shared(SHARED as u32)
});
/// Two slabs of vectors and two of keys.
const SHARED: usize = shared(4);

impl Pass<'_> {
    /// The gradient of the queries, into the first columns of `dq`, which is as wide as they are; and, where `distances` are
    /// wanted, the sums of each block by distance, as the plan places them.
    pub(crate) fn queries(
        &self,
        cuda: &Cuda,
        dq: Option<&mut Tensor>,
        distances: Option<&mut Buffer<f32>>,
    ) -> Result<()> {
        self.check();
        let like = |dq: &Tensor| (dq.rows(), dq.width()) == (self.q.rows(), self.q.width());
        assert!(dq.as_ref().is_none_or(|dq| like(dq)));
        assert!(distances.as_ref().is_none_or(|d| d.len() == self.plan.distances));
        let launch = Launch::new(cuda, &QUERIES[instance(self.spec.head_dim)])
            .grid(self.plan.query_items.len(), self.spec.kv_heads, 1)
            .block(THREADS)
            .shared(SHARED);
        let launch = self
            .arguments(launch)
            .arg(&self.plan.query_items)
            .arg(dq.map_or(0, |dq| dq.values().address()))
            .arg(&self.plan.places)
            .arg(distances.map_or(0, |d| d.address()));
        // SAFETY: sizes agree, as was checked; the plan is of these rows and sources, and both targets are borrowed for writing.
        unsafe { launch.run() }
    }
}
