// Up to 8 rows that a block quantises by itself, for linear_int8.cu and linear_int4.cu: to the bits of rows_u8.
#pragma once
#include "epilogue.cuh"
#include "quantise.cuh"

// Every block looks for the extremes of all rows, each of its 256 threads 4 columns at a time; then each lane has the scale of
// its row of an operand, and the epilogue finds all of them in shared memory, behind the next barrier.
struct QuantisedRows {
    static constexpr int ROWS = 8, WARPS = 8;

    const float* mine;
    int columns;  // 0 where there is no such row
    RowScale scale;

    __device__ __forceinline__ QuantisedRows(Layer& layer, const float* x, int width) : scale(scale_of(layer, x, width)) {
        int row = threadIdx.x % WARP / 4;
        columns = row < layer.rows ? width : 0;
        mine = x + (u64)row * width;
    }

    static __device__ __forceinline__ RowScale scale_of(Layer& layer, const float* x, int width) {
        __shared__ Extremes part[ROWS][WARPS];
        __shared__ float scales[ROWS];
        __shared__ int zeros[ROWS];
        const int lane = threadIdx.x % WARP, row = lane / 4;
#pragma unroll 1
        for (int r = 0; r < layer.rows; r++) {
            Extremes found;
            found.clear();
            for (int k = threadIdx.x * 4; k < width; k += WARPS * WARP * 4) {
                const float4 v = *(const float4*)(x + (u64)r * width + k);
                found.add(v.x), found.add(v.y), found.add(v.z), found.add(v.w);
            }
            found.add_lanes();
            if (lane == 0) part[r][threadIdx.x / WARP] = found;
        }
        __syncthreads();
        Extremes all;
        all.clear();
        for (int i = 0; i < WARPS && row < layer.rows; i++) all.add(part[row][i]);
        const RowScale scale(all);
        if (threadIdx.x < WARP && lane % 4 == 0) {
            scales[row] = scale.scale;
            zeros[row] = (int)scale.zero;
        }
        layer.row_scale = scales;
        layer.row_zero = zeros;
        return scale;
    }

    __device__ __forceinline__ uint4 operand(int slab) const {
        u32 word[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int k = slab * 64 + i * 16 + threadIdx.x % 4 * 4;
            word[i] = 0;
            if (k < columns) {
                const float4 v = *(const float4*)(mine + k);
                word[i] = scale.level(v.x) | scale.level(v.y) << 8 | scale.level(v.z) << 16 | scale.level(v.w) << 24;
            }
        }
        return make_uint4(word[0], word[1], word[2], word[3]);
    }
};
