// Attention of many rows on the matrix units: a block of four warps takes 64 or 128 query vectors of one sequence and key-value
// head and goes through the chunks of keys that they see.
//
// Formula, layout of pages and order of summation: attention_bf16.cuh. Vectors are the heads of a group row by row.
//
// Design. A warp has 16 M vectors. Of its part of a chunk it holds the scores, then the probabilities, in registers, as the
// products leave and take them; of the result it holds what the chunks before gave, and one slab of 32 columns of this chunk at
// a time, so that chunks apart cost one slab of registers. M = 2 halves what is read from shared memory for a product; D > 64
// has no registers for it (548 bytes of spills at 128), and short sequences would leave rows empty.
//
// Shared memory has the queries, one chunk of keys and one of values, in bf16: 24 KB for D = 64 (32 with M = 2), 48 KB for
// D = 128, 96 KB for D = 256. Each of the two chunks is filled (cp.async) while the other is multiplied. Queries and keys are read
// 16 bytes a lane, values by ldmatrix, transposed; `place` turns rows so that neither meets a bank twice, and nor do the copies.
//
// Floor: 4 D operations a score over the peak of the matrix units in bf16: H200 990 TFLOP/s dense, of which mma.sync reaches less
// than wgmma. Beside it one power of 2 a score (16 a cycle and multiprocessor: at D = 64 as long as the products at peak,
// at D = 128 half as long) and some 6 operations in f32. Shared memory gives, for each mma, 288 bytes with M = 1 and 160 with M = 2, of
// 128 a cycle and multiprocessor: 2.2 and 1.2 cycles, where the product at peak takes one. Device memory is far from it as soon
// as a tile is full: 4 D bytes a position and key-value head in each block, 4.8 TB/s, most of them out of the L2 cache.
// Not measured: no GPU has run it yet.
#pragma once

#include "attention_bf16_rows.cuh"

// merged = merged before + p v now, over a chunk. ALONE: for vector `row` alone, which sees values below `limit`.
template <bool ALONE, int W, int M>
DEVICE void add_values(
    const uint4* values, int slabs, const u32 (&p)[M][STEPS][4], int steps, int row, int limit, const float2 (&factors)[M][2],
    float (&merged)[M][W / 8][4]) {
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int slab = 0; slab < W / SLAB; ++slab) {
        if (slab >= slabs) break;
        float o[M][COLUMN_TILES][4] = {};
        const auto fragments = [&](int j, u32(&b)[COLUMN_TILES][2]) { column_slab<W>(values, 16 * j, slab, b); };
        weigh<ALONE>(p, steps, limit, fragments, o);
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int i = 0; i < COLUMN_TILES; ++i) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    float& sum = merged[m][slab * COLUMN_TILES + i][e];
                    const float2 by = factors[m][e / 2];
                    const float next = __fmaf_rn(o[m][i][e], by.y, __fmul_rn(sum, by.x));
                    if (!ALONE || m * VECTORS + e / 2 * 8 + lane / 4 == row) sum = next;
                }
            }
        }
    }
}

// Heads of up to W columns, 16 M vectors a warp.
template <int W, int M, class Dropping = Undropped>
DEVICE void attend(
    float* out, float2* stats, const float* q, s64 q_stride, const int4* spans, const int2* items,
    const u64* table, int shift, s64 layer, const float2* angles, int pairs, float scale,
    const Scoring& how, int heads, int kv_heads, int width, bool causal, const Laid& laid,
    const Dropping& dropping = Dropping()) {
    constexpr int OF_WARP = M * VECTORS, OF_BLOCK = WARPS * OF_WARP;
    extern __shared__ __align__(128) uint4 shared[];
    uint4* queries = shared;                          // [OF_BLOCK][W]
    uint4* keys = queries + OF_BLOCK * (W / 8);       // [64][W]
    uint4* values = keys + CHUNK * (W / 8);           // [64][W]
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4;
    const int pieces = (width + 7) / 8, slabs = (width + SLAB - 1) / SLAB;

    // As in attention.cu.
    const int2 item = items[blockIdx.x];
    const int4 span = spans[2 * item.x];
    const int rows = spans[2 * item.x + 1].x, kv_head = blockIdx.y, group = heads / kv_heads;
    const Queries of = {span.x, span.y, span.z, rows, group, kv_head, causal};
    const PiecePages pages = {table + span.w, layer + (s64)kv_head * 2 * CHUNK * pieces * 4, shift, pieces};

    const int first = item.y + warp * OF_WARP, past = min(first + OF_WARP, of.count());
    const int seen_by_block = of.at(min(item.y + OF_BLOCK, of.count()) - 1).seen;
    // Rows see rising numbers of keys.
    const int least = first < past ? of.at(first).seen : 0, most = first < past ? of.at(past - 1).seen : 0;
    int seen[M][2];
    Running running[M][2];
    float merged[M][W / 8][4] = {};
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            seen[m][half] = of.at(first + m * VECTORS + half * 8 + g).seen;
            running[m][half] = {lowest(), 0.0f};
        }
    }

    if (seen_by_block > 0) load_chunk<W>(keys, pages, 0, 0, of.keys, slabs);
    load_queries<W>(queries, OF_BLOCK, of, item.y, q, q_stride, angles, pairs, scale, width);
    for (int start = 0; start < seen_by_block; start += CHUNK) {
        const bool takes_part = start < most;
        load_chunk<W>(values, pages, CHUNK * pieces, start, of.keys, slabs);
        copy_async_wait<1>();
        __syncthreads();
        float s[M][TILES][4] = {};
        if (takes_part) {
            const auto rows = [&](int slab, uint4(&a)[M][2]) {
#pragma unroll
                for (int m = 0; m < M; ++m) query_slab<W>(queries, warp * OF_WARP + m * VECTORS, slab, a[m]);
            };
            multiply_rows<W>(rows, keys, slabs, s);
        }
        __syncthreads();
        if (start + CHUNK < seen_by_block) load_chunk<W>(keys, pages, 0, start + CHUNK, of.keys, slabs);
        else copy_async_commit();
        u32 p[M][STEPS][4];
        float2 factors[M][2];
        if (takes_part) {
#pragma unroll
            for (int m = 0; m < M; ++m) {
                float2 sums[2];
                soften(s[m], of, first + m * VECTORS, start, how, seen[m], start + CHUNK <= least, p[m], sums, dropping);
#pragma unroll
                for (int half = 0; half < 2; ++half) factors[m][half] = running[m][half].add(sums[half]);
            }
        }
        copy_async_wait<1>();
        __syncthreads();
        if (takes_part) {
            const int steps = (min(most - start, CHUNK) + 15) / 16;
            // Values that are multiplied and some rows do not see, or none does: products take sixteen keys.
            const int from = max(least - start, 0), to = min(16 * steps, of.keys - start);
            bool apart = false;
            if (from < to) {
                for (int i = from * slabs * 4 + lane; i < to * slabs * 4; i += WARP)
                    apart |= strange(values[place<W>(i / (slabs * 4), i % (slabs * 4))]);
                apart = __any_sync(ALL, apart);
            }
            if (!apart) {
                add_values<false, W, M>(values, slabs, p, steps, 0, CHUNK, factors, merged);
            } else {
#pragma unroll 1
                for (int row = 0; row < past - first; ++row) {
                    const int limit = of.at(first + row).seen - start;
                    add_values<true, W, M>(values, slabs, p, steps, row, limit, factors, merged);
                }
            }
        }
        __syncthreads();
    }
    copy_async_wait<0>();
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int vector = first + m * VECTORS + half * 8 + g;
            if (vector >= of.count()) continue;
            const Vector v = of.at(vector);
            const Running total = running[m][half];
            const s64 at = v.row * heads + v.head;
#pragma unroll
            for (int i = 0; i < W / 8; ++i) {
                const int column = 8 * i + lane % 4 * 2;
                float o[2];
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    o[e] = v.seen > 0 ? dropping.scaled(quotient(merged[m][i][2 * half + e], total.l)) : 0.0f;
                    if (column + e < width) out[at * width + column + e] = o[e];
                }
                if (column < width) laid.store<1>(v.row, v.head * width + column, {rounded_pair(o[0], o[1])});
            }
            if (stats && lane % 4 == 0) stats[at] = {total.m, total.l};
        }
    }
}

#define INSTANCE(WIDTH, M, ROWS)                                                                                      \
    KERNEL __launch_bounds__(THREADS) attention_bf16_##WIDTH##_##ROWS(                                                \
        float* out, float2* stats, ATTENTION_PARAMETERS(int2), LAID_PARAMETERS) {                                     \
        static_assert(ROWS == WARPS * M * VECTORS, "vectors of a block");                                             \
        attend<WIDTH, M>(                                                                                             \
            out, stats, q, q_stride, spans, items, table, shift, layer, angles, pairs, scale,                         \
            {1.0f, bias, reach, scores, starts}, heads, kv_heads, width, causal, LAID);                               \
    }
