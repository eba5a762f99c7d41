//! The libtorch backend: every operation of the engine in a few calls of libtorch (through the crate `tch`), on the CPU and
//! on CUDA devices.
//!
//! It is there to keep the operations honest, as a third implementation of their traits and a second oracle of outputs and
//! gradients (the backwards are libtorch's own autograd); to run models on devices that have no kernels of ours; and to be the
//! peer within one process when kernels are timed.
//!
//! | [`Precision`] | computes in | a row alone and in a batch |
//! |---|---|---|
//! | [`Exact`](Precision::Exact) | f64, each result rounded to f32 once, as the reference defines the operations | the same bits, as far as sums in f64 that differ in their order round to one f32 |
//! | [`Native`](Precision::Native) | f32, rows and weights rounded to bf16 before where a layer's format says so | equal within rounding: libtorch's products of matrices sum in another order for another shape or alignment |
//!
//! It takes libtorch 2.11.0, as `tch` 0.24.0 does; see [`Tch::new`] for what is checked when it is opened.
//!
//! ```
//! use seq2seq_core::{Backend, Epilogue, Format, HostTensor, LinearSpec, Lookup};
//! use seq2seq_tch::{Embedding, Linear, Precision, Tch, TchDevice, TchOptions, Tensor};
//!
//! let exact = TchOptions { precision: Precision::Exact, device: TchDevice::Cpu, threads: None };
//! let tch = Tch::new(exact)?;
//! assert_eq!(tch.describe(), "libtorch (cpu, exact)");
//! let table = HostTensor::from_f32(vec![2, 3], &[0.0, 0.0, 0.0, 1e8, 1.0, -1e8])?;
//! let table: Embedding = tch.embedding(&table)?;
//! let weight = HostTensor::from_f32(vec![1, 3], &[1.0, 1.0, 1.0])?;
//! let layer: Linear = tch.pack(&LinearSpec::single(weight, None), Format::F32)?;
//!
//! let x: Tensor = tch.embed(&[Lookup { table: &table, ids: &[1], scale: 1.0 }])?;
//! let y = tch.linear(&x, &layer, Epilogue::NONE)?;
//! assert_eq!(tch.download(&y)?, [1.0]); // which a sum in f32 may lose
//! # Ok::<(), seq2seq_core::Error>(())
//! ```

mod backend;
mod cuda;
mod fault;
#[cfg(unix)]
mod loaded;
mod open;
mod ops;
mod tensor;
mod train;

pub use open::{Precision, Tch, TchDevice, TchOptions};
pub use ops::{
    additive::{Additive, AdditiveMemory},
    attention::RelativeBias,
    cache::KvCache,
    cross::Memory,
    embed::Embedding,
    linear::Linear,
    norm::Norm,
    recurrent::Recurrent,
};
pub use tensor::Tensor;
pub use train::{TrainLinear, TrainRecurrent};
