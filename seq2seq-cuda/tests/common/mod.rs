//! A driver whose GPU is played on the CPU.

// Each test program uses a part.
#![allow(dead_code)]

pub(crate) mod counting;
mod played;

pub(crate) use played::Played;

use seq2seq_cuda::{Cuda, CudaOptions};
use std::sync::Arc;

/// Memory of the device of most tests.
const BYTES: u64 = 1 << 30;

/// A backend on a device with so much memory. Freed memory is not kept, so that its later use is seen.
pub(crate) fn with_memory(bytes: u64) -> Cuda {
    Cuda::with_driver(Arc::new(Played::new(bytes)), CudaOptions::default().keep_memory(false))
}

/// A backend to test.
pub(crate) fn cuda() -> Cuda {
    with_memory(BYTES)
}
