// Some columns of one tensor become some columns of another: y[n][to + j] = x[n][from + j], j < count.
//
// Floor: 8 bytes an element over the memory bandwidth. A block takes a row.
#include "overlap.cuh"

KERNEL copy_columns(const float* x, int x_stride, int from, int count, int y_stride, int to, float* y) {
    begin_behind_previous();
    const float* source = x + (u64)blockIdx.x * x_stride + from;
    float* target = y + (u64)blockIdx.x * y_stride + to;
    for (int j = threadIdx.x; j < count; j += blockDim.x) target[j] = source[j];
}
