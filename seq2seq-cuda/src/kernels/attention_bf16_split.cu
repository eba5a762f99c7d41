// Attention of few rows to many keys on the matrix units: the chunks of a sequence are spread over the GPU, then merged in their
// order.
//
// Formula, layout of pages and order of summation: attention_bf16.cuh.
//
// Design. A warp takes up to 16 query vectors of one sequence and key-value head and one chunk of 64 keys. Mostly the vectors
// are few and rows of the products stay empty: what is waited for are keys and values, which go from device memory to registers, 16
// bytes a lane: 8 rows of 64 bytes, a slab, a load of a warp. As the products are those of attention_bf16_tile.cuh, so are the bits. A
// slab of keys is asked for while the one before is multiplied, the first slab of values before the softmax. Lanes have rows of
// values and want columns: movmatrix turns 8 x 8 of them; columns 2 w and 2 w + 1 of each of four pieces are a tile then, and a
// lane gets 8 columns of the result that follow each other. Shared memory has the queries, turned by `place`, and
// where each row lies. A block is
// four chunks of the same vectors; parts as in attention_split.cu.
//
// Floor: the bytes of keys and values over the memory's bandwidth (H200 4.8 TB/s), 4 D a position and key-value head.
// Not measured: no GPU has run it yet.

#include "attention_bf16.cuh"
#include "overlap.cuh"

constexpr int WARPS = 4;

// 8 x 8 numbers, of which each lane has two beside each other, turned.
DEVICE u32 turned_tile(u32 pair) {
    u32 turned;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(turned) : "r"(pair));
    return turned;
}

// The rows of a chunk in device memory, as a lane reads them: row 8 i + g, piece t of each slab.
struct ChunkRows {
    const uint4* const* rows;
    int count;  // of rows; the others are 0
    int pieces;

    __device__ __forceinline__ void load(int slab, int behind, uint4 (&to)[TILES]) const {
        const int lane = threadIdx.x % WARP, piece = slab * (SLAB / 8) + lane % 4;
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
            const bool there = 8 * i + lane / 4 < count && piece < pieces;
            const uint4* row = rows[8 * i + lane / 4];
            __builtin_assume(__isGlobal(row));
            to[i] = there ? row[behind + piece] : uint4{0, 0, 0, 0};
        }
    }
};

template <int W>
DEVICE void attend_chunk(
    float* out, float2* stats, float* parts, float2* part_stats, int chunks,
    const float* q, s64 q_stride, const int4* spans, const int4* items,
    const u64* table, int shift, s64 layer, const float2* angles, int pairs, float scale,
    const Scoring& how, int heads, int kv_heads, int width, bool causal, const Laid& laid) {
    __shared__ __align__(128) uint4 queries[VECTORS * (W / 8)];
    __shared__ const uint4* rows_of[WARPS * CHUNK];  // where the key of each position lies
    begin_behind_previous();
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4;
    const int pieces = (width + 7) / 8, slabs = (width + SLAB - 1) / SLAB;
    // As in attention_split.cu.
    const int4 item = items[blockIdx.x];
    const int4 span = spans[2 * item.x];
    const int rows = spans[2 * item.x + 1].x, kv_head = blockIdx.y, group = heads / kv_heads;
    const Queries of = {span.x, span.y, span.z, rows, group, kv_head, causal};
    const PiecePages pages = {table + span.w, layer + (s64)kv_head * 2 * CHUNK * pieces * 4, shift, pieces};
    const int chunk = item.z + warp, start = chunk * CHUNK, count = min(of.keys - start, CHUNK);
    // Vectors that see nothing at all have their zeros stored with the first chunk.
    const bool takes_part = chunk == 0 || count > 0;

    const ChunkRows held = {rows_of + warp * CHUNK, count, pieces};
    uint4 k[TILES] = {};
    if (count > 0) {
#pragma unroll
        for (int i = lane; i < CHUNK; i += WARP) rows_of[warp * CHUNK + i] = pages.key(start + min(i, count - 1));
        __syncwarp();
        held.load(0, 0, k);
    }
    load_queries<W>(queries, VECTORS, of, item.y, q, q_stride, angles, pairs, scale, width);
    __syncthreads();
    if (!takes_part) return;

    float s[1][TILES][4] = {};
    uint4 v[TILES] = {};
    if (count > 0) {
#pragma unroll 2
        for (int slab = 0; slab < slabs; ++slab) {
            uint4 next[TILES] = {};
            if (slab + 1 < slabs) held.load(slab + 1, 0, next);
            uint4 a[1][2];
            query_slab<W>(queries, 0, slab, a[0]);
            multiply_slab(a, k, 0, s);
#pragma unroll
            for (int i = 0; i < TILES; ++i) k[i] = next[i];
        }
        held.load(0, CHUNK * pieces, v);
    }
    const int past = min(item.y + VECTORS, of.count());
    const int least = of.at(item.y).seen - start, most = of.at(past - 1).seen - start;
    const int seen[2] = {of.at(item.y + g).seen, of.at(item.y + g + 8).seen};
    u32 p[1][STEPS][4];
    float2 sums[2];
    soften(s[0], of, item.y, start, how, seen, CHUNK <= least, p[0], sums);

    const int steps = (min(most, CHUNK) + 15) / 16;
#pragma unroll 1
    for (int slab = 0; slab < slabs; ++slab) {
        // Values that are multiplied and some rows do not see, or none does: products take sixteen keys.
        bool apart = false;
        if (least < min(16 * steps, count)) {
#pragma unroll
            for (int i = 0; i < TILES; ++i) apart |= 8 * i + g >= least && strange(v[i]);
            apart = __any_sync(ALL, apart);
        }
        const auto fragments = [&](int j, u32(&b)[COLUMN_TILES][2]) {
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                const uint4 row = v[2 * j + h];
                b[0][h] = turned_tile(row.x), b[1][h] = turned_tile(row.y);
                b[2][h] = turned_tile(row.z), b[3][h] = turned_tile(row.w);
            }
        };
        float o[1][COLUMN_TILES][4] = {};
        if (!apart) {
            weigh<false>(p, steps, CHUNK, fragments, o);
        } else {
#pragma unroll 1
            for (int row = 0; row < past - item.y; ++row) {
                float alone[1][COLUMN_TILES][4] = {};
                weigh<true>(p, steps, of.at(item.y + row).seen - start, fragments, alone);
#pragma unroll
                for (int i = 0; i < COLUMN_TILES; ++i) {
#pragma unroll
                    for (int e = 0; e < 4; ++e)
                        if (e / 2 * 8 + g == row) o[0][i][e] = alone[0][i][e];
                }
            }
        }
        if (slab + 1 < slabs && count > 0) held.load(slab + 1, CHUNK * pieces, v);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            if (item.y + half * 8 + g >= of.count()) continue;
            const Vector vector = of.at(item.y + half * 8 + g);
            const s64 at = vector.row * heads + vector.head;
            const bool first = slab == 0 && lane % 4 == 0;
            const bool done = vector.seen <= CHUNK;
            Running total = {lowest(), 0.0f};
            const float2 factors = total.add(sums[half]);
            // What does not see this chunk leaves no part of it.
            if (done ? chunk > 0 : vector.seen <= start) continue;
            if (done && stats && first) stats[at] = {total.m, total.l};
            if (!done && first) part_stats[at * chunks + chunk] = sums[half];
            const int column = slab * SLAB + lane % 4 * 8;
            u32 pairs[COLUMN_TILES];
            float* to = done ? out + at * width : parts + (at * chunks + chunk) * width;
#pragma unroll
            for (int i = 0; i < COLUMN_TILES; ++i) {
                float whole[2];
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const float part = o[0][i][2 * half + e];
                    whole[e] = vector.seen > 0 ? quotient(__fmul_rn(part, factors.y), total.l) : 0.0f;
                    if (column + 2 * i + e < width) to[column + 2 * i + e] = done ? whole[e] : part;
                }
                pairs[i] = rounded_pair(whole[0], whole[1]);
            }
            if (done && column < width) laid.store(vector.row, vector.head * width + column, pairs);
        }
    }
}

#define INSTANCE(WIDTH)                                                                                               \
    KERNEL __launch_bounds__(WARPS * WARP) attention_bf16_split_##WIDTH(                                              \
        float* out, float2* stats, float* parts, float2* part_stats, int chunks,                                      \
        ATTENTION_PARAMETERS(int4), LAID_PARAMETERS) {                                                                \
        attend_chunk<WIDTH>(                                                                                          \
            out, stats, parts, part_stats, chunks, q, q_stride, spans, items, table, shift, layer, angles, pairs,     \
            scale, {1.0f, bias, reach, scores, starts}, heads, kv_heads, width, causal, LAID);                        \
    }

INSTANCE(32)
INSTANCE(64)
INSTANCE(128)
INSTANCE(256)
