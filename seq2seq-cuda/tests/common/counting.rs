//! A driver that counts what it is asked for, and hands it on.

use seq2seq_cuda::driver::{
    Arg, Driver, EventId, FunctionId, GraphId, Image, MemoryInfo, ModuleId, Result, Shape, Work,
};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

/// How often each was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Memory of the device, events, page-locked memory: taken or given back.
    pub(crate) allocations: usize,
    /// Copies that are not from or to page-locked memory.
    pub(crate) blocking_copies: usize,
    /// Waits for everything.
    pub(crate) synchronisations: usize,
    /// Waits for an event.
    pub(crate) waits: usize,
    /// Modules and kernels.
    pub(crate) loads: usize,
    /// Copies from page-locked memory.
    pub(crate) uploads: usize,
    /// Copies to it.
    pub(crate) downloads: usize,
    pub(crate) launches: usize,
    /// Made.
    pub(crate) graphs: usize,
    pub(crate) graph_runs: usize,
}

/// The driver around `inner`.
pub(crate) struct Counting<D> {
    inner: D,
    counts: Mutex<Counts>,
}

impl<D: Driver> Counting<D> {
    pub(crate) fn new(inner: D) -> Self {
        Self { inner, counts: Mutex::default() }
    }

    /// What the calls are handed on to.
    pub(crate) fn inner(&self) -> &D {
        &self.inner
    }

    fn count(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap()
    }

    /// What `work` asks for.
    pub(crate) fn counts_of<T>(&self, work: impl FnOnce() -> T) -> (T, Counts) {
        *self.count() = Counts::default();
        let done = work();
        (done, *self.count())
    }
}

impl<D: Driver> Driver for Counting<D> {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn capability(&self) -> (u32, u32) {
        self.inner.capability()
    }

    fn multiprocessors(&self) -> u32 {
        self.inner.multiprocessors()
    }

    fn shared_memory(&self) -> u32 {
        self.inner.shared_memory()
    }

    fn memory(&self) -> Result<MemoryInfo> {
        self.inner.memory()
    }

    fn alloc(&self, bytes: u64) -> Result<u64> {
        self.count().allocations += 1;
        self.inner.alloc(bytes)
    }

    fn free(&self, address: u64) -> Result<()> {
        self.count().allocations += 1;
        self.inner.free(address)
    }

    fn trim(&self) -> Result<()> {
        self.inner.trim()
    }

    fn write(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.count().blocking_copies += 1;
        self.inner.write(to, bytes)
    }

    fn read(&self, from: u64, out: &mut [u8]) -> Result<()> {
        self.count().blocking_copies += 1;
        self.inner.read(from, out)
    }

    fn alloc_host(&self, bytes: usize) -> Result<NonNull<u8>> {
        self.count().allocations += 1;
        self.inner.alloc_host(bytes)
    }

    unsafe fn free_host(&self, memory: NonNull<u8>) -> Result<()> {
        self.count().allocations += 1;
        // SAFETY: the caller's promise; so below.
        unsafe { self.inner.free_host(memory) }
    }

    unsafe fn write_later(&self, to: u64, from: NonNull<u8>, bytes: usize) -> Result<()> {
        self.count().uploads += 1;
        // SAFETY: as above.
        unsafe { self.inner.write_later(to, from, bytes) }
    }

    unsafe fn read_later(&self, from: u64, to: NonNull<u8>, bytes: usize) -> Result<()> {
        self.count().downloads += 1;
        // SAFETY: as above.
        unsafe { self.inner.read_later(from, to, bytes) }
    }

    fn event(&self) -> Result<EventId> {
        self.count().allocations += 1;
        self.inner.event()
    }

    fn record(&self, event: EventId) -> Result<()> {
        self.inner.record(event)
    }

    fn wait(&self, event: EventId) -> Result<()> {
        self.count().waits += 1;
        self.inner.wait(event)
    }

    fn free_event(&self, event: EventId) -> Result<()> {
        self.count().allocations += 1;
        self.inner.free_event(event)
    }

    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<()> {
        self.inner.copy(from, to, bytes)
    }

    fn fill(&self, to: u64, value: u8, bytes: u64) -> Result<()> {
        self.inner.fill(to, value, bytes)
    }

    fn runs_machine_code(&self) -> bool {
        self.inner.runs_machine_code()
    }

    fn load(&self, name: &str, image: Image<'_>) -> Result<ModuleId> {
        self.count().loads += 1;
        self.inner.load(name, image)
    }

    fn function(&self, module: ModuleId, name: &str, shared: u32) -> Result<FunctionId> {
        self.count().loads += 1;
        self.inner.function(module, name, shared)
    }

    fn resident_blocks(&self, function: FunctionId, threads: u32, shared: u32) -> Result<u32> {
        self.inner.resident_blocks(function, threads, shared)
    }

    unsafe fn launch(&self, function: FunctionId, shape: Shape, args: &[Arg]) -> Result<()> {
        self.count().launches += 1;
        // SAFETY: as above.
        unsafe { self.inner.launch(function, shape, args) }
    }

    unsafe fn graph(&self, work: &Work) -> Result<Option<GraphId>> {
        self.count().graphs += 1;
        // SAFETY: as above.
        unsafe { self.inner.graph(work) }
    }

    unsafe fn run_graph(&self, graph: GraphId) -> Result<()> {
        self.count().graph_runs += 1;
        // SAFETY: as above.
        unsafe { self.inner.run_graph(graph) }
    }

    fn free_graph(&self, graph: GraphId) -> Result<()> {
        self.inner.free_graph(graph)
    }

    fn synchronize(&self) -> Result<()> {
        self.count().synchronisations += 1;
        self.inner.synchronize()
    }
}
