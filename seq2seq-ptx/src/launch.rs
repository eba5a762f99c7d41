//! What a launch is given.

use crate::Module;

/// Shape of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Bytes of `extern __shared__` memory of a block.
    pub dynamic_shared: u32,
    /// Whether all blocks are on the device together, as those that wait for each other have to be.
    pub cooperative: bool,
}

/// A kernel and all that it is launched with.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Where the kernel is.
    pub module: &'a Module,
    /// Its name.
    pub kernel: &'a str,
    /// Its blocks.
    pub shape: Launch,
    /// Its arguments, in its order.
    pub arguments: &'a [Arg],
}

/// The bytes of one kernel argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg(pub(crate) Vec<u8>);

impl Arg {
    /// A structure passed by value, as it lies in memory.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// A device pointer, as [`Device::alloc`](crate::Device::alloc) gives it.
    pub fn pointer(pointer: u64) -> Self {
        pointer.into()
    }
}

macro_rules! from_number {
    ($($t:ty)*) => {$(
        impl From<$t> for Arg {
            fn from(value: $t) -> Self {
                Self(value.to_le_bytes().to_vec())
            }
        }
    )*};
}
from_number!(u8 i8 u16 i16 u32 i32 u64 i64 f32 f64);
