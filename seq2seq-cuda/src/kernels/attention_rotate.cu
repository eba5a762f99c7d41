// Rotates heads of packed rows in place, forwards or back: before the way back of attention, and what comes of it.
//
// x: rows of `stride` columns, whose first `heads` heads of `width` are rotated by the angles of the row's position,
// [positions, pairs]. The bits are those of attention.cuh. Where `back`, by the transposed rotation. A block is a row.
//
// Floor: 8 bytes an element over the bandwidth. Not measured: no GPU has run it yet.

#include "attention.cuh"

KERNEL attention_rotate(const int* places, const float2* angles, int pairs, int heads, int width, int stride, int back, float* x) {
    const s64 row = blockIdx.x;
    for (int i = threadIdx.x; i < heads * pairs; i += blockDim.x) {
        float* at = x + row * stride + i / pairs * width + i % pairs;
        float2 turn = angles[(s64)places[row] * pairs + i % pairs];
        if (back) turn.y = -turn.y;
        const float a = at[0], b = at[pairs];
        at[0] = rotated(a, b, turn, true);
        at[pairs] = rotated(a, b, turn, false);
    }
}
