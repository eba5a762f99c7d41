// Draws k ids a row without replacement: the k largest of score + Gumbel noise (Vieira 2014), best first.
//
// scores [rows, V] after the rules, changed in place by warp and log-softmax; keys [rows, V] gets the noisy scores as
// integers that sort like them. Noise is that of seq2seq_core::noise: Philox4x32-10 (Salmon et al. 2011) of the id under
// the row's seed, in f64. A block takes a row. Each draw is the largest key behind the last one, of equal keys the lowest id.
// A row with NaN or plus infinity has NaN scores and ids 0, 1, 2, ..
//
// Floor: as sample.cu, and a pass of 8 V bytes a draw. Not measured: no GPU has run it yet.

#include "philox.cuh"
#include "warp.cuh"

DEVICE double gumbel(u64 seed, u32 id) {
    const uint4 block = philox(make_uint4(id, 0, 0, 0), seed);
    const u64 bits = ((u64)block.x << 32 | block.y) >> 12;
    return -log(-log(((double)bits + 0.5) * 2.220446049250313080847e-16));
}

KERNEL sample_k(
    float* scores, int vocab, float temperature, int top_k, float top_p, float min_p, float typical_p, float epsilon,
    float eta, int keep, const u64* seeds, u64* all_keys, int k, int normalise, u32* ids, float* out) {
    __shared__ Scratch scratch;
    const Row row = {scores + (s64)blockIdx.x * vocab, vocab, scratch};
    u64* keys = all_keys + (s64)blockIdx.x * vocab;
    ids += (s64)blockIdx.x * k;
    out += (s64)blockIdx.x * k;
    const int state = row.state();
    if (state < 0) {
        for (int i = threadIdx.x; i < k; i += blockDim.x) {
            ids[i] = i;
            out[i] = quiet_nan();
        }
        return;
    }
    if (state > 0) row.warp({temperature, top_p, min_p, typical_p, epsilon, eta, top_k, keep});
    if (normalise) {
        const LogSum of = row.softmax();
        row.each([&](int i) { row.s[i] = (float)of.of(row.s[i]); });
    }
    const u64 seed = seeds[blockIdx.x];
    row.each([&](int i) { keys[i] = ordered((double)row.s[i] + gumbel(seed, i)); });
    u64 last = ~0ull;
    int last_id = -1;
    for (int rank = 0; rank < k; ++rank) {
        u64 best = 0;
        row.each([&](int i) { if (keys[i] < last || (keys[i] == last && i > last_id)) best = larger(best, keys[i]); });
        best = block_max(best, scratch.keys);
        // The lowest id that has it, behind those that were drawn: the largest of its complements.
        u64 id = 0;
        row.each([&](int i) { if (keys[i] == best && (best < last || i > last_id)) id = larger(id, (u32)~i); });
        last_id = (int)~(u32)block_max(id, scratch.keys);
        last = best;
        if (last_id % blockDim.x == threadIdx.x) {
            ids[rank] = last_id;
            out[rank] = row.s[last_id];
        }
    }
}
