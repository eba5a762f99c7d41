// Draws one id a row: warp, softmax, then the first id at which the cumulative probability exceeds uniforms[row].
//
// scores [rows, V] after the rules, changed in place. A block takes a row; threads and so the order of sums depend on V
// alone. The cumulative probability is a split of ids by integer weights (choice.cuh, warp.cuh), so it has no order.
// A row that has no distribution gives id 0, and NaN.
//
// Floor: a pass over the row is 4 V bytes out of the L2 cache; a plain draw takes 6 passes and each part of the warp about
// 8. Not measured: no GPU has run it yet.

#include "warp.cuh"

KERNEL sample(
    float* scores, int vocab, float temperature, int top_k, float top_p, float min_p, float typical_p, float epsilon,
    float eta, int keep, const float* uniforms, u32* ids, float* out) {
    __shared__ Scratch scratch;
    const Row row = {scores + (s64)blockIdx.x * vocab, vocab, scratch};
    if (row.state() <= 0) {
        if (threadIdx.x == 0) {
            ids[blockIdx.x] = 0;
            out[blockIdx.x] = quiet_nan();
        }
        return;
    }
    row.warp({temperature, top_p, min_p, typical_p, epsilon, eta, top_k, keep});
    const LogSum of = row.softmax();
    const u64 budget = (u64)((double)uniforms[blockIdx.x] * ONE);
    const auto mass = [&](int i) { return row.mass(of, i); };
    const Split drawn = split(vocab, 32, budget, scratch.bins, [](int i) { return (u64)i; }, mass);
    u64 last = 0;
    row.each([&](int i) { if (mass(i) > 0) last = i; });
    // Where rounding keeps the sum from exceeding it, the last id that is possible.
    last = block_max(last, scratch.keys);
    if (threadIdx.x == 0) {
        const u32 id = drawn.found ? (u32)drawn.key : (u32)last;
        ids[blockIdx.x] = id;
        out[blockIdx.x] = (float)of.of(row.s[id]);
    }
}
