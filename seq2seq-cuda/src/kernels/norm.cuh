// LayerNorm, y = (x - mean) / sqrt(variance + eps) * weight + bias, and RMSNorm, y = x / sqrt(mean square + eps) * weight, of a row that
// a block keeps in registers, up to 8 elements a thread.
//
// The variance is the mean of squared deviations, taken in a second pass over the row: the mean of squares less the square of
// the mean would lose what LayerNorm is for.
//
// Order of a sum: thread t adds elements t, t + T, ... in rising order, a warp adds its lanes as a butterfly, warps are
// added in their order. T depends on the width alone, so a row's bits do not depend on the others.
#pragma once
#include "overlap.cuh"

constexpr int HELD = 8;

// The columns of a thread below `end`, f(k, column).
template <class F>
DEVICE void each_column(int end, F f) {
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        int i = threadIdx.x + k * blockDim.x;
        if (i < end) f(k, i);
    }
}

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

// What a thread has of a normalised row: v[k] is column threadIdx.x + k * blockDim.x, 0 behind the last. `width` <= HELD * blockDim.x;
// `part` has room for a value a warp.
DEVICE void normalise(
    const float* row, const float* weight, const float* bias, int width, float eps, int layer, float* part, float (&v)[HELD]) {
    float square[HELD];
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        int i = threadIdx.x + k * blockDim.x;
        v[k] = i < width ? row[i] : 0.0f;
    }
    float mean = layer ? sum_of(v, part) / (float)width : 0.0f;
#pragma unroll
    for (int k = 0; k < HELD; k++) {
        int i = threadIdx.x + k * blockDim.x;
        v[k] = i < width ? v[k] - mean : 0.0f;
        square[k] = v[k] * v[k];
    }
    float inverse = 1.0f / sqrtf(sum_of(square, part) / (float)width + eps);
    each_column(width, [&](int k, int i) {
        float out = v[k] * inverse * weight[i];
        v[k] = bias ? out + bias[i] : out;
    });
}
