// Up to 8 rows that a block quantises by itself, for the linear kernels of int8 and int4: to the bits of rows_u8.
#pragma once
#include "epilogue.cuh"
#include "quantise.cuh"

// The row lane / 4 of a block of WARPS warps, and its scale. The block looks for the extremes of all rows, each thread 4 columns at a
// time: all warps at a single row, or else each at whole rows, so that rows do not wait for one another. Behind `barrier`, which
// all threads meet at, each lane has the scale of its row, and behind the next barrier the epilogue finds all of them in
// shared memory.
template <int WARPS>
struct QuantisedRow {
    static constexpr int ROWS = 8;
    static constexpr int BATCH = 4;  // Loads of a thread that are under way together.

    const float* mine;
    int columns;  // 0 where there is no such row
    RowScale scale;

    template <class Barrier>
    __device__ __forceinline__ QuantisedRow(Layer& layer, const float* x, int width, Barrier barrier)
        : scale(scale_of(layer, x, width, barrier)) {
        int row = threadIdx.x % WARP / 4;
        columns = row < layer.rows ? width : 0;
        mine = x + (u64)row * width;
    }

    template <class Barrier>
    static __device__ __forceinline__ RowScale scale_of(Layer& layer, const float* x, int width, Barrier barrier) {
        __shared__ Extremes part[ROWS][WARPS];
        __shared__ float scales[ROWS];
        __shared__ int zeros[ROWS];
        const int lane = threadIdx.x % WARP, row = lane / 4, warp = threadIdx.x / WARP;
        const int sharing = layer.rows == 1 ? WARPS : 1, share = warp % sharing;
#pragma unroll 1
        for (int r = warp / sharing; r < layer.rows; r += WARPS / sharing) {
            Extremes found;
            found.clear();
            const int first = (share * WARP + lane) * 4, step = sharing * WARP * 4;
            for (int k = first; k < width; k += BATCH * step) {
                float4 v[BATCH];
#pragma unroll
                for (int i = 0; i < BATCH; i++) {
                    // 0 is among the extremes anyway.
                    v[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
                    if (k + i * step < width) v[i] = *(const float4*)(x + (u64)r * width + k + i * step);
                }
#pragma unroll
                for (int i = 0; i < BATCH; i++) found.add(v[i].x), found.add(v[i].y), found.add(v[i].z), found.add(v[i].w);
            }
            found.add_lanes();
            if (lane == 0) part[r][share] = found;
        }
        barrier();
        Extremes all;
        all.clear();
        for (int i = 0; i < sharing && row < layer.rows; i++) all.add(part[row][i]);
        const RowScale scale(all);
        if (threadIdx.x < WARP && lane % 4 == 0) {
            scales[row] = scale.scale;
            zeros[row] = (int)scale.zero;
        }
        layer.row_scale = scales;
        layer.row_zero = zeros;
        return scale;
    }

    // The levels of 4 columns from k on, a multiple of 4; zeros where there are none.
    __device__ __forceinline__ u32 levels(int k) const {
        if (k >= columns) return 0;
        return levels(*(const float4*)(mine + k));
    }

    // The same in two parts, for who reads ahead.
    __device__ __forceinline__ float4 values(int k) const {
        return k < columns ? *(const float4*)(mine + k) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    __device__ __forceinline__ u32 levels(const float4& v, int k) const { return k < columns ? levels(v) : 0; }

  private:
    __device__ __forceinline__ u32 levels(float4 v) const {
        return scale.level(v.x) | scale.level(v.y) << 8 | scale.level(v.z) << 16 | scale.level(v.w) << 24;
    }
};
