//! One launch, put together argument by argument.
//!
//! ```text
//! Launch::new(cuda, &NORM).grid(rows, 1, 1).block(threads).arg(x).arg(width).out(y)
//! ```

use crate::Cuda;
use crate::driver::{Arg, Result, Shape};
use crate::module::Kernel;

/// Kernels have fewer arguments.
const MAX_ARGS: usize = 32;

/// A launch in the making. Arguments are those of the kernel, in its order.
pub(crate) struct Launch<'a> {
    cuda: &'a Cuda,
    kernel: &'a Kernel,
    shape: Shape,
    args: [Arg; MAX_ARGS],
    count: usize,
}

impl<'a> Launch<'a> {
    /// One block of one warp, without arguments.
    pub(crate) fn new(cuda: &'a Cuda, kernel: &'a Kernel) -> Self {
        let (grid, block, overlaps) = ([1; 3], [32, 1, 1], cuda.overlaps(kernel));
        let shape = Shape { grid, block, shared: 0, cooperative: false, overlaps };
        Self { cuda, kernel, shape, args: [Arg::from(0u32); MAX_ARGS], count: 0 }
    }

    /// Blocks along x, y, z.
    ///
    /// # Panics
    /// Where one is more than the hardware's 2³¹ - 1 and 65535: launchers divide work so that it is not.
    pub(crate) fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        assert!(x <= i32::MAX as usize && y <= 65535 && z <= 65535, "grid {x} x {y} x {z}");
        self.shape.grid = [x as u32, y as u32, z as u32];
        self
    }

    /// Threads of a block.
    pub(crate) fn block(mut self, threads: usize) -> Self {
        self.shape.block = [threads as u32, 1, 1];
        self
    }

    /// Bytes of dynamic shared memory of a block.
    ///
    /// # Panics
    /// Where they are more than the kernel declares.
    pub(crate) fn shared(mut self, bytes: usize) -> Self {
        assert!(bytes <= self.kernel.shared as usize, "{} takes {bytes} bytes", self.kernel.name);
        self.shape.shared = bytes as u32;
        self
    }

    /// Whether its blocks wait for each other, so that all of them have to be on the device together.
    pub(crate) fn cooperative(mut self, cooperative: bool) -> Self {
        self.shape.cooperative = cooperative;
        self
    }

    /// The next argument: a number, or memory that the kernel reads.
    pub(crate) fn arg(mut self, arg: impl Into<Arg>) -> Self {
        self.args[self.count] = arg.into();
        self.count += 1;
        self
    }

    /// The next argument: a size or an index, for a kernel that takes it as a 32-bit integer.
    ///
    /// # Panics
    /// Where it is not below 2³¹.
    pub(crate) fn size(self, value: usize) -> Self {
        let value = i32::try_from(value).expect("sizes of one tensor's side are below 2^31");
        self.arg(value)
    }

    /// The next argument: memory that the kernel writes.
    pub(crate) fn out<T: bytemuck::Pod>(self, buffer: &mut crate::memory::Buffer<T>) -> Self {
        self.arg(Arg::from(&*buffer))
    }

    /// Puts it into the queue. A grid without blocks is not launched.
    ///
    /// # Safety
    /// That of [`Queue::launch`](crate::queue::Queue::launch): the arguments are those of the kernel, and each buffer is
    /// as large as the kernel takes it to be.
    pub(crate) unsafe fn run(self) -> Result<()> {
        if self.shape.grid.contains(&0) {
            return Ok(());
        }
        let function = self.cuda.function(self.kernel)?;
        // SAFETY: the caller's promise.
        unsafe { self.cuda.queue().launch(function, self.shape, &self.args[..self.count]) }
    }
}
