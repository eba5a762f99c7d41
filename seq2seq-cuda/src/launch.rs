//! One launch, put together argument by argument.
//!
//! ```text
//! Launch::new(cuda, &NORM).grid(rows, 1, 1).block(threads).arg(x).arg(width).out(y)
//! ```

use crate::Cuda;
use crate::driver::{Arg, DriverError, Result, Shape};
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
    /// The first of its numbers that cannot be asked for, of which [`run`](Self::run) tells.
    refused: Option<DriverError>,
}

/// The most of what is counted in 32 bits: blocks along x, rows, columns.
pub(crate) const MOST: usize = i32::MAX as usize;

/// The most blocks along y and z.
const MOST_BEHIND: usize = 65535;

impl<'a> Launch<'a> {
    /// One block of one warp, without arguments.
    pub(crate) fn new(cuda: &'a Cuda, kernel: &'a Kernel) -> Self {
        let (grid, block, overlaps) = ([1; 3], [32, 1, 1], cuda.overlaps(kernel));
        let shape = Shape { grid, block, shared: 0, cooperative: false, overlaps };
        let args = [Arg::from(0u32); MAX_ARGS];
        Self { cuda, kernel, shape, args, count: 0, refused: None }
    }

    /// It cannot be run.
    fn refuse(&mut self, what: String, most: String) {
        let what = format!("{what} of {}", self.kernel.name);
        self.refused.get_or_insert(DriverError::TooLarge { what, most });
    }

    /// Blocks along x, y, z: where they are more than the hardware counts, it fails when it is run.
    pub(crate) fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        if x > MOST || y > MOST_BEHIND || z > MOST_BEHIND {
            let most = format!("{MOST} x {MOST_BEHIND} x {MOST_BEHIND}");
            self.refuse(format!("{x} x {y} x {z} blocks"), most);
        } else {
            self.shape.grid = [x as u32, y as u32, z as u32];
        }
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

    /// The next argument: a size or an index, for a kernel that takes it as a 32-bit integer: where it is none, it fails when it
    /// is run.
    pub(crate) fn size(mut self, value: usize) -> Self {
        if value > MOST {
            self.refuse(format!("a size of {value}"), MOST.to_string());
        }
        self.arg(value.min(MOST) as i32)
    }

    /// The next argument: memory that the kernel writes.
    pub(crate) fn out<T: bytemuck::Pod>(self, buffer: &mut crate::memory::Buffer<T>) -> Self {
        self.arg(Arg::from(&*buffer))
    }

    /// Puts it into the queue. A grid without blocks is not launched.
    ///
    /// # Errors
    /// A grid or a size that is too large, or what the driver says.
    ///
    /// # Safety
    /// That of [`Queue::launch`](crate::queue::Queue::launch): the arguments are those of the kernel, and each buffer is
    /// as large as the kernel takes it to be.
    pub(crate) unsafe fn run(self) -> Result<()> {
        if self.shape.grid.contains(&0) {
            return Ok(());
        }
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        let function = self.cuda.function(self.kernel)?;
        // SAFETY: the caller's promise.
        unsafe { self.cuda.queue().launch(function, self.shape, &self.args[..self.count]) }
    }
}
