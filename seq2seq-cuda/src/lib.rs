//! The NVIDIA GPU backend of `seq2seq`.
//!
//! Kernels are our own CUDA C++ (`src/kernels/<op>.cu`), compiled before they are shipped (`artifacts/`): a user needs the
//! driver and nothing else, and building needs no CUDA. Each has one safe launcher beside it (`src/kernels/<op>.rs`); `src/ops/`
//! is the glue between launchers and the traits of `seq2seq-core`.
//!
//! All work of a [`Cuda`] is put on one queue, in order ([`driver`]). Everything is proven by running the compiled kernels
//! on a GPU that is played on the CPU (`tests/`).

mod backend;
mod device;
pub mod driver;
mod kept;
mod kernels;
mod launch;
mod memory;
mod module;
mod ops;
mod queue;

pub use device::{AHEAD_VARIABLE, Cuda, CudaOptions, GRAPHS_VARIABLE, OVERLAP_VARIABLE};
pub use memory::Tensor;
pub use ops::additive::{Additive, AdditiveMemory};
pub use ops::attention::RelativeBias;
pub use ops::cache::KvCache;
pub use ops::choose::Chosen;
pub use ops::cross::Memory;
pub use ops::embed::Embedding;
pub use ops::linear::Linear;
pub use ops::norm::Norm;
pub use ops::recurrent::Recurrent;
pub use ops::train::linear::TrainLinear;
pub use ops::train::recurrent::TrainRecurrent;
