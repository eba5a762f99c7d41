// Cross-entropy with its gradient: of each row with a target t, -ln p_t and the sum of -ln p, p = softmax(logits), and
// d = p - b, less a at t (a and b the weights of smoothing, a + b V = 1). A row without a target has zeros.
//
// logits, d: [rows, vocab]; targets: [rows], negative where there is none; of a row `losses` gets -ln p_t, the sum of -ln p, and
// 1 where the target has the largest logit, the lowest id of several.
//
// Floor: logits read (twice more from the second-level cache where a row fits) and d written: 8 bytes an element. A block takes
// a row. Order of the sums: thread t adds ids t, t + 256, ... in rising order, then as block_sum.
#include "common.cuh"

KERNEL __launch_bounds__(256) cross_entropy(const float* logits, const int* targets, int vocab, float a, float b, float* losses,
                                            float* d) {
    __shared__ float part[WARP];
    __shared__ int beaten;
    u64 row = blockIdx.x;
    const float* score = logits + row * vocab;
    float* slope = d + row * vocab;
    int target = targets[row];
    if (target < 0) {
        for (int i = threadIdx.x; i < vocab; i += blockDim.x) slope[i] = 0.0f;
        if (threadIdx.x < 3) losses[row * 3 + threadIdx.x] = 0.0f;
        return;
    }
    float best = score[target], largest = -infinity();
    int better = 0;
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        float v = score[i];
        largest = fmaxf(largest, v);
        // NaN is no best, and nothing is best beside one.
        better |= i < target ? !(v < best) : !(v <= best);
    }
    largest = warp_max(largest);
    better = __any_sync(ALL, better);
    if (threadIdx.x == 0) beaten = 0;
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = largest;
    __syncthreads();
    for (int i = 0; i < blockDim.x / WARP; i++) largest = fmaxf(largest, part[i]);
    if (better && threadIdx.x % WARP == 0) atomicOr(&beaten, 1);
    float sum = 0.0f, shifted = 0.0f;
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        sum += expf(score[i] - largest);
        shifted += score[i] - largest;
    }
    sum = block_sum(sum, part);
    shifted = block_sum(shifted, part);
    float log_sum = logf(sum), inverse = 1.0f / sum;
    for (int i = threadIdx.x; i < vocab; i += blockDim.x) {
        float p = expf(score[i] - largest) * inverse;
        slope[i] = p - (i == target ? a + b : b);
    }
    if (threadIdx.x == 0) {
        losses[row * 3] = log_sum - (best - largest);
        losses[row * 3 + 1] = (float)vocab * log_sum - shifted;
        losses[row * 3 + 2] = beaten ? 0.0f : 1.0f;
    }
}
