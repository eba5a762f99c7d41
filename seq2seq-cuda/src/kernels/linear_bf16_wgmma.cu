// Linear layers in bf16 on Hopper: weights and activations rounded to bf16, exact products, f32 sums:
// y = scale * x W' + bias, then the epilogue. Compiled for sm_90a alone; other GPUs take linear_bf16.cu.
//
// x:       [slabs][rows / 8][1024 bytes]: 8 rows of 64 columns of bf16, as the matrix unit reads them from shared memory
//          (wgmma.cuh, `operand`); zero where there is no row or column (rows_bf16_swizzled of rows.cu). The kernels of up to 8
//          rows take [rows][width] f32.
// weights: [slabs][channels / 8][1024 bytes], the same, channels padded to whole 16. Gate and up channels of a gated layer
//          alternate.
// So what a block needs of a slab lies together, in either operand: one copy of many bytes each, and no tensor map.
//
// Order of the sum: one chain over rising columns, 16 at a time, that begins at 0, in every kernel and for any number of
// rows. A product of the unit takes 64 rows and N channels; that its sums do not depend on N, nor on where in a tile a
// row or a channel stands, is what "the same bits alone and in a batch" rests on. The ISA does not say how the unit adds within
// 16 columns, only that it adds so for each element; mma.sync, which may add otherwise, is never taken by a linear
// layer on a device that takes these kernels. tests/linear_tiles.rs holds them to it on the played GPU, tests/gpu.rs on a real one.
//
// Floor: few rows, 2 bytes a weight over the memory bandwidth; many rows, 2 rows channels depth operations over the peak of
// the bf16 matrix units. What limits besides, by counting (nothing has been timed):
// - 128 x 256: a slab is 48 KB from the second cache and 1024 cycles of the units: 48 bytes a cycle of each multiprocessor,
//   about as much as that cache is said to give all of them. A smaller tile is bound by it: 128 x 128 asks for 64.
// - Sums of 128 x 256 take 128 registers of each of 256 threads: there is no room for a second set, so partial sums are not
//   kept apart, as linear_bf16.cu does it.
// - 8 x 16, for up to 8 rows: 11 stages are 22 KB of weights under way, of two blocks 44 KB; a layer of 768 columns has 24 KB a
//   block in all, which are asked for before x is waited for, but for a slab.
// - 64 x 16, for few rows: a step of 16 columns is 512 bytes of weights, and the unit reads 2.5 KB of shared memory for it, 20
//   cycles: 25 bytes a cycle, 5.8 TB/s of 132 multiprocessors at 1.755 GHz. 16 stages are 32 KB of weights under way, where
//   0.8 us at 4.8 TB/s are 29 KB a multiprocessor.
#include "epilogue.cuh"
#include "wgmma.cuh"

constexpr int TILE_BYTES = 1024, TILE = 8, SLAB_STEPS = 4, GROUP = 4 * WARP;
// Barriers of a block: its stages can be read; its stages, and then its sums in their place, may be overwritten and read.
constexpr int START = 1, SUMS = 2;

struct Bf16 {
    typedef float Sum;
    static constexpr int OPERAND = BF16_SWIZZLED;

    static __device__ __forceinline__ float value(const Layer& layer, int, int channel, float sum) {
        return scaled(layer, channel, sum);
    }
};

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

// The same where x is up to 8 rows of `width` columns in f32, a multiple of 4, one after the other: they are rounded here, on their
// way into the stages, so that a step of few rows has one kernel a layer instead of two. A lane has two pieces of a row, as
// in rows_bf16_swizzled. BATCH slabs are read at a time, for their latency. All lanes of a warp; x arrives at the barriers
// apart from the weights.
template <int STAGES>
DEVICE void fetch_rounded(const float* x, int rows, int width, const Tiles& w, int slabs, u8* stages, int stage_bytes, int w_at,
                          u64* full, u64* empty) {
    constexpr int BATCH = 8;
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
    const float* mine = x + (u64)row * width;
#pragma unroll 1
    for (int begin = 0; begin < slabs; begin += BATCH) {
        uint4 pieces[BATCH][2];
#pragma unroll
        for (int i = 0; i < BATCH * 2; i++) {
            float4 half[2];
#pragma unroll
            for (int h = 0; h < 2; h++) {
                int column = (begin + i / 2) * 64 + (lane % 4 + i % 2 * 4) * 8 + h * 4;
                bool there = row < rows && column < width;
                half[h] = there ? *(const float4*)(mine + column) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            }
            pieces[i / 2][i % 2] = make_uint4(bf16_pair(half[0].x, half[0].y), bf16_pair(half[0].z, half[0].w),
                                              bf16_pair(half[1].x, half[1].y), bf16_pair(half[1].z, half[1].w));
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            int slab = begin + i, stage = slab % STAGES, round = slab / STAGES;
            if (slab >= slabs) break;
            if (round > 0) {
                barrier_wait(empty + stage, (round - 1) % 2);
                if (lane == 0) weights(slab, stage);
            }
            uint4* to = (uint4*)(stages + stage * stage_bytes) + row * 8;
#pragma unroll
            for (int p = 0; p < 2; p++) to[(lane % 4 + p * 4) ^ row] = pieces[i][p];
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
template <int GROUPS, int N, int STAGES, bool ROUNDS>
DEVICE void product(const Layer& layer, const u8* weights, const u8* x, int slabs, int width) {
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
            fetch_rounded<STAGES>((const float*)x, layer.rows, width, channels, slabs, stages, STAGE, W_AT, full, empty);
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
    int lane = threadIdx.x % WARP, group = threadIdx.x / GROUP;
    float sum[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; i++) sum[i] = 0.0f;
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
    float* staged = (float*)stages;
    barrier_sync<SUMS, THREADS>();
    int row = threadIdx.x / WARP * 16 + lane / 4;
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        float* to = staged + (row + i % 2 * 8) * STRIDE + i / 2 * 8 + lane % 4 * 2;
        *(float2*)to = make_float2(sum[2 * i], sum[2 * i + 1]);
    }
    barrier_sync<SUMS, THREADS>();
    store_staged<Bf16>(layer, staged, STRIDE, blockIdx.x * X_TILES * TILE, blockIdx.y * N, X_TILES * TILE, N, THREADS);
}

#define LINEAR_KERNEL(NAME, GROUPS, N, STAGES)                                  \
    KERNEL __launch_bounds__(GROUPS* GROUP + WARP, 1) NAME(LAYER_PARAMETERS) {  \
        product<GROUPS, N, STAGES, false>(LAYER, weights, x, depth, 0);         \
    }
// Of up to 8 rows in f32; the parameter behind those of all has their width. Two blocks have room on a multiprocessor: those of
// the next kernel copy weights while these still multiply.
#define LINEAR_KERNEL_8(NAME, N, STAGES)                                             \
    KERNEL __launch_bounds__(GROUP + WARP, 2) NAME(LAYER_PARAMETERS, int width) {    \
        product<1, N, STAGES, true>(LAYER, weights, x, depth, width);                \
    }

LINEAR_KERNEL_8(linear_bf16_wgmma_8x16, 16, 11)
LINEAR_KERNEL_8(linear_bf16_wgmma_8x32, 32, 8)
LINEAR_KERNEL_8(linear_bf16_wgmma_8x64, 64, 6)
LINEAR_KERNEL(linear_bf16_wgmma_64x16, 1, 16, 16)
LINEAR_KERNEL(linear_bf16_wgmma_64x32, 1, 32, 8)
LINEAR_KERNEL(linear_bf16_wgmma_64x64, 1, 64, 6)
LINEAR_KERNEL(linear_bf16_wgmma_128x128, 2, 128, 6)
LINEAR_KERNEL(linear_bf16_wgmma_128x256, 2, 256, 4)
