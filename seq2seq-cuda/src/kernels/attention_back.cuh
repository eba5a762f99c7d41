// Back through attention, as FlashAttention-2 goes (Dao 2023): probabilities come back tile by tile from ln sum e^score of each row,
// and neither they nor the gradients of the scores are ever in device memory.
//
//   s = scale q . k + bias[j - position],  p = e^(s - log_sum),  m its dropout
//   dp = m (dy . v),  ds = p (dp - along),  along = sum of p dp over the keys = dy . y
//   dq = scale sum over the keys of ds k,  dk = scale sum over the rows of ds q,  dv = sum over the rows of m p dy
//
// Both kernels, attention_back_keys.cu for dk and dv and attention_back_queries.cu for dq, make s and dp of a tile: 64 query vectors
// (vector v of a source and key-value head is head v % group of its row v / group) by 64 keys, or 32. 256 threads; a warp takes 16
// vectors by half of the keys, a thread four neighbours of either (two of 32 keys), and leaves out what lies behind the last vector
// or key, or is not seen. Operands pass through shared memory in slabs of columns, so that heads of any width have the same
// tiles. For four columns a thread reads 16 times 16 bytes and does 128 FMA; lanes that read one row share a read, and `turned_quad`
// turns rows so that the others meet no bank twice.
//
// q: rows of q_stride, k and v: positions of kv_stride, each from its first column on, heads side by side, rotated already;
// dy: [rows, heads, width]; log_sums, along: [rows, heads].
//
// Order of the sums: s is one chain of FMA over rising columns, then fma(scale, chain, bias), which are the bits of the forward
// (attention.cuh); so is dp. What a row does not see takes no part in the sums of the kernels, as there.
#pragma once

#include "attention.cuh"
#include "dropout.cuh"

constexpr int VECTORS = 64, THREADS = 256, WARPS = THREADS / WARP;

// A part of the work: rows that attend to one source, the source, and where the block begins: its first vector, or its first key.
struct Item {
    int rows_first, rows, keys_first, keys, start;
};

struct Operands {
    const float *q, *k, *v, *dy, *log_sums, *along;
    const float* bias;  // [H][2 reach + 1], or none
    int reach;
    float scale;
    int heads, group, width, q_stride, kv_stride;
    bool causal, aligned;  // Whether every head begins at a multiple of 16 bytes.
    Dropout dropout;       // Its scale is 0 where nothing is dropped.
};

#define BACK_PARAMETERS                                                                                               \
    const float *q, const float *k, const float *v, const float *dy, const float *log_sums, const float *along,       \
        const float *bias, int reach, float scale, int heads, int group, int width, int q_stride, int kv_stride,      \
        int causal, int aligned, DROPOUT_PARAMETERS
#define BACK                                                                                                          \
    Operands {                                                                                                        \
        q, k, v, dy, log_sums, along, bias, reach, scale, heads, group, width, q_stride, kv_stride, causal != 0,      \
            aligned != 0, DROPOUT                                                                                     \
    }

// What is known of the vectors of a tile, and the part of the block, which registers have no room for.
struct Vectors {
    s64 query[VECTORS];  // where its columns begin in q
    s64 at[VECTORS];     // its row and head
    int head[VECTORS], index[VECTORS], seen[VECTORS];  // index: its row among those of the source
    float log_sum[VECTORS], along[VECTORS];
    Item item;
};

// The part of the block: of items, {rows_first, rows, keys_first, keys}, {start, ..}.
DEVICE const Item& begin(Vectors& vectors, const int4* items) {
    if (threadIdx.x == 0) {
        const int4 a = items[2 * blockIdx.x];
        vectors.item = {a.x, a.y, a.z, a.w, items[2 * blockIdx.x + 1].x};
    }
    __syncthreads();
    return vectors.item;
}

// Those from `first` on, `count` of them. `list` has the rows of the source; where there is none, they follow each other.
DEVICE void describe(Vectors& to, const Operands& of, const Item& item, const u32* list, int kv_head, int first, int count) {
    const int i = threadIdx.x;
    if (i >= count) return;
    const int index = (first + i) / of.group, head = kv_head * of.group + (first + i) % of.group;
    const s64 row = list ? list[item.rows_first + index] : item.rows_first + index, at = row * of.heads + head;
    to.query[i] = row * of.q_stride + head * of.width;
    to.at[i] = at;
    to.head[i] = head;
    to.index[i] = index;
    to.seen[i] = of.causal ? index + 1 : item.keys;
    to.log_sum[i] = of.log_sums[at];
    to.along[i] = of.along[at];
}

// Where four columns of a row lie in shared memory that has rows of QUADS times four. PER neighbours are one thread's.
template <int QUADS, int PER>
DEVICE int turned_quad(int row, int quad) {
    return row * QUADS + (quad ^ (row / PER & 7));
}

// Begins to copy columns from `column` on of ROWS rows, of which there are `count`, to shared memory; 0 where there is none. row(i)
// is where one begins. `wait_for_slabs` ends it.
template <int ROWS, int QUADS, int PER, class Row>
DEVICE void load_slab(float4* to, int count, int column, const Operands& of, Row row) {
    if (of.aligned) {
#pragma unroll 1
        for (int i = threadIdx.x; i < ROWS * QUADS; i += THREADS) {
            const int r = i / QUADS, c = column + i % QUADS * 4;
            const bool there = r < count && c < of.width;
            copy_async_16(to + turned_quad<QUADS, PER>(r, i % QUADS), there ? row(r) + c : of.q, there);
        }
        return;
    }
#pragma unroll 1
    for (int i = threadIdx.x; i < 4 * ROWS * QUADS; i += THREADS) {
        const int r = i / (4 * QUADS), c = i % (4 * QUADS);
        const bool there = r < count && column + c < of.width;
        ((float*)(to + turned_quad<QUADS, PER>(r, c / 4)))[c % 4] = there ? row(r)[column + c] : 0.0f;
    }
}

// Behind it every slab is there, for every thread.
DEVICE void wait_for_slabs() {
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();
}

DEVICE float dot4(const float4& a, const float4& b, float chain) {
    chain = __fmaf_rn(a.x, b.x, chain);
    chain = __fmaf_rn(a.y, b.y, chain);
    chain = __fmaf_rn(a.z, b.z, chain);
    return __fmaf_rn(a.w, b.w, chain);
}

// What a thread has of a tile of KEYS keys: vectors 4 y .. 4 y + 3 and keys PER x .. PER x + PER - 1.
template <int KEYS>
struct Tile {
    static constexpr int PER = KEYS / 16;
    float s[4][PER], dp[4][PER];
    u32 bits;  // of what is not dropped

    static __device__ __forceinline__ int x() { return threadIdx.x / WARP % 2 * 8 + threadIdx.x % 8; }
    static __device__ __forceinline__ int y() { return threadIdx.x / (2 * WARP) * 4 + threadIdx.x % WARP / 8; }
    // Whether the warp has any of so many vectors and keys.
    static __device__ __forceinline__ bool takes_part(int vectors, int keys) {
        return threadIdx.x / (2 * WARP) * 16 < vectors && threadIdx.x / WARP % 2 * (KEYS / 2) < keys;
    }

    // Whether one of the warp's vectors sees one of its keys: the last sees most.
    static __device__ __forceinline__ bool sees(const Vectors& vectors, int count, int first_key) {
        const int last = min(threadIdx.x / (2 * WARP) * 16 + 15, count - 1);
        return vectors.seen[last] > first_key + threadIdx.x / WARP % 2 * (KEYS / 2);
    }

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int r = 0; r < 4; ++r) {
#pragma unroll
            for (int j = 0; j < PER; ++j) s[r][j] = dp[r][j] = 0.0f;
        }
    }

    // sum[r][j] += a b over `quads` quads of columns of one slab.
    template <int QUADS>
    static __device__ __forceinline__ void multiply(const float4* a, const float4* b, int quads, float (&sum)[4][PER]) {
#pragma unroll 1
        for (int c = 0; c < quads; ++c) {
            // Rows of one thread follow each other.
            const float4 *rows = a + turned_quad<QUADS, 4>(4 * y(), c), *keys = b + turned_quad<QUADS, PER>(PER * x(), c);
            float4 left[4];
#pragma unroll
            for (int r = 0; r < 4; ++r) left[r] = rows[r * QUADS];
#pragma unroll
            for (int j = 0; j < PER; ++j) {
                const float4 right = keys[j * QUADS];
#pragma unroll
                for (int r = 0; r < 4; ++r) sum[r][j] = dot4(left[r], right, sum[r][j]);
            }
        }
    }

    // A bit for each of the thread's scores that is not dropped, vector by vector.
    static __device__ __forceinline__ u32 kept(const Dropout& dropout, const Vectors& vectors, int count, int key) {
        u32 bits = 0;
#pragma unroll 1
        for (int r = 0; r < 4; ++r) {
            if (4 * y() + r >= count) break;
            const float4 by = dropout_factors(dropout, (u32)vectors.at[4 * y() + r], key);
            const u32 four = (by.x != 0.0f) | (by.y != 0.0f) << 1 | (by.z != 0.0f) << 2 | (by.w != 0.0f) << 3;
            bits |= (four >> key % 4) << 4 * r;
        }
        return bits;
    }

    // q k and dy v of the vectors and of `keys` keys from `first_key` of the source on. `shared` has room for slabs of 2 VECTORS and
    // of 2 KEYS rows; then it is free again.
    template <int QUADS>
    __device__ __forceinline__ void products(
        float4* shared, const Operands& of, const Item& item, const Vectors& vectors, int count, int kv_head, int first_key,
        int keys) {
        float4 *q = shared, *dy = q + VECTORS * QUADS, *k = dy + VECTORS * QUADS, *v = k + KEYS * QUADS;
        const int key = item.keys_first + first_key, columns = kv_head * of.width;
        clear();
        bits = ALL;
        for (int column = 0; column < of.width; column += 4 * QUADS) {
            __syncthreads();
            const bool part = takes_part(count, keys) && sees(vectors, count, first_key);
            load_slab<VECTORS, QUADS, 4>(q, count, column, of, [&](int i) { return of.q + vectors.query[i]; });
            load_slab<VECTORS, QUADS, 4>(dy, count, column, of, [&](int i) { return of.dy + vectors.at[i] * of.width; });
            load_slab<KEYS, QUADS, PER>(k, keys, column, of, [&](int i) { return of.k + (s64)(key + i) * of.kv_stride + columns; });
            load_slab<KEYS, QUADS, PER>(v, keys, column, of, [&](int i) { return of.v + (s64)(key + i) * of.kv_stride + columns; });
            // While the copies are under way.
            if (column == 0 && part && of.dropout.scale != 0.0f) bits = kept(of.dropout, vectors, count, first_key + PER * x());
            wait_for_slabs();
            if (!part) continue;
            const int quads = min(QUADS, (of.width - column + 3) / 4);
            multiply<QUADS>(q, k, quads, s);
            multiply<QUADS>(dy, v, quads, dp);
        }
        __syncthreads();
    }

    // s becomes m p, dp becomes ds, both 0 where a vector does not see a key or is none.
    __device__ __forceinline__ void differentiate(const Operands& of, const Vectors& vectors, int count, int first_key, int keys) {
        const int key = first_key + PER * x();
        const float factor = of.dropout.scale != 0.0f ? of.dropout.scale : 1.0f;
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            const int vector = 4 * y() + r;
            const int seen = vector < count ? min(vectors.seen[vector], first_key + keys) : 0;
#pragma unroll
            for (int j = 0; j < PER; ++j) {
                float share = 0.0f, ds = 0.0f;
                if (key + j < seen) {
                    float bias = 0.0f;
                    if (of.bias) {
                        const int distance = min(max(key + j - vectors.index[vector], -of.reach), of.reach);
                        bias = of.bias[(s64)vectors.head[vector] * (2 * of.reach + 1) + distance + of.reach];
                    }
                    const float p = exp_below(__fsub_rn(__fmaf_rn(of.scale, s[r][j], bias), vectors.log_sum[vector]));
                    const float by = bits >> (4 * r + j) & 1 ? factor : 0.0f;
                    share = __fmul_rn(p, by);
                    ds = __fmul_rn(p, __fsub_rn(__fmul_rn(dp[r][j], by), vectors.along[vector]));
                }
                s[r][j] = share;
                dp[r][j] = ds;
            }
        }
    }
};

// Columns of one thread.
template <int COLUMNS>
struct Columns {
    float of[COLUMNS];
};

DEVICE Columns<4> columns(const float4& b) { return {{b.x, b.y, b.z, b.w}}; }
DEVICE Columns<2> columns(const float2& b) { return {{b.x, b.y}}; }

// sum[i][c] += a[i] b[c], for those i for which takes(i).
template <int COLUMNS, class Takes>
DEVICE void add_outer_where(float (&sum)[4][COLUMNS], const float4& a, const Columns<COLUMNS>& b, Takes takes) {
    const float left[4] = {a.x, a.y, a.z, a.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            if (takes(i)) sum[i][c] = __fmaf_rn(left[i], b.of[c], sum[i][c]);
        }
    }
}

// The same for all.
template <int COLUMNS>
DEVICE void add_outer(float (&sum)[4][COLUMNS], const float4& a, const Columns<COLUMNS>& b) {
    add_outer_where(sum, a, b, [](int) { return true; });
}

// `by` times a thread's columns, from `column` of a head on, to where that lies.
template <int COLUMNS>
DEVICE void store_columns(float* head, int column, float by, const float (&sums)[COLUMNS], const Operands& of) {
    float* to = head + column;
    if (!of.aligned) {
#pragma unroll
        for (int c = 0; c < COLUMNS; ++c) {
            if (column + c < of.width) to[c] = __fmul_rn(by, sums[c]);
        }
    } else if (column < of.width) {
        if (COLUMNS == 4) {
            *(float4*)to = {__fmul_rn(by, sums[0]), __fmul_rn(by, sums[1]), __fmul_rn(by, sums[COLUMNS - 2]),
                            __fmul_rn(by, sums[COLUMNS - 1])};
        } else {
            *(float2*)to = {__fmul_rn(by, sums[0]), __fmul_rn(by, sums[1])};
        }
    }
}
