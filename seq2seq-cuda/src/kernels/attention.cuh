// What one warp does in attention, the same wherever keys and values lie, and so to the same bits.
//
//   out[v] = sum_j p[v][j] value[j],   p[v] = softmax_j(scale q[v] k[j] + bias[j - position])
//
// The order of summation, which every kernel of attention keeps:
//
//   1. The keys of a sequence are cut into chunks of 64: positions 0..63, 64..127, and so on, whatever a row sees of them.
//   2. A score is one chain of fused multiply-adds over the columns, rising; then fma(scale, chain, bias).
//   3. In a chunk: m is the largest score that is seen, p = e^(score - m). Lane i of a warp has keys i and i + 32; the sum
//      l of p is p[i] + p[i + 32], then a butterfly over the lanes. Column c of the result is one chain of fused
//      multiply-adds p[j] value[j][c], j rising over the keys that are seen.
//   4. Chunks are merged in rising order, each by `Merged::add`; the result is divided by the sum at last.
//
// A key that a row does not see takes no part at all: it does not even add a zero, which would turn -0 into 0 and meet NaN.
// So a row has the same bits in a pass over the whole sequence and in a step over the cache, whichever kernel ran, however
// the chunks were spread over blocks, and whatever stood beside it.
#pragma once

#include "common.cuh"

constexpr int CHUNK = 64;

DEVICE float lowest() { return -infinity(); }

// e^x for x <= 0, to 2 units in the last place; 0 below 2^-125, NaN for NaN.
//
// With n = round(x / ln 2) and r = x - n ln 2, ln 2 in two parts: e^x = 2^n (1 + r + r^2 q(r)), |r| <= 0.3466. The
// polynomial is that of the CPU backend. Adding 1.5 2^23 rounds to the nearest integer and leaves n in the low bits.
DEVICE float exp_below(float x) {
    const float shifted = __fmaf_rn(x, 1.44269504f, 12582912.0f);
    const float n = __fsub_rn(shifted, 12582912.0f);
    float r = __fmaf_rn(n, -355.0f / 512.0f, x);
    r = __fmaf_rn(n, 2.1219444e-4f, r);
    float q = __fmaf_rn(r, 0.0013814599f, 0.008368717f);
    q = __fmaf_rn(q, r, 0.04166839f);
    q = __fmaf_rn(q, r, 0.1666652f);
    q = __fmaf_rn(q, r, 0.49999993f);
    const float e = __fadd_rn(__fmaf_rn(__fmul_rn(r, r), q, r), 1.0f);
    const float power = __int_as_float((__float_as_int(shifted) << 23) + 0x3f800000);
    return x < -86.6f ? 0.0f : __fmul_rn(e, power);
}

// Columns a and b of a rotated pair (Su et al. 2021); `turn` is cosine and sine.
DEVICE float rotated(float a, float b, float2 turn, bool first) {
    return first ? __fmaf_rn(a, turn.x, -__fmul_rn(b, turn.y))
                 : __fmaf_rn(b, turn.x, __fmul_rn(a, turn.y));
}

// Column d of a head of a packed row, rotated to `position`: columns j and j + pairs are a pair.
DEVICE float turned(const float* head, int d, const float2* angles, int pairs, int position) {
    if (d >= 2 * pairs) return head[d];
    const int j = d < pairs ? d : d - pairs;
    return rotated(head[j], head[j + pairs], angles[(s64)position * pairs + j], d < pairs);
}

// A page: keys and values of 64 positions. For each layer, for each key-value head:
//
//   keys    [quads][64] of 4 columns    a lane reads 16 bytes of its own key, a warp 512 bytes in a row
//   values  [64][quads] of 4 columns
//
// quads = ceil(D / 4); the columns that are too many are 0. Pages lie anywhere: `table` has the address of the page of
// each chunk (shift 6), or of each position (shift 0) where hypotheses share some positions of a chunk and not others.
struct Pages {
    const u64* table;
    s64 offset;  // floats before this layer and head
    int shift;
    int quads;

    __device__ __forceinline__ const float4* at(int position) const {
        const float* page = (const float*)table[position >> shift] + offset;
        __builtin_assume(__isGlobal(page));
        return (const float4*)page;
    }
    // Columns 4 i .. 4 i + 3 of the key at a position: element i * CHUNK.
    __device__ __forceinline__ const float4* key(int position) const { return at(position) + position % CHUNK; }
    __device__ __forceinline__ const float* value(int position) const {
        return (const float*)(at(position) + (CHUNK + position % CHUNK) * quads);
    }
};

// One query vector: its row in the batch, its head, its position, and how many keys it sees.
struct Vector {
    s64 row;
    int head, position, seen;
};

// The query vectors of a sequence and a key-value head: vector v is head v % group of row v / group.
struct Queries {
    int first_row, first_position, keys;  // of the sequence
    int rows, group, kv_head;
    bool causal;

    __device__ __forceinline__ int count() const { return rows * group; }
    __device__ __forceinline__ Vector at(int v) const {
        const int row = v / group, position = first_position + row;
        const int seen = v >= count() ? 0 : causal ? position + 1 : keys;
        return {(s64)first_row + row, kv_head * group + v % group, position, seen};
    }
};

// Parameters of the kernels of the forward behind their results; ITEM is what a block is told of its work.
#define ATTENTION_PARAMETERS(ITEM)                                                                                    \
    const float *q, int q_stride, const int4 *spans, const ITEM *items, const u64 *table, int shift, s64 layer,       \
        const float2 *angles, int pairs, float scale, const float *bias, int reach, float *scores,                    \
        const s64 *starts, int heads, int kv_heads, int width, int causal

// sum over the columns of q k for R vectors and the K keys of this lane.
template <int R, int K>
DEVICE void dots(const float* q, const float4* const (&keys)[K], int quads, float (&s)[R][2]) {
#pragma unroll 2
    for (int i = 0; i < quads; ++i) {
        float4 k[K];
#pragma unroll
        for (int x = 0; x < K; ++x) k[x] = keys[x][i * CHUNK];
#pragma unroll
        for (int r = 0; r < R; ++r) {
            const float4 a = *(const float4*)(q + (r * quads + i) * 4);
#pragma unroll
            for (int x = 0; x < K; ++x) {
                float chain = __fmaf_rn(a.x, k[x].x, s[r][x]);
                chain = __fmaf_rn(a.y, k[x].y, chain);
                chain = __fmaf_rn(a.z, k[x].z, chain);
                s[r][x] = __fmaf_rn(a.w, k[x].w, chain);
            }
        }
    }
}

// What a score is made of besides the product, and where scores are wanted.
struct Scoring {
    float scale;
    const float* bias;  // [H][2 reach + 1], or none
    int reach;
    float* scores;            // or none
    const s64* starts;  // of each row in `scores`, [H][keys]

    __device__ __forceinline__ float score(float dot, const Vector& v, int key, int keys) const {
        float bias_here = 0.0f;
        if (bias) {
            const int distance = min(max(key - v.position, -reach), reach);
            bias_here = bias[(s64)v.head * (2 * reach + 1) + distance + reach];
        }
        const float s = __fmaf_rn(scale, dot, bias_here);
        if (scores) scores[starts[v.row] + (s64)v.head * keys + key] = s;
        return s;
    }
};

// The softmax of a chunk for one vector, in place of the products q k of keys lane and lane + 32; m and l.
DEVICE float2 softmax(const Vector& v, int start, int keys, const Scoring& how, float* out) {
    const int lane = threadIdx.x % WARP;
    float s[2];
#pragma unroll
    for (int x = 0; x < 2; ++x) {
        const int key = start + x * WARP + lane;
        s[x] = key < v.seen ? how.score(out[x * WARP + lane], v, key, keys) : lowest();
    }
    const float m = warp_max(fmaxf(s[0], s[1]));
    // Where every score is minus infinity, or NaN, which a maximum passes over.
    const float base = m == lowest() ? 0.0f : m;
    float p[2];
#pragma unroll
    for (int x = 0; x < 2; ++x) {
        const int key = start + x * WARP + lane;
        p[x] = key < v.seen ? exp_below(__fsub_rn(s[x], base)) : 0.0f;
        out[x * WARP + lane] = p[x];
    }
    return {m, warp_sum(__fadd_rn(p[0], p[1]))};
}

// The softmax of a chunk for R vectors: p to weights[r][64], m and l to sums[r]. `dot` are of keys lane and lane + 32.
//
// The products go through shared memory, so that vectors are gone through by a loop: sixteen copies of a score with its bias
// would be longer than the rest of a kernel, and hold registers.
template <int R>
DEVICE void soften(const float (&dot)[R][2], const Queries& of, int first, int start, const Scoring& how, float* weights, float2* sums) {
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int r = 0; r < R; ++r) {
        weights[r * CHUNK + lane] = dot[r][0];
        weights[r * CHUNK + lane + WARP] = dot[r][1];
    }
#pragma unroll 1
    for (int r = 0; r < R; ++r) {
        const float2 sum = softmax(of.at(first + r), start, of.keys, how, weights + r * CHUNK);
        if (lane == 0) sums[r] = sum;
    }
}

// o[r][c] += p[r][j] value[j][lane + 32 c] for the keys of a chunk that each vector sees; row(j) is where a value lies.
template <int R, int C, class Row>
DEVICE void weigh(const float* p, const int (&seen)[R], int columns, Row row, float (&o)[R][C]) {
    const int lane = threadIdx.x % WARP;
    int least = CHUNK, most = 0;
#pragma unroll
    for (int r = 0; r < R; ++r) {
        least = min(least, seen[r]);
        most = max(most, seen[r]);
    }
    const auto load = [&](int j, float (&v)[C]) {
        const float* at = row(j);
#pragma unroll
        for (int c = 0; c < C; ++c) v[c] = lane + c * WARP < columns ? at[lane + c * WARP] : 0.0f;
    };
    int j = 0;
    // Four keys at a time are work enough; more copies of the body are only longer.
#pragma unroll 1
    for (; j + 4 <= least; j += 4) {
        float v[4][C];
#pragma unroll
        for (int i = 0; i < 4; ++i) load(j + i, v[i]);
#pragma unroll
        for (int r = 0; r < R; ++r) {
            const float4 w = *(const float4*)(p + r * CHUNK + j);
#pragma unroll
            for (int c = 0; c < C; ++c) {
                float chain = __fmaf_rn(w.x, v[0][c], o[r][c]);
                chain = __fmaf_rn(w.y, v[1][c], chain);
                chain = __fmaf_rn(w.z, v[2][c], chain);
                o[r][c] = __fmaf_rn(w.w, v[3][c], chain);
            }
        }
    }
#pragma unroll 1
    for (; j < most; ++j) {
        float v[C];
        load(j, v);
#pragma unroll
        for (int r = 0; r < R; ++r) {
            if (j >= seen[r]) continue;
#pragma unroll
            for (int c = 0; c < C; ++c) o[r][c] = __fmaf_rn(p[r * CHUNK + j], v[c], o[r][c]);
        }
    }
}

// The chunks of one vector so far: the largest score, and the sum of e^(score - largest).
struct Running {
    float m, l;

    // Adds a chunk; gives the factors of the result so far and of that of the chunk.
    __device__ __forceinline__ float2 add(float2 chunk) {
        const float largest = fmaxf(m, chunk.x);
        const float base = largest == lowest() ? 0.0f : largest;
        const float before = exp_below(__fsub_rn(m, base)), now = exp_below(__fsub_rn(chunk.x, base));
        m = largest;
        l = __fmaf_rn(chunk.y, now, __fmul_rn(l, before));
        return {before, now};
    }
};

// The same with this lane's columns of the result.
template <int C>
struct Merged : Running {
    float o[C];

    __device__ __forceinline__ void clear() {
        m = lowest();
        l = 0.0f;
#pragma unroll
        for (int c = 0; c < C; ++c) o[c] = 0.0f;
    }

    __device__ __forceinline__ void add(float2 chunk, const float (&more)[C]) {
        const float2 factors = Running::add(chunk);
#pragma unroll
        for (int c = 0; c < C; ++c) o[c] = __fmaf_rn(more[c], factors.y, __fmul_rn(o[c], factors.x));
    }

    // Stores the result of a vector that sees `seen` keys; 0 where it sees none.
    __device__ __forceinline__ void store(float* out, float2* stats, const Vector& v, int heads, int width) const {
        const int lane = threadIdx.x % WARP;
        const s64 at = v.row * heads + v.head;
#pragma unroll
        for (int c = 0; c < C; ++c) {
            const int column = lane + c * WARP;
            if (column < width) out[at * width + column] = v.seen > 0 ? __fdiv_rn(o[c], l) : 0.0f;
        }
        if (stats && lane == 0) stats[at] = {m, l};
    }
};
