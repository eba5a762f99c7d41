// along[n][h] = sum of dy y over the columns of a head: what sum p dp of the row is, dropped weights included, as y = sum m p v.
//
// y, dy: [rows, heads, width]. A warp takes a row and head. Order of the sum: lanes over rising columns, then a butterfly.
//
// Floor: 8 bytes a column over the bandwidth. Not measured: no GPU has run it yet.

#include "common.cuh"

KERNEL attention_along(const float* y, const float* dy, s64 count, int width, float* along) {
    const s64 at = (s64)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (at >= count) return;
    const float *a = y + at * width, *b = dy + at * width;
    float sum = 0.0f;
    for (int c = threadIdx.x % WARP; c < width; c += WARP) sum = __fmaf_rn(a[c], b[c], sum);
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) along[at] = sum;
}
