// Linear layers that FMA multiplies in f32: what formats have in common that hold weights of f32 or f16 and round no row. f16 becomes
// f32 in registers, which is exact, so weights that are f16 numbers give the bits of f32.
//
// weights: words of four bytes, as words.cuh says; x as rows_f32 of rows.cu makes it, or as it is. Gate and up channels of a gated
// layer alternate.
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
// thread 4 channels and 8 rows, so that for a column it has 32 FMA, two 16-byte loads of x and one for its words, each of one
// column or two, from shared memory, which cp.async fills two stages ahead.
//
// A format W is one of words.cuh.
#pragma once
#include "epilogue.cuh"
#include "words.cuh"

constexpr int CHUNK = 128, TILE = 8;

// What the epilogue takes.
struct Sums {
    typedef float Sum;
    static constexpr int OPERAND = NO_OPERAND;

    static __device__ __forceinline__ float value(const Layer& layer, int, int channel, float sum) {
        return scaled(layer, channel, sum);
    }
};

// Four columns of a row from k on, or of one whose sum is not stored. `length`: columns of a row AS_THEY_ARE, or laid out.
template <bool AS_THEY_ARE>
DEVICE void columns_of_row(float (&v)[4], const Layer& layer, const float* x, int row, int k, int length) {
    if (AS_THEY_ARE) {
        const float4 four = *(const float4*)(x + (u64)min(row, layer.rows - 1) * length + k);
        v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
    } else {
        // Of the second tile where there is one.
        u64 tile = layer.rows > TILE ? row / TILE : 0;
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = x[(tile * length + k + i) * TILE + row % TILE];
    }
}

// Up to ROWS rows, AS_THEY_ARE ([rows][width], `width` a multiple of 4) or laid out.
template <class W, int ROWS, bool AS_THEY_ARE>
DEVICE void stream(const Layer& layer, const u32* weights, const float* x, int depth, int width) {
    // So many words of a lane are under way, whatever they hold.
    constexpr int WARPS = 8, COLUMNS = 4, UNROLL = 2 * W::COLUMNS;
    __shared__ float part[2][WARPS][ROWS][PANEL];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int chunks = (depth + CHUNK - 1) / CHUNK;
    const u32* panel = weights + (u64)blockIdx.x * (depth / W::COLUMNS) * PANEL;
    // Of the pair of channels and the row that this thread stores.
    int row = threadIdx.x / (PANEL / 2), pair = threadIdx.x % (PANEL / 2) * 2;
    float total0 = 0.0f, total1 = 0.0f;
    launch_dependents();
    if (lane == 0 && warp < chunks) {
        u32 columns = min(depth - warp * CHUNK, CHUNK), bytes = columns / W::COLUMNS * PANEL * sizeof(u32);
        prefetch(panel + (u64)warp * (CHUNK / W::COLUMNS) * PANEL, min(bytes, FIRST_WEIGHTS));
        if (warp == 0) prefetch_of_channels(layer, blockIdx.x * PANEL, PANEL);
    }
    wait_for_previous();
    for (int first = 0, round = 0; first < chunks; first += WARPS, round ^= 1) {
        if (first + warp < chunks) {
            // Behind the width are products of zeros, which change no sum.
            int begin = (first + warp) * CHUNK, end = min(begin + CHUNK, AS_THEY_ARE ? width : depth);
            float sum[ROWS] = {};
#pragma unroll UNROLL
            for (int k = begin; k < end; k += COLUMNS) {
                float w[COLUMNS];
#pragma unroll
                for (int i = 0; i < COLUMNS; i += W::COLUMNS) W::widen(w + i, panel[(u64)((k + i) / W::COLUMNS) * PANEL + lane]);
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    float v[COLUMNS];
                    columns_of_row<AS_THEY_ARE>(v, layer, x, r, k, AS_THEY_ARE ? width : depth);
#pragma unroll
                    for (int i = 0; i < COLUMNS; i++) sum[r] = __fmaf_rn(v[i], w[i], sum[r]);
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
        store_pair<NO_OPERAND>(layer, row, channel, scaled(layer, channel, total0), scaled(layer, channel + 1, total1));
    }
}

// T tiles of 8 rows, 16 T threads.
template <class W, int T>
DEVICE void tile(const Layer& layer, const u32* weights, const float* x, int depth) {
    // WORDS: of a channel in a step.
    constexpr int STEP = 16, WORDS = STEP / W::COLUMNS, STAGES = 3, PANELS = 2, THREADS = 16 * T;
    // A stage, or what is stored in the end; its rows are apart by 4 more than their length, for the banks' sake.
    constexpr int W_VALUES = STAGES * PANELS * WORDS * PANEL, X_VALUES = STAGES * T * STEP * TILE;
    constexpr int STRIDE = PANELS * PANEL + 4, STAGED = T * TILE * STRIDE;
    __shared__ __align__(16) float memory[W_VALUES + X_VALUES > STAGED ? W_VALUES + X_VALUES : STAGED];
    auto w_stage = (u32 (*)[PANELS][WORDS][PANEL])memory;
    auto x_stage = (float (*)[T][STEP][TILE])(memory + W_VALUES);
    begin_behind_previous();
    int panels = (layer.channels + PANEL - 1) / PANEL, tiles = (layer.rows + TILE - 1) / TILE;
    int steps = depth / STEP;
    auto load = [&](int step) {
        int stage = step % STAGES;
        // 16-byte units: a step of a panel, and of a tile, is one run.
        for (int u = threadIdx.x; u < PANELS * WORDS * PANEL / 4; u += THREADS) {
            int p = u / (WORDS * PANEL / 4), at = u % (WORDS * PANEL / 4) * 4, panel = blockIdx.y * PANELS + p;
            bool valid = panel < panels;
            const u32* from = weights + ((u64)(valid ? panel : 0) * (depth / STEP) + step) * WORDS * PANEL + at;
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
        for (int word = 0; word < WORDS; word++) {
            uint4 words = *(const uint4*)&w_stage[stage][panel][word][column];
            float w[4][W::COLUMNS];
            W::widen(w[0], words.x), W::widen(w[1], words.y), W::widen(w[2], words.z), W::widen(w[3], words.w);
#pragma unroll
            for (int i = 0; i < W::COLUMNS; i++) {
                int k = word * W::COLUMNS + i;
                float4 low = *(const float4*)&x_stage[stage][mine][k][0];
                float4 high = *(const float4*)&x_stage[stage][mine][k][4];
                const float v[TILE] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
                for (int r = 0; r < TILE; r++) {
#pragma unroll
                    for (int c = 0; c < 4; c++) sum[r][c] = __fmaf_rn(v[r], w[c][i], sum[r][c]);
                }
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
    store_staged<Sums>(layer, memory, STRIDE, first_row, first_channel, T * TILE, PANELS * PANEL, THREADS);
}

#define STREAM_KERNEL(NAME, W, ROWS)                                                                         \
    KERNEL __launch_bounds__(256) NAME##_stream_##ROWS(LAYER_PARAMETERS, int width) {                        \
        stream<W, ROWS, true>(LAYER, (const u32*)weights, (const float*)x, depth, width);                    \
    }
#define TILE_KERNEL(NAME, W, ROWS)                                                                           \
    KERNEL __launch_bounds__(ROWS * 2) NAME##_tile_##ROWS(LAYER_PARAMETERS) {                                \
        tile<W, ROWS / 8>(LAYER, (const u32*)weights, (const float*)x, depth);                               \
    }
#define LINEAR_KERNELS(NAME, W)                                                                              \
    STREAM_KERNEL(NAME, W, 1)                                                                                \
    STREAM_KERNEL(NAME, W, 4)                                                                                \
    STREAM_KERNEL(NAME, W, 8)                                                                                \
    KERNEL __launch_bounds__(256) NAME##_stream_16(LAYER_PARAMETERS) {                                       \
        stream<W, 16, false>(LAYER, (const u32*)weights, (const float*)x, depth, 0);                         \
    }                                                                                                        \
    TILE_KERNEL(NAME, W, 32)                                                                                 \
    TILE_KERNEL(NAME, W, 64)
