// Back through additive attention: with p the probabilities, t = tanh(q + key), dp_j = dy . value_j and
// ds = p (dp - sum p dp): dvalue = sum p dy, dv = sum ds t, dq = dkey = sum of ds v (1 - t^2).
//
// p, ds: [rows, longest], a row's positions from the first column on; spans as in additive.cu; dv_rows: [rows, columns], the
// share of each row of dv, to be added up over the rows.
//
// Floor: two evaluations of tanh a row, position and column (it is cheaper to have them again than to keep them). Each sum
// is one chain in rising order of what it is over, but dp, which is summed by a warp, and sum p dp, by a block.
#include "common.cuh"

constexpr int THREADS = 256, WARPS = THREADS / WARP;

// ds of a row. A block takes a row.
KERNEL __launch_bounds__(256) additive_scores_back(const float* p, const float* dy, const float* values, const u32* spans,
                                                   int longest, int width, float* ds) {
    __shared__ float part[WARPS];
    u64 row = blockIdx.x, first = spans[2 * row];
    int count = spans[2 * row + 1], lane = threadIdx.x % WARP;
    p += row * longest, ds += row * longest, dy += row * width;
    for (int j = threadIdx.x / WARP; j < count; j += WARPS) {
        const float* value = values + (first + j) * width;
        float dot = 0.0f;
        for (int i = lane; i < width; i += WARP) dot = __fmaf_rn(dy[i], value[i], dot);
        dot = warp_sum(dot);
        if (lane == 0) ds[j] = dot;
    }
    __syncthreads();
    float sum = 0.0f;
    for (int j = threadIdx.x; j < count; j += THREADS) sum += p[j] * ds[j];
    sum = block_sum(sum, part);
    for (int j = threadIdx.x; j < count; j += THREADS) ds[j] = p[j] * (ds[j] - sum);
}

// dq and the row's share of dv. A block takes a row, a thread a column. dq may be null; else it is added to where it is to be.
KERNEL additive_query_back(const float* q, const float* keys, const float* v, const float* ds, const u32* spans, int longest,
                           int columns, int accumulate, float* dq, float* dv_rows) {
    u64 row = blockIdx.x, first = spans[2 * row];
    int count = spans[2 * row + 1];
    for (int a = threadIdx.x; a < columns; a += blockDim.x) {
        float query = q[row * columns + a], back = 0.0f, share = 0.0f;
        for (int j = 0; j < count; j++) {
            float t = tanhf(query + keys[(first + j) * columns + a]), slope = ds[row * longest + j];
            share = __fmaf_rn(slope, t, share);
            back = __fmaf_rn(slope, 1.0f - t * t, back);
        }
        back *= v[a];
        dv_rows[row * columns + a] = share;
        if (dq) dq[row * columns + a] = accumulate ? dq[row * columns + a] + back : back;
    }
}

// dkey and dvalue of a position, from the rows that attended to its source: list[starts[s]] to list[starts[s + 1]], s its source.
// places: [positions, 2], source and place within it. A block takes a position, a thread a column. Either may be null.
KERNEL additive_memory_back(const float* q, const float* keys, const float* v, const float* p, const float* ds, const float* dy,
                            const u32* places, const u32* starts, const u32* list, int longest, int columns, int width,
                            int add_keys, int add_values, float* dkeys, float* dvalues) {
    u64 position = blockIdx.x;
    u32 source = places[2 * position], j = places[2 * position + 1], begin = starts[source], end = starts[source + 1];
    for (int a = threadIdx.x; dkeys && a < columns; a += blockDim.x) {
        float key = keys[position * columns + a], back = 0.0f;
        for (u32 i = begin; i < end; i++) {
            u64 row = list[i];
            float t = tanhf(q[row * columns + a] + key);
            back = __fmaf_rn(ds[row * longest + j], 1.0f - t * t, back);
        }
        back *= v[a];
        float* to = dkeys + position * columns + a;
        *to = add_keys ? *to + back : back;
    }
    for (int c = threadIdx.x; dvalues && c < width; c += blockDim.x) {
        float back = 0.0f;
        for (u32 i = begin; i < end; i++) {
            u64 row = list[i];
            back = __fmaf_rn(p[row * longest + j], dy[row * width + c], back);
        }
        float* to = dvalues + position * width + c;
        *to = add_values ? *to + back : back;
    }
}
