//! A driver whose GPU is played on the CPU.

// Each test program uses a part.
#![allow(dead_code)]

pub(crate) mod tiles;

use seq2seq_cuda::driver::{
    Arg, Driver, DriverError, FunctionId, Image, MemoryInfo, ModuleId, Result, Shape,
};
use seq2seq_cuda::{Cuda, CudaOptions};
use seq2seq_ptx::{Device, Fault, FaultKind, Launch, Module};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Memory of the device of most tests.
const BYTES: u64 = 1 << 30;

/// A device, with what was loaded on it.
pub(crate) struct Played {
    device: Device,
    capability: (u32, u32),
    multiprocessors: u32,
    loaded: Mutex<Loaded>,
    allocations: AtomicUsize,
}

#[derive(Default)]
struct Loaded {
    modules: Vec<Module>,
    functions: Vec<(usize, String)>,
}

impl Played {
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            device: Device::new(bytes),
            capability: (8, 0),
            multiprocessors: 4,
            loaded: Mutex::default(),
            allocations: AtomicUsize::new(0),
        }
    }

    /// The same, as a GPU of Hopper with so many multiprocessors.
    pub(crate) fn hopper(self, multiprocessors: u32) -> Self {
        Self { capability: (9, 0), multiprocessors, ..self }
    }

    /// The same, with warps and blocks run in an order that `seed` tells.
    pub(crate) fn scheduled(self, seed: u64) -> Self {
        self.device.set_schedule(seed);
        self
    }

    /// The modules that were loaded, in their order.
    pub(crate) fn modules(&self) -> Vec<String> {
        let loaded = self.loaded.lock().unwrap();
        loaded.modules.iter().map(|m| m.name().to_owned()).collect()
    }

    /// How often memory was allocated.
    pub(crate) fn allocations(&self) -> usize {
        self.allocations.load(Ordering::Relaxed)
    }
}

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
    let driver = Played::new(BYTES).hopper(multiprocessors).scheduled(seed);
    Cuda::with_driver(Arc::new(driver), CudaOptions::default().keep_memory(false))
}

fn failed(call: &str, fault: Fault) -> DriverError {
    match fault.kind {
        FaultKind::OutOfMemory { needed, free, total } => {
            DriverError::OutOfMemory { needed, free, total }
        }
        _ => DriverError::failed(call, fault),
    }
}

impl Driver for Played {
    fn name(&self) -> String {
        "GPU played on the CPU".into()
    }

    fn capability(&self) -> (u32, u32) {
        self.capability
    }

    fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    fn memory(&self) -> Result<MemoryInfo> {
        let (free, total) = self.device.memory();
        Ok(MemoryInfo { free, total })
    }

    fn alloc(&self, bytes: u64) -> Result<u64> {
        self.allocations.fetch_add(1, Ordering::Relaxed);
        self.device.alloc(bytes).map_err(|f| failed("alloc", f))
    }

    fn free(&self, address: u64) -> Result<()> {
        self.device.free(address).map_err(|f| failed("free", f))
    }

    fn write(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.device.write(to, bytes).map_err(|f| failed("write", f))
    }

    fn read(&self, from: u64, out: &mut [u8]) -> Result<()> {
        self.device.read(from, out).map_err(|f| failed("read", f))
    }

    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<()> {
        self.device.copy(from, to, bytes).map_err(|f| failed("copy", f))
    }

    fn fill(&self, to: u64, value: u8, bytes: u64) -> Result<()> {
        self.device.fill(to, value, bytes).map_err(|f| failed("fill", f))
    }

    fn runs_machine_code(&self) -> bool {
        false
    }

    fn load(&self, name: &str, image: Image<'_>) -> Result<ModuleId> {
        let Image::Ptx(ptx) = image else {
            return Err(DriverError::failed("load", "machine code cannot be played"));
        };
        let module = Module::parse(name, ptx).map_err(|e| DriverError::failed("load", e))?;
        let mut loaded = self.loaded.lock().unwrap();
        loaded.modules.push(module);
        Ok(ModuleId(loaded.modules.len() as u64 - 1))
    }

    fn function(&self, module: ModuleId, name: &str, _: u32) -> Result<FunctionId> {
        let mut loaded = self.loaded.lock().unwrap();
        let module = module.0 as usize;
        if !loaded.modules[module].kernels().any(|k| k == name) {
            return Err(DriverError::failed("function", format!("there is no kernel {name}")));
        }
        loaded.functions.push((module, name.into()));
        Ok(FunctionId(loaded.functions.len() as u64 - 1))
    }

    unsafe fn launch(&self, function: FunctionId, shape: Shape, args: &[Arg]) -> Result<()> {
        let (module, name) = {
            let loaded = self.loaded.lock().unwrap();
            let (module, name) = loaded.functions[function.0 as usize].clone();
            (loaded.modules[module].clone(), name)
        };
        let Shape { grid, block, shared } = shape;
        let args: Vec<_> = args.iter().map(|a| seq2seq_ptx::Arg::bytes(a.bytes())).collect();
        self.device
            .launch(&module, &name, Launch { grid, block, dynamic_shared: shared }, &args)
            .map_err(|f| failed(&format!("launch of {name}"), f))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}
