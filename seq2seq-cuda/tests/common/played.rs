//! The played driver: a queue in front of a GPU of `seq2seq-ptx`.
//!
//! A GPU may do what it is asked for at once, or not before somebody waits for it; a host that gets it right cannot tell.
//! [`Played::new`] does everything at once, so that a fault is seen where it was asked for. [`Played::late`] does
//! nothing until somebody waits, and then no more than is waited for: page-locked memory that is written again too early,
//! or read too early, gives wrong values.

// Named, as a test of seq2seq-models includes this file.
#[path = "played/replay.rs"]
mod replay;

use super::hardware::Hardware;
use replay::Kernel;
use seq2seq_cuda::driver::{
    Arg, Driver, DriverError, EventId, FunctionId, GraphId, Image, MemoryInfo, ModuleId, Result,
    Shape, Work as Listed,
};
use seq2seq_ptx::{Device, Fault, FaultKind, Module};
use std::collections::{BTreeMap, VecDeque};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A device, with what was loaded on it.
pub(crate) struct Played {
    device: Device,
    hardware: Hardware,
    late: bool,
    /// What is replaced in the text of kernels, by what.
    spoilt: Option<[&'static str; 2]>,
    graphs: Graphs,
    /// Kernels in graphs that were run which may have begun while the one before them ran.
    edges: AtomicUsize,
    queue: Mutex<VecDeque<Work>>,
    /// Held by the thread that carries out what is in the queue.
    turn: Mutex<()>,
    loaded: Mutex<Loaded>,
    host: Mutex<Host>,
}

/// What becomes of graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Graphs {
    Run,
    /// There is no room for any.
    NoRoom,
    /// None can be made.
    Refuse,
    /// They are made, and fail when they are run.
    Fail,
}

#[derive(Default)]
struct Loaded {
    modules: Vec<Module>,
    functions: Vec<(usize, String)>,
}

/// What has been taken of the host.
#[derive(Default)]
struct Host {
    /// Lengths of page-locked memory, by its address.
    pinned: BTreeMap<usize, usize>,
    /// Those that are in use.
    events: Vec<EventId>,
    next_event: u64,
    graphs: BTreeMap<u64, Arc<Listed>>,
    next_graph: u64,
}

/// Something that was asked for.
enum Work {
    Launch { function: FunctionId, shape: Shape, args: Vec<Arg> },
    Graph(Arc<Listed>),
    Write { to: u64, bytes: Vec<u8> },
    WriteLater { to: u64, from: Place },
    ReadLater { from: u64, to: Place },
    Copy { from: u64, to: u64, bytes: u64 },
    Fill { to: u64, value: u8, bytes: u64 },
    Free(u64),
    Event(EventId),
}

/// A run of page-locked memory.
struct Place {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: whoever asked for the copy has promised that nobody else touches the bytes until it is done.
unsafe impl Send for Place {}

impl Played {
    /// A device that does everything at once.
    pub(crate) fn new(bytes: u64) -> Self {
        Self {
            device: Device::new(bytes),
            hardware: Hardware { capability: (8, 0), multiprocessors: 4, cooperates: true },
            late: false,
            spoilt: None,
            graphs: Graphs::Run,
            edges: AtomicUsize::default(),
            queue: Mutex::default(),
            turn: Mutex::default(),
            loaded: Mutex::default(),
            host: Mutex::default(),
        }
    }

    /// The same, as a GPU of Hopper with so many multiprocessors.
    pub(crate) fn hopper(mut self, multiprocessors: u32) -> Self {
        self.hardware = Hardware { capability: (9, 0), multiprocessors, ..self.hardware };
        self
    }

    /// The same, as a GPU of Blackwell, which has no wgmma.
    pub(crate) fn blackwell(mut self) -> Self {
        self.hardware.capability = (10, 0);
        self
    }

    /// The same, with so many multiprocessors.
    pub(crate) fn multiprocessors(mut self, multiprocessors: u32) -> Self {
        self.hardware.multiprocessors = multiprocessors;
        self
    }

    /// The same, which launches no blocks together.
    pub(crate) fn apart(mut self) -> Self {
        self.hardware.cooperates = false;
        self
    }

    /// The same, whose kernels have `text` in place of `right`.
    pub(crate) fn spoilt(mut self, right: &'static str, text: &'static str) -> Self {
        self.spoilt = Some([right, text]);
        self
    }

    /// The same, which does nothing before it is waited for.
    pub(crate) fn late(mut self) -> Self {
        self.late = true;
        self
    }

    /// The same, with graphs to which that happens.
    pub(crate) fn graphs(mut self, graphs: Graphs) -> Self {
        self.graphs = graphs;
        self
    }

    /// Kernels in graphs that were run which may have begun while the one before them ran.
    pub(crate) fn overlapped(&self) -> usize {
        self.edges.load(Ordering::Relaxed)
    }

    /// How much was asked for and has not been done.
    pub(crate) fn pending(&self) -> usize {
        self.queue.lock().unwrap().len()
    }

    /// Graphs that were made and not given back.
    pub(crate) fn graphs_held(&self) -> usize {
        self.host.lock().unwrap().graphs.len()
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

    /// The kernels that were asked for, in their order.
    pub(crate) fn kernels(&self) -> Vec<String> {
        let loaded = self.loaded.lock().unwrap();
        loaded.functions.iter().map(|(_, name)| name.clone()).collect()
    }

    fn ask(&self, work: Work) -> Result<()> {
        match self.late {
            true => {
                self.queue.lock().unwrap().push_back(work);
                Ok(())
            }
            false => self.carry_out(work),
        }
    }

    /// Does what was asked for, up to what `last` finds.
    fn settle(&self, last: impl FnOnce(&VecDeque<Work>) -> Option<usize>) -> Result<()> {
        let _turn = self.turn.lock().unwrap();
        let work: Vec<Work> = {
            let mut queue = self.queue.lock().unwrap();
            let count = last(&queue).map_or(0, |last| last + 1);
            queue.drain(..count).collect()
        };
        work.into_iter().try_for_each(|work| self.carry_out(work))
    }

    fn settle_all(&self) -> Result<()> {
        self.settle(|queue| queue.len().checked_sub(1))
    }

    fn carry_out(&self, work: Work) -> Result<()> {
        let device = &self.device;
        match work {
            Work::Launch { function, shape, args } => self.play(function, shape, &args),
            Work::Graph(list) => self.replay(&list),
            Work::Write { to, bytes } => device.write(to, &bytes).map_err(|f| failed("write", f)),
            Work::WriteLater { to, from: Place { start, bytes } } => {
                // SAFETY: the memory is allocated, as was checked, and nobody writes it meanwhile, as was promised.
                let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), bytes) };
                device.write(to, bytes).map_err(|f| failed("write", f))
            }
            Work::ReadLater { from, to: Place { start, bytes } } => {
                // SAFETY: as above, and nobody reads it.
                let out = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), bytes) };
                device.read(from, out).map_err(|f| failed("read", f))
            }
            Work::Copy { from, to, bytes } => {
                device.copy(from, to, bytes).map_err(|f| failed("copy", f))
            }
            Work::Fill { to, value, bytes } => {
                device.fill(to, value, bytes).map_err(|f| failed("fill", f))
            }
            Work::Free(address) => device.free(address).map_err(|f| failed("free", f)),
            Work::Event(_) => Ok(()),
        }
    }

    fn play(&self, function: FunctionId, shape: Shape, args: &[Arg]) -> Result<()> {
        let Kernel { module, name, shape, args } = self.kernel(function, shape, args);
        self.device
            .launch(&module, &name, shape, &args)
            .map_err(|f| failed(&format!("launch of {name}"), f))
    }

    /// A run of bytes, which must lie in page-locked memory.
    fn place(&self, start: NonNull<u8>, bytes: usize) -> Result<Place> {
        let at = start.as_ptr() as usize;
        let host = self.host.lock().unwrap();
        let found = host.pinned.range(..=at).next_back();
        match found.is_some_and(|(&begin, &length)| at + bytes <= begin + length) {
            true => Ok(Place { start, bytes }),
            false => Err(DriverError::failed("copy", "the host's memory is not page-locked")),
        }
    }

    fn check_event(&self, event: EventId) -> Result<()> {
        match self.host.lock().unwrap().events.contains(&event) {
            true => Ok(()),
            false => Err(DriverError::failed("event", "there is no such event")),
        }
    }
}

fn failed(call: &str, fault: Fault) -> DriverError {
    match fault.kind {
        FaultKind::OutOfMemory { needed, free, total } => {
            DriverError::OutOfMemory { needed, free, total }
        }
        _ => DriverError::failed(call, fault),
    }
}

fn no_graph() -> DriverError {
    DriverError::failed("graph", "there is no such graph")
}

impl Driver for Played {
    fn name(&self) -> String {
        "GPU played on the CPU".into()
    }

    fn capability(&self) -> (u32, u32) {
        self.hardware.capability
    }

    fn multiprocessors(&self) -> u32 {
        self.hardware.multiprocessors
    }

    fn shared_memory(&self) -> u32 {
        self.hardware.shared()
    }

    fn memory(&self) -> Result<MemoryInfo> {
        self.settle_all()?;
        let (free, total) = self.device.memory();
        Ok(MemoryInfo { free, total })
    }

    fn alloc(&self, bytes: u64) -> Result<u64> {
        self.device.alloc(bytes).or_else(|_| {
            // What was freed is free once it is its turn.
            self.settle_all()?;
            self.device.alloc(bytes).map_err(|f| failed("alloc", f))
        })
    }

    fn free(&self, address: u64) -> Result<()> {
        self.ask(Work::Free(address))
    }

    /// Nothing is kept.
    fn trim(&self) -> Result<()> {
        self.settle_all()
    }

    fn write(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.ask(Work::Write { to, bytes: bytes.to_vec() })
    }

    fn read(&self, from: u64, out: &mut [u8]) -> Result<()> {
        self.settle_all()?;
        self.device.read(from, out).map_err(|f| failed("read", f))
    }

    fn alloc_host(&self, bytes: usize) -> Result<NonNull<u8>> {
        let memory: &mut [u8] = Box::leak(vec![0xa5; bytes].into_boxed_slice());
        let start = NonNull::from(memory).cast();
        self.host.lock().unwrap().pinned.insert(start.as_ptr() as usize, bytes);
        Ok(start)
    }

    unsafe fn free_host(&self, memory: NonNull<u8>) -> Result<()> {
        let length = self.host.lock().unwrap().pinned.remove(&(memory.as_ptr() as usize));
        let Some(length) = length else {
            return Err(DriverError::failed("free_host", "this memory was not given out"));
        };
        // SAFETY: `alloc_host` leaked a box of this length, which is out of the list now.
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(memory.as_ptr(), length)) });
        Ok(())
    }

    unsafe fn write_later(&self, to: u64, from: NonNull<u8>, bytes: usize) -> Result<()> {
        self.ask(Work::WriteLater { to, from: self.place(from, bytes)? })
    }

    unsafe fn read_later(&self, from: u64, to: NonNull<u8>, bytes: usize) -> Result<()> {
        self.ask(Work::ReadLater { from, to: self.place(to, bytes)? })
    }

    fn event(&self) -> Result<EventId> {
        let mut host = self.host.lock().unwrap();
        host.next_event += 1;
        let event = EventId(host.next_event);
        host.events.push(event);
        Ok(event)
    }

    fn record(&self, event: EventId) -> Result<()> {
        self.check_event(event)?;
        self.ask(Work::Event(event))
    }

    fn wait(&self, event: EventId) -> Result<()> {
        self.check_event(event)?;
        let is_it = |work: &Work| matches!(work, Work::Event(other) if *other == event);
        self.settle(|queue| queue.iter().rposition(is_it))
    }

    fn free_event(&self, event: EventId) -> Result<()> {
        self.check_event(event)?;
        self.host.lock().unwrap().events.retain(|&e| e != event);
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<()> {
        self.ask(Work::Copy { from, to, bytes })
    }

    fn fill(&self, to: u64, value: u8, bytes: u64) -> Result<()> {
        self.ask(Work::Fill { to, value, bytes })
    }

    fn runs_machine_code(&self) -> bool {
        false
    }

    fn load(&self, name: &str, image: Image<'_>) -> Result<ModuleId> {
        let Image::Ptx(ptx) = image else {
            return Err(DriverError::failed("load", "machine code cannot be played"));
        };
        let spoilt = self.spoilt.map(|[right, text]| ptx.replace(right, text));
        let module = Module::parse(name, spoilt.as_deref().unwrap_or(ptx))
            .map_err(|e| DriverError::failed("load", e))?;
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

    fn resident_blocks(&self, _: FunctionId, threads: u32, shared: u32) -> Result<u32> {
        Ok(self.hardware.residents(threads, shared))
    }

    unsafe fn launch(&self, function: FunctionId, shape: Shape, args: &[Arg]) -> Result<()> {
        self.hardware.check(shape)?;
        self.ask(Work::Launch { function, shape, args: args.to_vec() })
    }

    unsafe fn graph(&self, work: &Listed) -> Result<Option<GraphId>> {
        if work.is_cooperative() {
            return Err(DriverError::failed("graph", "a launch in it is cooperative"));
        }
        match self.graphs {
            Graphs::NoRoom => return Ok(None),
            Graphs::Refuse => return Err(DriverError::failed("graph", "it is refused")),
            Graphs::Run | Graphs::Fail => {}
        }
        let mut host = self.host.lock().unwrap();
        host.next_graph += 1;
        let graph = host.next_graph;
        host.graphs.insert(graph, Arc::new(work.clone()));
        Ok(Some(GraphId(graph)))
    }

    unsafe fn run_graph(&self, graph: GraphId) -> Result<()> {
        if self.graphs == Graphs::Fail {
            return Err(DriverError::failed("run_graph", "it fails"));
        }
        let found = self.host.lock().unwrap().graphs.get(&graph.0).cloned();
        self.ask(Work::Graph(found.ok_or_else(no_graph)?))
    }

    fn free_graph(&self, graph: GraphId) -> Result<()> {
        self.host.lock().unwrap().graphs.remove(&graph.0).map(drop).ok_or_else(no_graph)
    }

    fn synchronize(&self) -> Result<()> {
        self.settle_all()
    }
}

impl Drop for Played {
    /// Page-locked memory, events and graphs were given back; without this being looked at, nobody would miss them.
    fn drop(&mut self) {
        let host = self.host.get_mut().unwrap_or_else(|e| e.into_inner());
        if !std::thread::panicking() {
            let held = [host.pinned.len(), host.events.len(), host.graphs.len()];
            assert_eq!(held, [0; 3], "not all was given back");
        }
    }
}
