// Attention of training: probabilities, the result under dropout, and the way back. With p the probabilities, m their dropout
// and dp = m (dy . v): ds = p (dp - sum p dp); dq = scale ds k, dk = scale ds' q, dv = (m p)' dy.
//
// q: [rows, q_stride], k and v: [positions, kv_stride], each from its first column on, heads side by side, rotated already;
// spans: [rows, 2], the first key of each row and how many it sees; places: [rows], its position, for the relative bias, which is
// [heads, 2 reach + 1] by distance, null where there is none; p, ds: [rows, heads, longest].
//
// Plain: p and ds are held whole while a call lasts, and products are sums of f32 by warps. Floor: 10 operations a score and
// column in f32, 16 bytes a score. Tiles on the matrix units, and no p in memory, are what a faster one would do.
//
// Order of the sums: a score, lanes over rising columns, then a butterfly; the rest, chains over rising keys, or over rising
// rows and heads. None depends on the other sequences, but for the gradient of the table.
#include "dropout.cuh"

constexpr int THREADS = 128, WARPS = THREADS / WARP;

DEVICE float dot(const float* a, const float* b, int width) {
    float sum = 0.0f;
    for (int c = threadIdx.x % WARP; c < width; c += WARP) sum = __fmaf_rn(a[c], b[c], sum);
    return warp_sum(sum);
}

// A block takes a row and a head. log_sums: [rows, heads], -infinity where nothing is seen.
KERNEL __launch_bounds__(128) attend_probabilities(const float* q, const float* k, const u32* spans, const int* places,
                                                   const float* bias, int reach, int heads, int group, int width, int q_stride,
                                                   int kv_stride, int longest, float scale, float* p, float* log_sums) {
    __shared__ float part[WARPS];
    int row = blockIdx.x, h = blockIdx.y, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u64 first = spans[2 * row], at = (u64)row * heads + h;
    int count = spans[2 * row + 1];
    const float* query = q + (u64)row * q_stride + h * width;
    p += at * longest;
    float largest = -infinity();
    for (int j = warp; j < count; j += WARPS) {
        float score = scale * dot(query, k + (first + j) * kv_stride + h / group * width, width);
        if (bias) {
            int distance = max(-reach, min(j - places[row], reach));
            score += bias[(u64)h * (2 * reach + 1) + reach + distance];
        }
        if (lane == 0) p[j] = score;
        largest = fmaxf(largest, score);
    }
    const float2 of = block_exponentials(p, count, largest, part);
    for (int j = threadIdx.x; j < count; j += THREADS) p[j] = p[j] / of.y;
    if (threadIdx.x == 0 && log_sums) log_sums[at] = count ? of.x + logf(of.y) : -infinity();
}

// y of a row and a head, under dropout.
KERNEL attend_dropped(const float* p, const float* v, const u32* spans, int heads, int group, int width, int kv_stride, int longest,
                      DROPOUT_PARAMETERS, float* y) {
    int row = blockIdx.x, h = blockIdx.y, count = spans[2 * row + 1];
    u64 first = spans[2 * row], at = (u64)row * heads + h;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0.0f;
        for (int j = 0; j < count; j++) {
            float weight = p[at * longest + j] * dropout_factor(DROPOUT, at, j);
            sum = __fmaf_rn(weight, v[(first + j) * kv_stride + h / group * width + c], sum);
        }
        y[at * width + c] = sum;
    }
}

// ds of a row and a head.
KERNEL __launch_bounds__(128) attend_scores_back(const float* p, const float* v, const float* dy, const u32* spans, int heads,
                                                 int group, int width, int kv_stride, int longest, DROPOUT_PARAMETERS, float* ds) {
    __shared__ float part[WARPS];
    int row = blockIdx.x, h = blockIdx.y, count = spans[2 * row + 1], lane = threadIdx.x % WARP;
    u64 first = spans[2 * row], at = (u64)row * heads + h;
    p += at * longest, ds += at * longest;
    for (int j = threadIdx.x / WARP; j < count; j += WARPS) {
        float dp = dot(dy + at * width, v + (first + j) * kv_stride + h / group * width, width);
        if (drop_scale != 0.0f) dp *= dropout_factor(DROPOUT, at, j);
        if (lane == 0) ds[j] = dp;
    }
    __syncthreads();
    float along = 0.0f;
    for (int j = threadIdx.x; j < count; j += THREADS) along += p[j] * ds[j];
    along = block_sum(along, part);
    for (int j = threadIdx.x; j < count; j += THREADS) ds[j] = p[j] * (ds[j] - along);
}

// dq of a row and a head.
KERNEL attend_query_back(const float* ds, const float* k, const u32* spans, int heads, int group, int width, int q_stride,
                         int kv_stride, int longest, float scale, float* dq) {
    int row = blockIdx.x, h = blockIdx.y, count = spans[2 * row + 1];
    u64 first = spans[2 * row], at = (u64)row * heads + h;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0.0f;
        for (int j = 0; j < count; j++) {
            float key = k[(first + j) * kv_stride + h / group * width + c];
            sum = __fmaf_rn(scale * ds[at * longest + j], key, sum);
        }
        dq[(u64)row * q_stride + h * width + c] = sum;
    }
}

// dk and dv of a position and a key-value head, from the rows list[starts[s]] to list[starts[s + 1]] that attend to its source;
// of[position] = {source, place in it}.
KERNEL attend_keys_back(const float* p, const float* ds, const float* q, const float* dy, const u32* spans, const u32* of,
                        const u32* starts, const u32* list, int heads, int group, int width, int q_stride, int kv_stride, int longest,
                        float scale, DROPOUT_PARAMETERS, float* dk, float* dv) {
    u64 position = blockIdx.x;
    int g = blockIdx.y;
    u32 source = of[2 * position], j = of[2 * position + 1];
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float key = 0.0f, value = 0.0f;
        for (u32 i = starts[source]; i < starts[source + 1]; i++) {
            u64 row = list[i];
            if (spans[2 * row + 1] <= j) continue;  // It does not see that far.
            for (int h = g * group; h < (g + 1) * group; h++) {
                u64 at = row * heads + h;
                float weight = p[at * longest + j];
                if (drop_scale != 0.0f) weight *= dropout_factor(DROPOUT, at, j);
                key = __fmaf_rn(scale * ds[at * longest + j], q[row * q_stride + h * width + c], key);
                value = __fmaf_rn(weight, dy[at * width + c], value);
            }
        }
        dk[position * kv_stride + g * width + c] = key;
        dv[position * kv_stride + g * width + c] = value;
    }
}

// by_distance[h][distance] = the sum of ds over the rows that have a key at that distance. A block takes a distance (from
// 1 - longest on) and a head.
KERNEL __launch_bounds__(128) attend_distances_back(const float* ds, const u32* spans, const int* places, int rows, int heads,
                                                    int longest, float* by_distance) {
    __shared__ float part[WARPS];
    int distance = (int)blockIdx.x + 1 - longest, h = blockIdx.y;
    float sum = 0.0f;
    for (u64 row = threadIdx.x; row < rows; row += THREADS) {
        int j = places[row] + distance;
        if (j >= 0 && j < (int)spans[2 * row + 1]) sum += ds[(row * heads + h) * longest + j];
    }
    sum = block_sum(sum, part);
    if (threadIdx.x == 0) by_distance[(u64)h * gridDim.x + blockIdx.x] = sum;
}

// table[bucket][h] (+)= the sum over the distances of the bucket. A block takes a bucket, a thread a head.
KERNEL attend_table_back(const float* by_distance, const u32* buckets, int distances, int heads, int accumulate, float* table) {
    for (int h = threadIdx.x; h < heads; h += blockDim.x) {
        float sum = 0.0f;
        for (int i = 0; i < distances; i++) {
            if (buckets[i] == blockIdx.x) sum += by_distance[(u64)h * distances + i];
        }
        float* to = table + (u64)blockIdx.x * heads + h;
        *to = accumulate ? *to + sum : sum;
    }
}

// Rotates the first `heads` heads of each row in place, by the angles of its position, [positions, pairs]; where `back`, the
// other way: the transposed rotation.
KERNEL attend_rotate(const int* places, const float2* angles, int pairs, int heads, int width, int stride, int back, float* x) {
    u64 row = blockIdx.x;
    for (int i = threadIdx.x; i < heads * pairs; i += blockDim.x) {
        float* a = x + row * stride + i / pairs * width + i % pairs;
        float2 turn = angles[(u64)places[row] * pairs + i % pairs];
        float sin = back ? -turn.y : turn.y, low = a[0], high = a[pairs];
        a[0] = low * turn.x - high * sin;
        a[pairs] = high * turn.x + low * sin;
    }
}

// Keys and values of pages (attention.cuh) as [positions, keys | values], kv_heads heads of `width` each. of[position] = {first
// page of its source in the table, place in the source}.
KERNEL attend_unpage(const u64* table, s64 layer, const u32* of, int kv_heads, int width, float* kv) {
    constexpr int PAGE = 64;
    u64 position = blockIdx.x;
    int j = of[2 * position + 1], quads = (width + 3) / 4, all = kv_heads * width;
    const float* page = (const float*)table[of[2 * position] + j / PAGE] + layer;
    for (int i = threadIdx.x; i < all; i += blockDim.x) {
        int c = i % width;
        const float* head = page + (s64)(i / width) * 2 * PAGE * quads * 4;
        kv[position * 2 * all + i] = head[(c / 4 * PAGE + j % PAGE) * 4 + c % 4];
        kv[position * 2 * all + all + i] = head[(PAGE + j % PAGE) * quads * 4 + c];
    }
}
