// ln sum e^score of each row and head, for the way back: m + ln l of what attention left (attention.cuh); -infinity where nothing
// is seen, as m is. One thread each.
//
// Floor: 12 bytes a row and head over the bandwidth. Not measured: no GPU has run it yet.

#include "common.cuh"

KERNEL attention_log_sums(const float2* stats, s64 count, float* log_sums) {
    const s64 i = (s64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float2 of = stats[i];
    log_sums[i] = of.y == 0.0f ? of.x : __fadd_rn(of.x, logf(of.y));
}
