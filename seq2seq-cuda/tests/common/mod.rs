//! A driver whose GPU is played on the CPU.

// Each test program uses a part.
#![allow(dead_code)]

pub(crate) mod attend;
pub(crate) mod attend_back;
pub(crate) mod counting;
mod hardware;
pub(crate) mod library;
pub(crate) mod played;
pub(crate) mod readers;
pub(crate) mod recurrent;
pub(crate) mod tiles;

pub(crate) use played::Played;

use seq2seq_cuda::{Cuda, CudaOptions};
use std::sync::Arc;

/// Launches that choose a token, behind a step: rules, the best of segments, the best of all.
pub(crate) const CHOICE: usize = 3;

/// Memory of the device of most tests.
pub(crate) const BYTES: u64 = 1 << 30;

/// A backend on a device with so much memory. Freed memory is not kept, so that its later use is seen.
pub(crate) fn with_memory(bytes: u64) -> Cuda {
    Cuda::with_driver(Arc::new(Played::new(bytes)), CudaOptions::default().keep_memory(false))
}

/// A backend to test.
pub(crate) fn cuda() -> Cuda {
    with_memory(BYTES)
}

/// A backend to test, on a GPU of Hopper whose warps run in an order that `seed` tells.
pub(crate) fn hopper(multiprocessors: u32, seed: u64) -> Cuda {
    watched_hopper(multiprocessors, seed).0
}

/// The same, and its driver, which tells what was asked of it.
pub(crate) fn watched_hopper(multiprocessors: u32, seed: u64) -> (Cuda, Arc<Played>) {
    let driver = Arc::new(Played::new(BYTES).hopper(multiprocessors).scheduled(seed));
    (Cuda::with_driver(driver.clone(), CudaOptions::default().keep_memory(false)), driver)
}
