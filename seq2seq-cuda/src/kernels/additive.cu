// Additive attention (Bahdanau et al. 2015): y[n] = sum over j of p_j value_j, p = softmax over j of sum over a of
// v_a tanh(q[n]_a + key_j,a), j the positions of one source.
//
// q: [rows, columns]; keys: [positions, columns]; values: [positions, width]; spans: [rows, 2], first position and count of
// the source of each row; weights: room for the count of every row, from starts[n] on; y: [rows, width].
//
// Floor: rows * count * columns evaluations of tanh, about 20 instructions each; the keys and values of a source are read
// from the second-level cache but for the first time. A block takes a row: a warp a position, its lanes the columns; then a
// thread a column of the result, neighbours reading neighbours.
//
// Order of the sums: a score, lanes over rising columns, then a butterfly; the sum of exponentials, threads over rising
// positions, then as block_sum; a result, one chain over rising positions. None depends on the other rows.
#include "overlap.cuh"

constexpr int THREADS = 256, WARPS = THREADS / WARP;

KERNEL __launch_bounds__(256) additive(const float* q, const float* keys, const float* values, const float* v, const u32* spans,
                                       const u64* starts, int columns, int width, float* weights, float* y) {
    __shared__ float part[WARPS];
    begin_behind_previous();
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u64 row = blockIdx.x, first = spans[2 * row];
    int count = spans[2 * row + 1];
    float* p = weights + starts[row];
    const float* query = q + row * columns;
    float largest = -infinity();
    for (int j = warp; j < count; j += WARPS) {
        const float* key = keys + (first + j) * columns;
        float score = 0.0f;
        for (int a = lane; a < columns; a += WARP) score = __fmaf_rn(v[a], tanhf(query[a] + key[a]), score);
        score = warp_sum(score);
        if (lane == 0) p[j] = score;
        largest = fmaxf(largest, score);
    }
    const float sum = block_exponentials(p, count, largest, part).y;
    for (int j = threadIdx.x; j < count; j += THREADS) p[j] = __fdiv_rn(p[j], sum);
    __syncthreads();
    for (int column = threadIdx.x; column < width; column += THREADS) {
        float out = 0.0f;
        for (int j = 0; j < count; j++) out = __fmaf_rn(p[j], values[(first + j) * width + column], out);
        y[row * width + column] = out;
    }
}
