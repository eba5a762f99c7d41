//! A device with its memory and its kernels.

use crate::driver::{Driver, DriverError, FunctionId, Nvidia, Result};
use crate::memory::{Buffer, Pool, Tensor};
use crate::module::{Kernel, Loaded};
use bytemuck::Pod;
use std::sync::Arc;

/// How a device is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaOptions {
    /// Whether freed memory is kept for the next allocation. Without, a driver that watches accesses sees every one past
    /// the end of what was asked for.
    pub keep_memory: bool,
}

impl Default for CudaOptions {
    fn default() -> Self {
        Self { keep_memory: true }
    }
}

impl CudaOptions {
    /// The same with or without keeping memory.
    pub fn keep_memory(self, keep_memory: bool) -> Self {
        Self { keep_memory }
    }
}

/// The backend on one GPU. Clones share the device.
#[derive(Clone)]
pub struct Cuda(Arc<Device>);

struct Device {
    driver: Arc<dyn Driver>,
    pool: Arc<Pool>,
    loaded: Loaded,
}

impl Cuda {
    /// Opens device `index`.
    ///
    /// # Errors
    /// No driver, a driver or a device that is too old, no such device, or what the driver says.
    pub fn new(index: usize) -> Result<Self, DriverError> {
        Ok(Self::with_driver(Arc::new(Nvidia::open(index)?), CudaOptions::default()))
    }

    /// On another driver, such as a GPU that is played in a test.
    pub fn with_driver(driver: Arc<dyn Driver>, options: CudaOptions) -> Self {
        let pool = Pool::new(Arc::clone(&driver), options.keep_memory);
        Self(Arc::new(Device { driver, pool, loaded: Loaded::default() }))
    }

    /// What the device does, is done by this.
    pub fn driver(&self) -> &dyn Driver {
        &*self.0.driver
    }

    /// Where buffers come from.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0.pool
    }

    /// A kernel, loaded at its first use.
    pub(crate) fn function(&self, kernel: &Kernel) -> Result<FunctionId> {
        self.0.loaded.function(self.driver(), kernel)
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
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cuda({})", self.driver().name())
    }
}
