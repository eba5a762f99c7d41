// Linear layers in f32: y = scale * x W' + bias, then the epilogue. FMA on f32 operands; nothing is rounded to TF32.
//
// weights: [channels / 32][depth][32] f32, zero where there is no channel or column (`depth` is a multiple of 32); x as
// rows_f32 of rows.cu makes it, or as it is. Gate and up channels of a gated layer alternate.
//
// Order of the sum, the same in both kernels and for any number of rows: chunks of 128 columns, in a chunk one chain of FMA
// over rising columns that begins at 0, the chunks added in their order.
//
// stream (up to 16 rows, of which up to 8 are read as they are). Floor: the weights' bytes over the memory bandwidth. A block
// takes 32 channels; its 8 warps take chunks in turn, a lane a channel, so that each load of weights is 128 contiguous bytes
// and each value of x is one broadcast. Before it waits for x, each asks for the first bytes of its first chunk. After a round
// of 8 chunks their sums are added in order by way of shared memory, which is double so that one barrier a round suffices.
//
// tile (more rows). Floor: 2 rows channels depth operations over the FMA peak. A block takes 64 channels and 8 T rows; each
// thread 4 channels and 8 rows, so 32 FMA for three 16-byte loads from shared memory, which cp.async fills two stages ahead.
#include "epilogue.cuh"

constexpr int CHUNK = 128, PANEL = 32, TILE = 8;

struct F32 {
    typedef float Sum;
    static __device__ __forceinline__ float value(const Layer& layer, int, int channel, float sum) {
        return scaled(layer, channel, sum);
    }
};

// Up to ROWS rows, AS_THEY_ARE ([rows][width], `width` a multiple of 4) or laid out.
template <int ROWS, bool AS_THEY_ARE>
DEVICE void stream(const Layer& layer, const float* weights, const float* x, int depth, int width) {
    constexpr int WARPS = 8;
    __shared__ float part[2][WARPS][ROWS][PANEL];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int chunks = (depth + CHUNK - 1) / CHUNK;
    const float* panel = weights + (u64)blockIdx.x * depth * PANEL;
    // Of the pair of channels and the row that this thread stores.
    int row = threadIdx.x / (PANEL / 2), pair = threadIdx.x % (PANEL / 2) * 2;
    float total0 = 0.0f, total1 = 0.0f;
    launch_dependents();
    if (lane == 0 && warp < chunks) {
        u32 columns = min(depth - warp * CHUNK, CHUNK), bytes = columns * PANEL * sizeof(float);
        prefetch(panel + (u64)warp * CHUNK * PANEL, min(bytes, FIRST_WEIGHTS));
        if (warp == 0) prefetch_of_channels(layer, blockIdx.x * PANEL, PANEL);
    }
    wait_for_previous();
    for (int first = 0, round = 0; first < chunks; first += WARPS, round ^= 1) {
        if (first + warp < chunks) {
            int begin = (first + warp) * CHUNK, end = min(begin + CHUNK, depth);
            float sum[ROWS] = {};
            if (AS_THEY_ARE) {
                // Behind the width are products of zeros, which change no sum.
                end = min(end, width);
#pragma unroll 2
                for (int k = begin; k < end; k += 4) {
                    float w[4];
#pragma unroll
                    for (int i = 0; i < 4; i++) w[i] = panel[(u64)(k + i) * PANEL + lane];
#pragma unroll
                    for (int r = 0; r < ROWS; r++) {
                        // Or a row whose sum is not stored.
                        const float4 v = *(const float4*)(x + (u64)min(r, layer.rows - 1) * width + k);
                        sum[r] = __fmaf_rn(v.x, w[0], sum[r]);
                        sum[r] = __fmaf_rn(v.y, w[1], sum[r]);
                        sum[r] = __fmaf_rn(v.z, w[2], sum[r]);
                        sum[r] = __fmaf_rn(v.w, w[3], sum[r]);
                    }
                }
            } else {
#pragma unroll 8
                for (int k = begin; k < end; k++) {
                    float w = panel[(u64)k * PANEL + lane];
#pragma unroll
                    for (int r = 0; r < ROWS; r++) {
                        // Of the second tile where there is one; else of rows that are not stored.
                        u64 tile = layer.rows > TILE ? r / TILE : 0;
                        float v = x[(tile * depth + k) * TILE + r % TILE];
                        sum[r] = __fmaf_rn(v, w, sum[r]);
                    }
                }
            }
#pragma unroll
            for (int r = 0; r < ROWS; r++) part[round][warp][r][lane] = sum[r];
        }
        __syncthreads();
        if (row < ROWS) {
            for (int i = 0; i < WARPS && first + i < chunks; i++) {
                total0 = __fadd_rn(total0, part[round][i][row][pair]);
                total1 = __fadd_rn(total1, part[round][i][row][pair + 1]);
            }
        }
    }
    if (row < ROWS) {
        int channel = blockIdx.x * PANEL + pair;
        store_pair(layer, row, channel, scaled(layer, channel, total0), scaled(layer, channel + 1, total1));
    }
}

// T tiles of 8 rows, 16 T threads.
template <int T>
DEVICE void tile(const Layer& layer, const float* weights, const float* x, int depth) {
    constexpr int STEP = 16, STAGES = 3, PANELS = 2, THREADS = 16 * T;
    // A stage, or what is stored in the end; its rows are apart by 4 more than their length, for the banks' sake.
    constexpr int W_VALUES = STAGES * PANELS * STEP * PANEL, X_VALUES = STAGES * T * STEP * TILE;
    constexpr int STRIDE = PANELS * PANEL + 4, STAGED = T * TILE * STRIDE;
    __shared__ __align__(16) float memory[W_VALUES + X_VALUES > STAGED ? W_VALUES + X_VALUES : STAGED];
    auto w_stage = (float (*)[PANELS][STEP][PANEL])memory;
    auto x_stage = (float (*)[T][STEP][TILE])(memory + W_VALUES);
    begin_behind_previous();
    int panels = (layer.channels + PANEL - 1) / PANEL, tiles = (layer.rows + TILE - 1) / TILE;
    int steps = depth / STEP;
    auto load = [&](int step) {
        int stage = step % STAGES;
        // 16-byte units: a step of a panel, and of a tile, is one run.
        for (int u = threadIdx.x; u < PANELS * STEP * PANEL / 4; u += THREADS) {
            int p = u / (STEP * PANEL / 4), at = u % (STEP * PANEL / 4) * 4, panel = blockIdx.y * PANELS + p;
            bool valid = panel < panels;
            const float* from = weights + ((u64)(valid ? panel : 0) * depth + step * STEP) * PANEL + at;
            copy_async_16(&w_stage[stage][p][0][0] + at, from, valid);
        }
        for (int u = threadIdx.x; u < T * STEP * TILE / 4; u += THREADS) {
            int i = u / (STEP * TILE / 4), at = u % (STEP * TILE / 4) * 4, t = blockIdx.x * T + i;
            bool valid = t < tiles;
            const float* from = x + ((u64)(valid ? t : 0) * depth + step * STEP) * TILE + at;
            copy_async_16(&x_stage[stage][i][0][0] + at, from, valid);
        }
    };
    int group = threadIdx.x % 16, mine = threadIdx.x / 16;
    int panel = group / 8, column = group % 8 * 4;
    float sum[TILE][4] = {}, total[TILE][4] = {};
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) load(s);
        copy_async_commit();
    }
    for (int s = 0; s < steps; s++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        if (s + STAGES - 1 < steps) load(s + STAGES - 1);
        copy_async_commit();
        int stage = s % STAGES;
#pragma unroll
        for (int k = 0; k < STEP; k++) {
            float4 w = *(const float4*)&w_stage[stage][panel][k][column];
            float4 low = *(const float4*)&x_stage[stage][mine][k][0];
            float4 high = *(const float4*)&x_stage[stage][mine][k][4];
            const float v[TILE] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int r = 0; r < TILE; r++) {
                sum[r][0] = __fmaf_rn(v[r], w.x, sum[r][0]);
                sum[r][1] = __fmaf_rn(v[r], w.y, sum[r][1]);
                sum[r][2] = __fmaf_rn(v[r], w.z, sum[r][2]);
                sum[r][3] = __fmaf_rn(v[r], w.w, sum[r][3]);
            }
        }
        if ((s + 1) % (CHUNK / STEP) == 0 || s + 1 == steps) {
#pragma unroll
            for (int r = 0; r < TILE; r++) {
#pragma unroll
                for (int c = 0; c < 4; c++) {
                    total[r][c] = __fadd_rn(total[r][c], sum[r][c]);
                    sum[r][c] = 0.0f;
                }
            }
        }
    }
    copy_async_wait<0>();
    __syncthreads();
#pragma unroll
    for (int r = 0; r < TILE; r++) {
        float4 sums = make_float4(total[r][0], total[r][1], total[r][2], total[r][3]);
        *(float4*)(memory + (mine * TILE + r) * STRIDE + panel * PANEL + column) = sums;
    }
    __syncthreads();
    int first_row = blockIdx.x * T * TILE, first_channel = blockIdx.y * PANELS * PANEL;
    store_staged<F32>(layer, memory, STRIDE, first_row, first_channel, T * TILE, PANELS * PANEL, THREADS);
}

#define STREAM(ROWS)                                                                                 \
    KERNEL __launch_bounds__(256) linear_f32_stream_##ROWS(LAYER_PARAMETERS, int width) {            \
        stream<ROWS, true>(LAYER, (const float*)weights, (const float*)x, depth, width);             \
    }
STREAM(1)
STREAM(4)
STREAM(8)
KERNEL __launch_bounds__(256) linear_f32_stream_16(LAYER_PARAMETERS) {
    stream<16, false>(LAYER, (const float*)weights, (const float*)x, depth, 0);
}

#define TILED(ROWS)                                                                                  \
    KERNEL __launch_bounds__(ROWS * 2) linear_f32_tile_##ROWS(LAYER_PARAMETERS) {                    \
        tile<ROWS / 8>(LAYER, (const float*)weights, (const float*)x, depth);                        \
    }
TILED(32)
TILED(64)
