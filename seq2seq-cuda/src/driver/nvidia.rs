//! An NVIDIA GPU, by way of its driver's library. Nothing else of CUDA has to be installed.

mod graph;
mod open;

use super::{
    Arg, Driver, DriverError, EventId, FunctionId, GraphId, Image, MemoryInfo, ModuleId, Result,
    Shape, Work,
};
use cudarc::driver::sys::CUmemPool_attribute as Pool;
use cudarc::driver::{result, sys};
use std::ffi::{CString, c_void};
use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Kernels have fewer arguments.
const MAX_ARGS: usize = 32;

/// A device that is there, whether or not it can be used.
///
/// ```
/// use seq2seq_cuda::driver::{DeviceInfo, Nvidia};
///
/// /// The index of the usable device with the most memory.
/// fn largest(devices: &[DeviceInfo]) -> Option<usize> {
///     let usable = devices.iter().enumerate().filter(|(_, device)| device.usable);
///     usable.max_by_key(|(_, device)| device.memory).map(|(index, _)| index)
/// }
///
/// match Nvidia::devices() {
///     Ok(devices) => println!("{:?} of {devices:?}", largest(&devices)),
///     Err(error) => println!("{error}"), // there is no driver, say
/// }
/// # let of = |memory, usable| {
/// #     DeviceInfo { name: "GPU".into(), capability: (9, 0), multiprocessors: 132, memory, usable }
/// # };
/// # assert_eq!(largest(&[of(1, true), of(3, true), of(4, false)]), Some(1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Such as `NVIDIA H200`.
    pub name: String,
    /// Compute capability, major and minor.
    pub capability: (u32, u32),
    /// Its streaming multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of its memory.
    pub memory: u64,
    /// Whether the kernels run on it.
    pub usable: bool,
}

/// A GPU with a stream of its own.
///
/// ```no_run
/// use seq2seq_cuda::driver::{Driver, Nvidia};
///
/// let gpu = Nvidia::open(0)?;
/// let (major, minor) = gpu.capability();
/// println!("{}: {major}.{minor}, {} multiprocessors", gpu.name(), gpu.multiprocessors());
/// # Ok::<(), seq2seq_cuda::driver::DriverError>(())
/// ```
pub struct Nvidia {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    /// Where memory comes from.
    memory: sys::CUmemoryPool,
    name: String,
    capability: (u32, u32),
    multiprocessors: u32,
    /// Bytes of shared memory that a block may be given.
    shared: u32,
    /// Whether all blocks of a grid can be asked for together.
    cooperates: bool,
    /// Whether an edge between kernels that overlap was refused.
    apart: AtomicBool,
    /// To be unloaded with the device.
    modules: Mutex<Vec<ModuleId>>,
}

// SAFETY: the driver's handles may be used from any thread, once the context is current there, which every method sees to.
unsafe impl Send for Nvidia {}
// SAFETY: the driver's library takes calls from several threads at a time.
unsafe impl Sync for Nvidia {}

impl Nvidia {
    /// Opens device `index`.
    ///
    /// # Errors
    /// No driver, a driver or a device that is too old, no such device, or what the driver says.
    pub fn open(index: usize) -> Result<Self> {
        open::open(index)
    }

    /// The devices of this machine, by their index. Opens none.
    ///
    /// # Errors
    /// No driver, a driver that is too old, or what the driver says.
    pub fn devices() -> Result<Vec<DeviceInfo>> {
        open::devices()
    }

    /// Makes the context that of this thread.
    fn bind(&self) -> Result<()> {
        // SAFETY: the context is retained until this is dropped.
        unsafe { result::ctx::set_current(self.context) }.map_err(|e| failed("cuCtxSetCurrent", e))
    }

    /// A number of bytes that the pool tells of itself.
    fn pool_bytes(&self, which: Pool) -> Result<u64> {
        let mut bytes = 0u64;
        // SAFETY: the pool is that of `open`, and these attributes are 64-bit numbers.
        unsafe { result::mem_pool::get_attribute(self.memory, which, (&raw mut bytes).cast()) }
            .map_err(|e| failed("cuMemPoolGetAttribute", e))?;
        Ok(bytes)
    }
}

/// What a call of the driver's library failed with.
fn failed(call: &str, error: result::DriverError) -> DriverError {
    let text = |s: std::result::Result<&std::ffi::CStr, _>| {
        s.map_or_else(|_| format!("{:?}", error.0), |s| s.to_string_lossy().into_owned())
    };
    let reason = format!("{} ({})", text(error.error_string()), text(error.error_name()));
    DriverError::failed(call, reason)
}

impl Driver for Nvidia {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn capability(&self) -> (u32, u32) {
        self.capability
    }

    fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    fn shared_memory(&self) -> u32 {
        self.shared
    }

    fn memory(&self) -> Result<MemoryInfo> {
        self.bind()?;
        let (free, total) = result::mem_get_info().map_err(|e| failed("cuMemGetInfo", e))?;
        // The pool keeps what was freed, and the driver reckons it as in use; the next allocation may have it.
        let kept = self.pool_bytes(Pool::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
        let used = self.pool_bytes(Pool::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
        Ok(MemoryInfo { free: free as u64 + kept.saturating_sub(used), total: total as u64 })
    }

    fn alloc(&self, bytes: u64) -> Result<u64> {
        self.bind()?;
        // SAFETY: stream and pool live as long as `self`, and all work on the memory is put on the stream.
        let block =
            unsafe { result::mem_pool::alloc_async(self.memory, bytes as usize, self.stream) };
        block.map_err(|error| {
            let full = error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
            match self.memory() {
                Ok(MemoryInfo { free, total }) if full => {
                    DriverError::OutOfMemory { needed: bytes, free, total }
                }
                _ => failed("cuMemAllocFromPoolAsync", error),
            }
        })
    }

    fn free(&self, address: u64) -> Result<()> {
        self.bind()?;
        // SAFETY: the address came from `alloc`, on this stream; work that uses it was put on the stream before.
        unsafe { result::free_async(address, self.stream) }.map_err(|e| failed("cuMemFreeAsync", e))
    }

    fn trim(&self) -> Result<()> {
        // What was freed on the stream is free once the host has seen that it is.
        self.synchronize()?;
        // SAFETY: the pool lives as long as `self`.
        unsafe { result::mem_pool::trim_to(self.memory, 0) }
            .map_err(|e| failed("cuMemPoolTrimTo", e))
    }

    fn write(&self, to: u64, bytes: &[u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: the driver has copied pageable memory before it returns; it checks the range on the device.
        unsafe { result::memcpy_htod_async(to, bytes, self.stream) }
            .map_err(|e| failed("cuMemcpyHtoDAsync", e))
    }

    fn read(&self, from: u64, out: &mut [u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: `out` is not touched before the stream is waited for, below.
        unsafe { result::memcpy_dtoh_async(out, from, self.stream) }
            .map_err(|e| failed("cuMemcpyDtoHAsync", e))?;
        self.synchronize()
    }

    fn alloc_host(&self, bytes: usize) -> Result<NonNull<u8>> {
        self.bind()?;
        // SAFETY: the call has no conditions.
        let memory = unsafe { result::malloc_host(bytes, 0) };
        let memory = memory.map_err(|e| failed("cuMemHostAlloc", e))?;
        NonNull::new(memory.cast())
            .ok_or_else(|| DriverError::failed("cuMemHostAlloc", "no memory"))
    }

    unsafe fn free_host(&self, memory: NonNull<u8>) -> Result<()> {
        self.bind()?;
        // SAFETY: the caller's promise.
        unsafe { result::free_host(memory.as_ptr().cast()) }.map_err(|e| failed("cuMemFreeHost", e))
    }

    unsafe fn write_later(&self, to: u64, from: NonNull<u8>, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: the caller's promise; the driver checks the range on the device.
        unsafe { sys::cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), bytes, self.stream) }
            .result()
            .map_err(|e| failed("cuMemcpyHtoDAsync", e))
    }

    unsafe fn read_later(&self, from: u64, to: NonNull<u8>, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: the caller's promise; the driver checks the range on the device.
        unsafe { sys::cuMemcpyDtoHAsync_v2(to.as_ptr().cast(), from, bytes, self.stream) }
            .result()
            .map_err(|e| failed("cuMemcpyDtoHAsync", e))
    }

    fn event(&self) -> Result<EventId> {
        self.bind()?;
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING);
        event.map(|e| EventId(e as u64)).map_err(|e| failed("cuEventCreate", e))
    }

    fn record(&self, event: EventId) -> Result<()> {
        self.bind()?;
        // SAFETY: the event came from `event`.
        unsafe { result::event::record(event.0 as _, self.stream) }
            .map_err(|e| failed("cuEventRecord", e))
    }

    fn wait(&self, event: EventId) -> Result<()> {
        self.bind()?;
        // SAFETY: the event came from `event`; one that was never recorded has passed.
        unsafe { result::event::synchronize(event.0 as _) }
            .map_err(|e| failed("cuEventSynchronize", e))
    }

    fn free_event(&self, event: EventId) -> Result<()> {
        self.bind()?;
        // SAFETY: the event came from `event`.
        unsafe { result::event::destroy(event.0 as _) }.map_err(|e| failed("cuEventDestroy", e))
    }

    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<()> {
        self.bind()?;
        // SAFETY: both ends are memory of the device, whose range the driver checks.
        unsafe { result::memcpy_dtod_async(to, from, bytes as usize, self.stream) }
            .map_err(|e| failed("cuMemcpyDtoDAsync", e))
    }

    fn fill(&self, to: u64, value: u8, bytes: u64) -> Result<()> {
        self.bind()?;
        // SAFETY: memory of the device, whose range the driver checks.
        unsafe { result::memset_d8_async(to, value, bytes as usize, self.stream) }
            .map_err(|e| failed("cuMemsetD8Async", e))
    }

    fn runs_machine_code(&self) -> bool {
        true
    }

    fn load(&self, name: &str, image: Image<'_>) -> Result<ModuleId> {
        self.bind()?;
        let text;
        let data: *const c_void = match image {
            Image::Ptx(ptx) => {
                text = CString::new(ptx).map_err(|e| DriverError::failed(name, e))?;
                text.as_ptr().cast()
            }
            Image::Cubin(bytes) => bytes.as_ptr().cast(),
        };
        // SAFETY: PTX ends in a zero byte, and a cubin says how long it is.
        let module = unsafe { result::module::load_data(data) }
            .map_err(|e| failed(&format!("cuModuleLoadData of {name}"), e))?;
        let id = ModuleId(module as u64);
        self.modules.lock().unwrap_or_else(|e| e.into_inner()).push(id);
        Ok(id)
    }

    fn function(&self, module: ModuleId, name: &str, shared: u32) -> Result<FunctionId> {
        self.bind()?;
        let c_name = CString::new(name).map_err(|e| DriverError::failed(name, e))?;
        // SAFETY: the module came from `load`, and is unloaded with `self` only.
        let function = unsafe { result::module::get_function(module.0 as _, c_name) }
            .map_err(|e| failed(&format!("cuModuleGetFunction of {name}"), e))?;
        // Up to 48 KiB need no permission.
        let shared = shared.min(self.shared);
        if shared > 48 * 1024 {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function exists.
            unsafe { result::function::set_function_attribute(function, most, shared as i32) }
                .map_err(|e| failed(&format!("cuFuncSetAttribute of {name}"), e))?;
        }
        Ok(FunctionId(function as u64))
    }

    fn resident_blocks(&self, function: FunctionId, threads: u32, shared: u32) -> Result<u32> {
        if !self.cooperates {
            return Ok(0);
        }
        self.bind()?;
        let mut blocks = 0;
        // SAFETY: the function came from `function`; it writes a number.
        let status = unsafe {
            sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(
                &raw mut blocks,
                function.0 as _,
                threads as i32,
                shared as usize,
            )
        };
        let call = "cuOccupancyMaxActiveBlocksPerMultiprocessor";
        status.result().map_err(|e| failed(call, e))?;
        Ok(blocks.max(0) as u32 * self.multiprocessors)
    }

    unsafe fn launch(&self, function: FunctionId, shape: Shape, args: &[Arg]) -> Result<()> {
        self.bind()?;
        if args.len() > MAX_ARGS {
            return Err(DriverError::failed("launch", format!("{} arguments", args.len())));
        }
        let mut pointers = [std::ptr::null_mut::<c_void>(); MAX_ARGS];
        for (pointer, arg) in pointers.iter_mut().zip(args) {
            *pointer = arg.bytes().as_ptr().cast_mut().cast();
        }
        let ([gx, gy, gz], [bx, by, bz]) = (shape.grid, shape.block);
        if shape.cooperative {
            // SAFETY: as below.
            return unsafe {
                sys::cuLaunchCooperativeKernel(
                    function.0 as _,
                    gx,
                    gy,
                    gz,
                    bx,
                    by,
                    bz,
                    shape.shared,
                    self.stream,
                    pointers.as_mut_ptr(),
                )
            }
            .result()
            .map_err(|e| failed("cuLaunchCooperativeKernel", e));
        }
        // SAFETY: the caller's promise; the driver copies the arguments, which it does not change, before it returns.
        unsafe {
            result::launch_kernel(
                function.0 as _,
                (gx, gy, gz),
                (bx, by, bz),
                shape.shared,
                self.stream,
                &mut pointers[..args.len()],
            )
        }
        .map_err(|e| failed("cuLaunchKernel", e))
    }

    unsafe fn graph(&self, work: &Work) -> Result<Option<GraphId>> {
        self.bind()?;
        let overlap = !self.apart.load(Ordering::Relaxed);
        // SAFETY: the caller's promise; the context is current.
        let made = unsafe { graph::instantiate(work, self.context, overlap) };
        let graph = match made {
            Err(error) if overlap && graph::overlaps(work) => {
                // SAFETY: as above.
                let graph = unsafe { graph::instantiate(work, self.context, false) }?;
                // So it was the edges.
                if !self.apart.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %error,
                        "the driver refuses graphs whose kernels overlap: each kernel begins when the one before is over"
                    );
                }
                graph
            }
            made => made?,
        };
        Ok(graph.map(|graph| GraphId(graph as u64)))
    }

    unsafe fn run_graph(&self, graph: GraphId) -> Result<()> {
        self.bind()?;
        // SAFETY: the graph came from `graph`, on this context; the rest is the caller's promise.
        unsafe { sys::cuGraphLaunch(graph.0 as _, self.stream) }
            .result()
            .map_err(|e| failed("cuGraphLaunch", e))
    }

    fn free_graph(&self, graph: GraphId) -> Result<()> {
        self.bind()?;
        // SAFETY: the graph came from `graph`; one that is in flight is freed when it is done.
        unsafe { sys::cuGraphExecDestroy(graph.0 as _) }
            .result()
            .map_err(|e| failed("cuGraphExecDestroy", e))
    }

    fn synchronize(&self) -> Result<()> {
        self.bind()?;
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::synchronize(self.stream) }
            .map_err(|e| failed("cuStreamSynchronize", e))
    }
}

impl Drop for Nvidia {
    fn drop(&mut self) {
        // What fails here has failed before, and been told.
        let _ = self.synchronize();
        for module in self.modules.get_mut().unwrap_or_else(|e| e.into_inner()) {
            // SAFETY: `load` gave it, and nothing uses it any more.
            let _ = unsafe { result::module::unload(module.0 as _) };
        }
        // SAFETY: stream, pool and context are those of `open`, and nothing uses them any more.
        let _ = unsafe { result::stream::destroy(self.stream) };
        // SAFETY: as above. All of its memory goes back to the system but blocks that were never freed.
        let _ = unsafe { result::mem_pool::destroy(self.memory) };
        // SAFETY: as above.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}
