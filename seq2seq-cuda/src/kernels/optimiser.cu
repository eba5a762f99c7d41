// Steps of optimisers, an element a thread: `seq2seq_core::train::OptimiserOps` has the formulas. Factors that are the same for
// all elements come from the host, where they are computed in f64.
//
// Floor: AdamW reads 16 and writes 12 bytes an element, SGD 12 and 8, over the memory bandwidth.
#include "common.cuh"

DEVICE u64 element_index() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }

// m = beta1 m + rest1 g; v = beta2 v + rest2 g^2; p = keep p - rate m / (sqrt(v) / root + eps).
KERNEL adamw(const float* gradient, u64 n, float scale, float beta1, float rest1, float beta2, float rest2, float root, float rate,
             float eps, float keep, float* p, float* m, float* v) {
    u64 i = element_index();
    if (i >= n) return;
    float g = gradient[i] * scale;
    float first = m[i] = beta1 * m[i] + rest1 * g, second = v[i] = beta2 * v[i] + rest2 * (g * g);
    p[i] = keep * p[i] - rate * first / (sqrtf(second) / root + eps);
}

// b = momentum b + g + decay p, the first b without what is kept; p -= rate b.
KERNEL sgd(const float* gradient, u64 n, float scale, float momentum, float decay, float rate, int first, float* p, float* b) {
    u64 i = element_index();
    if (i >= n) return;
    float g = gradient[i] * scale + decay * p[i], held = first ? g : momentum * b[i] + g;
    b[i] = held;
    p[i] -= rate * held;
}

// held = beta held + rest (g^2 + eps), a full second moment; update = g / sqrt(held).
KERNEL adafactor_full(const float* gradient, u64 n, float scale, float beta, float rest, float eps, float* held, float* update) {
    u64 i = element_index();
    if (i >= n) return;
    float g = gradient[i] * scale, v = held[i] = beta * held[i] + rest * (g * g + eps);
    update[i] = g / sqrtf(v);
}

// The means of rows, held[row] = beta held + rest mean(g^2 + eps). A block takes a row.
KERNEL __launch_bounds__(256) adafactor_rows(const float* gradient, int columns, float scale, float beta, float rest, float eps,
                                             float* held) {
    __shared__ float part[WARP];
    const float* row = gradient + (u64)blockIdx.x * columns;
    float sum = 0.0f;
    for (int j = threadIdx.x; j < columns; j += blockDim.x) {
        float g = row[j] * scale;
        sum += g * g + eps;
    }
    sum = block_sum(sum, part);
    if (threadIdx.x == 0) held[blockIdx.x] = beta * held[blockIdx.x] + rest * (sum / (float)columns);
}

// Those of columns. A block takes 32 columns, as sum_columns of elementwise.cu does.
KERNEL __launch_bounds__(256) adafactor_columns(const float* gradient, int rows, int columns, float scale, float beta, float rest,
                                                float eps, float* held) {
    __shared__ float part[8][WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, j = blockIdx.x * WARP + lane;
    float sum = 0.0f;
    if (j < columns) {
        for (u64 row = warp; row < rows; row += 8) {
            float g = gradient[row * columns + j] * scale;
            sum += g * g + eps;
        }
    }
    part[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && j < columns) {
        for (int i = 1; i < 8; i++) sum += part[i][lane];
        held[j] = beta * held[j] + rest * (sum / (float)rows);
    }
}

// One block: out[0] = mean of x.
KERNEL __launch_bounds__(256) mean(const float* x, int n, float* out) {
    __shared__ float part[WARP];
    float sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
    sum = block_sum(sum, part);
    if (threadIdx.x == 0) out[0] = sum / (float)n;
}

// update = g / sqrt(r / mean(r) * c)
KERNEL adafactor_factored(const float* gradient, u64 n, int columns, float scale, const float* r, const float* c,
                          const float* mean, float* update) {
    u64 i = element_index();
    if (i < n) update[i] = gradient[i] * scale / sqrtf(r[i / columns] / mean[0] * c[i % columns]);
}
