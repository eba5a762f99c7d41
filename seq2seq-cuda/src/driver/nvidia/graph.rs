//! Graphs: a chain of nodes, each behind the one before. Between two kernels that overlap the edge is a programmatic one: the second
//! begins when all blocks of the first have said that it may, and waits by itself for the first's end (`kernels/overlap.cuh`).
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

/// The edge from a kernel to one that waits for it by itself.
static PROGRAMMATIC: sys::CUgraphEdgeData = sys::CUgraphEdgeData {
    from_port: sys::CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC as u8,
    to_port: 0,
    type_: sys::CUgraphDependencyType::CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC as u8,
    reserved: [0; 5],
};

/// Whether a piece is a kernel that may be joined with another by such an edge.
fn may_overlap(piece: &Piece<'_>) -> bool {
    matches!(piece, Piece::Launch { shape, .. } if shape.overlaps)
}

/// Whether a graph of `work` has such an edge.
pub(super) fn overlaps(work: &Work) -> bool {
    work.pieces().zip(work.pieces().skip(1)).any(|(a, b)| may_overlap(&a) && may_overlap(&b))
}

/// Makes `work` ready to be launched as a whole, with kernels that `overlap` or without; none where the device has no room for it.
/// The context is current.
///
/// # Safety
/// That of [`Driver::graph`](crate::driver::Driver::graph).
pub(super) unsafe fn instantiate(
    work: &Work,
    context: sys::CUcontext,
    overlap: bool,
) -> Result<Option<sys::CUgraphExec>> {
    let mut graph = null_mut();
    // SAFETY: it writes a handle.
    check("cuGraphCreate", unsafe { sys::cuGraphCreate(&raw mut graph, 0) })?;
    let graph = Graph(graph);
    let mut last: Option<(sys::CUgraphNode, bool)> = None;
    for piece in work.pieces() {
        let overlaps = overlap && may_overlap(&piece);
        let node = match last {
            Some((before, true)) if overlaps => {
                // SAFETY: the caller's promise.
                let node = unsafe { add(&graph, None, piece, context) }?;
                join(&graph, before, node)?;
                node
            }
            // SAFETY: as above.
            last => unsafe { add(&graph, last.map(|(before, _)| before), piece, context) }?,
        };
        last = Some((node, overlaps));
    }
    let mut ready = null_mut();
    // SAFETY: the graph is whole; it writes a handle.
    match unsafe { sys::cuGraphInstantiateWithFlags(&raw mut ready, graph.0, 0) } {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Ok(None),
        status => check("cuGraphInstantiate", status).map(|()| Some(ready)),
    }
}

/// Puts kernel `node` behind kernel `before`, which it waits for by itself.
fn join(graph: &Graph, before: sys::CUgraphNode, node: sys::CUgraphNode) -> Result<()> {
    // SAFETY: both are nodes of the graph; what is pointed at is read before it returns.
    check("cuGraphAddDependencies", unsafe {
        sys::cuGraphAddDependencies_v2(
            graph.0,
            &raw const before,
            &raw const node,
            &raw const PROGRAMMATIC,
            1,
        )
    })
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
