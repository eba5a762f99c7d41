//! Graphs of a driver that makes none: what it is asked for goes to standard output, a line a call.

use super::{SUCCESS, UNKNOWN, setting};
use std::ffi::{c_uint, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

type Node = *mut c_void;

#[repr(C)]
pub struct Edge {
    from_port: u8,
    to_port: u8,
    kind: u8,
    reserved: [u8; 5],
}

/// Names things from 1 on, in the order in which they are made.
fn name(of: *mut *mut c_void) -> usize {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let next = MADE.fetch_add(1, Ordering::Relaxed) + 1;
    // SAFETY: the caller gives room for a handle.
    unsafe { *of = next as *mut c_void };
    next
}

/// A node of a kind, behind others.
fn node(node: *mut Node, kind: &str, before: *const Node, count: usize) -> u32 {
    let behind: Vec<_> = (0..count).map(|i| unsafe { *before.add(i) } as usize).collect();
    println!("fake: {kind} {} behind {behind:?}", name(node));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphCreate(graph: *mut *mut c_void, _: c_uint) -> u32 {
    println!("fake: graph {}", name(graph));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddKernelNode_v2(
    to: *mut Node,
    _: *mut c_void,
    before: *const Node,
    count: usize,
    _: *const c_void,
) -> u32 {
    node(to, "kernel", before, count)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphAddMemsetNode(
    to: *mut Node,
    _: *mut c_void,
    before: *const Node,
    count: usize,
    _: *const c_void,
    _: *mut c_void,
) -> u32 {
    node(to, "fill", before, count)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphAddDependencies_v2(
    _: *mut c_void,
    from: *const Node,
    to: *const Node,
    edge: *const Edge,
    count: usize,
) -> u32 {
    let Edge { from_port, to_port, kind, reserved } = unsafe { edge.read() };
    assert_eq!((count, reserved), (1, [0; 5]));
    let (from, to) = unsafe { (*from as usize, *to as usize) };
    println!("fake: edge {from} {to}, ports {from_port} {to_port}, type {kind}");
    if setting("FAKE_CUDA_EDGES", 1) == 1 { SUCCESS } else { UNKNOWN }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiateWithFlags(
    ready: *mut *mut c_void,
    _: *mut c_void,
    _: u64,
) -> u32 {
    println!("fake: ready {}", name(ready));
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, _: i32) -> u32 {
    unsafe { *context = null_mut() };
    SUCCESS
}

passing!(
    cuDevicePrimaryCtxRelease_v2 cuCtxSetCurrent cuStreamCreate cuStreamSynchronize cuStreamDestroy_v2 cuGraphDestroy
    cuGraphExecDestroy
);
