// Kernels that may begin while the one before them runs, right and with mistakes. Each block has 64 threads.
#include "device.h"

__device__ __forceinline__ void next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ __forceinline__ void wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ void prefetch(const void* p, u32 bytes) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(p), "r"(bytes) : "memory");  // FAULT prefetches_too_far
}

// x = 2 w + y: reads and writes what the other kernels write and read.
KERNEL first(const float* w, const float* y, float* x) {
    next();
    wait();
    const int i = blockIdx.x * 64 + threadIdx.x;
    x[i] = 2 * w[i] + y[i];
}

// Stands between.
KERNEL between(const float* w, float* z) {
    next();
    wait();
    const int i = blockIdx.x * 64 + threadIdx.x;
    z[i] = w[i];
}

enum Mistake { NONE, READS, COPIES, WRITES_READ, WRITES_WRITTEN, ADDS, OTHER_WAITS, SOME_LEAVE, PREFETCHES_TOO_FAR };

// y = w x, where w is constant.
template <Mistake M> __device__ void multiply(const float* w, float* x, float* y) {
    __shared__ float4 s[16];
    next();
    const int i = blockIdx.x * 64 + threadIdx.x;
    if (threadIdx.x == 0) prefetch(w + blockIdx.x * 64, M == PREFETCHES_TOO_FAR ? 4096 : 256);
    const float mine = w[i];
    float early = 0;
    if (M == SOME_LEAVE && blockIdx.x == 1) return;
    if (M == READS) early = x[i];  // FAULT reads
    if (M == COPIES && threadIdx.x < 16) {
        copy16(&s[threadIdx.x], x + blockIdx.x * 64 + threadIdx.x * 4);  // FAULT copies
        copy_commit();
        copy_wait<0>();
        early = s[threadIdx.x].x;
    }
    if (M == WRITES_READ) y[i] = mine;  // FAULT writes_read
    if (M == WRITES_WRITTEN) x[i] = mine;  // FAULT writes_written
    if (M == ADDS) atomicAdd((u32*)x + i, 1u);  // FAULT adds
    if (M == OTHER_WAITS) {
        if (threadIdx.x < 32) wait();
        __syncthreads();
        if (threadIdx.x >= 32) early = x[i];  // FAULT other_waits
    }
    wait();
    y[i] = mine * (M == READS || M == COPIES || M == OTHER_WAITS ? early : x[i]);
}
#define MULTIPLY(name, mistake) KERNEL name(const float* w, float* x, float* y) { multiply<mistake>(w, x, y); }
MULTIPLY(right, NONE)
MULTIPLY(reads, READS)
MULTIPLY(copies, COPIES)
MULTIPLY(writes_read, WRITES_READ)
MULTIPLY(writes_written, WRITES_WRITTEN)
MULTIPLY(adds, ADDS)
MULTIPLY(other_waits, OTHER_WAITS)
MULTIPLY(some_leave, SOME_LEAVE)
MULTIPLY(prefetches_too_far, PREFETCHES_TOO_FAR)
