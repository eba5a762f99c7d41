// Logit rules: out = the rules of each row applied to its logits, or to their log-softmax.
//
// A block takes one segment of a row, as best.cu does, in shared memory, and goes through the rules of the row in their
// order; each touches ids that are all different, of which the block takes those that lie in its segment. Each rule is a few
// f32 operations, rounded one by one, as the reference has it. `parts` of the raw logits are given where their log-softmax
// comes first (a second pass over the row).
//
// rules: {kind, first id, ids, value}; starts [rows + 1] divides them into rows. ids and values (of `Add`) follow each other.
//
// Floor: 8 bytes a score over the bandwidth, out of the L2 cache. Not measured: no GPU has run it yet.

#include "choice.cuh"

enum Kind { ADD, PENALISE, BAN, ONLY, GROW };

KERNEL rule_scores(
    const float* logits, int vocab, const float2* parts, const int* starts, const int4* rules, const u32* ids,
    const float* values, float* out) {
    __shared__ float scores[SEGMENT];
    const int first = blockIdx.y * SEGMENT, count = min(vocab - first, SEGMENT);
    const s64 row = blockIdx.x, at = row * vocab + first;
    LogSum sums = {0.0, 0.0};
    if (parts) sums = log_sum(parts + row * gridDim.y, gridDim.y);
    for (int i = threadIdx.x; i < count; i += blockDim.x)
        scores[i] = parts ? (float)sums.of(logits[at + i]) : logits[at + i];
    for (int r = starts[row]; r < starts[row + 1]; ++r) {
        const int4 rule = rules[r];
        const float value = __int_as_float(rule.w);
        __syncthreads();
        if (rule.x == ONLY) {
            for (int i = threadIdx.x; i < count; i += blockDim.x) scores[i] = lowest();
            __syncthreads();
        }
        for (int i = threadIdx.x; i < rule.z; i += blockDim.x) {
            const u32 place = ids[rule.y + i] - first;
            if (place >= count) continue;
            const float s = scores[place];
            float changed = lowest();
            if (rule.x == ADD) changed = __fadd_rn(s, values[rule.y + i]);
            if (rule.x == PENALISE) changed = s < 0.0f ? __fmul_rn(s, value) : __fdiv_rn(s, value);
            if (rule.x == ONLY) changed = 0.0f;
            // A banned id stays banned: the formula would make it NaN.
            if (rule.x == GROW) changed = s == lowest() ? s : __fadd_rn(s, __fmul_rn(fabsf(s), value));
            scores[place] = changed;
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += blockDim.x) out[at + i] = scores[i];
}
