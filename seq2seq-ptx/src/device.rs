//! A device: its memory, and what the host can do with it.

use crate::machine::Global;
use crate::machine::grid::{self, Settings};
use crate::shadow::Chain;
use crate::{Access, Arg, Call, Fault, FaultKind, Launch, Module, Result, Space};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Warp instructions of a launch before it counts as running away.
const BUDGET: u64 = 200_000_000;

/// A device with its memory. Clones share it; calls from several threads take turns.
#[derive(Debug, Clone)]
pub struct Device(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    global: Global,
    settings: Settings,
    /// Warp instructions that ran.
    instructions: u64,
    /// Addresses of the variables of modules, by module.
    variables: HashMap<u64, Vec<u64>>,
}

impl Device {
    /// A device with so many bytes of memory.
    pub fn new(bytes: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            global: Global::new(bytes),
            settings: Settings { seed: 0, budget: BUDGET },
            instructions: 0,
            variables: HashMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The order in which warps and blocks run: 0 (at first) runs each warp as far as it can go, in turn; any other
    /// seed interleaves warps, and orders blocks, at random. Each is an order that a GPU might take.
    pub fn set_schedule(&self, seed: u64) {
        self.state().settings.seed = seed;
    }

    /// Warp instructions that one launch may run before it counts as running away.
    pub fn set_budget(&self, warp_instructions: u64) {
        self.state().settings.budget = warp_instructions;
    }

    /// Allocates uninitialised memory; the pointer is a multiple of 256.
    ///
    /// # Errors
    /// No room left.
    pub fn alloc(&self, bytes: u64) -> Result<u64> {
        self.state().global.alloc(bytes, false).map_err(Fault::host)
    }

    /// Frees an allocation. Later use of it is a fault.
    ///
    /// # Errors
    /// Not the start of a live allocation.
    pub fn free(&self, ptr: u64) -> Result<()> {
        self.state().global.free(ptr).map_err(Fault::host)
    }

    /// Copies from the host.
    ///
    /// # Errors
    /// Outside every live allocation.
    pub fn write(&self, ptr: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        let found = state.global.region(ptr, bytes.len(), Access::Write);
        let region = found.map_err(Fault::host)?;
        region.put((ptr - region.base()) as usize, bytes);
        Ok(())
    }

    /// Copies to the host.
    ///
    /// # Errors
    /// Outside every live allocation, or never written.
    pub fn read(&self, ptr: u64, out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        let region = state.global.region(ptr, out.len(), Access::Read).map_err(Fault::host)?;
        let at = (ptr - region.base()) as usize;
        if let Some(byte) = region.unwritten(at, out.len()) {
            let (space, bytes) = (Space::Global, out.len() as u64);
            let kind = FaultKind::Uninitialised { space, address: ptr, bytes, byte };
            return Err(Fault::host(kind));
        }
        out.copy_from_slice(region.peek(at, out.len()));
        Ok(())
    }

    /// Sets `len` bytes.
    ///
    /// # Errors
    /// Outside every live allocation.
    pub fn fill(&self, ptr: u64, byte: u8, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let mut state = self.state();
        let found = state.global.region(ptr, len as usize, Access::Write);
        let region = found.map_err(Fault::host)?;
        region.put((ptr - region.base()) as usize, &vec![byte; len as usize]);
        Ok(())
    }

    /// Copies within the device.
    ///
    /// # Errors
    /// Outside every live allocation. Bytes that were never written stay so.
    pub fn copy(&self, from: u64, to: u64, len: u64) -> Result<()> {
        if len == 0 {
            return Ok(());
        }
        let (mut state, length) = (self.state(), len as usize);
        let source = state.global.region(from, length, Access::Read).map_err(Fault::host)?;
        let at = (from - source.base()) as usize;
        let bytes = source.peek(at, length).to_vec();
        let mut unwritten = Vec::new();
        let mut next = at;
        while let Some(byte) = source.unwritten(next, at + length - next) {
            let offset = (byte - source.base()) as usize;
            unwritten.push(offset - at);
            next = offset + 1;
        }
        let target = state.global.region(to, length, Access::Write).map_err(Fault::host)?;
        let place = (to - target.base()) as usize;
        target.put(place, &bytes);
        unwritten.into_iter().for_each(|offset| target.unput(place + offset, 1));
        Ok(())
    }

    /// Bytes that are free, and bytes there are.
    pub fn memory(&self) -> (u64, u64) {
        self.state().global.room()
    }

    /// Warp instructions that all launches ran so far.
    pub fn instructions(&self) -> u64 {
        self.state().instructions
    }

    /// Address and size of a `.global` or `.const` variable of a module on this device.
    ///
    /// # Errors
    /// No such variable, or no room for the module's variables.
    pub fn variable(&self, module: &Module, name: &str) -> Result<(u64, u64)> {
        let addresses = self.state().load(module)?;
        let mut all = module.variables().iter().zip(addresses);
        all.find(|(v, _)| v.name == name).map(|(v, at)| (at, v.bytes)).ok_or_else(|| {
            let reason = format!("module {} has no variable {name}", module.name());
            Fault::host(FaultKind::Launch(reason))
        })
    }

    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// The first fault, and launches that no device would take.
    pub fn launch(&self, module: &Module, kernel: &str, shape: Launch, args: &[Arg]) -> Result<()> {
        self.state().launch(Call { module, kernel, shape, arguments: args }, None)
    }

    /// Runs kernels, each of which may begin while those before it run: as a graph does where they are joined by programmatic
    /// edges. All before the first of them is over.
    ///
    /// # Errors
    /// The first fault, and launches that no device would take.
    pub fn chain(&self, calls: &[Call<'_>]) -> Result<()> {
        let (mut state, mut chain) = (self.state(), Chain::default());
        calls.iter().try_for_each(|call| state.launch(*call, Some(&mut chain)))
    }
}

impl State {
    fn launch(&mut self, call: Call<'_>, chain: Option<&mut Chain>) -> Result<()> {
        let variables = self.load(call.module)?;
        let memory = (&mut self.global, &mut self.instructions);
        grid::launch(memory, chain, call, &variables, self.settings)
    }

    /// Gives a module's variables their memory and first values, once.
    fn load(&mut self, module: &Module) -> Result<Vec<u64>> {
        if let Some(addresses) = self.variables.get(&module.id()) {
            return Ok(addresses.clone());
        }
        let mut addresses = Vec::new();
        for v in module.variables() {
            let at = self.global.alloc(v.bytes, v.constant).map_err(Fault::host)?;
            let mut bytes = v.initial.clone();
            bytes.resize(v.bytes as usize, 0);
            let region = self.global.region(at, bytes.len(), Access::Read).map_err(Fault::host)?;
            region.put(0, &bytes);
            addresses.push(at);
        }
        self.variables.insert(module.id(), addresses.clone());
        Ok(addresses)
    }
}
