//! What a kernel can do wrong, each a typed fault that says where.

use std::fmt;

/// The result of something that a device does.
pub type Result<T, E = Fault> = std::result::Result<T, E>;

/// A mistake of a kernel or of its host code, and where it was made.
///
/// ```
/// use seq2seq_ptx::{Access, Arg, Device, Fault, FaultKind, Launch, Module, Party, Site, Space};
///
/// let module = Module::parse("last.ptx", "
///     .version 8.0
///     .target sm_80
///     .address_size 64
///     .visible .entry last(.param .u64 x) {
///         .reg .b64 %x;
///         .reg .b32 %t;
///         ld.param.u64 %x, [x];
///         mov.u32 %t, %tid.x;
///         st.global.u32 [%x], %t;
///         ret;
///     }")?;
/// let device = Device::new(1 << 20);
/// let x = device.alloc(4)?;
/// // Every thread writes its index to one place; which is the last?
/// let shape = Launch { grid: [1, 1, 1], block: [33, 1, 1], dynamic_shared: 0, cooperative: false };
/// let Err(Fault { kind, site }) = device.launch(&module, "last", shape, &[Arg::pointer(x)]) else {
///     panic!("nothing orders the threads");
/// };
/// let FaultKind::Race { space: Space::Global, access: Access::Write, address, other } = kind else {
///     panic!("{kind}");
/// };
/// let Party { access, thread, line, .. } = other;
/// assert_eq!((address, access, thread, line), (x, Access::Write, 0, 10));
/// let Some(Site { kernel, text, line, .. }) = site.as_deref() else { panic!("a thread did it") };
/// assert_eq!((&kernel[..], &text[..], *line), ("last", "st.global.u32 [%x], %t;", 10));
///
/// // A mistake of the host has no site.
/// device.free(x)?;
/// assert_eq!(device.free(x), Err(Fault { kind: FaultKind::InvalidFree(x), site: None }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The thread and the line that did it; none for faults of the host code.
    pub site: Option<Box<Site>>,
}

/// The thread and the line of PTX of a fault.
///
/// What a message says of it stands behind what went wrong ([`Fault`] shows the fields):
///
/// ```
/// use seq2seq_ptx::{Fault, FaultKind, Site};
///
/// let site = Site {
///     module: "norm.ptx".into(),
///     kernel: "norm".into(),
///     block: [2, 0, 0],
///     thread: [31, 0, 0],
///     line: 40,
///     text: "bar.sync 0;".into(),
///     source: Some(("norm.cu".into(), 12)),
/// };
/// let fault = Fault { kind: FaultKind::Trap("assert".into()), site: Some(Box::new(site)) };
/// let place = "norm block (2,0,0) thread (31,0,0), norm.ptx:40: bar.sync 0; (norm.cu:12)";
/// assert_eq!(fault.to_string(), format!("trap: assert | {place}"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Name given to [`Module::parse`](crate::Module::parse).
    pub module: String,
    /// The kernel that was launched.
    pub kernel: String,
    /// Index of the thread block.
    pub block: [u32; 3],
    /// Index of the thread in its block.
    pub thread: [u32; 3],
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// The instruction as written.
    pub text: String,
    /// File and line of the CUDA source, where the PTX was compiled with `-lineinfo`.
    pub source: Option<(String, u32)>,
}

/// A memory that threads read and write.
///
/// ```
/// use seq2seq_ptx::{Device, FaultKind, Space};
///
/// let device = Device::new(1 << 20);
/// let x = device.alloc(4)?;
/// let Err(fault) = device.read(x, &mut [0; 4]) else { panic!("nobody has written it") };
/// assert!(matches!(fault.kind, FaultKind::Uninitialised { space: Space::Global, bytes: 4, .. }));
/// # Ok::<(), seq2seq_ptx::Fault>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Space {
    /// Device memory.
    Global,
    /// Memory of a thread block.
    Shared,
    /// Memory of a thread.
    Local,
    /// Read-only variables of a module.
    Const,
    /// Arguments of a kernel.
    Param,
}

/// How memory is used.
///
/// ```
/// use seq2seq_ptx::{Access, Device, FaultKind};
///
/// let device = Device::new(1 << 20);
/// let x = device.alloc(4)?;
/// device.free(x)?;
/// let Err(fault) = device.write(x, &[1; 4]) else { panic!("it was freed") };
/// assert!(matches!(fault.kind, FaultKind::UseAfterFree { access: Access::Write, offset: 0, .. }));
/// assert!(fault.to_string().starts_with("write of 4 bytes at "));
/// # Ok::<(), seq2seq_ptx::Fault>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// A read-modify-write operation.
    Atomic,
}

/// The other side of a race: who used the same bytes before.
///
/// [`Fault`] shows a race in full.
///
/// ```
/// use seq2seq_ptx::{Access, FaultKind, Party, Space};
///
/// let other = Party { access: Access::Write, block: 0, thread: 32, line: 7 };
/// let race = FaultKind::Race { space: Space::Shared, access: Access::Read, address: 16, other };
/// let sides = "race: read at shared address 0x10, and write by block 0 thread 32 (PTX line 7)";
/// assert!(race.to_string().starts_with(sides));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// What it did.
    pub access: Access,
    /// Index of its block, in order of x, y, z.
    pub block: u32,
    /// Index of its thread in the block, in order of x, y, z.
    pub thread: u32,
    /// Line of the PTX text.
    pub line: u32,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// Bytes outside every allocation or variable.
    #[error("{access} of {bytes} bytes at {space} address {address:#x} is out of bounds: {near}")]
    OutOfBounds {
        /// Where.
        space: Space,
        /// What was tried.
        access: Access,
        /// First byte.
        address: u64,
        /// How many.
        bytes: u64,
        /// The memory that lies next to it.
        near: String,
    },
    /// Bytes of an allocation that was freed.
    #[error(
        "{access} of {bytes} bytes at {address:#x}, {offset} bytes into an allocation that was freed"
    )]
    UseAfterFree {
        /// What was tried.
        access: Access,
        /// First byte.
        address: u64,
        /// How many.
        bytes: u64,
        /// Distance from the allocation's start.
        offset: u64,
    },
    /// An address that is not a multiple of what is accessed.
    #[error("{access} of {bytes} bytes at {space} address {address:#x} is misaligned")]
    Misaligned {
        /// Where.
        space: Space,
        /// What was tried.
        access: Access,
        /// First byte.
        address: u64,
        /// How many, which the address must be a multiple of.
        bytes: u64,
    },
    /// A read of bytes that nothing wrote.
    #[error(
        "read of {bytes} bytes at {space} address {address:#x}: byte {byte:#x} was never written, or not yet where no barrier makes sure of it"
    )]
    Uninitialised {
        /// Where.
        space: Space,
        /// First byte of the read.
        address: u64,
        /// How many.
        bytes: u64,
        /// The first byte that was not written.
        byte: u64,
    },
    /// Two threads use the same bytes, one of them writing, with nothing that orders them.
    #[error(
        "race: {access} at {space} address {address:#x}, and {} by block {} thread {} (PTX line {}), with nothing between that orders them",
        other.access, other.block, other.thread, other.line
    )]
    Race {
        /// Where.
        space: Space,
        /// What the later side did.
        access: Access,
        /// The byte.
        address: u64,
        /// The earlier side.
        other: Party,
    },
    /// Bytes that an asynchronous copy may still be writing or reading.
    #[error(
        "{access} at {space} address {address:#x}, which an asynchronous operation begun by thread {thread} (PTX line {line}) may still use: it has not been waited for"
    )]
    PendingCopy {
        /// Where.
        space: Space,
        /// What was tried.
        access: Access,
        /// The byte.
        address: u64,
        /// The thread that began the copy.
        thread: u32,
        /// Where it began.
        line: u32,
    },
    /// An asynchronous unit reads what ordinary stores wrote, without a proxy fence.
    #[error(
        "an asynchronous read at shared address {address:#x} of what thread {thread} stored (PTX line {line}), without fence.proxy.async"
    )]
    MissingProxyFence {
        /// The byte.
        address: u64,
        /// The thread that stored it.
        thread: u32,
        /// Where it was stored.
        line: u32,
    },
    /// A thread uses what a kernel before its own in a chain uses, which may still run: it has not waited.
    #[error(
        "{access} at global address {address:#x} before griddepcontrol.wait; {earlier}, which is before it in the chain and may still run, has a {other} there"
    )]
    BeforeWait {
        /// What was tried.
        access: Access,
        /// The byte.
        address: u64,
        /// What the kernel before does there.
        other: Access,
        /// Its name.
        earlier: String,
    },
    /// A block of a kernel in a chain ends, and no thread of it has waited.
    #[error(
        "the block ends without griddepcontrol.wait: its kernel may be over before the ones in front of it are, which the next one does not wait for"
    )]
    EndsWithoutWait,
    /// Lanes of a warp, or threads of a block, part before an operation that all must take part in.
    #[error("divergence: {0}")]
    Divergence(String),
    /// No thread can go on.
    #[error("deadlock: {0}")]
    Deadlock(String),
    /// A lane reads from, or names, a lane that takes no part.
    #[error("lane {lane} {reason}")]
    InactiveLane {
        /// The lane that executes.
        lane: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel ran more instructions than it may.
    #[error("the kernel runs away: {0} warp instructions and no end")]
    Runaway(u64),
    /// `trap`, or a failed `assert`.
    #[error("trap: {0}")]
    Trap(String),
    /// A use of an instruction that the ISA leaves undefined, or that is not played here.
    #[error("{0}")]
    Invalid(String),
    /// The device has no room left.
    #[error("out of device memory: {needed} bytes needed, {free} of {total} are free")]
    OutOfMemory {
        /// Asked for.
        needed: u64,
        /// Left.
        free: u64,
        /// Size of the device.
        total: u64,
    },
    /// A pointer that [`alloc`](crate::Device::alloc) did not give, or that was freed before.
    #[error("free of {0:#x}, which is not the start of a live allocation")]
    InvalidFree(u64),
    /// A launch that no device would take.
    #[error("launch: {0}")]
    Launch(String),
}

impl Fault {
    /// A fault of host code.
    pub(crate) fn host(kind: FaultKind) -> Self {
        Self { kind, site: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(s) = &self.site else { return self.kind.fmt(f) };
        let ([bx, by, bz], [tx, ty, tz]) = (s.block, s.thread);
        write!(f, "{} | {} block ({bx},{by},{bz}) thread ({tx},{ty},{tz})", self.kind, s.kernel)?;
        write!(f, ", {}:{}: {}", s.module, s.line, s.text)?;
        if let Some((file, line)) = &s.source {
            write!(f, " ({file}:{line})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Shared => "shared",
            Self::Local => "local",
            Self::Const => "const",
            Self::Param => "param",
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Atomic => "atomic operation",
        })
    }
}
