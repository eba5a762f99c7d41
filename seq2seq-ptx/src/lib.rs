//! A GPU played on the CPU, for tests: parses the PTX text that nvcc emits and runs it, watching every access.
//!
//! With it the host code of a CUDA backend and all of its kernels run through a test suite on a machine without a GPU, and
//! mistakes that a GPU would pass over in silence stop the test, with the thread and the line that made them.
//!
//! ```
//! use seq2seq_ptx::{Arg, Device, FaultKind, Launch, Module};
//!
//! let module = Module::parse("double.ptx", "
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
//!     }").unwrap();
//! let device = Device::new(1 << 20);
//! let x = device.alloc(32).unwrap();
//! device.fill(x, 1, 32).unwrap();
//! let shape = |threads| {
//!     Launch { grid: [1, 1, 1], block: [threads, 1, 1], dynamic_shared: 0, cooperative: false }
//! };
//! device.launch(&module, "double", shape(8), &[Arg::pointer(x)]).unwrap();
//! let mut bytes = [0; 32];
//! device.read(x, &mut bytes).unwrap();
//! assert_eq!(bytes, [2; 32]);
//!
//! let fault = device.launch(&module, "double", shape(9), &[Arg::pointer(x)]).unwrap_err();
//! assert!(matches!(fault.kind, FaultKind::OutOfBounds { .. }));
//! assert_eq!(fault.site.unwrap().line, 11);
//! ```
//!
//! # The model
//! The order is that of the PTX ISA, not of any GPU: whatever the ISA allows may happen here.
//! - **Lanes.** The 32 lanes of a warp run each instruction together where they stand at the same place. After a divergent
//!   branch the part that is furthest behind runs first, so that all meet again; that is a choice for speed, and results
//!   may not depend on it. What lanes must do together waits until all of them are there (`machine/warp.rs`).
//! - **Warps** of a block run in turn, each until it waits. [`Device::set_schedule`] interleaves them at random instead,
//!   the same way for the same seed; a test that matters runs under several.
//! - **Blocks** run one after another; one that seems to wait for others (it reads the same value of a volatile or atomic
//!   variable again) lets them run, so that grids that synchronise themselves work. Of a cooperative launch all blocks have
//!   begun before one goes on behind such a wait, and every read of another block is remembered.
//! - **Launches** run one after another. Those of a chain ([`Device::chain`]) may begin while the ones before them run, up to
//!   `griddepcontrol.wait`: what they may not do before it is looked at (`shadow/chain.rs`), so that their order is no matter.
//! - **Asynchronous copies and products** read when they are begun and write when they are waited for.
//!
//! # What it finds
//! [`FaultKind`] has a variant for each.
//! - Accesses out of bounds or to freed memory, misaligned ones, and reads of bytes that nothing wrote: in global, shared
//!   and local memory, and in parameters.
//! - Races, by vector clocks: two accesses to a byte, one of them a write, with nothing in the ISA's memory model that
//!   orders them. Barriers (of all threads, of some, in shared memory), `bar.warp.sync`, and releases and acquires through
//!   fences and strong operations order accesses, with their scopes. Shuffles and votes do not, by the ISA, though
//!   they wait for each other. Two writes race even if they write the same value.
//! - Asynchronous copies and products that are used, or whose operands are overwritten, before they are waited for, and a
//!   missing proxy fence; products whose registers were changed since the last `wgmma.fence`.
//! - In a chain, a thread that uses what a kernel before it uses without having waited, and a block that ends without it.
//! - Divergence at a barrier or another instruction for whole warps (a warp of which some lanes have ended counts, as the
//!   ISA has it), lanes that read lanes which take no part, deadlocks in a block and of blocks that read again and again what
//!   nobody is left to write, loops without end, traps.
//!
//! An instruction that is not known is an error of [`Module::parse`], with its name and line; none is passed over.
//!
//! # What it cannot find
//! - A loop that gives up by itself after many reads of the same value: it counts as waiting for ever.
//! - What ptxas makes of the PTX: registers, spills, and mistakes of its own.
//! - Speed, bank conflicts, coalescing.
//! - The last bits of approximate functions (`ex2.approx` and the like are computed as exactly as f32 allows), and the
//!   order in which a tensor core sums.
//! - Races through atomic operations of which only an earlier one is not ordered, and, in kernels whose blocks synchronise
//!   with each other in a launch that is not cooperative, of writes with reads by more than one other block: one read is
//!   remembered. How many blocks fit a device is for the host to know.
//! - Whether four warps begin a `wgmma` together; a `wgmma.fence` that is missing after registers were read, and not
//!   changed.
//! - A reading of the ISA that kernel and interpreter share and that is wrong. A run on a GPU is still owed.
//!
//! Not played: textures, clusters of more than one block, tensor maps, f64 matrices, calls through pointers, f32x2 and
//! 8-bit floats, `printf`.

#![forbid(unsafe_code)]

mod device;
mod fault;
mod isa;
mod launch;
mod machine;
mod module;
mod parse;
mod program;
mod shadow;

pub use device::Device;
pub use fault::{Access, Fault, FaultKind, Party, Result, Site, Space};
pub use launch::{Arg, Call, Launch};
pub use module::{Module, ParseError};
