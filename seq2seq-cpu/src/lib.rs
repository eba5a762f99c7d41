//! Hand-tuned SIMD backend of the `seq2seq` engine.
//!
//! [`Cpu`] implements the operations of [`seq2seq_core`] with kernels for AVX-512, AVX2, NEON and plain Rust, chosen when it
//! is made ([`Isa`]).
//!
//! ```
//! use seq2seq_core::{AttentionSpec, Backend, EncoderOps, HostTensor, Precision, Ragged, Rows};
//! use seq2seq_cpu::{Cpu, CpuOptions};
//!
//! let cpu = Cpu::new(CpuOptions::default())?; // the best level of this machine, a thread for each core
//! println!("{}", cpu.describe());
//! let spec = AttentionSpec {
//!     heads: 2, kv_heads: 2, head_dim: 4, scale: 0.5, causal: true, rotary: None, dropout: 0.0,
//!     precision: Precision::F32,
//! };
//! let rows = Ragged::from_lengths([3, 1]); // two sequences, packed
//! let values: Vec<f32> = (0..4 * spec.qkv_width()).map(|i| (i % 7) as f32 / 7.0).collect();
//! let qkv = cpu.upload(&HostTensor::from_f32(vec![4, spec.qkv_width()], &values)?)?;
//! let y = cpu.attend(&qkv, &rows, &spec, None)?;
//! assert_eq!((y.rows(), y.width()), (4, spec.inner()));
//! # Ok::<(), seq2seq_core::Error>(())
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`isa`] | instruction-set levels, as values that prove themselves |
//! | `simd` | vectors of f32 over the levels; exp and the activations |
//! | `gemm` | packed linear layers |
//! | `kernels` | the loops of everything else |
//! | `ops` | the operations: checks, memory, division of the work |
//! | `memory` | recycled storage, tensors, disjoint parts |
//! | `threads` | the pool |
//!
//! Unsafe code lives in `simd`, `kernels`, `gemm/micro`, `memory` and `threads`.

mod backend;
mod gemm;
pub mod isa;
mod kernels;
mod memory;
mod ops;
mod simd;
mod threads;

pub use gemm::{Linear, Recurrent};
pub use isa::Isa;
pub use kernels::attention::RelativeBias;
pub use kernels::norm::Norm;
pub use memory::Tensor;
pub use ops::{
    additive::Additive, additive::AdditiveMemory, backward::TrainLinear, backward::TrainRecurrent,
    cache::KvCache, cross::Memory, embed::Embedding,
};

use seq2seq_core::Result;
use std::sync::Arc;
use threads::Threads;

/// How to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuOptions {
    /// Threads that work on an operation, the calling one included. Without it: one for each physical core that the
    /// process may use.
    pub threads: Option<usize>,
    /// The level of instructions. Without it: what [`isa::ISA_VARIABLE`] names, or the best that the machine has.
    pub isa: Option<Isa>,
}

/// The CPU of this machine. Cloning shares its threads.
///
/// Any number of requests may use one `Cpu` at once. Its threads work for one at a time; an operation that finds them busy
/// runs on the thread that calls it, with the same result to the bit.
#[derive(Clone)]
pub struct Cpu {
    shared: Arc<Shared>,
}

struct Shared {
    isa: Isa,
    threads: Threads,
}

impl Cpu {
    /// Starts the threads.
    ///
    /// # Errors
    /// Where the machine lacks the level that the environment asks for, for 0 threads, and where the system gives no
    /// more of them.
    pub fn new(options: CpuOptions) -> Result<Self> {
        let isa = options.isa.map_or_else(Isa::from_env, Ok)?;
        Ok(Self { shared: Arc::new(Shared { isa, threads: Threads::new(options.threads)? }) })
    }

    /// The level of instructions.
    pub fn isa(&self) -> Isa {
        self.shared.isa
    }

    /// The pool.
    pub(crate) fn threads(&self) -> &Threads {
        &self.shared.threads
    }

    /// The number of threads that work on an operation.
    pub fn thread_count(&self) -> usize {
        self.threads().count()
    }
}

impl std::fmt::Debug for Cpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cpu({}, {} threads)", self.isa(), self.thread_count())
    }
}
