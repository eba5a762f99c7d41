// Back through attention on the matrix units: attention_back.cuh's formula, with each factor of a product in bf16.
//
//   s = q . k + bias[j - position],  p = 2^(log2(e) (s - log_sum)),  m its dropout
//   dp = m (dy . v),  ds = p (dp - along),  along = sum of p dp over the keys = dy . y
//   dq = scale sum over the keys of ds k,  dk = sum over the rows of ds q,  dv = sum over the rows of m p dy
//
// q is scaled and rounded, dy rounded (attention_back_rows.cu); k and v are those of the forward, in its pages (kv_store.cu). p and
// ds are rounded when they are multiplied; the scale of what is not dropped leaves p, and multiplies dv at last.
//
// Two kernels, attention_back_keys_bf16.cu for dk and dv and attention_back_queries_bf16.cu for dq. In both a warp has sixteen rows
// of its own, keys or query vectors, and goes through tiles of the others, which its block has in shared memory. Of a tile it makes
// s and dp, 16 by 64, with its own rows as rows of the product. So both leave the unit with the rows where the next products
// take them: p and ds never leave the registers. Vectors are the heads of a group row by row (vector v is head v % group of row
// v / group).
//
// Order of the sums: s is that of the forward (attention_bf16.cuh), and so is dp; dq, dk and dv are one chain of products of 16 keys,
// or vectors, from the first of a tile on, over rising tiles. What a row does not see has weight 0 there, which changes no sum but
// the sign of a zero, and 0 is added at last; where something in the tile is infinite or NaN, rows are multiplied one by one
// (`add_products`, ALONE).
#pragma once

#include "attention_bf16_rows.cuh"
#include "dropout_tile.cuh"

constexpr int OF_TILE = 64;  // keys of a block, or vectors

// A part of the work: rows that attend to one source, the source, where the block begins, its first vector or its first key, and the
// first page of the source.
struct Item {
    int rows_first, rows, keys_first, keys, start, page;
};

DEVICE Item item_of_block(const int4* items) {
    const int4 a = items[2 * blockIdx.x], b = items[2 * blockIdx.x + 1];
    return {a.x, a.y, a.z, a.w, b.x, b.y};
}

struct Operands {
    const uint4 *q, *dy;  // [rows, heads][pieces]
    const float2* sums;   // [rows, heads]: {-log2(e) log_sum, along}
    const u64* table;     // of pages, as in attention_bf16.cuh
    s64 layer;
    const float* bias;  // [H][2 reach + 1], or none
    int reach;
    float scale;
    int heads, group, width;
    bool causal;
    Dropout dropout;  // Its scale is 0 where nothing is dropped.

    __device__ __forceinline__ int pieces() const { return (width + 7) / 8; }
    __device__ __forceinline__ int slabs() const { return (width + SLAB - 1) / SLAB; }
    __device__ __forceinline__ PiecePages pages(const Item& item, int kv_head) const {
        return {table + item.page, layer + (s64)kv_head * 2 * CHUNK * pieces() * 4, 6, pieces()};
    }
    __device__ __forceinline__ float bias_of(int head, int distance) const {
        return bias[(s64)head * (2 * reach + 1) + min(max(distance, -reach), reach) + reach];
    }
};

#define BACK_PARAMETERS                                                                                               \
    const uint4 *q, const uint4 *dy, const float2 *sums, const u64 *table, s64 layer, const float *bias, int reach,   \
        float scale, int heads, int group, int width, int causal, DROPOUT_PARAMETERS
#define BACK                                                                                                          \
    Operands { q, dy, sums, table, layer, bias, reach, scale, heads, group, width, causal != 0, DROPOUT }

// What is known of the vectors of a tile.
template <int COUNT>
struct __align__(16) Vectors {
    float2 sums[COUNT];
    u32 at[COUNT];    // row and head
    int head[COUNT];
    int index[COUNT]; // its row among those of the source; -1 where there is no vector
};

// Starts to copy q and dy of the vectors from `first` on, `count` of them, and what is known of them; 0 behind the last. `list` has
// the rows of the source; where there is none, they follow each other.
template <int W, int COUNT>
DEVICE void load_vectors(
    uint4* q, uint4* dy, Vectors<COUNT>& to, const Operands& of, const Item& item, const u32* list, int kv_head, int first,
    int count) {
    constexpr int PIECES = W / 8;
    const int pieces = of.pieces(), filled = of.slabs() * (SLAB / 8);
#pragma unroll 4
    for (int i = threadIdx.x; i < COUNT * PIECES; i += THREADS) {
        const int r = i / PIECES, piece = i % PIECES;
        if (piece >= filled) continue;
        const bool there = r < count;
        const int vector = first + min(r, count - 1), index = vector / of.group, head = kv_head * of.group + vector % of.group;
        const s64 row = list ? list[item.rows_first + index] : item.rows_first + index, at = row * of.heads + head;
        const s64 from = at * pieces + min(piece, pieces - 1);
        copy_async_16(q + place<W>(r, piece), of.q + from, there && piece < pieces);
        copy_async_16(dy + place<W>(r, piece), of.dy + from, there && piece < pieces);
        if (piece == 0) {
            copy_async_8(to.sums + r, of.sums + at, there);
            to.at[r] = (u32)at;
            to.head[r] = head;
            to.index[r] = there ? index : -1;
        }
    }
    copy_async_commit();
}

// A warp's own rows, which it multiplies with every tile: in registers where these have room for them, as `multiply_rows` takes them.
template <int W, bool HELD = (W <= 64)>
struct Own {
    uint4 slabs[W / SLAB][2];

    __device__ __forceinline__ void load(const uint4* rows, int first, int count) {
#pragma unroll
        for (int s = 0; s < W / SLAB; ++s)
            if (s < count) query_slab<W>(rows, first, s, slabs[s]);
    }
    __device__ __forceinline__ void slab(const uint4*, int, int s, uint4 (&a)[2]) const { a[0] = slabs[s][0], a[1] = slabs[s][1]; }
};
template <int W>
struct Own<W, false> {
    __device__ __forceinline__ void load(const uint4*, int, int) {}
    __device__ __forceinline__ void slab(const uint4* rows, int first, int s, uint4 (&a)[2]) const {
        query_slab<W>(rows, first, s, a);
    }
};

// One score and dp become p and ds; `sums` are those of its vector.
DEVICE void differentiate(float& s, float& dp, const float2& sums) {
    s = power_of_2(__fmaf_rn(LOG2_E, s, sums.x));
    dp = __fmul_rn(s, __fsub_rn(dp, sums.y));
}

// Accumulators of 16 rows by 16 N columns as operand of a product over these columns.
template <int T>
DEVICE void as_operand(const float (&s)[T][4], u32 (&a)[T / 2][4]) {
#pragma unroll
    for (int i = 0; i < T; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) a[i / 2][i % 2 * 2 + half] = bf16_pair(s[i][2 * half], s[i][2 * half + 1]);
    }
}

// Those of a pair of rows, from `row` on, that lie in begin .. end - 1; 0 for the others.
DEVICE u32 rows_within(u32 pair, int row, int begin, int end) {
    const u32 low = row >= begin && row < end ? 0xffffu : 0u, high = row + 1 >= begin && row + 1 < end ? 0xffff0000u : 0u;
    return pair & (low | high);
}

// sums += a b over a tile of 16 N rows, for OUT columns from slab `from` on, of which `slabs` are there. ALONE: for the warp's row
// `row` alone, which sees the rows begin .. end - 1 of the tile.
template <bool ALONE, int W, int OUT, int N>
DEVICE void add_products(
    const uint4* rows, int from, int slabs, const u32 (&a)[N][4], int row, int begin, int end, float (&sums)[OUT / 8][4]) {
#pragma unroll
    for (int slab = 0; slab < OUT / SLAB; ++slab) {
        if (from + slab >= slabs) break;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            u32 b[COLUMN_TILES][2];
            column_slab<W>(rows, 16 * j, from + slab, b);
#pragma unroll
            for (int i = 0; i < COLUMN_TILES; ++i) {
                float(&sum)[4] = sums[slab * COLUMN_TILES + i];
                if constexpr (ALONE) {
#pragma unroll
                    for (int h = 0; h < 2; ++h) b[i][h] = rows_within(b[i][h], 16 * j + 8 * h + threadIdx.x % 4 * 2, begin, end);
                    float next[4] = {sum[0], sum[1], sum[2], sum[3]};
                    mma_bf16(next, a[j], b[i]);
#pragma unroll
                    for (int e = 0; e < 4; ++e)
                        if (e / 2 * 8 + threadIdx.x % WARP / 4 == row) sum[e] = next[e];
                } else {
                    mma_bf16(sum, a[j], b[i]);
                }
            }
        }
    }
}

// Whether something in rows begin .. end - 1 is infinite or NaN.
template <int W>
DEVICE bool any_strange(const uint4* rows, int begin, int end, int slabs) {
    const int pieces = slabs * (SLAB / 8);
    bool any = false;
    for (int i = begin * pieces + threadIdx.x % WARP; i < end * pieces; i += WARP)
        any |= strange(rows[place<W>(i / pieces, i % pieces)]);
    return __any_sync(ALL, any);
}

// `by` times two neighbouring columns of a head, from `column` on, to where that lies.
DEVICE void store_pair(float* head, int column, float by, float a, float b, int width) {
    a = __fadd_rn(__fmul_rn(by, a), 0.0f), b = __fadd_rn(__fmul_rn(by, b), 0.0f);
    if (column + 1 < width && (u64)(head + column) % 8 == 0) {
        *(float2*)(head + column) = {a, b};
    } else {
        if (column < width) head[column] = a;
        if (column + 1 < width) head[column + 1] = b;
    }
}
