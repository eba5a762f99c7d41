// dq of attention on the matrix units (attention_back_bf16.cuh), and of each tile the sums of ds by distance, of which the gradient of a
// relative bias is made: a block of four warps takes 64 query vectors of a group of rows and a key-value head, 16 a warp, and goes
// through the keys that they see, 64 at a time (32 where D > 128).
//
// dq: rows of q_stride columns, or none. items: a block's first vector. by_distance, or none: as in attention_back_queries.cu.
//
// Order of the sums by distance: that of tiles of 64 keys (32 where D > 128), rising, in each a chain over rising keys, of ds as it is
// rounded for the products.
//
// Design. A warp holds dq of its vectors in registers, and s and dp of a tile; up to D = 64 its q and dy, too. Chunks of keys and values
// are in shared memory twice, but where D > 128. For sums by distance ds goes to shared memory, in the place of the values, which
// nobody needs when dp is made (attention_back_distances.cuh).
//
// Floor: 6 D operations a score over the peak of the matrix units in bf16, of which mma.sync reaches some 60%; with those of
// attention_back_keys_bf16.cu 14 D. Shared memory gives 256 bytes for each mma, 299 where D > 64: 2 cycles, where the product at peak
// takes one. Second cache: 4 D bytes a key and block of 64 vectors, 21 bytes a cycle and multiprocessor. by_distance: for each tile
// some 48 additions and loads a thread, a quarter of what else there is at D = 64.
// Not measured: no GPU has run it yet.

#include "attention_back_bf16.cuh"
#include "attention_back_distances.cuh"

// Where ds of a vector and two keys lies, in words.
template <int KEYS>
DEVICE int turned_word(int vector, int two) {
    return vector * (KEYS / 2) + (two ^ (vector % (KEYS / 8)) * 4);
}

// Heads of up to W columns, KEYS keys a tile, and STAGES tiles.
template <int W, int KEYS, int STAGES>
DEVICE void queries_back(
    const Operands& of, const int4* items, float* dq, int q_stride, const int4* places, float* by_distance) {
    // ds has the room of the values, or more.
    constexpr int T = KEYS / 8, N = KEYS / 16, ROW = W / 8, WIDER = ROW > OF_TILE / 8 ? ROW : OF_TILE / 8;
    constexpr int STAGE = KEYS * (ROW + WIDER);
    extern __shared__ __align__(128) uint4 shared[];
    uint4* q = shared;                     // [64][W]
    uint4* dy = q + OF_TILE * ROW;         // [64][W]
    uint4* stages = dy + OF_TILE * ROW;    // [STAGES]: keys [KEYS][W], then values alike
    Vectors<OF_TILE>& vectors = *(Vectors<OF_TILE>*)(stages + STAGES * STAGE);
    const Item item = item_of_block(items);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    const int kv_head = blockIdx.y, slabs = of.slabs(), first = item.start, own = warp * VECTORS;
    const int count = min(item.rows * of.group - first, OF_TILE);
    const auto sees = [&](int vector) {
        return vector >= count ? 0 : of.causal ? (first + vector) / of.group + 1 : item.keys;
    };
    // Rows see rising numbers of keys.
    const int seen_by_block = sees(count - 1), least = sees(own), most = own < count ? sees(min(own + VECTORS, count) - 1) : 0;

    const PiecePages pages = of.pages(item, kv_head);
    const auto load = [&](int start, int stage) {
        uint4* keys = stages + stage * STAGE;
        load_chunk<W, KEYS>(keys, pages, 0, start, item.keys, slabs);
        load_chunk<W, KEYS>(keys + KEYS * ROW, pages, CHUNK * pages.pieces, start, item.keys, slabs);
    };
    load_vectors<W, OF_TILE>(q, dy, vectors, of, item, nullptr, kv_head, first, count);
    if (STAGES > 1 && seen_by_block > 0) load(0, 0);
    copy_async_wait<0>();
    __syncthreads();
    Own<W> own_q, own_dy;
    own_q.load(q, own, slabs);
    own_dy.load(dy, own, slabs);
    float2 known[2];
    u32 at[2];
    int head[2], index[2], seen[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int vector = own + half * 8 + g;
        known[half] = vectors.sums[vector];
        at[half] = vectors.at[vector];
        head[half] = vectors.head[vector];
        index[half] = vectors.index[vector];
        seen[half] = sees(vector);
    }

    float sums[W / 8][4] = {};
    int stage = 0;
#pragma unroll 1
    for (int start = 0; start < seen_by_block; start += KEYS) {
        if (STAGES > 1) {
            copy_async_wait<0>();
            __syncthreads();
            if (start + KEYS < seen_by_block) load(start + KEYS, stage ^ 1);
        } else {
            __syncthreads();
            load(start, 0);
            copy_async_wait<0>();
            __syncthreads();
        }
        const uint4 *keys = stages + stage * STAGE, *values = keys + KEYS * ROW;
        if (STAGES > 1) stage ^= 1;

        u32 ds[N][4] = {};
        if (start < most) {
            float s[1][T][4] = {}, dp[1][T][4] = {};
            multiply_rows<W>([&](int slab, uint4(&a)[1][2]) { own_q.slab(q, own, slab, a[0]); }, keys, slabs, s);
            multiply_rows<W>([&](int slab, uint4(&a)[1][2]) { own_dy.slab(dy, own, slab, a[0]); }, values, slabs, dp);

            // A lane has vectors g and g + 8 of the warp, and of each eight keys these two.
            const int key = start + 2 * t;
            if (of.bias) {
#pragma unroll
                for (int i = 0; i < T; ++i) {
#pragma unroll
                    for (int e = 0; e < 4; ++e) {
                        const int distance = key + 8 * i + e % 2 - index[e / 2];
                        s[0][i][e] = __fadd_rn(s[0][i][e], of.bias_of(head[e / 2], distance));
                    }
                }
            }
            if (of.dropout.scale != 0.0f) {
                const KeptByVector<T> kept(of.dropout, at, start);
#pragma unroll
                for (int i = 0; i < T; ++i) {
#pragma unroll
                    for (int e = 0; e < 4; ++e)
                        dp[0][i][e] = __fmul_rn(dp[0][i][e], kept.at(i, e / 2, e % 2) ? of.dropout.scale : 0.0f);
                }
            }
            const bool whole = start + KEYS <= least;
#pragma unroll
            for (int i = 0; i < T; ++i) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    differentiate(s[0][i][e], dp[0][i][e], known[e / 2]);
                    if (!whole && key + 8 * i + e % 2 >= seen[e / 2]) dp[0][i][e] = 0.0f;
                }
            }
            as_operand(dp[0], ds);

            if (dq) {
                // Keys that some of the vectors see and others do not.
                const bool apart = !whole && any_strange<W>(keys, max(least - start, 0), KEYS, slabs);
                if (!apart) {
                    add_products<false, W, W>(keys, 0, slabs, ds, 0, 0, 0, sums);
                } else {
#pragma unroll 1
                    for (int row = 0; row < VECTORS; ++row)
                        add_products<true, W, W>(keys, 0, slabs, ds, row, 0, sees(own + row) - start, sums);
                }
            }
        }
        if (by_distance) {
            // {first place, in two halves, distances, the last row}
            const int4 place = places[blockIdx.x];
            u32* shares = (u32*)values;  // [64][KEYS]
            __syncthreads();
#pragma unroll
            for (int i = 0; i < T; ++i) {
#pragma unroll
                for (int half = 0; half < 2; ++half)
                    shares[turned_word<KEYS>(own + half * 8 + g, 4 * i + t)] = ds[i / 2][i % 2 * 2 + half];
            }
            __syncthreads();
            float* to = by_distance + ((s64)place.y << 32 | (u32)place.x);
            const auto share = [&](int vector, int key) {
                const u32 two = shares[turned_word<KEYS>(vector, key / 2)];
                return __uint_as_float(key % 2 ? two & 0xffff0000u : two << 16);
            };
            const int there = min(seen_by_block - start, KEYS);
            add_distances<KEYS, THREADS>(share, of.group, kv_head, first, count, start, there, place.z, to);
        }
    }

    if (!dq) return;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        if (own + half * 8 + g >= count) continue;
        float* to = dq + (s64)(item.rows_first + index[half]) * q_stride + head[half] * of.width;
#pragma unroll
        for (int i = 0; i < W / 8; ++i)
            store_pair(to, 8 * i + 2 * t, of.scale, sums[i][2 * half], sums[i][2 * half + 1], of.width);
    }
}

#define INSTANCE(WIDTH, KEYS, STAGES, BLOCKS)                                                                         \
    KERNEL __launch_bounds__(THREADS, BLOCKS) attention_back_queries_bf16_##WIDTH(                                    \
        BACK_PARAMETERS, const int4* items, float* dq, int q_stride, const int4* places, float* by_distance) {        \
        queries_back<WIDTH, KEYS, STAGES>(BACK, items, dq, q_stride, places, by_distance);                            \
    }

// Widths in between take the next one.
INSTANCE(32, 64, 2, 3)
INSTANCE(64, 64, 2, 2)
INSTANCE(128, 64, 2, 2)
INSTANCE(256, 32, 1, 2)
