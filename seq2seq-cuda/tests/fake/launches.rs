//! Launches and what comes before them, of which nothing comes.

use super::SUCCESS;
use std::alloc::{Layout, alloc};
use std::ffi::{c_uint, c_void};

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(
    memory: *mut *mut c_void,
    bytes: usize,
    _: c_uint,
) -> u32 {
    // SAFETY: the caller gives room for a pointer. The memory is never given back: the process ends soon.
    unsafe { *memory = alloc(Layout::from_size_align(bytes, 4096).unwrap()).cast() };
    SUCCESS
}

/// Gives a handle, which names nothing.
macro_rules! giving {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(handle: *mut *mut c_void) -> u32 {
            // SAFETY: the caller gives room for a handle.
            unsafe { *handle = 0x40 as *mut c_void };
            SUCCESS
        }
    )*};
}
giving!(cuEventCreate cuModuleLoadData cuModuleGetFunction);

passing!(
    cuMemFreeHost cuMemcpyHtoDAsync_v2 cuEventRecord cuEventSynchronize cuEventDestroy_v2 cuModuleUnload cuLaunchKernel
);
