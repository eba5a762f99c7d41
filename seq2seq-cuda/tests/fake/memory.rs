//! The memory of a driver that has none left: 1000 MiB, of which 300 are free, and 48 that its pool keeps are in use by nobody. What
//! the pool is asked for goes to standard output, a line a call. With `FAKE_CUDA_ROOM` it gives memory, which is not there.

use super::{SUCCESS, UNKNOWN, setting};
use std::ffi::c_void;

const OUT_OF_MEMORY: u32 = 2;
const MIB: usize = 1 << 20;

/// The one pool there is.
const POOL: usize = 0x900;

/// As in cuda.h.
#[repr(C)]
pub struct Properties {
    allocations: u32,
    handles: u32,
    location: u32,
    device: i32,
    security: *mut c_void,
    most: usize,
    rest: [u8; 56],
}

fn told(pool: *mut c_void, what: &str) -> u32 {
    assert_eq!(pool as usize, POOL, "the pool that was made");
    println!("fake memory: {what}");
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemPoolCreate(pool: *mut *mut c_void, of: *const Properties) -> u32 {
    // SAFETY: the caller gives both; so below.
    let Properties { allocations, handles, location, device, security, most, rest } =
        unsafe { of.read() };
    // CU_MEM_ALLOCATION_TYPE_PINNED, CU_MEM_LOCATION_TYPE_DEVICE, and none of what else there is.
    assert_eq!((allocations, handles, location, most, rest), (1, 0, 1, 0, [0; 56]));
    assert!(security.is_null());
    unsafe { *pool = POOL as *mut c_void };
    told(POOL as *mut c_void, &format!("a pool of device {device}"))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemPoolSetAttribute(
    pool: *mut c_void,
    which: u32,
    value: *mut u64,
) -> u32 {
    told(pool, &format!("attribute {which} is {:#x}", unsafe { *value }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolTrimTo(pool: *mut c_void, bytes: usize) -> u32 {
    told(pool, &format!("keep {bytes} bytes"))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolDestroy(pool: *mut c_void) -> u32 {
    told(pool, "no pool")
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocFromPoolAsync(
    address: *mut u64,
    bytes: usize,
    pool: *mut c_void,
    _: *mut c_void,
) -> u32 {
    if setting("FAKE_CUDA_ROOM", 0) == 0 {
        told(pool, &format!("no room for {bytes} bytes"));
        return OUT_OF_MEMORY;
    }
    unsafe { *address = 0x10000 };
    told(pool, &format!("{bytes} bytes"))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(address: u64, _: *mut c_void) -> u32 {
    assert_eq!(address, 0x10000);
    told(POOL as *mut c_void, "free")
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    unsafe { (*free, *total) = (300 * MIB, 1000 * MIB) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemPoolGetAttribute(
    pool: *mut c_void,
    which: u32,
    value: *mut u64,
) -> u32 {
    assert_eq!(pool as usize, POOL, "the pool that was made");
    // As in cuda.h: CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT and CU_MEMPOOL_ATTR_USED_MEM_CURRENT.
    let of = match which {
        5 => 64 * MIB,
        7 => 16 * MIB,
        _ => return UNKNOWN,
    };
    unsafe { *value = of as u64 };
    SUCCESS
}
