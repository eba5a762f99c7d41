// What the way back through attention in bf16 reads of each row and head (attention_back_bf16.cuh): the query, rotated, scaled and
// rounded as the forward has it (`load_queries`), dy rounded, and {-log2(e) log_sum, along} with along = sum of dy y, of dy as it is
// rounded: so is the dp that it is taken from.
//
// q: rows of q_stride; y, dy: [rows, heads, width]; q_to, dy_to: [rows, heads][pieces] of 8 columns, 0 behind the last. A row and head
// takes `lanes` lanes, a power of two and a piece each. Order of the sum: a lane over rising columns, then a butterfly.
//
// Floor: 16 bytes a column over the bandwidth. Not measured: no GPU has run it yet.

#include "attention_bf16.cuh"

KERNEL attention_back_rows(
    const float* q, int q_stride, const float* y, const float* dy, const float* log_sums, const int* positions,
    const float2* angles, int pairs, float scale, s64 count, int heads, int width, int lanes, uint4* q_to, uint4* dy_to,
    float2* sums) {
    const s64 i = (s64)blockIdx.x * blockDim.x + threadIdx.x, at = i / lanes;
    const int piece = (int)(i % lanes), pieces = (width + 7) / 8;
    float sum = 0.0f;
    if (at < count && piece < pieces) {
        const s64 row = at / heads;
        const float* head = q + row * q_stride + at % heads * width;
        const int position = pairs ? positions[row] : 0;
        float a[8], b[8], result[8];
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            const int d = 8 * piece + e;
            const bool there = d < width;
            a[e] = there ? __fmul_rn(turned(head, d, angles, pairs, position), scale) : 0.0f;
            b[e] = there ? dy[at * width + d] : 0.0f;
            result[e] = there ? y[at * width + d] : 0.0f;
        }
        q_to[at * pieces + piece] = bf16_piece(a);
        const uint4 rounded = bf16_piece(b);
        dy_to[at * pieces + piece] = rounded;
        const u32 words[4] = {rounded.x, rounded.y, rounded.z, rounded.w};
#pragma unroll
        for (int w = 0; w < 4; ++w) {
            sum = __fmaf_rn(__uint_as_float(words[w] << 16), result[2 * w], sum);
            sum = __fmaf_rn(__uint_as_float(words[w] & 0xffff0000u), result[2 * w + 1], sum);
        }
    }
    for (int step = lanes / 2; step > 0; step /= 2) sum = __fadd_rn(sum, __shfl_xor_sync(ALL, sum, step));
    if (at < count && piece == 0) sums[at] = {-__fmul_rn(LOG2_E, log_sums[at]), sum};
}
