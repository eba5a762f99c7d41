//! What the backend asks of a driver, and nothing more: memory, modules, launches, graphs of launches, one queue.
//!
//! Everything is done in the order in which it is asked for, as on one stream: a launch sees what was copied before it,
//! and memory that is freed may be given out again at once, as what uses it next stands behind what used it before.
//! [`read`](Driver::read), [`wait`](Driver::wait) and [`synchronize`](Driver::synchronize) wait; [`write`](Driver::write) may, as
//! the host's memory can be paged out under it. Copies from and to page-locked memory
//! ([`write_later`](Driver::write_later), [`read_later`](Driver::read_later)) do not: events say when they are done.
//!
//! [`Nvidia`] drives a GPU. Tests drive one that is played on the CPU (`seq2seq-ptx`), so that all of the host's code runs
//! on any machine.
//!
//! ```
//! # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
//! use seq2seq_cuda::driver::{Arg, Driver, FunctionId, Image, ModuleId, Result, Shape};
//!
//! const DOUBLE: &str = "
//!     .version 8.0
//!     .target sm_80
//!     .address_size 64
//!     .visible .entry double(.param .u64 x) {
//!         .reg .b64 %x;
//!         .reg .b32 %t, %v;
//!         ld.param.u64 %x, [x];
//!         mov.u32 %t, %tid.x;
//!         mad.wide.u32 %x, %t, 4, %x;
//!         ld.global.u32 %v, [%x];
//!         shl.b32 %v, %v, 1;
//!         st.global.u32 [%x], %v;
//!         ret;
//!     }";
//!
//! /// Doubles numbers: a thread each.
//! fn double(driver: &dyn Driver, numbers: [u32; 4]) -> Result<[u32; 4]> {
//!     let module: ModuleId = driver.load("double", Image::Ptx(DOUBLE))?;
//!     let function: FunctionId = driver.function(module, "double", 0)?;
//!     let mut bytes = numbers.map(u32::to_ne_bytes);
//!     let x = driver.alloc(16)?;
//!     driver.write(x, bytes.as_flattened())?;
//!     let (grid, block) = ([1, 1, 1], [4, 1, 1]);
//!     let shape = Shape { grid, block, shared: 0, cooperative: false, overlaps: false };
//!     // SAFETY: the kernel takes the address of as many numbers as there are threads.
//!     unsafe { driver.launch(function, shape, &[Arg::from(x)]) }?;
//!     driver.read(x, bytes.as_flattened_mut())?; // when the kernel is done
//!     driver.free(x)?;
//!     Ok(bytes.map(u32::from_ne_bytes))
//! }
//! # assert_eq!(double(&gpu::Played::new(1 << 20), [1, 2, 3, 40])?, [2, 4, 6, 80]);
//! # Ok::<(), seq2seq_cuda::driver::DriverError>(())
//! ```
//!
//! What comes again can be made ready once, and asked for as a whole:
//!
//! ```
//! # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
//! # let driver = gpu::Played::new(1 << 20);
//! use seq2seq_cuda::driver::{Driver, GraphId, Piece, Work};
//!
//! let [from, to] = [driver.alloc(4)?, driver.alloc(4)?];
//! let listed = || {
//!     let mut work = Work::default();
//!     work.push(Piece::Fill { to: from, value: 7, bytes: 4 });
//!     work.push(Piece::Copy { from, to, bytes: 4 });
//!     work
//! };
//! let work = listed();
//! assert!(work == listed() && work.len() == 2 && !work.is_cooperative());
//!
//! // SAFETY: there is no launch in it.
//! let graph: Option<GraphId> = unsafe { driver.graph(&work) }?;
//! if let Some(graph) = graph {
//!     for _ in 0..2 {
//!         driver.fill(to, 0, 4)?;
//!         // SAFETY: as above, and the memory is allocated.
//!         unsafe { driver.run_graph(graph) }?;
//!         let mut bytes = [0; 4];
//!         driver.read(to, &mut bytes)?;
//!         assert_eq!(bytes, [7; 4]);
//!     }
//!     driver.free_graph(graph)?;
//! }
//! # driver.free(from)?;
//! # driver.free(to)?;
//! # Ok::<(), seq2seq_cuda::driver::DriverError>(())
//! ```

mod error;
pub(crate) mod nvidia;
mod work;

use std::ptr::NonNull;

pub use error::{DriverError, Result};
pub use nvidia::{DeviceInfo, Nvidia};
pub use work::{Piece, Work};

/// A loaded module, as its driver names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleId(pub u64);

/// A kernel of a loaded module, as its driver names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionId(pub u64);

/// A mark in the queue that the host can wait for, as its driver names it.
///
/// What lies in page-locked memory is copied while the host goes on, and an event says when the device has taken it:
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let driver = gpu::Played::new(1 << 20).late();
/// use seq2seq_cuda::driver::{Driver, EventId};
///
/// let (device, host) = (driver.alloc(4)?, driver.alloc_host(4)?);
/// let event: EventId = driver.event()?;
/// // SAFETY: four bytes were given out, which nobody touches before the event has passed.
/// unsafe {
///     host.cast::<u32>().write(7);
///     driver.write_later(device, host, 4)?;
/// }
/// driver.record(event)?;
/// // ... the host has other things to do ...
/// driver.wait(event)?;
/// // SAFETY: the copy is done.
/// unsafe { host.cast::<u32>().write(8) };
///
/// let mut bytes = [0; 4];
/// driver.read(device, &mut bytes)?;
/// assert_eq!(u32::from_ne_bytes(bytes), 7);
/// driver.free_event(event)?;
/// // SAFETY: as above.
/// unsafe { driver.free_host(host) }?;
/// driver.free(device)?;
/// # Ok::<(), seq2seq_cuda::driver::DriverError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId(pub u64);

/// Work that a driver has made ready to be done as a whole, as it names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GraphId(pub u64);

/// Compiled kernels.
#[derive(Debug, Clone, Copy)]
pub enum Image<'a> {
    /// PTX text, which the driver compiles.
    Ptx(&'a str),
    /// Machine code of one architecture.
    Cubin(&'a [u8]),
}

/// Shape of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of a block.
    pub shared: u32,
    /// Whether all blocks have to be on the device together, as they wait for each other: no more than
    /// [`resident_blocks`](Driver::resident_blocks). Such a launch is never part of a graph.
    pub cooperative: bool,
    /// Whether the kernel waits by itself for what is before it (`griddepcontrol.wait`), and so may begin while a kernel before
    /// it runs which does the same. That is for a graph; a launch by itself begins when all before it is over.
    pub overlaps: bool,
}

/// One argument of a kernel: a device address or a number of 1 to 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Arg {
    /// Zeros behind the number.
    bytes: [u8; 8],
    size: usize,
}

impl Arg {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.size]
    }
}

macro_rules! arg_from {
    ($($number:ty)*) => {$(
        impl From<$number> for Arg {
            fn from(value: $number) -> Self {
                let mut bytes = [0; 8];
                bytes[..size_of::<$number>()].copy_from_slice(&value.to_ne_bytes());
                Self { bytes, size: size_of::<$number>() }
            }
        }
    )*};
}
arg_from!(u32 i32 u64 i64 f32);

/// Bytes of a device's memory.
///
/// ```
/// # mod gpu { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/documented.rs")); }
/// # let driver = gpu::Played::new(1 << 20);
/// use seq2seq_cuda::driver::{Driver, MemoryInfo};
///
/// let MemoryInfo { free, total } = driver.memory()?;
/// let address = driver.alloc(free / 2)?;
/// assert!(driver.memory()?.free <= free / 2);
/// driver.free(address)?;
/// assert_eq!(driver.memory()?, MemoryInfo { free, total });
/// # Ok::<(), seq2seq_cuda::driver::DriverError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryInfo {
    /// Not in use by anyone.
    pub free: u64,
    /// All.
    pub total: u64,
}

/// A device.
pub trait Driver: Send + Sync {
    /// Its name, such as `NVIDIA H200`.
    fn name(&self) -> String;

    /// Its compute capability, major and minor.
    fn capability(&self) -> (u32, u32);

    /// Its streaming multiprocessors: what a grid has to fill.
    fn multiprocessors(&self) -> u32;

    /// Bytes of shared memory that a block may be given.
    fn shared_memory(&self) -> u32;

    /// Its memory.
    fn memory(&self) -> Result<MemoryInfo>;

    /// `bytes` > 0 of memory with no defined content, at a multiple of 256.
    fn alloc(&self, bytes: u64) -> Result<u64>;

    /// Gives back what [`alloc`](Self::alloc) gave. The driver may keep it for the next that is asked for.
    fn free(&self, address: u64) -> Result<()>;

    /// Waits for everything that was asked for, and lets others have what was freed and is kept.
    fn trim(&self) -> Result<()>;

    /// Copies from the host. The bytes may be reused once it returns.
    fn write(&self, to: u64, bytes: &[u8]) -> Result<()>;

    /// Copies to the host, having waited for everything before.
    fn read(&self, from: u64, out: &mut [u8]) -> Result<()>;

    /// `bytes` > 0 of page-locked memory of the host, without defined content: the device copies from and to it by itself.
    fn alloc_host(&self, bytes: usize) -> Result<NonNull<u8>>;

    /// Gives back what [`alloc_host`](Self::alloc_host) gave.
    ///
    /// # Safety
    /// It came from there, is not used again, and every copy from or to it is done.
    unsafe fn free_host(&self, memory: NonNull<u8>) -> Result<()>;

    /// Copies from page-locked memory of the host when its turn in the queue comes.
    ///
    /// # Safety
    /// The bytes lie in memory of [`alloc_host`](Self::alloc_host), have been written, and stay as they are until an event
    /// that is recorded behind this has passed.
    unsafe fn write_later(&self, to: u64, from: NonNull<u8>, bytes: usize) -> Result<()>;

    /// Copies to page-locked memory of the host when its turn in the queue comes.
    ///
    /// # Safety
    /// The bytes lie in memory of [`alloc_host`](Self::alloc_host), and nobody touches them until an event that is recorded
    /// behind this has passed.
    unsafe fn read_later(&self, from: u64, to: NonNull<u8>, bytes: usize) -> Result<()>;

    /// An event that has passed.
    fn event(&self) -> Result<EventId>;

    /// Puts the event at the end of the queue; where it was before no longer counts.
    fn record(&self, event: EventId) -> Result<()>;

    /// Waits until everything before the event is done.
    fn wait(&self, event: EventId) -> Result<()>;

    /// Gives an event back.
    fn free_event(&self, event: EventId) -> Result<()>;

    /// Copies within the device.
    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<()>;

    /// Sets each of `bytes` bytes to `value`.
    fn fill(&self, to: u64, value: u8, bytes: u64) -> Result<()>;

    /// Whether it runs machine code; else it is given PTX alone.
    fn runs_machine_code(&self) -> bool;

    /// Loads kernels; `name` is for messages.
    fn load(&self, name: &str, image: Image<'_>) -> Result<ModuleId>;

    /// A kernel of a module, which may be given up to `shared` bytes of dynamic shared memory, or as many as the device has for
    /// a block.
    fn function(&self, module: ModuleId, name: &str, shared: u32) -> Result<FunctionId>;

    /// How many blocks of a kernel are on the device together, where nothing else is: blocks of `threads` threads and `shared`
    /// bytes of dynamic shared memory. 0 where there is no cooperative launch.
    fn resident_blocks(&self, function: FunctionId, threads: u32, shared: u32) -> Result<u32>;

    /// Runs a kernel.
    ///
    /// # Safety
    /// `args` are those of the kernel, in number, order and size; each address among them is that of memory which is
    /// allocated, and as large as the kernel takes it to be.
    unsafe fn launch(&self, function: FunctionId, shape: Shape, args: &[Arg]) -> Result<()>;

    /// Makes a graph of `work`: all of it is then asked for at once, as often as is wanted, each piece behind the one before, but
    /// for neighbours that are launches and both overlap ([`Shape::overlaps`]).
    /// None where the device has no room for it. No launch in it is cooperative.
    ///
    /// # Safety
    /// The arguments of each launch are those of its kernel, in number, order and size. Addresses need not be those of memory
    /// that is allocated before the graph is run.
    unsafe fn graph(&self, work: &Work) -> Result<Option<GraphId>>;

    /// Runs a graph.
    ///
    /// # Safety
    /// That of [`launch`](Self::launch), for each launch of its work.
    unsafe fn run_graph(&self, graph: GraphId) -> Result<()>;

    /// Gives a graph back; one that is running is done first.
    fn free_graph(&self, graph: GraphId) -> Result<()>;

    /// Waits for everything that was asked for.
    fn synchronize(&self) -> Result<()>;
}
