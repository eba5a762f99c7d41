// Whole kernels, compared with plain loops.
#include "device.h"
#include <cuda_bf16.h>

// Sum of n numbers, by blocks; the last one to finish adds the blocks' sums.
KERNEL reduce(const float* __restrict__ x, float* partial, u32* done, float* sum, int n) {
    __shared__ float warps[32];
    __shared__ bool last;
    float s = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) s += x[i];
    for (int o = 16; o; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = s;
    __syncthreads();
    if (threadIdx.x == 0) {
        s = 0;
        for (int w = 0; w < blockDim.x / 32; w++) s += warps[w];
        partial[blockIdx.x] = s;
        __threadfence();
        last = atomicAdd(done, 1) == gridDim.x - 1;
        __threadfence();
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        s = 0;
        for (int i = 0; i < gridDim.x; i++) s += partial[i];
        *sum = s;
    }
}

// Softmax of each row; a row for each warp.
KERNEL softmax(const float* __restrict__ x, float* __restrict__ y, int rows, int n) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= rows) return;
    float most = -INFINITY, sum = 0;
    for (int i = lane; i < n; i += 32) most = fmaxf(most, x[row * n + i]);
    for (int o = 16; o; o >>= 1) most = fmaxf(most, __shfl_xor_sync(~0u, most, o));
    for (int i = lane; i < n; i += 32) sum += expf(x[row * n + i] - most);
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
    for (int i = lane; i < n; i += 32) y[row * n + i] = expf(x[row * n + i] - most) / sum;
}

// C = A B of bf16, tiles of 64 x 64 x 32 in two buffers: cp.async, ldmatrix, mma.sync. Sizes are multiples of the tile.
KERNEL __launch_bounds__(128) multiply_tiles(const __nv_bfloat16* __restrict__ A, const __nv_bfloat16* __restrict__ B,
                                            float* __restrict__ C, int M, int N, int K) {
    __shared__ __align__(16) __nv_bfloat16 a[2][64][40], b[2][32][72];
    const int t = threadIdx.x, warp = t / 32, lane = t % 32, row0 = blockIdx.y * 64, column0 = blockIdx.x * 64;
    auto load = [&](int buffer, int k0) {
        for (int i = t; i < 64 * 4; i += 128) copy16(&a[buffer][i / 4][i % 4 * 8], A + (row0 + i / 4) * K + k0 + i % 4 * 8);
        for (int i = t; i < 32 * 8; i += 128) copy16(&b[buffer][i / 8][i % 8 * 8], B + (k0 + i / 8) * N + column0 + i % 8 * 8);
        copy_commit();
    };
    float c[8][4] = {};
    load(0, 0);
    for (int k0 = 0; k0 < K; k0 += 32) {
        int buffer = k0 / 32 & 1;
        if (k0 + 32 < K) {
            load(buffer ^ 1, k0 + 32);
            copy_wait<1>();
        } else {
            copy_wait<0>();
        }
        __syncthreads();
        for (int k = 0; k < 32; k += 16) {
            u32 left[4], right[2];
            load_matrix(left, &a[buffer][warp * 16 + lane % 16][k + lane / 16 * 8]);
            for (int n = 0; n < 8; n++) {
                load_matrix_transposed(right, &b[buffer][k + lane % 16][n * 8]);
                multiply(c[n], left, right);
            }
        }
        __syncthreads();
    }
    for (int n = 0; n < 8; n++)
        for (int e = 0; e < 4; e++)
            C[(row0 + warp * 16 + lane / 4 + e / 2 * 8) * N + column0 + n * 8 + lane % 4 * 2 + e % 2] = c[n][e];
}

// Mathematical functions as nvcc expands them, one number a thread, and a function that is called.
__device__ __noinline__ float polynomial(float x, int degree) {
    float y = 0;
    for (int i = 0; i <= degree; i++) y = y * x + 1.0f / (i + 1);
    return y;
}
KERNEL functions(const float* __restrict__ x, float* __restrict__ y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i], *out = y + i * 16;
    out[0] = expf(v);
    out[1] = logf(fabsf(v) + 0.5f);
    out[2] = tanhf(v);
    out[3] = erff(v);
    out[4] = sinf(v * 100);
    out[5] = powf(fabsf(v) + 0.1f, 1.7f);
    out[6] = log1pf(fabsf(v));
    out[7] = expm1f(v);
    out[8] = rsqrtf(fabsf(v) + 1);
    out[9] = polynomial(v, 3 + i % 3);
    out[10] = (float)exp((double)v);
    out[11] = floorf(v * 10) + rintf(v * 7);
    out[12] = fmodf(v * 50, 3);
    out[13] = cbrtf(v);
    out[14] = (float)(i * 7919 % 1000 / 7) + (float)((long long)i * 123456789 / 1000);
    switch (i % 6) {
        case 0: out[15] = v + 1; break;
        case 1: out[15] = v * 2; break;
        case 2: out[15] = v - 3; break;
        case 3: out[15] = v / 4; break;
        case 4: out[15] = -v; break;
        default: out[15] = 0;
    }
}

// A grid whose blocks wait for each other: each round every block adds its neighbour's number of the round before.
KERNEL grid_rounds(float* x, u32* arrived, int rounds) {
    for (int r = 0; r < rounds; r++) {
        float left = x[r % 2 * gridDim.x + (blockIdx.x + 1) % gridDim.x];
        x[(r + 1) % 2 * gridDim.x + blockIdx.x] = left + x[r % 2 * gridDim.x + blockIdx.x];
        __threadfence();
        atomicAdd(arrived, 1);
        while (*(volatile u32*)arrived < gridDim.x * (r + 1)) {}
        __threadfence();
    }
}
