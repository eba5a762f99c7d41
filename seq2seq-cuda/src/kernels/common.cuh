// What the kernels share. No header of CUDA is included: a kernel says all that it uses.
//
// Layout everywhere: row-major, sizes and strides in elements. A warp has 32 lanes; `lane` and `warp` are a thread's place.
#pragma once

typedef unsigned char u8;
typedef signed char s8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__

constexpr int WARP = 32;
constexpr u32 ALL = 0xffffffffu;

DEVICE float infinity() { return __int_as_float(0x7f800000); }
DEVICE float quiet_nan() { return __int_as_float(0x7fc00000); }

// bf16: the upper half of an f32.
DEVICE float bf16_to_f32(u16 v) { return __uint_as_float((u32)v << 16); }

// Nearest, ties to even; NaN stays NaN.
DEVICE u16 f32_to_bf16(float v) {
    u32 bits = __float_as_uint(v);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)((bits >> 16) | 0x40);
    return (u16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Two numbers rounded to bf16, a NaN to the one that the unit makes; the first in the low half.
DEVICE u32 bf16_pair(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

DEVICE float f16_to_f32(u16 v) {
    float out;
    asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(v));
    return out;
}

// Sum and maximum over a warp; every lane gets the same bits, as both sides of an exchange add the same two numbers.
DEVICE float warp_sum(float v) {
    for (int step = WARP / 2; step > 0; step /= 2) v += __shfl_xor_sync(ALL, v, step);
    return v;
}

DEVICE float warp_max(float v) {
    for (int step = WARP / 2; step > 0; step /= 2) v = fmaxf(v, __shfl_xor_sync(ALL, v, step));
    return v;
}

// The sum over a block of whole warps, in every thread: warps are added in their order. `part` is shared, a float a warp.
DEVICE float block_sum(float v, float* part) {
    int warps = blockDim.x / WARP, lane = threadIdx.x % WARP;
    v = warp_sum(v);
    if (warps == 1) return v;
    __syncthreads();  // `part` may still be read from before.
    if (lane == 0) part[threadIdx.x / WARP] = v;
    __syncthreads();
    float sum = part[0];
    for (int i = 1; i < warps; i++) sum += part[i];
    return sum;
}

// What a block of whole warps makes of `count` scores in `p`: their softmax, but for the quotient. Each becomes
// e^(score - largest); gives the largest and the sum. `largest` is that of the scores of this thread's warp; `part` is shared, a
// float a warp. The sum is over rising scores in a thread, then as block_sum.
DEVICE float2 block_exponentials(float* p, int count, float largest, float* part) {
    const int warps = blockDim.x / WARP;
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = largest;
    __syncthreads();
    for (int i = 0; i < warps; i++) largest = fmaxf(largest, part[i]);
    float sum = 0.0f;
    for (int j = threadIdx.x; j < count; j += blockDim.x) {
        float e = expf(p[j] - largest);
        p[j] = e;
        sum += e;
    }
    return make_float2(largest, block_sum(sum, part));
}

// Asynchronous copies from device memory to shared memory.
DEVICE u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// 16 bytes; zeros instead where `valid` is false, and then `from` is not read.
DEVICE void copy_async_16(void* to, const void* from, bool valid) {
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}

// The same of 8 bytes.
DEVICE void copy_async_8(void* to, const void* from, bool valid) {
    int bytes = valid ? 8 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}

DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most `N` groups of this thread are under way.
template <int N>
DEVICE void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Four 8 x 8 matrices of 16-bit elements from shared memory; lane l gives the address of row l % 8 of matrix l / 8.
DEVICE void load_matrix_4(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// Two of them; lanes 0 to 15 give addresses.
DEVICE void load_matrix_2(u32 (&r)[2], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

// The same four, each transposed.
DEVICE void load_matrix_4_transposed(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

// d += a b: a is 16 x 16, b is 16 x 8 (columns), bf16; d is 16 x 8, f32. Lane l holds, with g = l / 4 and t = l % 4:
// a: (g, 2t..), (g + 8, 2t..), (g, 2t + 8..), (g + 8, 2t + 8..); b: (2t.., g), (2t + 8.., g);
// d: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
DEVICE void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
