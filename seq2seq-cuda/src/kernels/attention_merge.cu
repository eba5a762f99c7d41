// Puts together what attention_split or attention_bf16_split left of the chunks of each query vector, in rising order.
//
// parts [N H][chunks][D], stats [N H][chunks] of (largest score, sum); `seen` has the keys that each row sees. A block is
// one vector, a thread one column, so that the order is that of attention.cuh, and attention_bf16.cuh. Vectors of one chunk are
// done already.
//
// Floor: the bytes of the parts over the bandwidth, and they come out of the L2 cache.
// Not measured: no GPU has run it yet.

#include "attention_bf16.cuh"
#include "overlap.cuh"

// divide(o, l) is the quotient at last.
template <class Divide>
DEVICE void merge(
    float* out, float2* stats, const float* parts, const float2* part_stats, int chunks, const int* seen, int heads, int width,
    const Laid& laid, Divide divide) {
    begin_behind_previous();
    const s64 vector = blockIdx.x;
    const int keys = seen[vector / heads], column = threadIdx.x;
    if (keys <= CHUNK) return;
    Merged<1> merged;
    merged.clear();
    for (int chunk = 0; chunk * CHUNK < keys; ++chunk) {
        const s64 at = vector * chunks + chunk;
        const float part[1] = {column < width ? parts[at * width + column] : 0.0f};
        merged.add(part_stats[at], part);
    }
    const float o = divide(merged.o[0], merged.l), next = __shfl_down_sync(ALL, o, 1);
    if (column < width) {
        out[vector * width + column] = o;
        if (column % 2 == 0) laid.store<1>(vector / heads, vector % heads * width + column, {rounded_pair(o, next)});
    }
    if (stats && column == 0) stats[vector] = {merged.m, merged.l};
}

#define PARAMETERS                                                                                                    \
    float* out, float2* stats, const float* parts, const float2* part_stats, int chunks, const int* seen, int heads, int width
#define GIVEN out, stats, parts, part_stats, chunks, seen, heads, width

KERNEL attention_merge(PARAMETERS) {
    merge(GIVEN, {}, [](float o, float l) { return __fdiv_rn(o, l); });
}

KERNEL attention_merge_bf16(PARAMETERS, LAID_PARAMETERS) {
    merge(GIVEN, LAID, [](float o, float l) { return quotient(o, l); });
}
