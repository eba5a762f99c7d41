// What examples of the documentation run on: a played GPU. Each includes this file, in a module of its own.

#[path = "hardware.rs"]
mod hardware;
#[path = "played.rs"]
#[allow(dead_code)]
mod played;

pub(crate) use played::Played;

/// A backend on a played GPU.
#[allow(dead_code)]
pub(crate) fn cuda() -> seq2seq_cuda::Cuda {
    let options = seq2seq_cuda::CudaOptions::default();
    seq2seq_cuda::Cuda::with_driver(std::sync::Arc::new(Played::new(1 << 24)), options)
}
