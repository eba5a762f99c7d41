// Attention of many rows: a block takes 64 query vectors of one sequence and key-value head (32 where D > 128) and goes
// through the chunks of keys that they see.
//
// Formula, layout of pages and order of summation: attention.cuh. Vectors are the heads of a group row by row, so that
// query heads which share keys share a block.
//
// Design. Each warp has R = 8 vectors (4 where D > 128) against all 64 keys of a chunk: lane i has keys i and i + 32 for the
// scores and columns i, i + 32, ... for the result, so scores, weights and result never leave the warp; weights go to other
// lanes by 256 bytes of shared memory a vector. Keys and values pass through one buffer, one after the other: with the
// queries, weights and sums that is half a KB more than 48 KB for D = 64, than 80 KB for D = 128, which fits every GPU from
// Ampere on. Queries are rotated as they are loaded; keys were when they were laid out (kv_store), once instead of once a
// tile.
// A warp without vectors that see a chunk only helps to load it.
//
// Floor: 4 D operations a score in f32 (two of them to a multiply-add); memory is far from it as soon as a tile is full.
// Per 64 multiply-adds a lane reads 10 times 16 bytes of shared memory, 8 of which are the same for the whole warp.
// Not measured: no GPU has run it yet.

// In training weights may be dropped: the ones that values are multiplied with, not those that the sum is made of.
#pragma once

#include "attention.cuh"

// Drops nothing.
struct Whole {
    template <int R>
    __device__ __forceinline__ void drop(float*, const Queries&, int, int, int) const {}
};

// R vectors a warp, C columns a lane; `dropping` drops weights of R vectors and a chunk.
template <int R, int C, int WARPS, class Dropping>
DEVICE void attend(
    float* out, float2* stats, const float* q, s64 q_stride, const int4* spans, const int2* items,
    const u64* table, int shift, s64 layer, const float2* angles, int pairs,
    const Scoring& how, int heads, int kv_heads, int width, bool causal, const Dropping& dropping) {
    constexpr int THREADS = WARPS * WARP, VECTORS = WARPS * R;
    extern __shared__ __align__(16) float shared[];
    const int quads = (width + 3) / 4, padded = 4 * quads, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float* queries = shared;                         // [VECTORS][padded]
    float* chunk = queries + VECTORS * padded;       // keys [quads][64][4], then values [64][quads][4]
    float* weights = chunk + CHUNK * padded;         // [VECTORS][64]
    float2* sums = (float2*)(weights + VECTORS * CHUNK);  // [VECTORS]

    // {first row, first position, keys, where its pages are in the table}, {rows, ..}; item: {sequence, first vector}
    const int2 item = items[blockIdx.x];
    const int4 span = spans[2 * item.x];
    const int rows = spans[2 * item.x + 1].x, kv_head = blockIdx.y, group = heads / kv_heads;
    const Queries of = {span.x, span.y, span.z, rows, group, kv_head, causal};
    const Pages pages = {table + span.w, layer + (s64)kv_head * 2 * CHUNK * padded, shift, quads};

    for (int i = threadIdx.x; i < VECTORS * padded; i += THREADS) {
        const int d = i % padded;
        const Vector v = of.at(item.y + i / padded);
        const bool there = item.y + i / padded < of.count() && d < width;
        queries[i] = there ? turned(q + v.row * q_stride + (s64)v.head * width, d, angles, pairs, v.position) : 0.0f;
    }

    const int first = item.y + warp * R;
    const int last = min(item.y + VECTORS, of.count()) - 1;
    const int seen_by_block = of.at(last).seen;
    const int seen_by_warp = first < of.count() ? of.at(min(first + R - 1, of.count() - 1)).seen : 0;
    Merged<C> merged[R];
#pragma unroll
    for (int r = 0; r < R; ++r) merged[r].clear();

    for (int start = 0; start < seen_by_block; start += CHUNK) {
        const int count = min(of.keys - start, CHUNK);
        const bool takes_part = start < seen_by_warp;
        __syncthreads();
        for (int i = threadIdx.x; i < quads * CHUNK; i += THREADS) {
            const int j = i % CHUNK;
            const float4 nothing = {0.0f, 0.0f, 0.0f, 0.0f};
            ((float4*)chunk)[i] = j < count ? pages.key(start + j)[i / CHUNK * CHUNK] : nothing;
        }
        __syncthreads();
        if (takes_part) {
            float s[R][2] = {};
            const float4* mine = (const float4*)chunk + lane;
            const float* q_warp = queries + warp * R * padded;
            if (count > WARP) {
                const float4* const both[2] = {mine, mine + WARP};
                dots<R, 2>(q_warp, both, quads, s);
            } else {
                const float4* const one[1] = {mine};
                dots<R, 1>(q_warp, one, quads, s);
            }
            soften<R>(s, of, first, start, how, weights + warp * R * CHUNK, sums + warp * R);
            dropping.template drop<R>(weights + warp * R * CHUNK, of, first, start, heads);
        }
        __syncthreads();
        for (int i = threadIdx.x; i < quads * CHUNK; i += THREADS) {
            const int j = i / quads;
            if (j < count) ((float4*)chunk)[i] = ((const float4*)pages.value(start + j))[i % quads];
        }
        __syncthreads();
        if (takes_part) {
            int seen[R];
#pragma unroll
            for (int r = 0; r < R; ++r) seen[r] = max(min(of.at(first + r).seen - start, CHUNK), 0);
            float o[R][C] = {};
            weigh<R, C>(weights + warp * R * CHUNK, seen, padded, [&](int j) { return chunk + j * padded; }, o);
#pragma unroll
            for (int r = 0; r < R; ++r)
                if (seen[r] > 0) merged[r].add(sums[warp * R + r], o[r]);
        }
    }
#pragma unroll
    for (int r = 0; r < R; ++r)
        if (first + r < of.count()) merged[r].store(out, stats, of.at(first + r), heads, width);
}
