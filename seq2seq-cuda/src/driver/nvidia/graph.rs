//! Graphs: a chain of nodes, each behind the one before.
//!
//! Nodes are described one by one rather than captured from a stream: nothing that another thread asks for meanwhile can get
//! between them, and no failure leaves a stream in capture.

use super::{MAX_ARGS, failed};
use crate::driver::{DriverError, Piece, Result, Work};
use cudarc::driver::sys;
use std::ffi::c_void;
use std::ptr::null_mut;

/// A description, destroyed with this.
struct Graph(sys::CUgraph);

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: made by `cuGraphCreate`, and what was instantiated from it stands by itself.
        let _ = unsafe { sys::cuGraphDestroy(self.0) };
    }
}

/// What the driver says to a call.
fn check(call: &str, status: sys::CUresult) -> Result<()> {
    status.result().map_err(|error| failed(call, error))
}

/// Makes `work` ready to be launched as a whole; none where the device has no room for it. The context is current.
///
/// # Safety
/// That of [`Driver::graph`](crate::driver::Driver::graph).
pub(super) unsafe fn instantiate(
    work: &Work,
    context: sys::CUcontext,
) -> Result<Option<sys::CUgraphExec>> {
    let mut graph = null_mut();
    // SAFETY: it writes a handle.
    check("cuGraphCreate", unsafe { sys::cuGraphCreate(&raw mut graph, 0) })?;
    let graph = Graph(graph);
    let mut last = None;
    for piece in work.pieces() {
        // SAFETY: the caller's promise.
        last = Some(unsafe { add(&graph, last, piece, context) }?);
    }
    let mut ready = null_mut();
    // SAFETY: the graph is whole; it writes a handle.
    match unsafe { sys::cuGraphInstantiateWithFlags(&raw mut ready, graph.0, 0) } {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Ok(None),
        status => check("cuGraphInstantiate", status).map(|()| Some(ready)),
    }
}

/// A node for `piece` behind `last`.
///
/// # Safety
/// The arguments of a launch are those of its kernel.
unsafe fn add(
    graph: &Graph,
    last: Option<sys::CUgraphNode>,
    piece: Piece<'_>,
    context: sys::CUcontext,
) -> Result<sys::CUgraphNode> {
    let before = last.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = usize::from(last.is_some());
    let mut node = null_mut();
    match piece {
        Piece::Launch { function, shape, args } => {
            if args.len() > MAX_ARGS {
                return Err(DriverError::failed("launch", format!("{} arguments", args.len())));
            }
            let mut pointers = [null_mut::<c_void>(); MAX_ARGS];
            for (pointer, arg) in pointers.iter_mut().zip(args) {
                *pointer = arg.bytes().as_ptr().cast_mut().cast();
            }
            let ([gx, gy, gz], [bx, by, bz]) = (shape.grid, shape.block);
            let kernel = sys::CUDA_KERNEL_NODE_PARAMS {
                func: function.0 as _,
                gridDimX: gx,
                gridDimY: gy,
                gridDimZ: gz,
                blockDimX: bx,
                blockDimY: by,
                blockDimZ: bz,
                sharedMemBytes: shape.shared,
                kernelParams: pointers.as_mut_ptr(),
                extra: null_mut(),
                kern: null_mut(),
                ctx: null_mut(),
            };
            // SAFETY: the caller's promise; the arguments, which it does not change, are copied before it returns.
            check("cuGraphAddKernelNode", unsafe {
                sys::cuGraphAddKernelNode_v2(
                    &raw mut node,
                    graph.0,
                    before,
                    count,
                    &raw const kernel,
                )
            })?;
        }
        Piece::Copy { from, to, bytes } => {
            let device = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
            // SAFETY: zeros are null pointers, no offsets, and the memory of no kind, which is set below.
            let mut copy: sys::CUDA_MEMCPY3D = unsafe { std::mem::zeroed() };
            (copy.srcMemoryType, copy.srcDevice) = (device, from);
            (copy.dstMemoryType, copy.dstDevice) = (device, to);
            // One row.
            (copy.srcPitch, copy.dstPitch) = (bytes as usize, bytes as usize);
            (copy.srcHeight, copy.dstHeight) = (1, 1);
            (copy.WidthInBytes, copy.Height, copy.Depth) = (bytes as usize, 1, 1);
            // SAFETY: the description is whole; the driver checks the ranges.
            check("cuGraphAddMemcpyNode", unsafe {
                sys::cuGraphAddMemcpyNode(
                    &raw mut node,
                    graph.0,
                    before,
                    count,
                    &raw const copy,
                    context,
                )
            })?;
        }
        Piece::Fill { to, value, bytes } => {
            let fill = sys::CUDA_MEMSET_NODE_PARAMS {
                dst: to,
                pitch: 0,
                value: value.into(),
                elementSize: 1,
                width: bytes as usize,
                height: 1,
            };
            // SAFETY: as above.
            check("cuGraphAddMemsetNode", unsafe {
                sys::cuGraphAddMemsetNode(
                    &raw mut node,
                    graph.0,
                    before,
                    count,
                    &raw const fill,
                    context,
                )
            })?;
        }
    }
    Ok(node)
}
