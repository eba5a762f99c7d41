// LayerNorm and RMSNorm (norm.cuh): x, y [rows, width].
//
// Floor: 8 bytes an element (one read, one write) over the memory bandwidth. A block takes one row and keeps it in registers;
// wider rows are read again (from the first-level cache where they fit), their sums in the same order.
#include "norm.cuh"

// `width` <= HELD * blockDim.x.
KERNEL norm_held(const float* x, const float* weight, const float* bias, int width, float eps, int layer, float* y) {
    __shared__ float part[WARP];
    begin(weight, bias, width);
    float v[HELD];
    normalise(x + (u64)blockIdx.x * width, weight, bias, width, eps, layer, part, v);
    each_column(width, [&](int k, int i) { y[(u64)blockIdx.x * width + i] = v[k]; });
}

KERNEL norm_wide(const float* x, const float* weight, const float* bias, int width, float eps, int layer, float* y) {
    __shared__ float part[WARP];
    begin(weight, bias, width);
    const float* row = x + (u64)blockIdx.x * width;
    float mean = 0.0f;
    if (layer) {
        float sum = 0.0f;
        for (int i = threadIdx.x; i < width; i += blockDim.x) sum += row[i];
        mean = block_sum(sum, part) / (float)width;
    }
    float squares = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float deviation = row[i] - mean;
        squares += deviation * deviation;
    }
    float inverse = 1.0f / sqrtf(block_sum(squares, part) / (float)width + eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float out = (row[i] - mean) * inverse * weight[i];
        y[(u64)blockIdx.x * width + i] = bias ? out + bias[i] : out;
    }
}
