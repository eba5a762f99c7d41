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
///
/// ```
/// use seq2seq_ptx::{Arg, Call, Device, FaultKind, Launch, Module};
///
/// let text = "
///     .version 8.0
///     .target sm_90
///     .address_size 64
///     .visible .entry add(.param .u64 x) {
///         .reg .b64 %x;
///         .reg .b32 %v;
///         griddepcontrol.launch_dependents;
///         ld.param.u64 %x, [x];
///         griddepcontrol.wait;
///         ld.global.u32 %v, [%x];
///         add.u32 %v, %v, 1;
///         st.global.u32 [%x], %v;
///         ret;
///     }";
/// let device = Device::new(1 << 20);
/// let x = device.alloc(4)?;
/// device.write(x, &40u32.to_le_bytes())?;
/// let (arguments, one) = ([Arg::pointer(x)], [1, 1, 1]);
/// let shape = Launch { grid: one, block: one, dynamic_shared: 0, cooperative: false };
/// let twice = |module: &Module| {
///     let call = Call { module, kernel: "add", shape, arguments: &arguments };
///     device.chain(&[call, call])
/// };
///
/// // Each may begin while the one before it runs, and waits for it before it reads.
/// twice(&Module::parse("add.ptx", text)?)?;
/// let mut bytes = [0; 4];
/// device.read(x, &mut bytes)?;
/// assert_eq!(u32::from_le_bytes(bytes), 42);
///
/// let hasty = text.replace("griddepcontrol.wait;", "");
/// let Err(fault) = twice(&Module::parse("hasty.ptx", &hasty)?) else { panic!("it does not wait") };
/// println!("{fault}");
/// assert!(matches!(fault.kind, FaultKind::EndsWithoutWait));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
