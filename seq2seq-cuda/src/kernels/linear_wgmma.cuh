// Linear layers on Hopper's own matrix units: what bf16 and int8 have in common. Compiled for sm_90a alone; other GPUs take
// linear_mma.cuh.
//
// A slab is 128 bytes of a row, 64 columns of bf16 or 128 of int8: four steps of the unit of 32 bytes each.
//
// x:       [slabs][rows / 8][1024 bytes]: 8 rows of a slab, as the matrix unit reads them from shared memory (wgmma.cuh,
//          `operand`); zero where there is no row or column (rows.cuh, ..._SWIZZLED). The kernels of up to 8 rows take
//          [rows][width] f32, `width` a multiple of 4.
// weights: [slabs][channels / 8][1024 bytes], the same, channels padded to whole 16. Gate and up channels of a gated layer
//          alternate.
// So what a block needs of a slab lies together, in either operand: one copy of many bytes each, and no tensor map.
//
// Order of the sum: one chain over rising columns, a step at a time, that begins at 0, in every kernel and for any number of
// rows. A product of the unit takes 64 rows and N channels. Sums of int8 are exact and have no order.
//
// What limits, by counting (nothing has been timed). The unit takes 32 bytes of a row in the same time in either format, so int8 has
// the figures of bf16 for twice the columns:
// - 128 x 256: a slab is 48 KB from the second cache and 1024 cycles of the units: 48 bytes a cycle of each multiprocessor,
//   about as much as that cache is said to give all of them. A smaller tile is bound by it: 128 x 128 asks for 64. But it has
//   three stages, so that two blocks share a multiprocessor and the products of one cover what the other stores, 64 KB at 20 bytes
//   a cycle; of 128 x 256 nothing does. linear_cost.rs counts which of them is done first.
// - Sums of 128 x 256 take 128 registers of each of 256 threads: there is no room for a second set, so partial sums are not
//   kept apart, as linear_bf16.cu does it.
// - 8 x 16, for up to 8 rows: 11 stages are 22 KB of weights under way, of two blocks 44 KB; a layer of 768 columns has 24 KB of bf16 a
//   block in all, or 12 of int8, which are asked for before x is waited for, but for a slab of bf16.
// - 64 x 16, for few rows: a step is 512 bytes of weights, and the unit reads 2.5 KB of shared memory for it, 20 cycles: 25 bytes
//   a cycle, 5.8 TB/s of 132 multiprocessors at 1.755 GHz. 16 stages are 32 KB of weights under way, where 0.8 us at 4.8 TB/s
//   are 29 KB a multiprocessor.
//
// A format F gives the types Sum and Pair (two of them), `multiply_add` (wgmma.cuh) by its Sum, `value` of a finished sum, OPERAND
// (epilogue.cuh) and Few: up to 8 rows of f32, of which it can `read` the Values of 16 bytes of the row lane / 4, zeros where there
// is no row or column, and make a `piece` of them. All threads of a block make one, behind their wait_for_previous; it may look at
// all of x and set the scales of the layer's rows.
#pragma once
#include "epilogue.cuh"
#include "wgmma.cuh"

constexpr int TILE_BYTES = 1024, TILE = 8, SLAB_STEPS = 4, GROUP = 4 * WARP;
// Barriers of a block: its stages can be read; its stages, and then its sums in their place, may be overwritten and read; what
// it has found of up to 8 rows can be.
constexpr int START = 1, SUMS = 2, FEW = 3;
// Threads of a block that takes up to 8 rows.
constexpr int FEW_THREADS = GROUP + WARP;

// The tiles of a block, of one operand.
struct Tiles {
    const u8* memory;
    int all, first, count;

    __device__ __forceinline__ Tiles(const u8* memory, int all, int first, int most)
        : memory(memory), all(all), first(first), count(min(most, all - first)) {}

    __device__ __forceinline__ const u8* of(int slab) const { return memory + ((u64)slab * all + first) * TILE_BYTES; }
};

// Fills the stages in turn, each when all who read it have done so. Weights for the first of all stages are under way before x is
// waited for. One thread.
template <int STAGES>
DEVICE void fetch(const Tiles& x, const Tiles& w, int slabs, u8* stages, int stage_bytes, int w_at, u64* full, u64* empty) {
    const auto weights = [&](int slab, int stage) {
        barrier_expect(full + stage, (x.count + w.count) * TILE_BYTES);
        copy_bulk(stages + stage * stage_bytes + w_at, w.of(slab), w.count * TILE_BYTES, full + stage);
    };
    const auto rows = [&](int slab, int stage) {
        copy_bulk(stages + stage * stage_bytes, x.of(slab), x.count * TILE_BYTES, full + stage);
    };
    const int first = min(slabs, STAGES);
#pragma unroll 1
    for (int slab = 0; slab < first; slab++) weights(slab, slab);
    wait_for_previous();
#pragma unroll 1
    for (int slab = 0; slab < first; slab++) rows(slab, slab);
#pragma unroll 1
    for (int slab = first; slab < slabs; slab++) {
        int stage = slab % STAGES, round = slab / STAGES;
        barrier_wait(empty + stage, (round - 1) % 2);
        weights(slab, stage);
        rows(slab, stage);
    }
}

// The same where x is up to 8 rows in f32: they are rounded here, on their way into the stages, so that a step of few rows has one
// kernel a layer instead of two. A lane has two pieces of a row (`Few`). AHEAD slabs are read before their use, and stay in
// registers as they were read, so that no slab but the first waits for the second cache. All lanes of a warp; x arrives at the
// barriers apart from the weights.
template <class Few, int STAGES>
DEVICE void fetch_rounded(Layer& layer, const float* x, int width, const Tiles& w, int slabs, u8* stages, int stage_bytes, int w_at,
                          u64* full, u64* empty) {
    constexpr int AHEAD = 64 / Few::COLUMNS;
    const int lane = threadIdx.x % WARP, row = lane / 4;
    const auto weights = [&](int slab, int stage) {
        barrier_expect(full + stage, w.count * TILE_BYTES);
        copy_bulk(stages + stage * stage_bytes + w_at, w.of(slab), w.count * TILE_BYTES, full + stage);
    };
    if (lane == 0) {
#pragma unroll 1
        for (int slab = 0; slab < min(slabs, STAGES); slab++) weights(slab, slab);
    }
    wait_for_previous();
    const Few few(layer, x, width);
    typename Few::Values read[AHEAD][2];
#pragma unroll
    for (int i = 0; i < AHEAD * 2; i++) read[i / 2][i % 2] = few.read(i / 2, lane % 4 + i % 2 * 4);
#pragma unroll 1
    for (int begin = 0; begin < slabs; begin += AHEAD) {
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            int slab = begin + i, stage = slab % STAGES, round = slab / STAGES;
            if (slab >= slabs) break;
            uint4 pieces[2];
#pragma unroll
            for (int p = 0; p < 2; p++) {
                pieces[p] = few.piece(read[i][p], slab, lane % 4 + p * 4);
                read[i][p] = few.read(slab + AHEAD, lane % 4 + p * 4);
            }
            if (round > 0) {
                barrier_wait(empty + stage, (round - 1) % 2);
                if (lane == 0) weights(slab, stage);
            }
            uint4* to = (uint4*)(stages + stage * stage_bytes) + row * 8;
#pragma unroll
            for (int p = 0; p < 2; p++) to[(lane % 4 + p * 4) ^ row] = pieces[p];
            stores_are_seen();
            __syncwarp();
            if (lane == 0) barrier_arrive(full + stage);
        }
    }
}

// Zeros for the tiles of a stage that no copy will fill, and so for all time. By `threads` threads.
DEVICE void clear(u8* from, int tiles, int threads) {
#pragma unroll 1
    for (int i = threadIdx.x; i < tiles * TILE_BYTES / 16; i += threads) ((uint4*)from)[i] = make_uint4(0, 0, 0, 0);
}

// A block takes 64 GROUPS rows and N channels. Four warps of each group multiply 64 of the rows; one warp more copies, up to
// STAGES slabs ahead, and rounds where x is f32, of `width` columns.
template <class F, int GROUPS, int N, int STAGES, bool ROUNDS>
DEVICE void product(Layer layer, const u8* weights, const u8* x, int slabs, int width) {
    constexpr int X_TILES = GROUPS * 8, W_TILES = N / TILE, W_AT = X_TILES * TILE_BYTES;
    constexpr int STAGE = W_AT + W_TILES * TILE_BYTES, THREADS = GROUPS * GROUP;
    extern __shared__ __align__(1024) u8 stages[];
    u64* full = (u64*)(stages + STAGES * STAGE);
    u64* empty = full + STAGES;
    launch_dependents();
    const Tiles rows(x, (layer.rows + TILE - 1) / TILE, blockIdx.x * X_TILES, X_TILES);
    const Tiles channels(weights, (layer.channels + 15) / 16 * 2, blockIdx.y * W_TILES, W_TILES);
    if (threadIdx.x >= THREADS) {
        bool one = threadIdx.x == THREADS;
        if (one) {
#pragma unroll 1
            for (int i = 0; i < STAGES; i++) {
                barrier_init(full + i, ROUNDS ? 2 : 1);
                barrier_init(empty + i, GROUPS * 4);  // A lane of each warp that multiplies.
            }
            barriers_are_made();
        }
        __syncwarp();
        barrier_arrive_at<START, THREADS + WARP>();
        if (one) prefetch_of_channels(layer, channels.first * TILE, channels.count * TILE);
        if (ROUNDS) {
            fetch_rounded<typename F::Few, STAGES>(layer, (const float*)x, width, channels, slabs, stages, STAGE, W_AT, full, empty);
        } else if (one) {
            fetch<STAGES>(rows, channels, slabs, stages, STAGE, W_AT, full, empty);
        }
        return;
    }
#pragma unroll 1
    for (int i = 0; i < STAGES; i++) {
        clear(stages + i * STAGE + rows.count * TILE_BYTES, X_TILES - rows.count, THREADS);
        clear(stages + i * STAGE + W_AT + channels.count * TILE_BYTES, W_TILES - channels.count, THREADS);
    }
    // For the residual, and for what is stored.
    wait_for_previous();
    stores_are_seen();
    barrier_sync<START, THREADS + WARP>();
    // For the scales of rows, which the whole block looks for where a format has them; the warp that copies does the same.
    if (ROUNDS) typename F::Few(layer, (const float*)x, width);
    int lane = threadIdx.x % WARP, group = threadIdx.x / GROUP;
    typename F::Sum sum[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; i++) sum[i] = 0;
    int stage = 0, parity = 0;
    for (int slab = 0; slab < slabs; slab++) {
        const u8* from = stages + stage * STAGE;
        u64 a = operand(from + group * 8 * TILE_BYTES), b = operand(from + W_AT);
        barrier_wait(full + stage, parity);
        products_begin();
#pragma unroll
        for (int step = 0; step < SLAB_STEPS; step++) multiply_add(sum, a + 2 * step, b + 2 * step);
        products_commit();
        // This slab is being multiplied, the one before is done with.
        products_wait<1>();
        if (slab > 0 && lane == 0) barrier_arrive(empty + (stage > 0 ? stage : STAGES) - 1);
        if (++stage == STAGES) stage = 0, parity ^= 1;
    }
    products_wait<0>();
    // Through shared memory, rows apart by 8 more than their length, so that the lanes of a warp meet different banks.
    constexpr int STRIDE = N + 8;
    typename F::Sum* staged = (typename F::Sum*)stages;
    barrier_sync<SUMS, THREADS>();
    int row = threadIdx.x / WARP * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        typename F::Sum* to = staged + (row + i % 2 * 8) * STRIDE + i / 2 * 8 + lane % 4 * 2;
        *(typename F::Pair*)to = {sum[2 * i], sum[2 * i + 1]};
    }
    barrier_sync<SUMS, THREADS>();
    store_staged<F>(layer, staged, STRIDE, blockIdx.x * X_TILES * TILE, blockIdx.y * N, X_TILES * TILE, N, THREADS);
}

#define LINEAR_KERNEL(NAME, F, GROUPS, N, STAGES)                               \
    KERNEL __launch_bounds__(GROUPS* GROUP + WARP, 1) NAME(LAYER_PARAMETERS) {  \
        product<F, GROUPS, N, STAGES, false>(LAYER, weights, x, depth, 0);      \
    }
// Of up to 8 rows in f32; the parameter behind those of all has their width. Two blocks have room on a multiprocessor: those of
// the next kernel copy weights while these still multiply.
#define LINEAR_KERNEL_8(NAME, F, N, STAGES)                                        \
    KERNEL __launch_bounds__(FEW_THREADS, 2) NAME(LAYER_PARAMETERS, int width) {   \
        product<F, 1, N, STAGES, true>(LAYER, weights, x, depth, width);           \
    }
// All kernels of a format; linear_wgmma.rs knows their sizes.
#define LINEAR_KERNELS(NAME, F)                  \
    LINEAR_KERNEL_8(NAME##_8x16, F, 16, 11)      \
    LINEAR_KERNEL_8(NAME##_8x32, F, 32, 8)       \
    LINEAR_KERNEL_8(NAME##_8x64, F, 64, 6)       \
    LINEAR_KERNEL(NAME##_64x16, F, 1, 16, 16)    \
    LINEAR_KERNEL(NAME##_64x32, F, 1, 32, 8)     \
    LINEAR_KERNEL(NAME##_64x64, F, 1, 64, 6)     \
    LINEAR_KERNEL(NAME##_128x128, F, 2, 128, 3)  \
    LINEAR_KERNEL(NAME##_128x256, F, 2, 256, 4)
