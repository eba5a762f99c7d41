//! Opening a device, in the order in which nothing can go wrong unsaid: cudarc panics where the library or one of its
//! functions is missing, so both are looked for first.

use super::{DeviceInfo, DriverError, Nvidia, Result, failed};
use cudarc::driver::{result, sys};
use std::error::Error as _;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// The kernels are PTX of CUDA 13.0.
const VERSION: u32 = 13_000;
/// The first driver that has it.
const RELEASE: u32 = 580;

/// The oldest major compute capability that the kernels run on: Ampere.
const OLDEST: u32 = 8;

/// Every function of the driver's library that is called.
const FUNCTIONS: [&str; 49] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuStreamCreate",
    "cuStreamSynchronize",
    "cuStreamDestroy_v2",
    "cuMemPoolCreate",
    "cuMemPoolDestroy",
    "cuMemPoolGetAttribute",
    "cuMemPoolSetAttribute",
    "cuMemPoolTrimTo",
    "cuMemAllocFromPoolAsync",
    "cuMemFreeAsync",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemsetD8Async",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventDestroy_v2",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuModuleUnload",
    "cuFuncSetAttribute",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuLaunchKernel",
    "cuLaunchCooperativeKernel",
    "cuGraphCreate",
    "cuGraphAddDependencies_v2",
    "cuGraphAddKernelNode_v2",
    "cuGraphAddMemcpyNode",
    "cuGraphAddMemsetNode",
    "cuGraphInstantiateWithFlags",
    "cuGraphDestroy",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
];

/// The driver's library.
const LIBRARY: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

pub(super) fn open(index: usize) -> Result<Nvidia> {
    check_library()?;
    let count = count()?;
    if index >= count {
        return Err(DriverError::NoSuchDevice { index, count });
    }
    let (device, DeviceInfo { name, capability, multiprocessors, .. }) = describe(index)?;
    if capability.0 < OLDEST {
        return Err(DriverError::DeviceTooOld { name, capability });
    }
    use sys::CUdevice_attribute::*;
    let shared = attribute(device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?;
    let cooperates = attribute(device, CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)? != 0;
    // SAFETY: the device is the one that was got above; dropping `Nvidia` releases it.
    let context = unsafe { result::primary_ctx::retain(device) }
        .map_err(|e| failed("cuDevicePrimaryCtxRetain", e))?;
    let (stream, memory) = prepare(device, context).inspect_err(|_| {
        // SAFETY: retained above, and in use by nothing.
        let _ = unsafe { result::primary_ctx::release(device) };
    })?;
    Ok(Nvidia {
        device,
        context,
        stream,
        memory,
        name,
        capability,
        multiprocessors,
        shared,
        cooperates,
        apart: AtomicBool::new(false),
        modules: Mutex::new(Vec::new()),
    })
}

pub(super) fn devices() -> Result<Vec<DeviceInfo>> {
    check_library()?;
    (0..count()?).map(|index| Ok(describe(index)?.1)).collect()
}

/// A device, of which nothing has been opened.
fn describe(index: usize) -> Result<(sys::CUdevice, DeviceInfo)> {
    use sys::CUdevice_attribute::*;
    let device = result::device::get(index as i32).map_err(|e| failed("cuDeviceGet", e))?;
    let name = result::device::get_name(device).map_err(|e| failed("cuDeviceGetName", e))?;
    let attribute = |which| attribute(device, which);
    let capability = (
        attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
    // SAFETY: the device is the one that was got above.
    let memory = unsafe { result::device::total_mem(device) }
        .map_err(|e| failed("cuDeviceTotalMem", e))? as u64;
    let usable = capability.0 >= OLDEST;
    Ok((device, DeviceInfo { name, capability, multiprocessors, memory, usable }))
}

fn attribute(device: sys::CUdevice, which: sys::CUdevice_attribute) -> Result<u32> {
    // SAFETY: a device that was got is there for good.
    let value = unsafe { result::device::get_attribute(device, which) };
    value.map(|v| v as u32).map_err(|e| failed("cuDeviceGetAttribute", e))
}

/// The driver's library is there, is new enough, and has every function.
fn check_library() -> Result<()> {
    // SAFETY: loading the driver's library runs its initialisers, which have no conditions.
    let library = unsafe { libloading::Library::new(LIBRARY) }.map_err(|e| {
        // What the loader says is behind what failed.
        let why = e.source().map_or_else(|| e.to_string(), ToString::to_string);
        DriverError::NoDriver { reason: format!("{LIBRARY} cannot be loaded: {why}") }
    })?;
    let lacks = |name: &str| DriverError::NoDriver { reason: format!("{LIBRARY} lacks {name}") };
    // The version first: an old driver lacks functions too.
    let mut found = 0;
    // SAFETY: the type is that of the function in the driver's documentation.
    let version =
        unsafe { library.get::<unsafe extern "C" fn(*mut i32) -> u32>(b"cuDriverGetVersion\0") };
    let version = version.map_err(|_| lacks("cuDriverGetVersion"))?;
    // SAFETY: it writes one integer, and may be called before all others.
    let status = unsafe { version(&mut found) };
    if status != 0 {
        return Err(DriverError::failed("cuDriverGetVersion", format!("error {status}")));
    }
    if (found as u32) < VERSION {
        let (found, needed) = (found as u32, VERSION);
        return Err(DriverError::DriverTooOld { found, needed, needed_release: RELEASE });
    }
    for name in FUNCTIONS {
        // SAFETY: only its being there is looked at.
        let function = unsafe { library.get::<*const ()>(name.as_bytes()) };
        function.map_err(|_| lacks(name))?;
    }
    Ok(())
}

/// The devices there are.
fn count() -> Result<usize> {
    use sys::CUresult::{CUDA_ERROR_NO_DEVICE, CUDA_SUCCESS};
    match result::init().map_or_else(|e| e.0, |()| CUDA_SUCCESS) {
        CUDA_SUCCESS => {}
        CUDA_ERROR_NO_DEVICE => return Ok(0),
        error => return Err(failed("cuInit", result::DriverError(error))),
    }
    let count = result::device::get_count().map_err(|e| failed("cuDeviceGetCount", e))?;
    Ok(count.max(0) as usize)
}

/// A stream in the context, and a memory pool that keeps what is freed. The pool is ours alone: the device's own is shared with
/// whatever else of the process uses the device, and is not ours to change.
fn prepare(
    device: sys::CUdevice,
    context: sys::CUcontext,
) -> Result<(sys::CUstream, sys::CUmemoryPool)> {
    // SAFETY: the context is retained.
    unsafe { result::ctx::set_current(context) }.map_err(|e| failed("cuCtxSetCurrent", e))?;
    let pool = own_pool(device)?;
    let kind = result::stream::StreamKind::NonBlocking;
    let stream = keep_all(pool)
        .and_then(|()| result::stream::create(kind).map_err(|e| failed("cuStreamCreate", e)));
    let stream = stream.inspect_err(|_| {
        // SAFETY: made above, and in use by nothing.
        let _ = unsafe { result::mem_pool::destroy(pool) };
    })?;
    Ok((stream, pool))
}

/// A pool of memory of the device.
fn own_pool(device: sys::CUdevice) -> Result<sys::CUmemoryPool> {
    let here = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    let properties = sys::CUmemPoolProps {
        allocType: sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
        handleTypes: sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
        location: sys::CUmemLocation { type_: here, id: device },
        win32SecurityAttributes: std::ptr::null_mut(),
        // As large as there is memory.
        maxSize: 0,
        usage: 0,
        reserved: [0; 54],
    };
    // SAFETY: the properties are those of a pool.
    unsafe { result::mem_pool::create(&raw const properties) }
        .map_err(|e| failed("cuMemPoolCreate", e))
}

/// Nothing leaves the pool by itself.
fn keep_all(pool: sys::CUmemoryPool) -> Result<()> {
    let mut keep = u64::MAX;
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a 64-bit number.
    unsafe { result::mem_pool::set_attribute(pool, threshold, (&raw mut keep).cast()) }
        .map_err(|e| failed("cuMemPoolSetAttribute", e))
}
