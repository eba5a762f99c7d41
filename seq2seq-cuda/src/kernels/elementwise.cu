// Operations on each element by itself, and sums over columns and over everything.
//
// Floor of each: the bytes read and written over the memory bandwidth. A thread takes an element; of sums, see there.
#include "dropout.cuh"

DEVICE u64 element_index() { return (u64)blockIdx.x * blockDim.x + threadIdx.x; }

// out = a x + b y; y may be null where b is 0.
KERNEL combine(float a, const float* x, float b, const float* y, u64 n, float* out) {
    u64 i = element_index();
    if (i < n) out[i] = y ? __fmaf_rn(a, x[i], b * y[i]) : a * x[i];
}

// x += y
KERNEL add(const float* y, u64 n, float* x) {
    u64 i = element_index();
    if (i < n) x[i] += y[i];
}

KERNEL apply_dropout(const float* x, int rows, int width, DROPOUT_PARAMETERS, float* y) {
    u64 row = blockIdx.x;
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        y[row * width + j] = __fmul_rn(x[row * width + j], dropout_factor(DROPOUT, row, j));
    }
}

// out[j] (+)= sum over rows of x[row][from + j] * factor[row][j], the factor optional ([rows, count]). A block takes 32 columns;
// warp w adds rows w, w + 8, ... in rising order, then warps are added in their order. The order depends on nothing.
KERNEL __launch_bounds__(256) sum_columns(const float* x, const float* factor, int rows, int stride, int from, int count,
                                          int accumulate, float* out) {
    __shared__ float part[8][WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, j = blockIdx.x * WARP + lane;
    float sum = 0.0f;
    if (j < count) {
        for (u64 row = warp; row < rows; row += 8) {
            float v = x[row * stride + from + j];
            sum = factor ? __fmaf_rn(v, factor[row * count + j], sum) : sum + v;
        }
    }
    part[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && j < count) {
        for (int i = 1; i < 8; i++) sum += part[i][lane];
        out[j] = accumulate ? out[j] + sum : sum;
    }
}

// out[block] = the sum of x^2 over the elements that fall to a block, in f64: thread t of all adds t, t + all, ...
KERNEL __launch_bounds__(256) sum_squares(const float* x, u64 n, double* out) {
    __shared__ double part[256];
    u64 all = (u64)gridDim.x * blockDim.x;
    double sum = 0.0;
    for (u64 i = element_index(); i < n; i += all) sum += (double)x[i] * (double)x[i];
    part[threadIdx.x] = sum;
    for (int half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x == 0) out[blockIdx.x] = part[0];
}

// x[target[i]] += scale * (sum of dy[r] for r of list[starts[i] .. starts[i + 1]], in that order). Targets differ, so no two
// blocks meet. A block takes a target, its threads the columns.
KERNEL scatter_rows(const float* dy, const u32* targets, const u32* starts, const u32* list, int width, float scale, float* x) {
    u32 begin = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    float* to = x + (u64)targets[blockIdx.x] * width;
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        float sum = 0.0f;
        for (u32 i = begin; i < end; i++) sum += scale * dy[(u64)list[i] * width + j];
        to[j] += sum;
    }
}

// x[row] (+)= dy[sequence[row]] / (offsets[sequence + 1] - offsets[sequence]): back from means.
KERNEL spread_rows(const float* dy, const u32* sequence, const u32* offsets, int width, int accumulate, float* x) {
    u64 row = blockIdx.x;
    u32 s = sequence[row];
    float count = (float)(offsets[s + 1] - offsets[s]);
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        float v = dy[(u64)s * width + j] / count;
        x[row * width + j] = accumulate ? x[row * width + j] + v : v;
    }
}
