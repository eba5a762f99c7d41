// Rows that are chosen, and means of rows.
//
// gather_rows: y[i] = x[index[i]]. Floor: 8 * width bytes a row over the memory bandwidth; a block a row.
// mean_rows: y[b][j] = (sum of x[r][j], offsets[b] <= r < offsets[b + 1]) / count, added in rising r by one thread a column,
// neighbours reading neighbours. Floor: 4 bytes an element of x. The sum of a column depends on nothing but its rows.
#include "common.cuh"

KERNEL gather_rows(const float* x, const u32* index, int width, float* y) {
    u64 from = (u64)index[blockIdx.x] * width, to = (u64)blockIdx.x * width;
    for (int j = threadIdx.x; j < width; j += blockDim.x) y[to + j] = x[from + j];
}

KERNEL mean_rows(const float* x, const u32* offsets, int width, float* y) {
    int column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= width) return;
    u32 begin = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
    float sum = 0.0f;
    for (u64 row = begin; row < end; row++) sum += x[row * width + column];
    y[(u64)blockIdx.x * width + column] = sum / (float)(end - begin);
}
