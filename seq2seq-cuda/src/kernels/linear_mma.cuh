// Linear layers on the matrix units: what bf16, int8 and int4 have in common.
//
// The product is taken as Y' = W X': 16 channels are the rows of mma.m16n8, 8 rows of activations its columns, so that few
// rows waste little. Both operands lie in memory as the lanes hold them ("slabs" of two steps: 32 columns of bf16, 64 of
// int8 and int4), so that a lane loads each in one piece, whichever memory it is in, and nothing is shuffled:
//
// weights: [channels / 16][slabs][F::A_BYTES], zero where there is no channel or column. In a tile of 16, channel c is row
//          c % 2 * 8 + c / 2 of the operand: then lane 4 g + t holds channels 2 g and 2 g + 1 of rows 2 t and 2 t + 1 of the
//          result, and of a gated layer, whose gate and up channels alternate, both.
// x:       [rows / 8][slabs][512 bytes] (rows.cuh); of up to 8 rows as they are, [rows][width] f32, `width` a multiple of 4.
//
// Order of the sum, the same in both kernels and for any number of rows: chunks of 4 slabs, in a chunk one chain over rising
// columns that begins at 0, the chunks added in their order. Integer sums have no order.
//
// A format F gives A_BYTES, CHAIN (whether chunks are added, or the whole is one exact sum), OPERAND, the type Sum, `multiply` of one
// slab, `value` of a finished sum, and Rows, which makes operands of up to 8 rows of f32.
#pragma once
#include "epilogue.cuh"

constexpr int CHUNK = 4, B_BYTES = 512, CHANNELS = 16, TILE = 8;

// What gives a lane its operand of a slab of 8 rows.
template <class F, bool ROUNDS>
struct Few;

// Rows that are laid out.
template <class F>
struct Few<F, false> {
    const uint4* from;

    __device__ __forceinline__ Few(Layer&, const u8* x, int) : from((const uint4*)x + threadIdx.x % WARP) {}
    __device__ __forceinline__ uint4 operand(u64 slab) const { return from[slab * (B_BYTES / 16)]; }
};

// Rows as they are.
template <class F>
struct Few<F, true> : F::Rows {
    __device__ __forceinline__ Few(Layer& layer, const u8* x, int width) : F::Rows(layer, (const float*)x, width) {}
};

// Up to 8 T rows; up to 8 as they are where it ROUNDS. A block takes 16 channels, its 8 warps take chunks in turn, straight
// from device memory: 4 or 8 loads of 16 bytes a lane are under way in each. Before it waits for x, each asks for its first
// chunk. After a round of 8 chunks each of the first 64 T threads adds their sums for the two channels of a lane and one row,
// in order.
template <class F, int T, bool ROUNDS>
DEVICE void stream(Layer layer, const u8* weights, const u8* x, int slabs, int width) {
    constexpr int WARPS = 8;
    typedef typename F::Sum Sum;
    __shared__ Sum part[2][WARPS][T][4][WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int chunks = (slabs + CHUNK - 1) / CHUNK, tiles = (layer.rows + TILE - 1) / TILE;
    const u8* a = weights + (u64)blockIdx.x * slabs * F::A_BYTES;
    launch_dependents();
    if (lane == 0 && warp < chunks) {
        u32 bytes = min(slabs - warp * CHUNK, CHUNK) * F::A_BYTES;
        prefetch(a + (u64)warp * CHUNK * F::A_BYTES, min(bytes, FIRST_WEIGHTS));
        if (warp == 0) prefetch_of_channels(layer, blockIdx.x * CHANNELS, CHANNELS);
    }
    wait_for_previous();
    const Few<F, ROUNDS> few(layer, x, width);
    // Thread 64 i + 32 j + lane: row j of the two that the lane holds of tile i.
    int half = warp % 2, tile = warp / 2;
    Sum total0 = 0, total1 = 0;
    for (int first = 0, round = 0; first < chunks; first += WARPS, round ^= 1) {
        if (first + warp < chunks) {
            int begin = (first + warp) * CHUNK, end = min(begin + CHUNK, slabs);
            Sum sum[1][T][4] = {};
            auto step = [&](int slab) {
                uint4 b[T];
#pragma unroll
                for (int i = 0; i < T; i++) {
                    u64 from = i < tiles ? i : 0;  // Else of rows that are not stored.
                    b[i] = few.operand(from * slabs + slab);
                }
                F::multiply(sum, a + (u64)slab * F::A_BYTES, 0, b, lane);
            };
            if (end - begin == CHUNK) {
#pragma unroll
                for (int i = 0; i < CHUNK; i++) step(begin + i);
            } else {
                for (int slab = begin; slab < end; slab++) step(slab);
            }
#pragma unroll
            for (int i = 0; i < T; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) part[round][warp][i][j][lane] = sum[0][i][j];
            }
        }
        __syncthreads();
        if (tile < T) {
            for (int i = 0; i < WARPS && first + i < chunks; i++) {
                total0 = F::add(total0, part[round][i][tile][half][lane]);
                total1 = F::add(total1, part[round][i][tile][2 + half][lane]);
            }
        }
    }
    int channel = blockIdx.x * CHANNELS + lane / 4 * 2, row = tile * TILE + lane % 4 * 2 + half;
    if (tile < T && row < stored_rows<F::OPERAND>(layer) && channel < layer.channels) {
        float a = F::value(layer, row, channel, total0), b = F::value(layer, row, channel + 1, total1);
        store_pair<F::OPERAND>(layer, row, channel, a, b);
    }
}

// Any number of rows. A block takes WM * M tiles of channels and WN * N tiles of rows, a warp M and N of them. Shared memory
// holds STAGES slabs of both operands, filled by cp.async, STAGES - 1 ahead of their use; each slab costs one barrier.
template <class F, int M, int N, int WM, int WN, int STAGES>
DEVICE void tile(const Layer& layer, const u8* weights, const u8* x, int slabs) {
    typedef typename F::Sum Sum;
    constexpr int A_TILES = M * WM, B_TILES = N * WN, THREADS = WM * WN * WARP;
    constexpr int A_UNITS = F::A_BYTES / 16, B_UNITS = B_BYTES / 16;
    constexpr int STAGE = A_TILES * F::A_BYTES + B_TILES * B_BYTES;
    extern __shared__ __align__(16) u8 stages[];
    begin_behind_previous();
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int channel_tiles = (layer.channels + CHANNELS - 1) / CHANNELS, row_tiles = (layer.rows + TILE - 1) / TILE;
    int first_channel = blockIdx.y * A_TILES, first_row = blockIdx.x * B_TILES;
    auto load = [&](int slab) {
        u8* to = stages + slab % STAGES * STAGE;
        for (int u = threadIdx.x; u < A_TILES * A_UNITS; u += THREADS) {
            int t = first_channel + u / A_UNITS;
            bool valid = t < channel_tiles;
            u64 from = ((u64)(valid ? t : 0) * slabs + slab) * F::A_BYTES + u % A_UNITS * 16;
            copy_async_16(to + u * 16, weights + from, valid);
        }
        for (int u = threadIdx.x; u < B_TILES * B_UNITS; u += THREADS) {
            int t = first_row + u / B_UNITS;
            bool valid = t < row_tiles;
            u64 from = ((u64)(valid ? t : 0) * slabs + slab) * B_BYTES + u % B_UNITS * 16;
            copy_async_16(to + A_TILES * F::A_BYTES + u * 16, x + from, valid);
        }
    };
    int channel_at = warp % WM * M, row_at = warp / WM * N;
    Sum sum[M][N][4] = {}, total[M][N][4] = {};
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < slabs) load(s);
        copy_async_commit();
    }
    for (int s = 0; s < slabs; s++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        if (s + STAGES - 1 < slabs) load(s + STAGES - 1);
        copy_async_commit();
        const u8* stage = stages + s % STAGES * STAGE;
        const u8* rows = stage + A_TILES * F::A_BYTES + row_at * B_BYTES;
        uint4 b[N];
#pragma unroll
        for (int j = 0; j < N; j++) b[j] = ((const uint4*)(rows + j * B_BYTES))[lane];
        F::multiply(sum, stage + channel_at * F::A_BYTES, F::A_BYTES, b, lane);
        if (F::CHAIN && ((s + 1) % CHUNK == 0 || s + 1 == slabs)) {
#pragma unroll
            for (int i = 0; i < M * N * 4; i++) {
                Sum& t = total[i / 4 / N][i / 4 % N][i % 4];
                Sum& c = sum[i / 4 / N][i / 4 % N][i % 4];
                t = F::add(t, c);
                c = 0;
            }
        }
    }
    // Through shared memory, rows apart by 4 more than their length, so that the lanes of a warp meet different banks.
    constexpr int STRIDE = A_TILES * CHANNELS + 4;
    Sum* staged = (Sum*)stages;
    copy_async_wait<0>();
    __syncthreads();
#pragma unroll
    for (int i = 0; i < M * N * 2; i++) {
        int a = i / 2 / N, b = i / 2 % N, half = i % 2;
        const Sum(&from)[4] = F::CHAIN ? total[a][b] : sum[a][b];
        Sum* to = staged + ((row_at + b) * TILE + lane % 4 * 2 + half) * STRIDE + (channel_at + a) * CHANNELS + lane / 4 * 2;
        to[0] = from[half];
        to[1] = from[2 + half];
    }
    __syncthreads();
    store_staged<F>(layer, staged, STRIDE, first_row * TILE, first_channel * CHANNELS, B_TILES * TILE, A_TILES * CHANNELS,
                    THREADS);
}

// The kernels of a format: up to 8 rows of f32; up to 16 that are laid out; 64 channels by 32 rows in 4 warps; and ROWS rows by
// 128 channels, in WN by WM warps of 4 and M tiles each. Four blocks of up to 16 rows are on a multiprocessor: left to itself,
// the assembler for sm_90 takes 48 registers for five of them, and spills.
#define LINEAR_KERNELS(NAME, F, ROWS, M, WM, WN)                                                              \
    KERNEL __launch_bounds__(256) NAME##_stream_8(LAYER_PARAMETERS, int width) {                              \
        stream<F, 1, true>(LAYER, weights, x, depth, width);                                                  \
    }                                                                                                         \
    KERNEL __launch_bounds__(256, 4) NAME##_stream_16(LAYER_PARAMETERS) {                                     \
        stream<F, 2, false>(LAYER, weights, x, depth, 0);                                                     \
    }                                                                                                         \
    KERNEL __launch_bounds__(128) NAME##_tile_32(LAYER_PARAMETERS) {                                          \
        tile<F, 2, 2, 2, 2, 4>(LAYER, weights, x, depth);                                                     \
    }                                                                                                         \
    KERNEL __launch_bounds__(WM * WN * WARP) NAME##_tile_##ROWS(LAYER_PARAMETERS) {                           \
        static_assert(ROWS == 4 * WN * TILE && M * WM * CHANNELS == 128, "sizes of a tile");                  \
        tile<F, M, 4, WM, WN, 4>(LAYER, weights, x, depth);                                                   \
    }
