// The k best of each row of scores, and the sums that its log-softmax takes, in one pass over the row.
//
// scores [rows, V]. A row is cut into segments of 4096; a block takes one, a thread up to 16 of its scores, in registers:
// the block's largest score m and sum of e^(score - m) go to parts[row][segment], and its min(k, 4096) best, best first, to
// lists[row][segment][k], as integers that sort by score and then by falling id. They are found one after the other, each
// the largest below the last: k is a few beams. best_merge puts the segments together.
//
// Order of the sum: each thread its scores in rising order, lanes as a butterfly, warps in their order; segments in their
// order (choice.cuh). It depends on V alone.
//
// Floor: 4 bytes a score over the bandwidth, and they come out of the L2 cache, where the layer before left them.
// Not measured: no GPU has run it yet.

#include "choice.cuh"

constexpr int HELD = 16;  // blockDim.x * HELD covers a segment, or V where that is less

KERNEL best(const float* scores, int vocab, int k, float2* parts, u64* lists) {
    __shared__ float part[WARP];
    __shared__ u64 keys[WARP];
    const int first = blockIdx.y * SEGMENT, count = min(vocab - first, SEGMENT);
    const s64 at = (s64)blockIdx.x * gridDim.y + blockIdx.y;
    const float* row = scores + (s64)blockIdx.x * vocab + first;
    float v[HELD];
    float m = lowest();
#pragma unroll
    for (int e = 0; e < HELD; ++e) {
        const int i = threadIdx.x + e * blockDim.x;
        v[e] = i < count ? row[i] : lowest();
        m = fmaxf(m, v[e]);
    }
    m = block_max(m, part);
    const float base = m == lowest() ? 0.0f : m;
    float sum = 0.0f;
#pragma unroll
    for (int e = 0; e < HELD; ++e) sum = __fadd_rn(sum, exp_below(__fsub_rn(v[e], base)));
    sum = block_sum(sum, part);
    if (threadIdx.x == 0) parts[at] = {m, sum};
    u64 last = 0;
    for (int rank = 0; rank < min(k, count); ++rank) {
        u64 best = 0;
#pragma unroll
        for (int e = 0; e < HELD; ++e) {
            const int i = threadIdx.x + e * blockDim.x;
            const u64 key = (u64)ordered(v[e]) << 32 | (u32)~(first + i);
            if (i < count && (rank == 0 || key < last)) best = larger(best, key);
        }
        last = block_max(best, keys);
        if (threadIdx.x == 0) lists[at * k + rank] = last;
    }
}
