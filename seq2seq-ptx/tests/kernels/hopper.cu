// Kernels for sm_90a, each right and with a mistake.
#include "device.h"
#include <cuda_bf16.h>
typedef unsigned char u8;

__device__ __forceinline__ unsigned long long descriptor(const void* p, u32 leading, u32 stride, unsigned long long swizzle) {
    return (shared_address(p) & 0x3ffff) >> 4 | (unsigned long long)(leading >> 4) << 16 |
           (unsigned long long)(stride >> 4) << 32 | swizzle << 62;
}
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wait_products() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
__device__ __forceinline__ void proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Numbers that are multiplied, and their sums; a descriptor names 32 bytes of each row.
struct Bf16 {
    typedef float Sum;
    template <int TB = 0> static __device__ __forceinline__ void product(float (&d)[8], unsigned long long a, unsigned long long b, int keep) {
        asm volatile("{.reg .pred p; setp.ne.s32 p, %10, 0;"
                     "wgmma.mma_async.sync.aligned.m64n16k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7}, %8, %9, p, 1, 1, 0, %11;}"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
                     : "l"(a), "l"(b), "r"(keep), "n"(TB));
    }
};
#define BYTES(Name, kinds)                                                                                                          \
    struct Name {                                                                                                                   \
        typedef int Sum;                                                                                                            \
        static __device__ __forceinline__ void product(int (&d)[8], unsigned long long a, unsigned long long b, int keep) {         \
            asm volatile("{.reg .pred p; setp.ne.s32 p, %10, 0;"                                                                    \
                         "wgmma.mma_async.sync.aligned.m64n16k32.s32." kinds " {%0,%1,%2,%3,%4,%5,%6,%7}, %8, %9, p;}"              \
                         : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]), "+r"(d[4]), "+r"(d[5]), "+r"(d[6]), "+r"(d[7])           \
                         : "l"(a), "l"(b), "r"(keep));                                                                              \
        }                                                                                                                           \
    };
BYTES(U8S8, "u8.s8")
BYTES(S8U8, "s8.u8")

enum Mistake { NONE, NO_FENCE, NO_WAIT, TOO_EARLY, WRONG_STRIDE };

// C (64 x 16) = A (64 rows) B (16 rows)^T, rows of `bytes`. SWIZZLE: 128 bytes a row in chunks that are exchanged; else core matrices.
template <class N, Mistake M, bool SWIZZLE> __device__ void multiply(const u8* A, const u8* B, typename N::Sum* C, int bytes) {
    __shared__ __align__(1024) u8 a[64 * 128], b[16 * 128];
    const int t = threadIdx.x, warp = t / 32, lane = t % 32;
    const u32 eight_rows = M == WRONG_STRIDE ? 2048 : 1024;
    typename N::Sum d[8];
    for (int k0 = 0; k0 < bytes; k0 += 128) {
        auto place = [&](int row, int chunk, int rows) {
            return SWIZZLE ? row * 128 + (chunk ^ row % 8) * 16 : (chunk * (rows / 8) + row / 8) * 128 + row % 8 * 16;
        };
#pragma unroll 1
        for (int i = t; i < 64 * 8; i += 128) *(uint4*)(a + place(i / 8, i % 8, 64)) = *(const uint4*)(A + i / 8 * bytes + k0 + i % 8 * 16);
#pragma unroll 1
        for (int i = t; i < 16 * 8; i += 128) *(uint4*)(b + place(i / 8, i % 8, 16)) = *(const uint4*)(B + i / 8 * bytes + k0 + i % 8 * 16);
        if (M != NO_FENCE) proxy_fence();
        __syncthreads();
        begin_products();
        for (int k = 0; k < 4; k++) {
            unsigned long long left = SWIZZLE ? descriptor(a + k * 32, 16, eight_rows, 1) : descriptor(a + k * 2 * 8 * 128, 1024, 128, 0);
            unsigned long long right = SWIZZLE ? descriptor(b + k * 32, 16, 1024, 1) : descriptor(b + k * 2 * 2 * 128, 256, 128, 0);
            N::product(d, left, right, k0 + k > 0);
        }
        commit_products();
        if (M != TOO_EARLY) wait_products<M == NO_WAIT ? 1 : 0>();
        __syncthreads();
    }
    if (M == TOO_EARLY) wait_products<0>();
    for (int i = 0; i < 8; i++)
        C[(warp * 16 + lane / 4 + i / 2 % 2 * 8) * 16 + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
}
#define VERSION(name, numbers, mistake, swizzle) \
    KERNEL name(const u8* A, const u8* B, numbers::Sum* C, int bytes) { multiply<numbers, mistake, swizzle>(A, B, C, bytes); }
VERSION(product_cores, Bf16, NONE, false)
VERSION(product_swizzled, Bf16, NONE, true)
VERSION(product_without_fence, Bf16, NO_FENCE, false)
VERSION(product_without_wait, Bf16, NO_WAIT, false)
VERSION(product_too_early, Bf16, TOO_EARLY, false)
VERSION(product_wrong_stride, Bf16, WRONG_STRIDE, true)
VERSION(bytes_cores, U8S8, NONE, false)
VERSION(bytes_swizzled, U8S8, NONE, true)
VERSION(bytes_signed_rows, S8U8, NONE, true)
VERSION(bytes_without_fence, U8S8, NO_FENCE, true)
VERSION(bytes_without_wait, U8S8, NO_WAIT, true)
VERSION(bytes_too_early, U8S8, TOO_EARLY, true)
VERSION(bytes_wrong_stride, U8S8, WRONG_STRIDE, true)

// C (64 x 16) = A (64 x 16) B (16 x 16), with B as it lies, rows along k: transposed by the unit.
KERNEL product_transposed(const __nv_bfloat16* A, const __nv_bfloat16* B, float* C) {
    __shared__ __align__(1024) __nv_bfloat16 a[64 * 16], b[16 * 16];
    const int t = threadIdx.x, warp = t / 32, lane = t % 32;
    *(uint4*)(a + (t % 2 * 8 + t / 16) * 64 + t / 2 % 8 * 8) = *(const uint4*)(A + t / 2 * 16 + t % 2 * 8);
    if (t < 32) *(uint4*)(b + (t % 2 * 2 + t / 16) * 64 + t / 2 % 8 * 8) = *(const uint4*)(B + t / 2 * 16 + t % 2 * 8);
    proxy_fence();
    __syncthreads();
    float d[8];
    begin_products();
    Bf16::product<1>(d, descriptor(a, 1024, 128, 0), descriptor(b, 128, 256, 0), 0);
    commit_products();
    wait_products<0>();
    for (int i = 0; i < 8; i++)
        C[(warp * 16 + lane / 4 + i / 2 % 2 * 8) * 16 + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
}

__device__ __forceinline__ void barrier_init(unsigned long long* b, u32 count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count) : "memory");
}
__device__ __forceinline__ void barrier_expect(unsigned long long* b, u32 bytes) {
    asm volatile("{.reg .b64 s; mbarrier.arrive.expect_tx.shared::cta.b64 s, [%0], %1;}" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_arrive(unsigned long long* b) {
    asm volatile("{.reg .b64 s; mbarrier.arrive.shared::cta.b64 s, [%0];}" ::"r"(shared_address(b)) : "memory");
}
__device__ __forceinline__ void barrier_wait(unsigned long long* b, u32 parity) {
    asm volatile("{.reg .pred p;\nWAIT:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra.uni DONE;\nbra.uni WAIT;\nDONE:\n}"
                 ::"r"(shared_address(b)), "r"(parity) : "memory");
}
__device__ __forceinline__ void copy_bulk(void* to, const void* from, u32 bytes, unsigned long long* b) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(b)) : "memory");
}

enum Bulk { RIGHT, NOT_WAITED, WRONG_PARITY, NOT_INITIALISED, NOT_RELEASED, TOO_FEW_BYTES };

// Sums tiles of 64 numbers that one thread fetches into two buffers, with a barrier for full and one for empty ones.
template <Bulk M> __device__ void sum_tiles(const float* x, float* y, int tiles) {
    __shared__ __align__(16) float s[2][64];
    __shared__ unsigned long long full[2], empty[2];
    const int t = threadIdx.x;
    if (t == 0)
        for (int b = 0; b < 2; b++) barrier_init(&full[b], 1), barrier_init(&empty[b], 64);
    if (M != NOT_INITIALISED) __syncthreads();
    if (t >= 64) {
        if (t == 64)
            for (int i = 0; i < tiles; i++) {
                int b = i % 2;
                if (i >= 2 && M != NOT_RELEASED) barrier_wait(&empty[b], (i / 2 - 1) % 2);
                barrier_expect(&full[b], M == TOO_FEW_BYTES ? 128 : 256);
                copy_bulk(s[b], x + i * 64, 256, &full[b]);
            }
        return;
    }
    float sum = 0;
    for (int i = 0; i < tiles; i++) {
        int b = i % 2;
        if (M != NOT_WAITED) barrier_wait(&full[b], i / 2 % 2 ^ (M == WRONG_PARITY));
        sum += s[b][63 - t];
        barrier_arrive(&empty[b]);
    }
    y[t] = sum;
}
#define BULK(name, mistake) KERNEL name(const float* x, float* y, int tiles) { sum_tiles<mistake>(x, y, tiles); }
BULK(bulk_right, RIGHT)
BULK(bulk_not_waited, NOT_WAITED)
BULK(bulk_wrong_parity, WRONG_PARITY)
BULK(bulk_not_initialised, NOT_INITIALISED)
BULK(bulk_not_released, NOT_RELEASED)
BULK(bulk_too_few_bytes, TOO_FEW_BYTES)

// Copies of sixteen bytes that arrive at a barrier.
template <bool WRONG> __device__ void copies(const float4* x, float* y) {
    __shared__ float4 s[64];
    __shared__ unsigned long long full;
    if (threadIdx.x == 0) barrier_init(&full, 64);
    __syncthreads();
    copy16(&s[threadIdx.x], x + threadIdx.x);
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(&full)) : "memory");
    if (!WRONG) barrier_wait(&full, 0);
    y[threadIdx.x] = s[63 - threadIdx.x].y;
}
KERNEL copies_right(const float4* x, float* y) { copies<false>(x, y); }
KERNEL copies_wrong(const float4* x, float* y) { copies<true>(x, y); }
