// A kernel that begins while the one before it still runs (programmatic dependent launch), from compute capability 9.0 on. Below,
// and where a launch stands alone, all of this is nothing: the stream keeps the order.
//
// In the graph of a step two kernels that wait by themselves are joined by a programmatic edge (driver/nvidia/graph.rs): the second
// may begin as soon as every block of the first has called launch_dependents, and `wait_for_previous` waits until all of the
// first is over and what it wrote is seen. The rules, which seq2seq-ptx holds each step of tests/overlap.rs to:
//
//   1. Every block waits before it ends. Else a kernel is over before the one before it is, and the one behind, which waits for
//      this one alone, begins too early. A thread waits before it touches what rule 2 forbids; that another has waited
//      for it is not enough.
//   2. Before it waits, a thread writes nothing in device memory, and reads only what is constant through the step. It need not be
//      the kernel just before that is still running: any may be, back to the last full edge.
//   3. Constant are weights, and what goes with them (biases, scales): no kernel that is joined in this way writes them. Those that do
//      (pack.cu, optimiser.cu), fills and copies have full edges, on both sides. What kernels of the step write comes
//      from the pool and may lie anywhere in it, so nothing else from there is touched.
//
// Every kernel of an artifact for compute_90 keeps them; artifacts/build.py looks for both instructions in each.
//
// launch_dependents comes first of all: whoever may begin then asks for weights and goes to sleep, and takes no place from blocks
// of this kernel, all of which have begun. The memory is busy while this kernel runs out and the next one fills the device.
#pragma once
#include "common.cuh"

// The most that a warp asks for before it waits: with 64 warps on each of 132 multiprocessors 34 MB, which the second cache of
// 50 MB holds until they are read.
constexpr u32 FIRST_WEIGHTS = 4096;

#if __CUDA_ARCH__ >= 900
DEVICE void launch_dependents() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
DEVICE void wait_for_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// Asks for bytes of device memory to be brought into the second cache, as many as are whole 16; from a multiple of 16. One
// thread, which does not wait.
DEVICE void prefetch(const void* from, u32 bytes) {
    if (bytes / 16 > 0) asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes / 16 * 16) : "memory");
}
#else
DEVICE void launch_dependents() {}
DEVICE void wait_for_previous() {}
DEVICE void prefetch(const void*, u32) {}
#endif

// For a kernel that has nothing to do before.
DEVICE void begin_behind_previous() {
    launch_dependents();
    wait_for_previous();
}
