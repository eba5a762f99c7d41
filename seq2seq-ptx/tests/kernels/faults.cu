// Pairs of kernels, one right and one with a mistake. The line that the interpreter must name is marked `FAULT name`.
#include "device.h"

#define PAIR(name, parameters, arguments) \
    KERNEL name##_right parameters { name<false> arguments; } \
    KERNEL name##_wrong parameters { name<true> arguments; }

// The barrier between writing and reading a neighbour's value is missing.
template <bool WRONG> __device__ void missing_barrier(float* x) {
    __shared__ float s[128];
    s[threadIdx.x] = 0;
    __syncthreads();
    s[threadIdx.x] = x[threadIdx.x];
    if (!WRONG) __syncthreads();
    x[threadIdx.x] = s[127 - threadIdx.x];  // FAULT missing_barrier
}
PAIR(missing_barrier, (float* x), (x))

// The barrier that keeps the next round from overwriting what others still read is missing.
template <bool WRONG> __device__ void overwritten(float* x, int rounds) {
    __shared__ float s[128];
    float sum = 0;
    for (int i = 0; i < rounds; i++) {
        s[threadIdx.x] = x[threadIdx.x] * i;  // FAULT overwritten
        __syncthreads();
        sum += s[127 - threadIdx.x];
        if (!WRONG) __syncthreads();
    }
    x[threadIdx.x] = sum;
}
PAIR(overwritten, (float* x, int rounds), (x, rounds))

// Waits for all but one group of copies, and reads the last one.
template <bool WRONG> __device__ void wrong_wait(const float4* x, float* y) {
    __shared__ float4 s[2][32];
    copy16(&s[0][threadIdx.x], x + threadIdx.x);
    copy_commit();
    copy16(&s[1][threadIdx.x], x + 32 + threadIdx.x);
    copy_commit();
    copy_wait<WRONG ? 1 : 0>();
    __syncwarp();
    y[threadIdx.x] = s[0][threadIdx.x].x + ((volatile float4*)s[1])[threadIdx.x].y;  // FAULT wrong_wait
}
PAIR(wrong_wait, (const float4* x, float* y), (x, y))

// Each thread waits for its own copies only; the others' need a barrier too.
template <bool WRONG> __device__ void wait_without_barrier(const float4* x, float* y) {
    __shared__ float4 s[64];
    s[threadIdx.x] = make_float4(0, 0, 0, 0);
    __syncthreads();
    copy16(&s[threadIdx.x], x + threadIdx.x);
    copy_commit();
    copy_wait<0>();
    if (!WRONG) __syncthreads();
    y[threadIdx.x] = s[63 - threadIdx.x].x;  // FAULT wait_without_barrier
}
PAIR(wait_without_barrier, (const float4* x, float* y), (x, y))

// The copy of the next tile goes into the buffer that is being read.
template <bool WRONG> __device__ void wrong_buffer(const float4* x, float* y, int tiles) {
    __shared__ float4 s[2][64];
    copy16(&s[0][threadIdx.x], x + threadIdx.x);
    copy_commit();
    float sum = 0;
    for (int i = 0; i < tiles; i++) {
        copy_wait<0>();
        __syncthreads();
        if (i + 1 < tiles) {
            copy16(&s[WRONG ? i & 1 : (i + 1) & 1][threadIdx.x], x + (i + 1) * 64 + threadIdx.x);
            copy_commit();
        }
        sum += s[i & 1][63 - threadIdx.x].x;  // FAULT wrong_buffer
    }
    y[threadIdx.x] = sum;
}
PAIR(wrong_buffer, (const float4* x, float* y, int tiles), (x, y, tiles))

// Reads a lane that the mask leaves out.
template <bool WRONG> __device__ void wrong_lane(float* x) {
    float v = x[threadIdx.x];
    if (threadIdx.x < 16) {
        v += __shfl_xor_sync(0xffff, v, WRONG ? 16 : 8);  // FAULT wrong_lane
    }
    x[threadIdx.x] = v;
}
PAIR(wrong_lane, (float* x), (x))

// Lanes shuffle with a mask that they are not in.
template <bool WRONG> __device__ void wrong_mask(float* x) {
    x[threadIdx.x] += __shfl_down_sync(WRONG ? 0xffff : 0xffffffff, x[threadIdx.x], 1);  // FAULT wrong_mask
}
PAIR(wrong_mask, (float* x), (x))

// One past the end of global memory.
template <bool WRONG> __device__ void past_the_end(float* x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (WRONG ? i <= n : i < n) x[i] = 1;  // FAULT past_the_end
}
PAIR(past_the_end, (float* x, int n), (x, n))

// One before the start.
template <bool WRONG> __device__ void before_the_start(const float* x, float* y, int n) {
    int i = threadIdx.x;
    if (i < n) y[i] = x[i] - (WRONG || i > 0 ? x[i - 1] : 0);  // FAULT before_the_start
}
PAIR(before_the_start, (const float* x, float* y, int n), (x, y, n))

// Past the end of the dynamic shared memory.
template <bool WRONG> __device__ void past_shared(float* x) {
    extern __shared__ float dynamic[];
    dynamic[threadIdx.x * (WRONG ? 2 : 1)] = x[threadIdx.x];  // FAULT past_shared
    __syncthreads();
    x[threadIdx.x] = dynamic[threadIdx.x * (WRONG ? 2 : 1)];
}
PAIR(past_shared, (float* x), (x))

// Four floats at an address that is not a multiple of sixteen.
template <bool WRONG> __device__ void misaligned(const float* x, float* y) {
    float4 v = *(const float4*)(x + threadIdx.x * 4 + WRONG);  // FAULT misaligned
    y[threadIdx.x] = v.x + v.w;
}
PAIR(misaligned, (const float* x, float* y), (x, y))

// A row of a matrix that does not begin at a multiple of sixteen bytes.
template <bool WRONG> __device__ void misaligned_rows(u32* y) {
    __shared__ __align__(16) u16 s[16 * 25 + 8];
    const int stride = WRONG ? 25 : 24;
    for (int i = threadIdx.x; i < 16 * 25 + 8; i += 32) s[i] = i;
    __syncwarp();
    u32 r[4];
    load_matrix(r, s + (threadIdx.x & 15) * stride + (threadIdx.x >> 4) * 8);  // FAULT misaligned_rows
    y[threadIdx.x] = r[0] + r[1] + r[2] + r[3];
}
PAIR(misaligned_rows, (u32* y), (y))

// Adds to a sum that nothing set to zero.
template <bool WRONG> __device__ void uninitialised(float* sum, float* x) {
    if (!WRONG) sum[threadIdx.x] = 0;
    sum[threadIdx.x] += x[threadIdx.x];  // FAULT uninitialised
}
PAIR(uninitialised, (float* sum, float* x), (sum, x))

// The last warp is left out when shared memory is set up.
template <bool WRONG> __device__ void uninitialised_shared(float* y) {
    __shared__ float s[128];
    if (!WRONG || threadIdx.x < 96) s[threadIdx.x] = threadIdx.x;
    __syncthreads();
    y[threadIdx.x] = s[127 - threadIdx.x];  // FAULT uninitialised_shared
}
PAIR(uninitialised_shared, (float* y), (y))

// Part of an array in local memory is read before it is written.
template <bool WRONG> __device__ void uninitialised_local(int* y, int n) {
    volatile int a[16];
    for (int i = WRONG; i < n; i++) a[i] = i;
    y[threadIdx.x] = a[threadIdx.x & 7];  // FAULT uninitialised_local
}
PAIR(uninitialised_local, (int* y, int n), (y, n))

// Half of a warp takes another way to a barrier than the other half.
template <bool WRONG> __device__ void divergent_barrier(int* x) {
    __shared__ int s[64];
    s[threadIdx.x] = x[threadIdx.x];
    if (WRONG && threadIdx.x < 16) {
        asm volatile("bar.sync 0;" ::: "memory");  // FAULT divergent_barrier
        s[threadIdx.x] += 1;
        asm volatile("bar.sync 0;" ::: "memory");
    } else {
        asm volatile("bar.sync 0;" ::: "memory");
    }
    x[threadIdx.x] = s[threadIdx.x];
}
PAIR(divergent_barrier, (int* x), (x))

// Threads without work end before a barrier that the rest of their warp comes to.
template <bool WRONG> __device__ void early_return(int* x, int n) {
    __shared__ int s[64];
    if (WRONG && threadIdx.x >= n) return;
    if (threadIdx.x < n) s[threadIdx.x] = x[threadIdx.x];
    __syncthreads();  // FAULT early_return
    if (threadIdx.x < n) x[threadIdx.x] = s[n - 1 - threadIdx.x];
}
PAIR(early_return, (int* x, int n), (x, n))

// A barrier of two warps that one warp comes to.
template <bool WRONG> __device__ void deadlock(int* x) {
    if (!WRONG || threadIdx.x < 32) {
        named_barrier<1, 64>();  // FAULT deadlock
    }
    x[threadIdx.x] = 1;
}
PAIR(deadlock, (int* x), (x))

// Two warps come to the same barrier and expect different numbers of threads.
template <bool WRONG> __device__ void different_counts(int* x) {
    if (threadIdx.x < 32) {
        named_barrier<1, 64>();
    } else {
        named_barrier<1, WRONG ? 96 : 64>();  // FAULT different_counts
    }
    x[threadIdx.x] = 1;
}
PAIR(different_counts, (int* x), (x))

// Blocks add to one number without atomics.
template <bool WRONG> __device__ void blocks_race(int* sum) {
    if (threadIdx.x == 0) {
        if (WRONG) *sum += blockIdx.x;  // FAULT blocks_race
        else atomicAdd(sum, blockIdx.x);
    }
}
PAIR(blocks_race, (int* sum), (sum))

// The last block to finish reads what the others wrote, without a fence.
template <bool WRONG> __device__ void missing_fence(const float* x, float* partial, u32* done, float* sum) {
    partial[blockIdx.x] = x[blockIdx.x];
    if (!WRONG) __threadfence();
    if (atomicAdd(done, 1) == gridDim.x - 1) {
        if (!WRONG) __threadfence();
        float s = 0;
        for (int i = 0; i < gridDim.x; i++) s += ((volatile float*)partial)[i] * 0 + partial[i];  // FAULT missing_fence
        *sum = s;
    }
}
PAIR(missing_fence, (const float* x, float* partial, u32* done, float* sum), (x, partial, done, sum))

// The same with a fence that only holds within a block.
template <bool WRONG> __device__ void narrow_fence(const float* x, float* partial, u32* done, float* sum) {
    partial[blockIdx.x] = x[blockIdx.x];
    if (WRONG) __threadfence_block(); else __threadfence();
    if (atomicAdd(done, 1) == gridDim.x - 1) {
        if (WRONG) __threadfence_block(); else __threadfence();
        float s = 0;
        for (int i = 0; i < gridDim.x; i++) s += partial[i];  // FAULT narrow_fence
        *sum = s;
    }
}
PAIR(narrow_fence, (const float* x, float* partial, u32* done, float* sum), (x, partial, done, sum))

// Reads a sum of atomic additions without a barrier after them.
template <bool WRONG> __device__ void atomic_then_read(int* x) {
    __shared__ int sum;
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
    atomicAdd(&sum, x[threadIdx.x]);
    if (!WRONG) __syncthreads();
    x[threadIdx.x] = sum;  // FAULT atomic_then_read
}
PAIR(atomic_then_read, (int* x), (x))

// Lanes of a warp pass values through shared memory without __syncwarp.
template <bool WRONG> __device__ void missing_warp_sync(float* x) {
    __shared__ float s[32];
    s[threadIdx.x] = x[threadIdx.x];
    if (!WRONG) __syncwarp();
    x[threadIdx.x] = s[threadIdx.x ^ 1];  // FAULT missing_warp_sync
}
PAIR(missing_warp_sync, (float* x), (x))

// Two lanes write the same place.
template <bool WRONG> __device__ void same_place(int* x) {
    x[WRONG ? threadIdx.x / 2 : threadIdx.x] = threadIdx.x;  // FAULT same_place
}
PAIR(same_place, (int* x), (x))

// Waits for a flag that nobody sets.
template <bool WRONG> __device__ void flag_never_set(volatile int* flag) {
    if (threadIdx.x == 0 && blockIdx.x == 1 && !WRONG) *flag = 1;
    if (blockIdx.x == 0) while (*flag == 0) {}  // FAULT flag_never_set
}
PAIR(flag_never_set, (volatile int* flag), (flag))

// Goes on until a number is odd that two is added to.
template <bool WRONG> __device__ void runaway(volatile int* x) {
    while (*x % 2 == 0) *x += WRONG ? 2 : 1;  // FAULT runaway
}
PAIR(runaway, (volatile int* x), (x))

// A barrier of all blocks: a counter of arrivals, and behind it the number of the round that is over, which the last to arrive sets.
// Zeros at first; `round` counts from 1.
enum Lacks { NOTHING, BARRIER, RELEASE, ACQUIRE, ROUNDS, RESET, FENCES };
template <Lacks LACKS> __device__ void grid_barrier(u32* counters, u32 round) {
    if (LACKS == BARRIER) return;
    __syncthreads();
    if (threadIdx.x == 0) {
        if (LACKS != RELEASE && LACKS != FENCES) __threadfence();
        if (atomicAdd(counters, 1) == round * gridDim.x - 1) {
            // The counter goes on from round to round.
            if (LACKS == RESET) *(volatile u32*)counters = 0;
            // The last has to pass on what the others released.
            if (LACKS != FENCES) __threadfence();
            *(volatile u32*)(counters + 1) = round;
        } else {
            while (*(volatile u32*)(counters + 1) < (LACKS == ROUNDS ? 1 : round)) {}
        }
        if (LACKS != ACQUIRE && LACKS != FENCES) __threadfence();
    }
    __syncthreads();
}

// Each round every block adds what all blocks wrote in the round before, from one of two buffers into the other.
template <Lacks LACKS, int BUFFERS = 2> __device__ void rounds(u32* x, u32* counters, int count) {
    for (int r = 0; r < count; r++) {
        const u32* from = x + r % BUFFERS * gridDim.x;
        u32 sum = 0;
        if (threadIdx.x < 2) {
            for (int i = 0; i < gridDim.x; i++) sum += from[i];
        }
        __syncthreads();
        if (threadIdx.x == 0) x[(r + 1) % BUFFERS * gridDim.x + blockIdx.x] = sum;
        grid_barrier<LACKS>(counters, r + 1);
    }
}
#define GRID(name, ...)                                                                                              \
    KERNEL name##_right(u32* x, u32* counters, int count) { rounds<NOTHING>(x, counters, count); }                     \
    KERNEL name##_wrong(u32* x, u32* counters, int count) { rounds<__VA_ARGS__>(x, counters, count); }
GRID(grid_barrier_left_out, BARRIER)
GRID(grid_barrier_without_release, RELEASE)
GRID(grid_barrier_without_acquire, ACQUIRE)
GRID(grid_barrier_without_fences, FENCES)
GRID(grid_barrier_of_the_first_round, ROUNDS)
GRID(grid_barrier_reset, RESET)
GRID(grid_overwrites, NOTHING, 1)

// All blocks but the last read a number, which the last writes when the others have; but the first does not say so.
KERNEL one_reader_unordered(u32* x, u32* counter, u32* y) {
    if (threadIdx.x > 0) return;
    if (blockIdx.x + 1 < gridDim.x) {
        y[blockIdx.x] = *x;
        if (blockIdx.x > 0) __threadfence();
        atomicAdd(counter, 1);
    } else {
        while (*(volatile u32*)counter + 1 < gridDim.x) {}
        __threadfence();
        *x = 1;
    }
}

// The first block ends before a barrier that the others come to.
template <bool WRONG> __device__ void grid_early_return(u32* x, u32* counters) {
    if (WRONG && blockIdx.x == 0) return;
    if (threadIdx.x == 0) x[blockIdx.x] = blockIdx.x;
    grid_barrier<NOTHING>(counters, 1);
}
PAIR(grid_early_return, (u32* x, u32* counters), (x, counters))

// Ends itself.
template <bool WRONG> __device__ void trapped(int* x) {
    if (WRONG && x[threadIdx.x] < 0) __trap();  // FAULT trapped
    x[threadIdx.x] += 1;
}
PAIR(trapped, (int* x), (x))

// Reads; right or wrong is what the host gave.
KERNEL reads(const float* x, float* y) {
    y[threadIdx.x] = x[threadIdx.x];  // FAULT use_after_free
}
