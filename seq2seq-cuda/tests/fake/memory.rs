//! The memory of a driver that has none left: 1000 MiB, of which 300 are free, and 48 that its pool keeps are in use by nobody.

use super::{SUCCESS, UNKNOWN};
use std::ffi::c_void;

const OUT_OF_MEMORY: u32 = 2;
const MIB: usize = 1 << 20;

#[unsafe(no_mangle)]
pub extern "C" fn cuMemAllocAsync(_: *mut u64, _: usize, _: *mut c_void) -> u32 {
    OUT_OF_MEMORY
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    // SAFETY: the caller gives room for numbers; so below.
    unsafe { (*free, *total) = (300 * MIB, 1000 * MIB) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemPoolGetAttribute(_: *mut c_void, which: u32, value: *mut u64) -> u32 {
    // As in cuda.h: CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT and CU_MEMPOOL_ATTR_USED_MEM_CURRENT.
    let of = match which {
        5 => 64 * MIB,
        7 => 16 * MIB,
        _ => return UNKNOWN,
    };
    unsafe { *value = of as u64 };
    SUCCESS
}
