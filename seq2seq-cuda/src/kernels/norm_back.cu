// Back through LayerNorm and RMSNorm: with x^ = (x - mean) r, r = 1 / sqrt(variance + eps), g = dy weight:
// dx = r (g - mean(g) - x^ mean(g x^)); in RMSNorm without the means of x and g. x^ is written too: the gradients of weight and
// bias are sums over rows of dy x^ and dy (sum_columns).
//
// Floor: x and dy read twice (the second time from a cache), dx and x^ written: 16 bytes an element. A block takes a row; sums
// are as in norm.cu.
#include "common.cuh"

KERNEL norm_back(const float* x, const float* weight, const float* dy, int width, float eps, int layer, int accumulate, float* hat,
                 float* dx) {
    __shared__ float part[WARP];
    u64 start = (u64)blockIdx.x * width;
    x += start, dy += start, hat += start;
    float mean = 0.0f, squares = 0.0f, along = 0.0f, shift = 0.0f, n = (float)width;
    if (layer) {
        float sum = 0.0f;
        for (int i = threadIdx.x; i < width; i += blockDim.x) sum += x[i];
        mean = block_sum(sum, part) / n;
    }
    for (int i = threadIdx.x; i < width; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    float r = 1.0f / sqrtf(block_sum(squares, part) / n + eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float h = (x[i] - mean) * r, g = dy[i] * weight[i];
        hat[i] = h;
        along += g * h;
        shift += g;
    }
    if (!dx) return;
    along = block_sum(along, part) / n;
    shift = layer ? block_sum(shift, part) / n : 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float out = (dy[i] * weight[i] - shift - hat[i] * along) * r;
        dx[start + i] = accumulate ? dx[start + i] + out : out;
    }
}
