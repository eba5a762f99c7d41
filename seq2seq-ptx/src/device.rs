//! A device: its memory, and what the host can do with it.

use crate::{Arg, Fault, FaultKind, Launch, Module};
use std::sync::Arc;

/// A device with its memory. Clones share it; calls from several threads take turns.
#[derive(Debug, Clone)]
pub struct Device(Arc<()>);

impl Device {
    /// A device with so many bytes of memory.
    pub fn new(_bytes: u64) -> Self {
        Self(Arc::new(()))
    }

    /// The order in which warps and blocks run: 0 (at first) runs each warp as far as it can go, in turn; any other
    /// seed interleaves warps at random. Each is an order that a GPU might take.
    pub fn set_schedule(&self, _seed: u64) {}

    /// Warp instructions that one launch may run before it counts as running away.
    pub fn set_budget(&self, _warp_instructions: u64) {}

    /// Allocates uninitialised memory; the pointer is a multiple of 256.
    ///
    /// # Errors
    /// No room left.
    pub fn alloc(&self, _bytes: u64) -> Result<u64, Fault> {
        Err(todo())
    }

    /// Frees an allocation. Later use of it is a fault.
    ///
    /// # Errors
    /// Not the start of a live allocation.
    pub fn free(&self, _ptr: u64) -> Result<(), Fault> {
        Err(todo())
    }

    /// Copies from the host.
    ///
    /// # Errors
    /// Outside every live allocation.
    pub fn write(&self, _ptr: u64, _bytes: &[u8]) -> Result<(), Fault> {
        Err(todo())
    }

    /// Copies to the host.
    ///
    /// # Errors
    /// Outside every live allocation, or never written.
    pub fn read(&self, _ptr: u64, _out: &mut [u8]) -> Result<(), Fault> {
        Err(todo())
    }

    /// Sets `len` bytes.
    ///
    /// # Errors
    /// Outside every live allocation.
    pub fn fill(&self, _ptr: u64, _byte: u8, _len: u64) -> Result<(), Fault> {
        Err(todo())
    }

    /// Copies within the device.
    ///
    /// # Errors
    /// Outside every live allocation. Bytes that were never written stay so.
    pub fn copy(&self, _from: u64, _to: u64, _len: u64) -> Result<(), Fault> {
        Err(todo())
    }

    /// Bytes that are free, and bytes there are.
    pub fn memory(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Address and size of a `.global` or `.const` variable of a module on this device.
    ///
    /// # Errors
    /// No such variable, or no room for the module's variables.
    pub fn variable(&self, _module: &Module, _name: &str) -> Result<(u64, u64), Fault> {
        Err(todo())
    }

    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// The first fault, and launches that no device would take.
    pub fn launch(
        &self,
        _module: &Module,
        _kernel: &str,
        _shape: Launch,
        _args: &[Arg],
    ) -> Result<(), Fault> {
        Err(todo())
    }
}

fn todo() -> Fault {
    Fault::host(FaultKind::Launch("not built yet".into()))
}
