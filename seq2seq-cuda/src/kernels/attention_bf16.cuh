// Attention on the matrix units: what the kernels have in common that hold queries, keys, values and probabilities in bf16.
//
//   out[v] = sum_j p[v][j] value[j],   p[v] = softmax_j(q[v] k[j] + bias[j - position])
//
// Queries are scaled, then rounded. Every product is mma.m16n8k16 with 16 query vectors as rows: the keys of a chunk are the
// columns of the scores, the columns of a head those of the result. With g = lane / 4 and t = lane % 4, a lane has of 16
// vectors the rows g and g + 8.
//
// The order of summation, which every kernel of this precision keeps:
//
//   1. Chunks of 64 keys as in attention.cuh.
//   2. A score is one chain of products of 16 columns. They are taken from slabs of 32: first 0..3, 8..11, 16..19, 24..27 of a
//      slab, then the others, so that what a lane has of a slab are 16 bytes in a row. The bias is added last.
//   3. In a chunk: m is the largest score that is seen, p = e^(score - m). Lane t has keys 8 i + 2 t and 8 i + 2 t + 1; the
//      sum l of p, not rounded, is a chain over rising keys, then a butterfly over the four lanes. Column c of the result is
//      one chain of products of 16 keys, rising, of p rounded to bf16.
//   4. Chunks are merged in rising order as in attention.cuh. To the quotient at last 0 is added, so that it is never -0.
//
// A key that a row does not see has weight 0 in products that other rows share. That changes no sum but the sign of a zero,
// which 4 takes away, unless its value is infinite or NaN: where that is so, the rows are multiplied one by one, with 0 in place
// of the values that they do not see (`weigh`, ALONE). The rows of a product do not depend on each other, so the bits are the
// same either way, and the same in a step over the cache as in a pass over the whole sequence. That products of 0 take no bits
// from the others of a sum is left to trust, and what tests/gpu.rs asks of the device.
#pragma once

#include "attention.cuh"
#include "rows.cuh"

constexpr int VECTORS = 16;        // of one product
constexpr int SLAB = 32;           // columns
constexpr int TILES = CHUNK / 8;   // of keys, in the scores of a chunk
constexpr int STEPS = CHUNK / 16;  // of keys, in its result
constexpr int COLUMN_TILES = SLAB / 8;

DEVICE uint4 bf16_piece(const float (&x)[8]) {
    return {bf16_pair(x[0], x[1]), bf16_pair(x[2], x[3]), bf16_pair(x[4], x[5]), bf16_pair(x[6], x[7])};
}

constexpr float LOG2_E = 1.44269504f;

// 2^x by the unit for it, to 2 units in the last place.
DEVICE float power_of_2(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

// e^x for x <= 0: to 2 units in the last place and |x| 2^-23.
DEVICE float exp_unit(float x) { return power_of_2(__fmul_rn(x, LOG2_E)); }

// Whether one of the eight numbers is infinite or NaN.
DEVICE bool strange(const uint4& v) {
    const u32 words[4] = {v.x, v.y, v.z, v.w};
    bool any = false;
#pragma unroll
    for (int w = 0; w < 4; ++w) any |= (words[w] & 0x7f80u) == 0x7f80u || (words[w] & 0x7f800000u) == 0x7f800000u;
    return any;
}

// A page in bf16: of each layer, of each key-value head, keys [64][pieces] of 8 columns, then values alike. pieces = ceil(D / 8);
// the columns that are too many are 0. `table` as in attention.cuh.
struct PiecePages {
    const u64* table;
    s64 offset;  // words of 32 bits before this layer and head
    int shift;
    int pieces;

    // The key at a position; its value is CHUNK * pieces behind it.
    __device__ __forceinline__ uint4* key(int position) const {
        u32* page = (u32*)table[position >> shift] + offset;
        __builtin_assume(__isGlobal(page));
        return (uint4*)page + position % CHUNK * pieces;
    }
};

// Where a piece of a row lies in shared memory that has rows of W columns. Rows are turned so that 8 rows of one piece, which
// ldmatrix reads, and 2 rows of 4 pieces, which 8 lanes read, are in 8 different groups of banks.
template <int W>
DEVICE int place(int row, int piece) {
    constexpr int PIECES = W / 8;
    const int turn = PIECES >= 8 ? (row & 1) << 2 | (row >> 1 & 3) : row >> 1 & 3;
    return row * PIECES + (piece ^ turn);
}

// Queries of `count` vectors from `first` on, rotated, scaled and rounded, to shared memory; 0 where there is none.
template <int W>
DEVICE void load_queries(
    uint4* to, int count, const Queries& of, int first, const float* q, s64 stride, const float2* angles, int pairs,
    float scale, int width) {
    const int pieces = (width + SLAB - 1) / SLAB * (SLAB / 8);
    for (int i = threadIdx.x; i < count * pieces; i += blockDim.x) {
        const int r = i / pieces, piece = i % pieces;
        const Vector v = of.at(first + r);
        const bool there = first + r < of.count();
        const float* head = q + v.row * stride + (s64)v.head * width;
        float x[8];
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            const int d = 8 * piece + e;
            x[e] = there && d < width ? __fmul_rn(turned(head, d, angles, pairs, v.position), scale) : 0.0f;
        }
        to[place<W>(r, piece)] = bf16_piece(x);
    }
}

// The part of a lane of one slab of 16 queries, which begin at row `first` of shared memory.
template <int W>
DEVICE void query_slab(const uint4* queries, int first, int slab, uint4 (&q)[2]) {
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int half = 0; half < 2; ++half) q[half] = queries[place<W>(first + half * 8 + lane / 4, slab * 4 + lane % 4)];
}

// s += q k over one slab, for 16 M queries and N tiles of 8 keys from tile `from` on.
template <int M, int N, int T>
DEVICE void multiply_slab(const uint4 (&q)[M][2], const uint4 (&k)[N], int from, float (&s)[M][T][4]) {
#pragma unroll
    for (int step = 0; step < 2; ++step) {
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const u32 b[2] = {step ? k[i].z : k[i].x, step ? k[i].w : k[i].y};
#pragma unroll
            for (int m = 0; m < M; ++m) {
                const u32 a[4] = {step ? q[m][0].z : q[m][0].x, step ? q[m][1].z : q[m][1].x,
                                  step ? q[m][0].w : q[m][0].y, step ? q[m][1].w : q[m][1].y};
                mma_bf16(s[m][from + i], a, b);
            }
        }
    }
}

// Drops nothing of a softmax.
struct Undropped {
    __device__ __forceinline__ void drop(float (&)[TILES][4], const Queries&, int, int) const {}
    __device__ __forceinline__ float scaled(float out) const { return out; }
};

// The softmax of a chunk for the 16 vectors from `first` on. The scores become p, as the operand of the next products; (m, l) of
// both rows of a lane go to `sums`. `seen` are the keys that these rows see; `whole` is whether every row sees all of the chunk.
// `dropping` takes from p what is dropped, when its sum is made.
template <class Dropping = Undropped>
DEVICE void soften(
    float (&s)[TILES][4], const Queries& of, int first, int start, const Scoring& how, const int (&seen)[2], bool whole,
    u32 (&p)[STEPS][4], float2 (&sums)[2], const Dropping& dropping = Dropping()) {
    const int g = threadIdx.x % WARP / 4, column = threadIdx.x % 4 * 2;
    if (how.bias || how.scores) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const Vector v = of.at(first + half * 8 + g);
#pragma unroll
            for (int i = 0; i < TILES; ++i) {
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const int key = start + 8 * i + column + e;
                    if (key < v.seen) s[i][2 * half + e] = how.score(s[i][2 * half + e], v, key, of.keys);
                }
            }
        }
    }
    if (!whole) {
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (start + 8 * i + column + e % 2 >= seen[e / 2]) s[i][e] = lowest();
        }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float m = lowest();
#pragma unroll
        for (int i = 0; i < TILES; ++i) m = fmaxf(m, fmaxf(s[i][2 * half], s[i][2 * half + 1]));
        m = fmaxf(m, __shfl_xor_sync(ALL, m, 1));
        m = fmaxf(m, __shfl_xor_sync(ALL, m, 2));
        // Where every score is minus infinity, or NaN, which a maximum passes over.
        const float base = m == lowest() ? 0.0f : m;
        float l = 0.0f;
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
#pragma unroll
            for (int e = 2 * half; e < 2 * half + 2; ++e) {
                s[i][e] = exp_unit(__fsub_rn(s[i][e], base));
                l = __fadd_rn(l, s[i][e]);
            }
        }
        l = __fadd_rn(l, __shfl_xor_sync(ALL, l, 1));
        l = __fadd_rn(l, __shfl_xor_sync(ALL, l, 2));
        sums[half] = {m, l};
    }
    dropping.drop(s, of, first, start);
#pragma unroll
    for (int i = 0; i < TILES; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) p[i / 2][i % 2 * 2 + half] = bf16_pair(s[i][2 * half], s[i][2 * half + 1]);
    }
}

// Those of two values that lie below `limit`, 0 for the others; the first is that of `key`.
DEVICE u32 below(u32 pair, int key, int limit) {
    return key + 1 < limit ? pair : key < limit ? pair & 0xffffu : 0u;
}

// o += p v over a chunk, for 16 M vectors and one slab of columns. fragments(j, b) gives the values of 16 keys as operands for
// each tile of 8 columns; behind `steps` of them nobody sees a key. ALONE: values from `limit` on, in the chunk, count as 0.
template <bool ALONE, int M, class Fragments>
DEVICE void weigh(const u32 (&p)[M][STEPS][4], int steps, int limit, Fragments fragments, float (&o)[M][COLUMN_TILES][4]) {
#pragma unroll
    for (int j = 0; j < STEPS; ++j) {
        if (j >= steps) break;
        u32 b[COLUMN_TILES][2];
        fragments(j, b);
        if (ALONE) {
#pragma unroll
            for (int i = 0; i < COLUMN_TILES; ++i) {
#pragma unroll
                for (int h = 0; h < 2; ++h) b[i][h] = below(b[i][h], 16 * j + 8 * h + threadIdx.x % 4 * 2, limit);
            }
        }
#pragma unroll
        for (int i = 0; i < COLUMN_TILES; ++i) {
#pragma unroll
            for (int m = 0; m < M; ++m) mma_bf16(o[m][i], p[m][j], b[i]);
        }
    }
}

DEVICE float quotient(float o, float l) { return __fadd_rn(__fdiv_rn(o, l), 0.0f); }

// Results once more, rounded, as the rows of the linear layer behind (rows.cuh), where it has asked for them. Heads are of whole eights
// of columns, all of them whole slabs.
struct Laid {
    u16* operand;  // or null
    bool swizzled;
    int rows, columns;

    // N pairs of columns from `column` on, which is even, and of four pairs a multiple of 8. Whoever has the last row stores the zeros
    // behind it, too.
    template <int N>
    __device__ __forceinline__ void store(int row, int column, const u32 (&pairs)[N]) const {
        if (!operand) return;
        const int tiles = (rows + ROW_TILE - 1) / ROW_TILE, past = row < rows - 1 ? row + 1 : tiles * ROW_TILE;
#pragma unroll 1
        for (int r = row; r < past; ++r) {
            const u64 place = swizzled ? operand_place<BF16_SWIZZLED>(r, column, tiles, columns)
                                       : operand_place<BF16>(r, column, tiles, columns);
            // The next pair lies behind this one, or has the next lane.
            u32* to = (u32*)(operand + place);
            const int step = swizzled ? 1 : 4;
#pragma unroll
            for (int i = 0; i < N; ++i) to[i * step] = r == row ? pairs[i] : 0;
        }
    }
};

#define LAID_PARAMETERS u16 *operand, int swizzled, int all_rows
#define LAID {operand, swizzled != 0, all_rows, heads * width}
