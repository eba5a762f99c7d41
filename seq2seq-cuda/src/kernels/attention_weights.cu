// Attention probabilities, where they are asked for: scores become e^(score - m) / l in place.
//
// scores: for each row n from starts[n] on, [H][keys[n]]; stats [N H] of (m, l) as the attention left them. A block is one
// query vector.
//
// Floor: 8 bytes a score over the bandwidth. Not measured: no GPU has run it yet.

#include "attention_bf16.cuh"

template <class Exp>
DEVICE void weights(float* scores, const float2* stats, const s64* starts, const int* keys, int heads, Exp exp_of) {
    const s64 vector = blockIdx.x;
    const int count = keys[vector / heads];
    float* mine = scores + starts[vector / heads] + (vector % heads) * count;
    const float2 of = stats[vector];
    for (int j = threadIdx.x; j < count; j += blockDim.x)
        mine[j] = __fdiv_rn(exp_of(__fsub_rn(mine[j], of.x)), of.y);
}

KERNEL attention_weights(float* scores, const float2* stats, const s64* starts, const int* keys, int heads) {
    weights(scores, stats, starts, keys, heads, [](float x) { return exp_below(x); });
}

// The exponentials are those that the sums are made of.
KERNEL attention_weights_bf16(float* scores, const float2* stats, const s64* starts, const int* keys, int heads) {
    weights(scores, stats, starts, keys, heads, [](float x) { return exp_unit(x); });
}
