// The k best of each row from those of its segments, and their scores or log-probabilities.
//
// lists and parts: best.cu. A block is one warp and one row. Each list is sorted, so each step compares their heads, list i
// held by lane i % 32: k steps of a few shuffles.
//
// Floor: none worth having: k entries a segment. Not measured: no GPU has run it yet.

#include "choice.cuh"

constexpr int SEGMENTS = 1024;  // at most

KERNEL best_merge(
    const float* scores, int vocab, int segments, int k, const float2* parts, const u64* lists,
    int normalise, u32* ids, float* out) {
    __shared__ int heads[SEGMENTS];
    const int lane = threadIdx.x;
    const s64 row = blockIdx.x;
    const LogSum sums = log_sum(parts + row * segments, segments);
    for (int i = lane; i < segments; i += WARP) heads[i] = 0;
    for (int rank = 0; rank < k; ++rank) {
        u64 best = 0;
        int mine = -1;
        for (int i = lane; i < segments; i += WARP) {
            const int held = min(min(vocab - i * SEGMENT, SEGMENT), k);
            const u64 key = heads[i] < held ? lists[(row * segments + i) * k + heads[i]] : 0;
            if (key > best) {
                best = key;
                mine = i;
            }
        }
        u64 chosen = best;
        for (int step = WARP / 2; step > 0; step /= 2) chosen = larger(chosen, __shfl_xor_sync(ALL, chosen, step));
        // Keys are distinct: one lane has it.
        if (mine >= 0 && best == chosen) {
            const u32 id = ~(u32)chosen;
            const float score = scores[row * vocab + id];
            ++heads[mine];
            ids[row * k + rank] = id;
            out[row * k + rank] = normalise ? (float)sums.of(score) : score;
        }
    }
}
