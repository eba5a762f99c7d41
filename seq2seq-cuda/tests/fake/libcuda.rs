//! A driver's library with a version and devices, and nothing behind them. `tests/common/library.rs` compiles it: with `partial` it
//! lacks a function, with `opens` it can be opened, has no memory left, and tells of the graphs that it is asked for; copies to it and
//! launches are done at once, as nothing is behind them.
#![allow(non_snake_case)]

use std::ffi::c_char;

const SUCCESS: u32 = 0;
const NO_DEVICE: u32 = 100;
const UNKNOWN: u32 = 999;

fn setting(name: &str, otherwise: i32) -> i32 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(otherwise)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut i32) -> u32 {
    // SAFETY: the caller gives room for a number; so below.
    unsafe { *version = setting("FAKE_CUDA_VERSION", 0) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_: u32) -> u32 {
    if setting("FAKE_CUDA_DEVICES", 1) == 0 { NO_DEVICE } else { SUCCESS }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut i32) -> u32 {
    unsafe { *count = setting("FAKE_CUDA_DEVICES", 1) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut i32, index: i32) -> u32 {
    unsafe { *device = index };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, _: i32, _: i32) -> u32 {
    // SAFETY: the caller gives room for many more.
    unsafe { c"Fake".as_ptr().copy_to(name, 5) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut i32, attribute: i32, _: i32) -> u32 {
    let of = match attribute {
        75 => setting("FAKE_CUDA_MAJOR", 9),
        76 => 5,
        _ => 132,
    };
    unsafe { *value = of };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _: i32) -> u32 {
    unsafe { *bytes = 1 << 30 };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(_: u32, name: *mut *const c_char) -> u32 {
    unsafe { *name = c"FAKE".as_ptr() };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(_: u32, text: *mut *const c_char) -> u32 {
    unsafe { *text = c"nothing is behind it".as_ptr() };
    SUCCESS
}

macro_rules! failing {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> u32 {
            UNKNOWN
        }
    )*};
}
failing!(
    cuMemcpyDtoHAsync_v2 cuMemcpyDtoDAsync_v2 cuMemsetD8Async cuFuncSetAttribute cuGraphAddMemcpyNode
    cuLaunchCooperativeKernel cuOccupancyMaxActiveBlocksPerMultiprocessor
);
/// What need do nothing.
#[cfg(opens)]
macro_rules! passing {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> u32 {
            SUCCESS
        }
    )*};
}
#[cfg(opens)]
mod graphs;
#[cfg(opens)]
mod launches;
#[cfg(opens)]
mod memory;
#[cfg(not(opens))]
failing!(
    cuMemPoolCreate cuMemPoolDestroy cuMemPoolTrimTo cuMemAllocFromPoolAsync cuMemFreeAsync cuMemGetInfo_v2
    cuMemPoolGetAttribute cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRelease_v2 cuCtxSetCurrent cuStreamCreate
    cuStreamSynchronize cuStreamDestroy_v2 cuMemPoolSetAttribute cuGraphCreate cuGraphAddDependencies_v2
    cuGraphAddKernelNode_v2 cuGraphAddMemsetNode cuGraphInstantiateWithFlags cuGraphDestroy cuGraphExecDestroy
    cuMemcpyHtoDAsync_v2 cuModuleLoadData cuModuleGetFunction cuModuleUnload cuMemHostAlloc cuMemFreeHost cuEventCreate
    cuEventRecord cuEventSynchronize cuEventDestroy_v2 cuLaunchKernel
);
#[cfg(not(partial))]
failing!(cuGraphLaunch);
