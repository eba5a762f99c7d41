//! A device with its memory and its kernels.

use crate::driver::{Driver, DriverError, FunctionId, Nvidia, Result};
use crate::kept::KeptPlans;
use crate::memory::{Buffer, Pool, Readers, Tensor};
use crate::module::{Kernel, Loaded};
use crate::queue::Queue;
use bytemuck::Pod;
use std::sync::Arc;

/// How a device is used.
///
/// ```no_run
/// use seq2seq_cuda::{Cuda, CudaOptions, driver::Nvidia};
/// use std::sync::Arc;
///
/// let driver = Arc::new(Nvidia::open(0)?);
/// // Kernel by kernel, to see in a profiler or a sanitiser what each of them does.
/// let options = CudaOptions::default().graphs(false).keep_memory(false);
/// let cuda = Cuda::with_driver(driver, options);
/// # Ok::<(), seq2seq_cuda::driver::DriverError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaOptions {
    /// Whether freed memory is kept for the next allocation. Without, a driver that watches accesses sees every one past
    /// the end of what was asked for.
    pub keep_memory: bool,
    /// Whether a step that comes again is replayed as a graph ([`Backend::step`](seq2seq_core::Backend::step)). Without, each
    /// kernel is launched by itself, to compare with.
    pub graphs: bool,
    /// Whether a kernel of such a graph may begin while the one before it runs, on a GPU of Hopper or later. Without, each begins
    /// when the one before is over, to compare with.
    pub overlap: bool,
    /// Whether greedy search and sampling ask for the next step before the host knows the ids that it reads
    /// ([`DecoderOps::chooses_ahead`](seq2seq_core::DecoderOps::chooses_ahead)). Without, each step waits for the ids of the one
    /// before, to compare with.
    pub ahead: bool,
}

/// The environment variable that turns graphs off for [`Cuda::new`], where it is `0`.
pub const GRAPHS_VARIABLE: &str = "SEQ2SEQ_CUDA_GRAPHS";

/// The environment variable that keeps the kernels of graphs apart for [`Cuda::new`], where it is `0`.
pub const OVERLAP_VARIABLE: &str = "SEQ2SEQ_CUDA_OVERLAP";

/// The environment variable that makes each step wait for the ids of the one before for [`Cuda::new`], where it is `0`.
pub const AHEAD_VARIABLE: &str = "SEQ2SEQ_CUDA_AHEAD";

impl Default for CudaOptions {
    fn default() -> Self {
        Self { keep_memory: true, graphs: true, overlap: true, ahead: true }
    }
}

impl CudaOptions {
    /// The same with or without keeping memory.
    pub fn keep_memory(self, keep_memory: bool) -> Self {
        Self { keep_memory, ..self }
    }

    /// The same with or without graphs.
    pub fn graphs(self, graphs: bool) -> Self {
        Self { graphs, ..self }
    }

    /// The same with or without kernels of a graph that overlap.
    pub fn overlap(self, overlap: bool) -> Self {
        Self { overlap, ..self }
    }

    /// The same with or without steps that are asked for ahead.
    pub fn ahead(self, ahead: bool) -> Self {
        Self { ahead, ..self }
    }
}

/// The backend on one GPU. Clones share the device.
///
/// ```no_run
/// use seq2seq_core::Backend;
/// use seq2seq_cuda::Cuda;
///
/// let cuda = Cuda::new(0)?;
/// println!("{}", cuda.describe()); // cuda (NVIDIA H200, compute capability 9.0)
/// if let Some(memory) = cuda.device_memory()? {
///     println!("{} of {} bytes are free", memory.free, memory.total);
/// }
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
///
/// Other drivers do as well: this one plays a GPU on the CPU, as in the tests of this crate.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let played = gpu::Played::new(1 << 20);
/// use seq2seq_core::Backend;
/// use seq2seq_cuda::{Cuda, CudaOptions};
/// use std::sync::Arc;
///
/// let cuda = Cuda::with_driver(Arc::new(played), CudaOptions::default());
/// assert_eq!(cuda.describe(), "cuda (GPU played on the CPU, compute capability 8.0)");
/// ```
#[derive(Clone)]
pub struct Cuda(Arc<Device>);

struct Device {
    pool: Arc<Pool>,
    loaded: Loaded,
    plans: KeptPlans,
    /// Of what attention gives, in whichever layer.
    attention_readers: Arc<Readers>,
    overlap: bool,
    ahead: bool,
}

impl Drop for Device {
    /// Tensors may outlive it, and the pool with them.
    fn drop(&mut self) {
        self.pool.release();
    }
}

impl Cuda {
    /// Opens device `index`. Steps are replayed as graphs unless [`GRAPHS_VARIABLE`] says otherwise, in which kernels overlap unless
    /// [`OVERLAP_VARIABLE`] does, and are asked for ahead unless [`AHEAD_VARIABLE`] does.
    ///
    /// # Errors
    /// No driver, a driver or a device that is too old, no such device, or what the driver says.
    pub fn new(index: usize) -> Result<Self, DriverError> {
        let on = |variable| std::env::var_os(variable).is_none_or(|value| value != "0");
        let (graphs, overlap, ahead) =
            (on(GRAPHS_VARIABLE), on(OVERLAP_VARIABLE), on(AHEAD_VARIABLE));
        let driver = Nvidia::open(index)?;
        tracing::info!(device = driver.name(), graphs, overlap, ahead, "opened");
        let options = CudaOptions::default().graphs(graphs).overlap(overlap).ahead(ahead);
        Ok(Self::with_driver(Arc::new(driver), options))
    }

    /// On another driver, such as a GPU that is played in a test.
    pub fn with_driver(driver: Arc<dyn Driver>, options: CudaOptions) -> Self {
        let pool = Pool::new(driver, options.keep_memory, options.graphs);
        let (loaded, plans) = (Loaded::default(), KeptPlans::default());
        let CudaOptions { overlap, ahead, .. } = options;
        let attention_readers = Arc::default();
        Self(Arc::new(Device { pool, loaded, plans, attention_readers, overlap, ahead }))
    }

    /// What the device does, is done by this.
    pub fn driver(&self) -> &dyn Driver {
        &**self.queue().driver()
    }

    /// Where buffers come from.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// Of the last attention.
    pub(crate) fn plans(&self) -> &KeptPlans {
        &self.0.plans
    }

    /// Those who read what attention gives: the layers of a model have output layers of one format.
    pub(crate) fn attention_readers(&self) -> &Arc<Readers> {
        &self.0.attention_readers
    }

    /// Where work is asked for.
    pub(crate) fn queue(&self) -> &Queue {
        self.pool().queue()
    }

    /// A kernel, loaded at its first use.
    pub(crate) fn function(&self, kernel: &Kernel) -> Result<FunctionId> {
        self.0.loaded.function(self.driver(), kernel)
    }

    /// Whether a kernel may begin while the one before it runs: it waits by itself.
    pub(crate) fn overlaps(&self, kernel: &Kernel) -> bool {
        self.0.overlap && kernel.artifact.overlaps(self.driver().capability())
    }

    /// Whether steps are asked for ahead.
    pub(crate) fn goes_ahead(&self) -> bool {
        self.0.ahead
    }

    /// Rows that are not defined yet.
    pub(crate) fn tensor(&self, rows: usize, width: usize) -> Result<Tensor> {
        Tensor::new(self.pool(), rows, width)
    }

    /// `len` values that are not defined yet.
    pub(crate) fn buffer<T: Pod>(&self, len: usize) -> Result<Buffer<T>> {
        Buffer::new(self.pool(), len)
    }

    /// A copy of values of the host.
    pub(crate) fn upload_values<T: Pod>(&self, values: &[T]) -> Result<Buffer<T>> {
        Buffer::upload(self.pool(), values)
    }

    /// Room for a table that grows with each step.
    pub(crate) fn buffer_growing<T: Pod>(&self, len: usize) -> Result<Buffer<T>> {
        Buffer::growing(self.pool(), len)
    }
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cuda({})", self.driver().name())
    }
}
