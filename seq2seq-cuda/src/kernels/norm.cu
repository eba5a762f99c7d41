// LayerNorm, y = (x - mean) / sqrt(variance + eps) * weight + bias, and RMSNorm, y = x / sqrt(mean square + eps) * weight.
//
// x, y: [rows, width]. The variance is the mean of squared deviations, taken in a second pass over the row: the mean of
// squares less the square of the mean would lose what LayerNorm is for.
//
// Floor: 8 bytes an element (one read, one write) over the memory bandwidth. A block takes one row and keeps it in
// registers, up to 8 elements a thread; wider rows are read again (from the first-level cache where they fit).
//
// Order of a sum: thread t adds elements t, t + T, ... in rising order, a warp adds its lanes as a butterfly, warps are
// added in their order. T depends on the width alone, so a row's bits do not depend on the others.
#include "overlap.cuh"

constexpr int HELD = 8;

DEVICE float sum_of(const float (&v)[HELD], float* part) {
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < HELD; k++) sum += v[k];
    return block_sum(sum, part);
}

// Weights and biases are far away when all of a model has been read since: one thread of all asks for them first.
DEVICE void begin(const float* weight, const float* bias, int width) {
    launch_dependents();
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        prefetch(weight, width * sizeof(float));
        if (bias) prefetch(bias, width * sizeof(float));
    }
    wait_for_previous();
}

// `width` <= HELD * blockDim.x.
KERNEL norm_held(const float* x, const float* weight, const float* bias, int width, float eps, int layer, float* y) {
    __shared__ float part[WARP];
    begin(weight, bias, width);
    const float* row = x + (u64)blockIdx.x * width;
    float v[HELD], square[HELD];
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        int i = threadIdx.x + k * blockDim.x;
        v[k] = i < width ? row[i] : 0.0f;
    }
    float mean = layer ? sum_of(v, part) / (float)width : 0.0f;
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        int i = threadIdx.x + k * blockDim.x;
        float deviation = i < width ? v[k] - mean : 0.0f;
        v[k] = deviation;
        square[k] = deviation * deviation;
    }
    float inverse = 1.0f / sqrtf(sum_of(square, part) / (float)width + eps);
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        int i = threadIdx.x + k * blockDim.x;
        if (i < width) {
            float out = v[k] * inverse * weight[i];
            y[(u64)blockIdx.x * width + i] = bias ? out + bias[i] : out;
        }
    }
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
