// dk and dv of attention on the matrix units (attention_back_bf16.cuh): a block of four warps takes 64 keys of a source and a key-value
// head, 16 a warp, and goes through the query vectors that see them, 64 at a time (32 where D > 64).
//
// dk, dv: positions of kv_stride columns. items: a block's first key. `list` has the rows of each source, in rising order; where there
// is none, the rows of a source follow each other.
//
// Design. A warp holds dk and dv of its keys in registers, D of them a lane each for D = 64, and s and dp of a tile, 64; up to D = 64
// its keys and values, too, D / 2. Tiles of q and dy are in shared memory twice: one is filled (cp.async) while the other is
// multiplied. 50 KB for D = 64, 65 KB for D = 128, where tiles of 64 spilled 32 bytes. D > 128 has neither registers for two sums of
// 256 columns nor room for two tiles: blocks of a third dimension make 128 columns each, and s and dp once more.
//
// Floor: 8 D operations a score over the peak of the matrix units in bf16, of which mma.sync reaches some 60%. Shared memory gives 256
// bytes for each mma (each tile is read as it lies and transposed, by each warp), 320 where D > 64: 2 to 2.5 cycles of 128 bytes, where the
// product at peak takes one. Two blocks of 16 keys a warp would read half as much and have the sums of 32 keys, 256 registers.
// Beside it a power of 2 and some 8 operations in f32 a score. Second cache: 4 D bytes a vector and block of 64 keys, 16 bytes a cycle
// and multiprocessor at 2 cycles a product, where it gives about 46.
// Not measured: no GPU has run it yet.

#include "attention_back_bf16.cuh"

// Heads of up to W columns, OUT of them a block; VECS vectors a tile, and STAGES tiles.
template <int W, int OUT, int VECS, int STAGES>
DEVICE void keys_back(const Operands& of, const int4* items, const u32* list, float* dk, float* dv, int kv_stride) {
    constexpr int T = VECS / 8, N = VECS / 16, ROW = W / 8, TILE = VECS * ROW;
    extern __shared__ __align__(128) uint4 shared[];
    uint4* keys = shared;                    // [64][W]
    uint4* values = keys + OF_TILE * ROW;    // [64][W]
    uint4* stages = values + OF_TILE * ROW;  // [STAGES][2][VECS][W]: q, dy
    Vectors<VECS>* known = (Vectors<VECS>*)(stages + STAGES * 2 * TILE);
    const Item item = item_of_block(items);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, g = lane / 4, t = lane % 4;
    const int kv_head = blockIdx.y, from = blockIdx.z * (OUT / SLAB), slabs = of.slabs(), all = item.rows * of.group;
    const int own = warp * VECTORS, first_key = item.start + own;
    // Causal rows are in the source, and see none behind themselves.
    const int begin = of.causal ? item.start * of.group : 0;

    const auto load = [&](int first, int stage) {
        uint4* q = stages + stage * 2 * TILE;
        load_vectors<W, VECS>(q, q + TILE, known[stage], of, item, list, kv_head, first, min(all - first, VECS));
    };
    const PiecePages pages = of.pages(item, kv_head);
    load_chunk<W>(keys, pages, 0, item.start, item.keys, slabs);
    load_chunk<W>(values, pages, CHUNK * pages.pieces, item.start, item.keys, slabs);
    if (STAGES > 1 && begin < all) load(begin, 0);
    copy_async_wait<0>();
    __syncthreads();
    Own<W> k, v;
    k.load(keys, own, slabs);
    v.load(values, own, slabs);

    float k_sums[OUT / 8][4] = {}, v_sums[OUT / 8][4] = {};
    int stage = 0;
#pragma unroll 1
    for (int first = begin; first < all; first += VECS) {
        if (STAGES > 1) {
            copy_async_wait<0>();
            __syncthreads();
            if (first + VECS < all) load(first + VECS, stage ^ 1);
        } else {
            __syncthreads();
            load(first, 0);
            copy_async_wait<0>();
            __syncthreads();
        }
        const uint4 *q = stages + stage * 2 * TILE, *dy = q + TILE;
        const Vectors<VECS>& vectors = known[stage];
        if (STAGES > 1) stage ^= 1;

        const int last = (min(first + VECS, all) - 1) / of.group;
        if (first_key >= item.keys || (of.causal && last < first_key)) continue;
        // Whether every vector sees all keys of the warp.
        const bool whole = !of.causal || first / of.group >= first_key + VECTORS - 1;
        float s[1][T][4] = {}, dp[1][T][4] = {};
        multiply_rows<W>([&](int slab, uint4(&a)[1][2]) { k.slab(keys, own, slab, a[0]); }, q, slabs, s);
        multiply_rows<W>([&](int slab, uint4(&a)[1][2]) { v.slab(values, own, slab, a[0]); }, dy, slabs, dp);

        // A lane has keys g and g + 8 of the warp, and of each eight vectors these two.
        const int key = first_key + g, pair = 2 * t;
        if (of.bias) {
#pragma unroll
            for (int i = 0; i < T; ++i) {
                const int2 head = *(const int2*)(vectors.head + 8 * i + pair), index = *(const int2*)(vectors.index + 8 * i + pair);
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const int distance = key + e / 2 * 8 - (e % 2 ? index.y : index.x);
                    s[0][i][e] = __fadd_rn(s[0][i][e], of.bias_of(e % 2 ? head.y : head.x, distance));
                }
            }
        }
        const auto each = [&](auto f) {
#pragma unroll
            for (int i = 0; i < T; ++i) {
                const float4 two = *(const float4*)(vectors.sums + 8 * i + pair);
                const float2 sums[2] = {{two.x, two.y}, {two.z, two.w}};
#pragma unroll
                for (int e = 0; e < 4; ++e) f(i, e, sums[e % 2]);
            }
        };
        if (of.dropout.scale != 0.0f) {
            const KeptByKey<T> kept(of.dropout, first_key, [&](int vector) { return vectors.at[vector]; });
            each([&](int i, int e, const float2& sums) {
                const bool stays = kept.at(i, e / 2, e % 2);
                dp[0][i][e] = __fmul_rn(dp[0][i][e], stays ? of.dropout.scale : 0.0f);
                differentiate(s[0][i][e], dp[0][i][e], sums);
                if (!stays) s[0][i][e] = 0.0f;
            });
        } else {
            each([&](int i, int e, const float2& sums) { differentiate(s[0][i][e], dp[0][i][e], sums); });
        }
        // Behind the last vector all is 0 but what a bias makes of it.
        if (!whole || of.bias) {
#pragma unroll
            for (int i = 0; i < T; ++i) {
                const int2 index = *(const int2*)(vectors.index + 8 * i + pair);
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const int row = e % 2 ? index.y : index.x, seen = row < 0 ? 0 : of.causal ? row + 1 : item.keys;
                    if (key + e / 2 * 8 >= seen) s[0][i][e] = dp[0][i][e] = 0.0f;
                }
            }
        }
        u32 p[N][4], ds[N][4];
        as_operand(s[0], p);
        as_operand(dp[0], ds);

        bool apart = false;
        if (!whole) {
            // Vectors that do not see all keys of the warp.
            const int end = min((first_key + VECTORS - 1) * of.group - first, min(all - first, VECS));
            apart = any_strange<W>(q, 0, end, slabs) | any_strange<W>(dy, 0, end, slabs);
        }
        if (!apart) {
            add_products<false, W, OUT>(dy, from, slabs, p, 0, 0, 0, v_sums);
            add_products<false, W, OUT>(q, from, slabs, ds, 0, 0, 0, k_sums);
        } else {
#pragma unroll 1
            for (int row = 0; row < VECTORS; ++row) {
                const int sees = (first_key + row) * of.group - first;
                add_products<true, W, OUT>(dy, from, slabs, p, row, sees, VECS, v_sums);
                add_products<true, W, OUT>(q, from, slabs, ds, row, sees, VECS, k_sums);
            }
        }
    }

    const float by = of.dropout.scale != 0.0f ? of.dropout.scale : 1.0f;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int key = first_key + half * 8 + g;
        if (key >= item.keys) continue;
        const s64 at = (s64)(item.keys_first + key) * kv_stride + kv_head * of.width;
#pragma unroll
        for (int i = 0; i < OUT / 8; ++i) {
            const int column = from * SLAB + 8 * i + 2 * t;
            store_pair(dk + at, column, 1.0f, k_sums[i][2 * half], k_sums[i][2 * half + 1], of.width);
            store_pair(dv + at, column, by, v_sums[i][2 * half], v_sums[i][2 * half + 1], of.width);
        }
    }
}

#define INSTANCE(WIDTH, OUT, VECS, STAGES, BLOCKS)                                                                    \
    KERNEL __launch_bounds__(THREADS, BLOCKS) attention_back_keys_bf16_##WIDTH(                                       \
        BACK_PARAMETERS, const int4* items, const u32* list, float* dk, float* dv, int kv_stride) {                   \
        keys_back<WIDTH, OUT, VECS, STAGES>(BACK, items, list, dk, dv, kv_stride);                                    \
    }

// Widths in between take the next one.
INSTANCE(32, 32, 64, 2, 2)
INSTANCE(64, 64, 64, 2, 2)
INSTANCE(128, 128, 32, 2, 2)
INSTANCE(256, 128, 32, 1, 2)
